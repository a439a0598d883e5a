//! Tokens of every kind: made, read, refused.

use std::fs;
use std::process::Command;

use etched_replica::auth::{Credentials, Principal};
use tempfile::TempDir;

use super::claim::unix_seconds;
use super::{Doorman, SignError, TokenError, Words};
use crate::flags::{self, Options};
use crate::tls::{Identity, Visitor};

fn options(token: &str) -> Options {
    let mut options = flags::load("etched", &[], &[]).expect("no flags are fine").options;
    options.auth.token = token.to_owned();
    options
}

fn doorman(token: &str) -> Result<Doorman, TokenError> {
    Doorman::new(&options(token))
}

fn read(doorman: &Doorman, token: &str) -> Credentials {
    let words = Words { token: Some(token.as_bytes()), ..Words::default() };
    doorman.claim(words, &Visitor::default()).credentials()
}

/// Keys, made by OpenSSL, as an operator makes them.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.replace('@', &format!("{}/", self.0.path().display()));
        let done = Command::new("openssl").args(arguments.split(' ')).output().expect("openssl is installed");
        assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn flag(&self, method: &str, private: Option<&str>, public: Option<&str>) -> String {
        let mut flag = format!("jwt,sign-method={method}");
        for (name, file) in [("priv-key", private), ("pub-key", public)] {
            if let Some(file) = file {
                flag.push_str(&format!(",{name}={}", self.path(file)));
            }
        }
        flag
    }
}

#[test]
fn each_algorithm_signs_and_checks_and_nobody_elses_signature_is_good() {
    let keys = Keys::new();
    for name in ["a", "b"] {
        keys.openssl(&format!("genrsa -traditional -out @rsa-{name} 2048"));
        keys.openssl(&format!("rsa -in @rsa-{name} -pubout -out @rsa-{name}.pub"));
        for (curve, short) in [("prime256v1", "p256"), ("secp384r1", "p384")] {
            keys.openssl(&format!("ecparam -name {curve} -genkey -noout -out @{short}-{name}"));
            keys.openssl(&format!("ec -in @{short}-{name} -pubout -out @{short}-{name}.pub"));
            keys.openssl(&format!("pkcs8 -topk8 -nocrypt -in @{short}-{name} -out @{short}-{name}.pkcs8"));
        }
        keys.openssl(&format!("genpkey -algorithm ed25519 -out @ed-{name}"));
        keys.openssl(&format!("pkey -in @ed-{name} -pubout -out @ed-{name}.pub"));
    }
    let methods = [
        ("RS256", "rsa", ""),
        ("RS384", "rsa", ""),
        ("RS512", "rsa", ""),
        ("PS256", "rsa", ""),
        ("PS384", "rsa", ""),
        ("PS512", "rsa", ""),
        ("ES256", "p256", ""),
        ("ES256", "p256", ".pkcs8"),
        ("ES384", "p384", ""),
        ("EdDSA", "ed", ""),
    ];
    for (method, family, form) in methods {
        let (private, public) = (format!("{family}-a{form}"), format!("{family}-a.pub"));
        let (foreign, foreign_public) = (format!("{family}-b{form}"), format!("{family}-b.pub"));
        let signer = doorman(&keys.flag(method, Some(&private), None)).unwrap();
        let both = doorman(&keys.flag(method, Some(&private), Some(&public))).unwrap();
        let checker = doorman(&keys.flag(method, None, Some(&public))).unwrap();
        let stranger = doorman(&keys.flag(method, Some(&foreign), None)).unwrap();
        let token = signer.issue("alice", 7, "".into()).unwrap().0;
        let alice = Credentials::Signed(Principal { user: "alice".into(), revision: 7 });
        for reader in [&signer, &both, &checker] {
            assert_eq!(read(reader, &token), alice, "{method}");
            assert_eq!(read(reader, &format!("Bearer {token}")), alice, "{method}");
            assert_eq!(read(reader, &token[1..]), Credentials::Invalid);
            assert_eq!(read(reader, "abcdefghijklmnop.7"), Credentials::Invalid);
        }
        assert_eq!(read(&stranger, &token), Credentials::Invalid, "{method}");
        assert_eq!(checker.issue("alice", 7, "".into()), Err(SignError::VerifyOnly));
        assert!(checker.new_prefix().unwrap().0.is_empty());
        let mixed = doorman(&keys.flag(method, Some(&private), Some(&foreign_public)));
        assert!(matches!(mixed, Err(TokenError::KeyMismatch)), "{method}: {mixed:?}");
    }
    // The algorithm of a token must be the one that is configured, even if the key fits.
    let token =
        doorman(&keys.flag("RS256", Some("rsa-a"), None)).unwrap().issue("a", 1, "".into()).unwrap().0;
    assert_eq!(
        read(&doorman(&keys.flag("RS512", Some("rsa-a"), None)).unwrap(), &token),
        Credentials::Invalid
    );
    assert_eq!(
        read(&doorman(&keys.flag("PS256", Some("rsa-a"), None)).unwrap(), &token),
        Credentials::Invalid
    );
}

