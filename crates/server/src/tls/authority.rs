//! Certificates for tests: an authority, what it issues, and what it revokes.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};

/// A moment, in seconds since 1970, in a type that need not be named.
macro_rules! at {
    ($seconds:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs($seconds)
    };
}

/// Seconds since 1970 between which certificates are valid unless a test wants them otherwise.
const VALID: (u64, u64) = (1_000_000_000, 4_000_000_000);

/// Who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) cert_pem: String,
}

/// A certificate and its key.
pub(crate) struct Made {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
}

/// What a certificate is to say.
pub(crate) struct Wish {
    name: String,
    hosts: Vec<String>,
    serial: Option<Vec<u8>>,
    valid: (u64, u64),
    usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Wish {
    /// A certificate with this common name.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), hosts: Vec::new(), serial: None, valid: VALID, usages: Vec::new() }
    }

    /// Names and addresses that it is valid for.
    pub(crate) fn hosts(mut self, hosts: &[&str]) -> Self {
        self.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        self
    }

    pub(crate) fn serial(mut self, serial: &[u8]) -> Self {
        self.serial = Some(serial.to_vec());
        self
    }

    /// Seconds since 1970 between which it is valid.
    pub(crate) fn valid(mut self, from: u64, to: u64) -> Self {
        self.valid = (from, to);
        self
    }

    /// It may be used by a server only.
    pub(crate) fn for_servers_only(mut self) -> Self {
        self.usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(name, Vec::new(), VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        let cert_pem = params.self_signed(&key).expect("the authority signs itself").pem();
        Self { issuer: Issuer::new(params, key), cert_pem }
    }

    pub(crate) fn issue(&self, wish: Wish) -> Made {
        let mut params = params(&wish.name, wish.hosts, wish.valid);
        params.serial_number = wish.serial.map(SerialNumber::from);
        params.extended_key_usages = wish.usages;
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params.signed_by(&key, &self.issuer).expect("the authority signs");
        Made { cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }

    /// A list of revoked serials, as DER.
    pub(crate) fn revoke(&self, serials: &[&[u8]]) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: at!(VALID.0),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: at!(VALID.0),
            next_update: at!(VALID.1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("the authority signs").der().to_vec()
    }
}

fn params(name: &str, hosts: Vec<String>, (from, to): (u64, u64)) -> CertificateParams {
    let mut params = CertificateParams::new(hosts).expect("the names can be in a certificate");
    params.distinguished_name = DistinguishedName::new();
    if !name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    (params.not_before, params.not_after) = (at!(from), at!(to));
    params
}
