//! The format `simple`: keys and values as they are, everything else in a line.

use bytes::Bytes;
use etched_client::Keys;
use etched_proto::authpb::Permission;
use etched_proto::authpb::permission::Type;
use etched_proto::etcdserverpb::response_op::Response;
use etched_proto::etcdserverpb::{
    AlarmMember, AlarmType, DeleteRangeResponse, LeaseTimeToLiveResponse, MemberAddResponse, PutResponse,
    RangeResponse, ResponseHeader, TxnResponse,
};
use etched_proto::mvccpb::event::EventType;
use etched_proto::mvccpb::{Event, KeyValue};

use super::{Answer, DowngradeStep, Health, MemberChange, rows};
use crate::text::duration;
use crate::text::quote::hex_escape;

pub(super) fn render(answer: &Answer, hex: bool) -> Vec<u8> {
    let mut page = Page { bytes: Vec::new(), hex };
    match answer {
        Answer::Get { response, values_only: false } => page.get(response),
        Answer::Get { response, values_only: true } => {
            response.kvs.iter().for_each(|kv| page.data(&kv.value))
        }
        Answer::Put(response) => page.put(response),
        Answer::Del(response) => page.del(response),
        Answer::Txn(response) => page.txn(response),
        Answer::Watch(watch) => watch.events.iter().for_each(|event| page.event(event)),
        Answer::LeaseGrant(response) => {
            page.line(&format!("lease {:016x} granted with TTL({}s)", response.id, response.ttl));
        }
        Answer::LeaseRevoke { id, .. } => page.line(&format!("lease {id:016x} revoked")),
        Answer::LeaseKeepAlive(response) => {
            page.line(&format!("lease {:016x} keepalived with TTL({})", response.id, response.ttl));
        }
        Answer::LeaseTimeToLive { response, with_keys } => page.time_to_live(response, *with_keys),
        Answer::LeaseList(response) => {
            page.line(&format!("found {} leases", response.leases.len()));
            response.leases.iter().for_each(|lease| page.line(&format!("{:016x}", lease.id)));
        }
        Answer::MemberList(response) => {
            response.members.iter().for_each(|member| page.row(&rows::member(member)))
        }
        Answer::MemberAdd(response) => page.member_added(response),
        Answer::MemberChanged { change, id, response } => {
            let done = match change {
                MemberChange::Removed => "removed from",
                MemberChange::Updated => "updated in",
                MemberChange::Promoted => "promoted in",
            };
            page.member_changed(*id, done, response.header);
        }
        Answer::MoveLeader { leader, target, .. } => {
            page.line(&format!("Leadership transferred from {leader:x} to {target:x}"));
        }
        Answer::Downgrade { step, response } => {
            let step = match step {
                DowngradeStep::Validate => "validate",
                DowngradeStep::Enable => "enable",
                DowngradeStep::Cancel => "cancel",
            };
            page.line(&format!("Downgrade {step} success, cluster version {}", response.version));
        }
        Answer::Health(all) => all.iter().for_each(|health| page.health(health)),
        Answer::Status(all) => all.iter().for_each(|status| page.row(&rows::status(status))),
        Answer::HashKv(all) => all.iter().for_each(|hash| page.row(&rows::hash_kv(hash))),
        Answer::Alarm(response) => response.alarms.iter().for_each(|alarm| page.line(&alarm_text(alarm))),
        Answer::AuthChanged { said, .. } => page.line(said),
        Answer::AuthStatus(response) => {
            page.line(&format!("Authentication Status: {}", response.enabled));
            page.line(&format!("AuthRevision: {}", response.auth_revision));
        }
        Answer::RoleGet { role, response } => page.role(role, &response.perm),
        Answer::RoleList(response) => response.roles.iter().for_each(|role| page.line(role)),
        Answer::UserGet { user, response } => {
            page.line(&format!("User: {user}"));
            let roles: String = response.roles.iter().map(|role| format!(" {role}")).collect();
            page.line(&format!("Roles:{roles}"));
        }
        Answer::UserList(response) => response.users.iter().for_each(|user| page.line(user)),
    }
    page.bytes
}

/// What is printed on standard error about an endpoint that is not well.
pub(crate) fn unhealthy(health: &Health) -> String {
    format!("{} is unhealthy: failed to commit proposal: {}", health.endpoint, health.error)
}

/// An alarm's name.
pub(super) fn alarm_name(alarm: i32) -> String {
    AlarmType::try_from(alarm).map_or_else(|_| alarm.to_string(), |alarm| alarm.as_str_name().to_owned())
}

fn alarm_text(alarm: &AlarmMember) -> String {
    let member = (alarm.member_id != 0).then(|| format!("memberID:{}", alarm.member_id));
    let kind = (alarm.alarm != 0).then(|| format!("alarm:{}", alarm_name(alarm.alarm)));
    member.into_iter().chain(kind).collect::<Vec<_>>().join(" ")
}

