//! Transports that speak with each other, and with the real etcd.

use bytes::Bytes;
use etched_replica::raft::Message;

/// A heartbeat from one member to another.
pub(super) fn heartbeat(from: u8, to: u8) -> Message {
    Message::decode(&Bytes::from(vec![0x08, 8, 0x10, to, 0x18, from, 0x20, 1])).unwrap()
}
