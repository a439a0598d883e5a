//! What a certificate says: whose it is, for how long, and which it revokes if it is a list of revoked ones.
//!
//! Signatures are not looked at here; that is done before, or is not needed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use super::der::{
    BMP_STRING, BOOLEAN, INTEGER, OBJECT_ID, OCTET_STRING, Reader, SEQUENCE, SET, explicit, implicit, time,
};

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Who a certificate was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The common name; empty if there is none.
    pub common_name: String,
    /// The host names, perhaps with `*` as first label.
    pub dns_names: Vec<String>,
    /// The addresses.
    pub ip_addresses: Vec<IpAddr>,
}

/// What is read of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) serial: Serial,
    pub(super) identity: Identity,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// The serial number of a certificate, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Serial(Vec<u8>);

impl Serial {
    fn new(integer: &[u8]) -> Self {
        let zeros = integer.iter().take_while(|byte| **byte == 0).count();
        Self(integer[zeros..].to_vec())
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl Certificate {
    /// Reads a certificate; `None` if it is not one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut body = Reader::new(bytes).enter(SEQUENCE)?.enter(SEQUENCE)?;
        body.take_if(explicit(0));
        let serial = Serial::new(body.take(INTEGER)?);
        body.take(SEQUENCE)?;
        body.take(SEQUENCE)?;
        let mut validity = body.enter(SEQUENCE)?;
        let mut bound = || validity.next().and_then(|(tag, text)| time(tag, text));
        let (not_before, not_after) = (bound()?, bound()?);
        let subject = body.enter(SEQUENCE)?;
        body.take(SEQUENCE)?;
        body.take_if(implicit(1));
        body.take_if(implicit(2));
        let mut identity = Identity { common_name: common_name(subject)?, ..Identity::default() };
        if let Some(extensions) = body.take_if(explicit(3)) {
            read_names(Reader::new(extensions).enter(SEQUENCE)?, &mut identity)?;
        }
        Some(Self { serial, identity, not_before, not_after })
    }

    /// Whether it is valid at that time, in seconds since 1970.
    pub(super) fn is_valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// The last common name of a subject; empty if there is none.
fn common_name(mut subject: Reader<'_>) -> Option<String> {
    let mut found = String::new();
    while subject.peek().is_some() {
        let mut set = subject.enter(SET)?;
        while set.peek().is_some() {
            let mut attribute = set.enter(SEQUENCE)?;
            let kind = attribute.take(OBJECT_ID)?;
            let (tag, text) = attribute.next()?;
            if kind == COMMON_NAME {
                found = string(tag, text);
            }
        }
    }
    Some(found)
}

fn string(tag: u8, text: &[u8]) -> String {
    if tag == BMP_STRING {
        let units: Vec<u16> =
            text.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(text).into_owned()
}

fn read_names(mut extensions: Reader<'_>, identity: &mut Identity) -> Option<()> {
    while extensions.peek().is_some() {
        let mut extension = extensions.enter(SEQUENCE)?;
        let kind = extension.take(OBJECT_ID)?;
        extension.take_if(BOOLEAN);
        let value = extension.take(OCTET_STRING)?;
        if kind != SUBJECT_ALTERNATIVE_NAME {
            continue;
        }
        let mut names = Reader::new(value).enter(SEQUENCE)?;
        while names.peek().is_some() {
            let (tag, name) = names.next()?;
            if tag == implicit(2) {
                identity.dns_names.push(String::from_utf8_lossy(name).into_owned());
            } else if tag == implicit(7) {
                identity.ip_addresses.push(address(name)?);
            }
        }
    }
    Some(())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_canonical())
}

/// The serial numbers that a list of revoked certificates names; `None` if it is not such a list.
pub(super) fn read_revoked(bytes: &[u8]) -> Option<BTreeSet<Serial>> {
    let mut body = Reader::new(bytes).enter(SEQUENCE)?.enter(SEQUENCE)?;
    body.take_if(INTEGER);
    body.take(SEQUENCE)?;
    body.take(SEQUENCE)?;
    let (tag, text) = body.next()?;
    time(tag, text)?;
    // The time of the next list may be left out.
    if body.peek().is_some_and(|tag| tag != SEQUENCE && tag != explicit(0)) {
        body.next()?;
    }
    let mut serials = BTreeSet::new();
    if let Some(revoked) = body.take_if(SEQUENCE) {
        let mut revoked = Reader::new(revoked);
        while revoked.peek().is_some() {
            serials.insert(Serial::new(revoked.enter(SEQUENCE)?.take(INTEGER)?));
        }
    }
    Some(serials)
}

impl Identity {
    /// Whether the certificate was made for this host: a name, or an address.
    ///
    /// # Errors
    ///
    /// Why not, in the words of Go.
    pub(super) fn check_host(&self, host: &str) -> Result<(), String> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(wanted) = bare.parse::<IpAddr>() {
            return self.check_address(wanted.to_canonical());
        }
        if self.dns_names.iter().any(|name| covers(name, host)) {
            return Ok(());
        }
        if self.dns_names.is_empty() && self.ip_addresses.is_empty() && !self.common_name.is_empty() {
            let text = "certificate relies on legacy Common Name field, use SANs instead";
            return Err(format!("x509: {text}"));
        }
        Err(valid_for(&self.dns_names, host))
    }

    fn check_address(&self, wanted: IpAddr) -> Result<(), String> {
        if self.ip_addresses.contains(&wanted) {
            return Ok(());
        }
        if self.ip_addresses.is_empty() {
            return Err(format!(
                "x509: cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
            ));
        }
        let names: Vec<String> = self.ip_addresses.iter().map(IpAddr::to_string).collect();
        Err(valid_for(&names, &wanted.to_string()))
    }
}

fn valid_for(names: &[String], wanted: &str) -> String {
    if names.is_empty() {
        return format!("x509: certificate is not valid for any names, but wanted to match {wanted}");
    }
    format!("x509: certificate is valid for {}, not {wanted}", names.join(", "))
}

/// Whether a name in a certificate covers a host; `*` stands for the first label.
pub(super) fn covers(name: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() || host.is_empty() {
        return false;
    }
    if let Some(parent) = name.strip_prefix("*.") {
        return host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent));
    }
    name.eq_ignore_ascii_case(host)
}

