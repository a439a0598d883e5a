//! One life of a simulated member: the shell that the process has around [`Member`], without threads.
//!
//! What the process does on its core thread happens here in the same order: outputs are carried out one after the
//! other, messages leave before the own write is on the disk, one sync covers all writes of a turn, and only then is
//! consensus told.
//! What the process does on other threads (commits, snapshots, hashes) is done when the world says that it is done.

mod convert;
mod snapshot;
mod storage;

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etched_backend::{Backend as _, BackendError, Durability, ReadView, RedbBackend, RedbView, Table};
use etched_disk::{DiskLock, SimDisk};
use etched_replica::raft::{HardState, Message, Restored};
use etched_replica::{
    Answer, Commit, Deliver, HashJob, Install, LogSnapshot, Member, MemberEntry, MemberOptions, Notice,
    Output, Persist, Respond, SendSnapshot, Start, StartError,
};
use etched_state_machine::{BootstrapChange, HashPlan};
use etched_wal::{Wal, WalOptions, snapshot_file};

use crate::clock::Clock;
use crate::scenario::Plant;
use snapshot::Incoming;
pub(crate) use storage::StorageError;

/// Turns that are taken before what arrived meanwhile is looked at, as in the process.
const TURNS_MAX: usize = 4;

/// What a turn gave that the world must see.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A message for another member leaves, at a moment at which this much is durable.
    Sent(Message),
    /// A snapshot leaves, with its database.
    SnapshotSent(Message, Vec<u8>),
    /// Entries were appended to the log, not yet synced.
    Appended(Persist),
    /// Everything appended so far is synced.
    Synced,
    /// The log was replaced by a snapshot at this index, which is on record.
    Installed(u64),
    /// A caller is answered.
    Responded(Respond),
    /// A watch stream is told something.
    Delivered(Deliver),
    /// The members changed.
    Members(Vec<MemberEntry>),
    /// Operators are told something.
    Noticed(Notice),
    /// A commit to the backend was begun.
    Committing,
    /// A log snapshot was recorded at this index.
    SnapshotTaken(u64),
}

/// Why a life ends by itself.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The disk failed, or the power went off: expected when that was planned.
    Disk(String),
    /// A component found its own data wrong.
    Failure(String),
}

/// Why a life does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFailure {
    #[error("storage: {0}")]
    Storage(#[from] StorageError),
    #[error("backend: {0}")]
    Backend(#[from] BackendError),
    #[error("start: {0}")]
    Start(#[from] Box<StartError>),
}

/// What a start found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot_index: u64,
    /// Index, term and content hash of each entry after the snapshot.
    pub(crate) entries: Vec<etched_replica::raft::Entry>,
    pub(crate) has_torn_tail: bool,
}

/// One life of a member.
pub(crate) struct Node {
    pub(crate) member: Member,
    pub(crate) disk: SimDisk,
    pub(crate) clock: Clock,
    wal: Wal,
    view: Arc<RedbView>,
    backend: RedbBackend,
    /// The commit under way.
    commit: Option<Commit>,
    /// Writes that are synced, and of which consensus is not yet told.
    tickets: Vec<u64>,
    received: BTreeMap<u64, Incoming>,
    installing: Option<Installing>,
    has_appended: bool,
    plant: Option<Plant>,
    built: u64,
    pub(crate) seen: Vec<Seen>,
    _lock: Box<dyn DiskLock>,
}

/// An installation between the exchange of the backend and the record in the log.
struct Installing {
    ticket: u64,
    snapshot: LogSnapshot,
    pending: PathBuf,
    is_recorded: bool,
}

/// What a member is started with.
pub(crate) struct Birth<'a> {
    pub(crate) disk: SimDisk,
    pub(crate) bootstrap: &'a [BootstrapChange],
    pub(crate) segment_bytes: u64,
    pub(crate) config: etched_replica::raft::Config,
    pub(crate) options: MemberOptions,
    pub(crate) clock: Clock,
    pub(crate) plant: Option<Plant>,
}

