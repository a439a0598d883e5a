//! What members tell each other about themselves in the headers of requests and answers.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::PeerIdentity;
use crate::flags::SERVER_VERSION;

/// Members of clusters with a version below are not spoken with.
const CLUSTER_VERSION_MIN: &str = "3.0.0";
/// Streams in the present form are spoken from this version on.
const STREAM_VERSION_MIN: Version = Version { major: 2, minor: 1 };

pub(super) const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
pub(super) const SERVER_FROM: HeaderName = HeaderName::from_static("x-server-from");
pub(super) const VERSION: HeaderName = HeaderName::from_static("x-server-version");
pub(super) const CLUSTER_MIN: HeaderName = HeaderName::from_static("x-min-cluster-version");
pub(super) const RAFT_TO: HeaderName = HeaderName::from_static("x-raft-to");
/// Not etcd's: where the trees of a snapshot's buckets end.
pub(super) const ROOTS: HeaderName = HeaderName::from_static("x-etched-roots");
pub(super) const PEER_URLS: HeaderName = HeaderName::from_static("x-peerurls");

pub(super) const INCOMPATIBLE: &str = "incompatible version";
pub(super) const CLUSTER_MISMATCH: &str = "cluster ID mismatch";

/// An id as it stands in headers and paths.
pub(super) fn hex(id: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("{id:x}")).expect("digits are a header's value")
}

/// The id that a text stands for.
pub(super) fn parse_hex(text: &str) -> Option<u64> {
    // `from_str_radix` would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// The headers of every request to another member.
pub(super) fn of_requests(identity: &PeerIdentity) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(SERVER_FROM, hex(identity.member_id));
    headers.insert(VERSION, HeaderValue::from_static(SERVER_VERSION));
    headers.insert(CLUSTER_MIN, HeaderValue::from_static(CLUSTER_VERSION_MIN));
    headers.insert(CLUSTER_ID, hex(identity.cluster_id));
    // URLs that are no header's value are not told: they only help members that do not know this one yet.
    if let Ok(urls) = HeaderValue::from_str(&identity.urls.join(",")) {
        headers.insert(PEER_URLS, urls);
    }
    headers
}

/// The value of a header as text; empty if there is none.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The part of a version that decides about compatibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u64,
    minor: u64,
}

impl Version {
    /// Reads `major.minor.patch`, with or without more behind it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let minor = rest.split('.').next()?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// The version in a header; members older than this header had 2.0.
    fn in_header(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        match headers.get(name) {
            None => Some(Self { major: 2, minor: 0 }),
            Some(value) => Self::parse(value.to_str().ok()?),
        }
    }

    fn known(text: &str) -> Self {
        Self::parse(text).expect("the own versions are well-formed")
    }
}

/// Checks a request's version and cluster, in etcd's order; the text for the sender if it is not to be answered.
pub(super) fn check_request(headers: &HeaderMap, identity: &PeerIdentity) -> Result<(), &'static str> {
    let remote = Version::in_header(headers, &VERSION);
    let needed = Version::in_header(headers, &CLUSTER_MIN);
    let is_compatible = remote.is_some_and(|remote| remote >= Version::known(CLUSTER_VERSION_MIN))
        && needed.is_some_and(|needed| needed <= Version::known(SERVER_VERSION));
    if !is_compatible {
        crate::log!(
            Warn, "failed version compatibility check",
            "local-member-id" => crate::logging::Value::hex(identity.member_id),
            "local-member-cluster-id" => crate::logging::Value::hex(identity.cluster_id),
            "local-member-server-version" => SERVER_VERSION,
            "local-member-server-minimum-cluster-version" => CLUSTER_VERSION_MIN,
            "remote-peer-server-name" => text(headers, &SERVER_FROM),
            "remote-peer-server-version" => text(headers, &VERSION),
            "remote-peer-server-minimum-cluster-version" => text(headers, &CLUSTER_MIN),
        );
        return Err(INCOMPATIBLE);
    }
    let cluster = text(headers, &CLUSTER_ID);
    if cluster != format!("{:x}", identity.cluster_id) {
        crate::log!(
            Warn, "request cluster ID mismatch",
            "local-member-id" => crate::logging::Value::hex(identity.member_id),
            "local-member-cluster-id" => crate::logging::Value::hex(identity.cluster_id),
            "local-member-server-version" => SERVER_VERSION,
            "local-member-server-minimum-cluster-version" => CLUSTER_VERSION_MIN,
            "remote-peer-server-name" => text(headers, &SERVER_FROM),
            "remote-peer-server-version" => text(headers, &VERSION),
            "remote-peer-server-minimum-cluster-version" => text(headers, &CLUSTER_MIN),
            "remote-peer-cluster-id" => cluster,
        );
        return Err(CLUSTER_MISMATCH);
    }
    Ok(())
}

