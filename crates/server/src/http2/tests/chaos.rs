//! Bytes that mean nothing, and conversations with a few bytes changed: no panic, no growth.

use proptest::prelude::*;

use super::*;

/// A conversation with something of everything.
fn conversation() -> Vec<u8> {
    let mut large = POST.to_vec();
    let text = "y".repeat(900);
    large.push(("a-long-field", &text));
    client()
        .settings(&[(SETTING_TABLE_SIZE, 0), (SETTING_WINDOW, 100_000), (SETTING_PAYLOAD_MAX, 1 << 20)])
        .window(0, 1 << 20)
        .post(1)
        .data(1, &[1; 300], true)
        .headers(3, &large, false)
        .data(3, &[2; 5000], false)
        .frame(PING, 0, 0, &[3; 8])
        .frame(DATA, FLAG_PADDED, 3, &[4, 1, 2, 3, 0, 0, 0, 0])
        .headers(3, &[("x-trailer", "1")], true)
        .get(5)
        .reset(5)
        .frame(HEADERS, FLAG_PRIORITY | FLAG_END_HEADERS, 7, &[&[0, 0, 0, 0, 1][..], &block(&POST)].concat())
        .window(7, 1000)
        .data(7, &[5; 100], false)
        .frame(SETTINGS, FLAG_ACK, 0, &[])
        .data(7, &[], true)
        .frame(GOAWAY, 0, 0, &[0; 8])
        .0
}

/// Lets bytes arrive in pieces of this size and answers what can be answered.
fn play(bytes: &[u8], piece: usize) {
    let mut peer = Peer { connection: Connection::new(OPTIONS), now: Duration::ZERO };
    for piece in bytes.chunks(piece) {
        let events = peer.receive(piece);
        for event in events {
            let stream = event.split(' ').next().and_then(|number| number.parse().ok()).unwrap();
            if event.ends_with("end") || event.ends_with("ends") {
                peer.answer(stream, 20_000);
            }
        }
        peer.written();
        assert!(peer.connection.streams() <= 100);
        assert_eq!(peer.connection.output_len(), 0);
        peer.now += Duration::from_millis(1);
        if peer.connection.is_over() {
            return;
        }
    }
}

#[test]
fn the_conversation_is_in_order() {
    let mut peer = Peer { connection: Connection::new(OPTIONS), now: Duration::ZERO };
    let events = peer.receive(&conversation());
    assert_eq!(events.len(), 11, "{events:?}");
    assert!(!peer.connection.is_over());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..4000), piece in 1usize..4000) {
        play(&bytes, piece);
        let mut opened = client().settings(&[]).0;
        opened.extend_from_slice(&bytes);
        play(&opened, piece);
    }

    #[test]
    fn frames_of_any_kind_do_no_harm(
        frames in prop::collection::vec((0u8..11, any::<u8>(), 0u32..12, prop::collection::vec(any::<u8>(), 0..40)), 0..60),
        piece in 1usize..400,
    ) {
        let mut bytes = client().settings(&[]).post(1);
        for (kind, flags, stream, payload) in frames {
            bytes = bytes.frame(kind, flags, stream, &payload);
        }
        play(&bytes.0, piece);
    }

    #[test]
    fn a_changed_conversation_does_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        piece in 1usize..2000,
    ) {
        let mut bytes = conversation();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        play(&bytes, piece);
    }

    #[test]
    fn how_bytes_are_cut_changes_nothing(piece in 1usize..3000) {
        let whole = outcome(&conversation(), usize::MAX);
        prop_assert_eq!(outcome(&conversation(), piece), whole);
    }
}

/// What a conversation comes to: the bytes of each stream, and how it ended.
fn outcome(bytes: &[u8], piece: usize) -> Vec<(u32, usize, bool)> {
    let mut peer = Peer { connection: Connection::new(OPTIONS), now: Duration::ZERO };
    let mut streams = std::collections::BTreeMap::new();
    for piece in bytes.chunks(piece) {
        let mut input = piece;
        while let Some(event) = peer.connection.next(&mut input, peer.now) {
            let (stream, length, ended) = match event {
                Event::Request { stream, is_end, .. } => (stream, 0, is_end),
                Event::Data { stream, bytes, is_end } => (stream, bytes.len(), is_end),
                Event::End { stream } | Event::Reset { stream } => (stream, 0, true),
            };
            let entry = streams.entry(stream).or_insert((stream, 0, false));
            *entry = (stream, entry.1 + length, entry.2 | ended);
        }
    }
    streams.into_values().collect()
}
