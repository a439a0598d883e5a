//! What the flags say about TLS for one kind of listener.

use std::fmt;
use std::path::{Path, PathBuf};

use super::files::FileError;
use super::made::{self, MadeError};
use super::suites::Protocol;
use super::verify::Allowed;

/// TLS of client listeners, or of other members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// `--cert-file`: the certificate that is shown to whoever connects, and its chain.
    pub cert_file: Option<PathBuf>,
    /// `--key-file`.
    pub key_file: Option<PathBuf>,
    /// `--client-cert-file`: the certificate for connections that this member makes, if another one.
    pub client_cert_file: Option<PathBuf>,
    /// `--client-key-file`.
    pub client_key_file: Option<PathBuf>,
    /// `--trusted-ca-file`.
    pub trusted_ca_file: Option<PathBuf>,
    /// `--client-crl-file`.
    pub crl_file: Option<PathBuf>,
    /// `--client-cert-auth`.
    pub client_cert_auth: bool,
    /// `--peer-cert-allowed-cn`; empty allows all.
    pub allowed_common_names: Vec<String>,
    /// `--client-cert-allowed-hostname`; empty allows all.
    pub allowed_hosts: Vec<String>,
    /// `--peer-skip-client-san-verification`.
    pub skip_client_san_verification: bool,
    /// `--auto-tls`: a certificate is made where none is given.
    pub auto: bool,
    /// `--self-signed-cert-validity`, in years.
    pub validity_years: u64,
    /// `--tls-min-version`, `--tls-max-version` and `--cipher-suites`.
    pub protocol: Protocol,
    /// The certificate was made by the member itself, so nobody can verify it.
    pub is_made: bool,
}

/// As etcd logs it.
impl fmt::Display for TlsOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Option<PathBuf>| text(path.as_deref());
        write!(
            formatter,
            "cert = {}, key = {}, client-cert={}, client-key={}, trusted-ca = {}, client-cert-auth = {}, crl-file = {}",
            path(&self.cert_file),
            path(&self.key_file),
            path(&self.client_cert_file),
            path(&self.client_key_file),
            path(&self.trusted_ca_file),
            self.client_cert_auth,
            path(&self.crl_file)
        )
    }
}

fn text(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

impl TlsOptions {
    /// Whether a certificate or a key is given.
    pub fn has_certificate(&self) -> bool {
        self.cert_file.is_some() || self.key_file.is_some()
    }

    /// The options with a certificate that is made in `dir` for these hosts, if that is wanted.
    /// Whoever connects to such a member is not asked for a certificate.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be made.
    pub fn or_made(self, dir: &Path, hosts: &[String]) -> Result<Self, MadeError> {
        if !self.auto || self.has_certificate() {
            return Ok(self);
        }
        let (cert, key) = made::ensure(dir, hosts, self.validity_years)?;
        Ok(Self {
            cert_file: Some(cert.clone()),
            key_file: Some(key.clone()),
            client_cert_file: Some(cert),
            client_key_file: Some(key),
            trusted_ca_file: None,
            crl_file: None,
            client_cert_auth: false,
            allowed_common_names: Vec::new(),
            allowed_hosts: Vec::new(),
            skip_client_san_verification: false,
            is_made: true,
            ..self
        })
    }

    /// The pair for those who connect.
    pub(super) fn pair(&self) -> Result<(PathBuf, PathBuf), FileError> {
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Ok((cert.clone(), key.clone())),
            (cert, key) => Err(FileError(format!(
                "KeyFile and CertFile must both be present[key: {}, cert: {}]",
                text(key.as_deref()),
                text(cert.as_deref())
            ))),
        }
    }

    /// The pair for connections that this member makes.
    pub(super) fn client_pair(&self) -> Result<(PathBuf, PathBuf), FileError> {
        match (&self.client_cert_file, &self.client_key_file) {
            (Some(cert), Some(key)) => Ok((cert.clone(), key.clone())),
            (None, None) => self.pair(),
            (cert, key) => Err(FileError(format!(
                "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, cert: {}]",
                text(key.as_deref()),
                text(cert.as_deref())
            ))),
        }
    }

    pub(super) fn allowed(&self) -> Result<Allowed, FileError> {
        match (self.allowed_common_names.as_slice(), self.allowed_hosts.as_slice()) {
            ([], []) => Ok(Allowed::All),
            (names, []) => Ok(Allowed::CommonNames(names.to_vec())),
            ([], hosts) => Ok(Allowed::Hosts(hosts.to_vec())),
            (names, hosts) => Err(FileError(format!(
                "AllowedCNs and AllowedHostnames are mutually exclusive (cns={}, hostnames={})",
                quoted(names),
                quoted(hosts)
            ))),
        }
    }
}

/// Strings as Go quotes a list of them.
pub(super) fn quoted(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
