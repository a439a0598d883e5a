//! Header compression (RFC 7541).
//!
//! The decoder knows all of it: static and dynamic table, Huffman's code, changes of the table's size.
//! The encoder writes literals that no table keeps, so its blocks are the same on every connection and those that are
//! sent often are made once.

mod decode;
mod encode;
mod huffman;
mod table;
#[cfg(test)]
mod tests;

pub(super) use decode::{DecodeError, Decoder};
pub(crate) use encode::{write_field, write_status};
