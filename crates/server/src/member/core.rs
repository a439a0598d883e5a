//! The core thread: takes all that waits, lets the member work on it, carries out what comes back.
//!
//! A sync of the log is done right here: everything that arrives meanwhile waits in the inbox and is one batch in the
//! next turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use etched_backend::{Backend, RedbBackend};
use etched_disk::Disk;
use etched_replica::{
    Answer, ApiError, Caller, Deliver, HashJob, LogSnapshot, Member, Notice, Output, Persist, Request,
    Respond,
};
use etched_wal::Wal;
use tokio::sync::oneshot;

use crate::api::{Completion, Credentials, Database, Delivery, Front, Submission, Token};
use crate::log;
use crate::member::backend::{BackendThread, Committed};
use crate::member::handle::Shown;
use crate::member::inbox::{Control, Inbox, Incoming, REQUESTS_MAX, Taken};
use crate::member::spares::SpareThread;
use crate::member::{convert, hashes, inbox, outgoing};
use crate::metrics::Metrics;

mod observe;
mod peers;

pub use observe::now_ns;
pub(crate) use observe::{Observed, start_of_time};
pub(crate) use peers::Peers;

type View = <RedbBackend as Backend>::View;

/// Turns that are taken before what arrived meanwhile is looked at.
const TURNS_MAX: usize = 4;

/// Stands in the callers of commits that the core itself asks for; no front has this number.
const DATABASE_FRONT: u64 = u64::MAX;

/// Requests under way whose phases are told; those above are not.
const TRACED_MAX: usize = 4096;

/// Hashes under way, each on a thread of its own; above, they are refused as requests too many.
const HASHES_MAX: usize = 16;

