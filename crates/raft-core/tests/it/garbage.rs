//! Messages that no sound member sends: refused, never a panic.

use bytes::Bytes;
use etched_raft_core::{ConfState, Message, MessageKind, RaftCore, Role, StepError};
use proptest::prelude::*;

use crate::cluster::Cluster;
use crate::forged::Forged;

/// Member 1 follows member 2 in term 1, with entries 1 and 2 committed.
fn follower() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.elect(2);
    cluster.propose(2, "a");
    cluster.settle();
    cluster.tick_all();
    cluster.settle();
    assert_eq!(cluster.node(1).core.status().commit, 2);
    cluster
}

fn check(forged: Forged, expected: &StepError) {
    let mut cluster = follower();
    let before = cluster.node(1).core.status();
    let result = cluster.input(1, |core| core.step(forged.message()));
    assert_eq!(result.as_ref().err(), Some(expected));
    assert_eq!(cluster.node(1).core.status(), before);
}

#[test]
fn what_would_stop_a_member_is_refused() {
    use MessageKind::{Append, Heartbeat, Propose, ReadIndex, ReadIndexResponse, Snapshot, Vote};
    let malformed = StepError::Malformed;
    check(Forged::new(Heartbeat, 0, 1), &StepError::ImpossibleSender { from: 0 });
    check(Forged::new(Heartbeat, 1, 1), &StepError::ImpossibleSender { from: 1 });
    check(Forged::new(Heartbeat, 2, 1).number(2, 9), &StepError::Misaddressed { to: 9 });
    check(Forged::new(Heartbeat, 2, 0), &malformed("the term is wrong for its type"));
    check(Forged::new(Propose, 2, 1).entry(0, 0, 0, b"x"), &malformed("the term is wrong for its type"));
    check(Forged::new(Vote, 2, u64::MAX), &malformed("a term or an index is too large"));
    check(
        Forged::new(Heartbeat, 2, 1).number(8, 3),
        &StepError::CommitBeyondLog { commit: 3, last_index: 2 },
    );
    check(Forged::new(Propose, 2, 0), &malformed("nothing is proposed"));
    check(Forged::new(ReadIndex, 2, 0), &malformed("a read has exactly one context"));
    check(Forged::new(ReadIndex, 2, 0).entry(0, 0, 0, b""), &malformed("a read has exactly one context"));
    check(Forged::new(ReadIndexResponse, 2, 1), &malformed("a read has exactly one context"));
    let append = |index, log_term| Forged::new(Append, 2, 1).number(5, log_term).number(6, index);
    check(append(0, 1), &malformed("the entry before has an index or a term, not both"));
    check(append(9, 0), &malformed("the entry before has an index or a term, not both"));
    check(append(2, 1).entry(0, 1, 4, b""), &malformed("the entries have a gap"));
    check(append(2, 1).entry(0, 1, 3, b"").entry(0, 0, 4, b""), &malformed("the terms of the entries fall"));
    check(append(2, 1).entry(0, 2, 3, b""), &malformed("an entry is newer than its leader"));
    let newer = Forged::new(Append, 3, 5).number(5, 2).number(6, 2);
    check(newer, &StepError::ConflictsWithCommitted { index: 2 });
    let newer = Forged::new(Append, 3, 5).number(5, 1).number(6, 1).entry(0, 4, 2, b"");
    check(newer, &StepError::ConflictsWithCommitted { index: 2 });
    let snapshot = |index, term, conf_state| Forged::new(Snapshot, 2, 1).snapshot(index, term, &conf_state);
    check(snapshot(0, 1, ConfState::of_voters([1])), &malformed("the snapshot is empty"));
    check(snapshot(9, 2, ConfState::of_voters([1])), &malformed("the snapshot is newer than its leader"));
    check(snapshot(9, 1, ConfState::default()), &malformed("nobody votes in the snapshot"));
    check(snapshot(9, 1, ConfState::of_voters([1, 1])), &malformed("a member is listed twice"));
    let conf_state = ConfState { learners: vec![1], ..ConfState::of_voters([1]) };
    check(snapshot(9, 1, conf_state), &malformed("a member votes and learns"));
    check(Forged::new(MessageKind::AppendResponse, 9, 1), &StepError::UnknownSender { from: 9 });
}