impl Node {
    /// Starts a member on its disk.
    pub(crate) fn start(birth: Birth<'_>) -> Result<(Self, Found), OpenFailure> {
        let Birth { disk, bootstrap, segment_bytes, config, options, clock, plant } = birth;
        let opened = storage::open(&disk, bootstrap, WalOptions { segment_bytes })?;
        let storage::Storage { wal, backend, restored, has_torn_tail, lock } = opened;
        let view = Arc::new(backend.view()?);
        let Restored { hard_state, snapshot, entries } = &restored;
        let found = Found {
            hard_state: *hard_state,
            snapshot_index: snapshot.index,
            entries: entries.clone(),
            has_torn_tail,
        };
        let start = Start { config, restored, force_new_cluster: false };
        let mut member = Member::new(&*view, start, options).map_err(Box::new)?;
        let sizes = backend.sizes()?;
        member.set_database_size(sizes.total_bytes, sizes.in_use_bytes);
        member.campaign();
        let node = Self {
            member,
            disk,
            clock,
            wal,
            view,
            backend,
            commit: None,
            tickets: Vec::new(),
            received: BTreeMap::new(),
            installing: None,
            has_appended: false,
            plant,
            built: 0,
            seen: Vec::new(),
            _lock: lock,
        };
        Ok((node, found))
    }

    /// A tick of the member's clock.
    pub(crate) fn tick(&mut self, now: u64) -> Result<(), Stop> {
        self.member.tick(self.clock.at(now));
        if self.wal.needs_spare()
            && let Some(request) = self.wal.spare_request()
        {
            // A spare that cannot be made is done without.
            if let Ok(spare) = request.prepare() {
                self.wal.add_spare(spare);
            }
        }
        if !std::mem::take(&mut self.has_appended) {
            if self.wal.buffered_bytes() > 0 {
                self.sync_log()?;
            }
            self.wal.seal().map_err(disk_stop)?;
        }
        Ok(())
    }

    /// Tells consensus of the writes that are done.
    pub(crate) fn on_synced(&mut self) {
        for ticket in std::mem::take(&mut self.tickets) {
            self.member.on_persisted(ticket);
        }
    }

    /// Lets the member work until it waits for its disk or has nothing left to do.
    ///
    /// `Ok(true)`: it wants to go on. When [`Self::awaits_disk`], that has to wait for [`Self::on_synced`].
    pub(crate) fn work(&mut self, now: u64, waits_for_syncs: bool) -> Result<bool, Stop> {
        for _ in 0..TURNS_MAX {
            let has_more = self.member.turn(&*self.view, self.clock.at(now));
            self.carry_out(now)?;
            if let Some(failure) = self.member.failure() {
                return Err(Stop::Failure(format!("{failure}: {failure:?}")));
            }
            if self.tickets.is_empty() {
                return Ok(has_more);
            }
            if waits_for_syncs {
                return Ok(true);
            }
            self.on_synced();
        }
        Ok(true)
    }

    /// Whether writes were synced of which consensus is not yet told.
    pub(crate) fn awaits_disk(&self) -> bool {
        !self.tickets.is_empty()
    }