/// Everything that the core thread owns.
pub(crate) struct Core {
    pub(crate) member: Member,
    pub(crate) wal: Wal,
    pub(crate) member_id: u64,
    pub(crate) peers: Peers,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) snapshot_dir: PathBuf,
    pub(crate) view: Arc<View>,
    pub(crate) backend: BackendThread,
    pub(crate) spares: SpareThread,
    pub(crate) reader: RedbBackend,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) shown: Arc<Shown>,
    /// Who waits until the cluster knows this member; told once, and told by its end that this will never be.
    pub(crate) published: SyncSender<()>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Instant,
    pub(crate) tick: Duration,
    /// How long a stop waits until another member leads.
    pub(crate) hand_over_time_max: Duration,
    pub(crate) stage: Stage,
    pub(crate) fronts: Vec<FrontQueue>,
    pub(crate) entries: Vec<etched_wal::Entry>,
    /// Whether anything was appended to the log since the last tick.
    pub(crate) has_appended: bool,
    /// Whether what everybody may see says that authentication is on.
    pub(crate) shows_auth: bool,
    /// Commands that wait until the backend has caught up; above [`REQUESTS_MAX`] they are refused as too many.
    pub(crate) held: VecDeque<(Caller, Credentials, Request)>,
    /// Who waits for a hash under way.
    pub(crate) hashing: Vec<Caller>,
    /// Who waits for the whole state, and by which name the commit before it is asked for.
    pub(crate) databases: BTreeMap<u64, oneshot::Sender<Result<Database, ApiError>>>,
    pub(crate) databases_next: u64,
    /// Whether the cluster has removed this member for good.
    pub(crate) is_removed: bool,
    pub(crate) observed: Observed,
    /// Who wants to know where the time went.
    pub(crate) traced: BTreeSet<Caller>,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Running,
    /// Leadership is being handed over, until this time at most.
    HandingOver {
        until: Duration,
    },
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
    /// Runs until the member is stopped and everything is flushed, or something fails.
    /// Whoever waits then is answered that the member stops.
    pub(crate) fn run(mut self) -> Result<(), CoreError> {
        self.inbox.attach();
        let result = self.serve();
        self.refuse_all();
        result?;
        let Self { wal, backend, view, reader, peers, .. } = self;
        wal.close()?;
        // The backend is closed in good order when nobody has it any more.
        peers.transport.stop();
        *peers.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        drop((view, reader));
        backend.finish();
        Ok(())
    }

    fn serve(&mut self) -> Result<(), CoreError> {
        let mut taken = Taken::default();
        let mut next_tick = self.clock.elapsed() + self.tick;
        let mut has_more = true;
        loop {
            if !has_more && !self.can_release_held() {
                let due = self.member.next_turn_ns().map_or(next_tick, Duration::from_nanos).min(next_tick);
                self.inbox.park(due.saturating_sub(self.clock.elapsed()));
            }
            self.inbox.take(&mut taken);
            let now = self.clock.elapsed();
            let now_ns = nanos(now);
            self.observed.on_taken(now_ns);
            // All that was taken is looked at, also when one of it is a failure: the others may be answers.
            let mut outcome = Ok(());
            for message in taken.control.drain(..) {
                outcome = outcome.and(self.on_control(message));
            }
            for event in taken.peers.drain(..) {
                self.on_peer(event, now_ns);
            }
            self.release_held(now_ns);
            for message in taken.incoming.drain(..) {
                self.on_incoming(message, now_ns);
            }
            outcome?;
            if now >= next_tick {
                self.look_at_heartbeat(now.saturating_sub(next_tick));
                self.member.tick(now_ns);
                next_tick = now + self.tick;
                self.show();
                if !std::mem::take(&mut self.has_appended) {
                    self.seal_log()?;
                }
            }
            has_more = self.work()?;
            // Whoever is told that authentication is on must find it on.
            if self.member.is_auth_enabled() != self.shows_auth {
                self.show();
            }
            self.flush_fronts();
            self.observe();
            if let Stage::HandingOver { until } = self.stage
                && (self.member.leader() != self.member_id || now >= until)
            {
                self.flush();
            }
            if self.stage == Stage::Flushing && self.member.is_flushed() {
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
            Control::Answered { caller, result } => {
                self.hashing.retain(|waiting| *waiting != caller);
                self.respond_now(caller, result);
            }
            Control::SpareReady(spare) => {
                self.spares.on_ready(spare.is_some(), self.clock.elapsed());
                if let Some(spare) = spare {
                    self.wal.add_spare(spare);
                }
            }
            Control::Database(sender) => self.want_database(sender),
            Control::Stop => self.stop(),
            Control::Fatal(reason) => return Err(CoreError::Thread(reason)),
        }
        Ok(())
    }

    fn on_incoming(&mut self, incoming: Incoming, now_ns: u64) {
        let front = incoming.front.0 as u64;
        for submission in incoming.submissions {
            match submission {
                Submission::Request { token, credentials, request, wants_phases } => {
                    let caller = Caller { front, token: token.0 };
                    if wants_phases && self.traced.len() < TRACED_MAX {
                        self.traced.insert(caller);
                    }
                    self.submit(caller, credentials, request, now_ns);
                }
                Submission::Watch(call) => self.member.watch(front, call, now_ns),
                Submission::Gone(token) => self.member.on_caller_gone(Caller { front, token: token.0 }),
            }
        }
    }

    /// Commands wait while the backend cannot keep up. Nothing else does: a lease would run out while the renewal of
    /// its owner waits.
    fn submit(&mut self, caller: Caller, credentials: Credentials, request: Request, now_ns: u64) {
        let must_wait = self.member.is_congested() || !self.held.is_empty();
        if !must_wait || !matches!(request, Request::Propose(_)) {
            self.member.submit(caller, credentials, request, now_ns);
        } else if self.held.len() < REQUESTS_MAX {
            self.held.push_back((caller, credentials, request));
        } else {
            self.respond_now(caller, Err(ApiError::TooManyRequests));
        }
    }

    fn can_release_held(&self) -> bool {
        !self.held.is_empty() && !self.member.is_congested()
    }

    fn release_held(&mut self, now_ns: u64) {
        while self.can_release_held() {
            let Some((caller, credentials, request)) = self.held.pop_front() else { return };
            self.member.submit(caller, credentials, request, now_ns);
        }
    }

    fn on_committed(&mut self, committed: Committed) {
        self.view = Arc::new(committed.view);
        self.member.on_committed(committed.total_bytes, committed.in_use_bytes);
    }

    fn respond_now(&mut self, caller: Caller, result: Result<Answer, ApiError>) {
        let (revision, raft_term) = self.member.stamp();
        self.respond(Respond { caller, index: 0, revision, raft_term, result });
    }

    /// A leader hands over first, so that the others need not wait until they miss it.
    fn stop(&mut self) {
        self.refuse_waiting();
        let now = self.clock.elapsed();
        if !self.is_removed && self.member.transfer_leadership(nanos(now)) {
            log!(Info, "leadership transfer starting", "local-member-id" => format!("{:x}", self.member_id));
            self.stage = Stage::HandingOver { until: now + self.hand_over_time_max };
        } else {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.stage = Stage::Flushing;
        self.member.want_snapshot();
    }

    /// Takes nothing in any more, and refuses what did not get to the member.
    fn refuse_waiting(&mut self) {
        for incoming in self.inbox.stop() {
            for token in inbox::requests_of(&incoming.submissions) {
                let caller = Caller { front: incoming.front.0 as u64, token: token.0 };
                self.respond_now(caller, Err(ApiError::Stopped));
            }
        }
        for (caller, ..) in std::mem::take(&mut self.held) {
            self.respond_now(caller, Err(ApiError::Stopped));
        }
        for (_, sender) in std::mem::take(&mut self.databases) {
            // Whoever asked may be gone.
            let _ = sender.send(Err(ApiError::Stopped));
        }
    }

    /// The end: gives out the answers that there are, and tells all others that there will be none.
    fn refuse_all(&mut self) {
        self.refuse_waiting();
        for caller in std::mem::take(&mut self.hashing) {
            self.respond_now(caller, Err(ApiError::Stopped));
        }
        self.member.refuse_all(&ApiError::Stopped);
        while let Some(output) = self.member.poll() {
            match output {
                Output::Respond(respond) => self.respond(respond),
                Output::Deliver(deliver) => self.deliver(deliver),
                Output::Hash(job) => self.respond_now(job.caller(), Err(ApiError::Stopped)),
                // The log and the backend are left as they are.
                Output::Persist(_)
                | Output::Send(_)
                | Output::SendSnapshot(_)
                | Output::Install(_)
                | Output::MembersChanged(_)
                | Output::Commit(_)
                | Output::SnapshotTaken(_)
                | Output::Notice(_) => {}
            }
        }
        self.flush_fronts();
    }

    /// Lets the member work until it waits for something; `true` if it has more slices to do.
    fn work(&mut self) -> Result<bool, CoreError> {
        for _ in 0..TURNS_MAX {
            let now_ns = nanos(self.clock.elapsed());
            let has_more = self.member.turn(&*self.view, now_ns);
            self.observed.turn_ns = now_ns;
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
                    self.record_install(persist.ticket)?;
                    self.append(&persist);
                }
                // They leave before the own write is on the disk, which is right for those that come so early.
                Output::Send(messages) => self.peers.transport.send(messages),
                Output::SendSnapshot(send) => self.send_snapshot(send),
                Output::Install(install) => self.install(&install)?,
                Output::MembersChanged(members) => self.on_members(members),
                Output::Respond(respond) => self.respond(respond),
                Output::Deliver(deliver) => self.deliver(deliver),
                Output::Commit(commit) => {
                    if !self.backend.commit(commit) {
                        return Err(CoreError::Thread("the backend thread has ended".into()));
                    }
                }
                Output::SnapshotTaken(snapshot) => self.note_snapshot(&snapshot)?,
                Output::Hash(job) => self.start_hash(job),
                Output::Notice(notice) => self.note(&notice),
            }
        }
        if must_sync {
            self.sync_log()?;
            self.finish_install()?;
        }
        for ticket in &tickets {
            self.member.on_persisted(*ticket);
        }
        Ok(!tickets.is_empty())
    }

    fn sync_log(&mut self) -> Result<(), CoreError> {
        self.write_log()?;
        self.spares.ask_if_needed(&mut self.wal, self.clock.elapsed());
        Ok(())
    }

    /// The backend holds everything up to here: the log may forget it.
    fn note_snapshot(&mut self, snapshot: &LogSnapshot) -> Result<(), CoreError> {
        self.wal.append_snapshot(&convert::snapshot_record(snapshot));
        self.write_log()?;
        self.wal.release(snapshot.index)?;
        log!(Info, "saved snapshot", "snapshot-index" => snapshot.index);
        Ok(())
    }

    /// The member is idle: a record behind the last batch proves that it was synced.
    fn seal_log(&mut self) -> Result<(), CoreError> {
        if self.wal.buffered_bytes() > 0 {
            self.write_log()?;
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
        if let Some(last) = self.entries.last() {
            let now_ns = nanos(self.clock.elapsed());
            self.observed.batches.on_appended(last.index, now_ns);
        }
    }

    fn respond(&mut self, respond: Respond) {
        let Respond { caller, index, revision, raft_term, result } = respond;
        let phases = self.phases_of(caller, index);
        if let Some(queue) = self.front(caller.front) {
            let token = Token(caller.token);
            queue.completions.push(Completion { token, revision, raft_term, result, phases });
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

    /// The state is complete when everything that is applied now is committed, as for a hash.
    fn want_database(&mut self, sender: oneshot::Sender<Result<Database, ApiError>>) {
        self.databases_next += 1;
        self.databases.insert(self.databases_next, sender);
        let caller = Caller { front: DATABASE_FRONT, token: self.databases_next };
        self.member.submit(caller, Credentials::Member, Request::Hash, nanos(self.clock.elapsed()));
    }

    /// Reads the state on a thread of its own, over the view of now.
    fn start_database(&mut self, caller: Caller) {
        let Some(sender) = self.databases.remove(&caller.token) else { return };
        let (view, version) = (Arc::clone(&self.view), self.member.report().storage_version);
        let work = move || {
            let database = outgoing::database(view, version);
            // Whoever asked may be gone.
            let _ = sender.send(database.map_err(|error| ApiError::Storage(error.to_string())));
        };
        if let Err(error) = std::thread::Builder::new().name("snapshot-plan".into()).spawn(work) {
            log!(Error, "the state cannot be read", "error" => error.to_string());
        }
    }

    /// Hashes read everything, so they run on a thread of their own, over a view of their own.
    fn start_hash(&mut self, job: HashJob) {
        let caller = job.caller();
        if caller.front == DATABASE_FRONT {
            return self.start_database(caller);
        }
        if self.hashing.len() >= HASHES_MAX {
            return self.respond_now(caller, Err(ApiError::TooManyRequests));
        }
        match hashes::start(job, self.reader.clone(), Arc::clone(&self.inbox)) {
            Ok(()) => self.hashing.push(caller),
            Err(error) => self.respond_now(caller, Err(ApiError::Storage(error.to_string()))),
        }
    }

    /// What everybody may see without asking.
    fn show(&mut self) {
        // One view is the core thread's own.
        let views = Arc::strong_count(&self.view) + self.hashing.len();
        self.metrics.backend_views.set(views as u64);
        let report = self.member.report();
        self.shows_auth = report.auth_enabled;
        self.shown.has_leader.store(report.leader != 0, Ordering::Relaxed);
        *self.shown.report.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(report);
    }

    fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::BecameLeader { term } => {
                self.show();
                let id = self.member_id;
                log!(Info @ "raft", format!("{id:x} became leader at term {term}"), "term" => *term);
            }
            Notice::LeaderChanged { leader, term } => {
                self.show();
                let what = if *leader == 0 { "lost leader" } else { "elected leader" };
                let text = format!("raft.node: {:x} {what} {leader:x} at term {term}", self.member_id);
                log!(Info @ "raft", text, "leader" => format!("{leader:x}"), "term" => *term);
            }
            Notice::MemberAdded { id, peer_urls } => {
                log!(Info, "added member", "added-peer-id" => format!("{id:x}"), "added-peer-peer-urls" => peer_urls.join(","));
            }
            Notice::MemberRemoved { id } => {
                log!(Info, "removed member", "removed-remote-peer-id" => format!("{id:x}"));
            }
            Notice::Removed => self.on_removed(),
            Notice::DowngradeSet(target) => self.note_downgrade(target.as_deref()),
            Notice::Published => {
                let id = format!("{:x}", self.member_id);
                log!(Info, "published local member to cluster through raft", "local-member-id" => id);
                // Nobody has to listen.
                let _ = self.published.try_send(());
            }
            Notice::ClusterVersionSet(version) => {
                self.show();
                log!(Info, "set initial cluster version", "cluster-version" => version.clone());
            }
            Notice::CompactionFinished { revision, took_ns } => {
                let took = Duration::from_nanos(*took_ns);
                log!(Info, "finished scheduled compaction", "compact-revision" => *revision, "took" => took);
            }
            Notice::LeaseExpired(id) => log!(Debug, "lease expired", "lease-id" => *id),
            Notice::AuthSwitched(true) => log!(Info, "enabled authentication"),
            Notice::AuthSwitched(false) => log!(Info, "disabled authentication"),
            // Whoever was refused for want of space may look at `/health` next.
            Notice::AlarmsChanged => self.show(),
            Notice::QuotaExceeded => log!(Warn, "database space exceeded the quota"),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
