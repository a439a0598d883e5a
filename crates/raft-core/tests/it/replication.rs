//! Three members replicate a log.

use bytes::Bytes;
use etched_raft_core::{Config, Message, MessageKind, ProposeError, RaftCore, Role};

use crate::cluster::{Cluster, Random};

#[test]
fn three_members_elect_and_replicate() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.propose(3, "b");
    cluster.settle();
    for id in 1..=3 {
        assert_eq!(cluster.node(id).commands(), ["a", "b"], "member {id}");
    }
}

#[test]
fn somebody_is_elected_as_time_passes() {
    let mut cluster = Cluster::new(5);
    for _ in 0..200 {
        cluster.tick_all();
        cluster.settle();
    }
    let leader = cluster.leader().unwrap();
    assert_eq!(cluster.node(leader).core.status().term, 1, "one election was enough");
}

#[test]
fn many_entries_of_one_proposal_travel_in_one_message() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let entries: Vec<Bytes> = (0..100_u8).map(|number| Bytes::from(vec![number])).collect();
    cluster.input(1, |core| core.propose(entries.clone())).unwrap();
    let appends: Vec<usize> = cluster.wire.iter().map(Message::entries_len).collect();
    assert_eq!(appends, [100, 100]);
    cluster.settle();
    assert_eq!(cluster.node(2).commands(), entries);
}

#[test]
fn a_follower_answers_when_its_disk_is_done_and_a_leader_sends_before() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for id in 1..=3 {
        cluster.node(id).slow = true;
    }
    cluster.propose(1, "a");
    assert_eq!(cluster.wire.len(), 2, "the appends leave before the leader's own write is down");
    cluster.settle();
    assert!(cluster.node(1).commands().is_empty(), "no disk is done");
    cluster.sync(1);
    cluster.settle();
    assert!(cluster.node(1).commands().is_empty(), "one disk of three is done");
    cluster.sync(2);
    cluster.settle();
    assert_eq!(cluster.node(1).commands(), ["a"]);
    assert!(cluster.node(3).commands().is_empty(), "committed, but not on this disk");
    cluster.sync(3);
    assert_eq!(cluster.node(3).commands(), ["a"]);
}

#[test]
fn followers_commit_for_a_leader_whose_disk_is_slow() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.node(1).slow = true;
    cluster.propose(1, "a");
    cluster.settle();
    assert_eq!(cluster.node(2).commands(), ["a"]);
    assert!(cluster.node(1).commands().is_empty(), "committed, but not on its own disk");
    cluster.sync(1);
    assert_eq!(cluster.node(1).commands(), ["a"]);
}

#[test]
fn a_follower_that_was_away_catches_up_by_the_log() {
    let mut cluster = Cluster::with(3, 1, |config| config.max_size_per_message = 1000);
    cluster.elect(1);
    for number in 0..200_u8 {
        cluster.input(1, |core| core.propose(vec![Bytes::from(vec![number; 100])])).unwrap();
        cluster.settle_among(&[1, 2]);
    }
    assert!(cluster.node(3).commands().is_empty());
    for _ in 0..3 {
        cluster.tick_all();
        while let Some(message) = cluster.wire.pop_front() {
            assert!(message.entries_len() <= 10, "{} entries in one message", message.entries_len());
            cluster.deliver(message);
        }
    }
    assert_eq!(cluster.node(3).commands().len(), 200);
}

#[test]
fn uncommitted_entries_of_an_old_leader_are_replaced() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "kept");
    cluster.settle();
    cluster.propose(1, "never seen by others");
    cluster.wire.clear();
    for _ in 0..30 {
        for id in [2, 3] {
            cluster.input(id, RaftCore::tick);
        }
        cluster.settle_among(&[2, 3]);
    }
    let leader = cluster.leader().unwrap();
    assert_ne!(leader, 1);
    cluster.propose(leader, "new");
    cluster.settle_among(&[2, 3]);
    for _ in 0..3 {
        cluster.tick_all();
        cluster.settle();
    }
    for id in 1..=3 {
        assert_eq!(cluster.node(id).commands(), ["kept", "new"], "member {id}");
    }
    assert_eq!(cluster.node(1).role, Role::Follower);
}

