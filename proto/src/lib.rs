//! The messages of etcd's gRPC API, of its Raft entries and of its stored state.
//!
//! The `.proto` files beside this crate are compiled when it is built, by protox: no `protoc` is needed.
//! Byte strings are [`bytes::Bytes`], so decoding from `Bytes` copies neither keys nor values.
//!
//! There are two forms of the same messages.
//! The modules at the root are the *canonical* form: every field has its message type.
//! Clients and the readers of stored state use it.
//! `wire` (feature `server`) is the form of the server's answers, in which the fields that carry an already encoded
//! key-value or event are byte strings: the bytes that were stored are the bytes that are sent.
//!
//! Features: `client` adds gRPC client stubs to the canonical form, `server` adds `wire` with server stubs.
//! Without features the crate is `no_std`.
//!
//! ```
//! use etched_proto::mvccpb::KeyValue;
//! use prost::Message;
//!
//! let kv = KeyValue { key: "a".into(), version: 1, ..Default::default() };
//! assert_eq!(kv.encode_to_vec(), [0x0a, 1, b'a', 0x20, 1]);
//! ```
#![cfg_attr(not(any(feature = "client", feature = "server")), no_std)]
#![expect(missing_docs, reason = "generated from the .proto files, which are the documentation")]
#![expect(clippy::all, reason = "generated code")]
#![cfg_attr(
    any(feature = "client", feature = "server"),
    expect(unused_qualifications, reason = "generated code")
)]
#![cfg_attr(feature = "server", expect(clippy::allow_attributes, reason = "generated code"))]

extern crate alloc;

/// Declares the modules of all packages, each from the file that the build script generated for it.
macro_rules! packages {
    ($form:literal: $($package:ident),*) => {$(
        pub mod $package {
            include!(concat!(env!("OUT_DIR"), "/", $form, "/", stringify!($package), ".rs"));
        }
    )*};
}

packages!("canonical": authpb, etcdserverpb, leasepb, membershippb, mvccpb, v3electionpb, v3lockpb);

/// The server's form of the messages: encoded key-values and events are byte strings.
#[cfg(feature = "server")]
pub mod wire {
    packages!("wire": authpb, etcdserverpb, leasepb, membershippb, mvccpb, v3electionpb, v3lockpb);
}

/// The encoded `FileDescriptorSet` of all `.proto` files, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
