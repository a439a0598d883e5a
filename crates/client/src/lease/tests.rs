//! The machine of the keep-alives, without a network and without a clock.

use etched_proto::etcdserverpb::LeaseKeepAliveResponse;

use super::machine::{Machine, Outcome};

const SECOND: u64 = 1_000_000_000;

fn answer(id: i64, ttl: i64) -> LeaseKeepAliveResponse {
    LeaseKeepAliveResponse { header: None, id, ttl }
}

fn requests(machine: &mut Machine) -> Vec<i64> {
    std::iter::from_fn(|| machine.poll_request()).map(|request| request.id).collect()
}

/// A machine whose lease 7, of 9 seconds, was renewed by a question sent at 0 and answered at one second.
fn renewed() -> Machine {
    let mut machine = Machine::default();
    machine.on_connected(0);
    machine.keep(7, 0);
    machine.on_time(0);
    assert_eq!(requests(&mut machine), [7]);
    machine.on_response(answer(7, 9), SECOND);
    assert_eq!(machine.poll_outcome(), Some((7, Outcome::Renewed(answer(7, 9)))));
    machine
}

#[test]
fn a_lease_is_renewed_when_a_third_of_its_time_is_over() {
    let mut machine = renewed();
    assert_eq!(machine.next_time(), Some(3 * SECOND), "counted from the question, not from the answer");
    machine.on_time(3 * SECOND - 1);
    assert_eq!(requests(&mut machine), []);
    machine.on_time(3 * SECOND);
    assert_eq!(requests(&mut machine), [7]);
}

#[test]
fn a_lease_without_an_answer_becomes_doubtful_when_its_time_is_over() {
    let mut machine = renewed();
    machine.on_disconnected();
    machine.on_time(9 * SECOND - 1);
    assert_eq!(machine.poll_outcome(), None);
    machine.on_time(9 * SECOND);
    assert_eq!(machine.poll_outcome(), Some((7, Outcome::Doubtful)));
    machine.on_time(20 * SECOND);
    assert_eq!(machine.poll_outcome(), None, "it is said once");
    machine.on_connected(21 * SECOND);
    assert_eq!(requests(&mut machine), [7], "and renewal is still tried");
}

#[test]
fn a_question_under_way_is_asked_again_on_a_new_stream() {
    let mut machine = renewed();
    machine.on_time(3 * SECOND);
    assert_eq!(requests(&mut machine), [7]);
    machine.on_disconnected();
    machine.on_connected(4 * SECOND);
    assert_eq!(requests(&mut machine), [7]);
}

#[test]
fn a_lease_that_the_server_does_not_know_is_gone() {
    let mut machine = renewed();
    machine.on_time(3 * SECOND);
    machine.on_response(answer(7, 0), 3 * SECOND);
    assert_eq!(machine.poll_outcome(), Some((7, Outcome::Ended)));
    assert!(machine.is_empty());
}

#[test]
fn an_answer_without_a_question_renews_nothing() {
    let mut machine = renewed();
    machine.on_response(answer(7, 9), 2 * SECOND);
    machine.on_response(answer(8, 9), 2 * SECOND);
    assert_eq!(machine.poll_outcome(), None);
    assert_eq!(machine.next_time(), Some(3 * SECOND));
}

#[test]
fn a_forgotten_lease_is_not_asked_about() {
    let mut machine = Machine::default();
    machine.on_connected(0);
    machine.keep(7, 0);
    machine.on_time(0);
    machine.forget(7);
    assert_eq!(requests(&mut machine), []);
    machine.on_response(answer(7, 9), 1);
    assert_eq!(machine.poll_outcome(), None);
}

#[test]
fn a_member_that_does_not_answer_is_given_up_after_a_third_of_the_time() {
    let mut machine = renewed();
    machine.on_time(3 * SECOND);
    assert!(!machine.is_stuck(6 * SECOND - 1));
    assert!(machine.is_stuck(6 * SECOND));
    assert_eq!(machine.next_time(), Some(6 * SECOND));
}

#[test]
fn a_ttl_beyond_all_measure_does_not_overflow() {
    let mut machine = Machine::default();
    machine.on_connected(0);
    machine.keep(7, 0);
    machine.on_time(u64::MAX / 2);
    machine.on_response(answer(7, i64::MAX), u64::MAX / 2);
    assert!(machine.next_time().is_some());
}

#[test]
fn an_answer_to_an_earlier_holder_is_not_counted_for_the_next_one() {
    let mut machine = renewed();
    machine.on_time(3 * SECOND);
    assert_eq!(requests(&mut machine), [7]);
    machine.forget(7);
    machine.keep(7, 5 * SECOND);
    machine.on_time(5 * SECOND);
    assert_eq!(requests(&mut machine), [7]);
    machine.on_response(answer(7, 9), 6 * SECOND);
    assert_eq!(machine.poll_outcome(), None);
    machine.on_response(answer(7, 9), 6 * SECOND);
    assert_eq!(machine.poll_outcome(), Some((7, Outcome::Renewed(answer(7, 9)))));
}

#[test]
fn a_second_holder_does_not_wait_for_the_next_renewal() {
    let mut machine = renewed();
    machine.keep(7, SECOND);
    machine.on_time(SECOND);
    assert_eq!(requests(&mut machine), [7]);
}
