//! A follower that is further behind than the log reaches.

use bytes::Bytes;
use etched_raft_core::{ConfState, MessageKind, RaftCore, Role, SnapshotDelivery, SnapshotMeta, StepError};

use crate::cluster::Cluster;
use crate::forged::Forged;

/// A leader that has compacted its log while member 3 was away.
fn compacted() -> (Cluster, SnapshotMeta) {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for _ in 0..20 {
        cluster.propose(1, "x");
        cluster.settle_among(&[1, 2]);
    }
    let status = cluster.node(1).core.status();
    let meta = SnapshotMeta {
        index: status.applied,
        term: status.term,
        conf_state: ConfState::of_voters([1, 2, 3]),
    };
    cluster.node(1).core.compact(status.applied);
    assert_eq!(cluster.node(1).core.status().first_index, status.applied + 1);
    cluster.propose(1, "y");
    cluster.settle_among(&[1, 2]);
    (cluster, meta)
}

fn pass_time(cluster: &mut Cluster) {
    for _ in 0..4 {
        cluster.tick_all();
        cluster.settle();
    }
}

#[test]
fn it_gets_a_snapshot_and_goes_on_by_the_log() {
    let (mut cluster, meta) = compacted();
    pass_time(&mut cluster);
    assert_eq!(cluster.node(1).wanted, [3], "it is wanted once, however often it is missed");
    cluster.input(1, |core| core.supply_snapshot(&meta, Bytes::from_static(b"state")));
    pass_time(&mut cluster);
    assert_eq!(cluster.node(3).installed, meta.index);
    cluster.input(1, |core| core.on_snapshot_sent(3, SnapshotDelivery::Done));
    pass_time(&mut cluster);
    assert_eq!(cluster.node(3).commands(), ["y"]);

    cluster.restart(3);
    cluster.propose(1, "z");
    pass_time(&mut cluster);
    assert_eq!(cluster.node(3).commands(), ["y", "z"]);
}

#[test]
fn a_snapshot_counts_when_it_is_on_the_disk() {
    let (mut cluster, meta) = compacted();
    pass_time(&mut cluster);
    cluster.node(3).slow = true;
    cluster.input(1, |core| core.supply_snapshot(&meta, Bytes::new()));
    pass_time(&mut cluster);
    assert!(cluster.node(1).core.status().followers.iter().any(|it| it.id == 3 && it.awaits_snapshot));
    cluster.sync(3);
    pass_time(&mut cluster);
    cluster.sync(3);
    pass_time(&mut cluster);
    assert_eq!(cluster.node(1).core.status().followers[1].matched, meta.index + 1);
}

#[test]
fn a_member_does_not_campaign_while_it_installs_a_snapshot() {
    let (mut cluster, meta) = compacted();
    pass_time(&mut cluster);
    cluster.node(3).slow = true;
    cluster.input(1, |core| core.supply_snapshot(&meta, Bytes::new()));
    pass_time(&mut cluster);
    assert_eq!(cluster.node(3).installed, meta.index);
    for _ in 0..50 {
        cluster.input(3, RaftCore::tick);
    }
    cluster.input(3, RaftCore::campaign);
    assert_eq!(cluster.node(3).role, Role::Follower);
    cluster.sync(3);
    assert_eq!(cluster.node(3).core.status().applied, meta.index);
    for _ in 0..50 {
        cluster.input(3, RaftCore::tick);
    }
    assert_eq!(cluster.node(3).role, Role::PreCandidate);
}

#[test]
fn a_snapshot_that_failed_is_sent_again() {
    let (mut cluster, meta) = compacted();
    pass_time(&mut cluster);
    cluster.input(1, |core| core.supply_snapshot(&meta, Bytes::new()));
    for _ in 0..3 {
        cluster.tick_all();
        cluster.settle_if(|message| message.kind() != MessageKind::Snapshot);
    }
    assert_eq!(cluster.node(3).installed, 0);
    cluster.input(1, |core| core.on_snapshot_sent(3, SnapshotDelivery::Failed));
    pass_time(&mut cluster);
    assert_eq!(cluster.node(3).installed, meta.index);
}

#[test]
fn a_late_rejection_after_a_snapshot_does_not_send_a_follower_back_behind_its_acknowledgements() {
    let (mut cluster, meta) = compacted();
    pass_time(&mut cluster);
    cluster.input(1, |core| core.supply_snapshot(&meta, Bytes::new()));
    cluster.tick_all();
    cluster.settle_if(|message| message.kind() != MessageKind::Snapshot);
    cluster.input(1, |core| core.on_snapshot_sent(3, SnapshotDelivery::Done));
    let before = cluster.node(1).core.status().followers[1];
    assert_eq!((before.matched, before.next), (1, meta.index + 1));
    let rejection =
        Forged::new(MessageKind::AppendResponse, 3, meta.term).number(6, meta.index).number(10, 1);
    cluster.input(1, |core| core.step(rejection.message())).unwrap();
    let after = cluster.node(1).core.status().followers[1];
    assert_eq!((after.matched, after.next), (1, 2));
}

#[test]
fn old_and_repeated_snapshots_change_nothing() {
    let (mut cluster, meta) = compacted();
    pass_time(&mut cluster);
    cluster.input(1, |core| core.supply_snapshot(&meta, Bytes::new()));
    cluster.tick_all();
    cluster.settle_if(|message| message.kind() != MessageKind::Snapshot || message.to() != 3);
    cluster.input(1, |core| core.on_snapshot_sent(3, SnapshotDelivery::Failed));
    let mut kept = Vec::new();
    for _ in 0..4 {
        cluster.tick_all();
        kept.extend(cluster.hold(MessageKind::Snapshot, 3));
        cluster.settle_if(|message| message.kind() != MessageKind::Snapshot);
        kept.extend(cluster.hold(MessageKind::Snapshot, 3));
    }
    cluster.input(1, |core| core.on_snapshot_sent(3, SnapshotDelivery::Failed));
    pass_time(&mut cluster);
    cluster.propose(1, "z");
    pass_time(&mut cluster);
    let applied = cluster.node(3).commands();
    for message in kept {
        cluster.deliver(message.clone());
        cluster.deliver(message);
        cluster.settle();
    }
    assert_eq!(cluster.node(3).commands(), applied);
}

#[test]
fn a_member_that_lost_its_log_is_told_so_and_disturbs_nobody() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.tick_all();
    cluster.settle();
    let disk = &mut cluster.node(3).disk;
    disk.entries.truncate(1);
    disk.hard_state.commit = 1;
    cluster.restart(3);
    cluster.input(1, RaftCore::tick);
    let heartbeat = cluster.hold(MessageKind::Heartbeat, 3).remove(0);
    let result = cluster.input(3, |core| core.step(heartbeat));
    assert_eq!(result, Err(StepError::CommitBeyondLog { commit: 2, last_index: 1 }));
    pass_time(&mut cluster);
    assert!(cluster.node(1).is_leader());
    cluster.propose(1, "b");
    cluster.settle();
    assert_eq!(cluster.node(2).commands(), ["a", "b"]);
}
