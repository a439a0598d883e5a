//! Passwords as bcrypt hashes, in the text form that etcd stores (`$2a$10$…`).
//!
//! A hash costs some tens of milliseconds by intention: it is made and compared away from the threads that answer.

use alloc::string::String;

/// The least work, as a power of two.
pub const COST_MIN: u32 = 4;
/// The most work.
pub const COST_MAX: u32 = 31;
/// The work when nothing else is said.
pub const COST_DEFAULT: u32 = 10;

/// Bytes of a password; bcrypt does not look at more.
pub const PASSWORD_BYTES_MAX: usize = 72;

/// Why a password cannot be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// It is longer than what bcrypt looks at.
    #[error("bcrypt: password length exceeds 72 bytes")]
    TooLong,
    /// The cost is out of range.
    #[error("bcrypt: cost is outside allowed range (4, 31)")]
    Cost,
}

/// Hashes a password; equal arguments give equal hashes, so the salt must be random.
///
/// # Errors
///
/// [`HashError`].
pub fn hash(password: &str, cost: u32, salt: [u8; 16]) -> Result<String, HashError> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(HashError::TooLong);
    }
    let parts = bcrypt::hash_with_salt(password, cost, salt).map_err(|_| HashError::Cost)?;
    Ok(parts.format_for_version(bcrypt::Version::TwoA))
}

/// Whether the password is that of the hash; takes the same time wherever they differ. No hash, no match.
pub fn verify(password: &str, hash: &[u8]) -> bool {
    let Ok(hash) = core::str::from_utf8(hash) else { return false };
    bcrypt::verify(password, hash).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by etcd 3.7.2 with `--bcrypt-cost 4`, of the password "secret".
    const GOLDEN: &str = "$2a$04$E4QSJA8LE8hJgvu6r/6lceFU898p9/Y6qxg.iGMqxJZBWppD1NH4S";

    #[test]
    fn a_hash_of_etcd_is_understood() {
        assert!(verify("secret", GOLDEN.as_bytes()));
        assert!(!verify("Secret", GOLDEN.as_bytes()) && !verify("", GOLDEN.as_bytes()));
    }

    #[test]
    fn a_hash_has_the_form_of_those_of_etcd() {
        let made = hash("secret", 4, [7; 16]).unwrap();
        assert_eq!(made.len(), GOLDEN.len());
        assert!(made.starts_with("$2a$04$"), "{made}");
        assert!(verify("secret", made.as_bytes()) && !verify("secret ", made.as_bytes()));
        assert_ne!(made, hash("secret", 4, [8; 16]).unwrap());
    }

    #[test]
    fn what_is_no_hash_matches_nothing() {
        for broken in
            [&b""[..], b"secret", b"$2a$04$", b"\xff\xfe", b"$2a$99$abcdefghijklmnopqrstuv", b"$2a$04$short"]
        {
            assert!(!verify("secret", broken) && !verify("", broken), "{broken:?}");
        }
    }

    #[test]
    fn passwords_that_would_be_cut_off_are_refused() {
        assert!(hash(&"x".repeat(72), 4, [0; 16]).is_ok());
        let error = hash(&"x".repeat(73), 4, [0; 16]).unwrap_err();
        assert_eq!(alloc::string::ToString::to_string(&error), "bcrypt: password length exceeds 72 bytes");
        assert_eq!(hash("x", 3, [0; 16]), Err(HashError::Cost));
        assert_eq!(hash("x", 32, [0; 16]), Err(HashError::Cost));
    }
}
