//! Which processors a member runs on without being told that it may.

use crate::flags::go_arch;
use crate::log;

/// Those that etcd's authors test on, by Go's names.
const SUPPORTED: [&str; 4] = ["amd64", "arm64", "ppc64le", "s390x"];
/// The variable that allows another one, by naming it.
const VARIABLE: &str = "ETCD_UNSUPPORTED_ARCH";

/// Whether a member may run here; if not, the log says so.
pub fn is_supported() -> bool {
    let arch = go_arch();
    let allowed = std::env::var(VARIABLE).ok();
    match judge(arch, allowed.as_deref()) {
        Verdict::Supported => true,
        Verdict::Allowed => {
            log!(
                Info, "running etcd on unsupported architecture since ETCD_UNSUPPORTED_ARCH is set",
                "arch" => arch
            );
            true
        }
        Verdict::Refused => {
            log!(
                Error, "Refusing to run etcd on unsupported architecture since ETCD_UNSUPPORTED_ARCH is not set",
                "arch" => arch
            );
            crate::logging::flush();
            false
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Supported,
    Allowed,
    Refused,
}

fn judge(arch: &str, allowed: Option<&str>) -> Verdict {
    if SUPPORTED.contains(&arch) {
        Verdict::Supported
    } else if allowed == Some(arch) {
        Verdict::Allowed
    } else {
        Verdict::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_nobody_tests_on_must_be_named() {
        assert_eq!(judge("amd64", None), Verdict::Supported);
        assert_eq!(judge("riscv64", None), Verdict::Refused);
        assert_eq!(judge("riscv64", Some("arm")), Verdict::Refused);
        assert_eq!(judge("riscv64", Some("riscv64")), Verdict::Allowed);
    }
}
