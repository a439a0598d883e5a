//! Bytes as etcd writes them, and what is done with what etcd writes beside.

use super::*;

fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    Message::decode(&Bytes::copy_from_slice(bytes))
}

/// An append of entries 6 (a command) and 7 (a change of the configuration), as an older etcd writes it: every
/// number, zero or not, and an empty snapshot.
const APPEND_OLD: &[u8] = &[
    0x08, 3, 0x10, 1, 0x18, 2, 0x20, 4, 0x28, 3, 0x30, 5, //
    0x3a, 9, 0x08, 0, 0x10, 4, 0x18, 6, 0x22, 1, b'x', //
    0x3a, 12, 0x08, 1, 0x10, 4, 0x18, 7, 0x22, 4, 0x10, 3, 0x18, 9, //
    0x40, 5, 0x4a, 10, 0x12, 8, 0x0a, 2, 0x28, 0, 0x10, 0, 0x18, 0, //
    0x50, 0, 0x58, 0, 0x68, 0,
];

/// The same without what is zero, as a newer etcd writes it.
const APPEND_NEW: &[u8] = &[
    0x08, 3, 0x10, 1, 0x18, 2, 0x20, 4, 0x28, 3, 0x30, 5, //
    0x3a, 7, 0x10, 4, 0x18, 6, 0x22, 1, b'x', //
    0x3a, 12, 0x08, 1, 0x10, 4, 0x18, 7, 0x22, 4, 0x10, 3, 0x18, 9, //
    0x40, 5,
];

#[test]
fn an_append_of_either_etcd_is_the_same_message() {
    let message = decode(APPEND_OLD).unwrap();
    assert_eq!(message, decode(APPEND_NEW).unwrap());
    assert_eq!(&message.encode()[..], APPEND_NEW);
    assert_eq!((message.kind(), message.from(), message.to()), (MessageKind::Append, 2, 1));
    assert_eq!((message.term(), message.index(), message.commit()), (4, 5, 5));
    let entries: Vec<Entry> = message.inner.entries.iter().cloned().map(Entry::from_raft).collect();
    assert_eq!(entries[0].data, "x");
    assert_eq!((entries[1].kind, &entries[1].data[..]), (EntryKind::ConfChange, &[0x10, 3, 0x18, 9][..]));
}

#[test]
fn a_snapshot_keeps_its_place_and_configuration() {
    let bytes = [
        0x08, 7, 0x10, 1, 0x18, 2, 0x20, 4, //
        0x4a, 17, 0x0a, 1, b'd', 0x12, 12, 0x0a, 6, 0x08, 1, 0x08, 2, 0x28, 0, 0x10, 9, 0x18, 4,
    ];
    let message = decode(&bytes).unwrap();
    let conf_state = ConfState::of_voters([1, 2]);
    assert_eq!(message.snapshot(), Some(SnapshotMeta { index: 9, term: 4, conf_state }));
    assert_eq!(&message.encode()[..], bytes);
}

#[test]
fn payloads_share_the_memory_of_the_message() {
    let bytes = Bytes::copy_from_slice(APPEND_NEW);
    let message = Message::decode(&bytes).unwrap();
    let payload = payload(&message.inner.entries[0]);
    assert!(bytes.as_ptr_range().contains(&payload.as_ptr()));
}

#[test]
fn every_kind_has_etcds_number() {
    for kind in MessageKind::ALL {
        assert_eq!(MessageKind::from_number(kind.number()), Ok(kind));
        assert_eq!(MessageKind::from_raft(kind.to_raft()), Some(kind));
        let bytes = [0x08, u8::try_from(kind.number()).unwrap(), 0x10, 1];
        assert_eq!(decode(&bytes).unwrap().kind(), kind);
    }
    let others = (0..30).filter(|number| MessageKind::from_number(*number).is_err());
    let expected = [0, 1, 10, 11, 12].into_iter().chain(19..30);
    assert_eq!(others.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn votes_carry_nothing_that_etcd_does_not_know() {
    let inner = eraftpb::Message {
        msg_type: MessageType::MsgRequestVote,
        to: 1,
        commit: 7,
        commit_term: 3,
        ..eraftpb::Message::default()
    };
    assert_eq!(&Message::from_raft(inner).encode()[..], [0x08, 5, 0x10, 1]);
}
