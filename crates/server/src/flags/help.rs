//! What `--help`, `--version` and usage errors print.

use std::fmt::Write as _;

use super::Stop;
use super::table::{Category, FLAGS, Kind, Support};

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
pub(super) fn go_arch() -> &'static str {
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
            let _ = match flag.kind {
                Kind::Bool => writeln!(text, "  --{} '{}'", flag.name, flag.default),
                Kind::Choice(choices) => {
                    writeln!(text, "  --{} '{}' ({})", flag.name, flag.default, choices.join("|"))
                }
                Kind::Text
                | Kind::Unsigned
                | Kind::Unsigned32
                | Kind::Signed
                | Kind::Duration
                | Kind::Urls
                | Kind::Origins
                | Kind::List
                | Kind::Gates => writeln!(text, "  --{} '{}'", flag.name, flag.default),
            };
            let _ = writeln!(text, "    {}", flag.help);
            let _ = match flag.support {
                Support::Full => Ok(()),
                Support::NoEffect(reason) => writeln!(text, "    Accepted without effect: {reason}."),
                Support::Later { missing, .. } => writeln!(text, "    Not there yet: {missing}."),
            };
        }
        text.push('\n');
    }
    text
}
