//! Passwords, hashed and compared on threads where nobody waits for anything else.

use etched_replica::auth::Secret;
use etched_replica::auth::password::{self, HashError};
use tokio::sync::Semaphore;

/// Hashes made or compared at once by all fronts together; who comes later waits, in order.
const HASHES_MAX: usize = 4;

/// Hashes passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    cost: u32,
    places: Semaphore,
}

/// Why a password could not be worked on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    /// It cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The server lacks what it needs: randomness, or a thread.
    #[error("etched: a password cannot be hashed now")]
    Unable,
}

impl Passwords {
    /// Hashes that cost 2 to the power of `cost`.
    pub(crate) fn new(cost: u32) -> Self {
        Self { cost, places: Semaphore::new(HASHES_MAX) }
    }

    /// The hash of a password, in base64 as it travels.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) async fn hash(&self, password: Secret) -> Result<Secret, PasswordError> {
        let cost = self.cost;
        let work = move || {
            let mut salt = [0; 16];
            aws_lc_rs::rand::fill(&mut salt).map_err(|_| PasswordError::Unable)?;
            Ok(password::hash(&password.0, cost, salt)?)
        };
        self.run(work).await?.map(|hash| Secret(base64(hash.as_bytes())))
    }

    /// Whether a password is that of a hash.
    ///
    /// # Errors
    ///
    /// When it cannot be told.
    pub(crate) async fn verify(&self, password: Secret, hash: bytes::Bytes) -> Result<bool, PasswordError> {
        self.run(move || password::verify(&password.0, &hash)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _place = self.places.acquire().await.map_err(|_| PasswordError::Unable)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| PasswordError::Unable)
    }
}

/// Base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 0x3f;
            text.push(if place > group.len() { '=' } else { char::from(DIGITS[digit as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_its_padding() {
        for (bytes, text) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("abcd", "YWJjZA==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xef, 0xff]), "++//");
    }

    #[tokio::test]
    async fn a_hash_is_made_and_compared_elsewhere() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash("secret".into()).await.unwrap();
        assert!(hash.0.starts_with("JDJhJDA0J"), "base64 of $2a$04$");
        let hash = passwords.run(|| password::hash("secret", 4, [1; 16]).unwrap()).await.unwrap();
        assert!(passwords.verify("secret".into(), hash.clone().into()).await.unwrap());
        assert!(!passwords.verify("other".into(), hash.into()).await.unwrap());
        let error = passwords.hash("x".repeat(73).into()).await.unwrap_err();
        assert_eq!(error.to_string(), "bcrypt: password length exceeds 72 bytes");
    }
}
