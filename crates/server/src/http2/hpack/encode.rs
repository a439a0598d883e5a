//! Writes header blocks: the names of the static table by their index, everything else as it is.

use super::table::STATIC;

/// Appends the `:status` of a response.
pub(crate) fn write_status(block: &mut Vec<u8>, status: u16) {
    let text = status.to_string();
    match STATIC.iter().position(|field| *field == (":status", text.as_str())) {
        Some(position) => write_integer(block, 0x80, 7, position + 1),
        None => write_field(block, b":status", text.as_bytes()),
    }
}

/// Appends a field that the reader is not to keep.
pub(crate) fn write_field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    match STATIC.iter().position(|(known, _)| known.as_bytes() == name) {
        Some(position) => write_integer(block, 0, 4, position + 1),
        None => {
            block.push(0);
            write_text(block, name);
        }
    }
    write_text(block, value);
}

fn write_text(block: &mut Vec<u8>, text: &[u8]) {
    write_integer(block, 0, 7, text.len());
    block.extend_from_slice(text);
}

#[expect(clippy::cast_possible_truncation, reason = "each is masked or compared to fit into its bits")]
pub(super) fn write_integer(block: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: usize) {
    let mask = (1usize << prefix_bits) - 1;
    if value < mask {
        block.push(pattern | value as u8);
        return;
    }
    block.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}
