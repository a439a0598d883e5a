//! The core thread's part with other members: messages, snapshots both ways, who the members are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use etched_backend::{Backend as _, RedbBackend};
use etched_replica::raft::{Message, SnapshotDelivery};
use etched_replica::{Install, LogSnapshot, MemberEntry, SendSnapshot};

use super::{Core, CoreError, nanos};
use crate::api::Database;
use crate::log;
use crate::member::inbox::PeerEvent;
use crate::member::incoming::{self, Incoming};
use crate::member::{convert, outgoing};
use crate::peer::{PeerInfo, PeerTransport, SnapshotBody};

/// What the core thread needs to speak with other members.
pub(crate) struct Peers {
    pub(crate) transport: Arc<dyn PeerTransport>,
    /// Those that were known before the log said who they are; needed until this member is one of them.
    pub(crate) known_before: Vec<PeerInfo>,
    /// The backend in use, for whoever makes the next one beside it.
    pub(crate) current: Arc<Mutex<Option<RedbBackend>>>,
    /// Snapshots that were received and not installed, by index; those of the past go with the next installation.
    pub(crate) received: BTreeMap<u64, Incoming>,
    /// A backend that was installed, but whose snapshot is not yet recorded in the log.
    pub(crate) installing: Option<Installing>,
}

/// An installation between the exchange of the backend and the record in the log.
pub(crate) struct Installing {
    ticket: u64,
    snapshot: LogSnapshot,
    pending: PathBuf,
    /// Whether the log's next sync holds the record of the snapshot.
    is_recorded: bool,
}

impl Core {
    /// Takes what other members sent, or what became known of them.
    pub(super) fn on_peer(&mut self, event: PeerEvent, now_ns: u64) {
        match event {
            PeerEvent::Messages(messages) => {
                for message in messages {
                    self.step(message, now_ns);
                }
            }
            PeerEvent::Snapshot { message, incoming } => {
                if let Some(meta) = message.snapshot() {
                    if let Some(same) = self.peers.received.insert(meta.index, incoming) {
                        same.discard(&*self.disk);
                    }
                    self.step(message, now_ns);
                }
            }
            PeerEvent::Unreachable(member) => self.member.on_unreachable(member),
            PeerEvent::SnapshotSent(member, delivery) => self.member.on_snapshot_sent(member, delivery),
            PeerEvent::Active(member, active) => self.member.on_active(member, active, now_ns),
            PeerEvent::Gone(member) => self.member.on_gone(member),
            PeerEvent::Removed => self.on_removed(),
            PeerEvent::Versions(versions) => self.member.on_peer_versions(versions),
        }
    }

    fn step(&mut self, message: Message, now_ns: u64) {
        let (from, kind) = (message.from(), message.kind());
        if let Err(error) = self.member.step(message, now_ns) {
            log!(
                Warn, "dropped a message of another member",
                "from" => format!("{from:x}"), "type" => format!("{kind:?}"), "error" => error.to_string()
            );
        }
    }

    /// The cluster has removed this member for good; the log says so, and each of the others may.
    pub(super) fn on_removed(&mut self) {
        if self.is_removed {
            return;
        }
        log!(Error, "the member has been permanently removed from the cluster");
        self.is_removed = true;
        self.stop();
    }

