//! What a request says of who asks.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use etched_replica::auth::{Credentials, Secret};

use super::Doorman;
use crate::tls::Visitor;
use http::{Extensions, HeaderMap, HeaderName};

/// What a request says of who asks, as far as that could be checked here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim {
    pub(super) credentials: Credentials,
    /// Seconds of the Unix epoch at which a signed token runs out.
    pub(super) ends: Option<u64>,
    /// The token as it came, to be passed on to the leader.
    pub(super) token: Option<Arc<Secret>>,
}

impl Claim {
    /// The claim of a request that came through the services.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// What to hand over to the member at this moment: a signed token runs out.
    pub(crate) fn credentials(&self) -> Credentials {
        if self.ends.is_some() && self.is_over(unix_seconds()) {
            Credentials::Invalid
        } else {
            self.credentials.clone()
        }
    }

    /// The token as it came.
    pub(crate) fn token(&self) -> Option<&Secret> {
        self.token.as_deref()
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// The words of a request that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words<'a> {
    /// The first `token`.
    pub(crate) token: Option<&'a [u8]>,
    /// The first `authorization`, which counts where there is no token.
    pub(crate) authorization: Option<&'a [u8]>,
    /// Whether the request came through the JSON gateway, whose certificate is not that of its client.
    pub(crate) is_proxied: bool,
}

const TOKEN: HeaderName = HeaderName::from_static("token");
const GATEWAY: HeaderName = HeaderName::from_static("grpcgateway-accept");

impl<'a> Words<'a> {
    /// Reads them from the headers of a request.
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let first = |name: &HeaderName| headers.get(name).map(http::HeaderValue::as_bytes);
        Self {
            token: first(&TOKEN),
            authorization: first(&http::header::AUTHORIZATION),
            is_proxied: headers.contains_key(GATEWAY),
        }
    }

    /// Looks at one more header of a request.
    pub(crate) fn see(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"token" => {
                self.token.get_or_insert(value);
            }
            b"authorization" => {
                self.authorization.get_or_insert(value);
            }
            b"grpcgateway-accept" => self.is_proxied = true,
            _ => {}
        }
    }

    /// The text that names who asks.
    pub(super) fn text(&self) -> Option<&'a [u8]> {
        self.token.or(self.authorization)
    }
}

/// The claim of the last request of a connection, which mostly is that of the next one too.
#[derive(Debug, Default)]
pub(crate) struct KnownClaim {
    visitor: Visitor,
    /// The words that it was made of, if it was made: the text, and whether the request was proxied.
    made_of: Option<(Option<Vec<u8>>, bool)>,
    claim: Claim,
}

impl KnownClaim {
    /// Nothing is known of the requests of a connection.
    pub(crate) fn new(visitor: Visitor) -> Self {
        Self { visitor, ..Self::default() }
    }

    /// What the words of the next request say of who asks.
    pub(crate) fn credentials(&mut self, words: Words<'_>, doorman: &Doorman) -> Credentials {
        let is_known = matches!(
            &self.made_of,
            Some((text, is_proxied)) if text.as_deref() == words.text() && *is_proxied == words.is_proxied
        );
        if !is_known {
            self.claim = doorman.claim(words, &self.visitor);
            self.made_of = Some((words.text().map(<[u8]>::to_vec), words.is_proxied));
        }
        self.claim.credentials()
    }
}

pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
