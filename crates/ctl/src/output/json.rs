//! The format `json`: one line, with etcd's field names and zero values left out.

use etched_proto::etcdserverpb::response_op::Response;
use etched_proto::etcdserverpb::{
    AlarmMember, AuthRoleGetResponse, AuthRoleListResponse, AuthUserGetResponse, DeleteRangeResponse,
    HashKvResponse, LeaseTimeToLiveResponse, Member, MemberAddResponse, PutResponse, RangeResponse,
    ResponseHeader, StatusResponse, TxnResponse,
};
use etched_proto::mvccpb::{Event, KeyValue};

use super::{Answer, Health, WatchAnswer};
use crate::text::duration;
use crate::text::quote::base64;

pub(super) fn render(answer: &Answer, hex: bool) -> String {
    let mut line = match answer {
        Answer::Get { response, .. } => get(response),
        Answer::Put(response) => put(response),
        Answer::Del(response) => del(response),
        Answer::Txn(response) => txn(response),
        Answer::Watch(watch) => self::watch(watch),
        Answer::LeaseGrant(response) => flat(response.header)
            .always("ID", response.id)
            .always("TTL", response.ttl)
            .always("Error", string(&response.error)),
        Answer::LeaseRevoke { response, .. } => Object::new().header(response.header),
        Answer::LeaseKeepAlive(response) => {
            flat(response.header).always("ID", response.id).always("TTL", response.ttl)
        }
        Answer::LeaseTimeToLive { response, .. } => lease_time(response),
        Answer::LeaseList(response) => {
            let leases = response.leases.iter().map(|lease| Object::new().always("id", lease.id).finish());
            flat(response.header).always("leases", array(leases))
        }
        Answer::MemberList(response) | Answer::MemberChanged { response, .. } => {
            Object::new().header_in(response.header, hex).members(&response.members, hex)
        }
        Answer::MemberAdd(response) => added(response, hex),
        Answer::MoveLeader { response, .. } => Object::new().header(response.header),
        Answer::Downgrade { response, .. } => {
            Object::new().header(response.header).text("version", &response.version)
        }
        Answer::Health(all) => return format!("{}\n", array(all.iter().map(|one| health(one).finish()))),
        Answer::Status(all) => return statuses(all),
        Answer::HashKv(all) => return hashes(all),
        Answer::Alarm(response) => {
            let alarms = response.alarms.iter().map(|alarm| self::alarm(alarm).finish());
            Object::new().header(response.header).list("alarms", alarms)
        }
        Answer::AuthChanged { header, .. } => Object::new().header(*header),
        Answer::AuthStatus(response) => Object::new()
            .header(response.header)
            .number("enabled", response.enabled)
            .number("authRevision", response.auth_revision),
        Answer::RoleGet { response, .. } => permissions(response),
        Answer::RoleList(AuthRoleListResponse { header, roles })
        | Answer::UserGet { response: AuthUserGetResponse { header, roles }, .. } => {
            Object::new().header(*header).list("roles", roles.iter().map(|role| string(role)))
        }
        Answer::UserList(response) => Object::new()
            .header(response.header)
            .list("users", response.users.iter().map(|user| string(user))),
    }
    .finish();
    line.push('\n');
    line
}

fn lease_time(response: &LeaseTimeToLiveResponse) -> Object {
    flat(response.header)
        .always("id", response.id)
        .always("ttl", response.ttl)
        .always("granted-ttl", response.granted_ttl)
        .always("keys", nullable(response.keys.iter().map(|key| bytes(key))))
}

fn added(response: &MemberAddResponse, hex: bool) -> Object {
    let object = Object::new().header_in(response.header, hex);
    let object = match &response.member {
        None => object,
        Some(added) => object.always("member", member(added, hex).finish()),
    };
    object.members(&response.members, hex)
}

