//! A member with a log and a backend in memory, and a clock that only the test moves.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{Backend, BackendError, Durability, MemoryBackend, ReadView, Table};
use etched_replica::auth::Credentials;
use etched_replica::raft::{
    ConfChange, ConfChangeKind, Config, Entry, EntryKind, HardState, Restored, SnapshotMeta,
};
use etched_replica::{
    Answer, ApiError, ApplierOptions, AutoCompaction, Caller, Commit, Deliver, HashJob, Limits, LogSnapshot,
    MeasureOptions, Member, MemberOptions, Notice, Output, Presence, Request, Respond, Start, StartError,
    WatchCall,
};
use etched_state_machine::{Command, Outcome, Put, Range, Refusal, bootstrap_changes};
use etched_watch::HubOptions;

pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLISECOND;

/// What outlives a crash: the synced log and the durable commits.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) entries: Vec<Entry>,
    pub(crate) tables: Vec<etched_backend::Op>,
}

pub(crate) struct Harness {
    pub(crate) member: Member,
    backend: MemoryBackend,
    view: <MemoryBackend as Backend>::View,
    pub(crate) disk: Disk,
    /// Operations that reached the backend after the last durable commit.
    undurable: Vec<etched_backend::Op>,
    pub(crate) now: u64,
    /// In whose name requests are made.
    pub(crate) credentials: Credentials,
    token: u64,
    pub(crate) responds: Vec<Respond>,
    pub(crate) deliveries: Vec<Deliver>,
    pub(crate) notices: Vec<Notice>,
    /// Writes to the log that are held back, if the test wants that.
    pub(crate) holds_persists: bool,
    held: Vec<u64>,
    /// The backend is slow: a commit under way is held back, if the test wants that.
    pub(crate) holds_commits: bool,
    held_commit: Option<Commit>,
    /// How many commits were handed out.
    pub(crate) commits: usize,
    lives: u64,
}

pub(crate) struct Settings {
    pub(crate) quota_bytes: i64,
    pub(crate) snapshot_entries: u64,
    pub(crate) auto_compaction: AutoCompaction,
    pub(crate) advance_election: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quota_bytes: 0,
            snapshot_entries: 1_000,
            auto_compaction: AutoCompaction::Off,
            advance_election: false,
        }
    }
}

const MEMBER: u64 = 0x8e9e_05c5_2164_694d;

impl Disk {
    /// The log of a new member of a cluster of one.
    pub(crate) fn fresh() -> Self {
        Self::founding(&[("default".to_owned(), vec!["http://localhost:2380".to_owned()])])
    }

    /// The log of a new member of a new cluster, names and peer URLs given.
    pub(crate) fn founding(cluster: &[(String, Vec<String>)]) -> Self {
        let changes = bootstrap_changes(cluster, "etcd-cluster");
        let entries: Vec<Entry> = (1..)
            .zip(&changes)
            .map(|(index, change)| Entry {
                term: 1,
                index,
                kind: EntryKind::ConfChange,
                data: ConfChange {
                    id: 0,
                    kind: ConfChangeKind::AddNode,
                    node_id: change.member_id,
                    context: change.context.clone(),
                }
                .encode(),
            })
            .collect();
        let hard_state = HardState { term: 1, vote: 0, commit: entries.len() as u64 };
        Self { hard_state, entries, ..Self::default() }
    }

