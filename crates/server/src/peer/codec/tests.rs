//! The codecs against what two real members of etcd 3.7.2 sent each other, and against damage.

use super::*;

const FOLLOWER: u64 = 0xeeac_0125_40a5_d4c5;
const LEADER: u64 = 0x6350_822c_8158_af91;

/// The beginning of a leader's append stream: a whole append, then entries and commit indices that continue it.
const APPENDS: &str = "
    02 0000000000000025 080310c5a99785d4a480d6ee011891dfe28ac8c5a0a8632002280130023a0410021803 4002
    01 0000000000000001 000000000000003f
       100218042239a2060b0881fad3a5afc2e8c8af01aa51280891dfe28ac8c5a0a863121c0a026d301216687474703a2f2f
       3132372e302e302e313a3532323639 0000000000000003
    01 0000000000000001 0000000000000040
       10021805223aa2060b0881fad3a5afc2e8e2d401aa512908c5a99785d4a480d6ee01121c0a026d311216687474703a2f2f
       3132372e302e302e313a3338313337 0000000000000003
    01 0000000000000000 0000000000000005
    01 0000000000000000 0000000000000004
    00
    01 0000000000000001 000000000000001d
       10021807221722070a026b30120176a2060b0883fad3a5afc2e8c8af01 0000000000000006";

/// Two messages of the leader: an answer to a pre-vote's follower and a heartbeat, a sign of life, another heartbeat.
const MESSAGES: &str = "
    000000000000001d 081110c5a99785d4a480d6ee011891dfe28ac8c5a0a86320022801 3002
    000000000000001b 080810c5a99785d4a480d6ee011891dfe28ac8c5a0a8632002 4006
    0000000000000002 0808
    000000000000001b 080810c5a99785d4a480d6ee011891dfe28ac8c5a0a8632002 4006";

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn decoder(kind: StreamKind) -> Decoder {
    Decoder::new(kind, FOLLOWER, LEADER)
}

