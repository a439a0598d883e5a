//! A part of the cluster's keys as if it were all: requests get a prefix, answers lose it.
//!
//! The calls of Lock and Election go through as they are, as with etcd's proxy.

use bytes::Bytes;
use etched_proto::etcdserverpb::request_op::Request;
use etched_proto::etcdserverpb::response_op::Response;
use etched_proto::etcdserverpb::watch_request::RequestUnion;
use etched_proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse, WatchRequest, WatchResponse,
};
use etched_proto::mvccpb::KeyValue;
use prost::Message;

use super::mapped::Change;

/// Transactions may hold transactions; deeper ones are refused by the cluster in any case.
const DEPTH_MAX: usize = 64;

/// The prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Namespace {
    prefix: Bytes,
}

/// How the messages of one method change.
pub(super) struct Mapping {
    namespace: Namespace,
    method: Method,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Range,
    RangeStream,
    Put,
    DeleteRange,
    Txn,
    Watch,
    LeaseTimeToLive,
}

impl Namespace {
    /// `None` if all keys are meant.
    pub(super) fn new(prefix: &[u8]) -> Option<Self> {
        (!prefix.is_empty()).then(|| Self { prefix: Bytes::copy_from_slice(prefix) })
    }

    /// How the messages of a method change; `None` if there are no keys in them.
    pub(super) fn mapping(&self, path: &str) -> Option<Mapping> {
        let method = match path {
            "/etcdserverpb.KV/Range" => Method::Range,
            "/etcdserverpb.KV/RangeStream" => Method::RangeStream,
            "/etcdserverpb.KV/Put" => Method::Put,
            "/etcdserverpb.KV/DeleteRange" => Method::DeleteRange,
            "/etcdserverpb.KV/Txn" => Method::Txn,
            "/etcdserverpb.Watch/Watch" => Method::Watch,
            "/etcdserverpb.Lease/LeaseTimeToLive" => Method::LeaseTimeToLive,
            _ => return None,
        };
        Some(Mapping { namespace: self.clone(), method })
    }

    /// Puts the prefix before a key. No key at all is left so: the cluster refuses it.
    fn add_to_key(&self, key: &mut Bytes) {
        if !key.is_empty() {
            *key = [&self.prefix[..], &key[..]].concat().into();
        }
    }

    fn add_to_range(&self, key: &mut Bytes, range_end: &mut Bytes) {
        self.add_to_key(key);
        match &range_end[..] {
            b"" => {}
            // To the end of all keys means to the end of ours.
            b"\0" => *range_end = self.end(),
            end => *range_end = [&self.prefix[..], end].concat().into(),
        }
    }

    /// The first key behind all with the prefix; `\0`, the end of all, if there is none.
    fn end(&self) -> Bytes {
        let mut end = self.prefix.to_vec();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return end.into();
            }
        }
        Bytes::from_static(b"\0")
    }

    fn take_from(&self, pair: &mut KeyValue) {
        if pair.key.starts_with(&self.prefix) {
            pair.key = pair.key.slice(self.prefix.len()..);
        }
    }

    fn take_from_all(&self, pairs: &mut [KeyValue]) {
        pairs.iter_mut().for_each(|pair| self.take_from(pair));
    }

    fn add_to_txn(&self, txn: &mut TxnRequest, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        for compare in &mut txn.compare {
            self.add_to_range(&mut compare.key, &mut compare.range_end);
        }
        for operation in txn.success.iter_mut().chain(&mut txn.failure) {
            match &mut operation.request {
                Some(Request::RequestRange(range)) => self.add_to_range(&mut range.key, &mut range.range_end),
                Some(Request::RequestPut(put)) => self.add_to_key(&mut put.key),
                Some(Request::RequestDeleteRange(range)) => {
                    self.add_to_range(&mut range.key, &mut range.range_end);
                }
                Some(Request::RequestTxn(txn)) => self.add_to_txn(txn, depth + 1)?,
                None => {}
            }
        }
        Some(())
    }

    fn take_from_txn(&self, txn: &mut TxnResponse, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        for operation in &mut txn.responses {
            match &mut operation.response {
                Some(Response::ResponseRange(range)) => self.take_from_all(&mut range.kvs),
                Some(Response::ResponsePut(put)) => {
                    put.prev_kv.iter_mut().for_each(|pair| self.take_from(pair))
                }
                Some(Response::ResponseDeleteRange(range)) => self.take_from_all(&mut range.prev_kvs),
                Some(Response::ResponseTxn(txn)) => self.take_from_txn(txn, depth + 1)?,
                None => {}
            }
        }
        Some(())
    }
}

impl Mapping {
    /// What happens to messages to the cluster.
    pub(super) fn outgoing(&self) -> Change {
        let (own, method) = (self.namespace.clone(), self.method);
        Box::new(move |bytes| match method {
            Method::Range | Method::RangeStream => changed(bytes, |range: &mut RangeRequest| {
                own.add_to_range(&mut range.key, &mut range.range_end);
                Some(())
            }),
            Method::Put => changed(bytes, |put: &mut PutRequest| {
                own.add_to_key(&mut put.key);
                Some(())
            }),
            Method::DeleteRange => changed(bytes, |range: &mut DeleteRangeRequest| {
                own.add_to_range(&mut range.key, &mut range.range_end);
                Some(())
            }),
            Method::Txn => changed(bytes, |txn: &mut TxnRequest| own.add_to_txn(txn, 0)),
            Method::Watch => changed(bytes, |watch: &mut WatchRequest| {
                if let Some(RequestUnion::CreateRequest(create)) = &mut watch.request_union {
                    if create.key.is_empty() {
                        // All keys: those with the prefix.
                        create.key = own.prefix.clone();
                        create.range_end = own.end();
                    } else {
                        own.add_to_range(&mut create.key, &mut create.range_end);
                    }
                }
                Some(())
            }),
            Method::LeaseTimeToLive => Some(bytes.to_vec()),
        })
    }