#[test]
fn a_secret_signs_and_checks_and_its_bytes_are_those_of_the_file() {
    let keys = Keys::new();
    fs::write(keys.path("secret"), "a secret\n").unwrap();
    fs::write(keys.path("other"), "a secret").unwrap();
    fs::write(keys.path("empty"), "").unwrap();
    for method in ["HS256", "HS384", "HS512"] {
        let one = doorman(&keys.flag(method, Some("secret"), None)).unwrap();
        let token = one.issue("root", 9, "".into()).unwrap().0;
        let root = Credentials::Signed(Principal { user: "root".into(), revision: 9 });
        assert_eq!(read(&one, &token), root);
        let other = doorman(&keys.flag(method, Some("other"), None)).unwrap();
        assert_eq!(read(&other, &token), Credentials::Invalid);
        for flag in [keys.flag(method, None, Some("secret")), keys.flag(method, Some("empty"), None)] {
            assert!(matches!(doorman(&flag), Err(TokenError::MissingKey)));
        }
    }
}

#[test]
fn a_signed_token_runs_out() {
    let keys = Keys::new();
    fs::write(keys.path("secret"), "a secret").unwrap();
    let flag = keys.flag("HS256", Some("secret"), None);
    let short = doorman(&format!("{flag},ttl=0s")).unwrap();
    let token = short.issue("alice", 1, "".into()).unwrap().0;
    assert_eq!(read(&short, &token), Credentials::Invalid);
    let long = doorman(&format!("{flag},ttl=1m")).unwrap();
    let token = long.issue("alice", 1, "".into()).unwrap().0;
    let words = Words { token: Some(token.as_bytes()), ..Words::default() };
    let claim = long.claim(words, &Visitor::default());
    assert!(matches!(claim.credentials(), Credentials::Signed(_)));
    let now = unix_seconds();
    assert!(!claim.is_over(now) && claim.is_over(now + 61), "a connection that lives longer is asked again");
}

