//! One member alone.

use bytes::Bytes;
use etched_raft_core::{
    ConfState, Config, ConfigError, Effect, Entry, EntryKind, HardState, RaftCore, RestoreError, Restored,
    Role, SnapshotMeta,
};

use crate::cluster::{Cluster, Disk};

fn restored(commit: u64, last: u64) -> Restored {
    let entry = |index| Entry { term: 1, index, kind: EntryKind::Normal, data: Bytes::from_static(b"x") };
    Restored {
        hard_state: HardState { term: 1, vote: 1, commit },
        snapshot: SnapshotMeta { conf_state: ConfState::of_voters([1]), ..SnapshotMeta::default() },
        entries: (1..=last).map(entry).collect(),
    }
}

#[test]
fn a_sole_voter_leads_without_a_tick_and_commits_only_what_is_on_its_disk() {
    let mut core = RaftCore::new(Config::new(1), restored(0, 0)).unwrap();
    let mut tickets = Vec::new();
    while let Some(effect) = core.poll() {
        match effect {
            Effect::Persist { ticket, must_sync, .. } => tickets.push((ticket, must_sync)),
            Effect::Role { .. } => {}
            Effect::Send(_)
            | Effect::Apply(_)
            | Effect::ReadReady { .. }
            | Effect::ReadLost(_)
            | Effect::Snapshot(_) => panic!("{effect:?} before anything is on the disk"),
        }
    }
    assert_eq!(core.status().role, Role::Leader);
    assert_eq!((core.status().commit, core.status().last_index), (0, 1));

    core.propose(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]).unwrap();
    let Some(Effect::Persist { ticket, entries, must_sync: true, .. }) = core.poll() else {
        panic!("a write")
    };
    assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(core.poll(), None);

    core.on_persisted(tickets.last().unwrap().0);
    let effects: Vec<Effect> = std::iter::from_fn(|| core.poll()).collect();
    assert!(
        matches!(&effects[..], [Effect::Persist { must_sync: false, .. }, Effect::Apply(entries)] if entries.len() == 1)
    );
    core.on_persisted(ticket);
    let effects: Vec<Effect> = std::iter::from_fn(|| core.poll()).collect();
    assert!(
        matches!(&effects[..], [Effect::Persist { must_sync: false, .. }, Effect::Apply(entries)] if entries.len() == 2)
    );
}

#[test]
fn a_restarted_sole_voter_applies_first_and_then_leads() {
    let mut core = RaftCore::new(Config { applied: 1, ..Config::new(1) }, restored(3, 5)).unwrap();
    let Some(Effect::Apply(entries)) = core.poll() else { panic!("what is committed comes first") };
    assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(core.poll(), None);
    core.on_applied(3);
    let effects: Vec<Effect> = std::iter::from_fn(|| core.poll()).collect();
    assert!(effects.contains(&Effect::Role { role: Role::Leader, term: 2, leader: Some(1) }), "{effects:?}");
}

#[test]
fn a_read_of_a_sole_voter_is_answered_at_once_or_when_its_term_has_an_entry() {
    let mut cluster = Cluster::empty(1, |_| ());
    let snapshot = SnapshotMeta { conf_state: ConfState::of_voters([1]), ..SnapshotMeta::default() };
    cluster.join(1, Disk { snapshot, ..Disk::default() });
    let now = cluster.input(1, RaftCore::read_index).unwrap();
    assert_eq!(cluster.node(1).ready[&now], 1);

    let mut core = RaftCore::new(Config::new(1), restored(0, 0)).unwrap();
    let mut ticket = 0;
    while let Some(effect) = core.poll() {
        if let Effect::Persist { ticket: written, .. } = effect {
            ticket = written;
        }
    }
    let early = core.read_index().unwrap();
    assert_eq!(core.poll(), None);
    core.on_persisted(ticket);
    let effects: Vec<Effect> = std::iter::from_fn(|| core.poll()).collect();
    assert!(effects.contains(&Effect::ReadReady { ticket: early, index: 1 }), "{effects:?}");
}

#[test]
fn a_cluster_starts_from_configuration_changes_in_its_log() {
    let mut cluster = Cluster::from_log(3);
    assert_eq!(cluster.leader(), None, "the first change alone makes nobody lead");
    assert_eq!(*cluster.node(2).core.conf_state(), ConfState::of_voters(1..=3));
    cluster.elect(2);
    cluster.propose(2, "a");
    cluster.settle();
    assert_eq!(cluster.node(3).commands(), ["a"]);
}

#[test]
fn a_log_that_does_not_fit_is_refused() {
    let check = |applied: u64, restored: Restored, expected: RestoreError| {
        let result = RaftCore::new(Config { applied, ..Config::new(1) }, restored);
        assert_eq!(result.err(), Some(ConfigError::Restored(expected)));
    };
    check(6, restored(3, 5), RestoreError::AppliedBeyondLog { applied: 6, last_index: 5 });
    check(0, restored(6, 5), RestoreError::CommitBeyondLog { commit: 6, last_index: 5 });
    let mut gap = restored(0, 5);
    gap.entries.remove(2);
    check(0, gap, RestoreError::Gap { expected: 3, found: 4 });
    let mut newer = restored(0, 5);
    newer.entries[4].term = 2;
    check(0, newer, RestoreError::Term { index: 5, term: 2 });
    let mut falling = restored(0, 5);
    falling.entries[2].term = 0;
    check(0, falling, RestoreError::Term { index: 3, term: 0 });
    let mut later = restored(5, 5);
    later.snapshot.index = 5;
    later.snapshot.term = 1;
    later.entries.clear();
    check(4, later, RestoreError::AppliedBeforeLog { applied: 4, snapshot_index: 5 });
    let mut both = restored(0, 0);
    both.snapshot.conf_state.learners = vec![1];
    check(0, both, RestoreError::ConfState("a member votes and learns"));
}

#[test]
fn what_was_applied_counts_as_committed_although_the_commit_index_was_not_synced() {
    let core = RaftCore::new(Config { applied: 4, ..Config::new(1) }, restored(2, 5)).unwrap();
    assert_eq!((core.status().commit, core.status().applied), (4, 4));
}

#[test]
fn entries_that_are_not_applied_are_not_forgotten() {
    let mut core = RaftCore::new(Config { applied: 2, ..Config::new(1) }, restored(3, 5)).unwrap();
    core.compact(5);
    assert_eq!(core.status().first_index, 3);
    assert_eq!(core.entries(0, 9).len(), 3);
    core.poll();
    core.on_applied(3);
    core.compact(5);
    assert_eq!(core.status().first_index, 4);
}

#[test]
fn settings_out_of_range_are_refused() {
    let check = |config: Config| {
        let result = RaftCore::new(config, restored(0, 0));
        assert!(matches!(result.err(), Some(ConfigError::Invalid(_))));
    };
    check(Config::new(0));
    check(Config { heartbeat_ticks: 0, ..Config::new(1) });
    check(Config { election_ticks: 1, ..Config::new(1) });
    check(Config { max_inflight: 0, ..Config::new(1) });
    check(Config { max_uncommitted_size: 1, ..Config::new(1) });
}
