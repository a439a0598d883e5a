//! Who the client is, and the token that shows it.
//!
//! A password is exchanged for a token before the first request.
//! Servers forget tokens (they expire, members restart) and outdate them (users and roles change); the request that
//! learns of it is certainly not executed, so it is sent again with a new token.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use etched_proto::etcdserverpb::AuthenticateRequest;
use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};

use crate::client::Stubs;
use crate::error::Failure;
use crate::{Error, ErrorKind};

/// Who a client is; secrets do not show in its debug form.
///
/// ```
/// use etched_client::{Credentials, Options};
///
/// let mut options = Options::default();
/// options.credentials = Some(Credentials::password("root", "secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Password { user: String, password: String },
    Token(String),
}

impl Credentials {
    /// A user with a password, for which the client gets tokens as it needs them.
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { kind: Kind::Password { user: user.into(), password: password.into() } }
    }

    /// A token that was issued elsewhere, a JWT say. It is never renewed.
    pub fn token(token: impl Into<String>) -> Self {
        Self { kind: Kind::Token(token.into()) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Password { user, .. } => write!(formatter, "Credentials::password({user:?}, ..)"),
            Kind::Token(_) => formatter.write_str("Credentials::token(..)"),
        }
    }
}

/// Which of the tokens a request carried, so that only a token that failed is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Issue(u64);

/// The credentials of a client with the token that they were exchanged for; shared by all its clones.
#[derive(Debug)]
pub(crate) struct Passport {
    credentials: Option<Credentials>,
    state: Mutex<State>,
    /// Held while signing in, so that many requests sign in once.
    signing_in: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    issue: u64,
    token: Option<MetadataValue<Ascii>>,
    /// Whether the token, or that there is none, is what the server wants.
    valid: bool,
}

impl Passport {
    /// A passport without a token yet, unless the credentials are one.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] never; [`Error::Server`] with the server's own text if a token cannot be sent.
    pub(crate) fn new(credentials: Option<Credentials>) -> Result<Arc<Self>, Error> {
        let token = match credentials.as_ref().map(|credentials| &credentials.kind) {
            Some(Kind::Token(token)) => Some(in_metadata(token)?),
            Some(Kind::Password { .. }) | None => None,
        };
        let valid =
            !matches!(credentials.as_ref().map(|credentials| &credentials.kind), Some(Kind::Password { .. }));
        let state = Mutex::new(State { issue: 0, token, valid });
        Ok(Arc::new(Self { credentials, state, signing_in: tokio::sync::Mutex::new(()) }))
    }

    /// The token to send, if there is one.
    pub(crate) fn token(&self) -> Option<MetadataValue<Ascii>> {
        self.lock().token.clone()
    }

    /// Signs in, if that is needed, over a connection. The answer names the token that requests carry from now on.
    pub(crate) async fn sign_in(&self, stubs: impl FnOnce() -> Stubs) -> Result<Issue, Failure> {
        if let Some(issue) = self.valid_issue() {
            return Ok(issue);
        }
        let _one_at_a_time = self.signing_in.lock().await;
        if let Some(issue) = self.valid_issue() {
            return Ok(issue);
        }
        let Some(Kind::Password { user, password }) =
            self.credentials.as_ref().map(|credentials| credentials.kind.clone())
        else {
            return Ok(self.accept(None));
        };
        let request = AuthenticateRequest { name: user, password };
        match stubs().auth().authenticate(request).await {
            Ok(response) => match in_metadata(&response.into_inner().token) {
                Ok(token) => Ok(self.accept(Some(token))),
                Err(error) => Err(Failure { error, unsent: false, broken: false, abandoned: false }),
            },
            Err(status) => match Failure::of(status) {
                failure if failure.error.kind() == ErrorKind::AuthNotEnabled => Ok(self.accept(None)),
                failure => Err(failure.before_the_request()),
            },
        }
    }

    /// Whether a failure is one that a new token can mend; the old one is thrown away then.
    pub(crate) fn renews(&self, failure: &Failure, issue: Issue) -> bool {
        let mends = self.mends(failure.error.kind());
        if mends {
            let mut state = self.lock();
            state.valid = state.valid && state.issue != issue.0;
        }
        mends
    }

    /// Whether a new token helps against such a refusal.
    pub(crate) fn mends(&self, refusal: ErrorKind) -> bool {
        let has_password = match self.credentials.as_ref().map(|credentials| &credentials.kind) {
            Some(Kind::Token(_)) => return false,
            Some(Kind::Password { .. }) => true,
            None => false,
        };
        // Without a password it is the certificate that names the user, and the next request will do.
        // With one, the client may have signed in while authentication was off.
        refusal == ErrorKind::AuthOldRevision
            || has_password && matches!(refusal, ErrorKind::InvalidAuthToken | ErrorKind::UserEmpty)
    }

    fn valid_issue(&self) -> Option<Issue> {
        let state = self.lock();
        state.valid.then_some(Issue(state.issue))
    }

    fn accept(&self, token: Option<MetadataValue<Ascii>>) -> Issue {
        let mut state = self.lock();
        *state = State { issue: state.issue + 1, token, valid: true };
        Issue(state.issue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token as a header carries it; one that no header can carry is one that no server has issued.
fn in_metadata(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    token.parse().map_err(|_| Failure::of(Status::unauthenticated(ErrorKind::InvalidAuthToken.text())).error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: ErrorKind) -> Failure {
        Failure::of(Status::unauthenticated(kind.text()))
    }

    #[test]
    fn secrets_do_not_show() {
        let shown = format!("{:?} {:?}", Credentials::password("u", "hidden"), Credentials::token("hidden"));
        assert!(shown.contains('u') && !shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn a_password_renews_its_token_and_a_given_token_stays() {
        let password = Passport::new(Some(Credentials::password("u", "p"))).unwrap();
        let issue = password.accept(None);
        assert!(password.renews(&refusal(ErrorKind::InvalidAuthToken), issue));
        assert_eq!(password.valid_issue(), None);
        let token = Passport::new(Some(Credentials::token("t"))).unwrap();
        let issue = token.valid_issue().unwrap();
        assert!(!token.renews(&refusal(ErrorKind::InvalidAuthToken), issue));
        assert!(token.valid_issue().is_some() && token.token().is_some());
    }

    #[test]
    fn only_the_token_that_failed_is_thrown_away() {
        let passport = Passport::new(Some(Credentials::password("u", "p"))).unwrap();
        let old = passport.accept(None);
        let new = passport.accept(None);
        assert!(passport.renews(&refusal(ErrorKind::AuthOldRevision), old));
        assert_eq!(passport.valid_issue(), Some(new));
    }

    #[test]
    fn other_refusals_are_final() {
        let passport = Passport::new(Some(Credentials::password("u", "p"))).unwrap();
        let issue = passport.accept(None);
        for kind in [ErrorKind::PermissionDenied, ErrorKind::AuthFailed, ErrorKind::Other] {
            assert!(!passport.renews(&refusal(kind), issue), "{kind:?}");
        }
        let nobody = Passport::new(None).unwrap();
        let issue = nobody.valid_issue().unwrap();
        assert!(!nobody.renews(&refusal(ErrorKind::UserEmpty), issue));
    }

    #[test]
    fn a_token_that_no_header_carries_is_invalid() {
        let error = Passport::new(Some(Credentials::token("a\nb"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidAuthToken);
    }
}