    fn carry_out(&mut self, now: u64) -> Result<(), Stop> {
        let mut must_sync = false;
        while let Some(output) = self.member.poll() {
            match output {
                Output::Persist(persist) => {
                    must_sync |= persist.must_sync;
                    self.tickets.push(persist.ticket);
                    self.record_install(persist.ticket)?;
                    self.append(persist);
                }
                Output::Send(messages) => self.seen.extend(messages.into_iter().map(Seen::Sent)),
                Output::SendSnapshot(send) => self.send_snapshot(send)?,
                Output::Install(install) => self.install(&install, now)?,
                Output::MembersChanged(members) => self.seen.push(Seen::Members(members)),
                Output::Respond(respond) => self.seen.push(Seen::Responded(respond)),
                Output::Deliver(deliver) => self.seen.push(Seen::Delivered(deliver)),
                Output::Commit(commit) => {
                    assert!(self.commit.is_none(), "one commit is under way at a time");
                    self.commit = Some(commit);
                    self.seen.push(Seen::Committing);
                }
                Output::SnapshotTaken(snapshot) => self.note_snapshot(&snapshot)?,
                Output::Hash(job) => self.hash(job)?,
                Output::Notice(notice) => self.seen.push(Seen::Noticed(notice)),
            }
        }
        if must_sync {
            self.sync_log()?;
            self.finish_install()?;
        }
        Ok(())
    }

    fn sync_log(&mut self) -> Result<(), Stop> {
        match self.plant {
            Some(Plant::EarlyAnswers) => return Ok(()),
            Some(Plant::LyingDisk) => {
                self.seen.push(Seen::Synced);
                return Ok(());
            }
            Some(Plant::StaleReads | Plant::RepeatedProposals | Plant::LostEvents) | None => {}
        }
        self.wal.sync().map_err(disk_stop)?;
        self.seen.push(Seen::Synced);
        Ok(())
    }

    fn append(&mut self, persist: Persist) {
        self.has_appended = true;
        let entries: Vec<etched_wal::Entry> = persist.entries.iter().map(convert::entry_to_log).collect();
        let hard_state = persist.hard_state.as_ref().map(convert::hard_state_to_log);
        self.wal.append(&entries, hard_state.as_ref());
        self.seen.push(Seen::Appended(persist));
    }

    fn note_snapshot(&mut self, snapshot: &LogSnapshot) -> Result<(), Stop> {
        self.wal.append_snapshot(&convert::snapshot_record(snapshot));
        self.sync_log()?;
        self.wal.release(snapshot.index).map_err(disk_stop)?;
        self.seen.push(Seen::SnapshotTaken(snapshot.index));
        Ok(())
    }

    fn hash(&mut self, job: HashJob) -> Result<(), Stop> {
        let caller = job.caller();
        let answer = match job {
            HashJob::Whole(_) => whole(&*self.view).map(Answer::Hash),
            HashJob::Keys(_, HashPlan::Cached(hash)) => Ok(Answer::HashKv(hash)),
            HashJob::Keys(_, HashPlan::Walk(walk)) => walk.run(&*self.view).map(Answer::HashKv),
        };
        let answer = answer.map_err(|error| Stop::Disk(error.to_string()))?;
        let (revision, raft_term) = self.member.stamp();
        self.seen.push(Seen::Responded(Respond {
            caller,
            index: 0,
            revision,
            raft_term,
            result: Ok(answer),
        }));
        Ok(())
    }

    /// Carries out the commit under way, as the backend thread does.
    pub(crate) fn finish_commit(&mut self) -> Result<(), Stop> {
        let Some(commit) = self.commit.take() else { return Ok(()) };
        let durability = if commit.snapshot.is_some() { Durability::Synced } else { Durability::Buffered };
        self.backend.commit(&commit.batch, durability).map_err(disk_stop)?;
        if let Some(snapshot) = &commit.snapshot {
            let (disk, dir) = (&self.disk, Path::new(storage::SNAP_DIR));
            snapshot_file::write(disk, dir, &convert::snapshot_file(snapshot)).map_err(disk_stop)?;
            snapshot_file::purge(disk, dir, snapshot_file::FILES_KEPT).map_err(disk_stop)?;
        }
        let sizes = self.backend.sizes().map_err(disk_stop)?;
        self.view = Arc::new(self.backend.view().map_err(disk_stop)?);
        self.member.on_committed(sizes.total_bytes, sizes.in_use_bytes);
        Ok(())
    }

