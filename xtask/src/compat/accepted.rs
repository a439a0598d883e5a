//! Differences between etcd and etched that are known and wanted, each with its reason.
//! docs/compat.md tells the same to users.
//!
//! A difference is either a kind of request that is not generated, because etcd's own behaviour is a defect that
//! nobody should copy, or a rule by which two answers count as equal.

use bytes::Bytes;
use etched_proto::etcdserverpb as pb;
use pb::request_op::Request as Op;

use super::request::{Answer, Outcome, Request};

/// A rule by which different answers are accepted.
struct Accepted {
    /// Why; part of the documentation.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for readers, and compared with docs/compat.md"))]
    reason: &'static str,
    applies: fn(&Request, &Outcome, &Outcome, &Past) -> bool,
}

/// What happened before that matters for what may differ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    /// Both servers were killed and started again.
    pub(super) restarted: bool,
}

const ACCEPTED: [Accepted; 2] = [
    Accepted {
        reason: "The text for a method that does not exist is the gRPC library's; the code is the same.",
        applies: |request, reference, ours, _| {
            let code = |outcome: &Outcome| outcome.as_ref().err().map(|refused| refused.code);
            matches!(request, Request::Unknown(_)) && code(reference) == code(ours)
        },
    },
    Accepted {
        reason: "etcd forgets the hashes of compactions when it ends; etched makes those again that its log still holds.",
        applies: |request, reference, ours, past| {
            let (Request::HashKv(asked), Ok(Answer::HashKv(ours))) = (request, ours) else { return false };
            // A hash of a compaction is told by the compaction before it.
            let is_of_compaction =
                ours.hash_revision == asked.revision && ours.compact_revision < asked.revision;
            let is_fresh = match reference {
                Ok(Answer::HashKv(reference)) => reference.compact_revision >= asked.revision,
                Ok(_) => false,
                Err(refused) => refused.message.ends_with("has been compacted"),
            };
            past.restarted && is_of_compaction && is_fresh
        },
    },
];

/// Whether two different outcomes are as they should be.
pub(super) fn is_accepted(request: &Request, reference: &Outcome, ours: &Outcome, past: &Past) -> bool {
    ACCEPTED.iter().any(|accepted| (accepted.applies)(request, reference, ours, past))
}

/// A streamed range without an order, but with a target: etcd sorts within each part, and may skip or repeat keys.
pub(super) fn streamable(mut range: pb::RangeRequest) -> pb::RangeRequest {
    if range.sort_order == 0 && (1..=4).contains(&range.sort_target) {
        range.sort_target = 0;
    }
    range
}

/// A range that is sorted by something that several keys may share: beyond a dozen keys etcd's order of equals is
/// that of Go's unstable sort.
pub(super) fn stably_sorted(mut range: pb::RangeRequest) -> pb::RangeRequest {
    if (1..=4).contains(&range.sort_target) && !range.range_end.is_empty() {
        range.range_end = "d".into();
    }
    range
}

/// An update of a member to URLs that nobody can dial: etcd takes them, and all other members crash when they dial.
pub(super) fn usable(mut update: pb::MemberUpdateRequest) -> pb::MemberUpdateRequest {
    let is_usable = |url: &String| url.starts_with("http://");
    if update.peer_ur_ls.is_empty() || !update.peer_ur_ls.iter().all(is_usable) {
        // Of an unknown member, which is what both say first.
        update.id = 1;
    }
    update
}

/// A range whose end is not behind its start holds no key.
/// Whether somebody may ask for it follows in etcd from the shape of the tree that holds his rights.
pub(super) fn upright(mut request: Request) -> Request {
    if let Request::Range(range) | Request::RangeStream(range) = &mut request {
        set_upright(&range.key, &mut range.range_end);
    } else if let Request::DeleteRange(delete) = &mut request {
        set_upright(&delete.key, &mut delete.range_end);
    } else if let Request::Txn(txn) = &mut request {
        set_txn_upright(txn);
    }
    request
}

fn set_txn_upright(txn: &mut pb::TxnRequest) {
    for compare in &mut txn.compare {
        set_upright(&compare.key, &mut compare.range_end);
    }
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Op::RequestRange(range)) => set_upright(&range.key, &mut range.range_end),
            Some(Op::RequestDeleteRange(delete)) => set_upright(&delete.key, &mut delete.range_end),
            Some(Op::RequestTxn(txn)) => set_txn_upright(txn),
            Some(Op::RequestPut(_)) | None => {}
        }
    }
}

fn set_upright(start: &Bytes, end: &mut Bytes) {
    if end.as_ref() != b"\0" && *end <= *start {
        end.clear();
    }
}

/// A transaction that deletes up to the end of the key space and puts with `ignore_value` or `ignore_lease`:
/// etcd does not see that the two meet, and all members crash.
pub(super) fn harmless(mut txn: pb::TxnRequest) -> pb::TxnRequest {
    if keeps_something(&txn) {
        close_deletes(&mut txn);
    }
    txn
}

fn keeps_something(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestPut(put)) => put.ignore_value || put.ignore_lease,
        Some(Op::RequestTxn(txn)) => keeps_something(txn),
        Some(Op::RequestRange(_) | Op::RequestDeleteRange(_)) | None => false,
    })
}

fn close_deletes(txn: &mut pb::TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Op::RequestDeleteRange(delete)) if delete.range_end.as_ref() == b"\0" => {
                delete.range_end = "\u{7f}".into();
            }
            Some(Op::RequestTxn(txn)) => close_deletes(txn),
            Some(Op::RequestRange(_) | Op::RequestPut(_) | Op::RequestDeleteRange(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_accepted_difference_is_documented() {
        let path = crate::workspace::root().join("docs/compat.md");
        let text = std::fs::read_to_string(path).unwrap();
        for accepted in &ACCEPTED {
            assert!(text.contains(accepted.reason), "docs/compat.md does not say: {}", accepted.reason);
        }
    }

    #[test]
    fn a_transaction_that_crashes_etcd_is_defused() {
        let put = pb::PutRequest { ignore_value: true, ..Default::default() };
        let delete = pb::DeleteRangeRequest { range_end: "\0".into(), ..Default::default() };
        let op = |request| pb::RequestOp { request: Some(request) };
        let inner =
            pb::TxnRequest { failure: vec![op(Op::RequestDeleteRange(delete))], ..Default::default() };
        let success = vec![op(Op::RequestPut(put)), op(Op::RequestTxn(inner))];
        let defused = harmless(pb::TxnRequest { success, ..Default::default() });
        let Some(Op::RequestTxn(inner)) = &defused.success[1].request else { panic!("the order is kept") };
        let Some(Op::RequestDeleteRange(delete)) = &inner.failure[0].request else { panic!("kept too") };
        assert_eq!(delete.range_end, "\u{7f}");
    }
}
