//! Certificates for tests: an authority, a server on the loopback, and a client.

use std::path::PathBuf;

use etched_client::{Tls, TlsBuilder};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::etcd::Setup;

/// Certificates and keys in PEM files of a directory: `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let certificates = Self { directory: tempfile::tempdir().unwrap() };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        certificates.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        certificates.issue("server", &["127.0.0.1", "etcd.test"], &both, &issuer);
        certificates.issue("client", &["client.test"], &both[1..], &issuer);
        certificates
    }

    fn issue(
        &self,
        who: &str,
        names: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
        issuer: &Issuer<'_, KeyPair>,
    ) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = usages.to_vec();
        self.write(&format!("{who}.pem"), &params.signed_by(&key, issuer).unwrap().pem());
        self.write(&format!("{who}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Settings that trust the authority.
    pub(crate) fn trusting(&self) -> TlsBuilder {
        Tls::builder().trust(self.read("ca.pem"))
    }

    /// A cluster whose members have the server's certificate.
    pub(crate) fn setup(&self) -> Setup {
        let file = |name: &str| self.path(name).display().to_string();
        let flags =
            [format!("--cert-file={}", file("server.pem")), format!("--key-file={}", file("server.key"))];
        Setup { flags: flags.into(), tls: Some(self.trusting().build().unwrap()) }
    }

    /// As [`Certificates::setup`], but members demand a certificate of their clients.
    pub(crate) fn setup_with_clients(&self) -> Setup {
        let Setup { mut flags, .. } = self.setup();
        flags.push("--client-cert-auth".to_owned());
        flags.push(format!("--trusted-ca-file={}", self.path("ca.pem").display()));
        let identity = self.trusting().identity(self.read("client.pem"), self.read("client.key"));
        Setup { flags, tls: Some(identity.build().unwrap()) }
    }
}
