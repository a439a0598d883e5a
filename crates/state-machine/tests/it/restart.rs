//! The same entries give the same state and the same bytes, and a crash at any point loses nothing that the log holds.

use bytes::Bytes;
use etched_backend::{Backend, Batch, Durability};
use etched_key_range::KeyRange;
use etched_mvcc::{HashPlan, RangeQuery};
use etched_state_machine::{
    AlarmRequest, Command, ConfState, Member as Peer, MemberChange, Range, StateMachine,
};
use proptest::prelude::*;

use crate::model;
use crate::support::*;

/// What happens to a member.
#[derive(Clone, Debug)]
enum Step {
    Apply(Command),
    Change(MemberChange),
    /// Takes a batch and commits it.
    Commit(bool),
    /// Frees some history.
    Compact,
    /// Loses what is not synced, and starts again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let peer = |id: u64| Peer {
        id,
        peer_urls: vec![format!("http://{id}:1")],
        is_learner: id.is_multiple_of(2),
        ..Peer::default()
    };
    let alarm = (0..4i32, 0..3u64, 0..3i32);
    prop_oneof![
        20 => model::command().prop_map(Step::Apply),
        1 => alarm.prop_map(|(action, member_id, alarm)| {
            // Without the alarms that forbid most of the script.
            Step::Apply(Command::Alarm(AlarmRequest { action, member_id, alarm: if action == 1 { 0 } else { alarm } }))
        }),
        1 => (0..4i64, 0..3i64).prop_map(|(id, remaining)| Step::Apply(Command::LeaseCheckpoint(vec![(id, remaining)]))),
        1 => (5..9u64).prop_map(|minor| Step::Apply(Command::ClusterVersionSet { version: format!("3.{minor}.0") })),
        1 => (0..5u64).prop_map(|member_id| Step::Apply(Command::MemberAttributes {
            member_id,
            name: "n".into(),
            client_urls: vec![]
        })),
        2 => (1..5u64).prop_map(move |id| Step::Change(MemberChange::Add(peer(id)))),
        1 => (1..5u64).prop_map(|id| Step::Change(MemberChange::Promote(id))),
        1 => (1..5u64).prop_map(|id| Step::Change(MemberChange::Remove(id))),
        3 => any::<bool>().prop_map(Step::Commit),
        2 => Just(Step::Compact),
        2 => Just(Step::Crash),
    ]
}

/// An entry of the log.
#[derive(Clone, Debug)]
enum Logged {
    Normal(Bytes),
    Change(MemberChange),
}

fn apply(member: &mut Member, logged: &Logged) {
    match logged {
        Logged::Normal(entry) => {
            member.apply_entry(entry);
        }
        Logged::Change(change) => {
            let (index, term) = member.machine.applied();
            let conf_state = ConfState { voters: vec![index, 1], ..ConfState::default() };
            member.machine.apply_conf_change(index + 1, term.max(1), &change.to_record(42), conf_state);
        }
    }
}

fn commit(member: &mut Member, durability: Durability) -> Batch {
    let batch = member.machine.take_batch();
    member.backend.commit(&batch, durability).unwrap();
    member.machine.on_committed(member.machine.revision());
    batch
}

/// Everything that a client or another member can see.
fn portrait(member: &Member) -> Vec<String> {
    let machine = &member.machine;
    let view = member.backend.view().unwrap();
    let mut lines = vec![format!("{:?} {:?}", machine.applied(), machine.conf_state())];
    let oldest = machine.store().compact_revision().max(1);
    for revision in oldest..=machine.revision() {
        let query = RangeQuery { revision, ..RangeQuery::new(KeyRange::all()) };
        let output = machine.range(&view, &Range::new(query)).unwrap();
        lines.push(format!("{revision}: {:?}", output.records.iter().map(show).collect::<Vec<_>>()));
    }
    for (id, lease) in machine.leases().iter() {
        let mut keys: Vec<&Bytes> = lease.keys().collect();
        keys.sort();
        lines.push(format!("lease {id} {} {} {keys:?}", lease.ttl(), lease.remaining()));
    }
    lines.push(format!("{:?} {:?}", machine.alarms(), machine.members()));
    lines.push(format!("{:?} {:?}", machine.cluster_version(), machine.storage_version()));
    lines
}

/// The hash at a revision that no compaction has hashed before: those hashes are remembered until a restart, with the
/// compaction before them.
fn hash(member: &mut Member) -> String {
    member.done(put("hash", ""));
    commit(member, Durability::Synced);
    match member.machine.store().hash_plan(member.machine.revision()).unwrap() {
        HashPlan::Cached(hash) => format!("{hash:?}"),
        HashPlan::Walk(walk) => format!("{:?}", walk.run(&member.backend.view().unwrap()).unwrap()),
    }
}

fn run(steps: &[Step], may_crash: bool) -> (Member, Vec<Batch>) {
    let mut member = Member::new();
    let mut log = Vec::new();
    let mut batches = Vec::new();
    for step in steps {
        match step {
            Step::Apply(command) => {
                log.push(Logged::Normal(entry(command)));
                apply(&mut member, log.last().unwrap());
            }
            Step::Change(change) => {
                log.push(Logged::Change(change.clone()));
                apply(&mut member, log.last().unwrap());
            }
            Step::Commit(synced) => {
                let durability = if *synced { Durability::Synced } else { Durability::Buffered };
                batches.push(commit(&mut member, durability));
            }
            Step::Compact => {
                if member.machine.store().compaction_pending().is_some() {
                    batches.push(commit(&mut member, Durability::Buffered));
                    let view = member.backend.view().unwrap();
                    member.machine.compaction_step(&view, 2).unwrap();
                }
            }
            Step::Crash if may_crash => {
                member.backend.crash();
                member = member.restarted();
                let (applied, _) = member.machine.applied();
                log[usize::try_from(applied).unwrap()..].iter().for_each(|logged| apply(&mut member, logged));
            }
            Step::Crash => {}
        }
    }
    batches.push(commit(&mut member, Durability::Synced));
    (member, batches)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_member_that_crashed_ends_like_one_that_never_did(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut crashed, _) = run(&steps, true);
        let (mut steady, _) = run(&steps, false);
        prop_assert_eq!(portrait(&crashed), portrait(&steady));
        prop_assert_eq!(hash(&mut crashed), hash(&mut steady));
        let restored = portrait(&steady);
        let again = Member {
            machine: StateMachine::restore(&steady.backend.view().unwrap(), options()).unwrap(),
            backend: steady.backend,
        };
        prop_assert_eq!(portrait(&again), restored);
    }

    #[test]
    fn the_same_entries_give_the_same_batches(steps in proptest::collection::vec(step(), 1..60)) {
        let (_, first) = run(&steps, true);
        let (_, second) = run(&steps, true);
        prop_assert_eq!(first, second);
    }
}
