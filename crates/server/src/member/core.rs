//! The core thread: takes all that waits, lets the member work on it, carries out what comes back.
//!
//! A sync of the log is done right here: everything that arrives meanwhile waits in the inbox and is one batch in the
//! next turn.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use etched_backend::{Backend, RedbBackend};
use etched_replica::{Answer, ApiError, Caller, Deliver, HashJob, Member, Notice, Output, Persist, Respond};
use etched_wal::Wal;

use crate::api::{Completion, Delivery, Front, Submission, Token};
use crate::log;
use crate::member::backend::{BackendThread, Committed};
use crate::member::handle::Shown;
use crate::member::inbox::{Control, Inbox, Incoming};
use crate::member::spares::SpareThread;
use crate::member::{convert, hashes, inbox};
use crate::metrics::Metrics;

type View = <RedbBackend as Backend>::View;

/// Turns that are taken before what arrived meanwhile is looked at.
const TURNS_MAX: usize = 4;

/// Everything that the core thread owns.
pub(crate) struct Core {
    pub(crate) member: Member,
    pub(crate) wal: Wal,
    pub(crate) view: View,
    pub(crate) backend: BackendThread,
    pub(crate) spares: SpareThread,
    pub(crate) reader: RedbBackend,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Instant,
    pub(crate) tick: Duration,
    pub(crate) stage: Stage,
    pub(crate) fronts: Vec<FrontQueue>,
    pub(crate) entries: Vec<etched_wal::Entry>,
    /// Whether anything was appended to the log since the last tick.
    pub(crate) has_appended: bool,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Running,
    Flushing,
}

/// What waits for a front until the end of the turn.
pub(crate) struct FrontQueue {
    front: Arc<dyn Front>,
    completions: Vec<Completion>,
    deliveries: Vec<Delivery>,
}