fn permissions(response: &AuthRoleGetResponse) -> Object {
    let permissions = response.perm.iter().map(|permission| {
        Object::new()
            .number("permType", permission.perm_type)
            .bytes("key", &permission.key)
            .bytes("range_end", &permission.range_end)
            .finish()
    });
    Object::new().header(response.header).list("perm", permissions)
}

/// The line of all endpoints' states.
fn statuses(all: &[(String, StatusResponse)]) -> String {
    let one = |(endpoint, response): &(String, StatusResponse)| {
        let status = status(response).finish();
        Object::new().always("Endpoint", string(endpoint)).always("Status", status).finish()
    };
    format!("{}\n", array(all.iter().map(one)))
}

/// The line of all endpoints' hashes.
fn hashes(all: &[(String, HashKvResponse)]) -> String {
    let one = |(endpoint, response): &(String, HashKvResponse)| {
        let hash = Object::new()
            .header(response.header)
            .number("hash", response.hash)
            .number("compact_revision", response.compact_revision)
            .number("hash_revision", response.hash_revision);
        Object::new().always("Endpoint", string(endpoint)).always("HashKV", hash.finish()).finish()
    };
    format!("{}\n", array(all.iter().map(one)))
}

/// A string with the escapes that Go uses, which also keep it harmless inside of HTML.
pub(crate) fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '<' | '>' | '&' | '\0'..' ' | '\u{2028}' | '\u{2029}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn bytes(bytes: &[u8]) -> String {
    format!("\"{}\"", base64(bytes))
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// An array, or `null` where Go has a list without memory.
fn nullable(items: impl Iterator<Item = String>) -> String {
    let mut items = items.peekable();
    if items.peek().is_none() { "null".to_owned() } else { array(items) }
}

/// An object that is being written. Most of its methods leave out zero values.
struct Object {
    text: String,
}

impl Object {
    fn new() -> Self {
        Self { text: "{".to_owned() }
    }

    fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn always(mut self, name: &str, value: impl ToString) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push_str(&format!("\"{name}\":{}", value.to_string()));
        self
    }

    fn number<N: ToString + Default + PartialEq>(self, name: &str, value: N) -> Self {
        if value == N::default() { self } else { self.always(name, value) }
    }

    fn text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.always(name, string(value)) }
    }

    fn bytes(self, name: &str, value: &[u8]) -> Self {
        if value.is_empty() { self } else { self.always(name, bytes(value)) }
    }

    fn list(self, name: &str, items: impl Iterator<Item = String>) -> Self {
        let mut items = items.peekable();
        if items.peek().is_none() { self } else { self.always(name, array(items)) }
    }

    /// An id, which is a string when it is hexadecimal.
    fn id(self, name: &str, id: u64, hex: bool) -> Self {
        if hex { self.always(name, format!("\"{id:x}\"")) } else { self.number(name, id) }
    }

    /// The fields of a header.
    fn ids(self, header: ResponseHeader, hex: bool) -> Self {
        self.id("cluster_id", header.cluster_id, hex)
            .id("member_id", header.member_id, hex)
            .number("revision", header.revision)
            .number("raft_term", header.raft_term)
    }

    fn header(self, header: Option<ResponseHeader>) -> Self {
        self.header_in(header, false)
    }

    fn header_in(self, header: Option<ResponseHeader>, hex: bool) -> Self {
        match header {
            None => self,
            Some(header) => self.always("header", Self::new().ids(header, hex).finish()),
        }
    }

    /// Members; with hexadecimal ids, also if there are none.
    fn members(self, members: &[Member], hex: bool) -> Self {
        let members = members.iter().map(|one| member(one, hex).finish());
        if hex { self.always("members", array(members)) } else { self.list("members", members) }
    }

    fn pair(self, name: &str, kv: Option<&KeyValue>) -> Self {
        match kv {
            None => self,
            Some(kv) => self.always(name, pair(kv)),
        }
    }
}

/// An object that has the fields of a header among its own.
fn flat(header: Option<ResponseHeader>) -> Object {
    Object::new().ids(header.unwrap_or_default(), false)
}

