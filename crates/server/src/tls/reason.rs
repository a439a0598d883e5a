//! Why a handshake failed, in the words that etcd's log has for it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// The words for a failed handshake; the other side's silence or absence is "EOF" or a time-out.
pub(super) fn words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(inner) => tls_words(inner),
        None => {
            let known = [
                (io::ErrorKind::UnexpectedEof, "EOF"),
                (io::ErrorKind::TimedOut, "i/o timeout"),
                (io::ErrorKind::ConnectionReset, "read: connection reset by peer"),
                (io::ErrorKind::BrokenPipe, "write: broken pipe"),
            ];
            let words = known.iter().find(|(kind, _)| *kind == error.kind()).map(|(_, words)| *words);
            words.map_or_else(|| error.to_string(), str::to_owned)
        }
    }
}

/// Whether the other side just went away.
pub(super) fn is_end(error: &io::Error) -> bool {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    error.kind() == io::ErrorKind::UnexpectedEof && !is_tls
}

fn tls_words(error: &Error) -> String {
    if let Error::AlertReceived(alert) = error {
        return format!("remote error: tls: {}", alert_words(*alert));
    }
    if let Error::InvalidCertificate(error) = error {
        return certificate_words(error);
    }
    let known = [
        (Error::NoCertificatesPresented, "tls: client didn't provide a certificate"),
        (InvalidMessage::InvalidContentType.into(), "tls: first record does not look like a TLS handshake"),
        (
            PeerIncompatible::NoCipherSuitesInCommon.into(),
            "tls: no cipher suite supported by both client and server",
        ),
        (PeerIncompatible::Tls12NotOffered.into(), "tls: client offered only unsupported versions"),
        (PeerIncompatible::Tls12NotOfferedOrEnabled.into(), "tls: client offered only unsupported versions"),
        (
            PeerIncompatible::ServerDoesNotSupportTls12Or13.into(),
            "tls: server selected unsupported protocol version",
        ),
        (
            PeerIncompatible::SupportedVersionsExtensionRequired.into(),
            "tls: client offered only unsupported versions",
        ),
        (
            PeerIncompatible::NoSignatureSchemesInCommon.into(),
            "tls: peer doesn't support any of the certificate's signature algorithms",
        ),
        (Error::NoApplicationProtocol, "tls: client requested unsupported application protocols"),
    ];
    let words = known.iter().find(|(known, _)| known == error).map(|(_, words)| *words);
    words.map_or_else(|| format!("tls: {error}"), str::to_owned)
}

fn certificate_words(error: &CertificateError) -> String {
    const FAILED: &str = "tls: failed to verify certificate: x509:";
    // Only the list of allowed names says this of a client, and a name that does not fit says it of a server.
    if *error == CertificateError::NotValidForName {
        return "client certificate authentication failed".to_owned();
    }
    if *error == CertificateError::UnknownIssuer {
        return format!("{FAILED} certificate signed by unknown authority");
    }
    let text = error.to_string();
    let lower = text.to_ascii_lowercase();
    if lower.contains("expired") || lower.contains("not valid yet") {
        return format!("{FAILED} certificate has expired or is not yet valid: {text}");
    }
    if lower.contains("purpose") || lower.contains("key usage") {
        return format!("{FAILED} certificate specifies an incompatible key usage");
    }
    format!("{FAILED} {text}")
}

/// What Go calls an alert.
fn alert_words(alert: AlertDescription) -> String {
    let words = match u8::from(alert) {
        10 => "unexpected message",
        20 => "bad record MAC",
        21 => "decryption failed",
        22 => "record overflow",
        30 => "decompression failure",
        40 => "handshake failure",
        42 => "bad certificate",
        43 => "unsupported certificate",
        44 => "revoked certificate",
        45 => "expired certificate",
        46 => "unknown certificate",
        47 => "illegal parameter",
        48 => "unknown certificate authority",
        49 => "access denied",
        50 => "error decoding message",
        51 => "error decrypting message",
        70 => "protocol version not supported",
        71 => "insufficient security level",
        80 => "internal error",
        86 => "inappropriate fallback",
        90 => "user canceled",
        100 => "no renegotiation",
        109 => "missing extension",
        110 => "unsupported extension",
        112 => "unrecognized name",
        116 => "certificate required",
        120 => "no application protocol",
        number => return format!("alert({number})"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: impl Into<Error>) -> String {
        words(&io::Error::new(io::ErrorKind::InvalidData, error.into()))
    }

    #[test]
    fn reasons_have_the_words_of_go() {
        for (error, wanted) in [
            (Error::NoCertificatesPresented, "tls: client didn't provide a certificate"),
            (Error::AlertReceived(AlertDescription::BadCertificate), "remote error: tls: bad certificate"),
            (
                CertificateError::UnknownIssuer.into(),
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ),
            (CertificateError::NotValidForName.into(), "client certificate authentication failed"),
            (
                InvalidMessage::InvalidContentType.into(),
                "tls: first record does not look like a TLS handshake",
            ),
        ] {
            assert_eq!(of(error), wanted);
        }
        assert!(of(CertificateError::Expired).contains("x509: certificate has expired or is not yet valid"));
        assert!(of(CertificateError::InvalidPurpose).contains("incompatible key usage"));
        assert_eq!(words(&io::ErrorKind::UnexpectedEof.into()), "EOF");
        assert!(is_end(&io::ErrorKind::UnexpectedEof.into()));
    }
}
