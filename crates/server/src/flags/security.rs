//! The flags of TLS.

use std::path::PathBuf;

use super::Problem;
use super::options::{Options, is_on, unsigned};
use super::typed::Typed;
use super::url::{Scheme, Url};
use crate::log;
use crate::tls::{Connector, FileError, MadeError, Protocol, TlsOptions, TlsVersion};

/// TLS of all listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct SecurityOptions {
    /// For clients.
    pub client: TlsOptions,
    /// For other members.
    pub peer: TlsOptions,
}

/// A certificate cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct CertificateError {
    /// The message of the fatal line that etcd ends with.
    pub headline: &'static str,
    error: MadeError,
}

impl Options {
    /// Makes the certificates that `--auto-tls` and `--peer-auto-tls` ask for, or finds those made before.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be made or written.
    pub fn make_certificates(&mut self) -> Result<(), CertificateError> {
        let hosts = |urls: &[Url]| {
            let tcp = urls.iter().filter(|url| !is_unix(url));
            tcp.map(|url| url.host().to_owned()).collect::<Vec<_>>()
        };
        let dir = self.member.data_dir.join("fixtures");
        let security = &mut self.security;
        for (tls, message) in [
            (&security.peer, "ignoring peer auto TLS since certs given"),
            (&security.client, "ignoring client auto TLS since certs given"),
        ] {
            if tls.auto && tls.has_certificate() {
                log!(Warn, message);
            }
        }
        let peer = security.peer.clone().or_made(&dir.join("peer"), &hosts(&self.member.listen_peer_urls));
        let headline = "failed to get peer self-signed certs";
        security.peer = peer.map_err(|error| CertificateError { headline, error })?;
        let mut client_hosts = hosts(&self.listen.client_urls);
        client_hosts.extend(hosts(&self.listen.client_http_urls));
        let client = security.client.clone().or_made(&dir.join("client"), &client_hosts);
        let headline = "failed to get client self-signed certs";
        security.client = client.map_err(|error| CertificateError { headline, error })?;
        Ok(())
    }

    /// What other members are connected to with; `None` if nothing says that TLS is spoken with them.
    ///
    /// # Errors
    ///
    /// When certificate, key or authorities cannot be used.
    pub fn peer_connector(&self) -> Result<Option<Connector>, FileError> {
        let tls = &self.security.peer;
        let mut urls = self.member.initial_cluster.values().flatten();
        let is_wanted = tls.has_certificate()
            || tls.trusted_ca_file.is_some()
            || urls.any(|url| url.scheme().is_secure());
        if is_wanted { Connector::new(tls).map(Some) } else { Ok(None) }
    }
}

/// The names of one side's flags.
struct Names {
    cert: &'static str,
    key: &'static str,
    client_cert: &'static str,
    client_key: &'static str,
    trusted_ca: &'static str,
    crl: &'static str,
    client_cert_auth: &'static str,
    allowed_common_names: Option<&'static str>,
    allowed_hosts: &'static str,
    skip_client_san_verification: Option<&'static str>,
    auto: &'static str,
}

const CLIENT: Names = Names {
    cert: "cert-file",
    key: "key-file",
    client_cert: "client-cert-file",
    client_key: "client-key-file",
    trusted_ca: "trusted-ca-file",
    crl: "client-crl-file",
    client_cert_auth: "client-cert-auth",
    allowed_common_names: None,
    allowed_hosts: "client-cert-allowed-hostname",
    skip_client_san_verification: None,
    auto: "auto-tls",
};

const PEER: Names = Names {
    cert: "peer-cert-file",
    key: "peer-key-file",
    client_cert: "peer-client-cert-file",
    client_key: "peer-client-key-file",
    trusted_ca: "peer-trusted-ca-file",
    crl: "peer-crl-file",
    client_cert_auth: "peer-client-cert-auth",
    allowed_common_names: Some("peer-cert-allowed-cn"),
    allowed_hosts: "peer-cert-allowed-hostname",
    skip_client_san_verification: Some("peer-skip-client-san-verification"),
    auto: "peer-auto-tls",
};

/// Parses the flags of both sides; [`check_versions`] comes first.
pub(super) fn build(typed: &Typed) -> Result<SecurityOptions, Problem> {
    Ok(SecurityOptions { client: side(typed, &CLIENT)?, peer: side(typed, &PEER)? })
}

