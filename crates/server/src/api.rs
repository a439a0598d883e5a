//! The port between the fronts (gRPC, HTTP) and the member: submit and complete.
//!
//! A front hands over a decoded request together with a token of its own and goes on.
//! The member takes *all* that waits at each of its turns, and gives the answers back in batches, one call per front
//! and turn ([`Front::complete`]).
//! Nothing here is asynchronous, so a front that is not tonic can stand before the same port.
//!
//! A watch stream is a sequence of [`WatchCall`]s in and [`Delivery`] values out.
//! What is undelivered is bounded by the hub: a front acknowledges what left its queue with [`WatchCall::Consumed`].
//!
//! The port refuses to know HTTP, protobuf and error texts: those belong to the fronts.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use etched_bolt::Roots;
pub use etched_replica::auth::Credentials;
use etched_replica::auth::Secret;
pub use etched_replica::{
    Answer, ApiError, Counters, DowngradeAction, LeaseTimeToLive, MemberEntry, Request, StatusReport,
    V2Counts, WatchCall,
};
use etched_watch::{Response, StreamId};

/// The running member, as its fronts see it.
pub trait Api: Send + Sync + 'static {
    /// Who answers: fixed for the life of the process.
    fn identity(&self) -> &Identity;

    /// Makes a front known; its [`Front::complete`] and [`Front::deliver`] are called from the member's thread.
    fn register(&self, front: Arc<dyn Front>) -> FrontId;

    /// Hands over what gathered in one turn of a front, in order; never blocks.
    /// For each request exactly one [`Completion`] with its token follows, also when the member is overloaded or
    /// stops.
    fn submit(&self, front: FrontId, submissions: Vec<Submission>);

    /// A stream id that is not in use.
    fn new_stream(&self) -> StreamId;

    /// Whether the member knows a leader at this moment (`hasleader` metadata, health checks).
    fn has_leader(&self) -> bool;

    /// What health checks and metrics show; at most one heartbeat interval old.
    fn report(&self) -> Arc<StatusReport>;

    /// Has the leader answer what only it can, when this member is not the leader.
    /// While no leader is known or reached it is tried again, up to the request timeout.
    fn ask_leader(&self, question: LeaderQuestion) -> Asked<Result<Answer, ApiError>>;

    /// The whole state as a database file of etcd's, as of all that is applied now.
    fn database(&self) -> Asked<Result<Database, ApiError>>;
}

/// An answer that is on its way.
pub type Asked<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What only the leader can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderQuestion {
    /// As [`Request::LeaseRenew`].
    LeaseRenew {
        /// The lease.
        id: i64,
    },
    /// As [`Request::LeaseTimeToLive`].
    LeaseTimeToLive {
        /// The lease.
        id: i64,
        /// Whether the attached keys are wanted too.
        keys: bool,
    },
    /// As [`Request::MemberPromote`].
    MemberPromote {
        /// The learner.
        id: u64,
        /// The token of who asks: the leader wants to know, too.
        token: Option<Secret>,
    },
}

/// The state of the member as a bbolt file, made while it is read.
pub struct Database {
    /// Bytes of all chunks together.
    pub bytes: u64,
    /// The version of the stored format.
    pub version: String,
    /// Where the trees of its buckets end, for who reads it while it comes in.
    pub roots: Option<Roots>,
    /// The file, front to back; reading may block.
    pub chunks: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Database").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Receives what the member has for one front; called once per turn and kind, from the member's thread.
/// An implementation must not block: it stores the values and wakes its own thread once.
pub trait Front: Send + Sync + 'static {
    /// Answers to submitted requests, in the order in which they were completed.
    fn complete(&self, completions: Vec<Completion>);

    /// Responses of watch streams, in order for each stream.
    fn deliver(&self, deliveries: Vec<Delivery>);
}

/// Names of the member that stand in every response header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id.
    pub cluster_id: u64,
    /// This member's id.
    pub member_id: u64,
    /// This member's name (`--name`).
    pub name: String,
    /// The version that clients are told (`--report-version`).
    pub version: String,
}

/// A registered front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrontId(pub usize);

/// Names a request of a front until it is completed; drawn by the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// One thing that a front hands over.
#[derive(Clone, Debug)]
pub enum Submission {
    /// A request, which is answered.
    Request {
        /// The front's name for it.
        token: Token,
        /// Who asks, as far as the front can tell; [`Credentials::Member`] for what the server asks for itself.
        credentials: Credentials,
        /// What is asked.
        request: Request,
        /// Whether the completion is to say where the time went.
        wants_phases: bool,
    },
    /// A call of a watch stream, which is not.
    Watch(WatchCall),
    /// Nobody waits for a request any more; told of changes of membership, which may take for ever.
    Gone(Token),
}

/// What came of a request, and what its response header says.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The token given with the request.
    pub token: Token,
    /// The store's revision when the answer was made; a header with no revision of its own gets this one.
    pub revision: i64,
    /// The Raft term of this member.
    pub raft_term: u64,
    /// The answer, or why there is none.
    pub result: Result<Answer, ApiError>,
    /// Where its time went: for requests that took long, and for those that asked for it.
    pub phases: Option<Box<Phases>>,
}

/// Where the time of a request went, in nanoseconds of the member's clock ([`crate::member::now_ns`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// How long the turn before took, in which the request may have waited to be taken in.
    pub turn_before_ns: u64,
    /// When it was taken in.
    pub taken_ns: u64,
    /// When its entry was in the log's buffer; as `taken_ns` for what is not in the log.
    pub appended_ns: u64,
    /// When its entry was on this member's disk.
    pub synced_ns: u64,
    /// When the turn began in which it was applied or read.
    pub applied_ns: u64,
    /// When it was answered.
    pub answered_ns: u64,
}

impl Phases {
    /// The phases by name and length, in order.
    pub fn parts(&self) -> [(&'static str, u64); 5] {
        [
            ("queue", self.turn_before_ns),
            ("propose", self.appended_ns.saturating_sub(self.taken_ns)),
            ("log", self.synced_ns.saturating_sub(self.appended_ns)),
            ("agreement", self.applied_ns.saturating_sub(self.synced_ns)),
            ("apply", self.answered_ns.saturating_sub(self.applied_ns)),
        ]
    }
}

/// One response of a watch stream.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The stream.
    pub stream: StreamId,
    /// What counts against the stream's budget until [`WatchCall::Consumed`].
    pub bytes: usize,
    /// The Raft term for the header.
    pub raft_term: u64,
    /// The response.
    pub response: Response,
}