#[test]
fn a_leader_does_not_believe_impossible_answers() {
    let mut cluster = follower();
    cluster.elect(1);
    let term = cluster.node(1).core.status().term;
    let last_index = cluster.node(1).core.status().last_index;
    let forged = Forged::new(MessageKind::AppendResponse, 2, term).number(6, last_index + 1);
    let result = cluster.input(1, |core| core.step(forged.message()));
    assert_eq!(result, Err(StepError::AcknowledgesTooMuch { index: last_index + 1, last_index }));
}

#[test]
fn a_late_rejection_does_not_send_a_follower_back() {
    let mut cluster = follower();
    cluster.elect(1);
    let term = cluster.node(1).core.status().term;
    for index in 0..5 {
        let forged = Forged::new(MessageKind::AppendResponse, 2, term).number(6, index).number(10, 1);
        let _ = cluster.input(1, |core| core.step(forged.message()));
        let follower = cluster.node(1).core.status().followers[0];
        assert!(follower.next > follower.matched, "{follower:?}");
    }
}

#[test]
fn votes_that_come_before_they_were_asked_for_make_no_leader() {
    let mut cluster = follower();
    cluster.node(1).slow = true;
    cluster.propose(2, "not on the disk of member 1");
    cluster.settle();
    for _ in 0..25 {
        cluster.input(1, RaftCore::tick);
    }
    assert_eq!(cluster.node(1).role, Role::PreCandidate);
    for kind in [MessageKind::PreVoteResponse, MessageKind::VoteResponse] {
        let result = cluster.input(1, |core| core.step(Forged::new(kind, 2, 2).message()));
        assert_eq!(result, Err(StepError::Unasked));
    }
    cluster.sync(1);
    let result =
        cluster.input(1, |core| core.step(Forged::new(MessageKind::PreVoteResponse, 2, 2).message()));
    assert_eq!((result, cluster.node(1).role), (Ok(()), Role::Candidate));
}

#[test]
fn a_sole_leader_that_is_told_to_campaign_in_a_later_term_stays_whole() {
    let mut cluster = Cluster::new(1);
    cluster.node(1).slow = true;
    cluster.propose(1, "not on the disk");
    let timeout_now = || Forged::new(MessageKind::TimeoutNow, 2, 9).message();
    assert_eq!(cluster.input(1, |core| core.step(timeout_now())), Err(StepError::Unasked));
    cluster.sync(1);
    assert_eq!(cluster.input(1, |core| core.step(timeout_now())), Ok(()));
    cluster.sync(1);
    assert_eq!((cluster.node(1).role, cluster.node(1).core.status().term), (Role::Leader, 10));
}

#[test]
fn types_that_members_never_send_are_refused_by_name() {
    let decode = |number| Message::decode(&Forged::default().number(1, number).number(2, 1).0.into());
    assert_eq!(
        decode(19).unwrap_err().to_string(),
        "a message of etcd's type MsgStorageAppend is not for members"
    );
    assert_eq!(
        decode(23).unwrap_err().to_string(),
        "a message of etcd's type MsgForgetLeader is not for members"
    );
    assert_eq!(decode(0).unwrap_err().to_string(), "a message of etcd's type MsgHup is not for members");
    assert_eq!(decode(24).unwrap_err().to_string(), "a message of type 24 is not known");
}

/// Numbers that are likely to meet the state of a small cluster, and some that are not.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..8_u64, 1 => Just(i64::MAX.unsigned_abs()), 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(Vec::new()),
        2 => prop::collection::vec(any::<u8>(), 0..6),
        1 => Just(vec![0x10, 3, 0x18, 3]),
        1 => Just(vec![0x10, 1, 0x18, 1]),
    ]
}

fn conf_state() -> impl Strategy<Value = ConfState> {
    let ids = || prop::collection::vec(0..5_u64, 0..4);
    (ids(), ids(), ids(), ids(), any::<bool>()).prop_map(
        |(voters, learners, voters_outgoing, learners_next, auto_leave)| ConfState {
            voters,
            learners,
            voters_outgoing,
            learners_next,
            auto_leave,
        },
    )
}

