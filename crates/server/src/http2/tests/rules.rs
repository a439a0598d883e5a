//! What breaks a rule, and the code that it is answered with.

use super::*;

/// What ends the connection, and with which code.
fn fault(bytes: Bytes, code: ErrorCode) {
    let mut peer = Peer::new();
    peer.send(client().post(1));
    let said = peer.fault(bytes);
    let wanted = format!(" {} ", code.0);
    assert!(said.starts_with("goaway ") && said.contains(&wanted), "{said} instead of {}", code.0);
}

/// What ends the third stream, and with which code.
fn stream_fault(bytes: Bytes, code: ErrorCode) {
    let mut peer = Peer::new();
    peer.send(bytes);
    let wanted = format!("reset 3 {}", code.0);
    assert!(peer.sent().contains(&wanted));
    assert_eq!(peer.send(client().get(5)), ["5 opens /a.B/C, end"], "the connection goes on");
}

fn malformed(fields: &[(&str, &str)]) {
    stream_fault(client().headers(3, fields, true), ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn settings_must_come_first() {
    for bytes in
        [client().get(1), client().frame(PING, 0, 0, &[0; 8]), client().frame(SETTINGS, FLAG_ACK, 0, &[])]
    {
        let mut peer = Peer { connection: Connection::new(OPTIONS), now: Duration::ZERO };
        assert!(peer.fault(bytes).contains(" 1 settings must come first"));
    }
}

#[test]
fn frames_have_their_sizes() {
    let code = ErrorCode::FRAME_SIZE_ERROR;
    fault(client().frame(DATA, 0, 1, &vec![0; PAYLOAD_MAX + 1]), code);
    fault(client().frame(PING, 0, 0, &[0; 7]), code);
    fault(client().frame(RST_STREAM, 0, 1, &[0; 5]), code);
    fault(client().frame(PRIORITY, 0, 1, &[0; 4]), code);
    fault(client().frame(WINDOW_UPDATE, 0, 0, &[0; 3]), code);
    fault(client().frame(SETTINGS, 0, 0, &[0; 5]), code);
    fault(client().frame(SETTINGS, FLAG_ACK, 0, &[0; 6]), code);
    fault(client().frame(GOAWAY, 0, 0, &[0; 7]), code);
    fault(client().frame(HEADERS, FLAG_PADDED | FLAG_END_HEADERS, 3, &[]), code);
    fault(client().frame(HEADERS, FLAG_PRIORITY | FLAG_END_HEADERS, 3, &[0; 4]), code);
    fault(client().frame(DATA, FLAG_PADDED, 1, &[]), code);
}

#[test]
fn frames_belong_to_streams_or_to_the_connection() {
    let code = ErrorCode::PROTOCOL_ERROR;
    fault(client().data(0, b"x", false), code);
    fault(client().headers(0, &POST, true), code);
    fault(client().headers(2, &POST, true), code);
    fault(client().frame(PRIORITY, 0, 0, &[0; 5]), code);
    fault(client().reset(0), code);
    fault(client().frame(SETTINGS, 0, 1, &[]), code);
    fault(client().frame(PING, 0, 1, &[0; 8]), code);
    fault(client().frame(GOAWAY, 0, 1, &[0; 8]), code);
    fault(client().frame(CONTINUATION, FLAG_END_HEADERS, 0, &[]), code);
}

#[test]
fn streams_that_were_not_opened_have_no_frames() {
    let code = ErrorCode::PROTOCOL_ERROR;
    fault(client().data(3, b"x", false), code);
    fault(client().reset(3), code);
    fault(client().window(3, 1), code);
    fault(client().get(5).get(3), code);
}

#[test]
fn closed_streams_have_no_frames() {
    let closed = || {
        let mut peer = Peer::new();
        peer.send(client().get(1));
        peer.connection.send_head(1, &block(&[]), true);
        peer.sent();
        peer
    };
    assert!(closed().fault(client().get(1)).contains(" 5 "));
    let mut peer = closed();
    peer.send(
        client().data(1, b"x", true).data(1, b"x", true).window(1, 1).reset(1).frame(PRIORITY, 0, 1, &[0; 5]),
    );
    assert_eq!(peer.sent(), ["reset 1 5"], "said once");
}

#[test]
fn nothing_follows_the_end_of_a_request() {
    stream_fault(client().get(3).data(3, b"x", false), ErrorCode::STREAM_CLOSED);
    stream_fault(client().get(3).headers(3, &[("a", "b")], true), ErrorCode::STREAM_CLOSED);
    stream_fault(client().post(3).data(3, b"", true).data(3, b"", true), ErrorCode::STREAM_CLOSED);
}

#[test]
fn header_blocks_are_not_interrupted() {
    let code = ErrorCode::PROTOCOL_ERROR;
    let begun = || client().frame(HEADERS, 0, 3, &block(&POST));
    fault(begun().frame(PING, 0, 0, &[0; 8]), code);
    fault(begun().data(1, b"x", false), code);
    fault(begun().frame(CONTINUATION, FLAG_END_HEADERS, 1, &[]), code);
    fault(begun().frame(99, 0, 3, &[]), code);
    fault(begun().frame(CONTINUATION, FLAG_END_HEADERS, 3, &[]).frame(CONTINUATION, 0, 3, &[]), code);
}

#[test]
fn padding_fits_into_its_frame() {
    let code = ErrorCode::PROTOCOL_ERROR;
    fault(client().frame(DATA, FLAG_PADDED, 1, &[1]), code);
    fault(client().frame(DATA, FLAG_PADDED, 1, &[3, 0, 0]), code);
    fault(client().frame(HEADERS, FLAG_PADDED | FLAG_END_HEADERS, 3, &[9, 0, 0]), code);
}

#[test]
fn settings_have_their_values() {
    fault(client().settings(&[(SETTING_PUSH, 2)]), ErrorCode::PROTOCOL_ERROR);
    fault(client().settings(&[(SETTING_PAYLOAD_MAX, 16_383)]), ErrorCode::PROTOCOL_ERROR);
    fault(client().settings(&[(SETTING_PAYLOAD_MAX, 1 << 24)]), ErrorCode::PROTOCOL_ERROR);
    fault(client().settings(&[(SETTING_WINDOW, 1 << 31)]), ErrorCode::FLOW_CONTROL_ERROR);
}

#[test]
fn a_client_cannot_push_and_no_stream_depends_on_itself() {
    fault(client().frame(PUSH_PROMISE, FLAG_END_HEADERS, 1, &[0; 4]), ErrorCode::PROTOCOL_ERROR);
    fault(client().frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 1]), ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn blocks_that_cannot_be_read_end_the_connection() {
    let unreadable = |stream| client().frame(HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, stream, &[0x80]);
    fault(unreadable(3), ErrorCode::COMPRESSION_ERROR);
    fault(unreadable(1), ErrorCode::COMPRESSION_ERROR);
}

#[test]
fn requests_are_well_formed() {
    let [method, scheme, path, authority] = POST;
    malformed(&[scheme, path, authority]);
    malformed(&[method, path, authority]);
    malformed(&[method, scheme, authority]);
    malformed(&[method, scheme, (":path", ""), authority]);
    malformed(&[method, method, scheme, path]);
    malformed(&[method, scheme, path, (":status", "200")]);
    malformed(&[method, scheme, path, (":protocol", "websocket")]);
    malformed(&[method, scheme, path, ("a", "b"), authority]);
    malformed(&[method, scheme, path, ("Content-Type", "x")]);
    malformed(&[method, scheme, path, ("", "x")]);
    malformed(&[method, scheme, path, ("connection", "close")]);
    malformed(&[method, scheme, path, ("transfer-encoding", "chunked")]);
    malformed(&[method, scheme, path, ("te", "gzip")]);
    malformed(&[method, scheme, path, ("a", "b\nc")]);
    malformed(&[method, scheme, path, ("content-length", "1")]);
    malformed(&[method, scheme, path, ("content-length", "-1")]);
    malformed(&[method, scheme, path, ("content-length", "0"), ("content-length", "1")]);
    let mut peer = Peer::new();
    let fields = [method, scheme, path, ("te", "trailers"), ("x-bin", "AA=="), ("content-length", "0")];
    assert_eq!(
        peer.send(client().headers(1, &fields, true)),
        ["1 opens /a.B/C, end"],
        "no authority is needed"
    );
}

#[test]
fn content_has_the_length_that_was_announced() {
    let code = ErrorCode::PROTOCOL_ERROR;
    let announced = |length| {
        let [method, scheme, path, _] = POST;
        client().headers(3, &[method, scheme, path, ("content-length", length)], false)
    };
    stream_fault(announced("3").data(3, b"1234", false), code);
    stream_fault(announced("3").data(3, b"12", true), code);
    stream_fault(announced("3").data(3, b"12", false).headers(3, &[("a", "b")], true), code);
    let mut peer = Peer::new();
    let events = peer.send(announced("3").data(3, b"1", false).data(3, b"23", true));
    assert_eq!(events, ["3 opens /a.B/C", "3 sends 1", "3 sends 2, end"]);
}

#[test]
fn trailers_end_the_stream_and_hold_plain_fields() {
    let code = ErrorCode::PROTOCOL_ERROR;
    stream_fault(client().post(3).headers(3, &[("a", "b")], false), code);
    stream_fault(client().post(3).headers(3, &[(":path", "b")], true), code);
    stream_fault(client().post(3).headers(3, &[("A", "b")], true), code);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut peer = Peer::with(Options { streams_max: 2, ..OPTIONS }, &[]);
    peer.send(client().get(1).get(3).get(5));
    assert_eq!(peer.sent(), ["reset 5 7"]);
    peer.answer(1, 1);
    peer.sent();
    assert_eq!(peer.send(client().get(7)), ["7 opens /a.B/C, end"]);
}
