//! The format `fields`: one field in a line, with strings quoted.

use std::fmt::Display;

use etched_proto::etcdserverpb::response_op::Response;
use etched_proto::etcdserverpb::{
    AuthRoleGetResponse, DeleteRangeResponse, HashKvResponse, MemberListResponse, PutResponse, RangeResponse,
    ResponseHeader, StatusResponse, TxnResponse,
};
use etched_proto::mvccpb::{Event, KeyValue};

use super::simple::{alarm_name, event_name};
use super::{Answer, Health};
use crate::text::duration;
use crate::text::quote::quote;

/// The fields; `None` for answers that etcdctl does not print so.
pub(super) fn render(answer: &Answer, hex: bool) -> Option<String> {
    let mut page = Page { text: String::new(), hex };
    match answer {
        Answer::Get { response, .. } => page.get(response),
        Answer::Put(response) => page.put(response),
        Answer::Del(response) => page.del(response),
        Answer::Txn(response) => page.txn(response),
        Answer::Watch(watch) => {
            page.header(watch.header);
            watch.events.iter().for_each(|event| page.event(event));
        }
        Answer::LeaseGrant(response) => {
            page.header(response.header);
            page.lease_id("ID", response.id);
            page.field("TTL", response.ttl);
        }
        Answer::LeaseRevoke { response, .. } => page.header(response.header),
        Answer::LeaseKeepAlive(response) => {
            page.header(response.header);
            page.lease_id("ID", response.id);
            page.field("TTL", response.ttl);
        }
        Answer::LeaseTimeToLive { response, .. } => {
            page.header(response.header);
            page.lease_id("ID", response.id);
            page.field("TTL", response.ttl);
            page.field("GrantedTTL", response.granted_ttl);
            response.keys.iter().for_each(|key| page.field("Key", quote(key)));
        }
        Answer::LeaseList(response) => {
            page.header(response.header);
            response.leases.iter().for_each(|lease| page.lease_id("ID", lease.id));
        }
        Answer::MemberList(response) => page.members(response),
        Answer::Health(all) => all.iter().for_each(|health| page.health(health)),
        Answer::Status(all) => all.iter().for_each(|(endpoint, status)| page.status(endpoint, status)),
        Answer::HashKv(all) => all.iter().for_each(|(endpoint, hash)| page.hash(endpoint, hash)),
        Answer::Alarm(response) => {
            page.header(response.header);
            for alarm in &response.alarms {
                page.member_id("MemberID", alarm.member_id);
                page.field("AlarmType", alarm_name(alarm.alarm));
                page.blank();
            }
        }
        Answer::AuthChanged { header, .. } => page.header(*header),
        Answer::RoleGet { response, .. } => page.permissions(response),
        Answer::RoleList(response) => {
            page.header(response.header);
            let roles: Vec<_> = response.roles.iter().map(|role| quote(role.as_bytes())).collect();
            let line = format!("\"Roles\" : {}", roles.join(" "));
            page.text.push_str(line.trim_end());
            page.blank();
        }
        Answer::MemberAdd(_)
        | Answer::AuthStatus(_)
        | Answer::UserGet { .. }
        | Answer::UserList(_)
        | Answer::MemberChanged { .. }
        | Answer::MoveLeader { .. }
        | Answer::Downgrade { .. } => return None,
    }
    Some(page.text)
}

struct Page {
    text: String,
    hex: bool,
}

impl Page {
    fn field(&mut self, name: &str, value: impl Display) {
        self.text.push_str(&format!("\"{name}\" : {value}\n"));
    }

    fn hash(&mut self, endpoint: &str, response: &HashKvResponse) {
        self.header(response.header);
        self.field("Endpoint", quote(endpoint.as_bytes()));
        self.field("Hash", response.hash);
        self.field("HashRevision", response.hash_revision);
        self.blank();
    }

