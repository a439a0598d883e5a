//! What may differ between two correct servers is made equal before answers are compared: ids that a server draws,
//! times, sizes, and positions in the Raft log.

use etched_proto::etcdserverpb as pb;
use etched_proto::mvccpb::KeyValue;
use pb::response_op::Response as OpDone;

use super::request::{Answer, AuthAnswer, Outcome};

/// Seconds that remaining times of leases may differ.
const TTL_SLACK: i64 = 3;

/// Up to so many elements Go's sort keeps the order of equals: etcd sorts the rights of a role by their first key only.
const STABLY_SORTED_MAX: usize = 12;

/// Ids that servers drew themselves: each pair is one thing.
#[derive(Debug)]
pub(super) struct Pairs<Id> {
    pairs: Vec<(Id, Id)>,
}

/// The ids of leases.
pub(super) type Leases = Pairs<i64>;
/// The ids of members.
pub(super) type Members = Pairs<u64>;

impl<Id> Default for Pairs<Id> {
    fn default() -> Self {
        Self { pairs: Vec::new() }
    }
}

impl<Id: Copy + Eq> Pairs<Id> {
    /// Remembers that the reference's `reference` is our `ours`.
    pub(super) fn add(&mut self, reference: Id, ours: Id) {
        self.pairs.push((reference, ours));
    }

    pub(super) fn to_ours(&self, id: Id) -> Id {
        self.pairs.iter().find(|(reference, _)| *reference == id).map_or(id, |(_, ours)| *ours)
    }

    pub(super) fn to_reference(&self, id: Id) -> Id {
        self.pairs.iter().find(|(_, ours)| *ours == id).map_or(id, |(reference, _)| *reference)
    }
}

/// What comparing needs to know beside the two answers.
pub(super) struct Context<'a> {
    pub(super) leases: &'a Leases,
    pub(super) members: &'a Members,
    /// Whether hashes over stored values can be equal: not if values carry drawn lease ids.
    pub(super) hashes_comparable: bool,
}

/// Makes the two outcomes equal where they may differ.
pub(super) fn normalise(reference: &mut Outcome, ours: &mut Outcome, context: &Context<'_>) {
    if let (Ok(Answer::LeaseTimeToLive(a)), Ok(Answer::LeaseTimeToLive(b))) = (&mut *reference, &mut *ours)
        && a.ttl.abs_diff(b.ttl) <= TTL_SLACK.unsigned_abs()
    {
        // An unknown lease has -1 exactly, which is no time.
        b.ttl = if a.granted_ttl == 0 || b.granted_ttl == 0 { b.ttl } else { a.ttl };
    }
    if let (Ok(Answer::HashKv(a)), Ok(Answer::HashKv(b))) = (&mut *reference, &mut *ours)
        && !context.hashes_comparable
    {
        b.hash = a.hash;
    }
    if let Ok(answer) = ours {
        rename(answer, &|id| context.leases.to_reference(id));
        for member in members_mut(answer) {
            member.id = context.members.to_reference(member.id);
        }
    }
    for answer in [reference, ours].into_iter().flatten() {
        flatten(answer);
    }
}

/// All members that an answer names.
fn members_mut(answer: &mut Answer) -> Vec<&mut pb::Member> {
    match answer {
        Answer::MemberList(list) => list.members.iter_mut().collect(),
        Answer::MemberAdd(added) => added.member.iter_mut().chain(&mut added.members).collect(),
        Answer::MemberUpdate(updated) => updated.members.iter_mut().collect(),
        Answer::MemberRemove(removed) => removed.members.iter_mut().collect(),
        Answer::MemberPromote(promoted) => promoted.members.iter_mut().collect(),
        Answer::Range(_)
        | Answer::RangeStream(_)
        | Answer::Put(_)
        | Answer::DeleteRange(_)
        | Answer::Txn(_)
        | Answer::Compact(_)
        | Answer::LeaseGrant(_)
        | Answer::LeaseRevoke(_)
        | Answer::LeaseKeepAlive(_)
        | Answer::LeaseTimeToLive(_)
        | Answer::LeaseLeases(_)
        | Answer::Status(_)
        | Answer::Hash(_)
        | Answer::HashKv(_)
        | Answer::Defragment(_)
        | Answer::Alarm(_)
        | Answer::MoveLeader(_)
        | Answer::Downgrade(_)
        | Answer::Auth(_)
        | Answer::Health(_) => Vec::new(),
    }
}

