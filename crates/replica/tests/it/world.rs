//! A cluster of members in one thread, over a network that loses, delays and repeats what it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{Backend, Batch, Durability, MemoryBackend, Op, ReadView, Table};
use etched_replica::auth::Credentials;
use etched_replica::raft::{Config, Message, MessageKind, Restored, SnapshotDelivery, SnapshotMeta};
use etched_replica::{
    Answer, ApiError, Caller, Commit, Deliver, HashJob, Member, MemberEntry, Notice, Output, Request,
    Respond, Start, WatchCall,
};
use etched_state_machine::{HashPlan, Outcome, Range, member_id};
use etched_watch::StreamId;

use crate::harness::{Disk, MILLISECOND, SECOND, Settings, options_of, put};

/// The time between two looks at the network.
const STEP: u64 = 10 * MILLISECOND;

/// What a seed decides.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What the network does to messages.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) loss_percent: u64,
    pub(crate) repeat_percent: u64,
    pub(crate) delay_max: u64,
}

/// A message under way.
struct Flight {
    at: u64,
    order: u64,
    bytes: Bytes,
    database: Option<Vec<Op>>,
}

/// A snapshot that took the place of the backend, and is not on record in the log.
struct Installing {
    ticket: u64,
    meta: SnapshotMeta,
    tables: Vec<Op>,
}

pub(crate) struct Node {
    pub(crate) member: Member,
    backend: MemoryBackend,
    view: <MemoryBackend as Backend>::View,
    pub(crate) disk: Disk,
    undurable: Vec<Op>,
    incoming: Option<(u64, Vec<Op>)>,
    installing: Option<Installing>,
    pub(crate) responds: Vec<Respond>,
    pub(crate) deliveries: Vec<Deliver>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) members: Vec<MemberEntry>,
    pub(crate) snapshots_sent: usize,
    pub(crate) snapshots_installed: usize,
    /// Writes to the log wait.
    pub(crate) is_disk_stalled: bool,
    held: Vec<etched_replica::Persist>,
    /// Neither ticks nor messages nor turns.
    pub(crate) is_paused: bool,
    waiting: Vec<(Bytes, Option<Vec<Op>>)>,
    /// Its clock is ahead by that much.
    pub(crate) skew: u64,
    next_tick: u64,
}

pub(crate) struct World {
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// Disks of members that do not run.
    pub(crate) stopped: BTreeMap<u64, Disk>,
    wire: Vec<Flight>,
    pub(crate) cuts: BTreeSet<(u64, u64)>,
    pub(crate) faults: Faults,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    token: u64,
    order: u64,
    lives: u64,
    pub(crate) snapshot_entries: u64,
    pub(crate) advance_election: bool,
    names: BTreeMap<u64, String>,
}

pub(crate) fn peer_url(number: u64) -> String {
    format!("http://127.0.0.1:{}", 10_000 + number)
}

pub(crate) fn cluster(size: u64) -> Vec<(String, Vec<String>)> {
    (1..=size).map(|number| (format!("m{number}"), vec![peer_url(number)])).collect()
}

pub(crate) fn id(number: u64) -> u64 {
    member_id(&[peer_url(number)], "etcd-cluster", None)
}

impl World {
    /// A founded cluster whose members start together.
    pub(crate) fn found(size: u64, seed: u64) -> Self {
        Self::found_with(size, seed, false)
    }

    /// As `found`, with the choice whether the first election comes early.
    pub(crate) fn found_with(size: u64, seed: u64, advance_election: bool) -> Self {
        let mut world = Self {
            nodes: BTreeMap::new(),
            stopped: BTreeMap::new(),
            wire: Vec::new(),
            cuts: BTreeSet::new(),
            faults: Faults::default(),
            rng: Rng(seed),
            now: 100 * SECOND,
            token: 0,
            order: 0,
            lives: seed * 1_000,
            snapshot_entries: 100_000,
            advance_election,
            names: BTreeMap::new(),
        };
        for number in 1..=size {
            world.names.insert(id(number), format!("m{number}"));
            world.start(id(number), Disk::founding(&cluster(size)));
        }
        world.run(STEP);
        world
    }

