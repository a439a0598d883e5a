//! Members come, are promoted and go.

use bytes::Bytes;
use etched_raft_core::{
    ConfChange, ConfChangeError, ConfChangeKind, ConfState, MessageKind, ProposeError, RaftCore, Role,
    SnapshotMeta,
};

use crate::cluster::{Cluster, Disk};
use crate::forged::Forged;

fn change(kind: ConfChangeKind, node_id: u64) -> ConfChange {
    ConfChange { id: 7, kind, node_id, context: Bytes::from_static(b"{}") }
}

fn propose(cluster: &mut Cluster, id: u64, kind: ConfChangeKind, node_id: u64) {
    cluster.input(id, |core| core.propose_conf_change(&change(kind, node_id))).unwrap();
    for _ in 0..3 {
        cluster.settle();
        cluster.tick_all();
    }
    cluster.settle();
}

#[test]
fn a_learner_catches_up_is_promoted_and_may_lead() {
    let mut cluster = Cluster::from_log(1);
    cluster.propose(1, "a");
    propose(&mut cluster, 1, ConfChangeKind::AddLearnerNode, 2);
    cluster.join(2, Disk::default());
    propose(&mut cluster, 1, ConfChangeKind::UpdateNode, 2);
    assert_eq!(cluster.node(2).commands(), ["a"]);
    assert_eq!(cluster.node(2).core.status().learners, [2]);
    cluster.input(2, RaftCore::campaign);
    assert_eq!(cluster.node(2).role, Role::Follower, "a learner does not campaign");

    propose(&mut cluster, 1, ConfChangeKind::AddNode, 2);
    assert_eq!(*cluster.node(2).core.conf_state(), ConfState::of_voters([1, 2]));
    cluster.input(1, |core| core.transfer_leader(2));
    cluster.settle();
    assert!(cluster.node(2).is_leader());
}

#[test]
fn a_second_change_waits_for_the_first() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.input(1, |core| core.propose_conf_change(&change(ConfChangeKind::AddNode, 4))).unwrap();
    let second = cluster.input(1, |core| core.propose_conf_change(&change(ConfChangeKind::AddNode, 5)));
    assert_eq!(second, Err(ProposeError::ConfChangePending));
    cluster.settle();
    cluster.input(1, |core| core.propose_conf_change(&change(ConfChangeKind::RemoveNode, 4))).unwrap();
}

#[test]
fn a_removed_leader_steps_down_and_the_others_go_on() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    propose(&mut cluster, 1, ConfChangeKind::RemoveNode, 1);
    assert_eq!(cluster.node(1).role, Role::Follower);
    for _ in 0..40 {
        cluster.tick_all();
        cluster.settle();
    }
    let leader = cluster.leader().unwrap();
    cluster.propose(leader, "a");
    cluster.settle();
    assert_eq!(cluster.node(5 - leader).commands(), ["a"]);
    assert_eq!(cluster.node(leader).core.status().voters, [2, 3]);
}

#[test]
fn a_removed_leader_with_a_slow_disk_survives_its_last_write() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.input(1, |core| core.propose_conf_change(&change(ConfChangeKind::RemoveNode, 1))).unwrap();
    cluster.node(1).slow = true;
    cluster.propose(1, "a");
    cluster.settle();
    cluster.sync(1);
    cluster.settle();
    assert_eq!(cluster.node(1).role, Role::Follower);
}

#[test]
fn the_last_voter_cannot_be_removed() {
    let mut cluster = Cluster::new(1);
    let result = cluster.node(1).core.apply_conf_change(Some(&change(ConfChangeKind::RemoveNode, 1)));
    assert!(matches!(result, Err(ConfChangeError::Impossible(_))), "{result:?}");
    assert!(cluster.node(1).is_leader());
    assert_eq!(*cluster.node(1).core.conf_state(), ConfState::of_voters([1]));
}

#[test]
fn a_refused_change_changes_nothing() {
    let mut cluster = Cluster::new(3);
    let before = cluster.node(1).core.conf_state().clone();
    assert_eq!(cluster.node(1).core.apply_conf_change(None), Ok(before.clone()));
    assert_eq!(cluster.node(1).core.apply_conf_change(Some(&change(ConfChangeKind::AddNode, 0))), Ok(before));
}

#[test]
fn a_joint_configuration_is_entered_and_left() {
    let mut cluster = Cluster::new(3);
    // Transition 1 (joint, left by itself): add 4, remove 1.
    let data = Bytes::from_static(&[8, 1, 0x12, 2, 0x10, 4, 0x12, 4, 8, 1, 0x10, 1]);
    let joint = cluster.node(2).core.apply_conf_change_v2(&data).unwrap();
    assert_eq!((joint.voters, joint.voters_outgoing), (vec![2, 3, 4], vec![1, 2, 3]));
    let left = cluster.node(2).core.apply_conf_change_v2(&Bytes::new()).unwrap();
    assert_eq!(left, ConfState::of_voters([2, 3, 4]));
}

#[test]
fn a_cluster_that_shrinks_to_one_member_goes_on() {
    let mut cluster = Cluster::new(2);
    cluster.elect(1);
    propose(&mut cluster, 1, ConfChangeKind::RemoveNode, 1);
    cluster.nodes.remove(&1);
    cluster.drain_all();
    cluster.tick_all();
    assert!(cluster.node(2).is_leader(), "nobody else can");
    cluster.propose(2, "a");
    assert_eq!(cluster.node(2).commands(), ["a"]);
}

#[test]
fn a_restart_takes_the_configuration_from_where_it_was_applied() {
    let mut cluster = Cluster::new(1);
    propose(&mut cluster, 1, ConfChangeKind::AddLearnerNode, 2);
    let conf_state = cluster.node(1).core.conf_state().clone();
    let mut disk = cluster.node(1).disk.clone();
    disk.snapshot = SnapshotMeta { conf_state: conf_state.clone(), ..SnapshotMeta::default() };
    let restored = etched_raft_core::Restored {
        hard_state: disk.hard_state,
        snapshot: disk.snapshot,
        entries: disk.entries.clone(),
    };
    let config =
        etched_raft_core::Config { applied: disk.entries.len() as u64, ..etched_raft_core::Config::new(1) };
    let core = RaftCore::new(config, restored).unwrap();
    assert_eq!(*core.conf_state(), conf_state);
}

#[test]
fn a_learner_does_not_lead_although_it_is_told_to() {
    // etcd issue 10822.
    let mut cluster = Cluster::from_log(1);
    propose(&mut cluster, 1, ConfChangeKind::AddLearnerNode, 2);
    cluster.join(2, Disk::default());
    propose(&mut cluster, 1, ConfChangeKind::UpdateNode, 2);
    let term = cluster.node(2).core.status().term;
    cluster.input(1, |core| core.transfer_leader(2));
    cluster.settle();
    let told = Forged::default().number(1, MessageKind::TimeoutNow.number()).number(2, 2).number(3, 1);
    let told = told.number(4, term).message();
    let _refused_or_ignored = cluster.input(2, |core| core.step(told));
    cluster.settle();
    assert_eq!((cluster.node(2).role, cluster.node(2).core.status().term), (Role::Follower, term));
    assert!(cluster.node(1).is_leader());
}