    /// The log is gone, the backend is not.
    pub(crate) fn forget_snapshot_and_lose_all(&mut self) {
        self.snapshot = SnapshotMeta::default();
        self.entries.clear();
    }
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let mut harness = Self::start(Disk::fresh(), settings, 0, 1).expect("a fresh member starts");
        harness.run();
        harness
    }

    pub(crate) fn start(disk: Disk, settings: Settings, now: u64, lives: u64) -> Result<Self, StartError> {
        let backend = MemoryBackend::new();
        let mut batch = etched_backend::Batch::new();
        for op in disk.tables.clone() {
            match op {
                etched_backend::Op::Put { table, key, value } => batch.put(table, key, value),
                etched_backend::Op::Delete { table, key } => batch.delete(table, key),
            }
        }
        backend.commit(&batch, Durability::Synced).expect("memory does not fail");
        let view = backend.view().expect("memory does not fail");
        let start = Start {
            config: Config { boot: lives, seed: lives, ..Config::new(MEMBER) },
            restored: Restored {
                hard_state: disk.hard_state,
                snapshot: disk.snapshot.clone(),
                entries: disk.entries.clone(),
            },
            force_new_cluster: false,
        };
        let mut member = Member::new(&view, start, options(&settings, lives))?;
        member.campaign();
        Ok(Self {
            member,
            backend,
            view,
            disk,
            undurable: Vec::new(),
            now,
            credentials: Credentials::Anonymous,
            token: 0,
            responds: Vec::new(),
            deliveries: Vec::new(),
            notices: Vec::new(),
            holds_persists: false,
            held: Vec::new(),
            holds_commits: false,
            held_commit: None,
            commits: 0,
            lives,
        })
    }

    /// Entries that the log holds above its snapshot, and their bytes.
    pub(crate) fn log_size(&self) -> (usize, usize) {
        (self.disk.entries.len(), self.disk.entries.iter().map(|entry| entry.data.len()).sum())
    }

    /// Power is lost: what was not synced is gone, and the member starts again.
    pub(crate) fn crash(self, settings: Settings) -> Self {
        let mut harness = self.restart_without_running(settings);
        harness.run();
        harness
    }

    /// As a crash, to be looked at before anything is done.
    pub(crate) fn restart_without_running(self, settings: Settings) -> Self {
        Self::start(self.disk, settings, self.now + SECOND, self.lives + 1).expect("the member starts again")
    }

    /// Works until nothing is left to do.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            let has_more = self.member.turn(&self.view, self.now);
            let has_moved = self.carry_out();
            assert!(self.member.failure().is_none(), "{:?}", self.member.failure());
            if !has_more && !has_moved {
                return;
            }
        }
        panic!("the member never comes to rest");
    }

    /// Takes one request through consensus, and one slice of everything else.
    pub(crate) fn step(&mut self) {
        for _ in 0..2 {
            self.member.turn(&self.view, self.now);
            self.carry_out();
        }
    }

    pub(crate) fn answer_is_pending(&self, token: u64) -> bool {
        self.responds.iter().all(|respond| respond.caller.token != token)
    }

    /// Moves the clock on, with a tick each 100 ms.
    pub(crate) fn advance(&mut self, nanos: u64) {
        let end = self.now + nanos;
        while self.now < end {
            self.now = (self.now + 100 * MILLISECOND).min(end);
            self.member.tick(self.now);
            self.run();
        }
    }

    pub(crate) fn release_persists(&mut self) {
        self.holds_persists = false;
        for ticket in std::mem::take(&mut self.held) {
            self.member.on_persisted(ticket);
        }
        self.run();
    }

    pub(crate) fn release_commit(&mut self) {
        self.holds_commits = false;
        if let Some(commit) = self.held_commit.take() {
            self.commit(&commit.batch, commit.snapshot.as_ref());
        }
        self.run();
    }

    /// The commit under way is done although the member has failed.
    pub(crate) fn release_commit_after_failure(&mut self) {
        if let Some(commit) = self.held_commit.take() {
            self.commit(&commit.batch, commit.snapshot.as_ref());
        }
        for _ in 0..3 {
            self.now += SECOND;
            self.member.turn(&self.view, self.now);
            self.carry_out();
        }
    }

    /// A turn in which the backend cannot be read, and what comes of it.
    pub(crate) fn run_without_backend(&mut self) {
        for _ in 0..3 {
            self.member.turn(&Unreadable, self.now);
            self.carry_out();
        }
    }

    pub(crate) fn carry_out(&mut self) -> bool {
        let mut has_moved = false;
        while let Some(output) = self.member.poll() {
            has_moved = true;
            match output {
                Output::Persist(persist) => {
                    if let Some(first) = persist.entries.first() {
                        self.disk.entries.retain(|entry| entry.index < first.index);
                    }
                    self.disk.entries.extend(persist.entries);
                    self.disk.hard_state = persist.hard_state.unwrap_or(self.disk.hard_state);
                    if self.holds_persists {
                        self.held.push(persist.ticket);
                    } else {
                        self.member.on_persisted(persist.ticket);
                    }
                }
                Output::Send(messages) => assert!(messages.is_empty(), "a lone member has no peers"),
                Output::SendSnapshot(_) | Output::Install(_) => panic!("a lone member has no peers"),
                Output::MembersChanged(_) => {}
                Output::Respond(respond) => self.responds.push(respond),
                Output::Deliver(delivery) => {
                    self.member.watch(
                        0,
                        WatchCall::Consumed { stream: delivery.stream, bytes: delivery.bytes },
                        self.now,
                    );
                    self.deliveries.push(delivery);
                }
                Output::Commit(commit) => {
                    self.commits += 1;
                    if self.holds_commits {
                        self.held_commit = Some(commit);
                    } else {
                        self.commit(&commit.batch, commit.snapshot.as_ref());
                    }
                }
                Output::SnapshotTaken(snapshot) => self.take_snapshot(&snapshot),
                Output::Hash(job) => self.hash(job),
                Output::Notice(notice) => self.notices.push(notice),
            }
        }
        has_moved
    }

    fn commit(&mut self, batch: &etched_backend::Batch, snapshot: Option<&LogSnapshot>) {
        self.backend.commit(batch, Durability::Buffered).expect("memory does not fail");
        self.view = self.backend.view().expect("memory does not fail");
        self.undurable.extend(batch.iter().cloned());
        if snapshot.is_some() {
            self.disk.tables.append(&mut self.undurable);
        }
        let size = self.disk.tables.len() as u64 * 100;
        self.member.on_committed(size, size);
    }

    fn take_snapshot(&mut self, snapshot: &LogSnapshot) {
        self.disk.snapshot = SnapshotMeta {
            index: snapshot.index,
            term: snapshot.term,
            conf_state: snapshot.conf_state.clone(),
        };
        self.disk.entries.retain(|entry| entry.index > snapshot.index);
    }

    fn hash(&mut self, job: HashJob) {
        if let HashJob::Whole(caller) = job {
            let result = Ok(Answer::Hash(0));
            self.responds.push(Respond { caller, index: 0, revision: 0, raft_term: 0, result });
            return;
        }
        let HashJob::Keys(caller, etched_state_machine::HashPlan::Walk(walk)) = job else { return };
        let hash = walk.run(&self.view).expect("memory does not fail");
        let respond =
            Respond { caller, index: 0, revision: 0, raft_term: 0, result: Ok(Answer::HashKv(hash)) };
        self.responds.push(respond);
    }

    pub(crate) fn submit(&mut self, request: Request) -> u64 {
        self.token += 1;
        let caller = Caller { front: 0, token: self.token };
        self.member.submit(caller, self.credentials.clone(), request, self.now);
        self.token
    }

    /// The answer to a request that was submitted, if there is one yet.
    pub(crate) fn answer(&mut self, token: u64) -> Option<Result<Answer, ApiError>> {
        let position = self.responds.iter().position(|respond| respond.caller.token == token)?;
        Some(self.responds.remove(position).result)
    }

    pub(crate) fn call(&mut self, request: Request) -> Result<Answer, ApiError> {
        let token = self.submit(request);
        self.run();
        self.answer(token).expect("the request is answered")
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> i64 {
        match self.call(put(key, value)) {
            Ok(Answer::Applied(Outcome::Put(done))) => done.revision,
            other => panic!("{other:?}"),
        }
    }

    /// Puts that many keys, many in one turn.
    pub(crate) fn fill(&mut self, keys: usize, value: &str) {
        for number in 0..keys {
            self.submit(put(&format!("k{number:05}"), value));
            if number % 500 == 499 {
                self.run();
            }
        }
        self.run();
        self.responds.clear();
    }

    pub(crate) fn refusal(&mut self, request: Request) -> Refusal {
        match self.call(request) {
            Err(ApiError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    /// Keys and values in a range, by the canonical message.
    pub(crate) fn range(&mut self, range: Range) -> Vec<(String, String)> {
        use prost::Message;
        match self.call(Request::Range(range)) {
            Ok(Answer::Range(output)) => output
                .records
                .into_iter()
                .map(|record| {
                    let kv = etched_proto::mvccpb::KeyValue::decode(record).expect("a record is a message");
                    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                    (text(&kv.key), text(&kv.value))
                })
                .collect(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn put(key: &str, value: &str) -> Request {
    Request::Propose(Command::Put(Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Put::default()
    }))
}

fn options(settings: &Settings, lives: u64) -> MemberOptions {
    options_of(MEMBER, "default", settings, lives)
}

pub(crate) fn options_of(id: u64, name: &str, settings: &Settings, lives: u64) -> MemberOptions {
    MemberOptions {
        strict_reconfig_check: true,
        advance_election: settings.advance_election,
        tick_ns: 100 * MILLISECOND,
        election_ns: SECOND,
        member_id: id,
        start_ms: lives * 1_000,
        limits: Limits {
            command: etched_state_machine::Limits { txn_ops_max: 128, request_bytes_max: 1_572_864 },
            request_bytes_max: 1_572_864,
            proposals_max: 1_000,
            apply_lag_max: 5_000,
            request_timeout_ns: 7 * SECOND,
            commit_interval_ns: 100 * MILLISECOND,
            commit_entries_max: u64::MAX,
            commit_bytes_max: 1 << 20,
            commit_backlog_bytes_max: 16 << 20,
            snapshot_entries: settings.snapshot_entries,
            snapshot_bytes: 1 << 20,
            catch_up_entries: 10,
        },
        presence: Presence {
            name: name.into(),
            client_urls: vec!["http://localhost:2379".into()],
            cluster_version: "3.7.0".into(),
        },
        applier: ApplierOptions {
            machine: etched_state_machine::Options {
                quota_bytes: settings.quota_bytes,
                member_id: id,
                value_cache_bytes: 4_096,
                ..etched_state_machine::Options::default()
            },
            hub: HubOptions { fragment_bytes: 2 << 20, stream_queue_bytes: 1 << 20, history_bytes: 1 << 20 },
            lease_extension_ns: SECOND,
            compaction_keys: 100,
            compaction_pause_ns: 0,
            auto_compaction: settings.auto_compaction,
            measures: MeasureOptions::default(),
            token_life_ns: 300_000_000_000,
        },
    }
}

/// A view of a backend whose storage has failed.
struct Unreadable;

impl ReadView for Unreadable {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Bytes>, BackendError> {
        Err(BackendError::Storage("unreadable".into()))
    }

    fn scan(
        &self,
        _: Table,
        _: (Bound<&[u8]>, Bound<&[u8]>),
        _: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        Err(BackendError::Storage("unreadable".into()))
    }
}
