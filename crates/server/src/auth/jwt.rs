//! JSON web tokens: `username`, `revision` and `exp`, with a signature.
//!
//! Claims are looked at by hand and not by the library, so that they are judged as etcd judges them: there is no
//! leeway, and a token without `exp` does not run out.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::time::Duration;

use etched_replica::auth::Principal;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

use super::doorman::{JWT_LIFE_DEFAULT, SignError, TokenError};
use crate::flags::parse_duration;

/// Algorithms that etcd has and the library has not.
const UNSUPPORTED: [&str; 2] = ["ES512", "none"];

/// Signs tokens, and checks them.
pub(super) struct Jwt {
    algorithm: Algorithm,
    checking: DecodingKey,
    /// `None` when only the public key is known.
    signing: Option<EncodingKey>,
    life: Duration,
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Jwt").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// A good token.
pub(super) struct Signed {
    pub(super) principal: Principal,
    /// Seconds of the Unix epoch at which it runs out.
    pub(super) ends: Option<u64>,
}

impl Jwt {
    /// As the options of `--auth-token=jwt` say.
    pub(super) fn new(options: &BTreeMap<&str, &str>) -> Result<Self, TokenError> {
        let given = |name| options.get(name).copied().filter(|value| !value.is_empty());
        let life = match given("ttl") {
            None => JWT_LIFE_DEFAULT,
            Some(text) => parse_duration(text).ok_or(TokenError::Options)?,
        };
        let public = given("pub-key").map(read).transpose()?;
        let private = given("priv-key").map(read).transpose()?;
        let method = options.get("sign-method").copied().unwrap_or_default();
        if UNSUPPORTED.contains(&method) {
            return Err(TokenError::Unsupported(method.to_owned()));
        }
        let algorithm = Algorithm::from_str(method).map_err(|_| TokenError::Options)?;
        let known = ["sign-method", "pub-key", "priv-key", "ttl"];
        let unknown: Vec<&str> = options.keys().copied().filter(|name| !known.contains(name)).collect();
        if !unknown.is_empty() {
            crate::log!(Warn, "unknown JWT options", "keys" => unknown.join(","));
        }
        let (signing, checking) = keys(algorithm, private.as_ref(), public.as_ref())?;
        Ok(Self { algorithm, checking, signing, life })
    }

    pub(super) fn sign(&self, user: &str, revision: u64, now: u64) -> Result<String, SignError> {
        let key = self.signing.as_ref().ok_or(SignError::VerifyOnly)?;
        let claims = json!({
            "username": user,
            "revision": revision,
            "exp": now.saturating_add(self.life.as_secs()),
        });
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, key).map_err(|_| SignError::None)
    }

    /// `None` if the token is not good.
    pub(super) fn verify(&self, token: &str, now: u64) -> Option<Signed> {
        let mut validation = Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &self.checking, &validation);
        judge(&decoded.ok()?.claims, now)
    }
}

/// What the claims of a token with a good signature say; `None` if the token is not good now.
fn judge(claims: &Map<String, Value>, now: u64) -> Option<Signed> {
    let user = claims.get("username")?.as_str()?;
    let revision = whole(claims.get("revision")?.as_f64()?);
    let ends = instant(claims, "exp")?;
    if ends.is_some_and(|ends| ends <= now) || instant(claims, "nbf")?.is_some_and(|begins| begins > now) {
        return None;
    }
    Some(Signed { principal: Principal { user: user.into(), revision }, ends })
}

/// Seconds of the Unix epoch in a claim; the outer `None` if they are no number.
fn instant(claims: &Map<String, Value>, name: &str) -> Option<Option<u64>> {
    match claims.get(name) {
        None => Some(None),
        Some(Value::Number(seconds)) => Some(Some(whole(seconds.as_f64()?))),
        Some(Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is out of range becomes the nearest number that is not"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// A file of a key.
struct KeyFile<'a> {
    path: &'a str,
    content: Vec<u8>,
}

fn read(path: &str) -> Result<KeyFile<'_>, TokenError> {
    match std::fs::read(path) {
        Ok(content) => Ok(KeyFile { path, content }),
        Err(error) => {
            crate::log!(Error, "problem loading JWT options", "path" => path, "error" => error.to_string());
            Err(TokenError::Options)
        }
    }
}

impl KeyFile<'_> {
    fn problem(&self, problem: impl ToString) -> TokenError {
        TokenError::Key { file: self.path.to_owned(), problem: problem.to_string() }
    }
}

type Keys = (Option<EncodingKey>, DecodingKey);

