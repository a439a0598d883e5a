//! The table of gRPC methods, and the counters of their calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tonic::Code;

use super::CallKind;
use super::histogram::Histogram;

/// How messages flow in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One each way.
    Unary,
    /// One in, many out.
    ServerStream,
    /// Many in, many out.
    BidiStream,
}

impl Shape {
    /// The shape as it stands in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }

    /// Whether there is a stream.
    pub fn kind(self) -> CallKind {
        match self {
            Self::Unary => CallKind::Unary,
            Self::ServerStream | Self::BidiStream => CallKind::Stream,
        }
    }
}

/// One gRPC method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The full name of its service.
    pub service: &'static str,
    /// Its name.
    pub name: &'static str,
    /// How its messages flow.
    pub shape: Shape,
}

impl Method {
    /// Whether its counters are shown before the first call: not those of recipes, as in etcd.
    pub(super) fn is_shown_from_the_start(&self) -> bool {
        !matches!(self.service, LOCK | ELECTION)
    }
}

/// The position of a method in [`METHODS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MethodId(usize);

impl MethodId {
    /// The method.
    pub fn method(self) -> &'static Method {
        &METHODS[self.0]
    }
}

const fn unary(service: &'static str, name: &'static str) -> Method {
    Method { service, name, shape: Shape::Unary }
}

const KV: &str = "etcdserverpb.KV";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const AUTH: &str = "etcdserverpb.Auth";
const LOCK: &str = "v3lockpb.Lock";
const ELECTION: &str = "v3electionpb.Election";
const HEALTH: &str = "grpc.health.v1.Health";

/// All methods that are counted; but for those of recipes, each is there from the start with zeros.
pub const METHODS: [Method; 52] = [
    unary(KV, "Put"),
    unary(KV, "Range"),
    unary(KV, "Txn"),
    unary(KV, "DeleteRange"),
    unary(KV, "Compact"),
    Method { service: KV, name: "RangeStream", shape: Shape::ServerStream },
    Method { service: "etcdserverpb.Watch", name: "Watch", shape: Shape::BidiStream },
    unary(LEASE, "LeaseGrant"),
    unary(LEASE, "LeaseRevoke"),
    Method { service: LEASE, name: "LeaseKeepAlive", shape: Shape::BidiStream },
    unary(LEASE, "LeaseTimeToLive"),
    unary(LEASE, "LeaseLeases"),
    unary(CLUSTER, "MemberAdd"),
    unary(CLUSTER, "MemberRemove"),
    unary(CLUSTER, "MemberUpdate"),
    unary(CLUSTER, "MemberList"),
    unary(CLUSTER, "MemberPromote"),
    unary(MAINTENANCE, "Alarm"),
    unary(MAINTENANCE, "Status"),
    unary(MAINTENANCE, "Defragment"),
    unary(MAINTENANCE, "Hash"),
    unary(MAINTENANCE, "HashKV"),
    Method { service: MAINTENANCE, name: "Snapshot", shape: Shape::ServerStream },
    unary(MAINTENANCE, "MoveLeader"),
    unary(MAINTENANCE, "Downgrade"),
    unary(AUTH, "AuthEnable"),
    unary(AUTH, "AuthDisable"),
    unary(AUTH, "AuthStatus"),
    unary(AUTH, "Authenticate"),
    unary(AUTH, "UserAdd"),
    unary(AUTH, "UserGet"),
    unary(AUTH, "UserList"),
    unary(AUTH, "UserDelete"),
    unary(AUTH, "UserChangePassword"),
    unary(AUTH, "UserGrantRole"),
    unary(AUTH, "UserRevokeRole"),
    unary(AUTH, "RoleAdd"),
    unary(AUTH, "RoleGet"),
    unary(AUTH, "RoleList"),
    unary(AUTH, "RoleDelete"),
    unary(AUTH, "RoleGrantPermission"),
    unary(AUTH, "RoleRevokePermission"),
    unary(LOCK, "Lock"),
    unary(LOCK, "Unlock"),
    unary(ELECTION, "Campaign"),
    unary(ELECTION, "Proclaim"),
    unary(ELECTION, "Leader"),
    Method { service: ELECTION, name: "Observe", shape: Shape::ServerStream },
    unary(ELECTION, "Resign"),
    unary(HEALTH, "Check"),
    unary(HEALTH, "List"),
    Method { service: HEALTH, name: "Watch", shape: Shape::ServerStream },
];

