//! What tokens there are (`--auth-token`), and what they are worth.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use etched_replica::auth::{Credentials, Secret, SimpleToken};

use super::claim::{Claim, Words, unix_seconds};
use super::jwt::{Jwt, Signed};
use crate::flags::Options;
use crate::tls::Visitor;

/// Letters of a token that stands for a user.
const PREFIX_LETTERS: usize = 16;
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Reads and makes tokens.
#[derive(Debug)]
pub struct Doorman {
    tokens: Tokens,
    /// Whether the common name of a verified certificate says who asks.
    takes_common_names: bool,
}

#[derive(Debug)]
enum Tokens {
    /// Random ones, which members know.
    Simple,
    /// Signed ones, which anybody can check.
    Jwt(Box<Jwt>),
    /// None at all.
    None,
}

/// Why `--auth-token` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be understood, or names something that is not there.
    #[error("auth: invalid auth options")]
    Options,
    /// etcd has this algorithm, this server has not.
    #[error("auth: signature method {0} is not supported by etched")]
    Unsupported(String),
    /// The key that the algorithm needs is not given.
    #[error("auth: missing key data")]
    MissingKey,
    /// A key file is none of the algorithm's.
    #[error("auth: {file}: {problem}")]
    Key {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The two keys do not belong together.
    #[error("auth: public and private keys don't match")]
    KeyMismatch,
}

/// No token can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignError {
    /// There are none, or the signature cannot be made.
    #[error("tokens are not made here")]
    None,
    /// Only the public key is known.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
}

impl Doorman {
    /// As the flags say.
    ///
    /// # Errors
    ///
    /// When `--auth-token` cannot be used.
    pub fn new(options: &Options) -> Result<Self, TokenError> {
        let takes_common_names = options.security.client.client_cert_auth;
        Ok(Self { tokens: Tokens::parse(&options.auth.token)?, takes_common_names })
    }

    /// What the words of a request, and the connection that it came on, say of who asks.
    pub(crate) fn claim(&self, words: Words<'_>, visitor: &Visitor) -> Claim {
        let Some(text) = words.text() else {
            return Claim { credentials: self.common_name(&words, visitor), ..Claim::default() };
        };
        let invalid = || Claim { credentials: Credentials::Invalid, ..Claim::default() };
        let Ok(text) = std::str::from_utf8(text) else { return invalid() };
        let token = text.strip_prefix("Bearer ").unwrap_or(text);
        let (credentials, ends) = match &self.tokens {
            Tokens::None => return invalid(),
            Tokens::Simple => match SimpleToken::parse(token) {
                Some(token) => (Credentials::Simple(token), None),
                None => return invalid(),
            },
            Tokens::Jwt(jwt) => match jwt.verify(token, unix_seconds()) {
                Some(Signed { principal, ends }) => (Credentials::Signed(principal), ends),
                None => return invalid(),
            },
        };
        Claim { credentials, ends, token: Some(Arc::new(Secret(text.to_owned()))) }
    }

    fn common_name(&self, words: &Words<'_>, visitor: &Visitor) -> Credentials {
        match &visitor.identity {
            Some(identity) if self.takes_common_names && !words.is_proxied => {
                Credentials::CommonName(identity.common_name.as_str().into())
            }
            Some(_) | None => Credentials::Anonymous,
        }
    }

    /// The letters of a new token; empty where tokens are signed.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub(crate) fn new_prefix(&self) -> io::Result<Secret> {
        match self.tokens {
            Tokens::Simple => random_letters().map(Secret),
            Tokens::Jwt(_) | Tokens::None => Ok(Secret::default()),
        }
    }

    /// The token of somebody who has logged in; `simple` is the one that the member made.
    ///
    /// # Errors
    ///
    /// When none can be made.
    pub(crate) fn issue(&self, user: &str, revision: u64, simple: Secret) -> Result<Secret, SignError> {
        match &self.tokens {
            Tokens::Simple => Ok(simple),
            Tokens::Jwt(jwt) => jwt.sign(user, revision, unix_seconds()).map(Secret),
            Tokens::None => Err(SignError::None),
        }
    }
}

/// Letters that nobody can guess; each as probable as any other.
fn random_letters() -> io::Result<String> {
    let mut letters = String::with_capacity(PREFIX_LETTERS);
    while letters.len() < PREFIX_LETTERS {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("there is no randomness"))?;
        // The numbers from 208 on would make some letters more probable.
        let usable = bytes.iter().filter(|byte| usize::from(**byte) < LETTERS.len() * 4);
        let room = PREFIX_LETTERS - letters.len();
        letters.extend(usable.take(room).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])));
    }
    Ok(letters)
}

impl Tokens {
    fn parse(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options = BTreeMap::new();
        for part in parts {
            let pair: Vec<&str> = part.split('=').collect();
            let [name, value] = pair[..] else { return Err(TokenError::Options) };
            if options.insert(name, value).is_some() {
                return Err(TokenError::Options);
            }
        }
        match kind {
            "simple" => Ok(Self::Simple),
            "jwt" => Ok(Self::Jwt(Box::new(Jwt::new(&options)?))),
            "" => Ok(Self::None),
            _ => Err(TokenError::Options),
        }
    }
}

/// How long a token is good when nothing else is said.
pub(super) const JWT_LIFE_DEFAULT: Duration = Duration::from_secs(300);