/// The wall clock in seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::super::authority::{Authority, Made, Wish};
    use super::*;

    fn der(made: &Made) -> Vec<u8> {
        CertificateDer::from_pem_slice(made.cert_pem.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn names_serial_and_validity_are_read() {
        let authority = Authority::new("authority");
        let wish = Wish::named("a client").hosts(&["one.example", "*.two.example", "10.0.0.1", "::1"]);
        let made = authority.issue(wish.serial(&[0x80, 1]).valid(1_000_000_000, 2_000_000_000));
        let read = Certificate::read(&der(&made)).unwrap();
        assert_eq!(read.serial.to_string(), "8001");
        assert_eq!((read.not_before, read.not_after), (1_000_000_000, 2_000_000_000));
        assert!(read.is_valid_at(1_500_000_000) && !read.is_valid_at(2_000_000_001));
        assert_eq!(read.identity.common_name, "a client");
        assert_eq!(read.identity.dns_names, ["one.example", "*.two.example"]);
        assert_eq!(read.identity.ip_addresses.len(), 2);
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_of_a_certificate_panics() {
        let made = Authority::new("authority").issue(Wish::named("x").hosts(&["a.example", "10.0.0.1"]));
        let der = der(&made);
        for length in 0..der.len() {
            assert_eq!(Certificate::read(&der[..length]), None, "{length}");
            let mut damaged = der.clone();
            damaged[length] ^= 0x81;
            let _ = Certificate::read(&damaged);
            let _ = read_revoked(&damaged);
        }
    }

    #[test]
    fn revoked_serials_are_read_from_a_list() {
        let authority = Authority::new("authority");
        assert_eq!(read_revoked(&authority.revoke(&[])), Some(BTreeSet::new()));
        let revoked = read_revoked(&authority.revoke(&[&[1, 2], &[3]])).unwrap();
        assert_eq!(revoked.iter().map(Serial::to_string).collect::<Vec<_>>(), ["0102", "03"]);
        assert_eq!(read_revoked(b"no list"), None);
    }

    #[test]
    fn a_host_is_covered_by_name_wildcard_or_address() {
        let identity = Identity {
            common_name: "x".to_owned(),
            dns_names: ["one.example", "*.two.example"].map(str::to_owned).to_vec(),
            ip_addresses: vec![[10, 0, 0, 1].into()],
        };
        for host in
            ["one.example", "ONE.example.", "a.two.example", "10.0.0.1", "[10.0.0.1]", "::ffff:10.0.0.1"]
        {
            assert_eq!(identity.check_host(host), Ok(()), "{host}");
        }
        for (host, error) in [
            ("two.example", "x509: certificate is valid for one.example, *.two.example, not two.example"),
            (
                "a.b.two.example",
                "x509: certificate is valid for one.example, *.two.example, not a.b.two.example",
            ),
            (".two.example", "x509: certificate is valid for one.example, *.two.example, not .two.example"),
            ("10.0.0.2", "x509: certificate is valid for 10.0.0.1, not 10.0.0.2"),
        ] {
            assert_eq!(identity.check_host(host).unwrap_err(), error);
        }
        let only_name = Identity { common_name: "one.example".to_owned(), ..Identity::default() };
        assert_eq!(
            only_name.check_host("one.example").unwrap_err(),
            "x509: certificate relies on legacy Common Name field, use SANs instead"
        );
        assert_eq!(
            only_name.check_host("10.0.0.1").unwrap_err(),
            "x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs"
        );
    }
}
