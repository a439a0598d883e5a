//! The Go programs, if there is a Go to build them: bbolt itself, and etcd's `etcdutl`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The programs, or why they are not there.
fn programs() -> Result<&'static Path, &'static str> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref().map_err(String::as_str)
}

fn build() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bolt/tests/go");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bolt-go");
    std::fs::create_dir_all(&target).unwrap();
    for (name, package) in [("bbolt_check", "."), ("etcdutl", "go.etcd.io/etcd/etcdutl/v3")] {
        let program = target.join(name);
        let mut go = Command::new("go");
        go.current_dir(&source).args(["build", "-mod=readonly", "-o"]).arg(&program).arg(package);
        match go.output() {
            Err(error) => return Err(format!("there is no Go: {error}")),
            Ok(output) if !output.status.success() => {
                return Err(format!("Go cannot build: {}", String::from_utf8_lossy(&output.stderr)));
            }
            Ok(_) => {}
        }
    }
    Ok(target)
}

/// A command that runs one of the programs, or `None` and a message that the test is left out.
pub(crate) fn program(name: &str) -> Option<Command> {
    match programs() {
        Ok(folder) => Some(Command::new(folder.join(name))),
        Err(reason) => {
            eprintln!("left out: {reason}");
            None
        }
    }
}

/// Runs a command to its end, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}