/// Replaces our drawn lease ids by the reference's.
fn rename(answer: &mut Answer, name: &dyn Fn(i64) -> i64) {
    match answer {
        Answer::Range(range) | Answer::RangeStream(range) => rename_kvs(&mut range.kvs, name),
        Answer::Put(put) => rename_kvs(put.prev_kv.as_mut_slice(), name),
        Answer::DeleteRange(delete) => rename_kvs(&mut delete.prev_kvs, name),
        Answer::Txn(txn) => rename_in_txn(txn, name),
        Answer::LeaseGrant(grant) => grant.id = name(grant.id),
        Answer::LeaseKeepAlive(Some(keep)) => keep.id = name(keep.id),
        Answer::LeaseTimeToLive(ttl) => ttl.id = name(ttl.id),
        Answer::LeaseLeases(list) => list.leases.iter_mut().for_each(|lease| lease.id = name(lease.id)),
        Answer::Compact(_)
        | Answer::LeaseRevoke(_)
        | Answer::LeaseKeepAlive(None)
        | Answer::Status(_)
        | Answer::Hash(_)
        | Answer::HashKv(_)
        | Answer::Defragment(_)
        | Answer::Alarm(_)
        | Answer::MemberList(_)
        | Answer::MemberAdd(_)
        | Answer::MemberUpdate(_)
        | Answer::MemberRemove(_)
        | Answer::MemberPromote(_)
        | Answer::MoveLeader(_)
        | Answer::Downgrade(_)
        | Answer::Auth(_)
        | Answer::Health(_) => {}
    }
}

pub(super) fn rename_kvs(kvs: &mut [KeyValue], name: &dyn Fn(i64) -> i64) {
    kvs.iter_mut().for_each(|kv| kv.lease = name(kv.lease));
}

fn rename_in_txn(txn: &mut pb::TxnResponse, name: &dyn Fn(i64) -> i64) {
    for op in &mut txn.responses {
        match &mut op.response {
            Some(OpDone::ResponseRange(range)) => rename_kvs(&mut range.kvs, name),
            Some(OpDone::ResponsePut(put)) => rename_kvs(put.prev_kv.as_mut_slice(), name),
            Some(OpDone::ResponseDeleteRange(delete)) => rename_kvs(&mut delete.prev_kvs, name),
            Some(OpDone::ResponseTxn(txn)) => rename_in_txn(txn, name),
            None => {}
        }
    }
}

