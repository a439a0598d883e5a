//! The settings of a client.

use std::time::Duration;

use crate::{Credentials, Tls};

/// Settings of a [`Client`](crate::Client); every value is fine, and the defaults suit most programs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The longest time for one attempt to connect to one endpoint. Default: 2 s.
    pub dial_timeout: Duration,
    /// The longest time for a request, with all attempts. `None` waits for ever. Default: 5 s.
    ///
    /// Watches and lease keep-alives have no end; for them it bounds their creation only.
    pub request_timeout: Option<Duration>,
    /// The time without traffic after which a connection with open requests is probed. Default: 10 s.
    ///
    /// Servers close connections that probe too often, so less than 10 s counts as 10 s.
    pub keepalive_interval: Duration,
    /// How long a probe may stay unanswered until the connection is given up. Default: 6 s.
    pub keepalive_timeout: Duration,
    /// Asks servers to refuse requests while they have no leader, rather than to hold them. Default: off.
    ///
    /// Streams are ended by the server some time after it lost its leader, so that watches move to another member.
    pub require_leader: bool,
    /// The largest request, in bytes. Default: 2 MiB.
    pub request_bytes_max: usize,
    /// The largest answer, in bytes. Default: 2 GiB - 1.
    pub response_bytes_max: usize,
    /// How many bytes of undelivered events a watch holds before it pauses. Default: 8 MiB.
    ///
    /// A paused watch is taken off the server and resumes where it stands as soon as its reader has caught up.
    pub watch_queue_bytes: usize,
    /// Settings of TLS. `None` means no TLS, but the defaults of [`Tls`] for `https` endpoints. Default: `None`.
    pub tls: Option<Tls>,
    /// Which endpoint a request goes to. Default: each in turn.
    pub balance: Balance,
    /// Who the client is. `None` is nobody, or the user whom the client's certificate names. Default: `None`.
    pub credentials: Option<Credentials>,
    /// How often to ask the cluster for its endpoints, as [`Client::sync_endpoints`](crate::Client::sync_endpoints)
    /// does. Default: never.
    pub sync_interval: Option<Duration>,
}

/// How requests are spread over the endpoints of a client.
///
/// Reads from the asked member alone ([`Get::serializable`](crate::Get::serializable)) may go back in time from one
/// member to the next; a preference avoids that as long as no member fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each reachable endpoint in turn, as etcd's own clients do it. A watch or keep-alive stays where it is.
    RoundRobin,
    /// One endpoint, until it fails; then the next one in their order.
    Preferred,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(2),
            request_timeout: Some(Duration::from_secs(5)),
            keepalive_interval: KEEPALIVE_INTERVAL_MIN,
            keepalive_timeout: Duration::from_secs(6),
            require_leader: false,
            request_bytes_max: 2 << 20,
            response_bytes_max: i32::MAX as usize,
            watch_queue_bytes: 8 << 20,
            tls: None,
            balance: Balance::RoundRobin,
            credentials: None,
            sync_interval: None,
        }
    }
}

/// Below this, servers may answer `ENHANCE_YOUR_CALM` (etcd's own limit is 5 s).
pub(crate) const KEEPALIVE_INTERVAL_MIN: Duration = Duration::from_secs(10);