    /// What happens to messages from the cluster.
    pub(super) fn incoming(&self) -> Change {
        let (own, method) = (self.namespace.clone(), self.method);
        Box::new(move |bytes| match method {
            Method::Range => changed(bytes, |range: &mut RangeResponse| {
                own.take_from_all(&mut range.kvs);
                Some(())
            }),
            Method::RangeStream => changed(bytes, |part: &mut RangeStreamResponse| {
                part.range_response.iter_mut().for_each(|range| own.take_from_all(&mut range.kvs));
                Some(())
            }),
            Method::Put => changed(bytes, |put: &mut PutResponse| {
                put.prev_kv.iter_mut().for_each(|pair| own.take_from(pair));
                Some(())
            }),
            Method::DeleteRange => changed(bytes, |range: &mut DeleteRangeResponse| {
                own.take_from_all(&mut range.prev_kvs);
                Some(())
            }),
            Method::Txn => changed(bytes, |txn: &mut TxnResponse| own.take_from_txn(txn, 0)),
            Method::Watch => changed(bytes, |watch: &mut WatchResponse| {
                for event in &mut watch.events {
                    event.kv.iter_mut().chain(&mut event.prev_kv).for_each(|pair| own.take_from(pair));
                }
                Some(())
            }),
            Method::LeaseTimeToLive => changed(bytes, |lease: &mut LeaseTimeToLiveResponse| {
                // Keys of others are none of the client's business.
                lease.keys.retain(|key| key.starts_with(&own.prefix));
                lease.keys.iter_mut().for_each(|key| *key = key.slice(own.prefix.len()..));
                Some(())
            }),
        })
    }
}

fn changed<M: Message + Default>(bytes: &[u8], change: impl FnOnce(&mut M) -> Option<()>) -> Option<Vec<u8>> {
    let mut message = M::decode(bytes).ok()?;
    change(&mut message)?;
    Some(message.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(method: &str) -> Mapping {
        Namespace::new(b"ns/").unwrap().mapping(&format!("/etcdserverpb.{method}")).unwrap()
    }

    fn ranged(key: &'static [u8], range_end: &'static [u8]) -> (Bytes, Bytes) {
        let request =
            RangeRequest { key: key.into(), range_end: range_end.into(), ..RangeRequest::default() };
        let bytes = mapping("KV/Range").outgoing()(&request.encode_to_vec()).unwrap();
        let request = RangeRequest::decode(&bytes[..]).unwrap();
        (request.key, request.range_end)
    }

    #[test]
    fn ranges_stay_within_the_namespace() {
        let bytes = |text: &'static [u8]| Bytes::from_static(text);
        assert_eq!(ranged(b"a", b""), (bytes(b"ns/a"), bytes(b"")));
        assert_eq!(ranged(b"a", b"b"), (bytes(b"ns/a"), bytes(b"ns/b")));
        assert_eq!(ranged(b"a", b"\0"), (bytes(b"ns/a"), bytes(b"ns0")));
        assert_eq!(ranged(b"\0", b"\0"), (bytes(b"ns/\0"), bytes(b"ns0")));
        assert_eq!(ranged(b"", b""), (bytes(b""), bytes(b"")));
        assert_eq!(Namespace::new(b"\xff").unwrap().end(), bytes(b"\0"));
        assert_eq!(Namespace::new(b""), None);
    }

    #[test]
    fn answers_lose_the_prefix() {
        let pair = |key: &'static [u8]| KeyValue { key: key.into(), ..KeyValue::default() };
        let response = RangeResponse { kvs: vec![pair(b"ns/a"), pair(b"ns/b")], ..RangeResponse::default() };
        let bytes = mapping("KV/Range").incoming()(&response.encode_to_vec()).unwrap();
        let response = RangeResponse::decode(&bytes[..]).unwrap();
        let keys: Vec<_> = response.kvs.iter().map(|pair| pair.key.clone()).collect();
        assert_eq!(keys, ["a", "b"]);
        let lease = LeaseTimeToLiveResponse {
            keys: vec![Bytes::from_static(b"ns/a"), Bytes::from_static(b"other")],
            ..LeaseTimeToLiveResponse::default()
        };
        let bytes = mapping("Lease/LeaseTimeToLive").incoming()(&lease.encode_to_vec()).unwrap();
        assert_eq!(LeaseTimeToLiveResponse::decode(&bytes[..]).unwrap().keys, [Bytes::from_static(b"a")]);
    }

    #[test]
    fn other_methods_and_broken_messages_are_told_apart() {
        assert!(Namespace::new(b"a").unwrap().mapping("/etcdserverpb.Maintenance/Status").is_none());
        assert_eq!(mapping("KV/Put").outgoing()(b"\xff\xff"), None);
    }
}
