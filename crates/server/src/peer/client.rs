//! Asks other members what Raft does not carry.

use etched_state_machine::HashKv;

use super::{PeerIdentity, PeerVersions, Secure};
use crate::api::{LeaseTimeToLive, MemberEntry};

/// Asks other members; each question goes to the given URLs in turn until one answers.
#[derive(Clone)]
pub struct PeerClient {}

/// The hash that another member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashAnswer {
    /// Who answered.
    pub member_id: u64,
    /// Its revision when it answered.
    pub revision: i64,
    /// The hash.
    pub hash: HashKv,
}

/// Why another member did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// There is no such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// That member is behind with applying, or does not know its leader.
    #[error("waiting for node to catch up its applied index has timed out")]
    Timeout,
    /// There is no such member.
    #[error("member not found")]
    MemberNotFound,
    /// The member to be promoted votes already.
    #[error("can only promote a learner member")]
    NotLearner,
    /// The learner is behind.
    #[error("can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// The revision is compacted there.
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    /// The revision is not there yet.
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    /// It is a member of another cluster.
    #[error("cluster ID mismatch")]
    ClusterMismatch,
    /// No URL could be reached.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// The answer was another error, or not understood.
    #[error("unexpected answer with status {status}: {text}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// The body, or what is wrong with it.
        text: String,
    },
}

impl PeerClient {
    /// A client that names this member in its requests.
    pub fn new(_identity: &PeerIdentity, _secure: Option<Secure>) -> Self {
        Self {}
    }

    /// Renews a lease at the leader; the time to live in seconds.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn lease_renew(&self, _urls: &[String], _id: i64) -> Result<i64, PeerError> {
        Err(PeerError::Unreachable(String::new()))
    }

    /// Asks the leader for the remaining life of a lease.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn lease_time_to_live(
        &self,
        _urls: &[String],
        _id: i64,
        _keys: bool,
    ) -> Result<LeaseTimeToLive, PeerError> {
        Err(PeerError::Unreachable(String::new()))
    }

    /// The cluster's id and its members, as a running member knows them.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn members(&self, _urls: &[String]) -> Result<(u64, Vec<MemberEntry>), PeerError> {
        Err(PeerError::Unreachable(String::new()))
    }

    /// Has the leader promote a learner, with the token of the caller; all members.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn promote(
        &self,
        _urls: &[String],
        _id: u64,
        _token: Option<&str>,
    ) -> Result<Vec<MemberEntry>, PeerError> {
        Err(PeerError::Unreachable(String::new()))
    }

    /// The versions that a member runs with.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn versions(&self, _urls: &[String]) -> Result<PeerVersions, PeerError> {
        Err(PeerError::Unreachable(String::new()))
    }

    /// Whether a member says that a downgrade of the cluster is under way.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn downgrade_enabled(&self, _urls: &[String]) -> Result<bool, PeerError> {
        Err(PeerError::Unreachable(String::new()))
    }

    /// The hash of a member's key space at a revision.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn hash_kv(&self, _urls: &[String], _revision: i64) -> Result<HashAnswer, PeerError> {
        Err(PeerError::Unreachable(String::new()))
    }
}
