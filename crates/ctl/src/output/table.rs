//! The format `table`: boxes, with the headings centred and the cells to the right.

use super::{Answer, rows};
use crate::text::boxes::draw;

const MEMBERS: &[&str] = &["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
const HEALTH: &[&str] = &["ENDPOINT", "HEALTH", "TOOK", "ERROR"];
const HASH_KV: &[&str] = &["ENDPOINT", "HASH", "HASH REVISION"];
const STATUS: &[&str] = &[
    "ENDPOINT",
    "ID",
    "VERSION",
    "STORAGE VERSION",
    "DB SIZE",
    "IN USE",
    "PERCENTAGE NOT IN USE",
    "QUOTA",
    "IS LEADER",
    "IS LEARNER",
    "RAFT TERM",
    "RAFT INDEX",
    "RAFT APPLIED INDEX",
    "ERRORS",
    "DOWNGRADE TARGET VERSION",
    "DOWNGRADE ENABLED",
];

/// The table; `None` for answers that have none.
pub(super) fn render(answer: &Answer) -> Option<String> {
    match answer {
        Answer::MemberList(response) => Some(draw(MEMBERS, response.members.iter().map(rows::member))),
        Answer::Health(all) => Some(draw(HEALTH, all.iter().map(rows::health))),
        Answer::Status(all) => Some(draw(STATUS, all.iter().map(rows::status))),
        Answer::HashKv(all) => Some(draw(HASH_KV, all.iter().map(rows::hash_kv))),
        Answer::Get { .. }
        | Answer::Put(_)
        | Answer::Del(_)
        | Answer::Txn(_)
        | Answer::Watch(_)
        | Answer::LeaseGrant(_)
        | Answer::LeaseRevoke { .. }
        | Answer::LeaseKeepAlive(_)
        | Answer::LeaseTimeToLive { .. }
        | Answer::LeaseList(_)
        | Answer::MemberAdd(_)
        | Answer::MemberChanged { .. }
        | Answer::MoveLeader { .. }
        | Answer::Downgrade { .. }
        | Answer::Alarm(_)
        | Answer::AuthChanged { .. }
        | Answer::AuthStatus(_)
        | Answer::RoleGet { .. }
        | Answer::RoleList(_)
        | Answer::UserGet { .. }
        | Answer::UserList(_) => None,
    }
}
