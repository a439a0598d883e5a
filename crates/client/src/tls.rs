//! TLS towards members: whom to trust, who this client is, and the connection itself.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Settings of TLS, as [`Options::tls`](crate::Options) takes them; clones share their certificates.
///
/// By default it trusts what the operating system trusts, and has no certificate of its own.
///
/// ```
/// use etched_client::Tls;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::builder()
///     .trust(std::fs::read("ca.pem")?)
///     .identity(std::fs::read("client.pem")?, std::fs::read("client.key")?)
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

/// What goes into a [`Tls`]; made by [`Tls::builder`].
#[derive(Default)]
#[must_use]
pub struct TlsBuilder {
    authorities: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    server_name: Option<String>,
    unverified: bool,
}

type Cause = Box<dyn StdError + Send + Sync>;

/// Why settings of TLS are of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The authorities to trust cannot be read.
    #[error("the trusted certificates cannot be read")]
    Authorities(#[source] Cause),
    /// There is no certificate among the authorities that can be used.
    #[error("there is no usable certificate among the trusted ones")]
    NoAuthority,
    /// The client's certificate cannot be read.
    #[error("the client's certificate cannot be read")]
    Certificate(#[source] Cause),
    /// The client's private key cannot be read.
    #[error("the client's private key cannot be read")]
    Key(#[source] Cause),
    /// The client's certificate and private key cannot be used together.
    #[error("the client's certificate and private key cannot be used")]
    Identity(#[source] Cause),
    /// The server name is neither a name nor an address.
    #[error("{0:?} is no name of a server")]
    ServerName(String),
}

impl Tls {
    /// Begins to collect settings.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// The settings for `https` endpoints of a client that has none.
    pub(crate) fn of_the_system() -> Self {
        static DEFAULT: LazyLock<Tls> = LazyLock::new(|| {
            TlsBuilder::default().build().expect("settings without anything to read are fine")
        });
        DEFAULT.clone()
    }

    /// The same settings for a connection that does not speak HTTP/2.
    pub(crate) fn for_http1(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { config: Arc::new(config), server_name: self.server_name.clone() }
    }

    /// What connections are made with.
    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The name that the certificate must have, if it is not that of the endpoint.
    pub(crate) fn server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsBuilder").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl TlsBuilder {
    /// Trusts exactly the authorities in this PEM text, rather than those of the operating system.
    pub fn trust(mut self, authorities_pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(authorities_pem.into());
        self
    }

    /// Shows this certificate (followed by those that lead to its authority) to servers that ask for one.
    pub fn identity(mut self, certificate_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((certificate_pem.into(), key_pem.into()));
        self
    }

    /// Expects this name in the servers' certificates, rather than the host of the endpoint.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Accepts any certificate: traffic is encrypted, but may go to whoever stands in between.
    pub fn skip_verification(mut self) -> Self {
        self.unverified = true;
        self
    }

    /// Checks and assembles the settings.
    ///
    /// # Errors
    ///
    /// As the variants of [`TlsError`] say.
    pub fn build(self) -> Result<Tls, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions");
        let trusted = self.authorities.as_deref().map(|pem| TrustedServer::of(pem, &provider));
        let trusted = trusted.transpose()?;
        let builder = match trusted {
            _ if self.unverified => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
            }
            None => builder.with_root_certificates(roots_of_the_system()),
            Some(trusted) => builder.dangerous().with_custom_certificate_verifier(Arc::new(trusted)),
        };
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates_of(&certificate).map_err(|e| TlsError::Certificate(e.into()))?;
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| TlsError::Key(e.into()))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| TlsError::Identity(e.into()))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let server_name = match self.server_name {
            None => None,
            Some(name) => {
                Some(ServerName::try_from(name.clone()).map_err(|_invalid| TlsError::ServerName(name))?)
            }
        };
        Ok(Tls { config: Arc::new(config), server_name })
    }
}

/// All certificates of a PEM text; at least one.
fn certificates_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) }
}

/// What the operating system trusts; if that is nothing, no server is trusted.
fn roots_of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Trusts servers whose certificate leads to an authority, or is itself in the list of authorities.
///
/// The latter is refused by webpki if the certificate may sign others; Go trusts it, and so do we.
#[derive(Debug)]
struct TrustedServer {
    chains: Arc<WebPkiServerVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl TrustedServer {
    fn of(pem: &[u8], provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let authorities = certificates_of(pem).map_err(|e| TlsError::Authorities(e.into()))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        if roots.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let chains = chains.build().map_err(|e| TlsError::Authorities(e.into()))?;
        Ok(Self { chains, authorities })
    }

    /// Whether all that is wrong with a certificate is that it may sign others.
    ///
    /// By then its time has been checked.
    fn is_only_an_authority(error: &rustls::Error) -> bool {
        const WEBPKI: &str = "CaUsedAsEndEntity";
        matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == WEBPKI)
    }
}

impl ServerCertVerifier for TrustedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let outcome =
            self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match outcome {
            Err(error) if Self::is_only_an_authority(&error) && self.authorities.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Trusts every server, and checks only that it has the key of the certificate that it shows.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn texts_without_certificates_are_refused() {
        let trust = |pem: &str| Tls::builder().trust(pem).build().unwrap_err();
        assert!(matches!(trust(""), TlsError::Authorities(_)));
        let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(trust(rubbish), TlsError::NoAuthority));
        let identity = Tls::builder().identity("", "").build().unwrap_err();
        assert!(matches!(identity, TlsError::Certificate(_)));
        let key = Tls::builder().identity(rubbish, "").build().unwrap_err();
        assert!(matches!(key, TlsError::Key(_)));
        let name = Tls::builder().server_name("a b").build().unwrap_err();
        assert_eq!(name.to_string(), r#""a b" is no name of a server"#);
    }

    #[test]
    fn an_authority_that_is_trusted_itself_may_serve_under_its_names_and_in_its_time() {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["etcd.test".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let own = params.self_signed(&key).unwrap();
        let other = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let trusted = TrustedServer::of(own.pem().as_bytes(), &provider).unwrap();
        let outcome = |certificate: &rcgen::Certificate, name: &'static str, year: u64| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 365 * 86_400));
            let name = ServerName::try_from(name).unwrap();
            trusted.verify_server_cert(certificate.der(), &[], &name, &[], now).map(drop)
        };
        outcome(&own, "etcd.test", 2025).unwrap();
        outcome(&own, "other.test", 2025).unwrap_err();
        outcome(&own, "etcd.test", 2035).unwrap_err();
        outcome(&other, "etcd.test", 2025).unwrap_err();
    }

    #[test]
    fn settings_do_not_show_their_key() {
        let builder = Tls::builder().identity("c", "secret").server_name("a");
        assert_eq!(format!("{builder:?}"), r#"TlsBuilder { server_name: Some("a"), .. }"#);
    }
}
