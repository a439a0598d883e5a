//! The URLs of listeners and members: checked, and written out again as they were given.

use std::fmt;
use std::net::IpAddr;

/// How a URL is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// TCP without TLS.
    Http,
    /// TCP with TLS.
    Https,
    /// A Unix socket.
    Unix,
    /// A Unix socket with TLS.
    Unixs,
}

impl Scheme {
    /// Whether TLS is spoken.
    pub fn is_secure(self) -> bool {
        match self {
            Self::Http | Self::Unix => false,
            Self::Https | Self::Unixs => true,
        }
    }
}

/// A URL of scheme and address, without path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    text: String,
    scheme: Scheme,
    /// `host:port`, or the path of a Unix socket.
    address: String,
}

impl Url {
    /// Parses one URL.
    ///
    /// # Errors
    ///
    /// etcd's text for what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bad_scheme = || format!("URL scheme must be http, https, unix, or unixs: {text}");
        let (scheme, rest) = text.split_once("://").ok_or_else(bad_scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(bad_scheme()),
        };
        let address = match scheme {
            Scheme::Unix | Scheme::Unixs => rest.to_owned(),
            Scheme::Http | Scheme::Https => check_address(text, rest)?.to_owned(),
        };
        Ok(Self { text: text.to_owned(), scheme, address })
    }

    /// Parses a comma-separated list; the result is sorted, as members compare their URLs.
    ///
    /// # Errors
    ///
    /// etcd's text for the first URL that is wrong.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let mut urls = text.split(',').map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort_by(|a, b| a.text.cmp(&b.text));
        Ok(urls)
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `host:port`, or the path of a Unix socket.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The host, without the brackets of an IPv6 address; the whole path for a Unix socket.
    pub fn host(&self) -> &str {
        match self.scheme {
            Scheme::Unix | Scheme::Unixs => &self.address,
            Scheme::Http | Scheme::Https => {
                let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
                host.trim_start_matches('[').trim_end_matches(']')
            }
        }
    }

    /// The port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
    }

    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same URL with another host.
    pub(super) fn with_host(&self, host: IpAddr) -> Self {
        let port = self.address.rsplit_once(':').map_or("", |(_, port)| port);
        let address = match host {
            IpAddr::V4(host) => format!("{host}:{port}"),
            IpAddr::V6(host) => format!("[{host}]:{port}"),
        };
        let scheme = self.text.split_once("://").map_or("http", |(scheme, _)| scheme);
        Self { text: format!("{scheme}://{address}"), scheme: self.scheme, address }
    }
}

/// The `host:port` of a TCP URL.
fn check_address<'a>(text: &str, rest: &'a str) -> Result<&'a str, String> {
    let (address, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let no_address = || format!("URL address does not have the form \"host:port\": {text}");
    let (host, port) = address.rsplit_once(':').ok_or_else(no_address)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return Err(no_address());
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("parse \"{text}\": invalid port \":{port}\" after host"));
    }
    if !path.is_empty() {
        return Err(format!("URL must not contain a path: {text}"));
    }
    Ok(address)
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The texts of URLs, for logs.
pub fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(|url| url.text.clone()).collect()
}

/// The texts of URLs, joined by commas.
pub fn joined(urls: &[Url]) -> String {
    texts(urls).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_scheme_and_address() {
        let url = Url::parse(" http://127.0.0.1:2379 ").unwrap();
        assert_eq!((url.scheme(), url.host(), url.port()), (Scheme::Http, "127.0.0.1", Some(2379)));
        assert_eq!(url.to_string(), "http://127.0.0.1:2379");
        let url = Url::parse("https://[::1]:2380").unwrap();
        assert_eq!((url.scheme(), url.host(), url.port()), (Scheme::Https, "::1", Some(2380)));
        let url = Url::parse("unix:///run/etched.sock").unwrap();
        assert_eq!((url.scheme(), url.address()), (Scheme::Unix, "/run/etched.sock"));
    }

    #[test]
    fn what_is_wrong_is_said_in_etcds_words() {
        for (text, error) in [
            ("foo", "URL scheme must be http, https, unix, or unixs: foo"),
            ("ftp://1", "URL scheme must be http, https, unix, or unixs: ftp://1"),
            ("http://a", "URL address does not have the form \"host:port\": http://a"),
            ("http://127.0.0.1:1/x", "URL must not contain a path: http://127.0.0.1:1/x"),
            ("http://127.0.0.1:x", "parse \"http://127.0.0.1:x\": invalid port \":x\" after host"),
        ] {
            assert_eq!(Url::parse(text).unwrap_err(), error);
        }
    }

    #[test]
    fn lists_are_sorted() {
        let urls = Url::parse_list("http://b:2,http://a:1").unwrap();
        assert_eq!(joined(&urls), "http://a:1,http://b:2");
    }

    #[test]
    fn another_host_keeps_the_port() {
        let url = Url::parse("http://localhost:2379").unwrap();
        assert_eq!(url.with_host("10.0.0.1".parse().unwrap()).as_str(), "http://10.0.0.1:2379");
        assert_eq!(url.with_host("::1".parse().unwrap()).as_str(), "http://[::1]:2379");
    }
}
