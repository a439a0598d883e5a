//! Compiles the `.proto` files with protox, twice: as they stand, and as the server's `wire` form.
//!
//! In the wire form, fields that hold an already encoded key-value or event are `bytes`.
//! A nested message and a byte string look the same on the wire, so a stored record goes out without being decoded.

use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

const FILES: [&str; 8] = [
    "authpb/auth.proto",
    "etcdserverpb/raft_internal.proto",
    "etcdserverpb/rpc.proto",
    "leasepb/lease.proto",
    "membershippb/membership.proto",
    "mvccpb/kv.proto",
    "v3electionpb/v3election.proto",
    "v3lockpb/v3lock.proto",
];

/// Message and field names whose nested message becomes `bytes` in the wire form.
const ENCODED_FIELDS: [(&str, &str); 4] = [
    ("RangeResponse", "kvs"),
    ("PutResponse", "prev_kv"),
    ("DeleteRangeResponse", "prev_kvs"),
    ("WatchResponse", "events"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let with_client = std::env::var_os("CARGO_FEATURE_CLIENT").is_some();
    let with_server = std::env::var_os("CARGO_FEATURE_SERVER").is_some();

    let descriptors = protox::compile(FILES, ["."])?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    generate(&out.join("canonical"), descriptors.clone(), with_client, false)?;
    if with_server {
        generate(&out.join("wire"), encoded_fields_as_bytes(descriptors), false, true)?;
    }
    Ok(())
}

fn generate(
    directory: &Path,
    descriptors: FileDescriptorSet,
    client: bool,
    server: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(directory)?;
    tonic_prost_build::configure()
        .out_dir(directory)
        .bytes(".")
        .build_client(client)
        .build_server(server)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}

fn encoded_fields_as_bytes(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    descriptors.file.iter_mut().filter(|file| file.package() == "etcdserverpb").for_each(rewrite);
    descriptors
}

fn rewrite(file: &mut FileDescriptorProto) {
    for message in &mut file.message_type {
        let name = message.name().to_owned();
        for field in &mut message.field {
            if ENCODED_FIELDS.contains(&(name.as_str(), field.name())) {
                field.set_type(Type::Bytes);
                field.type_name = None;
            }
        }
    }
}