    /// As `found`, with a leader that everybody knows, and which is returned.
    pub(crate) fn with_leader(size: u64, seed: u64) -> (Self, u64) {
        let mut world = Self::found(size, seed);
        let leader = world.await_leader();
        world.run(6 * SECOND);
        (world, leader)
    }

    pub(crate) fn start(&mut self, id: u64, disk: Disk) {
        self.start_with(id, disk, false);
    }

    pub(crate) fn start_with(&mut self, id: u64, disk: Disk, force_new_cluster: bool) {
        self.lives += 1;
        let backend = MemoryBackend::new();
        fill(&backend, &disk.tables);
        let view = backend.view().expect("memory does not fail");
        let start = Start {
            config: Config { boot: self.lives, seed: self.lives, ..Config::new(id) },
            restored: Restored {
                hard_state: disk.hard_state,
                snapshot: disk.snapshot.clone(),
                entries: disk.entries.clone(),
            },
            force_new_cluster,
        };
        let settings = Settings {
            snapshot_entries: self.snapshot_entries,
            advance_election: self.advance_election,
            ..Settings::default()
        };
        let name = self.names.entry(id).or_insert_with(|| format!("{id:x}")).clone();
        let options = options_of(id, &name, &settings, self.lives);
        let mut member = Member::new(&view, start, options).expect("the member starts");
        member.campaign();
        let node = Node {
            member,
            backend,
            view,
            disk,
            undurable: Vec::new(),
            incoming: None,
            installing: None,
            responds: Vec::new(),
            deliveries: Vec::new(),
            notices: Vec::new(),
            members: Vec::new(),
            snapshots_sent: 0,
            snapshots_installed: 0,
            is_disk_stalled: false,
            held: Vec::new(),
            is_paused: false,
            waiting: Vec::new(),
            skew: 0,
            next_tick: self.now + self.rng.below(100) * MILLISECOND,
        };
        self.nodes.insert(id, node);
        self.tell_activity();
    }

    /// Everybody is told with whom it can speak.
    pub(crate) fn tell_activity(&mut self) {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for (id, node) in &mut self.nodes {
            for other in ids.iter().filter(|other| *other != id) {
                let is_cut = self.cuts.contains(&(*id, *other)) || self.cuts.contains(&(*other, *id));
                node.member.on_active(*other, !is_cut, self.now + node.skew);
            }
            for gone in self.stopped.keys() {
                node.member.on_active(*gone, false, self.now + node.skew);
            }
        }
    }

    /// Power is lost: what was not synced is gone.
    pub(crate) fn crash(&mut self, id: u64) {
        let node = self.nodes.remove(&id).expect("it runs");
        self.stopped.insert(id, node.disk);
        self.report_lost(id, node.waiting);
        self.tell_activity();
        let others: Vec<u64> = self.nodes.keys().copied().collect();
        others.into_iter().for_each(|other| self.tell_gone(other, id));
    }

    /// A member is told that another one is not running, which may be wrong.
    pub(crate) fn tell_gone(&mut self, to: u64, gone: u64) {
        if let Some(node) = self.nodes.get_mut(&to).filter(|node| !node.is_paused) {
            node.member.on_gone(gone);
        }
    }

    pub(crate) fn restart(&mut self, id: u64) {
        let disk = self.stopped.remove(&id).expect("it is stopped");
        self.start(id, disk);
    }