/// The names of the codes, by number.
pub const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A method of the table.
    Method(MethodId),
    /// A service that exists, and a method that it does not have.
    NoMethod {
        /// The service.
        service: &'a str,
        /// The method.
        method: &'a str,
    },
    /// No service of the table.
    NoService {
        /// What stands in the place of the service.
        service: &'a str,
    },
    /// Not of the form `/service/method`.
    Malformed,
}

/// Finds the method of a request by its path.
pub fn find(path: &str) -> Found<'_> {
    let Some((service, method)) = path.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) else {
        return Found::Malformed;
    };
    let mut known = false;
    for (position, row) in METHODS.iter().enumerate() {
        if row.service == service {
            if row.name == method {
                return Found::Method(MethodId(position));
            }
            known = true;
        } else if known {
            break;
        }
    }
    if known { Found::NoMethod { service, method } } else { Found::NoService { service } }
}

/// Counters of all methods.
#[derive(Debug)]
pub struct RpcCounters {
    methods: Vec<MethodCounters>,
}

#[derive(Debug)]
struct MethodCounters {
    started: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    /// Only with `--metrics=extensive`.
    handling: Option<Histogram>,
}

/// A method's numbers, to be rendered.
pub(super) struct MethodNumbers<'a> {
    pub(super) method: &'static Method,
    pub(super) started: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) handled: [u64; CODES.len()],
    pub(super) handling: Option<&'a Histogram>,
}

impl RpcCounters {
    pub(super) fn new(extensive: bool) -> Self {
        const HANDLING_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let counters = |_| MethodCounters {
            started: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            handled: std::array::from_fn(|_| AtomicU64::new(0)),
            handling: extensive.then(|| Histogram::with_bounds(HANDLING_BOUNDS.to_vec())),
        };
        Self { methods: METHODS.iter().map(counters).collect() }
    }

    /// A call began.
    pub fn start(&self, id: MethodId) {
        self.methods[id.0].started.fetch_add(1, Ordering::Relaxed);
    }

    /// A message came in.
    pub fn receive(&self, id: MethodId) {
        self.methods[id.0].received.fetch_add(1, Ordering::Relaxed);
    }

    /// A message went out.
    pub fn send(&self, id: MethodId) {
        self.methods[id.0].sent.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ended after `duration`.
    pub fn finish(&self, id: MethodId, code: Code, duration: Duration) {
        let counters = &self.methods[id.0];
        counters.handled[code as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(handling) = &counters.handling {
            handling.record(duration);
        }
    }

    /// How many calls of a method ended with a code.
    pub fn handled(&self, id: MethodId, code: Code) -> u64 {
        self.methods[id.0].handled[code as usize].load(Ordering::Relaxed)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = MethodNumbers<'_>> {
        METHODS.iter().zip(&self.methods).map(|(method, counters)| MethodNumbers {
            method,
            started: counters.started.load(Ordering::Relaxed),
            received: counters.received.load(Ordering::Relaxed),
            sent: counters.sent.load(Ordering::Relaxed),
            handled: std::array::from_fn(|code| counters.handled[code].load(Ordering::Relaxed)),
            handling: counters.handling.as_ref(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_path() {
        for (position, method) in METHODS.iter().enumerate() {
            let path = format!("/{}/{}", method.service, method.name);
            assert_eq!(find(&path), Found::Method(MethodId(position)));
        }
        assert_eq!(
            find("/etcdserverpb.KV/Nothing"),
            Found::NoMethod { service: "etcdserverpb.KV", method: "Nothing" }
        );
        assert_eq!(find("/x.Y/Z"), Found::NoService { service: "x.Y" });
        assert_eq!(find("/x"), Found::Malformed);
    }

    #[test]
    fn methods_of_a_service_stand_together() {
        let mut services: Vec<_> = METHODS.iter().map(|method| method.service).collect();
        services.dedup();
        let count = services.len();
        services.sort_unstable();
        services.dedup();
        assert_eq!(services.len(), count);
    }
}
