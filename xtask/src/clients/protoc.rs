//! A stand-in for `protoc`: the build script of `etcd-client` calls it, and few machines have it.
//!
//! This program, called with a certain variable set, takes the arguments that such build scripts give and does the
//! same with protox.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use prost::Message as _;

/// Tells this program that it is called as `protoc`.
const VARIABLE: &str = "XTASK_AS_PROTOC";

/// The variables that make build scripts call this program.
pub(super) fn environment() -> Result<[(&'static str, OsString); 2]> {
    Ok([("PROTOC", std::env::current_exe()?.into()), (VARIABLE, "1".into())])
}

/// Does the work of `protoc` if this program was called as such; `None` otherwise.
pub(crate) fn stand_in() -> Option<Result<()>> {
    std::env::var_os(VARIABLE)?;
    Some(compile(std::env::args().skip(1)))
}

fn compile(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let (mut out, mut includes, mut files) = (None, Vec::new(), Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-o" => out = arguments.next().map(PathBuf::from),
            "-I" => includes.extend(arguments.next().map(PathBuf::from)),
            option if option.starts_with('-') => match option {
                "--include_imports" | "--include_source_info" | "--experimental_allow_proto3_optional" => {}
                other => bail!("the stand-in for protoc does not know {other}"),
            },
            _ => files.push(PathBuf::from(argument)),
        }
    }
    let out = out.context("protoc was not told where to write")?;
    let descriptors = protox::compile(files, includes).context("compiling .proto files")?;
    Ok(std::fs::write(out, descriptors.encode_to_vec())?)
}