    /// No message passes between the two sides.
    pub(crate) fn cut(&mut self, side: &[u64]) {
        let ids: Vec<u64> = self.nodes.keys().chain(self.stopped.keys()).copied().collect();
        for inside in side {
            for outside in ids.iter().filter(|id| !side.contains(id)) {
                self.cuts.insert((*inside, *outside));
                self.cuts.insert((*outside, *inside));
            }
        }
        self.tell_activity();
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.tell_activity();
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, nanos: u64) {
        let end = self.now + nanos;
        while self.now < end {
            self.now += STEP;
            self.deliver();
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.work(id);
            }
        }
    }

    /// Lets time pass until it is so.
    pub(crate) fn run_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..3_000 {
            if done(self) {
                return;
            }
            self.run(STEP);
        }
        panic!("it never comes to: {what}\n{}", self.picture());
    }

    /// What is to be seen of all members.
    fn picture(&self) -> String {
        let of = |(id, node): (&u64, &Node)| {
            let report = node.member.report();
            format!(
                "{id:x}: term {} leader {:x} committed {} applied {} log {}..{} hard {:?} paused {} stalled {}",
                report.raft_term,
                report.leader,
                report.raft_committed,
                report.raft_applied,
                node.disk.snapshot.index,
                node.disk.entries.last().map_or(0, |entry| entry.index),
                node.disk.hard_state,
                node.is_paused,
                node.is_disk_stalled,
            )
        };
        self.nodes.iter().map(of).collect::<Vec<_>>().join("\n")
    }

    fn deliver(&mut self) {
        let now = self.now;
        let mut due: Vec<Flight> = self.wire.extract_if(.., |flight| flight.at <= now).collect();
        due.sort_by_key(|flight| (flight.at, flight.order));
        for Flight { bytes, database, .. } in due {
            let message = Message::decode(&bytes).expect("it was encoded here");
            let (from, to) = (message.from(), message.to());
            let is_snapshot = database.is_some();
            let Some(node) = self.nodes.get_mut(&to) else {
                self.report_snapshot(from, to, is_snapshot, SnapshotDelivery::Failed);
                continue;
            };
            if node.is_paused {
                node.waiting.push((bytes, database));
            } else {
                receive(node, message, database, now);
                self.report_snapshot(from, to, is_snapshot, SnapshotDelivery::Done);
            }
        }
    }

    fn report_snapshot(&mut self, from: u64, to: u64, is_snapshot: bool, delivery: SnapshotDelivery) {
        if is_snapshot && let Some(sender) = self.nodes.get_mut(&from) {
            sender.member.on_snapshot_sent(to, delivery);
        }
    }

    /// Goes on after a pause: what arrived meanwhile is taken in after the first tick, or before it.
    pub(crate) fn resume(&mut self, id: u64) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("it runs");
        node.is_paused = false;
        let mut arrived = Vec::new();
        for (bytes, database) in std::mem::take(&mut node.waiting) {
            let message = Message::decode(&bytes).expect("it was encoded here");
            arrived.push((message.from(), database.is_some()));
            receive(node, message, database, now);
        }
        for (from, is_snapshot) in arrived {
            self.report_snapshot(from, id, is_snapshot, SnapshotDelivery::Done);
        }
    }

    /// What arrived during the pause is lost.
    pub(crate) fn resume_deaf(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("it runs");
        node.is_paused = false;
        let lost = std::mem::take(&mut node.waiting);
        self.report_lost(id, lost);
    }

    /// The transport tells senders of snapshots that did not arrive.
    fn report_lost(&mut self, to: u64, lost: Vec<(Bytes, Option<Vec<Op>>)>) {
        for (bytes, database) in lost {
            let from = Message::decode(&bytes).expect("it was encoded here").from();
            self.report_snapshot(from, to, database.is_some(), SnapshotDelivery::Failed);
        }
    }

    pub(crate) fn work(&mut self, id: u64) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.is_paused {
            return;
        }
        if now >= node.next_tick {
            node.member.tick(now + node.skew);
            node.next_tick = now + 100 * MILLISECOND;
        }
        let mut sent = Vec::new();
        for _ in 0..1_000 {
            let has_more = node.member.turn(&node.view, now + node.skew);
            let has_moved = node.carry_out(now, &mut sent);
            assert!(node.member.failure().is_none(), "{:?}", node.member.failure());
            if !has_more && !has_moved {
                break;
            }
        }
        for (message, database) in sent {
            self.send(&message, database);
        }
    }

    fn send(&mut self, message: &Message, database: Option<Vec<Op>>) {
        let (from, to) = (message.from(), message.to());
        let is_lost = self.rng.below(100) < self.faults.loss_percent;
        if self.cuts.contains(&(from, to)) || is_lost || !self.nodes.contains_key(&to) {
            if database.is_some() {
                self.report_snapshot(from, to, true, SnapshotDelivery::Failed);
            }
            return;
        }
        // The streams between members repeat nothing; a proposal that came twice would be two.
        let may_repeat = database.is_none() && message.kind() != MessageKind::Propose;
        let copies = 1 + u64::from(self.rng.below(100) < self.faults.repeat_percent && may_repeat);
        for _ in 0..copies {
            self.order += 1;
            let delay = if self.faults.delay_max > 0 { self.rng.below(self.faults.delay_max) } else { 0 };
            let (at, order) = (self.now + delay, self.order);
            self.wire.push(Flight { at, order, bytes: message.encode(), database: database.clone() });
        }
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let mut leaders: Vec<(u64, u64)> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.member.report().is_leader)
            .map(|(id, node)| (node.member.report().raft_term, *id))
            .collect();
        leaders.sort_unstable();
        leaders.last().map(|(_, id)| *id)
    }

    pub(crate) fn await_leader(&mut self) -> u64 {
        self.run_until("one leader that all members know", |world| {
            let leader = world.leader();
            leader.is_some() && world.nodes.values().all(|node| Some(node.member.leader()) == leader)
        });
        self.leader().expect("it was found")
    }

    /// A leader among these members that all of them know.
    pub(crate) fn await_leader_among(&mut self, members: &[u64]) -> u64 {
        self.run_until("a leader among some", |world| {
            let leader = world.node(members[0]).member.leader();
            members.contains(&leader)
                && members.iter().all(|id| world.node(*id).member.leader() == leader)
                && world.node(leader).member.report().is_leader
        });
        self.node(members[0]).member.leader()
    }

    /// The revisions of all events that a stream was sent, in order.
    pub(crate) fn revisions_seen(&mut self, id: u64, stream: StreamId) -> Vec<i64> {
        use prost::Message as _;
        let deliveries = self.node(id).deliveries.iter().filter(|delivery| delivery.stream == stream);
        let events = deliveries.flat_map(|delivery| delivery.response.events.iter().cloned());
        events
            .map(|event| {
                let event = etched_proto::mvccpb::Event::decode(event).expect("an event is a message");
                event.kv.map_or(0, |kv| kv.mod_revision)
            })
            .collect()
    }

    pub(crate) fn is_cancelled_as_compacted(&mut self, id: u64, stream: StreamId) -> bool {
        let mut deliveries = self.node(id).deliveries.iter().filter(|delivery| delivery.stream == stream);
        deliveries.any(|delivery| delivery.response.canceled && delivery.response.compact_revision > 0)
    }

    /// A leader other than this one.
    pub(crate) fn await_other_leader(&mut self, old: u64) -> u64 {
        self.run_until("another leader", |world| world.leader().is_some_and(|leader| leader != old));
        self.leader().expect("it was found")
    }

    pub(crate) fn other(&self, not: u64) -> u64 {
        *self.nodes.keys().find(|id| **id != not).expect("there are others")
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("it runs")
    }

    pub(crate) fn submit(&mut self, id: u64, request: Request) -> u64 {
        self.token += 1;
        let (token, now) = (self.token, self.now);
        let node = self.node(id);
        let now = now + node.skew;
        node.member.submit(Caller { front: 0, token }, Credentials::Anonymous, request, now);
        token
    }

    pub(crate) fn answer(&mut self, id: u64, token: u64) -> Option<Result<Answer, ApiError>> {
        let responds = &mut self.nodes.get_mut(&id)?.responds;
        let position = responds.iter().position(|respond| respond.caller.token == token)?;
        Some(responds.remove(position).result)
    }

    pub(crate) fn call(&mut self, id: u64, request: Request) -> Result<Answer, ApiError> {
        let token = self.submit(id, request);
        let mut answer = None;
        self.run_until("an answer", |world| {
            answer = answer.take().or_else(|| world.answer(id, token));
            answer.is_some()
        });
        answer.expect("it is there")
    }

    pub(crate) fn put(&mut self, id: u64, key: &str, value: &str) -> i64 {
        match self.call(id, put(key, value)) {
            Ok(Answer::Applied(Outcome::Put(done))) => done.revision,
            other => panic!("{other:?}"),
        }
    }

    /// Many puts on one member, all answered.
    pub(crate) fn fill(&mut self, id: u64, keys: std::ops::Range<u64>) {
        let tokens: Vec<u64> =
            keys.map(|number| self.submit(id, put(&format!("k{number:05}"), "v"))).collect();
        self.run_until("all puts are answered", |world| {
            let responds = &world.node(id).responds;
            tokens.iter().all(|token| responds.iter().any(|respond| respond.caller.token == *token))
        });
        self.node(id).responds.clear();
    }

    /// Keys, values and versions in a range.
    pub(crate) fn range(&mut self, id: u64, range: Range) -> Result<Vec<(String, String, i64)>, ApiError> {
        let answer = self.call(id, Request::Range(range))?;
        Ok(records(answer))
    }

    /// All members that run have the same keys once everything is applied.
    pub(crate) fn assert_equal_states(&mut self) {
        self.run_until("all members have applied the same", |world| {
            let reports: Vec<_> = world.nodes.values().map(|node| node.member.report()).collect();
            reports.windows(2).all(|pair| {
                pair[0].raft_applied == pair[1].raft_applied && pair[0].raft_committed == pair[1].raft_applied
            })
        });
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        let states: Vec<_> = ids.iter().map(|id| self.dump(*id)).collect();
        for pair in states.windows(2) {
            assert_eq!(pair[0], pair[1]);
        }
    }

    fn dump(&mut self, id: u64) -> (Vec<(String, String, i64)>, Vec<MemberEntry>, u32) {
        let range = Range { serializable: true, ..Range::new(crate::cluster::everything()) };
        let keys = self.range(id, range).expect("a local read");
        let members = self.node(id).member.members();
        let hash = match self.call(id, Request::HashKv { revision: 0 }) {
            Ok(Answer::HashKv(hash)) => hash.hash,
            other => panic!("{other:?}"),
        };
        (keys, members, hash)
    }
}