fn keys(
    algorithm: Algorithm,
    private: Option<&KeyFile<'_>>,
    public: Option<&KeyFile<'_>>,
) -> Result<Keys, TokenError> {
    let private = private.filter(|file| !file.content.is_empty());
    let public = public.filter(|file| !file.content.is_empty());
    if algorithm.family() == AlgorithmFamily::Hmac {
        let secret = &private.ok_or(TokenError::MissingKey)?.content;
        return Ok((Some(EncodingKey::from_secret(secret)), DecodingKey::from_secret(secret)));
    }
    let checking = public.map(|file| decoding_key(algorithm, file)).transpose()?;
    let Some(file) = private else {
        return checking.map(|checking| (None, checking)).ok_or(TokenError::MissingKey);
    };
    let signing = encoding_key(algorithm, file)?;
    let derived = Jwk::from_encoding_key(&signing, algorithm).map_err(|error| file.problem(error))?;
    if let Some(checking) = checking {
        let given =
            Jwk::from_decoding_key(&checking, Some(algorithm)).map_err(|error| file.problem(error))?;
        if given != derived {
            return Err(TokenError::KeyMismatch);
        }
    }
    let checking = DecodingKey::from_jwk(&derived).map_err(|error| file.problem(error))?;
    Ok((Some(signing), checking))
}

fn decoding_key(algorithm: Algorithm, file: &KeyFile<'_>) -> Result<DecodingKey, TokenError> {
    let pem = &file.content;
    let key = match algorithm.family() {
        AlgorithmFamily::Hmac => Ok(DecodingKey::from_secret(pem)),
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
    };
    key.map_err(|error| file.problem(error))
}

fn encoding_key(algorithm: Algorithm, file: &KeyFile<'_>) -> Result<EncodingKey, TokenError> {
    let pem = &file.content;
    let key = match algorithm.family() {
        AlgorithmFamily::Hmac => Ok(EncodingKey::from_secret(pem)),
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => match sec1(algorithm, pem) {
            Some(der) => Ok(EncodingKey::from_ec_der(&der)),
            None => EncodingKey::from_ec_pem(pem),
        },
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(pem),
    };
    key.map_err(|error| file.problem(error))
}

/// The PKCS #8 form of a key in the older form of `openssl ecparam -genkey`, which the library does not read.
fn sec1(algorithm: Algorithm, pem: &[u8]) -> Option<Vec<u8>> {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    };
    use rustls::pki_types::PrivateSec1KeyDer;
    use rustls::pki_types::pem::PemObject as _;

    let curve = if algorithm == Algorithm::ES384 {
        &ECDSA_P384_SHA384_FIXED_SIGNING
    } else {
        &ECDSA_P256_SHA256_FIXED_SIGNING
    };
    let key = PrivateSec1KeyDer::from_pem_slice(pem).ok()?;
    let pair = EcdsaKeyPair::from_private_key_der(curve, key.secret_sec1_der()).ok()?;
    Some(pair.to_pkcs8v1().ok()?.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(value: Value) -> Option<(String, u64, Option<u64>)> {
        let Value::Object(claims) = value else { panic!("claims are an object") };
        let Signed { principal, ends } = judge(&claims, 1000)?;
        Some((principal.user.as_ref().to_owned(), principal.revision, ends))
    }

    #[test]
    fn claims_are_judged_as_etcd_judges_them() {
        let good = Some(("alice".to_owned(), 7, None));
        assert_eq!(claims(json!({"username": "alice", "revision": 7})), good);
        assert_eq!(claims(json!({"username": "alice", "revision": 7.9, "aud": "x", "iat": "x"})), good);
        let ends = Some(("alice".to_owned(), 7, Some(1001)));
        assert_eq!(claims(json!({"username": "alice", "revision": 7, "exp": 1001, "nbf": 1000})), ends);
        for bad in [
            json!({}),
            json!({"username": "alice"}),
            json!({"revision": 7}),
            json!({"username": 7, "revision": 7}),
            json!({"username": "alice", "revision": "7"}),
            json!({"username": null, "revision": 7}),
            json!({"username": "alice", "revision": 7, "exp": 1000}),
            json!({"username": "alice", "revision": 7, "exp": -1}),
            json!({"username": "alice", "revision": 7, "exp": "never"}),
            json!({"username": "alice", "revision": 7, "exp": null}),
            json!({"username": "alice", "revision": 7, "nbf": 1001}),
            json!({"username": "alice", "revision": 7, "nbf": []}),
        ] {
            assert_eq!(claims(bad.clone()), None, "{bad}");
        }
        let huge = claims(json!({"username": "", "revision": 1e300})).unwrap();
        assert_eq!(huge, (String::new(), u64::MAX, None));
    }
}
