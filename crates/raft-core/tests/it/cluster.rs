//! A cluster whose network and disks do what the test says, or what a seed says.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use bytes::Bytes;
use etched_raft_core::{
    ConfChange, ConfChangeKind, ConfState, Config, Effect, Entry, EntryKind, HardState, Message, MessageKind,
    RaftCore, ReadTicket, Restored, Role, SnapshotEffect, SnapshotMeta,
};

/// A member with its disk and its state machine.
pub(crate) struct Node {
    pub(crate) core: RaftCore,
    pub(crate) disk: Disk,
    /// Writes that are not on the disk, in order.
    writes: VecDeque<Write>,
    /// Whether writes wait for [`Cluster::sync`].
    pub(crate) slow: bool,
    pub(crate) applied: Vec<Entry>,
    /// The state machine's snapshot at which `applied` starts.
    pub(crate) installed: u64,
    pub(crate) ready: BTreeMap<ReadTicket, u64>,
    pub(crate) lost: Vec<ReadTicket>,
    pub(crate) role: Role,
    pub(crate) wanted: Vec<u64>,
    boot: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) entries: Vec<Entry>,
}

struct Write {
    ticket: u64,
    entries: Vec<Entry>,
    hard_state: Option<HardState>,
    snapshot: Option<SnapshotMeta>,
    must_sync: bool,
}

pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// Messages under way.
    pub(crate) wire: VecDeque<Message>,
    pub(crate) seed: u64,
    /// The leader of each term.
    leaders: BTreeMap<u64, u64>,
    /// What any member applied at each index, with its term.
    pub(crate) history: BTreeMap<u64, Entry>,
    /// Everything that happened, if it is kept.
    pub(crate) trace: Option<String>,
    settings: fn(&mut Config),
}

impl Disk {
    fn write(&mut self, write: Write) {
        if let Some(meta) = write.snapshot {
            self.entries.clear();
            self.snapshot = meta;
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            assert_eq!(first.index, self.last_index() + 1, "a log has no gaps");
            self.entries.extend(write.entries);
        }
        if let Some(hard_state) = write.hard_state {
            assert!(hard_state.term >= self.hard_state.term && hard_state.commit >= self.hard_state.commit);
            self.hard_state = hard_state;
        }
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.entries.last().map_or(self.snapshot.index, |entry| entry.index)
    }

    fn restored(&self) -> Restored {
        let mut hard_state = self.hard_state;
        hard_state.commit = hard_state.commit.min(self.last_index());
        Restored { hard_state, snapshot: self.snapshot.clone(), entries: self.entries.clone() }
    }
}

impl Node {
    fn new(id: u64, seed: u64, boot: u64, disk: Disk, settings: fn(&mut Config)) -> Self {
        let installed = disk.snapshot.index;
        let mut config = Config { seed, boot, applied: installed, ..Config::new(id) };
        settings(&mut config);
        let core = RaftCore::new(config, disk.restored()).unwrap();
        Self {
            core,
            disk,
            writes: VecDeque::new(),
            slow: false,
            applied: Vec::new(),
            installed,
            ready: BTreeMap::new(),
            lost: Vec::new(),
            role: Role::Follower,
            wanted: Vec::new(),
            boot,
        }
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.core.status().role == Role::Leader
    }

    /// The payloads that were applied, without the empty entries of new leaders and changes of configuration.
    pub(crate) fn commands(&self) -> Vec<Bytes> {
        let commands =
            self.applied.iter().filter(|entry| entry.kind == EntryKind::Normal && !entry.data.is_empty());
        commands.map(|entry| entry.data.clone()).collect()
    }
}

impl Cluster {
    pub(crate) fn new(members: u64) -> Self {
        Self::with(members, 1, |_| ())
    }

    pub(crate) fn with(members: u64, seed: u64, settings: fn(&mut Config)) -> Self {
        let snapshot =
            SnapshotMeta { conf_state: ConfState::of_voters(1..=members), ..SnapshotMeta::default() };
        let mut cluster = Self::empty(seed, settings);
        for id in 1..=members {
            let disk = Disk { snapshot: snapshot.clone(), ..Disk::default() };
            cluster.nodes.insert(id, Node::new(id, seed, 1, disk, settings));
        }
        cluster.drain_all();
        cluster
    }