    fn permissions(&mut self, response: &AuthRoleGetResponse) {
        self.header(response.header);
        for permission in &response.perm {
            // The second blank is etcdctl's.
            self.field("PermType", format!(" {}", permission.perm_type().as_str_name()));
            self.field("Key", quote(&permission.key));
            self.field("RangeEnd", quote(&permission.range_end));
        }
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn member_id(&mut self, name: &str, id: u64) {
        if self.hex { self.field(name, format!("{id:x}")) } else { self.field(name, id) }
    }

    fn lease_id(&mut self, name: &str, id: i64) {
        if self.hex { self.field(name, format!("{id:016x}")) } else { self.field(name, id) }
    }

    fn header(&mut self, header: Option<ResponseHeader>) {
        let header = header.unwrap_or_default();
        self.member_id("ClusterID", header.cluster_id);
        self.member_id("MemberID", header.member_id);
        // Requests that have to do with no revision leave it at 0.
        if header.revision > 0 {
            self.field("Revision", header.revision);
        }
        self.field("RaftTerm", header.raft_term);
    }

    fn pair(&mut self, prefix: &str, kv: &KeyValue) {
        self.field(&format!("{prefix}Key"), quote(&kv.key));
        self.field(&format!("{prefix}CreateRevision"), kv.create_revision);
        self.field(&format!("{prefix}ModRevision"), kv.mod_revision);
        self.field(&format!("{prefix}Version"), kv.version);
        self.field(&format!("{prefix}Value"), quote(&kv.value));
        self.lease_id(&format!("{prefix}Lease"), kv.lease);
    }

    fn get(&mut self, response: &RangeResponse) {
        self.header(response.header);
        response.kvs.iter().for_each(|kv| self.pair("", kv));
        self.field("More", response.more);
        self.field("Count", response.count);
    }

    fn put(&mut self, response: &PutResponse) {
        self.header(response.header);
        response.prev_kv.iter().for_each(|kv| self.pair("Prev", kv));
    }

    fn del(&mut self, response: &DeleteRangeResponse) {
        self.header(response.header);
        self.field("Deleted", response.deleted);
        response.prev_kvs.iter().for_each(|kv| self.pair("Prev", kv));
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.header(response.header);
        self.field("Succeeded", response.succeeded);
        for op in &response.responses {
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
        self.field("Type", event_name(event));
        event.prev_kv.iter().for_each(|kv| self.pair("Prev", kv));
        self.pair("", event.kv.as_ref().unwrap_or(&KeyValue::default()));
    }

    fn members(&mut self, response: &MemberListResponse) {
        self.header(response.header);
        for member in &response.members {
            self.member_id("ID", member.id);
            self.field("Name", quote(member.name.as_bytes()));
            member.peer_ur_ls.iter().for_each(|url| self.field("PeerURL", quote(url.as_bytes())));
            member.client_ur_ls.iter().for_each(|url| self.field("ClientURL", quote(url.as_bytes())));
            self.field("IsLearner", member.is_learner);
            self.blank();
        }
    }

    fn health(&mut self, health: &Health) {
        self.field("Endpoint", quote(health.endpoint.as_bytes()));
        self.field("Health", health.healthy);
        self.field("Took", duration::format(health.took));
        self.field("Error", &health.error);
        self.blank();
    }

    fn status(&mut self, endpoint: &str, status: &StatusResponse) {
        let downgrade = status.downgrade_info.clone().unwrap_or_default();
        self.header(status.header);
        self.field("Version", quote(status.version.as_bytes()));
        self.field("StorageVersion", quote(status.storage_version.as_bytes()));
        self.field("DBSize", status.db_size);
        self.field("DBSizeInUse", status.db_size_in_use);
        self.field("DBSizeQuota", status.db_size_quota);
        self.field("Leader", status.leader);
        self.field("IsLearner", status.is_learner);
        self.field("RaftIndex", status.raft_index);
        self.field("RaftAppliedIndex", status.raft_applied_index);
        self.field("Errors", format!("[{}]", status.errors.join(" ")));
        self.field("Endpoint", quote(endpoint.as_bytes()));
        self.field("DowngradeTargetVersion", quote(downgrade.target_version.as_bytes()));
        self.field("DowngradeEnabled", downgrade.enabled);
        self.blank();
    }
}