    /// Streams the state behind a snapshot message to a follower that is too far behind.
    /// The state is read on a thread of its own, over the view of now.
    pub(super) fn send_snapshot(&self, send: SendSnapshot) {
        let SendSnapshot { to, message, index, .. } = send;
        let (view, version) = (Arc::clone(&self.view), self.member.report().storage_version);
        let (transport, inbox) = (Arc::clone(&self.peers.transport), Arc::clone(&self.inbox));
        let failed = PeerEvent::SnapshotSent(to, SnapshotDelivery::Failed);
        let work = move || match outgoing::database(view, version) {
            Ok(Database { bytes, roots, chunks, .. }) => {
                log!(
                    Info, "sending database snapshot",
                    "snapshot-index" => index, "remote-peer-id" => format!("{to:x}"), "bytes" => bytes
                );
                transport.send_snapshot(message, SnapshotBody { bytes, roots, chunks });
            }
            Err(error) => {
                log!(Error, "a snapshot cannot be read", "error" => error.to_string());
                inbox.push_peer(failed);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("snapshot-plan".into()).spawn(work) {
            log!(Error, "a snapshot cannot be read", "error" => error.to_string());
            self.inbox.push_peer(PeerEvent::SnapshotSent(to, SnapshotDelivery::Failed));
        }
    }

    /// Waits until the backend thread has done what it was given, and takes note of it.
    fn drain_backend(&mut self) -> Result<(), CoreError> {
        if !self.backend.drain() {
            return Err(CoreError::Thread("the backend thread has ended".into()));
        }
        for committed in self.inbox.take_committed() {
            self.on_committed(committed);
        }
        Ok(())
    }

    /// Puts the received state in the place of the own.
    ///
    /// The file takes its place when the log has the snapshot on record, see [`Self::finish_install`].
    pub(super) fn install(&mut self, install: &Install) -> Result<(), CoreError> {
        let index = install.meta.index;
        let Some(Incoming { backend, path }) = self.peers.received.remove(&index) else {
            return Err(CoreError::Thread(format!(
                "the database of the snapshot at index {index} is not there"
            )));
        };
        self.metrics.installing.set(1);
        log!(Info, "applying snapshot", "snapshot-index" => index, "snapshot-term" => install.meta.term);
        self.drain_backend()?;
        self.view = Arc::new(backend.view().map_err(|error| CoreError::Thread(error.to_string()))?);
        self.reader = backend.clone();
        log!(Info, "applySnapshot: opened snapshot backend", "snapshot-index" => index);
        *self.peers.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(backend.clone());
        if !self.backend.replace(backend) {
            return Err(CoreError::Thread("the backend thread has ended".into()));
        }
        let now_ns = nanos(self.clock.elapsed());
        self.member
            .on_installed(&*self.view, install, now_ns)
            .map_err(|error| CoreError::Thread(format!("the snapshot cannot be installed: {error}")))?;
        let snapshot = LogSnapshot {
            index,
            term: install.meta.term,
            conf_state: install.meta.conf_state.clone(),
            data: install.data.clone(),
        };
        self.peers.installing =
            Some(Installing { ticket: install.ticket, snapshot, pending: path, is_recorded: false });
        Ok(())
    }

    /// Before the write with the installation's ticket is synced: the file that says where the log begins, and the
    /// record of it in the log.
    pub(super) fn record_install(&mut self, ticket: u64) -> Result<(), CoreError> {
        if let Some(installing) = &mut self.peers.installing
            && installing.ticket == ticket
        {
            let file = convert::snapshot_file(&installing.snapshot);
            etched_wal::snapshot_file::write(&*self.disk, &self.snapshot_dir, &file)?;
            self.wal.append_snapshot(&convert::snapshot_record(&installing.snapshot));
            installing.is_recorded = true;
        }
        Ok(())
    }

    /// After that write is synced: the new backend takes its place.
    pub(super) fn finish_install(&mut self) -> Result<(), CoreError> {
        let recorded = self.peers.installing.take_if(|installing| installing.is_recorded);
        let Some(installing) = recorded else { return Ok(()) };
        let failed = |error: etched_disk::DiskError| CoreError::Thread(error.to_string());
        let database = self.snapshot_dir.join("db");
        incoming::put_in_place(&*self.disk, &installing.pending, &database).map_err(failed)?;
        self.wal.release(installing.snapshot.index)?;
        let later = self.peers.received.split_off(&installing.snapshot.index);
        for (_, past) in std::mem::replace(&mut self.peers.received, later) {
            past.discard(&*self.disk);
        }
        self.metrics.installing.set(0);
        log!(Info, "applied snapshot", "snapshot-index" => installing.snapshot.index);
        Ok(())
    }

    /// Tells the transport and the fronts who the members are.
    pub(super) fn on_members(&mut self, members: Vec<MemberEntry>) {
        let removed = self.member.removed();
        let mut peers: Vec<PeerInfo> =
            members.iter().map(|member| PeerInfo { id: member.id, urls: member.peer_urls.clone() }).collect();
        if members.iter().any(|member| member.id == self.member_id) {
            self.peers.known_before.clear();
        }
        for peer in &self.peers.known_before {
            if !removed.contains(&peer.id) && peers.iter().all(|known| known.id != peer.id) {
                peers.push(peer.clone());
            }
        }
        self.peers.transport.set_members(&peers, &removed);
        self.shown.set_members(members);
    }
}