/// Keys, values and versions.
pub(crate) fn records(answer: Answer) -> Vec<(String, String, i64)> {
    use prost::Message as _;
    let Answer::Range(output) = answer else { panic!("{answer:?}") };
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let record = |record: Bytes| {
        let kv = etched_proto::mvccpb::KeyValue::decode(record).expect("a record is a message");
        (text(&kv.key), text(&kv.value), kv.version)
    };
    output.records.into_iter().map(record).collect()
}

fn receive(node: &mut Node, message: Message, database: Option<Vec<Op>>, now: u64) {
    if let Some(tables) = database {
        node.incoming = message.snapshot().map(|meta| (meta.index, tables));
    }
    // A refused message is as good as a lost one.
    let _ = node.member.step(message, now + node.skew);
}

fn fill(backend: &MemoryBackend, ops: &[Op]) {
    let mut batch = Batch::new();
    for op in ops.iter().cloned() {
        match op {
            Op::Put { table, key, value } => batch.put(table, key, value),
            Op::Delete { table, key } => batch.delete(table, key),
        }
    }
    backend.commit(&batch, Durability::Synced).expect("memory does not fail");
}

fn tables_of(view: &dyn ReadView) -> Vec<Op> {
    let mut ops = Vec::new();
    for table in Table::ALL {
        view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            ops.push(Op::Put { table, key, value });
            ControlFlow::Continue(())
        })
        .expect("memory does not fail");
    }
    ops
}