    fn send_snapshot(&mut self, send: SendSnapshot) -> Result<(), Stop> {
        let database = snapshot::encode(&*self.view).map_err(disk_stop)?;
        self.seen.push(Seen::SnapshotSent(send.message, database));
        Ok(())
    }

    /// Takes a snapshot of another member: makes a backend of it, then lets consensus hear of the message.
    pub(crate) fn receive_snapshot(
        &mut self,
        message: Message,
        database: &[u8],
        now: u64,
    ) -> Result<(), Stop> {
        let Some(meta) = message.snapshot() else { return Ok(()) };
        self.built += 1;
        let built = snapshot::build(&self.disk, &self.backend, database, meta.index, self.built);
        let incoming = built.map_err(disk_stop)?;
        if let Some(same) = self.received.insert(meta.index, incoming) {
            same.discard(&self.disk);
        }
        // A refused message is as good as a lost one.
        let _ = self.member.step(message, self.clock.at(now));
        Ok(())
    }

    fn install(&mut self, install: &Install, now: u64) -> Result<(), Stop> {
        let index = install.meta.index;
        let Some(Incoming { backend, path }) = self.received.remove(&index) else {
            return Err(Stop::Failure(format!("the database of the snapshot at {index} is not there")));
        };
        self.finish_commit()?;
        self.view = Arc::new(backend.view().map_err(disk_stop)?);
        self.backend = backend;
        let local = self.clock.at(now);
        let installed = self.member.on_installed(&*self.view, install, local);
        installed.map_err(|error| Stop::Failure(format!("a snapshot cannot be installed: {error}")))?;
        let snapshot = LogSnapshot {
            index,
            term: install.meta.term,
            conf_state: install.meta.conf_state.clone(),
            data: install.data.clone(),
        };
        self.installing =
            Some(Installing { ticket: install.ticket, snapshot, pending: path, is_recorded: false });
        Ok(())
    }

    fn record_install(&mut self, ticket: u64) -> Result<(), Stop> {
        if let Some(installing) = self.installing.as_mut().filter(|installing| installing.ticket == ticket) {
            let file = convert::snapshot_file(&installing.snapshot);
            snapshot_file::write(&self.disk, Path::new(storage::SNAP_DIR), &file).map_err(disk_stop)?;
            self.wal.append_snapshot(&convert::snapshot_record(&installing.snapshot));
            installing.is_recorded = true;
        }
        Ok(())
    }

    fn finish_install(&mut self) -> Result<(), Stop> {
        let recorded = self.installing.take_if(|installing| installing.is_recorded);
        let Some(installing) = recorded else { return Ok(()) };
        snapshot::put_in_place(&self.disk, &installing.pending).map_err(disk_stop)?;
        let index = installing.snapshot.index;
        self.wal.release(index).map_err(disk_stop)?;
        let later = self.received.split_off(&index);
        for (_, past) in std::mem::replace(&mut self.received, later) {
            past.discard(&self.disk);
        }
        self.seen.push(Seen::Installed(index));
        Ok(())
    }

    /// Ends the life in good order: everything is flushed, as far as the disk lets it.
    pub(crate) fn close(self) {
        let Self { wal, .. } = self;
        // A disk that fails now fails the next start too, or has lost nothing that was promised.
        let _ = wal.close();
    }
}

fn disk_stop(error: impl std::fmt::Display) -> Stop {
    Stop::Disk(error.to_string())
}

/// A hash over all of etcd's tables, without what differs between equal members.
fn whole(view: &dyn ReadView) -> Result<u32, BackendError> {
    let mut tables = Table::BUCKETS;
    tables.sort_by_key(|table| table.name());
    let mut hash = 0;
    for table in tables {
        hash = crc32c::crc32c_append(hash, table.name().as_bytes());
        view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            let is_own =
                table == Table::Meta && matches!(key, b"term" | b"consistent_index" | b"storageVersion");
            if !is_own {
                hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(hash)
}
