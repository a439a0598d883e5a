//! Between the transport and the core thread: what other members send and ask.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use etched_backend::{RedbBackend, RedbOptions};
use etched_bolt::Roots;
use etched_disk::Disk;
use etched_replica::raft::{Message, SnapshotDelivery};
use tokio::sync::oneshot;

use crate::api::{Answer, ApiError, Credentials, LeaseTimeToLive, MemberEntry, Request};
use crate::auth::{Doorman, Words};
use crate::flags::SERVER_VERSION;
use crate::front::Link;
use crate::log;
use crate::member::inbox::{Inbox, PeerEvent};
use crate::member::incoming::{self, Incoming, IncomingError};
use crate::peer::{Asked, PeerHash, PeerQuestions, PeerSink, PeerVersions};
use crate::tls::Visitor;

/// How much a thread that reads a snapshot in gives way to those that serve clients; 19 would be all the way.
const NICENESS: i32 = 5;

/// Puts what the transport receives into the core thread's inbox.
pub(crate) struct Sink {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) disk: Arc<dyn Disk>,
    /// The backend in use; replaced with each installation, gone when the member has ended.
    pub(crate) current: Arc<Mutex<Option<RedbBackend>>>,
    pub(crate) backend_options: RedbOptions,
    /// Where backends are made.
    pub(crate) snapshot_dir: PathBuf,
    /// Held while a backend is made: a leader that loses patience sends the next snapshot meanwhile.
    pub(crate) building: Arc<Mutex<()>>,
}

impl Sink {
    /// The backend is made on a thread of its own, one at a time, and only then does consensus hear of the snapshot.
    fn take_snapshot(
        &self,
        message: Message,
        build: impl FnOnce(&dyn Disk, &RedbBackend, u64) -> Result<Incoming, IncomingError> + Send + 'static,
    ) -> Asked<Result<(), String>> {
        let (inbox, disk) = (Arc::clone(&self.inbox), Arc::clone(&self.disk));
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(current) = current else { return Box::pin(async { Err("server stopped".to_owned()) }) };
        let building = Arc::clone(&self.building);
        let (sender, receiver) = oneshot::channel();
        let work = move || {
            // Where it is not permitted the thread competes like any other.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
            let _one = building.lock().unwrap_or_else(PoisonError::into_inner);
            let index = message.snapshot().map_or(0, |meta| meta.index);
            log!(Info, "reading in a received snapshot", "snapshot-index" => index);
            let result = match build(&*disk, &current, index) {
                Ok(incoming) => {
                    inbox.push_peer(PeerEvent::Snapshot { message, incoming });
                    Ok(())
                }
                Err(error) => {
                    log!(Error, "a received snapshot cannot be used", "snapshot-index" => index, "error" => error.to_string());
                    Err(error.to_string())
                }
            };
            // The sender may have given up.
            let _ = sender.send(result);
        };
        let spawned = std::thread::Builder::new().name("snapshot-in".into()).spawn(work);
        Box::pin(async move {
            spawned.map_err(|error| error.to_string())?;
            receiver.await.unwrap_or_else(|_| Err("the thread that reads it in has ended".to_owned()))
        })
    }
}

impl PeerSink for Sink {
    fn on_messages(&self, messages: Vec<Message>) {
        self.inbox.push_messages(messages);
    }

    fn on_snapshot(&self, message: Message, database: PathBuf) -> Asked<Result<(), String>> {
        let options = self.backend_options;
        self.take_snapshot(message, move |disk, current, index| {
            let built = incoming::build(disk, current, &database, index, options);
            if built.is_err() {
                // What cannot be removed is removed by the next start.
                let _ = disk.remove(&database);
            }
            built
        })
    }

    fn on_snapshot_body(
        &self,
        message: Message,
        roots: Roots,
        mut pieces: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
    ) -> Asked<Result<(), String>> {
        let (options, dir) = (self.backend_options, self.snapshot_dir.clone());
        self.take_snapshot(message, move |disk, current, index| {
            incoming::build_of_pieces(disk, current, &dir, index, options, roots, &mut pieces)
        })
    }

