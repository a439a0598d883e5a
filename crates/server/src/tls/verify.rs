//! Whether to trust a certificate that somebody shows.
//!
//! Chains are verified by webpki.
//! On top of it: a certificate that itself is in the file of trusted ones is trusted, even if it could sign others
//! (webpki refuses that, Go does not), and names may have to be on a list.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::certificate::{Certificate, Identity};
use super::files::FileError;

/// The names of which a certificate must have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    All,
    CommonNames(Vec<String>),
    Hosts(Vec<String>),
}

impl Allowed {
    fn admits(&self, identity: &Identity) -> bool {
        match self {
            Self::All => true,
            Self::CommonNames(names) => names.contains(&identity.common_name),
            Self::Hosts(hosts) => hosts.iter().any(|host| identity.check_host(host).is_ok()),
        }
    }

    /// A name that is not on the list is told to the other side as a bad certificate.
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        match self {
            Self::All => return Ok(()),
            Self::CommonNames(_) | Self::Hosts(_) => {}
        }
        match Certificate::read(certificate) {
            Some(certificate) if self.admits(&certificate.identity) => Ok(()),
            Some(_) | None => Err(CertificateError::NotValidForName.into()),
        }
    }
}

fn root_store(authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, FileError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| FileError(format!("a trusted certificate: {error}")))?;
    }
    Ok(Arc::new(roots))
}

/// Whether the certificate itself is trusted, and valid at this time.
fn is_pinned(
    authorities: &[CertificateDer<'static>],
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Option<Certificate> {
    let is_there = authorities.iter().any(|authority| authority == certificate);
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    Certificate::read(certificate).filter(|certificate| is_there && certificate.is_valid_at(now))
}

/// Verifies the certificates of clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
    allowed: Allowed,
}

impl ClientVerifier {
    /// A verifier that trusts these authorities; clients are told of them if `names_authorities`.
    pub(super) fn new(
        authorities: Vec<CertificateDer<'static>>,
        names_authorities: bool,
        allowed: Allowed,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, FileError> {
        let mut chains = WebPkiClientVerifier::builder_with_provider(root_store(&authorities)?, provider);
        if !names_authorities {
            chains = chains.clear_root_hint_subjects();
        }
        let chains = chains.build().map_err(|error| FileError(error.to_string()))?;
        Ok(Self { chains, authorities, allowed })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chains.verify_client_cert(end_entity, intermediates, now);
        let verified = verified.or_else(|error| {
            is_pinned(&self.authorities, end_entity, now)
                .map(|_| ClientCertVerified::assertion())
                .ok_or(error)
        })?;
        self.allowed.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Verifies the certificates of members that this one connects to.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// `None`: any certificate will do, as its key signs the handshake.
    trust: Option<Trust>,
    allowed: Allowed,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Trust {
    chains: Arc<WebPkiServerVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl ServerVerifier {
    /// A verifier that trusts these authorities.
    pub(super) fn new(
        authorities: Vec<CertificateDer<'static>>,
        allowed: Allowed,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, FileError> {
        let roots = root_store(&authorities)?;
        let chains = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let chains = chains.build().map_err(|error| FileError(error.to_string()))?;
        Ok(Self { trust: Some(Trust { chains, authorities }), allowed, provider })
    }

    /// A verifier that trusts whoever answers, for members with certificates that they made themselves.
    pub(super) fn trusting(provider: Arc<CryptoProvider>) -> Self {
        Self { trust: None, allowed: Allowed::All, provider }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(Trust { chains, authorities }) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verified = verified.or_else(|error| {
            let pinned = is_pinned(authorities, end_entity, now);
            let host = server_name.to_str();
            let fits = pinned.is_some_and(|certificate| certificate.identity.check_host(&host).is_ok());
            fits.then(ServerCertVerified::assertion).ok_or(error)
        })?;
        self.allowed.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
