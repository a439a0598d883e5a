//! A version as clusters and databases name it: `major.minor.patch`.

use core::fmt;
use core::str::FromStr;

use crate::refusal::Refusal;

/// A version of the cluster or of the stored data.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: u64,
    /// The second number; clusters agree on versions by the first two.
    pub minor: u64,
    /// The third number, 0 in what a cluster agrees on.
    pub patch: u64,
}

impl Version {
    /// Names a version.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch }
    }
}

impl FromStr for Version {
    type Err = Refusal;

    /// Reads three decimal numbers with dots between.
    ///
    /// Suffixes of semantic versions, such as `-rc.1` and `+build`, must be well-formed and are left out: clusters
    /// agree on numbers.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (text, build) = text.split_once('+').unwrap_or((text, ""));
        let (text, candidate) = text.split_once('-').unwrap_or((text, ""));
        let is_suffix = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if !build.bytes().chain(candidate.bytes()).all(is_suffix) {
            return Err(Refusal::MalformedVersion);
        }
        let mut numbers = text.split('.').map(|part| {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { part.parse::<u64>().ok() } else { None }
        });
        let mut next = || numbers.next().flatten().ok_or(Refusal::MalformedVersion);
        let version = Self::new(next()?, next()?, next()?);
        if numbers.next().is_some() { Err(Refusal::MalformedVersion) } else { Ok(version) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_version_is_three_numbers() {
        assert_eq!("3.7.0".parse(), Ok(Version::new(3, 7, 0)));
        assert_eq!(Version::new(3, 10, 2).to_string(), "3.10.2");
        assert!(Version::new(3, 10, 0) > Version::new(3, 7, 9));
        for text in ["3.7.0-rc.1", "3.7.0+a-1.b", "3.7.0-rc.1+b", "3.7.0-", "3.7.0+"] {
            assert_eq!(text.parse(), Ok(Version::new(3, 7, 0)), "{text}");
        }
        for text in [
            "",
            "3",
            "3.7",
            "3.7.0.1",
            "3.7.x",
            "3..7",
            "v3.7.0",
            "3.7.+1",
            "3.7-rc.1",
            "3.7.0-rc_1",
            "3.7.0+a+b",
            "3.7.99999999999999999999",
        ] {
            assert_eq!(text.parse::<Version>(), Err(Refusal::MalformedVersion), "{text}");
        }
    }
}
