//! Certificates that a member makes for itself: `--auto-tls` and `--peer-auto-tls`.
//!
//! They encrypt, and nobody can verify them: whoever connects must not try.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustix::fs::Mode;

use super::certificate::{Certificate, now};
use super::files;

const SECONDS_PER_YEAR: u64 = 365 * 86_400;
/// Longer than anybody plans, and short enough for the calendar of certificates.
const YEARS_MAX: u64 = 290;

/// A certificate cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MadeError {
    /// `--self-signed-cert-validity=0`.
    #[error("selfSignedCertValidity is invalid,it should be greater than 0")]
    NoValidity,
    /// A host of a listener cannot stand in a certificate, or there is no randomness.
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    /// The files cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The paths of certificate and key in `dir`; they are made for these hosts unless there are valid ones.
pub(super) fn ensure(dir: &Path, hosts: &[String], years: u64) -> Result<(PathBuf, PathBuf), MadeError> {
    if years == 0 {
        crate::log!(Warn, "cannot generate cert", "error" => MadeError::NoValidity.to_string());
        return Err(MadeError::NoValidity);
    }
    let dir = std::path::absolute(dir)?;
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    if cert.exists() && key.exists() {
        match is_usable(&cert, &key) {
            Ok(()) => return Ok((cert, key)),
            Err(reason) => {
                let path = cert.display().to_string();
                crate::log!(Warn, "a new certificate is made", "path" => path, "reason" => reason);
            }
        }
    }
    make_dir(&dir)?;
    let (cert_pem, key_pem) = make(hosts, years)?;
    // The key first: a certificate that is there has its key.
    write(&key, &key_pem, Mode::RUSR | Mode::WUSR)?;
    crate::log!(Info, "created key file", "path" => key.display().to_string());
    write(&cert, &cert_pem, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
    crate::log!(Info, "created cert file", "path" => cert.display().to_string());
    Ok((cert, key))
}

fn is_usable(cert: &Path, key: &Path) -> Result<(), String> {
    let (chain, _key) = files::read_pair(cert, key).map_err(|error| error.to_string())?;
    let own = chain.first().and_then(|own| Certificate::read(own)).ok_or("it cannot be read")?;
    if own.is_valid_at(now()) { Ok(()) } else { Err("it has expired or is not yet valid".to_owned()) }
}

fn make(hosts: &[String], years: u64) -> Result<(String, String), MadeError> {
    let hosts: Vec<String> = hosts.iter().filter(|host| !host.is_empty()).cloned().collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    let start = Duration::from_secs(u64::try_from(now()).unwrap_or_default());
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + start;
    params.not_after = params.not_before + Duration::from_secs(years.min(YEARS_MAX) * SECONDS_PER_YEAR);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let until = params.not_after.to_string();
    crate::log!(Warn, "automatically generate certificates", "certificate-validity-bound-not-after" => until);
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes a file as a whole or not at all.
fn write(path: &Path, text: &str, mode: Mode) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let unfinished = path.with_extension("tmp");
    let options =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode.bits()).clone();
    let mut file = options.open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_made_once_with_the_hosts_of_the_listeners() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("fixtures/peer");
        let hosts = ["127.0.0.1".to_owned(), "a.example".to_owned(), String::new()];
        let (cert, key) = ensure(&dir, &hosts, 2).unwrap();
        assert_eq!(cert, dir.join("cert.pem"));
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let (chain, _key) = files::read_pair(&cert, &key).unwrap();
        let made = Certificate::read(&chain[0]).unwrap();
        assert_eq!(made.identity.dns_names, ["a.example"]);
        assert_eq!(made.identity.ip_addresses, [std::net::IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(made.not_after - made.not_before, 2 * 365 * 86_400);
        let before = std::fs::read(&cert).unwrap();
        ensure(&dir, &hosts, 2).unwrap();
        assert_eq!(std::fs::read(&cert).unwrap(), before);
    }

    #[test]
    fn a_pair_that_cannot_be_used_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = ensure(dir.path(), &[], 1).unwrap();
        std::fs::write(&cert, "broken").unwrap();
        ensure(dir.path(), &[], 1000).unwrap();
        assert!(is_usable(&cert, &key).is_ok());
        assert!(matches!(ensure(dir.path(), &[], 0), Err(MadeError::NoValidity)));
    }
}