#[test]
fn leadership_is_handed_over() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.input(1, |core| core.transfer_leader(2));
    assert_eq!(
        cluster.input(1, |core| core.propose(vec![Bytes::from_static(b"a")])),
        Err(ProposeError::Transferring)
    );
    cluster.settle();
    assert!(cluster.node(2).is_leader());
    assert_eq!(cluster.node(1).core.status().leader, Some(2));

    cluster.input(1, |core| core.transfer_leader(3));
    cluster.settle();
    assert!(cluster.node(3).is_leader(), "a follower passes the request on");
}

#[test]
fn a_transfer_to_a_member_that_is_away_is_given_up() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.input(1, |core| core.transfer_leader(2));
    for _ in 0..15 {
        for id in [1, 3] {
            cluster.input(id, RaftCore::tick);
        }
        cluster.settle_among(&[1, 3]);
    }
    assert!(cluster.node(1).is_leader());
    cluster.propose(1, "a");
    cluster.settle_among(&[1, 3]);
    assert_eq!(cluster.node(3).commands(), ["a"]);
}

#[test]
fn proposals_are_refused_without_a_leader_and_above_the_limit() {
    let mut cluster = Cluster::with(3, 1, |config| {
        config.max_size_per_message = 1000;
        config.max_uncommitted_size = 1000;
    });
    let propose = |cluster: &mut Cluster, id, len| {
        cluster.input(id, |core: &mut RaftCore| core.propose(vec![Bytes::from(vec![1; len])]))
    };
    assert_eq!(propose(&mut cluster, 1, 1), Err(ProposeError::NoLeader));
    cluster.elect(1);
    assert_eq!(propose(&mut cluster, 1, 600), Ok(()));
    assert_eq!(propose(&mut cluster, 1, 600), Err(ProposeError::TooMuchUncommitted));
    cluster.settle();
    assert_eq!(propose(&mut cluster, 1, 600), Ok(()));
    assert_eq!(cluster.input(1, |core| core.propose(Vec::new())), Err(ProposeError::Dropped));
}

#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for _ in 0..60 {
        cluster.input(1, RaftCore::tick);
        cluster.wire.clear();
    }
    assert_eq!(cluster.node(1).role, Role::PreCandidate);
    assert_eq!(cluster.node(1).core.status().term, 1, "a member that is cut off does not raise its term");
}

#[test]
fn a_member_that_comes_back_does_not_disturb_the_leader() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for _ in 0..50 {
        cluster.input(3, RaftCore::tick);
        cluster.wire.clear();
    }
    for _ in 0..30 {
        cluster.tick_all();
        cluster.settle();
    }
    assert!(cluster.node(1).is_leader());
    assert_eq!(cluster.node(1).core.status().term, 1);
    assert_eq!(cluster.node(3).core.status().leader, Some(1));
}

#[test]
fn a_vote_is_not_sent_before_it_is_on_the_disk() {
    let mut cluster = Cluster::new(3);
    cluster.node(2).slow = true;
    cluster.input(1, RaftCore::campaign);
    cluster.settle_if(|message| message.to() != 3 && message.from() != 3);
    assert!(!cluster.node(1).is_leader());
    cluster.restart(2);
    assert_eq!(cluster.node(2).core.status().vote, None, "the vote was lost, and nobody has heard of it");
}

#[test]
fn an_answer_about_replaced_entries_does_not_count_for_those_that_came_back() {
    // Entries of term 1 are written, replaced by one of term 2, and come back, while the disk is slow: that the
    // first write is down must not make anything be applied that the second is about to overwrite.
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.node(3).slow = true;
    let append = |term: u64, log_term: u64, index: u64, entry_terms: &[u64], commit: u64| {
        let mut bytes = vec![8, 3, 0x10, 3, 0x18, 1, 0x20];
        bytes.push(u8::try_from(term).unwrap());
        bytes.extend([0x28, u8::try_from(log_term).unwrap(), 0x30, u8::try_from(index).unwrap()]);
        for (entry_index, entry_term) in (index + 1..).zip(entry_terms) {
            let entry = [0x10, u8::try_from(*entry_term).unwrap(), 0x18, u8::try_from(entry_index).unwrap()];
            bytes.extend([0x3a, 4]);
            bytes.extend(entry);
        }
        bytes.extend([0x40, u8::try_from(commit).unwrap()]);
        Message::decode(&bytes.into()).unwrap()
    };
    cluster.deliver(append(1, 1, 1, &[1, 1], 1));
    cluster.deliver(append(2, 1, 1, &[2], 1));
    cluster.deliver(append(3, 1, 1, &[1, 1, 3], 3));
    cluster.history.clear();
    cluster.sync_some(3, 1);
    assert_eq!(cluster.node(3).core.status().persisted, 1);
    assert_eq!(cluster.node(3).applied.len(), 1);
    cluster.sync(3);
    assert_eq!(cluster.node(3).applied.len(), 3);
}

