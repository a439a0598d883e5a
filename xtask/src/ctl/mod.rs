//! `cargo xtask ctl`: `etchedctl` and the real `etcdctl`, command line by command line.
//!
//! Each script of `xtask/ctl` runs twice, with one program and with the other, each time against a fresh server on the
//! same address. Exit codes, standard output and standard error have to be equal byte for byte, except for what
//! `normal` names. Help texts are our own and not compared.
//!
//! The real `etcdctl` is built by `go` from the module proxy unless it is given or on the PATH; without it the
//! comparison is skipped, with a message.

mod normal;
mod script;
mod session;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use self::script::Script;
use self::session::{Said, Session};
use crate::process::{Program, free_port};
use crate::workspace;

/// The version of etcdctl that is compared with.
const VERSION: &str = "3.7.2";
const MODULE: &str = "go.etcd.io/etcd/etcdctl/v3";

/// Options of `ctl`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the scripts of these names; repeatable.
    #[arg(long)]
    only: Vec<String>,
    /// Our program; it is built when it is not given.
    #[arg(long)]
    ctl_bin: Option<PathBuf>,
    /// The real etcdctl.
    #[arg(long)]
    reference_ctl_bin: Option<PathBuf>,
    /// The server that both talk to; the real etcd when it is not given.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// Prints every step, not only those that differ.
    #[arg(long)]
    verbose: bool,
}

/// Runs the scripts.
///
/// # Errors
/// If the two programs differ anywhere.
pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("etched-ctl-").tempdir()?;
    let Some(reference) = reference(options, directory.path())? else {
        println!("ctl: SKIPPED, etcdctl is neither given nor on the PATH, and go cannot build it");
        return Ok(());
    };
    let ours = match &options.ctl_bin {
        Some(path) => path.clone(),
        None => build_ours()?,
    };
    let server = Program::reference(options.server_bin.clone())?;
    let (mut steps, mut differences) = (0, 0);
    for path in scripts()? {
        let name = path.file_stem().context("a script has a name")?.to_string_lossy().into_owned();
        if !options.only.is_empty() && !options.only.contains(&name) {
            continue;
        }
        let script = Script::read(&path)?;
        let addresses = [free_port()?, free_port()?];
        let mut both = Vec::new();
        for (label, program) in [("etcdctl", &reference), ("etchedctl", &ours)] {
            let folder = directory.path().join(format!("{name}-{label}"));
            both.push(Session::start(&server, program, &folder, addresses)?.play(&script)?);
        }
        let [theirs, ours] = both.as_slice() else { unreachable!("there are two programs") };
        ensure!(theirs.len() == ours.len(), "both sessions have the same steps");
        steps += theirs.len();
        differences += compare(&name, theirs, ours, options.verbose);
    }
    println!("ctl: {steps} command lines, {differences} differ");
    ensure!(steps > 0, "no script has such a name");
    ensure!(differences == 0, "etchedctl differs from etcdctl {VERSION}");
    Ok(())
}

/// Prints what differs, and counts it.
fn compare(name: &str, theirs: &[Said], ours: &[Said], verbose: bool) -> usize {
    let mut differences = 0;
    for (theirs, ours) in theirs.iter().zip(ours) {
        let is_equal = theirs == ours;
        if !is_equal {
            differences += 1;
            println!("{name}: {}\netcdctl {theirs}etchedctl {ours}", theirs.line);
        } else if verbose {
            println!("{name}: {}\n{ours}", ours.line);
        }
    }
    differences
}

fn scripts() -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(workspace::root().join("xtask/ctl"))? {
        all.push(entry?.path());
    }
    all.sort();
    Ok(all)
}

fn build_ours() -> Result<PathBuf> {
    let status = Command::new(env!("CARGO")).args(["build", "-p", "etched-ctl"]).status()?;
    ensure!(status.success(), "building etchedctl: {status}");
    let metadata = workspace::metadata()?;
    let target =
        metadata["target_directory"].as_str().context("cargo metadata names the target directory")?;
    Ok(Path::new(target).join("debug/etchedctl"))
}

/// The real etcdctl, if it can be had; it has to be of the version that is compared with.
fn reference(options: &Options, directory: &Path) -> Result<Option<PathBuf>> {
    let is_right = |path: &Path| {
        let output = Command::new(path).arg("version").output();
        output.is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout).starts_with(&format!("etcdctl version: {VERSION}\n"))
        })
    };
    if let Some(path) = &options.reference_ctl_bin {
        ensure!(is_right(path), "{} is not etcdctl {VERSION}", path.display());
        return Ok(Some(path.clone()));
    }
    if is_right(Path::new("etcdctl")) {
        return Ok(Some("etcdctl".into()));
    }
    // A module of its own, because etcdctl's has replacements that `go install` refuses.
    let folder = directory.join("module");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("go.mod"), "module comparison\n")?;
    let go = |arguments: &[&str]| {
        let output = Command::new("go").args(arguments).current_dir(&folder).output();
        output.is_ok_and(|output| output.status.success())
    };
    let built = go(&["get", &format!("{MODULE}@v{VERSION}")]) && go(&["build", "-o", "etcdctl", MODULE]);
    let path = folder.join("etcdctl");
    Ok((built && is_right(&path)).then_some(path))
}
