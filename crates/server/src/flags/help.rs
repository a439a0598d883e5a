//! What `--help`, `--version` and usage errors print.

use std::fmt::Write as _;

use super::Stop;
use super::gates::GATES;
use super::table::{Category, FLAGS, Flag, Kind, Support};

/// The version of etcd that clients are told: what this server is compatible with.
pub const SERVER_VERSION: &str = "3.7.2";

const USAGE: &str = "\
Usage:

  etched [flags]
    Start a member.

  etched --version
    Show the version.

  etched -h | --help
    Show this help.

  etched --config-file
    Path of a file with all settings, in YAML or JSON. Other flags and the environment are then ignored.
    Durations are numbers of nanoseconds there, as 600000000000 for ten minutes.

  etched gateway
    Forward TCP connections to the members of a cluster.

  etched grpc-proxy
    Stand between clients and a cluster, and share its watches and leases.

Every flag --foo-bar may also be given as the environment variable ETCD_FOO_BAR.
";

/// A usage error, then how it is done; exit code 2.
pub(super) fn usage_error(error: String) -> Stop {
    Stop::Text { stdout: String::new(), stderr: format!("{error}\n{USAGE}\n"), code: 2 }
}

pub(super) fn help() -> Stop {
    Stop::Text { stdout: flag_list(), stderr: format!("{USAGE}\n"), code: 0 }
}

pub(super) fn version() -> Stop {
    Stop::Text { stdout: version_text(), stderr: String::new(), code: 0 }
}

/// The lines of `--version`: first etcd's, which programs parse, then ours.
pub fn version_text() -> String {
    format!(
        "etcd Version: {SERVER_VERSION}\nGit SHA: {}\nGo Version: {}\nGo OS/Arch: {}/{}\netched Version: {}\n",
        git_sha(),
        "none (rust)",
        std::env::consts::OS,
        go_arch(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The commit that this was built from, if the build was told.
pub fn git_sha() -> &'static str {
    option_env!("ETCHED_GIT_SHA").unwrap_or("unknown")
}

/// The processor's name as Go has it.
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn flag_list() -> String {
    let mut text = String::new();
    for category in Category::ALL {
        let _ = writeln!(text, "{}:", category.title());
        for flag in FLAGS.iter().filter(|flag| flag.category == category) {
            let quoted = || format!("'{}'", flag.default);
            let shown = flag.shown.map_or_else(quoted, str::to_owned);
            let blank = if shown.is_empty() { "" } else { " " };
            let _ = writeln!(text, "  --{}{blank}{shown}\n    {}", flag.name, flag.help);
            describe(&mut text, flag);
        }
        if category == Category::Unsafe {
            text.push_str("\nUnsafe flags may break what consensus promises: use them with care.\n");
        }
        text.push('\n');
    }
    text
}

/// What there is to say of a flag beyond its meaning.
fn describe(text: &mut String, flag: &Flag) {
    let _ = match flag.kind {
        Kind::Choice(choices) => writeln!(text, "    One of: {}.", choices.join(", ")),
        Kind::Gates => GATES.iter().try_for_each(|gate| {
            let (name, stage, default) = (gate.name, gate.stage.name(), gate.default);
            writeln!(text, "    {name}=true|false ({stage} - default={default})")
        }),
        Kind::Text
        | Kind::Bool
        | Kind::Unsigned
        | Kind::Unsigned32
        | Kind::Signed
        | Kind::Duration
        | Kind::Urls
        | Kind::Origins
        | Kind::List => Ok(()),
    };
    let _ = match flag.support {
        Support::Full => Ok(()),
        Support::NoEffect(reason) => writeln!(text, "    Accepted without effect: {reason}."),
        Support::Removed(advice) => writeln!(text, "    {advice}."),
    };
}
