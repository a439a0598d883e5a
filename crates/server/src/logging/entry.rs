//! Requests and entries of the log as the text that log lines show: keys, never values or passwords.

use std::fmt::Write as _;

use bytes::Bytes;
use etched_proto::etcdserverpb as pb;
use pb::compare::TargetUnion;
use pb::request_op::Request;
use prost::Message as _;

/// Bytes of a key that a line shows.
const KEY_BYTES_MAX: usize = 256;
/// Operations of a transaction that a line shows.
const OPERATIONS_MAX: usize = 16;

/// The entry's text, in the form of etcd's lines.
pub(crate) fn entry(bytes: &Bytes) -> String {
    let Ok(request) = pb::InternalRaftRequest::decode(bytes.clone()) else {
        return "an entry that cannot be read".to_owned();
    };
    let id = request.header.as_ref().map_or(0, |header| header.id);
    let id = if id == 0 { request.id } else { id };
    if let Some(put) = &request.put {
        return format!("header:<ID:{id}> put:<{}>", put_text(put));
    }
    if let Some(txn) = &request.txn {
        return format!("header:<ID:{id}> txn:<{}>", txn_text(txn));
    }
    if let Some(grant) = &request.lease_grant {
        return format!("header:<ID:{id}> lease_grant:<ttl:{}-second id:{:016x}>", grant.ttl, grant.id);
    }
    if let Some(revoke) = &request.lease_revoke {
        return format!("header:<ID:{id}> lease_revoke:<id:{:016x}>", revoke.id);
    }
    format!("header:{{ID:{id}}} {}", other(&request))
}

/// Those that etcd writes in the plain text form.
fn other(request: &pb::InternalRaftRequest) -> String {
    if let Some(delete) = &request.delete_range {
        return format!("delete_range:{{{}}}", delete_text(delete));
    }
    if let Some(compaction) = &request.compaction {
        let physical = if compaction.physical { " physical:true" } else { "" };
        return format!("compaction:{{revision:{}{physical}}}", compaction.revision);
    }
    if let Some(alarm) = &request.alarm {
        return format!(
            "alarm:{{action:{} memberID:{} alarm:{}}}",
            alarm.action, alarm.member_id, alarm.alarm
        );
    }
    if let Some(set) = &request.cluster_version_set {
        return format!("cluster_version_set:{{ver:{}}}", quoted(set.ver.as_bytes()));
    }
    if let Some(set) = &request.cluster_member_attr_set {
        return format!("cluster_member_attr_set:{{member_ID:{}}}", set.member_id);
    }
    if request.lease_checkpoint.is_some() {
        return "lease_checkpoint:{}".to_owned();
    }
    if request.downgrade_info_set.is_some() {
        return "downgrade_info_set:{}".to_owned();
    }
    // What is about users and roles is not for the log.
    "an operation on users and roles".to_owned()
}

fn put_text(put: &pb::PutRequest) -> String {
    let mut text = format!("key:{} value_size:{} ", quoted(&put.key), put.value.len());
    push_number(&mut text, "lease", put.lease);
    for (name, flag) in
        [("prev_kv", put.prev_kv), ("ignore_value", put.ignore_value), ("ignore_lease", put.ignore_lease)]
    {
        if flag {
            push(&mut text, format_args!("{name}:true "));
        }
    }
    text
}

fn delete_text(delete: &pb::DeleteRangeRequest) -> String {
    let mut text = format!("key:{}", quoted(&delete.key));
    if !delete.range_end.is_empty() {
        push(&mut text, format_args!(" range_end:{}", quoted(&delete.range_end)));
    }
    if delete.prev_kv {
        text.push_str(" prev_kv:true");
    }
    text
}

fn range_text(range: &pb::RangeRequest) -> String {
    range_parts(&range.key, &range.range_end, range.limit, range.revision, range.serializable)
}

/// A range by its parts.
pub(crate) fn range_parts(
    key: &[u8],
    range_end: &[u8],
    limit: i64,
    revision: i64,
    serializable: bool,
) -> String {
    let mut text = format!("key:{}", quoted(key));
    if !range_end.is_empty() {
        push(&mut text, format_args!(" range_end:{}", quoted(range_end)));
    }
    for (name, number) in [("limit", limit), ("revision", revision)] {
        if number != 0 {
            push(&mut text, format_args!(" {name}:{number}"));
        }
    }
    if serializable {
        text.push_str(" serializable:true");
    }
    text
}

fn txn_text(txn: &pb::TxnRequest) -> String {
    let compares: Vec<String> = txn.compare.iter().take(OPERATIONS_MAX).map(compare_text).collect();
    format!(
        "compare:<{}> success:<{}> failure:<{}>",
        compares.join(" "),
        operations_text(&txn.success),
        operations_text(&txn.failure)
    )
}

