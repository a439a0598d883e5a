//! Whether a certificate belongs to the address that it comes from.

use std::net::IpAddr;

use super::certificate::{Identity, covers};
use super::options::quoted;
use super::reverse;

/// Checks that the certificate names the remote address, or a host name of it; one without names is fine.
///
/// # Errors
///
/// Why it does not, in etcd's words.
pub(super) async fn check(identity: &Identity, remote: IpAddr) -> Result<(), String> {
    let Identity { dns_names, ip_addresses, .. } = identity;
    if !ip_addresses.is_empty() {
        let checked = identity.check_host(&remote.to_canonical().to_string());
        if checked.is_ok() || dns_names.is_empty() {
            return checked;
        }
    }
    if dns_names.is_empty() {
        return Ok(());
    }
    let refused = match is_one_of(remote.to_canonical(), dns_names).await {
        Ok(true) => return Ok(()),
        Ok(false) => String::new(),
        Err(error) => format!(" ({error})"),
    };
    let remote = remote.to_canonical().to_string();
    Err(format!("tls: {remote:?} does not match any of DNSNames {}{refused}", quoted(dns_names)))
}

/// Whether a name of the address is covered by a name of the certificate, or such a name has this address.
async fn is_one_of(remote: IpAddr, dns_names: &[String]) -> Result<bool, String> {
    let (names, mut failure) = match reverse::names(remote).await {
        Ok(names) => (names, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let covered = |name: &String| dns_names.iter().any(|wanted| covers_remote(wanted, name));
    if names.iter().any(covered) {
        return Ok(true);
    }
    for name in dns_names.iter().filter(|name| !name.starts_with("*.")) {
        match tokio::net::lookup_host((name.as_str(), 0)).await {
            Ok(mut found) => {
                if found.any(|found| found.ip().to_canonical() == remote) {
                    return Ok(true);
                }
            }
            Err(error) => failure = Some(error.to_string()),
        }
    }
    failure.map_or(Ok(false), Err)
}

/// Here, unlike in the names of a host, a wildcard stands for any number of labels.
fn covers_remote(wanted: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match wanted.strip_prefix('*') {
        Some(parent) if parent.starts_with('.') => {
            let (name, parent) = (name.to_ascii_lowercase(), parent.to_ascii_lowercase());
            name.len() > parent.len() && name.ends_with(&parent)
        }
        Some(_) | None => covers(wanted, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(dns_names: &[&str], ip_addresses: &[[u8; 4]]) -> Identity {
        Identity {
            common_name: String::new(),
            dns_names: dns_names.iter().map(|name| (*name).to_owned()).collect(),
            ip_addresses: ip_addresses.iter().map(|ip| IpAddr::from(*ip)).collect(),
        }
    }

    #[tokio::test]
    async fn the_remote_address_must_be_named() {
        let remote = IpAddr::from([127, 0, 0, 1]);
        for fits in [
            identity(&[], &[]),
            identity(&[], &[[127, 0, 0, 1]]),
            identity(&["localhost"], &[]),
            identity(&["localhost"], &[[10, 0, 0, 1]]),
        ] {
            assert_eq!(check(&fits, remote).await, Ok(()), "{fits:?}");
        }
        assert_eq!(
            check(&identity(&[], &[[10, 0, 0, 1]]), remote).await.unwrap_err(),
            "x509: certificate is valid for 10.0.0.1, not 127.0.0.1"
        );
        let error = check(&identity(&["*.invalid", "127.0.0.2"], &[]), remote).await.unwrap_err();
        let start = "tls: \"127.0.0.1\" does not match any of DNSNames [\"*.invalid\" \"127.0.0.2\"]";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn wildcards_cover_names_below_them() {
        assert!(covers_remote("*.etcd.svc", "a.etcd.svc.") && covers_remote("*.etcd.svc", "a.b.ETCD.svc"));
        assert!(!covers_remote("*.etcd.svc", "etcd.svc") && !covers_remote("*.etcd.svc", "aetcd.svc"));
        assert!(covers_remote("a.example", "A.example.") && !covers_remote("a.example", "b.a.example"));
    }
}
