//! An authority and certificates for a cluster of `etched dev --tls`.
//!
//! Each file is written once; a directory that has all of them is taken as it is.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// Who is certified: the file, the common name, and where it may be reached.
const CERTIFIED: [(&str, &str, &[&str]); 2] =
    [("server", "etched-dev", &["localhost", "127.0.0.1", "::1"]), ("client", "root", &[])];

/// Makes what is missing in `dir`: `ca.pem`, and a pair for servers and one for clients.
pub(super) fn ensure(dir: &Path) -> Result<()> {
    let names = ["ca.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem"];
    if names.iter().all(|name| dir.join(name).exists()) {
        return Ok(());
    }
    make(dir).with_context(|| format!("cannot make certificates in {}", dir.display()))
}

fn make(dir: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named("etched dev authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    // The key of the authority is not kept: nobody can make a further certificate.
    write(&dir.join("ca.pem"), &params.self_signed(&key)?.pem())?;
    let authority = Issuer::new(params, key);
    for (file, name, hosts) in CERTIFIED {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = named(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        write(&dir.join(format!("{file}-key.pem")), &key.serialize_pem())?;
        write(&dir.join(format!("{file}.pem")), &params.signed_by(&key, &authority)?.pem())?;
    }
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Writes a file that only its owner may read.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