#[test]
fn options_that_make_no_sense_are_refused_with_etcds_text() {
    let keys = Keys::new();
    fs::write(keys.path("secret"), "a secret").unwrap();
    let secret = keys.path("secret");
    for flag in [
        "complex",
        "jwt",
        "jwt,sign-method=RS000",
        "jwt,sign-method",
        "jwt,sign-method=HS256=HS256",
        "simple,a",
        &format!("jwt,sign-method=HS256,sign-method=HS256,priv-key={secret}"),
        &format!("jwt,sign-method=HS256,priv-key={secret},ttl=forever"),
        "jwt,sign-method=HS256,priv-key=/nowhere/at/all",
        "jwt,sign-method=RS256,pub-key=/nowhere/at/all",
    ] {
        let error = doorman(flag).unwrap_err();
        assert_eq!(error.to_string(), "auth: invalid auth options", "{flag}");
    }
    for flag in ["jwt,sign-method=RS256", "jwt,sign-method=HS256", "jwt,sign-method=EdDSA,pub-key="] {
        assert_eq!(doorman(flag).unwrap_err().to_string(), "auth: missing key data", "{flag}");
    }
    let error = doorman("jwt,sign-method=ES512,priv-key=x").unwrap_err();
    assert!(matches!(error, TokenError::Options), "the file is looked for first: {error}");
    let error = doorman(&format!("jwt,sign-method=ES512,priv-key={secret}")).unwrap_err();
    assert_eq!(error.to_string(), "auth: signature method ES512 is not supported by etched");
    let error = doorman(&format!("jwt,sign-method=RS256,priv-key={secret}")).unwrap_err();
    assert!(matches!(error, TokenError::Key { .. }), "{error}");
    assert!(doorman(&format!("jwt,sign-method=HS256,priv-key={secret},strange=1")).is_ok());
    assert!(doorman("simple,strange=1").is_ok());
}

#[test]
fn random_tokens_are_letters_that_do_not_come_again() {
    let simple = doorman("simple").unwrap();
    let prefixes: std::collections::BTreeSet<String> =
        (0..100).map(|_| simple.new_prefix().unwrap().0).collect();
    assert_eq!(prefixes.len(), 100);
    let letters: std::collections::BTreeSet<char> =
        prefixes.iter().flat_map(|prefix| prefix.chars()).collect();
    assert!(prefixes.iter().all(|prefix| prefix.len() == 16));
    assert!(letters.iter().all(char::is_ascii_alphabetic) && letters.len() == 52);
    assert_eq!(simple.issue("a", 1, "x.7".into()), Ok("x.7".into()));
    assert!(matches!(read(&simple, "abcdefghijklmnop.7"), Credentials::Simple(token) if token.index() == 8));
    assert_eq!(read(&simple, ""), Credentials::Invalid);
    let none = doorman("").unwrap();
    assert_eq!(read(&none, "abcdefghijklmnop.7"), Credentials::Invalid);
    assert_eq!(none.issue("a", 1, "".into()), Err(SignError::None));
}

#[test]
fn a_certificate_speaks_where_no_token_does() {
    let identity = Identity { common_name: "alice".into(), dns_names: vec![], ip_addresses: vec![] };
    let visitor = Visitor { is_secure: true, identity: Some(identity.into()) };
    let mut options = options("simple");
    let without = Doorman::new(&options).unwrap();
    options.security.client.client_cert_auth = true;
    let with = Doorman::new(&options).unwrap();
    let none = Words::default();
    assert_eq!(with.claim(none, &visitor).credentials(), Credentials::CommonName("alice".into()));
    assert_eq!(without.claim(none, &visitor).credentials(), Credentials::Anonymous);
    assert_eq!(with.claim(none, &Visitor::default()).credentials(), Credentials::Anonymous);
    let proxied = Words { is_proxied: true, ..none };
    assert_eq!(with.claim(proxied, &visitor).credentials(), Credentials::Anonymous);
    let token = Words { authorization: Some(b"Bearer x.1"), ..none };
    assert!(matches!(with.claim(token, &visitor).credentials(), Credentials::Simple(_)));
    let both = Words { token: Some(b"nonsense"), authorization: Some(b"x.1"), is_proxied: false };
    assert_eq!(with.claim(both, &visitor).credentials(), Credentials::Invalid, "the token comes first");
    let broken = Words { token: Some(b"\xff.1"), ..none };
    assert_eq!(with.claim(broken, &visitor).credentials(), Credentials::Invalid);
}

#[test]
fn neither_tokens_nor_passwords_are_printed() {
    let simple = doorman("simple").unwrap();
    let words = Words { token: Some(b"abcdefghijklmnop.7"), ..Words::default() };
    let text = format!("{:?}", simple.claim(words, &Visitor::default()));
    assert!(!text.contains("abcdef"), "{text}");
}