    /// Members that learn of each other from changes of the configuration at the head of their logs.
    pub(crate) fn from_log(members: u64) -> Self {
        let mut cluster = Self::empty(1, |_| ());
        let entries: Vec<Entry> = (1..=members)
            .map(|id| {
                let change =
                    ConfChange { id: 0, kind: ConfChangeKind::AddNode, node_id: id, context: Bytes::new() };
                Entry { term: 1, index: id, kind: EntryKind::ConfChange, data: change.encode() }
            })
            .collect();
        let hard_state = HardState { term: 1, vote: 0, commit: members };
        for id in 1..=members {
            cluster.join(id, Disk { hard_state, entries: entries.clone(), ..Disk::default() });
        }
        cluster
    }

    pub(crate) fn empty(seed: u64, settings: fn(&mut Config)) -> Self {
        Self {
            nodes: BTreeMap::new(),
            wire: VecDeque::new(),
            seed,
            leaders: BTreeMap::new(),
            history: BTreeMap::new(),
            trace: None,
            settings,
        }
    }

    /// Adds a member with this disk.
    pub(crate) fn join(&mut self, id: u64, disk: Disk) {
        self.nodes.insert(id, Node::new(id, self.seed, 1, disk, self.settings));
        self.drain(id);
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    /// Gives an input to a member and does what follows from it.
    pub(crate) fn input<T>(&mut self, id: u64, act: impl FnOnce(&mut RaftCore) -> T) -> T {
        let result = act(&mut self.node(id).core);
        self.drain(id);
        result
    }

    pub(crate) fn drain_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.drain(id);
        }
    }

    /// Does all that a member wants done.
    pub(crate) fn drain(&mut self, id: u64) {
        loop {
            let node = self.nodes.get_mut(&id).unwrap();
            let Some(effect) = node.core.poll() else { break };
            if let Some(trace) = &mut self.trace {
                writeln!(trace, "{id} {effect:?}").unwrap();
            }
            self.act(id, effect);
        }
    }

    fn act(&mut self, id: u64, effect: Effect) {
        let node = self.nodes.get_mut(&id).unwrap();
        match effect {
            Effect::Persist { ticket, entries, hard_state, must_sync } => {
                if let Some(last) = node.writes.back_mut()
                    && last.ticket == ticket
                {
                    (last.entries, last.hard_state) = (entries, hard_state);
                } else {
                    let write = Write { ticket, entries, hard_state, snapshot: None, must_sync };
                    node.writes.push_back(write);
                }
                if !node.slow {
                    self.sync(id);
                }
            }
            Effect::Send(messages) => {
                for message in messages {
                    assert_eq!(
                        (message.kind(), Message::decode(&message.encode())),
                        (message.kind(), Ok(message.clone()))
                    );
                    self.wire.push_back(message);
                }
            }
            Effect::Apply(entries) => self.apply(id, entries),
            Effect::ReadReady { ticket, index } => {
                assert!(node.ready.insert(ticket, index).is_none(), "a read is answered once");
            }
            Effect::ReadLost(ticket) => {
                assert!(!node.ready.contains_key(&ticket), "a read is answered once");
                node.lost.push(ticket);
            }
            Effect::Role { role, term, leader } => {
                node.role = role;
                if role == Role::Leader {
                    assert_eq!(leader, Some(id));
                    let first = *self.leaders.entry(term).or_insert(id);
                    assert_eq!(first, id, "two leaders in term {term}");
                }
            }
            Effect::Snapshot(SnapshotEffect::Wanted { to }) => node.wanted.push(to),
            Effect::Snapshot(SnapshotEffect::Send(message)) => self.wire.push_back(message),
            Effect::Snapshot(SnapshotEffect::Install { ticket, meta, .. }) => {
                node.installed = meta.index;
                node.applied.clear();
                let (entries, hard_state, must_sync) = (Vec::new(), None, true);
                node.writes.push_back(Write { ticket, entries, hard_state, snapshot: Some(meta), must_sync });
            }
        }
    }

    fn apply(&mut self, id: u64, entries: Vec<Entry>) {
        let node = self.nodes.get_mut(&id).unwrap();
        for entry in entries {
            assert_eq!(
                entry.index,
                node.installed + node.applied.len() as u64 + 1,
                "entries are applied in order"
            );
            assert!(entry.index <= node.core.status().persisted, "own persisted entries only");
            let first = self.history.entry(entry.index).or_insert_with(|| entry.clone());
            assert_eq!(*first, entry, "member {id} applied another entry {}", entry.index);
            if entry.kind == EntryKind::ConfChange {
                let change = ConfChange::decode(&entry.data).unwrap();
                node.core.apply_conf_change(Some(&change)).unwrap();
            }
            node.applied.push(entry);
        }
        let index = node.installed + node.applied.len() as u64;
        node.core.on_applied(index);
    }

    /// Brings the oldest `count` writes of a member to its disk.
    pub(crate) fn sync_some(&mut self, id: u64, count: usize) {
        let node = self.nodes.get_mut(&id).unwrap();
        let mut ticket = None;
        for write in node.writes.drain(..count.min(node.writes.len())).collect::<Vec<_>>() {
            ticket = write.must_sync.then_some(write.ticket).or(ticket);
            node.disk.write(write);
        }
        if let Some(ticket) = ticket {
            node.core.on_persisted(ticket);
            self.drain(id);
        }
    }

    /// Brings all writes of a member to its disk.
    pub(crate) fn sync(&mut self, id: u64) {
        self.sync_some(id, usize::MAX);
    }

    /// Stops a member, which loses what is not on its disk, and starts it again.
    pub(crate) fn restart(&mut self, id: u64) {
        let old = self.nodes.remove(&id).unwrap();
        let node = Node::new(id, self.seed, old.boot + 1, old.disk, self.settings);
        self.nodes.insert(id, node);
        self.drain(id);
    }

    /// Delivers one message.
    pub(crate) fn deliver(&mut self, message: Message) {
        let to = message.to();
        if let Some(trace) = &mut self.trace {
            writeln!(trace, "deliver {:?} {} -> {to}", message.kind(), message.from()).unwrap();
        }
        if self.nodes.contains_key(&to) {
            let result = self.input(to, |core| core.step(message));
            if let (Err(error), Some(trace)) = (result, &mut self.trace) {
                writeln!(trace, "{to} refuses: {error}").unwrap();
            }
        }
    }

    /// Delivers messages in order, until none is under way; those that `keep` says no to are lost.
    pub(crate) fn settle_if(&mut self, keep: impl Fn(&Message) -> bool) {
        while let Some(message) = self.wire.pop_front() {
            if keep(&message) {
                self.deliver(message);
            }
        }
    }

    pub(crate) fn settle(&mut self) {
        self.settle_if(|_| true);
    }

    /// Delivers only messages between these members.
    pub(crate) fn settle_among(&mut self, members: &[u64]) {
        self.settle_if(|message| members.contains(&message.from()) && members.contains(&message.to()));
    }

    pub(crate) fn tick_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.input(id, RaftCore::tick);
        }
    }

    /// Makes a member the leader.
    pub(crate) fn elect(&mut self, id: u64) {
        match self.leader() {
            // Who has a leader ignores candidates.
            Some(leader) if leader != id => self.input(leader, |core| core.transfer_leader(id)),
            Some(_) | None => self.input(id, RaftCore::campaign),
        }
        self.settle();
        assert!(self.node(id).is_leader(), "member {id} was not elected");
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leaders = self.nodes.iter().filter(|(_, node)| node.is_leader());
        leaders.max_by_key(|(_, node)| node.core.status().term).map(|(id, _)| *id)
    }

    pub(crate) fn propose(&mut self, id: u64, command: &'static str) {
        self.input(id, |core| core.propose(vec![Bytes::from_static(command.as_bytes())])).unwrap();
    }

    /// Takes the messages of a kind off the wire.
    pub(crate) fn hold(&mut self, kind: MessageKind, to: u64) -> Vec<Message> {
        let (held, rest) =
            self.wire.drain(..).partition(|message: &Message| message.kind() == kind && message.to() == to);
        self.wire = Vec::into(rest);
        held
    }
}

/// A sequence of numbers from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
