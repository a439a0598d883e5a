//! The server's side of HTTP/2 (RFC 9113) without I/O, made for many small calls on few connections.
//!
//! A [`Connection`] is a value: what was read from a socket goes into [`Connection::next`], which gives out one
//! [`Event`] after the other; answers go in by `respond`, `send_head`, `send_data` and `send_trailers`; what is to be
//! written comes out of `slices`.
//! It knows no socket, no clock and no task, so each rule of the protocol has a test that is a few bytes long.
//!
//! What makes it fast: all frames of a read are looked at before anything is written, all answers of that time leave
//! in one write, a request whose header block came before is recognised by its bytes, a small answer is written once,
//! straight into the output, and large ones are written from where their bytes lie.
//!
//! What bounds it: frames of 16 KiB, a header list of `headers_bytes_max`, `streams_max` open streams, windows for
//! what comes in, `OUTPUT_BYTES_MAX` for what waits for the socket beside answers to requests already read (whoever
//! drives a connection stops reading while the output is full), and a guard that ends connections which reset, ping
//! or send empty frames without end.
//!
//! It refuses to push, to order streams by priority, and to keep fields in the client's table.

mod connection;
mod frame;
mod guard;
mod hpack;
mod output;
mod request;
#[cfg(test)]
mod tests;

pub(crate) use connection::{Connection, Event, Options};
pub(crate) use frame::{ErrorCode, PREFACE};
pub(crate) use hpack::{write_field, write_status};
pub(crate) use request::RequestHead;
