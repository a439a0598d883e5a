//! Who asks: credentials become a principal, or are not believed.

use std::sync::Arc;

use etched_auth::{Credentials, Principal, Refusal as AuthRefusal, SimpleTokens, TokenChange};

use super::Applier;

/// Nanoseconds between looks at the tokens whose life is over.
const EXPIRY_INTERVAL_NS: u64 = 1_000_000_000;

/// In whose name the member does what it must.
const ROOT: &str = "root";

/// The tokens that this member knows.
#[derive(Debug)]
pub(super) struct Tokens {
    known: SimpleTokens,
    expired_ns: u64,
}

impl Tokens {
    /// Tokens that live for so many nanoseconds after their last use.
    pub(super) fn new(life_ns: u64) -> Self {
        Self { known: SimpleTokens::new(life_ns), expired_ns: 0 }
    }

    pub(super) fn on_change(&mut self, change: TokenChange, now_ns: u64) {
        match change {
            TokenChange::Made { prefix, user } => self.known.insert(&prefix.0, &user, now_ns),
            TokenChange::OfUserDropped(user) => self.known.drop_user(&user),
            TokenChange::AllDropped => self.known.clear(),
        }
    }

    pub(super) fn tick(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.expired_ns) >= EXPIRY_INTERVAL_NS {
            self.expired_ns = now_ns;
            self.known.expire(now_ns);
        }
    }
}

impl Applier {
    /// Whether anybody is asked who he is.
    pub(crate) fn is_guarded(&self) -> bool {
        self.machine.auth().is_enabled()
    }

    /// The index that must be applied before the credentials can be judged; 0 if they can be at once.
    pub(crate) fn awaited_index(&self, credentials: &Credentials) -> u64 {
        match credentials {
            Credentials::Simple(token) if token.index() > self.machine.applied().0 => token.index(),
            Credentials::Simple(_)
            | Credentials::Anonymous
            | Credentials::CommonName(_)
            | Credentials::Signed(_)
            | Credentials::Invalid
            | Credentials::Member => 0,
        }
    }

    /// Whom the member believes to ask. Names that it believes itself are as new as users and roles are now.
    pub(crate) fn identify(
        &mut self,
        credentials: &Credentials,
        now_ns: u64,
    ) -> Result<Option<Principal>, AuthRefusal> {
        if !self.is_guarded() {
            return Ok(None);
        }
        let revision = self.machine.auth().revision();
        let now = |user: Arc<str>| Ok(Some(Principal { user, revision }));
        match credentials {
            Credentials::Anonymous => Ok(None),
            Credentials::CommonName(name) => now(Arc::clone(name)),
            Credentials::Simple(token) => {
                self.tokens.known.user(token, now_ns).map_or(Err(AuthRefusal::InvalidToken), now)
            }
            Credentials::Signed(principal) => Ok(Some(principal.clone())),
            Credentials::Invalid => Err(AuthRefusal::InvalidToken),
            Credentials::Member => now(ROOT.into()),
        }
    }

    /// In whose name the member proposes what it must, as a header says it.
    pub(crate) fn root(&self) -> (String, u64) {
        if self.is_guarded() { (ROOT.to_owned(), self.machine.auth().revision()) } else { (String::new(), 0) }
    }

    /// Users or roles were changed while something was read for a principal: what was read may not be told.
    pub(crate) fn is_outdated(&self, principal: Option<&Principal>) -> bool {
        principal.is_some_and(|principal| principal.revision != self.machine.auth().revision())
    }
}
