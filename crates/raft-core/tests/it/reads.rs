//! Linearizable reads.

use etched_raft_core::{Message, MessageKind, NoLeader, RaftCore};

use crate::cluster::Cluster;

#[test]
fn reads_of_leader_and_follower_get_the_committed_index() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle();
    let own = cluster.input(1, RaftCore::read_index).unwrap();
    let passed_on = cluster.input(2, RaftCore::read_index).unwrap();
    assert!(cluster.node(1).ready.is_empty(), "a quorum has to be asked");
    cluster.settle();
    assert_eq!(cluster.node(1).ready[&own], 2);
    assert_eq!(cluster.node(2).ready[&passed_on], 2);
}

#[test]
fn a_read_without_a_leader_fails_at_once() {
    let mut cluster = Cluster::new(3);
    assert_eq!(cluster.input(1, RaftCore::read_index), Err(NoLeader));
}

#[test]
fn reads_wait_until_a_new_leader_has_committed_an_entry_of_its_term() {
    let mut cluster = Cluster::new(3);
    cluster.elect(2);
    cluster.input(2, |core| core.transfer_leader(1));
    // Member 1 wins, but its first entry reaches nobody yet.
    cluster.settle_if(|message| message.kind() != MessageKind::Append);
    cluster.input(1, RaftCore::tick);
    cluster.settle_if(|message| message.kind() == MessageKind::Heartbeat);
    assert!(cluster.node(1).is_leader());
    let own = cluster.input(1, RaftCore::read_index).unwrap();
    let passed_on = cluster.input(3, RaftCore::read_index).unwrap();
    cluster.settle_if(|message| message.kind() == MessageKind::ReadIndex);
    assert!(cluster.node(1).ready.is_empty());

    for _ in 0..3 {
        cluster.tick_all();
        cluster.settle();
    }
    let commit = cluster.node(1).core.status().commit;
    assert_eq!(cluster.node(1).ready[&own], commit);
    assert_eq!(cluster.node(3).ready[&passed_on], commit);
}

#[test]
fn a_read_that_is_lost_on_its_way_is_noticed() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let ticket = cluster.input(2, RaftCore::read_index).unwrap();
    cluster.wire.clear();
    for _ in 0..12 {
        cluster.tick_all();
        cluster.settle();
    }
    assert_eq!(cluster.node(2).lost, [ticket]);
}

#[test]
fn a_read_is_lost_when_its_leader_is() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let own = cluster.input(1, RaftCore::read_index).unwrap();
    let passed_on = cluster.input(3, RaftCore::read_index).unwrap();
    cluster.wire.clear();
    cluster.elect(2);
    assert_eq!(cluster.node(1).lost, [own]);
    assert_eq!(cluster.node(3).lost, [passed_on]);
    cluster.settle();
    assert!(cluster.node(1).ready.is_empty() && cluster.node(3).ready.is_empty());
}

/// The story of etcd-io/raft#397. A leader's heartbeats carry the context of a read, and one acknowledgement of them
/// stays under way. The read is confirmed by others. The leader is cut off, others go on without it. A second read
/// with the same context would be confirmed by the old acknowledgement, with an index that is too old by then.
#[test]
fn a_late_acknowledgement_of_an_old_read_does_not_confirm_a_new_one() {
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    cluster.propose(1, "B");
    cluster.settle();

    // The first read: two acknowledgements confirm it, two more stay under way.
    let first = cluster.input(1, RaftCore::read_index).unwrap();
    for id in 2..=5 {
        for heartbeat in cluster.hold(MessageKind::Heartbeat, id) {
            cluster.deliver(heartbeat);
        }
    }
    let mut answers = cluster.hold(MessageKind::HeartbeatResponse, 1);
    let late: Vec<Message> = answers.split_off(2);
    for answer in answers {
        cluster.deliver(answer);
    }
    let index = cluster.node(1).ready[&first];

    // The others elect member 2 and commit, while member 1 hears nothing.
    let others = [2, 3, 4, 5];
    for _ in 0..40 {
        for id in others {
            cluster.input(id, RaftCore::tick);
        }
        cluster.settle_among(&others);
    }
    let leader =
        cluster.nodes.iter().find(|(id, node)| **id != 1 && node.is_leader()).map(|(id, _)| *id).unwrap();
    cluster.propose(leader, "C");
    cluster.settle_among(&others);
    assert!(cluster.node(leader).core.status().commit > index);
    assert!(cluster.node(1).is_leader(), "it does not know yet");

    // The second read of the old leader, and the late acknowledgements of the first.
    let second = cluster.input(1, RaftCore::read_index).unwrap();
    assert_ne!(first, second);
    for answer in late {
        cluster.deliver(answer);
    }
    cluster.wire.clear();
    assert!(!cluster.node(1).ready.contains_key(&second), "a stale read");
    for _ in 0..25 {
        cluster.input(1, RaftCore::tick);
        cluster.wire.clear();
    }
    assert_eq!(cluster.node(1).lost, [second]);
}

/// The same, with a read that a follower passed on and that the network delivers twice.
#[test]
fn a_read_that_arrives_twice_is_answered_once() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let ticket = cluster.input(2, RaftCore::read_index).unwrap();
    let request = cluster.hold(MessageKind::ReadIndex, 1).remove(0);
    cluster.deliver(request.clone());
    cluster.settle();
    assert!(cluster.node(2).ready.contains_key(&ticket));
    cluster.deliver(request);
    assert!(cluster.wire.is_empty(), "no heartbeat asks for it again");
}

#[test]
fn reads_of_two_boots_are_told_apart() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let before = cluster.input(2, RaftCore::read_index).unwrap();
    let request = cluster.hold(MessageKind::ReadIndex, 1).remove(0);
    cluster.restart(2);
    cluster.input(1, RaftCore::tick);
    cluster.settle();
    let after = cluster.input(2, RaftCore::read_index).unwrap();
    assert_eq!(before, after, "tickets start again");
    cluster.wire.clear();
    cluster.deliver(request);
    cluster.settle();
    assert!(cluster.node(2).ready.is_empty(), "the answer is for the read of the boot before");
}