fn side(typed: &Typed, names: &Names) -> Result<TlsOptions, Problem> {
    let path = |name| Some(typed.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
    let list = |name: &str| {
        let texts = typed.text(name);
        if texts.is_empty() { Vec::new() } else { texts.split(',').map(str::to_owned).collect() }
    };
    Ok(TlsOptions {
        cert_file: path(names.cert),
        key_file: path(names.key),
        client_cert_file: path(names.client_cert),
        client_key_file: path(names.client_key),
        trusted_ca_file: path(names.trusted_ca),
        crl_file: path(names.crl),
        client_cert_auth: is_on(typed, names.client_cert_auth),
        allowed_common_names: names.allowed_common_names.map(list).unwrap_or_default(),
        allowed_hosts: list(names.allowed_hosts),
        skip_client_san_verification: names
            .skip_client_san_verification
            .is_some_and(|name| is_on(typed, name)),
        auto: is_on(typed, names.auto),
        validity_years: unsigned(typed, "self-signed-cert-validity")?,
        protocol: protocol(typed),
        is_made: false,
    })
}

/// What was typed, as far as it makes sense: [`check_versions`] says what does not.
fn protocol(typed: &Typed) -> Protocol {
    let suites = Some(typed.text("cipher-suites")).filter(|_| typed.has("cipher-suites"));
    Protocol {
        min: version(typed, "tls-min-version").unwrap_or(None).unwrap_or(TlsVersion::V12),
        max: version(typed, "tls-max-version").unwrap_or(None).unwrap_or(TlsVersion::V13),
        cipher_suites: suites.map(|names| names.split(',').map(str::to_owned).collect()),
    }
}

fn version(typed: &Typed, name: &str) -> Result<Option<TlsVersion>, Problem> {
    match typed.text(name) {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(TlsVersion::V12)),
        "TLS1.3" => Ok(Some(TlsVersion::V13)),
        other => {
            Err(Problem::Verify(format!("unexpected TLS version {other:?} (must be one of: TLS1.2, TLS1.3)")))
        }
    }
}

/// Checks the versions, as the last step of verifying the configuration.
pub(super) fn check_versions(typed: &Typed) -> Result<(), Problem> {
    let (min, max) = (version(typed, "tls-min-version")?, version(typed, "tls-max-version")?);
    match (min, max) {
        (Some(min), Some(max)) if min > max => {
            Err(Problem::Verify(format!("min version ({min}) is greater than max version ({max})")))
        }
        (Some(TlsVersion::V13), _) if typed.has("cipher-suites") => {
            Err(Problem::verify("cipher suites cannot be configured when only TLS1.3 is enabled"))
        }
        _ => Ok(()),
    }
}

/// Checks what etcd finds out only as it starts.
pub(super) fn check_start(
    security: &SecurityOptions,
    client_urls: &[Url],
    http_urls: &[Url],
    metrics_urls: &[Url],
) -> Result<(), Problem> {
    security.client.protocol.check().map_err(|error| Problem::Start(error.to_string()))?;
    let has_certificate = security.client.has_certificate() || security.client.auto;
    if let Some(url) =
        client_urls.iter().chain(http_urls).find(|url| url.scheme().is_secure() && !has_certificate)
    {
        return Err(Problem::Start(format!(
            "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with HTTPS scheme"
        )));
    }
    for url in http_urls {
        if client_urls.iter().any(|other| is_same_socket(other, url)) {
            return Err(Problem::Start(format!(
                "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {url}"
            )));
        }
    }
    if metrics_urls.iter().any(|url| url.scheme().is_secure()) && !has_certificate {
        let text = "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url";
        return Err(Problem::Start(text.to_owned()));
    }
    Ok(())
}

/// Whether two URLs ask for one socket, with TLS or without.
fn is_same_socket(one: &Url, other: &Url) -> bool {
    one.address() == other.address() && is_unix(one) == is_unix(other)
}

fn is_unix(url: &Url) -> bool {
    match url.scheme() {
        Scheme::Unix | Scheme::Unixs => true,
        Scheme::Http | Scheme::Https => false,
    }
}
