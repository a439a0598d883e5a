//! What commands print, as pure functions from answers to bytes: one file per format.

mod fields;
pub(crate) mod json;
mod protobuf;
mod simple;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use self::simple::{event_name, unhealthy};
use etched_proto::etcdserverpb::{
    AlarmResponse, AuthRoleGetResponse, AuthRoleListResponse, AuthStatusResponse, AuthUserGetResponse,
    AuthUserListResponse, DeleteRangeResponse, DowngradeResponse, HashKvResponse, LeaseGrantResponse,
    LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeResponse, LeaseTimeToLiveResponse,
    MemberAddResponse, MemberListResponse, MoveLeaderResponse, PutResponse, RangeResponse, ResponseHeader,
    StatusResponse, TxnResponse,
};
use etched_proto::mvccpb::Event;

use crate::failure::{Exit, Failure};

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Simple,
    Fields,
    Json,
    Protobuf,
    Table,
}

impl Format {
    /// The format of this name.
    pub(crate) fn of(name: &str) -> Result<Self, Failure> {
        match name {
            "simple" => Ok(Self::Simple),
            "fields" => Ok(Self::Fields),
            "json" => Ok(Self::Json),
            "protobuf" => Ok(Self::Protobuf),
            "table" => Ok(Self::Table),
            _ => Err(Failure::new(Exit::Unsupported, "unsupported output format")),
        }
    }
}

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) format: Format,
    pub(crate) hex: bool,
}

/// Something to print.
#[derive(Debug)]
pub(crate) enum Answer {
    Get {
        response: RangeResponse,
        values_only: bool,
    },
    Put(PutResponse),
    Del(DeleteRangeResponse),
    Txn(TxnResponse),
    Watch(WatchAnswer),
    LeaseGrant(LeaseGrantResponse),
    LeaseRevoke {
        id: i64,
        response: LeaseRevokeResponse,
    },
    LeaseKeepAlive(LeaseKeepAliveResponse),
    LeaseTimeToLive {
        response: LeaseTimeToLiveResponse,
        with_keys: bool,
    },
    LeaseList(LeaseLeasesResponse),
    MemberList(MemberListResponse),
    MemberAdd(MemberAddResponse),
    /// The answer has the fields of a list, whichever change it was.
    MemberChanged {
        change: MemberChange,
        id: u64,
        response: MemberListResponse,
    },
    MoveLeader {
        leader: u64,
        target: u64,
        response: MoveLeaderResponse,
    },
    Downgrade {
        step: DowngradeStep,
        response: DowngradeResponse,
    },
    Health(Vec<Health>),
    Status(Vec<(String, StatusResponse)>),
    HashKv(Vec<(String, HashKvResponse)>),
    Alarm(AlarmResponse),
    /// A user or role was changed.
    AuthChanged {
        /// What is said about it.
        said: String,
        header: Option<ResponseHeader>,
    },
    AuthStatus(AuthStatusResponse),
    RoleGet {
        role: String,
        response: AuthRoleGetResponse,
    },
    RoleList(AuthRoleListResponse),
    UserGet {
        user: String,
        response: AuthUserGetResponse,
    },
    UserList(AuthUserListResponse),
}

/// How a member was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberChange {
    Removed,
    Updated,
    Promoted,
}

/// What was done about a downgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DowngradeStep {
    Validate,
    Enable,
    Cancel,
}

/// What a watch received.
#[derive(Debug, Default)]
pub(crate) struct WatchAnswer {
    pub(crate) header: Option<ResponseHeader>,
    pub(crate) events: Vec<Event>,
    pub(crate) compact_revision: i64,
    pub(crate) canceled: bool,
}

/// How an endpoint fares.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) endpoint: String,
    pub(crate) healthy: bool,
    pub(crate) took: Duration,
    /// Empty if it is healthy.
    pub(crate) error: String,
}

impl Answer {
    /// The answer as it is printed.
    ///
    /// # Errors
    ///
    /// Not all formats exist for all answers.
    pub(crate) fn render(&self, style: Style) -> Result<Vec<u8>, Failure> {
        match style.format {
            Format::Simple => Ok(simple::render(self, style.hex)),
            Format::Fields => {
                fields::render(self, style.hex).map(String::into_bytes).ok_or_else(|| unsupported("fields"))
            }
            Format::Json => Ok(json::render(self, style.hex).into_bytes()),
            Format::Protobuf => protobuf::render(self).ok_or_else(|| unsupported("protobuf")),
            Format::Table => table::render(self).map(String::into_bytes).ok_or_else(|| unsupported("table")),
        }
    }
}

fn unsupported(format: &str) -> Failure {
    Failure::new(Exit::Unsupported, format!("{format} not supported as output format"))
}

/// The rows that the simple and the table format share.
mod rows {
    use etched_proto::etcdserverpb::{HashKvResponse, Member, StatusResponse};

    use super::Health;
    use crate::text::{duration, size};

    pub(super) fn member(member: &Member) -> Vec<String> {
        let status = if member.name.is_empty() { "unstarted" } else { "started" };
        vec![
            format!("{:x}", member.id),
            status.to_owned(),
            member.name.clone(),
            member.peer_ur_ls.join(","),
            member.client_ur_ls.join(","),
            member.is_learner.to_string(),
        ]
    }

    pub(super) fn health(health: &Health) -> Vec<String> {
        let took = duration::format(health.took);
        vec![health.endpoint.clone(), health.healthy.to_string(), took, health.error.clone()]
    }

    pub(super) fn hash_kv((endpoint, response): &(String, HashKvResponse)) -> Vec<String> {
        vec![endpoint.clone(), response.hash.to_string(), response.hash_revision.to_string()]
    }

    pub(super) fn status((endpoint, status): &(String, StatusResponse)) -> Vec<String> {
        let header = status.header.unwrap_or_default();
        let downgrade = status.downgrade_info.clone().unwrap_or_default();
        vec![
            endpoint.clone(),
            format!("{:x}", header.member_id),
            status.version.clone(),
            status.storage_version.clone(),
            humanized(status.db_size),
            humanized(status.db_size_in_use),
            format!("{}%", percentage_not_in_use(status)),
            humanized(status.db_size_quota),
            (status.leader == header.member_id).to_string(),
            status.is_learner.to_string(),
            status.raft_term.to_string(),
            status.raft_index.to_string(),
            status.raft_applied_index.to_string(),
            status.errors.join(", "),
            downgrade.target_version,
            downgrade.enabled.to_string(),
        ]
    }

    fn humanized(bytes: i64) -> String {
        size::humanize(u64::try_from(bytes).unwrap_or(0))
    }

    /// Rounded up; 0 for a server that does not tell its size.
    fn percentage_not_in_use(status: &StatusResponse) -> i64 {
        let free = i128::from(status.db_size) - i128::from(status.db_size_in_use);
        let size = i128::from(status.db_size).max(1);
        i64::try_from((free.max(0) * 100 + size - 1) / size).unwrap_or(0)
    }
}
