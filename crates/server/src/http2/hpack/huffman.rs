//! Huffman's code of RFC 7541, appendix B.
//!
//! The code is canonical: codes of one length are consecutive in the order of their symbols, and a longer code begins
//! behind the last shorter one.
//! So the lengths say all, and the tables are computed from them when this is compiled.

/// The lengths in bits of the codes of all bytes, and of the end-of-string symbol.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// The symbol that ends a string; it may not occur.
const END: u16 = 256;
/// The shortest and the longest code.
const BITS_MIN: usize = 5;
const BITS_MAX: usize = 30;
/// Codes up to this length are found at once.
const QUICK_BITS: usize = 10;

/// All that decoding needs.
struct Tables {
    /// By the next ten bits: the symbol and its length; a length of 0 is a longer code.
    quick: [(u8, u8); 1 << QUICK_BITS],
    /// By length: the first code, how many there are, and where their symbols begin.
    first: [u32; BITS_MAX + 1],
    count: [u32; BITS_MAX + 1],
    start: [usize; BITS_MAX + 1],
    /// Ordered by code.
    symbols: [u16; 257],
}

static TABLES: Tables = tables();

#[expect(
    clippy::cast_possible_truncation,
    reason = "a symbol in the quick table is a byte, a length below 31"
)]
const fn tables() -> Tables {
    let mut tables = Tables {
        quick: [(0, 0); 1 << QUICK_BITS],
        first: [0; BITS_MAX + 1],
        count: [0; BITS_MAX + 1],
        start: [0; BITS_MAX + 1],
        symbols: [0; 257],
    };
    let (mut code, mut position, mut bits) = (0u32, 0, BITS_MIN);
    while bits <= BITS_MAX {
        tables.first[bits] = code;
        tables.start[bits] = position;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == bits {
                tables.symbols[position] = symbol as u16;
                if bits <= QUICK_BITS {
                    let low = (code as usize) << (QUICK_BITS - bits);
                    let mut fill = 0;
                    while fill < 1 << (QUICK_BITS - bits) {
                        tables.quick[low + fill] = (symbol as u8, bits as u8);
                        fill += 1;
                    }
                }
                position += 1;
                code += 1;
            }
            symbol += 1;
        }
        tables.count[bits] = code - tables.first[bits];
        code <<= 1;
        bits += 1;
    }
    tables
}

/// Undoes the code; `None` if the bytes are not in it.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits.
    let mut text = Vec::with_capacity(coded.len() * 8 / BITS_MIN);
    let mut coded = coded.iter();
    let (mut bits, mut count) = (0u64, 0usize);
    loop {
        while count <= 56
            && let Some(byte) = coded.next()
        {
            bits = bits << 8 | u64::from(*byte);
            count += 8;
        }
        if count == 0 {
            return Some(text);
        }
        // Behind the end, ones: that is how the padding looks.
        let window = if count >= BITS_MAX {
            bits >> (count - BITS_MAX)
        } else {
            bits << (BITS_MAX - count) | ((1 << (BITS_MAX - count)) - 1)
        } & ((1 << BITS_MAX) - 1);
        let (byte, quick) = TABLES.quick[usize::try_from(window >> (BITS_MAX - QUICK_BITS)).ok()?];
        let (byte, length) = if quick > 0 {
            (byte, usize::from(quick))
        } else {
            match find(window)? {
                (END, _) if count < 8 => (0, BITS_MAX),
                (symbol, length) => (u8::try_from(symbol).ok()?, length),
            }
        };
        if length > count {
            // What is left is no whole code: it must be padding.
            return (count < 8 && window == (1 << BITS_MAX) - 1).then_some(text);
        }
        count -= length;
        bits &= (1 << count) - 1;
        text.push(byte);
    }
}

/// The symbol at the front of thirty bits, and its length.
fn find(window: u64) -> Option<(u16, usize)> {
    (QUICK_BITS + 1..=BITS_MAX).find_map(|length| {
        let code = u32::try_from(window >> (BITS_MAX - length)).ok()?;
        let offset = code.checked_sub(TABLES.first[length])?;
        (offset < TABLES.count[length])
            .then(|| (TABLES.symbols[TABLES.start[length] + offset as usize], length))
    })
}

/// Applies the code, as clients do.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    let (mut bits, mut count) = (0u64, 0usize);
    for byte in text {
        let length = usize::from(LENGTHS[usize::from(*byte)]);
        let position = (0..257).find(|position| TABLES.symbols[*position] == u16::from(*byte)).unwrap();
        let offset = u64::try_from(position - TABLES.start[length]).unwrap();
        bits = bits << length | (u64::from(TABLES.first[length]) + offset);
        count += length;
        while count >= 8 {
            coded.push((bits >> (count - 8) & 0xff) as u8);
            count -= 8;
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        coded.push(((bits << (8 - count) | ((1 << (8 - count)) - 1)) & 0xff) as u8);
    }
    coded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
        for byte in 0..=255 {
            for length in 1..20 {
                let text = vec![byte; length];
                assert_eq!(decode(&encode(&text)).unwrap(), text);
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc_decode() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&coded).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
        assert_eq!(decode(&[]).unwrap(), b"");
    }

    #[test]
    fn wrong_padding_and_the_end_symbol_are_refused() {
        assert_eq!(decode(&[0x00]), None, "'0' in five bits, and zeros");
        assert_eq!(decode(&[0xff]), None, "eight bits of padding");
        assert_eq!(decode(&[0x07, 0xff]), None, "eleven bits of padding");
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None, "the end of the string");
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xfc]), None);
        assert_eq!(decode(&[0x07]).unwrap(), b"0");
    }
}
