//! Requests and answers of a history, as messages of the protocol.

use bytes::Bytes;
use etched_model::history::{
    Body, Compare, Delete, Event, Message, Outcome, Put, Range, Record, Refusal, Relation, Step, Target, Txn,
    Wish,
};
use etched_proto::etcdserverpb as pb;
use etched_proto::mvccpb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request as Op;
use pb::response_op::Response as Done;
use tonic::{Code, Status};

/// Longer values are noted by their beginning, length and hash.
const VALUE_MAX: usize = 256;

/// A text of a history: what stands for bytes, and differs where they do.
pub(super) fn text(bytes: &[u8]) -> String {
    if bytes.len() <= VALUE_MAX {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{}~{}~{hash:016x}", String::from_utf8_lossy(&bytes[..32]), bytes.len())
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn range(range: &Range) -> pb::RangeRequest {
    pb::RangeRequest {
        key: bytes(&range.key),
        range_end: bytes(&range.end),
        revision: range.revision,
        serializable: range.serializable,
        limit: range.limit,
        ..Default::default()
    }
}

/// A put; `value` is what is sent, which the history may have in short.
pub(super) fn put(put: &Put, value: Bytes) -> pb::PutRequest {
    pb::PutRequest {
        key: bytes(&put.key),
        value,
        lease: put.lease,
        prev_kv: put.previous,
        ..Default::default()
    }
}

pub(super) fn delete(delete: &Delete) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: bytes(&delete.key),
        range_end: bytes(&delete.end),
        prev_kv: delete.previous,
    }
}

pub(super) fn txn(txn: &Txn) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compares.iter().map(compare).collect(),
        success: txn.success.iter().map(step).collect(),
        failure: txn.failure.iter().map(step).collect(),
    }
}

fn step(step: &Step) -> pb::RequestOp {
    let request = match step {
        Step::Range(it) => Op::RequestRange(range(it)),
        Step::Put(it) => Op::RequestPut(put(it, bytes(&it.value))),
        Step::Delete(it) => Op::RequestDeleteRange(delete(it)),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare(compare: &Compare) -> pb::Compare {
    let result = match compare.relation {
        Relation::Equal => CompareResult::Equal,
        Relation::NotEqual => CompareResult::NotEqual,
        Relation::Greater => CompareResult::Greater,
        Relation::Less => CompareResult::Less,
    };
    let (target, union) = match &compare.target {
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(bytes(value))),
        Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(*version)),
        Target::Created(created) => (CompareTarget::Create, TargetUnion::CreateRevision(*created)),
        Target::Modified(modified) => (CompareTarget::Mod, TargetUnion::ModRevision(*modified)),
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: bytes(&compare.key),
        target_union: Some(union),
        ..Default::default()
    }
}

pub(super) fn revision(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

fn record(kv: &mvccpb::KeyValue) -> Record {
    Record {
        key: text(&kv.key),
        value: text(&kv.value),
        created: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

pub(super) fn range_body(answer: &pb::RangeResponse) -> Body {
    Body::Range { records: answer.kvs.iter().map(record).collect(), count: answer.count, more: answer.more }
}

pub(super) fn put_body(answer: &pb::PutResponse) -> Body {
    Body::Put { previous: answer.prev_kv.as_ref().map(record) }
}

pub(super) fn delete_body(answer: &pb::DeleteRangeResponse) -> Body {
    Body::Delete { deleted: answer.deleted, previous: answer.prev_kvs.iter().map(record).collect() }
}

pub(super) fn txn_body(answer: &pb::TxnResponse) -> Body {
    let steps = answer.responses.iter().map(|op| match &op.response {
        Some(Done::ResponseRange(answer)) => range_body(answer),
        Some(Done::ResponsePut(answer)) => put_body(answer),
        Some(Done::ResponseDeleteRange(answer)) => delete_body(answer),
        Some(Done::ResponseTxn(answer)) => txn_body(answer),
        None => Body::Done,
    });
    Body::Txn { succeeded: answer.succeeded, steps: steps.collect() }
}

/// What an error says of a request. Whatever is not certain is unknown.
pub(super) fn failure(status: &Status) -> Outcome {
    let text = status.message();
    let is_certain =
        [Code::InvalidArgument, Code::FailedPrecondition, Code::AlreadyExists, Code::Unimplemented];
    if status.code() == Code::OutOfRange && text.contains("compacted") {
        Outcome::Refused(Refusal::Compacted)
    } else if status.code() == Code::OutOfRange && text.contains("future") {
        Outcome::Refused(Refusal::Future)
    } else if status.code() == Code::NotFound && text.contains("lease") {
        Outcome::Refused(Refusal::NoLease)
    } else if is_certain.contains(&status.code()) {
        Outcome::Refused(Refusal::Other(text.to_owned()))
    } else {
        Outcome::Unknown
    }
}

pub(super) fn watch(wish: &Wish) -> pb::WatchCreateRequest {
    use pb::watch_create_request::FilterType;
    let mut filters = Vec::new();
    if wish.no_put {
        filters.push(FilterType::Noput.into());
    }
    if wish.no_delete {
        filters.push(FilterType::Nodelete.into());
    }
    pb::WatchCreateRequest {
        key: bytes(&wish.key),
        range_end: bytes(&wish.end),
        start_revision: wish.start,
        progress_notify: true,
        filters,
        prev_kv: wish.previous,
        fragment: wish.fragment,
        ..Default::default()
    }
}

/// What a message to a created watch says; nothing if it is cancelled for a reason that promises nothing.
pub(super) fn message(answer: &pb::WatchResponse) -> Option<Message> {
    if answer.canceled {
        return (answer.compact_revision != 0).then_some(Message::Compacted(answer.compact_revision));
    }
    if answer.events.is_empty() {
        return Some(Message::Progress);
    }
    let events = answer.events.iter().map(|event| Event {
        deleted: event.r#type == 1,
        record: event.kv.as_ref().map(record).unwrap_or_default(),
        previous: event.prev_kv.as_ref().map(record),
    });
    Some(Message::Events { events: events.collect(), fragment: answer.fragment })
}
