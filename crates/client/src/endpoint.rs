//! Reads endpoints as users write them: `host:port`, `http://host:port`, `https://host:port`, `unix:///path`, `unix:path`.

use std::path::PathBuf;

use http::uri::Authority;

use crate::Error;

/// An endpoint that can be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The endpoint as it was given, for messages.
    pub(crate) given: String,
    pub(crate) address: Address,
    pub(crate) security: Security,
}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// What the scheme says about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// Never, even if the client has settings for it.
    Plain,
    /// Always.
    Tls,
    /// If the client has settings for it.
    AsConfigured,
}

impl Endpoint {
    /// Reads one endpoint.
    pub(crate) fn parse(given: &str) -> Result<Self, Error> {
        let text = given.trim();
        let parsed = match (socket(text), text.split_once("://")) {
            (Some(("unixs", path)), _) => unix(path).map(|address| (address, Security::Tls)),
            (Some((_, path)), _) => unix(path).map(|address| (address, Security::AsConfigured)),
            (None, None) => tcp(text).map(|address| (address, Security::AsConfigured)),
            (None, Some(("http", rest))) => tcp(rest).map(|address| (address, Security::Plain)),
            (None, Some(("https", rest))) => tcp(rest).map(|address| (address, Security::Tls)),
            (None, Some(_)) => Err("the scheme must be http, https, unix or unixs"),
        };
        match parsed {
            Ok((address, security)) => Ok(Self { given: given.to_owned(), address, security }),
            Err(reason) => Err(Error::Endpoint { endpoint: given.to_owned(), reason: reason.to_owned() }),
        }
    }

    /// The name that the member's certificate must have, unless the settings say otherwise.
    ///
    /// For a socket it is the file's name up to a colon, which is etcd's way of testing certificates without a network.
    pub(crate) fn server_name(&self) -> String {
        match &self.address {
            Address::Tcp { host, .. } => host.clone(),
            Address::Unix(path) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                file.split(':').next().unwrap_or_default().to_owned()
            }
        }
    }

    /// What requests say that they are sent to: of a socket the name of its file, if that can be said.
    pub(crate) fn authority(&self) -> String {
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port } => format!("{host}:{port}"),
            Address::Unix(path) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                file.parse::<Authority>().map_or_else(|_| "localhost".to_owned(), |name| name.to_string())
            }
        }
    }
}

/// The scheme and the path of a socket; the slashes between them may be left out.
fn socket(text: &str) -> Option<(&str, &str)> {
    let (scheme, path) = text.split_once(':').filter(|(scheme, _)| ["unix", "unixs"].contains(scheme))?;
    Some((scheme, path.strip_prefix("//").unwrap_or(path)))
}

fn tcp(text: &str) -> Result<Address, &'static str> {
    let text = text.trim_end_matches('/');
    if text.is_empty() {
        return Err("the host is missing");
    }
    if text.contains(['/', '?', '#', '@']) {
        return Err("nothing but a host and a port is allowed");
    }
    let authority: Authority = text.parse().map_err(|_| "the host or port cannot be read")?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = authority.port_u16().ok_or("the port is missing")?;
    if host.is_empty() { Err("the host is missing") } else { Ok(Address::Tcp { host, port }) }
}

/// As etcd does it, whatever stands behind the slashes is a path, also a relative one.
fn unix(path: &str) -> Result<Address, &'static str> {
    if path.is_empty() { Err("the path of the socket is missing") } else { Ok(Address::Unix(path.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &str) -> (String, Security) {
        let endpoint = Endpoint::parse(given).unwrap();
        let address = match &endpoint.address {
            Address::Tcp { .. } => endpoint.authority(),
            Address::Unix(path) => path.display().to_string(),
        };
        (format!("{address} as {}", endpoint.server_name()), endpoint.security)
    }

    fn reason(given: &str) -> String {
        Endpoint::parse(given).unwrap_err().to_string()
    }

    #[test]
    fn the_scheme_decides_about_tls() {
        assert_eq!(
            parse("127.0.0.1:2379"),
            ("127.0.0.1:2379 as 127.0.0.1".to_owned(), Security::AsConfigured)
        );
        assert_eq!(parse("http://a:1/"), ("a:1 as a".to_owned(), Security::Plain));
        assert_eq!(parse("https://a:1"), ("a:1 as a".to_owned(), Security::Tls));
        assert_eq!(parse(" https://[::1]:1 "), ("[::1]:1 as ::1".to_owned(), Security::Tls));
    }

    #[test]
    fn a_unix_socket_is_a_path() {
        assert_eq!(parse("unix:///run/e.sock"), ("/run/e.sock as e.sock".to_owned(), Security::AsConfigured));
        assert_eq!(parse("unixs://localhost:m1"), ("localhost:m1 as localhost".to_owned(), Security::Tls));
        assert_eq!(
            parse("unix:localhost:1"),
            ("localhost:1 as localhost".to_owned(), Security::AsConfigured)
        );
        assert_eq!(parse("unixs:./e.sock"), ("./e.sock as e.sock".to_owned(), Security::Tls));
    }

    #[test]
    fn requests_to_a_socket_name_its_file() {
        let authority = |given| Endpoint::parse(given).unwrap().authority();
        assert_eq!(authority("unix:localhost:20000"), "localhost:20000");
        assert_eq!(authority("unixs:///run/e.sock"), "e.sock");
        assert_eq!(authority("unix:///run/a socket"), "localhost", "not a name that HTTP knows");
    }

    #[test]
    fn nonsense_is_refused_with_the_endpoint_in_the_message() {
        assert_eq!(reason("ftp://a"), r#"endpoint "ftp://a": the scheme must be http, https, unix or unixs"#);
        assert!(reason("").contains("the host is missing"));
        assert!(reason("https://:1").contains("the host is missing"));
        assert!(reason("a").contains("the port is missing"));
        assert!(
            reason("a:70000").contains("cannot be read") || reason("a:70000").contains("port is missing")
        );
        assert!(reason("http://a:1/v3").contains("nothing but a host and a port"));
        assert!(reason("unix://").contains("the path of the socket is missing"));
        assert!(reason("unix:").contains("the path of the socket is missing"));
    }
}
