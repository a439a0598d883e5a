//! Clients that keep a server busy for nothing.

use super::*;

/// Repeats until the connection ends; gives the repetitions and the last word.
fn flood(mut each: impl FnMut(&mut Peer, u32) -> Bytes) -> (u32, String) {
    let mut peer = Peer::new();
    peer.send(client().post(1));
    for number in 0..100_000 {
        let bytes = each(&mut peer, number);
        peer.send(bytes);
        if peer.connection.is_over() {
            return (number, peer.sent().pop().unwrap());
        }
        peer.sent();
    }
    panic!("it goes on for ever")
}

#[test]
fn rapid_resets_end_the_connection() {
    let (count, last) = flood(|_, number| client().post(2 * number + 3).reset(2 * number + 3));
    assert!((900..2000).contains(&count) && last.contains(" 11 too many resets"), "{count} {last}");
}

#[test]
fn streams_that_break_rules_on_purpose_end_the_connection() {
    let (count, last) = flood(|_, number| client().post(2 * number + 3).window(2 * number + 3, 0));
    assert!((900..2000).contains(&count) && last.contains(" 11 "), "{count} {last}");
    let (_, last) = flood(|_, number| client().headers(2 * number + 3, &[], true));
    assert!(last.contains(" 11 "), "{last}");
}

#[test]
fn resets_of_calls_that_took_too_long_are_fine() {
    let mut peer = Peer::with(Options { streams_max: 10_000, ..OPTIONS }, &[]);
    (0..5_000).for_each(|number| drop(peer.send(client().get(2 * number + 1))));
    peer.now += Duration::from_secs(2);
    (0..5_000).for_each(|number| drop(peer.send(client().reset(2 * number + 1))));
    assert!(!peer.connection.is_over());
    assert_eq!(peer.connection.streams(), 0);
}

#[test]
fn frames_without_content_end_the_connection() {
    for bytes in [
        client().data(1, b"", false),
        client().settings(&[]),
        client().frame(PRIORITY, 0, 1, &[0; 5]),
        client().frame(77, 0, 0, b"abc"),
        client().frame(PING, FLAG_ACK, 0, &[0; 8]),
        client().frame(SETTINGS, FLAG_ACK, 0, &[]),
    ] {
        let (count, last) = flood(|_, _| bytes.clone());
        assert!((5_000..20_000).contains(&count) && last.contains(" 11 "), "{count} {last}");
    }
}

#[test]
fn too_many_pings_end_the_connection_in_the_words_of_grpc_go() {
    let (count, last) = flood(|_, _| client().frame(PING, 0, 0, &[0; 8]));
    assert_eq!((count, last.as_str()), (3, "goaway 1 11 too_many_pings"));
}

#[test]
fn pings_between_answers_are_fine() {
    let mut peer = Peer::new();
    for number in 0..1000 {
        let stream = 2 * number + 1;
        peer.send(client().get(stream).frame(PING, 0, 0, &[0; 8]));
        peer.answer(stream, 3);
        assert_eq!(peer.sent()[0], "pong");
    }
}

#[test]
fn endless_header_blocks_end_the_connection() {
    let mut begun = false;
    let (count, last) = flood(|_, _| {
        let kind = if std::mem::replace(&mut begun, true) { CONTINUATION } else { HEADERS };
        client().frame(kind, 0, 3, &[0x82; 1000])
    });
    assert!(count < 70 && last.contains(" 11 "), "{count} {last}");
    let mut begun = false;
    let (count, last) = flood(|_, _| {
        let kind = if std::mem::replace(&mut begun, true) { CONTINUATION } else { HEADERS };
        client().frame(kind, 0, 3, &[])
    });
    assert!(count < 20_000 && last.contains(" 11 "), "{count} {last}");
}

#[test]
fn a_block_that_refers_to_a_large_field_many_times_is_too_large() {
    let mut peer = Peer::new();
    let large = "x".repeat(3000);
    let mut bomb = Vec::new();
    for (name, value) in POST {
        write_field(&mut bomb, name.as_bytes(), value.as_bytes());
    }
    // Kept under the first number behind the static table, and named ten thousand times.
    bomb.push(0x40);
    write_text(&mut bomb, "a");
    write_text(&mut bomb, &large);
    bomb.extend_from_slice(&[0x80 | 62; 10_000]);
    peer.send(client().frame(HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, 1, &bomb));
    assert_eq!(peer.sent(), ["headers 1, end"]);
    assert_eq!(peer.send(client().get(3)), ["3 opens /a.B/C, end"]);
}

fn write_text(block: &mut Vec<u8>, text: &str) {
    if text.len() < 127 {
        block.push(u8::try_from(text.len()).unwrap());
    } else {
        let rest = text.len() - 127;
        let (low, high) = (u8::try_from(rest % 128).unwrap(), u8::try_from(rest / 128).unwrap());
        block.extend_from_slice(&[127, low | 0x80, high]);
    }
    block.extend_from_slice(text.as_bytes());
}