/// Whether the member that sent this answer speaks streams as they are now.
pub(super) fn speaks_streams(headers: &HeaderMap) -> bool {
    Version::in_header(headers, &VERSION).is_some_and(|version| version >= STREAM_VERSION_MIN)
}

/// An answer in plain text, as Go's error helper writes it: with a line feed.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = typed(status, "text/plain; charset=utf-8", format!("{text}\n"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer with a body of this type.
pub(super) fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The answer to a path that is not served.
pub(super) fn not_found() -> Response<Bytes> {
    plain(StatusCode::NOT_FOUND, "404 page not found")
}

/// The answer to a method other than the one that a path has.
pub(super) fn method_not_allowed(allowed: Option<&'static str>) -> Response<Bytes> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    if let Some(allowed) = allowed {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> PeerIdentity {
        PeerIdentity { member_id: 0xa, cluster_id: 0xc1, urls: vec!["http://127.0.0.1:2380".to_owned()] }
    }

    #[test]
    fn a_member_understands_its_own_requests() {
        assert_eq!(check_request(&of_requests(&identity()), &identity()), Ok(()));
    }

    #[test]
    fn the_version_is_checked_before_the_cluster() {
        let check = |version: Option<&'static str>, needed: Option<&'static str>, cluster: &'static str| {
            let mut headers = HeaderMap::new();
            version.map(|version| headers.insert(VERSION, HeaderValue::from_static(version)));
            needed.map(|needed| headers.insert(CLUSTER_MIN, HeaderValue::from_static(needed)));
            headers.insert(CLUSTER_ID, HeaderValue::from_static(cluster));
            check_request(&headers, &identity())
        };
        assert_eq!(check(Some("3.7.2"), Some("3.0.0"), "c1"), Ok(()));
        assert_eq!(check(Some("3.0.0"), None, "c1"), Ok(()));
        assert_eq!(
            check(Some("3.8.0-alpha.0"), Some("3.7.9"), "c1"),
            Ok(()),
            "only the minor version counts"
        );
        assert_eq!(check(Some("2.3.8"), Some("3.0.0"), "c2"), Err(INCOMPATIBLE));
        assert_eq!(check(Some("3.9.0"), Some("3.8.0"), "c1"), Err(INCOMPATIBLE));
        assert_eq!(check(Some("new"), Some("3.0.0"), "c1"), Err(INCOMPATIBLE));
        assert_eq!(check(None, None, "c1"), Err(INCOMPATIBLE));
        assert_eq!(check(Some("3.7.2"), Some("3.0.0"), "c2"), Err(CLUSTER_MISMATCH));
        assert_eq!(check(Some("3.7.2"), Some("3.0.0"), "0c1"), Err(CLUSTER_MISMATCH));
    }

    #[test]
    fn ids_are_hexadecimal_without_signs() {
        assert_eq!(parse_hex("8e9e05c52164694d"), Some(0x8e9e_05c5_2164_694d));
        for text in ["", "+1", "-1", "0x1", "zz", "18e9e05c52164694d"] {
            assert_eq!(parse_hex(text), None, "{text}");
        }
    }
}
