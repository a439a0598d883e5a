//! Cipher suites by the names of Go, and TLS versions.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedProtocolVersion};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V12 => "TLS1.2",
            Self::V13 => "TLS1.3",
        })
    }
}

/// What TLS is spoken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The oldest version.
    pub min: TlsVersion,
    /// The newest version.
    pub max: TlsVersion,
    /// Names of the cipher suites of TLS 1.2, if not all; those of TLS 1.3 cannot be chosen.
    pub cipher_suites: Option<Vec<String>>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { min: TlsVersion::V12, max: TlsVersion::V13, cipher_suites: None }
    }
}

/// A cipher suite cannot be offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    /// There is none of that name.
    #[error("unexpected TLS cipher suite {0:?}")]
    Unknown(String),
    /// etcd knows it, and it is not safe enough for TLS here.
    #[error(
        "TLS cipher suite {0:?} is not supported by etched, which offers suites with forward secrecy and authenticated \
         encryption only"
    )]
    Unsafe(String),
}

/// Suites that can be offered.
const OFFERED: [(&str, CipherSuite); 11] = [
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Suites that etcd would offer, with old ciphers or without forward secrecy.
const UNSAFE: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

impl Protocol {
    /// Checks the names of the cipher suites.
    ///
    /// # Errors
    ///
    /// The first name that is not known, or that cannot be offered.
    pub fn check(&self) -> Result<(), SuiteError> {
        for name in self.cipher_suites.iter().flatten() {
            if find(name).is_none() {
                let is_unsafe = UNSAFE.contains(&name.as_str());
                let name = name.clone();
                return Err(if is_unsafe { SuiteError::Unsafe(name) } else { SuiteError::Unknown(name) });
            }
        }
        Ok(())
    }

    /// The ciphers and algorithms to use.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(names) = &self.cipher_suites {
            let chosen: Vec<CipherSuite> = names.iter().filter_map(|name| find(name)).collect();
            provider.cipher_suites.retain(|suite| suite.tls13().is_some() || chosen.contains(&suite.suite()));
        }
        Arc::new(provider)
    }

    /// The versions to use.
    pub(super) fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static OLD: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
        static NEW: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        match (self.min, self.max) {
            (TlsVersion::V12, TlsVersion::V12) => &OLD,
            (TlsVersion::V12, TlsVersion::V13) => &BOTH,
            (TlsVersion::V13, TlsVersion::V12 | TlsVersion::V13) => &NEW,
        }
    }
}

fn find(name: &str) -> Option<CipherSuite> {
    OFFERED.iter().find(|(offered, _)| *offered == name).map(|(_, suite)| *suite)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[&str]) -> Protocol {
        let cipher_suites = Some(names.iter().map(|name| (*name).to_owned()).collect());
        Protocol { min: TlsVersion::V12, max: TlsVersion::V13, cipher_suites }
    }

    #[test]
    fn only_chosen_suites_of_tls_1_2_are_offered() {
        let chosen = with(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_AES_128_GCM_SHA256"]);
        assert_eq!(chosen.check(), Ok(()));
        let offered = chosen.provider().cipher_suites.clone();
        assert_eq!(offered.iter().filter(|suite| suite.tls13().is_some()).count(), 3);
        let old: Vec<_> =
            offered.iter().filter(|suite| suite.tls13().is_none()).map(|suite| suite.suite()).collect();
        assert_eq!(old, [CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]);
    }

    #[test]
    fn each_name_in_the_table_is_a_suite_that_there_is() {
        let all = aws_lc_rs::default_provider().cipher_suites;
        for (name, suite) in OFFERED {
            assert!(all.iter().any(|offered| offered.suite() == suite), "{name}");
        }
    }

    #[test]
    fn unknown_and_unsafe_suites_are_refused() {
        let error = with(&["FOO"]).check().unwrap_err();
        assert_eq!(error.to_string(), "unexpected TLS cipher suite \"FOO\"");
        let name = "TLS_RSA_WITH_AES_128_GCM_SHA256";
        assert_eq!(with(&[name]).check(), Err(SuiteError::Unsafe(name.to_owned())));
    }
}
