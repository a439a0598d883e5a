//! What callers ask of a member, what it answers, and why it may not.

use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use bytes::Bytes;
use etched_state_machine::v2store::{self, AuthView, Begun, Depth, Reply, Role, Stats, User, Watched};
use etched_state_machine::{Command, HashKv, Outcome, Range, RangeOutput, Refusal};

use crate::status::StatusReport;

/// Names the caller of a request; chosen by the shell, opaque here, given back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller {
    /// The front that the caller is connected to.
    pub front: u64,
    /// The front's name for the request.
    pub token: u64,
}

/// What a caller can ask for.
#[derive(Clone, Debug)]
pub enum Request {
    /// Replicate a command and answer with its outcome.
    /// The member checks it (quota first, then `Command::check`, as etcd does), so a front only converts.
    /// A transaction that only reads is evaluated here without being replicated.
    Propose(Command),
    /// Read keys; linearizable unless the range says `serializable`. The member checks it (`Range::check`).
    Range(Range),
    /// Answer once everything committed before now is applied here.
    Barrier,
    /// The hash that a user's password is compared with, after a barrier; for who logs in, not to be told.
    PasswordHash {
        /// The user.
        name: String,
    },
    /// Answer if it is root who asks, for what the member is not asked otherwise.
    CheckRoot,
    /// Renew a lease on the leader's clock.
    LeaseRenew {
        /// The lease.
        id: i64,
    },
    /// Remaining life of a lease.
    LeaseTimeToLive {
        /// The lease.
        id: i64,
        /// Whether the attached keys are wanted too.
        keys: bool,
    },
    /// All leases, by remaining life.
    Leases,
    /// The members, after a barrier if `linearizable`.
    Members {
        /// Whether a barrier comes first.
        linearizable: bool,
    },
    /// The state of this member.
    Status,
    /// CRC-32C over all tables (`Maintenance.Hash`).
    Hash,
    /// The hash of the key space at a revision; 0 is the current one.
    HashKv {
        /// The revision to hash at.
        revision: i64,
    },
    /// Reclaims space; other requests are served meanwhile.
    Defragment,
    /// Let a member join. Answered when the change is applied here, however long that takes; so are all changes of
    /// the membership.
    MemberAdd {
        /// Where peers will reach it; checked here.
        peer_urls: Vec<String>,
        /// Whether it starts as a learner.
        is_learner: bool,
        /// Seconds of the Unix epoch: the new member's id is made of them and the URLs.
        unix_seconds: i64,
    },
    /// Let a member leave for good.
    MemberRemove {
        /// The member.
        id: u64,
    },
    /// Give a member other peer URLs.
    MemberUpdate {
        /// The member.
        id: u64,
        /// Its new peer URLs; checked here.
        peer_urls: Vec<String>,
    },
    /// Make a learner a voter. Only the leader knows whether it has caught up; elsewhere it is [`ApiError::NotLeader`].
    MemberPromote {
        /// The learner.
        id: u64,
    },
    /// Hand leadership over; answered when the new leader is known.
    MoveLeader {
        /// The voter that shall lead.
        target: u64,
    },
    /// Ask for, allow or call off members of an older version.
    Downgrade {
        /// What to do.
        action: DowngradeAction,
        /// The version to go down to; not looked at to call it off.
        version: String,
    },
    /// A question about the tree of the v2 API; it is changed by `Propose`.
    V2(V2Call),
}

/// A question about the tree of the v2 API. Times are nanoseconds of the Unix epoch by the shell's clock.
#[derive(Clone, Debug)]
pub enum V2Call {
    /// Read a node.
    Read {
        /// The path, with the namespace in front.
        path: String,
        /// How deep a directory is read.
        depth: Depth,
        /// Whether a barrier comes first.
        is_linearizable: bool,
        /// The time now.
        now_ns: i64,
    },
    /// Begin a watch: answered at once with what the history has.
    Watch {
        /// What to look at.
        watched: Watched,
        /// The first index that counts; 0: from now on.
        since: u64,
    },
    /// As `Watch`, answered when there is an event, however long that takes.
    Wait {
        /// What to look at.
        watched: Watched,
        /// The first index that counts; 0: from now on.
        since: u64,
    },
    /// The caller with this token, of the same front, does not wait any more; it is answered, too.
    Forget {
        /// The token of the `Wait`.
        token: u64,
    },
    /// Whether users are asked for, who this one is, and what he may do.
    Who {
        /// The name; none: a guest.
        user: Option<String>,
    },
    /// All users.
    Users,
    /// All roles.
    Roles,
    /// What is counted.
    Stats,
    /// Whether a member was removed for good.
    WasRemoved {
        /// The member.
        member_id: u64,
    },
    /// Delete what has expired, if this member leads.
    Expire {
        /// The time now.
        until_ns: i64,
    },
}

/// The answer to a [`V2Call`].
#[derive(Clone, Debug)]
pub enum V2Answer {
    /// To `Read`.
    Read(Result<Reply, v2store::Error>),
    /// To `Watch` and `Wait`.
    Begun(Result<Begun, v2store::Error>),
    /// To `Who`.
    Who(AuthView),
    /// To `Users`.
    Users(Vec<User>),
    /// To `Roles`.
    Roles(Vec<Role>),
    /// To `Stats`, and how many wait.
    Stats(Stats, usize),
    /// To `WasRemoved`.
    WasRemoved(bool),
}

