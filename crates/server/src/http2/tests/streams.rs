//! Requests and answers that keep all rules.

use super::*;

#[test]
fn the_server_opens_with_its_settings_and_its_window() {
    let mut peer = Peer { connection: Connection::new(OPTIONS), now: Duration::ZERO };
    assert_eq!(peer.sent(), ["settings", "window 0 196609"]);
}

#[test]
fn a_request_comes_in_and_an_answer_goes_out() {
    let mut peer = Peer::new();
    assert_eq!(peer.send(client().post(1).data(1, b"12345", true)), ["1 opens /a.B/C", "1 sends 5, end"]);
    assert!(peer.connection.respond(1, &block(&[]), 3, |out| out.extend_from_slice(b"abc"), &block(&[])));
    assert_eq!(peer.sent(), ["headers 1", "data 1 3", "headers 1, end"]);
    assert_eq!(peer.connection.streams(), 0);
}

#[test]
fn bytes_may_come_one_by_one() {
    let mut peer = Peer::new();
    let bytes = client().post(1).data(1, b"123", false).frame(DATA, FLAG_PADDED | 1, 1, &[2, b'4', 0, 0]);
    let events: Vec<String> = bytes.0.chunks(1).flat_map(|byte| peer.receive(byte)).collect();
    assert_eq!(
        events,
        ["1 opens /a.B/C", "1 sends 1", "1 sends 1", "1 sends 1", "1 sends 1", "1 sends 0, end"]
    );
}

#[test]
fn padding_priorities_and_continuations_are_taken_away() {
    let mut peer = Peer::new();
    let fields = block(&POST);
    let (first, rest) = fields.split_at(10);
    let mut padded = vec![3, 0, 0, 0, 0, 16];
    padded.extend_from_slice(first);
    padded.extend_from_slice(&[0, 0, 0]);
    let (second, third) = rest.split_at(5);
    let bytes = client()
        .frame(HEADERS, FLAG_PADDED | FLAG_PRIORITY, 1, &padded)
        .frame(CONTINUATION, 0, 1, second)
        .frame(CONTINUATION, FLAG_END_HEADERS, 1, third)
        .frame(DATA, FLAG_PADDED | FLAG_END_STREAM, 1, &[2, b'a', b'b', b'c', 0, 0]);
    assert_eq!(peer.send(bytes), ["1 opens /a.B/C", "1 sends 3, end"]);
}

#[test]
fn trailers_end_a_request() {
    let mut peer = Peer::new();
    let bytes = client().post(1).data(1, b"1", false).headers(1, &[("a", "b")], true);
    assert_eq!(peer.send(bytes), ["1 opens /a.B/C", "1 sends 1", "1 ends"]);
}

#[test]
fn a_request_that_came_before_is_recognised() {
    let mut peer = Peer::new();
    let bytes =
        client().post(1).post(3).headers(5, &[POST[0], POST[1], (":path", "/other"), POST[3]], true).post(7);
    let events = peer.send(bytes);
    assert_eq!(events, ["1 opens /a.B/C", "3 opens /a.B/C", "5 opens /other, end", "7 opens /a.B/C"]);
}

#[test]
fn an_answer_before_the_end_of_the_request_tells_the_client_to_stop() {
    let mut peer = Peer::new();
    peer.send(client().post(1));
    peer.connection.send_head(1, &block(&[]), true);
    assert_eq!(peer.sent(), ["headers 1, end", "reset 1 0"]);
    // What was on its way is not an error.
    assert!(peer.send(client().data(1, b"late", false).headers(1, &[("a", "b")], true)).is_empty());
    assert!(peer.sent().is_empty());
}

#[test]
fn a_stream_that_the_client_resets_is_over() {
    let mut peer = Peer::new();
    assert_eq!(peer.send(client().post(1).reset(1)), ["1 opens /a.B/C", "1 is reset"]);
    peer.answer(1, 10);
    assert!(peer.sent().is_empty());
    assert_eq!(peer.connection.streams(), 0);
}

#[test]
fn pings_are_answered_and_unknown_frames_ignored() {
    let mut peer = Peer::new();
    peer.send(client().frame(PING, 0, 0, &[7; 8]).frame(99, 0xff, 1234, &[1, 2, 3]).settings(&[(77, 5)]));
    assert_eq!(peer.sent(), ["pong", "settings ack"]);
}

#[test]
fn the_end_comes_in_two_steps_and_waits_for_streams() {
    let mut peer = Peer::new();
    peer.send(client().get(1));
    peer.connection.shut_down(peer.now);
    assert_eq!(peer.sent(), ["goaway 2147483647 0 graceful_stop", "ping"]);
    // A stream that was on its way is served.
    assert_eq!(peer.send(client().get(3)), ["3 opens /a.B/C, end"]);
    peer.send(client().frame(PING, FLAG_ACK, 0, b"etched-d"));
    assert_eq!(peer.sent(), ["goaway 3 0 graceful_stop"]);
    // A later one is not, and what belongs to it is no error.
    assert!(peer.send(client().post(5).data(5, b"x", true)).is_empty());
    assert!(!peer.connection.is_over());
    peer.answer(1, 1);
    peer.answer(3, 1);
    assert_eq!(peer.sent().len(), 6);
    assert!(peer.connection.is_over());
}

#[test]
fn a_client_that_does_not_answer_is_told_the_last_stream_after_a_while() {
    let mut peer = Peer::new();
    peer.connection.shut_down(peer.now);
    let deadline = peer.connection.deadline().unwrap();
    peer.connection.on_time(deadline - Duration::from_nanos(1));
    assert!(!peer.connection.is_over());
    peer.connection.on_time(deadline);
    assert!(peer.connection.is_over());
}

#[test]
fn a_silent_client_is_asked_and_given_up() {
    let second = Duration::from_secs(1);
    let options = Options { ping_interval: Some(10 * second), ping_timeout: Some(2 * second), ..OPTIONS };
    let mut peer = Peer::with(options, &[]);
    assert_eq!(peer.connection.deadline(), Some(peer.now + 10 * second));
    peer.connection.on_time(peer.now + 10 * second);
    assert_eq!(peer.sent(), ["ping"]);
    peer.now += 11 * second;
    peer.send(client().frame(PING, FLAG_ACK, 0, b"etched-a"));
    assert_eq!(peer.connection.deadline(), Some(peer.now + 10 * second));
    peer.connection.on_time(peer.now + 10 * second);
    peer.connection.on_time(peer.now + 12 * second);
    assert!(peer.connection.is_dead());
}

#[test]
fn a_head_that_is_too_large_is_answered_431() {
    let mut peer = Peer::with(Options { headers_bytes_max: 1000, ..OPTIONS }, &[]);
    let large = "x".repeat(500);
    let fields = [POST[0], POST[1], POST[2], ("a", &large), ("b", &large)];
    assert!(peer.send(client().headers(1, &fields, true).headers(3, &fields, false)).is_empty());
    assert_eq!(peer.sent(), ["headers 1, end", "headers 3, end", "reset 3 0"]);
    assert_eq!(peer.send(client().get(5)), ["5 opens /a.B/C, end"], "the connection goes on");
}
