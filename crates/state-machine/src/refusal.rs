//! The reasons why a request is refused. Texts and gRPC codes are the server's.

/// Why a request is refused. A refusal is an answer, equal on all members; the one exception is
/// [`NoSpace`](Self::NoSpace) out of a member's own quota, which it says although the write took effect (as etcd does).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The key is empty.
    EmptyKey,
    /// The key must exist and does not, or an operation of a transaction is absent.
    KeyNotFound,
    /// A value was given along with the wish to keep the old one.
    ValueProvided,
    /// A lease was given along with the wish to keep the old one.
    LeaseProvided,
    /// The lease does not exist.
    LeaseNotFound,
    /// The lease exists already.
    LeaseExists,
    /// The time to live of a lease is too large.
    LeaseTtlTooLarge,
    /// A transaction has too many compares or operations, or is nested too deeply.
    TooManyOps,
    /// A transaction changes a key twice.
    DuplicateKey,
    /// The sort order or target is unknown.
    InvalidSortOption,
    /// The revision is below the last compaction.
    Compacted,
    /// The revision is yet to come.
    FutureRevision,
    /// Not all members of the cluster keep the tree of the v2 API: it can be read, and not changed.
    V2Unsupported,
    /// The database is full.
    NoSpace,
    /// A member's data is known to be corrupt.
    Corrupt,
    /// The entry would be too large.
    RequestTooLarge,
    /// A streamed range cannot be sorted.
    StreamSortUnsupported,
    /// A streamed range cannot be filtered by revision.
    StreamFilterUnsupported,
    /// The member does not exist, or was removed.
    MemberNotFound,
    /// The member exists already.
    MemberExists,
    /// Another member has this peer address.
    PeerUrlExists,
    /// The member is no learner.
    MemberNotLearner,
    /// There are as many learners as are allowed.
    TooManyLearners,
    /// Too few of the voters would be members that ever started.
    NotEnoughStarted,
    /// A peer address is malformed, or none is given.
    MemberBadUrls,
    /// The context of a change of the cluster is missing or no member description.
    MalformedMember,
    /// The version is not of the form `major.minor.patch`.
    MalformedVersion,
    /// Users and roles forbid it, or cannot be changed so.
    Auth(etched_auth::Refusal),
}