/// Removes what tells only of time, place and layout.
fn flatten(answer: &mut Answer) {
    match answer {
        Answer::Range(range) | Answer::RangeStream(range) => flatten_header(&mut range.header),
        Answer::Put(put) => flatten_header(&mut put.header),
        Answer::DeleteRange(delete) => flatten_header(&mut delete.header),
        Answer::Txn(txn) => flatten_header(&mut txn.header),
        Answer::Compact(compact) => flatten_header(&mut compact.header),
        Answer::LeaseGrant(grant) => flatten_header(&mut grant.header),
        Answer::LeaseRevoke(revoke) => flatten_header(&mut revoke.header),
        Answer::LeaseKeepAlive(Some(keep)) => flatten_header(&mut keep.header),
        Answer::LeaseTimeToLive(ttl) => {
            flatten_header(&mut ttl.header);
            ttl.keys.sort();
        }
        Answer::LeaseLeases(list) => {
            flatten_header(&mut list.header);
            list.leases.sort_by_key(|lease| lease.id);
        }
        Answer::Status(status) => flatten_status(status),
        Answer::Hash(hash) => {
            flatten_header(&mut hash.header);
            hash.hash = 0;
        }
        Answer::HashKv(hash) => flatten_header(&mut hash.header),
        Answer::Defragment(defragment) => flatten_header(&mut defragment.header),
        Answer::Alarm(alarm) => {
            flatten_header(&mut alarm.header);
            // etcd lists them in the order of a Go map.
            alarm.alarms.sort_by_key(|alarm| (alarm.member_id, alarm.alarm));
        }
        Answer::MemberList(list) => flatten_members(&mut list.header, &mut list.members),
        Answer::MemberAdd(added) => flatten_members(&mut added.header, &mut added.members),
        Answer::MemberUpdate(updated) => flatten_members(&mut updated.header, &mut updated.members),
        Answer::MemberRemove(removed) => flatten_members(&mut removed.header, &mut removed.members),
        Answer::MemberPromote(promoted) => flatten_members(&mut promoted.header, &mut promoted.members),
        Answer::MoveLeader(moved) => flatten_header(&mut moved.header),
        Answer::Downgrade(downgrade) => flatten_header(&mut downgrade.header),
        Answer::Auth(answer) => {
            flatten_header(answer.header());
            if let AuthAnswer::Authenticated(answer) = answer {
                answer.token = if answer.token.is_empty() { "none" } else { "a token" }.to_owned();
            }
            if let AuthAnswer::Role(role) = answer
                && role.perm.len() > STABLY_SORTED_MAX
            {
                role.perm.sort_by(|a, b| (&a.key, &a.range_end).cmp(&(&b.key, &b.range_end)));
            }
        }
        Answer::LeaseKeepAlive(None) | Answer::Health(_) => {}
    }
}

/// Members are listed by their ids, which differ.
fn flatten_members(header: &mut Option<pb::ResponseHeader>, members: &mut [pb::Member]) {
    flatten_header(header);
    members.sort_by_key(|member| member.id);
}

/// Terms of a header may differ, but a header that has none must have none on both sides.
pub(super) fn flatten_header(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        header.raft_term = header.raft_term.min(1);
    }
}

fn flatten_status(status: &mut pb::StatusResponse) {
    flatten_header(&mut status.header);
    status.db_size = status.db_size.min(1);
    status.db_size_in_use = status.db_size_in_use.min(1);
    status.raft_index = status.raft_index.min(1);
    status.raft_applied_index = status.raft_applied_index.min(1);
    status.raft_term = status.raft_term.min(1);
    // Go's text form of a message has one or two blanks between fields, as it pleases.
    for error in &mut status.errors {
        *error = error.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    }
    status.errors.sort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_lease_ids_are_compared_by_their_pair() {
        let mut leases = Leases::default();
        leases.add(100, 200);
        let members = Members::default();
        let context = Context { leases: &leases, members: &members, hashes_comparable: true };
        let kv = |lease| KeyValue { key: "a".into(), lease, ..Default::default() };
        let answer =
            |lease| Ok(Answer::Range(pb::RangeResponse { kvs: vec![kv(lease)], ..Default::default() }));
        let (mut reference, mut ours) = (answer(100), answer(200));
        normalise(&mut reference, &mut ours, &context);
        assert_eq!(reference, ours);
        let (mut reference, mut ours) = (answer(100), answer(201));
        normalise(&mut reference, &mut ours, &context);
        assert_ne!(reference, ours);
    }

    #[test]
    fn remaining_times_may_differ_a_little_but_a_missing_lease_not() {
        let (leases, members) = (Leases::default(), Members::default());
        let context = Context { leases: &leases, members: &members, hashes_comparable: true };
        let answer = |ttl, granted_ttl| {
            Ok(Answer::LeaseTimeToLive(pb::LeaseTimeToLiveResponse {
                ttl,
                granted_ttl,
                ..Default::default()
            }))
        };
        for (a, b, equal) in [((9, 9), (8, 9), true), ((9, 9), (5, 9), false), ((-1, 0), (0, 9), false)] {
            let (mut reference, mut ours) = (answer(a.0, a.1), answer(b.0, b.1));
            normalise(&mut reference, &mut ours, &context);
            assert_eq!(reference == ours, equal, "{a:?} {b:?}");
        }
    }
}
