//! Changes to bytes, of the kinds that parsers stumble over.

use crate::random::Random;

/// No input grows beyond this.
const BYTES_MAX: usize = 64 << 10;

/// Bytes at which lengths and numbers go wrong.
const ODD: [u8; 9] = [0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x40, 0x08, 0x0a];

/// One of the examples, changed in one place or several.
pub(super) fn mutate(random: &mut Random, examples: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(examples).clone();
    for _ in 0..=random.below(4) {
        change(random, &mut bytes, examples);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, examples: &[Vec<u8>]) {
    let at = place(random, bytes.len());
    match random.below(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = *random.pick(&ODD),
        2 => bytes.insert(at, *random.pick(&ODD)),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..(at + length(random)).min(bytes.len()))),
        5 => {
            let number = match random.below(4) {
                0 => u64::MAX,
                1 => 1 << random.below(64),
                2 => bytes.len() as u64,
                _ => random.bits(),
            };
            let width = [1, 2, 4, 8, 10][place(random, 4)];
            let written = if width == 10 { varint(number) } else { number.to_le_bytes()[..width].to_vec() };
            let end = (at + written.len()).min(bytes.len());
            bytes.splice(at..end, written);
        }
        6 => {
            let other = random.pick(examples);
            let from = place(random, other.len());
            let piece = other[from..(from + length(random)).min(other.len())].to_vec();
            bytes.splice(at..at, piece);
        }
        7 => {
            let piece = bytes[at..(at + length(random)).min(bytes.len())].to_vec();
            let to = place(random, bytes.len());
            bytes.splice(to..to, piece);
        }
        _ => {
            let piece: Vec<u8> = (0..length(random)).map(|_| random.bits().to_le_bytes()[0]).collect();
            bytes.splice(at..at, piece);
        }
    }
}

/// A place of `0..=len`, near the start as often as anywhere else.
fn place(random: &mut Random, len: usize) -> usize {
    let bound = if random.below(2) == 0 { len.min(32) } else { len };
    usize::try_from(random.below(bound as u64 + 1)).expect("no more than a length")
}

fn length(random: &mut Random) -> usize {
    let bound = 1 << random.below(9);
    usize::try_from(random.between(1, bound)).expect("a short length")
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}
