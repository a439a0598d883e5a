//! The transport: queues to other members and the thread that serves them.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use etched_replica::raft;

use super::{
    PeerIdentity, PeerInfo, PeerQuestions, PeerService, PeerSink, PeerTransport, Secure, SnapshotBody,
};
use crate::metrics::Metrics;

/// What a transport is started with.
pub struct PeerStart {
    /// Who this member is.
    pub identity: PeerIdentity,
    /// Where received databases go: `<index, 16 hexadecimal digits>.snap.db`.
    pub snapshot_dir: PathBuf,
    /// Who takes what arrives.
    pub sink: Arc<dyn PeerSink>,
    /// Who answers what other members ask.
    pub questions: Arc<dyn PeerQuestions>,
    /// How to speak TLS; without it, https URLs are not reachable.
    pub secure: Option<Secure>,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// `--election-timeout`: how long a message may be under way.
    pub election_timeout: Duration,
}

/// etcd's peer protocol over HTTP.
pub struct HttpTransport {}

impl HttpTransport {
    /// Starts the transport's thread; members are given later.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(_start: PeerStart) -> io::Result<(Arc<Self>, PeerService)> {
        Ok((Arc::new(Self {}), PeerService {}))
    }
}

impl PeerTransport for HttpTransport {
    fn send(&self, _messages: Vec<raft::Message>) {}

    fn send_snapshot(&self, _message: raft::Message, _body: SnapshotBody) {}

    fn set_members(&self, _members: &[PeerInfo], _removed: &BTreeSet<u64>) {}

    fn stop(&self) {}
}