prop_compose! {
    /// A message whose parts need not fit; `term` and `commit` are mostly near those of the member.
    fn forged()(
        kind in prop::sample::select(vec![2_u64, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 18]),
        addresses in (prop_oneof![9 => Just(1_u64), 1 => number()], number()),
        numbers in (number(), number(), number(), number(), number()),
        reject in 0..2_u64,
        chained in any::<bool>(),
        entries in prop::collection::vec((0..3_u64, number(), number(), payload()), 0..3),
        context in payload(),
        snapshot in prop::option::of((number(), number(), conf_state())),
    ) -> Vec<u8> {
        let (term, log_term, index, commit, hint) = numbers;
        let mut forged = Forged::default().number(1, kind).number(2, addresses.0).number(3, addresses.1)
            .number(4, term).number(5, log_term).number(6, index).number(8, commit)
            .number(10, reject).number(11, hint).bytes(12, &context);
        for (position, (entry_kind, entry_term, entry_index, data)) in (1_u64..).zip(entries) {
            let (entry_term, entry_index) =
                if chained { (log_term.max(1), index.wrapping_add(position)) } else { (entry_term, entry_index) };
            forged = forged.entry(entry_kind, entry_term, entry_index, &data);
        }
        if let Some((index, term, conf_state)) = snapshot {
            forged = forged.snapshot(index, term, &conf_state);
        }
        forged.0
    }
}

#[derive(Clone, Debug)]
enum Step {
    Forged(Vec<u8>),
    Tick,
    Propose,
    Read,
    Campaign,
    Sync(usize),
    Deliver,
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => forged().prop_map(Step::Forged),
        2 => Just(Step::Tick),
        2 => Just(Step::Propose),
        1 => Just(Step::Read),
        1 => Just(Step::Campaign),
        3 => (1..4_usize).prop_map(Step::Sync),
        5 => Just(Step::Deliver),
        1 => Just(Step::Compact),
    ]
}

/// Drives member 1 alone, without the checks that hold only among sound members.
struct Victim {
    core: RaftCore,
    tickets: Vec<u64>,
}

impl Victim {
    fn drain(&mut self) {
        use etched_raft_core::{ConfChange, Effect, EntryKind};
        while let Some(effect) = self.core.poll() {
            match effect {
                Effect::Persist { ticket, .. } => self.tickets.push(ticket),
                Effect::Apply(entries) => {
                    for entry in &entries {
                        match entry.kind {
                            EntryKind::Normal => {}
                            EntryKind::ConfChange => {
                                if let Ok(change) = ConfChange::decode(&entry.data) {
                                    let _ = self.core.apply_conf_change(Some(&change));
                                }
                            }
                            EntryKind::ConfChangeV2 => drop(self.core.apply_conf_change_v2(&entry.data)),
                        }
                    }
                    self.core.on_applied(entries.last().unwrap().index);
                }
                Effect::Send(messages) => messages.iter().for_each(|message| drop(message.encode())),
                Effect::ReadReady { .. }
                | Effect::ReadLost(_)
                | Effect::Role { .. }
                | Effect::Snapshot(_) => {}
            }
        }
    }

    fn take(&mut self, step: Step, wire: &mut Cluster) {
        match step {
            Step::Forged(bytes) => {
                if let Ok(message) = Message::decode(&bytes.into()) {
                    let _ = self.core.step(message);
                }
            }
            Step::Tick => self.core.tick(),
            Step::Propose => drop(self.core.propose(vec![Bytes::from_static(b"p")])),
            Step::Read => drop(self.core.read_index()),
            Step::Campaign => self.core.campaign(),
            Step::Sync(count) => {
                let count = count.min(self.tickets.len());
                if let Some(ticket) = self.tickets.drain(..count).next_back() {
                    self.core.on_persisted(ticket);
                }
            }
            Step::Deliver => {
                if let Some(message) = wire.wire.pop_front()
                    && message.to() == 1
                {
                    let _ = self.core.step(message);
                }
            }
            Step::Compact => self.core.compact(self.core.status().applied),
        }
        self.drain();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_messages_never_stop_a_member(
        steps in prop::collection::vec(step(), 1..40),
        role in 0..3,
        synced in any::<bool>(),
    ) {
        let mut cluster = follower();
        match role {
            0 => {}
            1 => cluster.elect(1),
            _ => cluster = Cluster::new(1),
        }
        cluster.tick_all();
        let node = cluster.nodes.remove(&1).unwrap();
        let mut victim = Victim { core: node.core, tickets: Vec::new() };
        for step in steps {
            victim.take(step, &mut cluster);
            if synced {
                victim.take(Step::Sync(usize::MAX), &mut cluster);
            }
        }
    }

    #[test]
    fn random_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes = Bytes::from(bytes);
        let _ = Message::decode(&bytes);
        let _ = ConfState::decode(&bytes);
        let _ = etched_raft_core::ConfChange::decode(&bytes);
    }

    #[test]
    fn what_is_decoded_is_encoded_to_the_same_meaning(bytes in forged()) {
        if let Ok(message) = Message::decode(&bytes.into()) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}
