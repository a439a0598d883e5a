//! Reads endpoints as users write them: `host:port`, `http://host:port`, `unix:///path`.

use crate::Error;

/// An endpoint that can be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The endpoint as it was given, for messages.
    pub(crate) given: String,
    /// The address in the form that tonic reads.
    pub(crate) uri: String,
}

impl Endpoint {
    /// Reads one endpoint.
    pub(crate) fn parse(given: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Endpoint { endpoint: given.to_owned(), reason: reason.to_owned() };
        let uri = match given.trim().split_once("://") {
            None => format!("http://{}", given.trim()),
            Some(("http", rest)) => format!("http://{}", rest.trim_end_matches('/')),
            Some(("https" | "unixs", _)) => {
                return Err(refuse("TLS is not supported by this version of the client; use http://"));
            }
            // etcd takes whatever stands behind the slashes as a path, also a relative one.
            Some(("unix", path)) if !path.is_empty() => format!("unix:{path}"),
            Some(("unix", _)) => return Err(refuse("the path of the socket is missing")),
            Some(_) => return Err(refuse("the scheme must be http or unix")),
        };
        if let Some(authority) = uri.strip_prefix("http://") {
            if authority.is_empty() {
                return Err(refuse("the host is missing"));
            }
            if authority.contains(['/', '?', '#']) {
                return Err(refuse("a path is not allowed"));
            }
        }
        Ok(Self { given: given.to_owned(), uri })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(given: &str) -> String {
        Endpoint::parse(given).unwrap().uri
    }

    fn reason(given: &str) -> String {
        Endpoint::parse(given).unwrap_err().to_string()
    }

    #[test]
    fn a_scheme_is_optional() {
        assert_eq!(uri("127.0.0.1:2379"), "http://127.0.0.1:2379");
        assert_eq!(uri("http://localhost:2379"), "http://localhost:2379");
        assert_eq!(uri("http://localhost:2379/"), "http://localhost:2379");
    }

    #[test]
    fn a_unix_socket_is_a_path() {
        assert_eq!(uri("unix:///run/etcd.sock"), "unix:/run/etcd.sock");
        assert_eq!(uri("unix://localhost:m1"), "unix:localhost:m1");
    }

    #[test]
    fn tls_is_refused_clearly() {
        assert!(reason("https://a:1").contains("TLS is not supported"));
        assert!(reason("unixs://a").contains("TLS is not supported"));
    }

    #[test]
    fn nonsense_is_refused_with_the_endpoint_in_the_message() {
        assert_eq!(reason("ftp://a"), r#"endpoint "ftp://a": the scheme must be http or unix"#);
        assert!(reason("").contains("the host is missing"));
        assert!(reason("http://a:1/v3").contains("a path is not allowed"));
    }
}