struct Page {
    bytes: Vec<u8>,
    hex: bool,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'\n');
    }

    fn row(&mut self, cells: &[String]) {
        self.line(&cells.join(", "));
    }

    /// A key or a value.
    fn data(&mut self, data: &[u8]) {
        if self.hex {
            self.line(&hex_escape(data));
        } else {
            self.bytes.extend_from_slice(data);
            self.bytes.push(b'\n');
        }
    }

    fn pair(&mut self, kv: &KeyValue) {
        self.data(&kv.key);
        self.data(&kv.value);
    }

    fn get(&mut self, response: &RangeResponse) {
        response.kvs.iter().for_each(|kv| self.pair(kv));
    }

    fn put(&mut self, response: &PutResponse) {
        self.line("OK");
        response.prev_kv.iter().for_each(|kv| self.pair(kv));
    }

    fn del(&mut self, response: &DeleteRangeResponse) {
        self.line(&response.deleted.to_string());
        response.prev_kvs.iter().for_each(|kv| self.pair(kv));
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.line(if response.succeeded { "SUCCESS" } else { "FAILURE" });
        for op in &response.responses {
            self.line("");
            match &op.response {
                Some(Response::ResponseRange(response)) => self.get(response),
                Some(Response::ResponsePut(response)) => self.put(response),
                Some(Response::ResponseDeleteRange(response)) => self.del(response),
                Some(Response::ResponseTxn(response)) => self.txn(response),
                None => {}
            }
        }
    }

    fn event(&mut self, event: &Event) {
        self.line(event_name(event));
        event.prev_kv.iter().for_each(|kv| self.pair(kv));
        self.pair(event.kv.as_ref().unwrap_or(&KeyValue::default()));
    }

    fn time_to_live(&mut self, response: &LeaseTimeToLiveResponse, with_keys: bool) {
        let LeaseTimeToLiveResponse { id, ttl, granted_ttl, keys, .. } = response;
        if *granted_ttl == 0 && *ttl == -1 {
            return self.line(&format!("lease {id:016x} already expired"));
        }
        let text = format!("lease {id:016x} granted with TTL({granted_ttl}s), remaining({ttl}s)");
        self.bytes.extend_from_slice(text.as_bytes());
        if with_keys {
            let keys: Vec<_> = keys.iter().map(AsRef::as_ref).collect();
            self.bytes.extend_from_slice(b", attached keys([");
            self.bytes.extend_from_slice(&keys.join(&b" "[..]));
            self.bytes.extend_from_slice(b"])");
        }
        self.line("");
    }

    fn member_added(&mut self, response: &MemberAddResponse) {
        let member = response.member.clone().unwrap_or_default();
        let done = if member.is_learner { "added as learner to" } else { "added to" };
        self.member_changed(member.id, done, response.header);
    }

    fn member_changed(&mut self, id: u64, done: &str, header: Option<ResponseHeader>) {
        let cluster = header.unwrap_or_default().cluster_id;
        self.line(&format!("Member {id:16x} {done} cluster {cluster:16x}"));
    }

    fn role(&mut self, role: &str, permissions: &[Permission]) {
        self.line(&format!("Role {role}"));
        // The first role of all may do everything, and need not say so.
        let everything = [Permission {
            perm_type: Type::Readwrite.into(),
            key: Bytes::new(),
            range_end: Bytes::from_static(b"\0"),
        }];
        let permissions = if role == "root" && permissions.is_empty() { &everything } else { permissions };
        for (heading, other) in [("KV Read:", Type::Write), ("KV Write:", Type::Read)] {
            self.line(heading);
            permissions.iter().filter(|one| one.perm_type() != other).for_each(|one| self.permission(one));
        }
    }

    fn permission(&mut self, permission: &Permission) {
        let Permission { key, range_end, .. } = permission;
        let mut line = match &range_end[..] {
            b"" => [b"\t", &key[..]].concat(),
            b"\0" => [b"\t[", &key[..], b", <open ended>"].concat(),
            end => [b"\t[", &key[..], b", ", end, b")"].concat(),
        };
        let is_prefix = !key.is_empty() && Keys::prefix(key.clone()).range_end() == &range_end[..];
        if is_prefix {
            line.extend_from_slice(&[b" (prefix ", &key[..], b")"].concat());
        }
        self.bytes.extend_from_slice(&line);
        self.line("");
    }

    fn health(&mut self, health: &Health) {
        if health.healthy {
            let took = duration::format(health.took);
            self.line(&format!(
                "{} is healthy: successfully committed proposal: took = {took}",
                health.endpoint
            ));
        }
    }
}

/// The word for a kind of event.
pub(crate) fn event_name(event: &Event) -> &'static str {
    match event.r#type() {
        EventType::Put => "PUT",
        EventType::Delete => "DELETE",
    }
}