fn pair(kv: &KeyValue) -> String {
    Object::new()
        .bytes("key", &kv.key)
        .number("create_revision", kv.create_revision)
        .number("mod_revision", kv.mod_revision)
        .number("version", kv.version)
        .bytes("value", &kv.value)
        .number("lease", kv.lease)
        .finish()
}

fn get(response: &RangeResponse) -> Object {
    let object = Object::new().header(response.header).list("kvs", response.kvs.iter().map(pair));
    object.number("more", response.more).number("count", response.count)
}

fn put(response: &PutResponse) -> Object {
    Object::new().header(response.header).pair("prev_kv", response.prev_kv.as_ref())
}

fn del(response: &DeleteRangeResponse) -> Object {
    let object = Object::new().header(response.header).number("deleted", response.deleted);
    object.list("prev_kvs", response.prev_kvs.iter().map(pair))
}

fn txn(response: &TxnResponse) -> Object {
    let responses = response.responses.iter().map(|op| {
        let (name, inner) = match &op.response {
            Some(Response::ResponseRange(response)) => ("response_range", get(response)),
            Some(Response::ResponsePut(response)) => ("response_put", put(response)),
            Some(Response::ResponseDeleteRange(response)) => ("response_delete_range", del(response)),
            Some(Response::ResponseTxn(response)) => ("response_txn", txn(response)),
            None => return Object::new().always("Response", "null").finish(),
        };
        Object::new().always("Response", Object::new().always(name, inner.finish()).finish()).finish()
    });
    Object::new().header(response.header).number("succeeded", response.succeeded).list("responses", responses)
}

fn watch(watch: &WatchAnswer) -> Object {
    let header = flat(watch.header).finish();
    let event = |event: &Event| {
        let object = Object::new().number("type", event.r#type);
        object.pair("kv", event.kv.as_ref()).pair("prev_kv", event.prev_kv.as_ref()).finish()
    };
    Object::new()
        .always("Header", header)
        .always("Events", nullable(watch.events.iter().map(event)))
        .always("CompactRevision", watch.compact_revision)
        .always("Canceled", watch.canceled)
        .always("Created", false)
        .always("CancelReason", "\"\"")
}

fn member(member: &Member, hex: bool) -> Object {
    Object::new()
        .id("ID", member.id, hex)
        .text("name", &member.name)
        .list("peerURLs", member.peer_ur_ls.iter().map(|url| string(url)))
        .list("clientURLs", member.client_ur_ls.iter().map(|url| string(url)))
        .number("isLearner", member.is_learner)
}

fn health(health: &Health) -> Object {
    Object::new()
        .always("endpoint", string(&health.endpoint))
        .always("health", health.healthy)
        .always("took", string(&duration::format(health.took)))
        .text("error", &health.error)
}

fn status(status: &StatusResponse) -> Object {
    let object = Object::new()
        .header(status.header)
        .text("version", &status.version)
        .number("dbSize", status.db_size)
        .number("leader", status.leader)
        .number("raftIndex", status.raft_index)
        .number("raftTerm", status.raft_term)
        .number("raftAppliedIndex", status.raft_applied_index)
        .list("errors", status.errors.iter().map(|error| string(error)))
        .number("dbSizeInUse", status.db_size_in_use)
        .number("isLearner", status.is_learner)
        .text("storageVersion", &status.storage_version)
        .number("dbSizeQuota", status.db_size_quota);
    match &status.downgrade_info {
        None => object,
        Some(downgrade) => {
            let inner = Object::new()
                .number("enabled", downgrade.enabled)
                .text("targetVersion", &downgrade.target_version);
            object.always("downgradeInfo", inner.finish())
        }
    }
}

fn alarm(alarm: &AlarmMember) -> Object {
    Object::new().number("memberID", alarm.member_id).number("alarm", alarm.alarm)
}