    fn on_unreachable(&self, member: u64) {
        self.inbox.push_peer(PeerEvent::Unreachable(member));
    }

    fn on_snapshot_sent(&self, member: u64, delivery: SnapshotDelivery) {
        self.inbox.push_peer(PeerEvent::SnapshotSent(member, delivery));
    }

    fn on_active(&self, member: u64, active: bool) {
        self.inbox.push_peer(PeerEvent::Active(member, active));
    }

    fn on_gone(&self, member: u64) {
        self.inbox.push_peer(PeerEvent::Gone(member));
    }

    fn on_removed(&self) {
        self.inbox.push_peer(PeerEvent::Removed);
    }
}

/// Answers what other members ask, like any other front.
pub(crate) struct Questions {
    pub(crate) link: Arc<Link>,
    pub(crate) doorman: Arc<Doorman>,
}

impl Questions {
    fn ask<T: Send + 'static>(
        &self,
        request: Request,
        read: impl FnOnce(Answer) -> Option<T> + Send + 'static,
    ) -> Asked<Result<T, ApiError>> {
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            let answered = link.ask(Credentials::Member, request).await?;
            read(answered.answer).ok_or_else(other_answer)
        })
    }
}

fn other_answer() -> ApiError {
    ApiError::Storage("the answer is to another question".into())
}

impl PeerQuestions for Questions {
    fn lease_renew(&self, id: i64) -> Asked<Result<i64, ApiError>> {
        self.ask(Request::LeaseRenew { id }, |answer| {
            if let Answer::LeaseRenewed { ttl } = answer { Some(ttl) } else { None }
        })
    }

    fn lease_time_to_live(&self, id: i64, keys: bool) -> Asked<Result<Option<LeaseTimeToLive>, ApiError>> {
        self.ask(Request::LeaseTimeToLive { id, keys }, |answer| {
            if let Answer::LeaseTimeToLive(lease) = answer { Some(lease) } else { None }
        })
    }

    fn members(&self) -> Asked<Result<Vec<MemberEntry>, ApiError>> {
        self.ask(Request::Members { linearizable: false }, |answer| {
            if let Answer::Members(members) = answer { Some(members) } else { None }
        })
    }

    /// The member that asks was asked by somebody, who must be allowed to here too.
    fn promote(&self, id: u64, token: Option<String>) -> Asked<Result<Vec<MemberEntry>, ApiError>> {
        let link = Arc::clone(&self.link);
        let token = token.map(String::into_bytes);
        let words = Words { authorization: token.as_deref(), ..Words::default() };
        let credentials = self.doorman.claim(words, &Visitor::default()).credentials();
        Box::pin(async move {
            let answered = link.ask(credentials, Request::MemberPromote { id }).await?;
            let Answer::MemberChanged { members, .. } = answered.answer else { return Err(other_answer()) };
            Ok(members)
        })
    }

    fn versions(&self) -> PeerVersions {
        let report = self.link.api().report();
        PeerVersions {
            server: SERVER_VERSION.to_owned(),
            cluster: report.cluster_version.clone(),
            storage: report.storage_version.clone(),
        }
    }

    fn downgrade_enabled(&self) -> Asked<Result<bool, ApiError>> {
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            link.ask(Credentials::Member, Request::Barrier).await?;
            let answered = link.ask(Credentials::Member, Request::Status).await?;
            let Answer::Status(report) = answered.answer else { return Err(other_answer()) };
            Ok(report.downgrade_target.is_some())
        })
    }

    fn hash_kv(&self, revision: i64) -> Asked<Result<PeerHash, ApiError>> {
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            let answered = link.ask(Credentials::Member, Request::HashKv { revision }).await?;
            let Answer::HashKv(hash) = answered.answer else { return Err(other_answer()) };
            Ok(PeerHash { hash, revision: answered.revision, raft_term: answered.raft_term })
        })
    }
}
