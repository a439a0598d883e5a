//! JSON to encoded messages and back, in the form of etcd's gateway, without a tree between the two.
//!
//! [`Scanner`] finds where a value ends and whether it is JSON at all; [`to_wire`] reads such a value as a message;
//! [`to_json`] writes an encoded message.
//! Error texts are those that Go's libraries give, since they reach clients.

mod number;
mod read;
mod scan;
mod text;
mod write;

#[cfg(test)]
mod tests;

pub(super) use read::{base64_bytes, to_wire};
pub(super) use scan::Scanner;
pub(super) use text::quoted;
pub(super) use write::{Escape, to_json};