fn decode_all(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Decoded>, FrameError> {
    decoder.push(bytes);
    let mut all = Vec::new();
    while let Some(decoded) = decoder.next()? {
        all.push(decoded);
    }
    Ok(all)
}

fn encode_all(kind: StreamKind, decoded: &[Decoded]) -> Vec<u8> {
    let mut encoder = Encoder::new(kind);
    let mut out = BytesMut::new();
    for decoded in decoded {
        match decoded {
            Decoded::Beat => encoder.encode_beat(&mut out),
            Decoded::Message { message, .. } => encoder.encode(message, &mut out),
            Decoded::Unknown(error) => panic!("{error}"),
        };
    }
    out.to_vec()
}

fn message_of(decoded: &Decoded) -> &Message {
    match decoded {
        Decoded::Message { message, .. } => message,
        Decoded::Beat | Decoded::Unknown(_) => panic!("{decoded:?} is no message"),
    }
}

#[test]
fn the_append_stream_of_etcd_is_read_and_written_alike() {
    let bytes = bytes_of(APPENDS);
    let decoded = decode_all(&mut decoder(StreamKind::Append), &bytes).unwrap();
    assert_eq!(encode_all(StreamKind::Append, &decoded), bytes);
    assert_eq!(decoded.len(), 7);
    assert_eq!(decoded[5], Decoded::Beat);
    // The terms, indices and commit indices, as the leader meant them.
    let seen: Vec<_> = [0, 1, 2, 3, 4, 6]
        .map(|at| message_of(&decoded[at]))
        .map(|message| {
            assert_eq!((message.from(), message.to()), (LEADER, FOLLOWER));
            assert_eq!((message.kind(), message.term()), (MessageKind::Append, 2));
            (message.index(), message.entries_len(), message.commit())
        })
        .to_vec();
    assert_eq!(seen, [(2, 1, 2), (3, 1, 3), (4, 1, 3), (5, 0, 5), (5, 0, 4), (5, 1, 6)]);
}

#[test]
fn the_message_stream_of_etcd_is_read_and_written_alike() {
    let bytes = bytes_of(MESSAGES);
    let decoded = decode_all(&mut decoder(StreamKind::Message), &bytes).unwrap();
    assert_eq!(encode_all(StreamKind::Message, &decoded), bytes);
    let kinds: Vec<_> = [0, 1, 3].map(|at| message_of(&decoded[at]).kind()).to_vec();
    assert_eq!(kinds, [MessageKind::PreVote, MessageKind::Heartbeat, MessageKind::Heartbeat]);
    assert_eq!(decoded[2], Decoded::Beat);
}

#[test]
fn frames_may_arrive_in_any_pieces() {
    for (kind, hex) in [(StreamKind::Append, APPENDS), (StreamKind::Message, MESSAGES)] {
        let bytes = bytes_of(hex);
        let whole = decode_all(&mut decoder(kind), &bytes).unwrap();
        for size in [1, 2, 3, 7, 8, 9, 31, 64] {
            let mut decoder = decoder(kind);
            let pieces = bytes.chunks(size).map(|piece| decode_all(&mut decoder, piece).unwrap());
            assert_eq!(pieces.collect::<Vec<_>>().concat(), whole, "pieces of {size}");
        }
    }
}

#[test]
fn a_new_term_begins_with_a_whole_append() {
    let append = |term: u8, log_term: u8, index: u8| {
        Message::decode(&Bytes::from(vec![
            8,
            3,
            0x10,
            1,
            0x18,
            2,
            0x20,
            term,
            0x28,
            log_term,
            0x30,
            index,
            0x3a,
            4,
            0x10,
            term,
            0x18,
            index + 1,
        ]))
        .unwrap()
    };
    let mut encoder = Encoder::new(StreamKind::Append);
    let mut first_byte = |message: &Message| {
        let mut out = BytesMut::new();
        encoder.encode(message, &mut out);
        out[0]
    };
    assert_eq!(first_byte(&append(2, 1, 4)), WHOLE);
    assert_eq!(first_byte(&append(2, 2, 5)), ENTRIES);
    assert_eq!(first_byte(&append(2, 2, 6)), ENTRIES);
    assert_eq!(first_byte(&append(2, 2, 6)), WHOLE, "sent again: it does not continue");
    assert_eq!(first_byte(&append(3, 2, 7)), WHOLE, "the entry before is of an older term");
    assert_eq!(first_byte(&append(3, 3, 8)), ENTRIES);
}

#[test]
fn what_is_no_frame_ends_the_stream() {
    let check = |kind, hex: &str| decode_all(&mut decoder(kind), &bytes_of(hex));
    assert_eq!(check(StreamKind::Append, "03"), Err(FrameError::UnknownFrame(3)));
    assert_eq!(check(StreamKind::Append, "01 0000000020000001"), Err(FrameError::TooLong));
    assert_eq!(check(StreamKind::Append, "01 0000000000000001 ffffffffffffffff"), Err(FrameError::TooLong));
    assert_eq!(check(StreamKind::Append, "02 0000000020000001"), Err(FrameError::TooLong));
    assert_eq!(check(StreamKind::Message, "0000000020000001"), Err(FrameError::TooLong));
    assert!(check(StreamKind::Append, "02 0000000000000003 3a0510").is_err());
    assert!(check(StreamKind::Message, "0000000000000002 0aff").is_err());
    assert!(check(StreamKind::Append, "01 0000000000000001 0000000000000001 ff 0000000000000000").is_err());
    // An index from which none can be counted.
    let far = "02 000000000000000d 0803 30ffffffffffffffffff01  01 0000000000000001 0000000000000000 0000000000000000";
    assert_eq!(check(StreamKind::Append, far), Err(FrameError::Index));
}

#[test]
fn messages_of_a_later_version_are_skipped() {
    let decoded = decode_all(
        &mut decoder(StreamKind::Message),
        &bytes_of("0000000000000002 087f 0000000000000002 0817 0000000000000002 0808"),
    );
    let decoded = decoded.unwrap();
    assert!(matches!(decoded[..], [Decoded::Unknown(_), Decoded::Unknown(_), Decoded::Beat]), "{decoded:?}");
}

#[test]
fn damage_never_panics() {
    // A xorshift generator: the same damage in each run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    for round in 0..20_000 {
        let (kind, hex) =
            if round % 2 == 0 { (StreamKind::Append, APPENDS) } else { (StreamKind::Message, MESSAGES) };
        let mut bytes = bytes_of(hex);
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] ^= 1 << random(8),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, u8::try_from(random(256)).unwrap()),
            }
        }
        // Refused, or read as something else; both are fine.
        let _ = decode_all(&mut decoder(kind), &bytes);
    }
}