/// What a [`Request::Downgrade`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DowngradeAction {
    /// Only say whether it could be allowed.
    Validate,
    /// Allow it.
    Enable,
    /// Call it off.
    Cancel,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To `Propose`.
    Applied(Outcome),
    /// To `Range`.
    Range(RangeOutput),
    /// To `Barrier`, `CheckRoot`, `Defragment` and `MoveLeader`.
    Done,
    /// To `PasswordHash`.
    PasswordHash {
        /// The hash; empty if no password matches.
        hash: Bytes,
        /// The revision of users and roles; at another one the password may be another one.
        revision: u64,
    },
    /// To `LeaseRenew`: the granted time to live in seconds, 0 if there is no such lease (any more).
    LeaseRenewed {
        /// Seconds.
        ttl: i64,
    },
    /// To `LeaseTimeToLive`; `None` if there is no such lease.
    LeaseTimeToLive(Option<LeaseTimeToLive>),
    /// To `Leases`.
    Leases(Vec<i64>),
    /// To `Members`.
    Members(Vec<MemberEntry>),
    /// To `Status`.
    Status(Arc<StatusReport>),
    /// To `Hash`.
    Hash(u32),
    /// To `HashKv`.
    HashKv(HashKv),
    /// To the changes of the membership.
    MemberChanged {
        /// The member that was added.
        member: Option<MemberEntry>,
        /// All members after the change.
        members: Vec<MemberEntry>,
    },
    /// To `Downgrade`: the cluster's version, `major.minor`.
    ClusterVersion(String),
    /// To `V2`.
    V2 {
        /// The index of the last entry applied here.
        raft_index: u64,
        /// The answer.
        answer: Box<V2Answer>,
    },
}

/// Remaining life of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTimeToLive {
    /// Whole seconds left, rounded down; may be 0 or negative when the lease has run out but is not yet revoked.
    pub remaining: i64,
    /// Seconds granted.
    pub granted: i64,
    /// The attached keys, sorted; empty unless asked for.
    pub keys: Vec<Bytes>,
}

/// One member of the cluster, as `MemberList` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberEntry {
    /// The member's id.
    pub id: u64,
    /// Its name; empty until it has published itself.
    pub name: String,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Whether it does not vote.
    pub is_learner: bool,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The state machine's rules refuse it, equally on all members.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// The leader changed while a read waited for it.
    #[error("leader changed")]
    LeaderChanged,
    /// No leader was known for the whole request timeout, and nothing was proposed.
    #[error("deadline exceeded before a leader was known")]
    DeadlineExceeded,
    /// Not done within the request timeout; a proposal may still be applied later.
    #[error("request timed out")]
    Timeout,
    /// As `Timeout`, and the leader was lost at about the time of the proposal.
    #[error("request timed out, possibly due to previous leader failure")]
    TimeoutLeaderFailed,
    /// As `Timeout`, and this member cannot speak with the others.
    #[error("request timed out, possibly due to connection lost")]
    TimeoutConnectionLost,
    /// What was asked about could not be applied in time.
    #[error("request timed out, waiting for the applied index took too long")]
    TimeoutApplied,
    /// Leadership was not handed over in time.
    #[error("request timed out, leader transfer took too long")]
    TimeoutLeaderTransfer,
    /// Only the leader can do this.
    #[error("not leader")]
    NotLeader,
    /// Leadership cannot be handed over to this member: it is unknown or a learner.
    #[error("bad leader transferee")]
    BadLeaderTransferee,
    /// The learner lags too far behind to be promoted.
    #[error("learner is not in sync with leader")]
    LearnerNotReady,
    /// The change would put the quorum at risk: too few of the members are connected.
    #[error("unhealthy cluster")]
    Unhealthy,
    /// The cluster has not agreed on a version.
    #[error("cluster version not available")]
    ClusterVersionUnavailable,
    /// The version of a downgrade is not of the form `major.minor` or `major.minor.patch`.
    #[error("wrong downgrade target version format")]
    DowngradeVersionFormat,
    /// The version of a downgrade is not the one right below the cluster's.
    #[error("invalid downgrade target version")]
    DowngradeTarget,
    /// A downgrade is allowed already.
    #[error("a downgrade is in process")]
    DowngradeInProcess,
    /// Applying lags too far behind, or too many requests wait.
    #[error("too many requests")]
    TooManyRequests,
    /// The encoded entry is larger than `--max-request-bytes`.
    #[error("request is too large")]
    RequestTooLarge,
    /// Raft refused the proposal.
    #[error("proposal dropped")]
    ProposalDropped,
    /// This member's clock does not decide over leases.
    #[error("not a primary lessor")]
    NotPrimary,
    /// The member stops.
    #[error("server stopped")]
    Stopped,
    /// Reading stored state failed.
    #[error("storage: {0}")]
    Storage(String),
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
