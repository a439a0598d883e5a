//! Hints that a member's process has ended, right and wrong ones.

use etched_raft_core::{Config, Message, RaftCore};

use crate::cluster::Cluster;

/// Three members that have followed member 1 for a while.
fn led_by_one() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    run(&mut cluster, 5, |_| true);
    cluster
}

fn run(cluster: &mut Cluster, ticks: usize, keep: impl Fn(&Message) -> bool) {
    for _ in 0..ticks {
        cluster.tick_all();
        cluster.settle_if(&keep);
    }
}

fn term(cluster: &mut Cluster, id: u64) -> u64 {
    cluster.node(id).core.status().term
}

fn leader_of(cluster: &mut Cluster, id: u64) -> Option<u64> {
    cluster.node(id).core.status().leader
}

fn tell_gone(cluster: &mut Cluster, to: u64, gone: u64) {
    cluster.input(to, |core| core.on_gone(gone));
}

#[test]
fn a_leader_whose_process_has_ended_is_replaced_after_two_ticks() {
    let mut cluster = led_by_one();
    cluster.nodes.remove(&1);
    for id in [2, 3] {
        tell_gone(&mut cluster, id, 1);
        assert_eq!(leader_of(&mut cluster, id), None);
    }
    run(&mut cluster, 1, |_| true);
    assert_eq!(cluster.leader(), None, "a whole heartbeat is waited for");
    run(&mut cluster, 1, |_| true);
    assert_eq!(cluster.leader(), Some(2));
    assert_eq!(leader_of(&mut cluster, 3), Some(2));
    assert_eq!(term(&mut cluster, 3), 2, "one election was enough");
}

#[test]
fn who_is_told_later_lets_the_others_ask_again() {
    let mut cluster = led_by_one();
    cluster.nodes.remove(&1);
    tell_gone(&mut cluster, 2, 1);
    run(&mut cluster, 3, |_| true);
    assert_eq!(cluster.leader(), None, "member 3 counts on a leader that it heard lately");
    tell_gone(&mut cluster, 3, 1);
    run(&mut cluster, 2, |_| true);
    assert!(cluster.leader().is_some());
}

#[test]
fn the_next_in_rank_leads_if_the_first_lacks_entries() {
    let mut cluster = led_by_one();
    cluster.propose(1, "a");
    cluster.settle_among(&[1, 3]);
    cluster.nodes.remove(&1);
    tell_gone(&mut cluster, 2, 1);
    tell_gone(&mut cluster, 3, 1);
    run(&mut cluster, 3, |_| true);
    assert_eq!(cluster.leader(), Some(3));
    assert_eq!(cluster.node(2).commands(), ["a"]);
}

#[test]
fn a_live_leader_is_not_deposed_by_a_member_that_lost_its_connection() {
    let mut cluster = led_by_one();
    tell_gone(&mut cluster, 2, 1);
    assert_eq!(leader_of(&mut cluster, 2), None);
    run(&mut cluster, 1, |_| true);
    assert_eq!(leader_of(&mut cluster, 2), Some(1), "a heartbeat tells that it lives");
    run(&mut cluster, 40, |_| true);
    assert_eq!((cluster.leader(), term(&mut cluster, 2)), (Some(1), 1));
}

#[test]
fn a_live_leader_is_not_deposed_by_a_member_that_hears_it_no_more() {
    let mut cluster = led_by_one();
    tell_gone(&mut cluster, 2, 1);
    let one_way = |message: &Message| !(message.from() == 1 && message.to() == 2);
    run(&mut cluster, 60, one_way);
    assert_eq!(cluster.leader(), Some(1));
    assert_eq!((term(&mut cluster, 1), term(&mut cluster, 3)), (1, 1));
    run(&mut cluster, 1, |_| true);
    assert_eq!(leader_of(&mut cluster, 2), Some(1), "it follows again as soon as it hears");
    assert_eq!(term(&mut cluster, 2), 1);
}

#[test]
fn a_live_leader_is_not_deposed_by_a_member_that_is_not_heard() {
    let mut cluster = led_by_one();
    for _ in 0..20 {
        tell_gone(&mut cluster, 3, 1);
        run(&mut cluster, 3, |message| message.from() != 3);
    }
    assert_eq!((cluster.leader(), term(&mut cluster, 2)), (Some(1), 1));
}

#[test]
fn connections_that_come_and_go_do_not_depose_a_leader_whose_heartbeats_arrive() {
    let mut cluster = led_by_one();
    for _ in 0..50 {
        tell_gone(&mut cluster, 2, 1);
        tell_gone(&mut cluster, 3, 1);
        run(&mut cluster, 1, |_| true);
    }
    for id in 1..=3 {
        assert_eq!((leader_of(&mut cluster, id), term(&mut cluster, id)), (Some(1), 1), "member {id}");
    }
}

#[test]
fn only_the_leader_of_now_matters_and_a_leader_does_not_follow_hints() {
    let mut cluster = led_by_one();
    tell_gone(&mut cluster, 2, 3);
    assert_eq!(leader_of(&mut cluster, 2), Some(1));
    tell_gone(&mut cluster, 1, 1);
    tell_gone(&mut cluster, 1, 2);
    assert_eq!(leader_of(&mut cluster, 1), Some(1));
    tell_gone(&mut cluster, 2, 0);
    assert_eq!(leader_of(&mut cluster, 2), Some(1));
}

#[test]
fn without_pre_vote_nobody_follows_hints() {
    let mut cluster = Cluster::with(3, 1, |config: &mut Config| config.pre_vote = false);
    cluster.elect(1);
    tell_gone(&mut cluster, 2, 1);
    assert_eq!(leader_of(&mut cluster, 2), Some(1));
    cluster.nodes.remove(&1);
    run(&mut cluster, 40, |_| true);
    assert!(cluster.leader().is_some(), "an election without a pre-vote");
}

#[test]
fn proposals_are_not_given_to_a_leader_that_is_gone() {
    let mut cluster = led_by_one();
    tell_gone(&mut cluster, 2, 1);
    let refused = cluster.input(2, |core| core.propose(vec!["a".into()]));
    assert_eq!(refused, Err(etched_raft_core::ProposeError::NoLeader));
}

#[test]
fn a_member_that_has_just_started_may_wait_for_less_than_an_election() {
    let mut cluster = Cluster::new(3);
    for id in 1..=3 {
        cluster.input(id, |core| core.advance_election(8));
    }
    run(&mut cluster, 1, |_| true);
    assert_eq!(cluster.leader(), None, "a leader has the time to make itself heard");
    run(&mut cluster, 12, |_| true);
    assert!(cluster.leader().is_some());
    let leader = cluster.leader().unwrap();
    let other = 1 + leader % 3;
    cluster.input(other, |core| core.advance_election(usize::MAX));
    cluster.input(other, RaftCore::tick);
    cluster.settle();
    assert_eq!(leader_of(&mut cluster, other), Some(leader), "who has a leader is not hurried");
}