/// A cluster under a seed: messages are lost, doubled and reordered, disks are slow, members restart.
fn storm(seed: u64, keep_trace: bool) -> Cluster {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut cluster = Cluster::with(3, seed, |config: &mut Config| config.max_size_per_message = 64);
    cluster.trace = keep_trace.then(String::new);
    for id in 1..=3 {
        cluster.node(id).slow = true;
    }
    let mut proposed = 0_u64;
    for _ in 0..3000 {
        let id = 1 + random.below(3);
        match random.below(100) {
            0..=9 => cluster.input(id, RaftCore::tick),
            10..=29 => {
                let count = usize::try_from(random.below(3)).unwrap();
                cluster.sync_some(id, count);
            }
            30..=39 => {
                let commands = (0..random.below(4)).map(|number| Bytes::from(format!("{proposed}-{number}")));
                let commands = commands.collect();
                proposed += 1;
                let _ = cluster.input(id, |core| core.propose(commands));
            }
            40 if random.chance(30) => {
                let slow = cluster.node(id).slow;
                cluster.restart(id);
                cluster.node(id).slow = slow;
            }
            41 => cluster.input(id, |core| core.transfer_leader(1 + seed % 3)),
            42..=44 => drop(cluster.input(id, RaftCore::read_index)),
            _ if !cluster.wire.is_empty() => {
                let position = usize::try_from(random.below(cluster.wire.len().min(8) as u64)).unwrap();
                let message = cluster.wire.remove(position).unwrap();
                if random.chance(5) {
                    cluster.wire.push_back(message.clone());
                }
                if !random.chance(10) {
                    cluster.deliver(message);
                }
            }
            _ => {}
        }
    }
    cluster
}

/// Lets the storm end, and checks that everybody agrees.
fn calm(cluster: &mut Cluster) {
    for id in 1..=3 {
        cluster.node(id).slow = false;
        cluster.sync(id);
    }
    for _ in 0..200 {
        cluster.tick_all();
        cluster.settle();
    }
    let leader = cluster.leader().unwrap();
    cluster.propose(leader, "the end");
    for _ in 0..3 {
        cluster.settle();
        cluster.tick_all();
    }
    cluster.settle();
    let expected = cluster.node(leader).commands();
    assert_eq!(expected.last().map(|command| &command[..]), Some(&b"the end"[..]));
    for id in 1..=3 {
        assert_eq!(cluster.node(id).commands(), expected, "member {id}");
    }
}

#[test]
fn nothing_is_lost_or_changed_in_a_storm() {
    let mut commands = 0;
    for seed in 0..200 {
        let mut cluster = storm(seed, false);
        calm(&mut cluster);
        commands += cluster.node(1).commands().len();
    }
    assert!(commands > 2000, "only {commands} commands went through");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 17] {
        let first = storm(seed, true).trace.unwrap();
        let second = storm(seed, true).trace.unwrap();
        assert!(first.len() > 10_000);
        assert!(first == second, "seed {seed} gave two traces");
    }
}

#[test]
fn another_seed_gives_other_election_timeouts() {
    let ticks = |seed| {
        let mut cluster = Cluster::with(3, seed, |_| ());
        (0..).find(|_| {
            cluster.input(1, RaftCore::tick);
            cluster.node(1).role == Role::PreCandidate
        })
    };
    let drawn: std::collections::BTreeSet<_> = (0..20).map(ticks).collect();
    assert!(drawn.len() > 4, "{drawn:?}");
    assert!(drawn.iter().all(|ticks| (9..19).contains(&ticks.unwrap())), "{drawn:?}");
}

#[test]
fn an_answer_to_a_heartbeat_does_not_wait_for_the_disk() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.node(2).slow = true;
    cluster.propose(1, "a");
    cluster.settle();
    cluster.input(1, RaftCore::tick);
    let heartbeat = cluster.hold(MessageKind::Heartbeat, 2).remove(0);
    cluster.wire.clear();
    cluster.deliver(heartbeat);
    let kinds: Vec<MessageKind> = cluster.wire.iter().map(Message::kind).collect();
    assert_eq!(kinds, [MessageKind::HeartbeatResponse]);
}
