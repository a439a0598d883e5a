//! Other members over HTTP, in etcd's protocol, so that etcd and etched are members of one cluster.
//!
//! [`HttpTransport`] carries Raft's messages both ways.
//! Each member opens two endless GET requests to each other member; the other writes appends into the answer of one and
//! everything else into the answer of the second.
//! While a stream is down, single messages are posted.
//! Snapshots have connections of their own.
//!
//! [`PeerService`] answers what other members ask: it opens their streams, takes their posts, and passes questions
//! about leases, members and hashes on to [`PeerQuestions`].
//! [`PeerClient`] asks such questions.
//!
//! What a message means is not known here; bytes are read with care and never trusted.
//! The bytes of the protocol are described in `docs/formats/peer.md`.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use etched_bolt::Roots;
use etched_replica::raft;
use etched_state_machine::HashKv;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::api::{ApiError, LeaseTimeToLive, MemberEntry};

mod client;
mod clock;
mod codec;
mod dial;
mod head;
mod outbox;
mod picker;
mod pipeline;
mod probe;
mod questions;
mod reader;
mod receive;
mod remote;
mod service;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod transport;

pub use client::{HashAnswer, PeerClient, PeerError};
pub use dial::{Stall, Timed};
pub use service::{PeerBody, PeerService};
pub use transport::{HttpTransport, PeerStart};

/// Carries messages to other members.
pub trait PeerTransport: Send + Sync {
    /// Sends messages to the members that they name; never blocks.
    ///
    /// What cannot be queued is dropped, and the member is reported as not reachable.
    fn send(&self, messages: Vec<raft::Message>);

    /// Sends a snapshot message and the database that it announces, on a connection of its own.
    /// What became of it is told to [`PeerSink::on_snapshot_sent`], once.
    fn send_snapshot(&self, message: raft::Message, body: SnapshotBody);

    /// Says who the other members are (this member may be among them) and which ids were removed for ever.
    fn set_members(&self, members: &[PeerInfo], removed: &BTreeSet<u64>);

    /// Closes all connections; nothing is sent or received any more.
    fn stop(&self);
}

/// A member and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its id.
    pub id: u64,
    /// Its peer URLs; the first that works is used.
    pub urls: Vec<String>,
}

/// The database of a snapshot that is to be sent.
pub struct SnapshotBody {
    /// Bytes of all chunks together.
    pub bytes: u64,
    /// Where the trees of its buckets end; a member that knows what it is told then reads it while it comes in.
    pub roots: Option<Roots>,
    /// The database in order; taken on a thread of the transport, and never held as a whole.
    pub chunks: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
}

impl std::fmt::Debug for SnapshotBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SnapshotBody").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Takes what arrives; called from threads of the transport and of the listeners, and never blocks.
pub trait PeerSink: Send + Sync {
    /// Messages for this member, in the order of their stream.
    fn on_messages(&self, messages: Vec<raft::Message>);

    /// A snapshot came in and its database lies synced at `database`; the message is to be stepped next.
    ///
    /// Resolves when consensus has the snapshot, or with the reason why it will not: only then is the sender answered,
    /// or it would ask for what comes after the snapshot too early, and send it again.
    fn on_snapshot(&self, message: raft::Message, database: PathBuf) -> Asked<Result<(), String>>;

    /// A snapshot comes in: its database in pieces, in order, which can be read as they come. Taking a piece may block;
    /// after an error, or without a piece, there is nothing more.
    ///
    /// Resolves as [`PeerSink::on_snapshot`] does.
    fn on_snapshot_body(
        &self,
        message: raft::Message,
        roots: Roots,
        pieces: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
    ) -> Asked<Result<(), String>>;

    /// Messages to a member were dropped.
    fn on_unreachable(&self, member: u64);

    /// A snapshot was delivered, or could not be.
    fn on_snapshot_sent(&self, member: u64, delivery: raft::SnapshotDelivery);

    /// A member can be spoken with, or no longer.
    fn on_active(&self, member: u64, active: bool);

    /// A member is probably not running: its stream broke, and opening it again failed at once.
    fn on_gone(&self, member: u64);

    /// Another member says that this member was removed from the cluster.
    fn on_removed(&self);
}

/// An answer that is on its way.
pub type Asked<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What other members ask besides Raft.
pub trait PeerQuestions: Send + Sync {
    /// Renews a lease on this member's clock: the granted time to live in seconds, 0 if there is no such lease.
    fn lease_renew(&self, id: i64) -> Asked<Result<i64, ApiError>>;

    /// Remaining life of a lease on this member's clock; `None` if there is no such lease.
    fn lease_time_to_live(&self, id: i64, keys: bool) -> Asked<Result<Option<LeaseTimeToLive>, ApiError>>;

    /// The members as applied here.
    fn members(&self) -> Asked<Result<Vec<MemberEntry>, ApiError>>;

    /// Makes a learner a voter, with the token of the caller; answers all members.
    fn promote(&self, id: u64, token: Option<String>) -> Asked<Result<Vec<MemberEntry>, ApiError>>;

    /// The versions that this member runs with.
    fn versions(&self) -> PeerVersions;

    /// Whether a downgrade of the cluster is under way, after a barrier.
    fn downgrade_enabled(&self) -> Asked<Result<bool, ApiError>>;

    /// The hash of the key space at a revision, 0 for the current one, and this member's state at that time.
    fn hash_kv(&self, revision: i64) -> Asked<Result<PeerHash, ApiError>>;
}

/// The versions of a member, as `/version` shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerVersions {
    /// Of the server.
    pub server: String,
    /// Of the cluster, as far as this member knows; empty if not decided.
    pub cluster: String,
    /// Of the stored data; empty if not known.
    pub storage: String,
}

/// A hash and the response header around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHash {
    /// The hash.
    pub hash: HashKv,
    /// The store's revision when it was taken.
    pub revision: i64,
    /// The member's term.
    pub raft_term: u64,
}

/// Who this member is to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// This member's id.
    pub member_id: u64,
    /// The cluster's id.
    pub cluster_id: u64,
    /// Where this member says that it is reached.
    pub urls: Vec<String>,
}

/// A connection, with TLS or without.
pub trait PeerIo: AsyncRead + AsyncWrite + Unpin + Send {}

impl<I: AsyncRead + AsyncWrite + Unpin + Send> PeerIo for I {}

/// Speaks TLS on a connection to this host.
pub type Secure = Arc<dyn Fn(String, TcpStream) -> Asked<io::Result<Box<dyn PeerIo>>> + Send + Sync>;
