//! Reads header blocks.

use bytes::Bytes;

use super::huffman;
use super::table::{DynamicTable, FIELD_OVERHEAD};

/// A block that is not of this format; the connection cannot go on, since the tables of both sides differ now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header block cannot be read")]
pub(crate) struct DecodeError;

/// The reading side of a connection's header compression.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: DynamicTable,
    /// How often the table changed.
    changes: u64,
    fields_bytes_max: usize,
}

impl Decoder {
    /// A decoder that gives out at most `fields_bytes_max` of one block, counted as RFC 9113 counts header lists.
    pub(crate) fn new(fields_bytes_max: usize) -> Self {
        Self { table: DynamicTable::new(), changes: 0, fields_bytes_max }
    }

    /// A number that changes whenever the same bytes could mean something else than before.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Reads a whole block and gives out its fields; `false` if they were too many, and the last ones are missing.
    ///
    /// # Errors
    ///
    /// When the bytes are no block.
    pub(crate) fn decode(
        &mut self,
        mut block: &[u8],
        mut each: impl FnMut(Bytes, Bytes),
    ) -> Result<bool, DecodeError> {
        let mut bytes = 0usize;
        let mut is_first = true;
        while let Some(first) = block.first().copied() {
            if first & 0xe0 == 0x20 {
                let size = read_integer(&mut block, 5)?;
                // Sizes change before the first field only.
                let resized = if is_first { self.table.resize(size) } else { None };
                self.changes += 1;
                resized.ok_or(DecodeError)?;
                continue;
            }
            is_first = false;
            let (name, value) = self.field(&mut block, first)?;
            bytes = bytes.saturating_add(name.len() + value.len() + FIELD_OVERHEAD);
            if bytes <= self.fields_bytes_max {
                each(name, value);
            }
        }
        Ok(bytes <= self.fields_bytes_max)
    }

    fn field(&mut self, block: &mut &[u8], first: u8) -> Result<(Bytes, Bytes), DecodeError> {
        if first & 0x80 != 0 {
            let index = read_integer(block, 7)?;
            return self.table.get(index).ok_or(DecodeError);
        }
        let is_kept = first & 0x40 != 0;
        let index = read_integer(block, if is_kept { 6 } else { 4 })?;
        let name = match index {
            0 => read_text(block)?,
            index => self.table.get(index).ok_or(DecodeError)?.0,
        };
        let value = read_text(block)?;
        if is_kept {
            self.changes += 1;
            self.table.insert(name.clone(), value.clone());
        }
        Ok((name, value))
    }

    #[cfg(test)]
    pub(super) fn table_bytes(&self) -> usize {
        self.table.bytes()
    }
}

/// An integer whose first bits are the lower `prefix_bits` of a byte. More than four bytes behind it are refused.
pub(super) fn read_integer(block: &mut &[u8], prefix_bits: u32) -> Result<usize, DecodeError> {
    let (first, rest) = block.split_first().ok_or(DecodeError)?;
    *block = rest;
    let mask = (1usize << prefix_bits) - 1;
    let mut value = usize::from(*first) & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let (byte, rest) = block.split_first().ok_or(DecodeError)?;
        *block = rest;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError)
}

fn read_text(block: &mut &[u8]) -> Result<Bytes, DecodeError> {
    let is_coded = block.first().ok_or(DecodeError)? & 0x80 != 0;
    let length = read_integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(DecodeError)?;
    *block = rest;
    if is_coded {
        huffman::decode(text).map(Bytes::from).ok_or(DecodeError)
    } else {
        Ok(Bytes::copy_from_slice(text))
    }
}
