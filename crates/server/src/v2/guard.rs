//! Who asks, and whether he may: basic authentication against the users of the v2 API, or the name in a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use etched_replica::{V2Answer, V2Call};
use etched_state_machine::v2store::{Access, AuthView};
use http::header::AUTHORIZATION;
use http::request::Parts;
use tokio::sync::Semaphore;

use super::{V2, is_read, unexpected};
use crate::api::ApiError;
use crate::tls::Visitor;

/// Hashes that are computed at a time, in the whole process: each takes a core for some 50 ms.
static HASHING: Semaphore = Semaphore::const_new(2);

/// How bcrypt is to be used: two to the power of this many rounds. Go's default, which etcd uses.
const BCRYPT_COST: u32 = 10;

/// Who a request says that it is from.
enum Claim {
    Nobody,
    User { name: String, password: String },
    Certificate { name: String },
    Malformed,
}

impl V2 {
    /// Whether the caller may do this with keys.
    pub(super) async fn may_use(&self, head: &Parts, access: Access<'_>) -> Result<bool, ApiError> {
        let claim = self.claim(head);
        let Some(view) = self.identify(claim).await? else { return Ok(false) };
        let may = !view.is_enabled || view.allows(access);
        if !may {
            let user = view.user.as_ref().map_or("guest", |user| user.user.as_str());
            crate::log!(Warn, "invalid access for user on key", "user-name" => user, "key" => access.path);
        }
        Ok(may)
    }

    /// Whether the caller may do everything.
    pub(super) async fn is_root(&self, head: &Parts) -> Result<bool, ApiError> {
        let claim = self.claim(head);
        let view = self.identify(claim).await?;
        Ok(view.is_some_and(|view| !view.is_enabled || view.is_root()))
    }

    /// Whether the caller may do everything, or only reads.
    pub(super) async fn is_root_or_read(&self, head: &Parts) -> Result<bool, ApiError> {
        if is_read(head) { Ok(true) } else { self.is_root(head).await }
    }

    fn claim(&self, head: &Parts) -> Claim {
        let Some(header) = head.headers.get(AUTHORIZATION) else {
            let visitor = head.extensions.get::<Visitor>().filter(|_| self.trusts_certificates);
            let identity = visitor.and_then(|visitor| visitor.identity.as_ref());
            return match identity {
                Some(identity) if !identity.common_name.is_empty() => {
                    Claim::Certificate { name: identity.common_name.clone() }
                }
                Some(_) | None => Claim::Nobody,
            };
        };
        let decoded = header.to_str().ok().and_then(|header| {
            let (scheme, encoded) = header.split_once(' ')?;
            let bytes = STANDARD.decode(encoded).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
            String::from_utf8(bytes).ok()
        });
        match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((name, password)) => Claim::User { name: name.to_owned(), password: password.to_owned() },
            None => Claim::Malformed,
        }
    }

    /// What is known of the caller; none if he is not who he says.
    async fn identify(&self, claim: Claim) -> Result<Option<AuthView>, ApiError> {
        let (name, password) = match claim {
            Claim::Nobody => (None, None),
            Claim::User { name, password } => (Some(name), Some(password)),
            Claim::Certificate { name } => (Some(name), None),
            Claim::Malformed => (Some(String::new()), None),
        };
        let must_exist = name.is_some();
        let view = self.who(name).await?;
        if !view.is_enabled {
            return Ok(Some(view));
        }
        let Some(user) = &view.user else { return Ok((!must_exist).then_some(view)) };
        if let Some(password) = password
            && !is_password(password, user.password.clone()).await
        {
            crate::log!(Warn, "auth: incorrect password", "user-name" => user.user.as_str());
            return Ok(None);
        }
        Ok(Some(view))
    }

    pub(super) async fn who(&self, user: Option<String>) -> Result<AuthView, ApiError> {
        let told = self.ask_v2(V2Call::Who { user }).await?;
        let V2Answer::Who(view) = told.answer else { return Err(unexpected()) };
        Ok(view)
    }
}

/// Whether a password has this hash; computed away from the requests of others.
async fn is_password(password: String, hash: String) -> bool {
    let Ok(_turn) = HASHING.acquire().await else { return false };
    let work = move || bcrypt::verify(password, &hash).unwrap_or(false);
    tokio::task::spawn_blocking(work).await.unwrap_or(false)
}

/// The hash of a password; none if there are no random numbers for it.
pub(super) async fn hash(password: String) -> Option<String> {
    let _turn = HASHING.acquire().await.ok()?;
    let work = move || {
        let mut salt = [0; 16];
        rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut salt).ok()?;
        let parts = bcrypt::hash_with_salt(password, BCRYPT_COST, salt).ok()?;
        // The name that Go gives to the same algorithm.
        Some(parts.format_for_version(bcrypt::Version::TwoA))
    };
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash() {
        let hashed = hash("secret".into()).await.unwrap();
        assert!(hashed.starts_with("$2a$10$"), "{hashed}");
        assert!(is_password("secret".into(), hashed.clone()).await);
        assert!(!is_password("other".into(), hashed).await);
        assert!(!is_password("secret".into(), "no hash".into()).await);
    }
}