impl Node {
    fn carry_out(&mut self, now: u64, sent: &mut Vec<(Message, Option<Vec<Op>>)>) -> bool {
        let mut has_moved = false;
        while let Some(output) = self.member.poll() {
            has_moved = true;
            match output {
                Output::Persist(persist) if self.is_disk_stalled => self.held.push(persist),
                Output::Persist(persist) => self.persist(persist),
                Output::Send(messages) => sent.extend(messages.into_iter().map(|message| (message, None))),
                Output::SendSnapshot(send) => {
                    self.snapshots_sent += 1;
                    let tables = tables_of(&self.view);
                    assert_eq!(send.message.snapshot().map(|meta| meta.index), Some(send.index));
                    assert_eq!(applied_in(&self.view), send.index, "the view is the state that is announced");
                    sent.push((send.message, Some(tables)));
                }
                Output::Install(install) => self.install(&install, now),
                Output::MembersChanged(members) => self.members = members,
                Output::Respond(respond) => self.responds.push(respond),
                Output::Deliver(delivery) => {
                    let call = WatchCall::Consumed { stream: delivery.stream, bytes: delivery.bytes };
                    self.member.watch(0, call, now);
                    self.deliveries.push(delivery);
                }
                Output::Commit(commit) => self.commit(&commit),
                Output::SnapshotTaken(snapshot) => {
                    assert!(snapshot.data.starts_with(b"{\"Root\""));
                    let (index, term) = (snapshot.index, snapshot.term);
                    self.disk.snapshot = SnapshotMeta { index, term, conf_state: snapshot.conf_state };
                    self.disk.entries.retain(|entry| entry.index > index);
                }
                Output::Hash(HashJob::Keys(caller, HashPlan::Walk(walk))) => {
                    let hash = walk.run(&self.view).expect("memory does not fail");
                    let result = Ok(Answer::HashKv(hash));
                    self.responds.push(Respond { caller, index: 0, revision: 0, raft_term: 0, result });
                }
                Output::Hash(job) => panic!("{job:?}"),
                Output::Notice(notice) => self.notices.push(notice),
            }
        }
        has_moved
    }

