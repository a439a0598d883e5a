//! The format `table`: boxes, with the headings centred and the cells to the right.

use super::{Answer, rows};

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

fn draw(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> =
        rows.map(|row| row.into_iter().map(|cell| cell.trim().to_owned()).collect()).collect();
    let width_of = |(column, heading): (usize, &&str)| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = headings.iter().enumerate().map(width_of).collect();
    let rule = |left, middle: &str, right| {
        let lines: Vec<_> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", lines.join(middle))
    };
    let centred = headings.iter().zip(&widths).map(|(heading, width)| format!("{heading:^width$}"));
    let mut text = rule("┌", "┬", "┐");
    text.push_str(&line(centred));
    text.push_str(&rule("├", "┼", "┤"));
    for row in &rows {
        text.push_str(&line(row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"))));
    }
    text.push_str(&rule("└", "┴", "┘"));
    text
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("│ {} │\n", cells.collect::<Vec<_>>().join(" │ "))
}