/// Why the core thread ended.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The log failed; nobody knows what of the last batch is on disk.
    #[error("the write-ahead log failed: {0}")]
    Wal(#[from] etched_wal::WalError),
    /// A component found its own data wrong.
    #[error("{0}")]
    Member(#[from] etched_replica::Failure),
    /// Another thread of the member failed.
    #[error("{0}")]
    Thread(String),
}

impl Core {
    /// Runs until the member is stopped and everything is flushed.
    pub(crate) fn run(mut self) -> Result<(), CoreError> {
        self.inbox.attach();
        let mut incoming = Vec::new();
        let mut control = Vec::new();
        let mut next_tick = self.clock.elapsed() + self.tick;
        let mut has_more = true;
        loop {
            let wants_incoming = !self.member.is_congested();
            if !has_more {
                let due = self.member.next_turn_ns().map_or(next_tick, Duration::from_nanos).min(next_tick);
                self.inbox.park(due.saturating_sub(self.clock.elapsed()), wants_incoming);
            }
            self.inbox.take(&mut incoming, &mut control, wants_incoming);
            let now = self.clock.elapsed();
            let now_ns = nanos(now);
            for message in control.drain(..) {
                self.on_control(message)?;
            }
            for message in incoming.drain(..) {
                self.on_incoming(message, now_ns);
            }
            if now >= next_tick {
                self.member.tick(now_ns);
                next_tick = now + self.tick;
                self.show();
                if !std::mem::take(&mut self.has_appended) {
                    self.seal_log()?;
                }
            }
            has_more = self.work()?;
            self.flush_fronts();
            if self.stage == Stage::Flushing && self.member.is_flushed() {
                self.wal.close()?;
                return Ok(());
            }
        }
    }

    fn on_control(&mut self, control: Control) -> Result<(), CoreError> {
        match control {
            Control::Register(front) => {
                self.fronts.push(FrontQueue { front, completions: Vec::new(), deliveries: Vec::new() });
            }
            Control::Committed(committed) => self.on_committed(*committed),
            Control::Answered { caller, result } => self.respond_now(caller, result),
            Control::SpareReady(spare) => {
                self.spares.on_ready();
                if let Some(spare) = spare {
                    self.wal.add_spare(spare);
                }
            }
            Control::Stop => self.stop(),
            Control::Fatal(reason) => return Err(CoreError::Thread(reason)),
        }
        Ok(())
    }

    fn on_incoming(&mut self, incoming: Incoming, now_ns: u64) {
        let front = incoming.front.0 as u64;
        for submission in incoming.submissions {
            match submission {
                Submission::Request { token, request } => {
                    self.member.submit(Caller { front, token: token.0 }, request, now_ns);
                }
                Submission::Watch(call) => self.member.watch(front, call, now_ns),
            }
        }
    }

    fn on_committed(&mut self, committed: Committed) {
        self.view = committed.view;
        self.metrics.backend_commit.record(committed.duration);
        self.member.on_committed(committed.total_bytes, committed.in_use_bytes);
    }

    fn respond_now(&mut self, caller: Caller, result: Result<Answer, ApiError>) {
        let report = self.member.report();
        self.respond(Respond { caller, revision: report.revision, raft_term: report.raft_term, result });
    }

    fn stop(&mut self) {
        self.stage = Stage::Flushing;
        for incoming in self.inbox.stop() {
            for token in inbox::requests_of(&incoming.submissions) {
                let caller = Caller { front: incoming.front.0 as u64, token: token.0 };
                self.respond_now(caller, Err(ApiError::Stopped));
            }
        }
        self.member.want_snapshot();
    }

    /// Lets the member work until it waits for something; `true` if it has more slices to do.
    fn work(&mut self) -> Result<bool, CoreError> {
        for _ in 0..TURNS_MAX {
            let has_more = self.member.turn(&self.view, nanos(self.clock.elapsed()));
            let persisted = self.carry_out()?;
            if let Some(failure) = self.member.failure() {
                return Err(failure.clone().into());
            }
            if !persisted {
                return Ok(has_more);
            }
        }
        Ok(true)
    }

    /// Carries out all outputs; `true` if something was persisted, so that another turn is due.
    fn carry_out(&mut self) -> Result<bool, CoreError> {
        let mut tickets = Vec::new();
        let mut must_sync = false;
        while let Some(output) = self.member.poll() {
            match output {
                Output::Persist(persist) => {
                    must_sync |= persist.must_sync;
                    tickets.push(persist.ticket);
                    self.append(&persist);
                }
                // The first peers come with clusters of several members.
                Output::Send(_) => {}
                Output::Respond(respond) => self.respond(respond),
                Output::Deliver(deliver) => self.deliver(deliver),
                Output::Commit(commit) => {
                    if !self.backend.commit(commit) {
                        return Err(CoreError::Thread("the backend thread has ended".into()));
                    }
                }
                Output::SnapshotTaken(snapshot) => {
                    self.wal.append_snapshot(&convert::snapshot_record(&snapshot));
                    self.wal.sync()?;
                    self.wal.release(snapshot.index)?;
                    log!(Info, "saved snapshot", "snapshot-index" => snapshot.index);
                }
                Output::Hash(job) => self.start_hash(job),
                Output::Notice(notice) => self.note(&notice),
            }
        }
        if must_sync {
            let started = Instant::now();
            self.wal.sync()?;
            self.metrics.wal_fsync.record(started.elapsed());
            self.metrics.wal_bytes.set(self.wal.bytes_written());
            self.spares.ask_if_needed(&mut self.wal);
        }
        for ticket in &tickets {
            self.member.on_persisted(*ticket);
        }
        Ok(!tickets.is_empty())
    }

    /// The member is idle: a record behind the last batch proves that it was synced.
    fn seal_log(&mut self) -> Result<(), CoreError> {
        if self.wal.buffered_bytes() > 0 {
            self.wal.sync()?;
        }
        self.wal.seal()?;
        Ok(())
    }

    fn append(&mut self, persist: &Persist) {
        self.has_appended = true;
        self.entries.clear();
        self.entries.extend(persist.entries.iter().map(convert::entry_to_log));
        let hard_state = persist.hard_state.as_ref().map(convert::hard_state_to_log);
        self.wal.append(&self.entries, hard_state.as_ref());
    }

    fn respond(&mut self, respond: Respond) {
        let Respond { caller, revision, raft_term, result } = respond;
        if let Some(queue) = self.front(caller.front) {
            queue.completions.push(Completion { token: Token(caller.token), revision, raft_term, result });
        }
    }

    fn deliver(&mut self, deliver: Deliver) {
        let Deliver { front, stream, bytes, raft_term, response } = deliver;
        if let Some(queue) = self.front(front) {
            queue.deliveries.push(Delivery { stream, bytes, raft_term, response });
        }
    }

    fn front(&mut self, front: u64) -> Option<&mut FrontQueue> {
        self.fronts.get_mut(usize::try_from(front).ok()?)
    }

    fn flush_fronts(&mut self) {
        for queue in &mut self.fronts {
            if !queue.completions.is_empty() {
                queue.front.complete(std::mem::take(&mut queue.completions));
            }
            if !queue.deliveries.is_empty() {
                queue.front.deliver(std::mem::take(&mut queue.deliveries));
            }
        }
    }

    /// Hashes read everything, so they run on a thread of their own, over a view of their own.
    fn start_hash(&mut self, job: HashJob) {
        let caller = match &job {
            HashJob::Whole(caller) | HashJob::Keys(caller, _) => *caller,
        };
        if let Err(error) = hashes::start(job, self.reader.clone(), Arc::clone(&self.inbox)) {
            self.respond_now(caller, Err(ApiError::Storage(error.to_string())));
        }
    }

    /// What everybody may see without asking.
    fn show(&mut self) {
        let report = self.member.report();
        self.shown.has_leader.store(report.leader != 0, Ordering::Relaxed);
        *self.shown.report.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(report);
    }

    fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::BecameLeader { term } => {
                self.show();
                log!(Info, "became leader", "term" => *term);
            }
            Notice::LeaderChanged { leader, term } => {
                self.show();
                log!(Info, "leader changed", "leader" => format!("{leader:x}"), "term" => *term);
            }
            Notice::MemberAdded { id, peer_urls } => {
                log!(Info, "added member", "added-peer-id" => format!("{id:x}"), "added-peer-peer-urls" => peer_urls.join(","));
            }
            Notice::Published => self.shown.publish(),
            Notice::ClusterVersionSet(version) => {
                log!(Info, "set initial cluster version", "cluster-version" => version.clone());
            }
            Notice::CompactionFinished { revision } => {
                log!(Info, "finished scheduled compaction", "compact-revision" => *revision);
            }
            Notice::LeaseExpired(id) => log!(Debug, "lease expired", "lease-id" => *id),
            Notice::QuotaExceeded => log!(Warn, "database space exceeded the quota"),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