fn compare_text(compare: &pb::Compare) -> String {
    let target = match &compare.target_union {
        Some(TargetUnion::Version(version)) => format!("version:{version}"),
        Some(TargetUnion::CreateRevision(revision)) => format!("create_revision:{revision}"),
        Some(TargetUnion::ModRevision(revision)) => format!("mod_revision:{revision}"),
        Some(TargetUnion::Value(value)) => format!("value_size:{}", value.len()),
        Some(TargetUnion::Lease(lease)) => format!("lease:{lease}"),
        None => String::new(),
    };
    format!("key:{} {target}", quoted(&compare.key))
}

fn operations_text(operations: &[pb::RequestOp]) -> String {
    let texts: Vec<String> = operations
        .iter()
        .take(OPERATIONS_MAX)
        .map(|operation| match &operation.request {
            Some(Request::RequestPut(put)) => format!("request_put:<{}>", put_text(put)),
            Some(Request::RequestRange(range)) => format!("request_range:{{{}}}", range_text(range)),
            Some(Request::RequestDeleteRange(delete)) => {
                format!("request_delete_range:{{{}}}", delete_text(delete))
            }
            Some(Request::RequestTxn(_)) => "request_txn:<...>".to_owned(),
            None => String::new(),
        })
        .collect();
    let more = if operations.len() > OPERATIONS_MAX { " ..." } else { "" };
    format!("{}{more}", texts.join(" "))
}

/// A key between quotes, with escapes for what cannot be printed; long ones are cut.
fn quoted(key: &[u8]) -> String {
    let shown = &key[..key.len().min(KEY_BYTES_MAX)];
    let more = if shown.len() < key.len() { "..." } else { "" };
    format!("\"{}{more}\"", shown.escape_ascii())
}

fn push_number(text: &mut String, name: &str, number: i64) {
    if number != 0 {
        push(text, format_args!("{name}:{number} "));
    }
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &pb::InternalRaftRequest) -> String {
        entry(&request.encode_to_vec().into())
    }

    fn empty() -> pb::InternalRaftRequest {
        let header = Some(pb::RequestHeader { id: 9, ..Default::default() });
        pb::InternalRaftRequest { header, ..Default::default() }
    }

    #[test]
    fn entries_read_as_in_the_lines_of_etcd() {
        let put = pb::PutRequest { key: "foo".into(), value: "bar".into(), lease: 3, ..Default::default() };
        let request = pb::InternalRaftRequest { put: Some(put.clone()), ..empty() };
        assert_eq!(text(&request), r#"header:<ID:9> put:<key:"foo" value_size:3 lease:3 >"#);
        let delete = pb::DeleteRangeRequest { key: "foo".into(), ..Default::default() };
        let request = pb::InternalRaftRequest { delete_range: Some(delete), ..empty() };
        assert_eq!(text(&request), r#"header:{ID:9} delete_range:{key:"foo"}"#);
        let put = pb::PutRequest { lease: 0, ..put };
        let txn = pb::TxnRequest {
            compare: vec![pb::Compare {
                key: "foo".into(),
                target_union: Some(TargetUnion::Version(1)),
                ..Default::default()
            }],
            success: vec![
                pb::RequestOp { request: Some(Request::RequestPut(put)) },
                pb::RequestOp {
                    request: Some(Request::RequestRange(pb::RangeRequest {
                        key: "foo".into(),
                        ..Default::default()
                    })),
                },
            ],
            failure: vec![],
        };
        let request = pb::InternalRaftRequest { txn: Some(txn), ..empty() };
        let expected = "header:<ID:9> txn:<compare:<key:\"foo\" version:1> \
                        success:<request_put:<key:\"foo\" value_size:3 > request_range:{key:\"foo\"}> failure:<>>";
        assert_eq!(text(&request), expected);
    }

    #[test]
    fn secrets_are_not_shown_and_long_keys_are_cut() {
        let add =
            pb::AuthUserAddRequest { name: "u".into(), password: "secret".into(), ..Default::default() };
        let request = pb::InternalRaftRequest { auth_user_add: Some(add), ..empty() };
        assert!(!text(&request).contains("secret"));
        let put = pb::PutRequest { key: vec![b'k'; 5000].into(), ..Default::default() };
        assert!(text(&pb::InternalRaftRequest { put: Some(put), ..empty() }).len() < 400);
        assert_eq!(entry(&Bytes::from_static(b"\xff")), "an entry that cannot be read");
    }
}