    fn persist(&mut self, persist: etched_replica::Persist) {
        if let Some(installing) = self.installing.take_if(|installing| installing.ticket == persist.ticket) {
            self.disk.snapshot = installing.meta;
            self.disk.entries.clear();
            self.disk.tables = installing.tables;
            self.undurable.clear();
        }
        if let Some(first) = persist.entries.first() {
            self.disk.entries.retain(|entry| entry.index < first.index);
        }
        self.disk.entries.extend(persist.entries);
        self.disk.hard_state = persist.hard_state.unwrap_or(self.disk.hard_state);
        self.member.on_persisted(persist.ticket);
    }

    pub(crate) fn release_disk(&mut self) {
        self.is_disk_stalled = false;
        for persist in std::mem::take(&mut self.held) {
            self.persist(persist);
        }
    }

    fn install(&mut self, install: &etched_replica::Install, now: u64) {
        let (index, tables) = self.incoming.take().expect("the database came with the message");
        assert_eq!(index, install.meta.index);
        self.backend = MemoryBackend::new();
        fill(&self.backend, &tables);
        self.view = self.backend.view().expect("memory does not fail");
        self.member.on_installed(&self.view, install, now + self.skew).expect("the snapshot is sound");
        self.undurable.clear();
        let (ticket, meta) = (install.ticket, install.meta.clone());
        self.installing = Some(Installing { ticket, meta, tables });
        self.snapshots_installed += 1;
    }

    fn commit(&mut self, commit: &Commit) {
        self.backend.commit(&commit.batch, Durability::Buffered).expect("memory does not fail");
        self.view = self.backend.view().expect("memory does not fail");
        self.undurable.extend(commit.batch.iter().cloned());
        if commit.snapshot.is_some() {
            assert!(
                self.installing.is_none(),
                "nothing is made durable before the log knows of the snapshot"
            );
            self.disk.tables.append(&mut self.undurable);
        }
        self.member.on_committed(1_000, 1_000);
    }
}

/// The last index applied in a state.
fn applied_in(view: &dyn ReadView) -> u64 {
    let stored = view.get(Table::Meta, b"consistent_index").expect("memory does not fail");
    stored.map_or(0, |bytes| u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")))
}
