//! Between the messages of the wire and the values of the core.
//!
//! Requests are only converted: what is wrong with them is found by the core, in etcd's order.
//! Answers carry stored bytes as they are.

use etched_key_range::KeyRange;
use etched_proto::wire::etcdserverpb as wire;
use etched_state_machine::{
    AlarmMember, Compare, CompareTarget, DeleteRange, DeleteRangeDone, Put, PutDone, Range, RangeOutput,
    RangeQuery, Txn, TxnDone, TxnOp, TxnOpDone,
};
use etched_watch::{Create, Filters, Response};
use wire::compare::TargetUnion;

use crate::api::{Identity, MemberEntry};

/// A header; what an answer says of its revision comes before what the store says.
pub(super) fn header(identity: &Identity, revision: i64, raft_term: u64) -> wire::ResponseHeader {
    wire::ResponseHeader {
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
        revision,
        raft_term,
    }
}

/// The header of an operation of a transaction: a revision and nothing else.
fn inner_header(revision: i64) -> Option<wire::ResponseHeader> {
    Some(wire::ResponseHeader { revision, ..Default::default() })
}

pub(super) fn range(request: wire::RangeRequest) -> Range {
    let mut query = RangeQuery::new(KeyRange::from_wire(request.key, request.range_end));
    query.revision = request.revision;
    query.limit = request.limit;
    query.keys_only = request.keys_only;
    query.count_only = request.count_only;
    query.mod_revision_min = request.min_mod_revision;
    query.mod_revision_max = request.max_mod_revision;
    query.create_revision_min = request.min_create_revision;
    query.create_revision_max = request.max_create_revision;
    Range::from_wire(query, request.serializable, request.sort_order, request.sort_target)
}

pub(super) fn put(request: wire::PutRequest) -> Put {
    Put {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(super) fn delete_range(request: wire::DeleteRangeRequest) -> DeleteRange {
    let range = KeyRange::from_wire(request.key, request.range_end);
    DeleteRange { range, prev_kv: request.prev_kv }
}

/// Nesting is bounded by the decoder's own limit on recursion.
pub(super) fn txn(request: wire::TxnRequest) -> Txn {
    Txn {
        compares: request.compare.into_iter().map(compare).collect(),
        success: request.success.into_iter().map(txn_op).collect(),
        failure: request.failure.into_iter().map(txn_op).collect(),
    }
}

fn txn_op(operation: wire::RequestOp) -> TxnOp {
    use wire::request_op::Request;
    match operation.request {
        Some(Request::RequestRange(request)) => TxnOp::Range(range(request)),
        Some(Request::RequestPut(request)) => TxnOp::Put(put(request)),
        Some(Request::RequestDeleteRange(request)) => TxnOp::DeleteRange(delete_range(request)),
        Some(Request::RequestTxn(request)) => TxnOp::Txn(txn(request)),
        None => TxnOp::Absent,
    }
}

fn compare(request: wire::Compare) -> Compare {
    use wire::compare::CompareTarget as Target;
    let union = request.target_union;
    // A value of another kind than the target counts as absent, and an absent one as zero.
    let target = match Target::try_from(request.target) {
        Ok(Target::Version) => CompareTarget::Version(match union {
            Some(TargetUnion::Version(number)) => number,
            Some(_) | None => 0,
        }),
        Ok(Target::Create) => CompareTarget::CreateRevision(match union {
            Some(TargetUnion::CreateRevision(number)) => number,
            Some(_) | None => 0,
        }),
        Ok(Target::Mod) => CompareTarget::ModRevision(match union {
            Some(TargetUnion::ModRevision(number)) => number,
            Some(_) | None => 0,
        }),
        Ok(Target::Value) => CompareTarget::Value(match union {
            Some(TargetUnion::Value(value)) => value,
            Some(_) | None => Default::default(),
        }),
        Ok(Target::Lease) => CompareTarget::Lease(match union {
            Some(TargetUnion::Lease(number)) => number,
            Some(_) | None => 0,
        }),
        Err(_) => CompareTarget::Unknown(request.target),
    };
    Compare { range: KeyRange::from_wire(request.key, request.range_end), result: request.result, target }
}

pub(super) fn range_response(
    header: Option<wire::ResponseHeader>,
    output: RangeOutput,
) -> wire::RangeResponse {
    wire::RangeResponse { header, kvs: output.records, more: output.more, count: output.count }
}

/// `prev_kv` is a repeated field on neither side, but absent and empty differ: a record is never empty.
pub(super) fn put_response(header: Option<wire::ResponseHeader>, done: PutDone) -> wire::PutResponse {
    wire::PutResponse { header, prev_kv: done.previous.unwrap_or_default() }
}

pub(super) fn delete_response(
    header: Option<wire::ResponseHeader>,
    done: DeleteRangeDone,
) -> wire::DeleteRangeResponse {
    wire::DeleteRangeResponse { header, deleted: done.deleted, prev_kvs: done.previous }
}

pub(super) fn txn_response(header: Option<wire::ResponseHeader>, done: TxnDone) -> wire::TxnResponse {
    let responses = done.responses.into_iter().map(response_op).collect();
    wire::TxnResponse { header, succeeded: done.succeeded, responses }
}

fn response_op(done: TxnOpDone) -> wire::ResponseOp {
    use wire::response_op::Response;
    let response = match done {
        TxnOpDone::Range { revision, output } => {
            Response::ResponseRange(range_response(inner_header(revision), output))
        }
        TxnOpDone::Put(done) => Response::ResponsePut(put_response(inner_header(done.revision), done)),
        TxnOpDone::DeleteRange(done) => {
            Response::ResponseDeleteRange(delete_response(inner_header(done.revision), done))
        }
        TxnOpDone::Txn(done) => Response::ResponseTxn(txn_response(inner_header(done.revision), done)),
    };
    wire::ResponseOp { response: Some(response) }
}

pub(super) fn create(request: wire::WatchCreateRequest) -> Create {
    use wire::watch_create_request::FilterType;
    let has = |filter: FilterType| request.filters.contains(&(filter as i32));
    let filters = Filters { no_put: has(FilterType::Noput), no_delete: has(FilterType::Nodelete) };
    Create {
        filters,
        range: KeyRange::from_wire(request.key, request.range_end),
        start_revision: request.start_revision,
        prev_kv: request.prev_kv,
        progress_notify: request.progress_notify,
        fragment: request.fragment,
        watch_id: request.watch_id,
    }
}

pub(super) fn watch_response(header: wire::ResponseHeader, response: Response) -> wire::WatchResponse {
    wire::WatchResponse {
        header: Some(header),
        watch_id: response.watch_id,
        created: response.created,
        canceled: response.canceled,
        compact_revision: response.compact_revision,
        cancel_reason: response.cancel_reason.into_owned(),
        fragment: response.fragment,
        events: response.events.to_vec(),
    }
}

pub(super) fn member(entry: MemberEntry) -> wire::Member {
    wire::Member {
        id: entry.id,
        name: entry.name,
        peer_ur_ls: entry.peer_urls,
        client_ur_ls: entry.client_urls,
        is_learner: entry.is_learner,
    }
}

pub(super) fn alarm(alarm: AlarmMember) -> wire::AlarmMember {
    wire::AlarmMember { member_id: alarm.member_id, alarm: alarm.kind.to_wire() }
}
