//! The requests that both servers get, and the answers to them.

use etched_proto::etcdserverpb as pb;
use pb::compare::TargetUnion;
use pb::request_op::Request as Op;

/// One request for both servers. Ids that servers draw, of leases and members, are those of the reference.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Range(pb::RangeRequest),
    RangeStream(pb::RangeRequest),
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    LeaseKeepAlive(pb::LeaseKeepAliveRequest),
    LeaseTimeToLive(pb::LeaseTimeToLiveRequest),
    LeaseLeases,
    Status,
    Hash,
    HashKv(pb::HashKvRequest),
    Defragment,
    Alarm(pb::AlarmRequest),
    MemberList(pb::MemberListRequest),
    MemberAdd(pb::MemberAddRequest),
    MemberUpdate(pb::MemberUpdateRequest),
    MemberRemove(pb::MemberRemoveRequest),
    MemberPromote(pb::MemberPromoteRequest),
    MoveLeader(pb::MoveLeaderRequest),
    Downgrade(pb::DowngradeRequest),
    Health(&'static str),
    /// A method that no etcd has.
    Unknown(&'static str),
    Auth(AuthRequest),
}

/// A request of the service for users and roles.
#[derive(Clone, Debug)]
pub(super) enum AuthRequest {
    Enable,
    Disable,
    Status,
    Authenticate(pb::AuthenticateRequest),
    UserAdd(pb::AuthUserAddRequest),
    UserGet(pb::AuthUserGetRequest),
    UserList,
    UserDelete(pb::AuthUserDeleteRequest),
    UserChangePassword(pb::AuthUserChangePasswordRequest),
    UserGrantRole(pb::AuthUserGrantRoleRequest),
    UserRevokeRole(pb::AuthUserRevokeRoleRequest),
    RoleAdd(pb::AuthRoleAddRequest),
    RoleGet(pb::AuthRoleGetRequest),
    RoleList,
    RoleDelete(pb::AuthRoleDeleteRequest),
    RoleGrantPermission(pb::AuthRoleGrantPermissionRequest),
    RoleRevokePermission(pb::AuthRoleRevokePermissionRequest),
}

/// The answer to one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AuthAnswer {
    /// To those that only change something.
    Done(Option<pb::ResponseHeader>),
    Status(pb::AuthStatusResponse),
    /// The token is a secret of its server.
    Authenticated(pb::AuthenticateResponse),
    User(pb::AuthUserGetResponse),
    Users(pb::AuthUserListResponse),
    Role(pb::AuthRoleGetResponse),
    Roles(pb::AuthRoleListResponse),
}

impl AuthAnswer {
    pub(super) fn header(&mut self) -> &mut Option<pb::ResponseHeader> {
        match self {
            Self::Done(header) => header,
            Self::Status(answer) => &mut answer.header,
            Self::Authenticated(answer) => &mut answer.header,
            Self::User(answer) => &mut answer.header,
            Self::Users(answer) => &mut answer.header,
            Self::Role(answer) => &mut answer.header,
            Self::Roles(answer) => &mut answer.header,
        }
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Range(pb::RangeResponse),
    /// All parts of a stream, put together.
    RangeStream(pb::RangeResponse),
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    LeaseKeepAlive(Option<pb::LeaseKeepAliveResponse>),
    LeaseTimeToLive(pb::LeaseTimeToLiveResponse),
    LeaseLeases(pb::LeaseLeasesResponse),
    Status(pb::StatusResponse),
    Hash(pb::HashResponse),
    HashKv(pb::HashKvResponse),
    Defragment(pb::DefragmentResponse),
    Alarm(pb::AlarmResponse),
    MemberList(pb::MemberListResponse),
    MemberAdd(pb::MemberAddResponse),
    MemberUpdate(pb::MemberUpdateResponse),
    MemberRemove(pb::MemberRemoveResponse),
    MemberPromote(pb::MemberPromoteResponse),
    MoveLeader(pb::MoveLeaderResponse),
    Downgrade(pb::DowngradeResponse),
    Health(i32),
    Auth(AuthAnswer),
}

/// A refusal: the gRPC code and the text by which clients tell errors apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) code: tonic::Code,
    pub(super) message: String,
}

impl From<tonic::Status> for Refused {
    fn from(status: tonic::Status) -> Self {
        Self { code: status.code(), message: status.message().to_owned() }
    }
}

pub(super) type Outcome = Result<Answer, Refused>;

impl Request {
    /// Whether the answer depends on a compaction having finished.
    pub(super) fn needs_compaction_finished(&self) -> bool {
        matches!(self, Self::HashKv(_) | Self::Hash | Self::Compact(_))
    }

    /// Replaces every lease id by what `name` says.
    pub(super) fn rename_leases(&mut self, name: &dyn Fn(i64) -> i64) {
        match self {
            Self::Put(put) => put.lease = name(put.lease),
            Self::Txn(txn) => rename_in_txn(txn, name),
            Self::LeaseRevoke(revoke) => revoke.id = name(revoke.id),
            Self::LeaseKeepAlive(keep) => keep.id = name(keep.id),
            Self::LeaseTimeToLive(ask) => ask.id = name(ask.id),
            Self::LeaseGrant(_)
            | Self::Range(_)
            | Self::RangeStream(_)
            | Self::DeleteRange(_)
            | Self::Compact(_)
            | Self::LeaseLeases
            | Self::Status
            | Self::Hash
            | Self::HashKv(_)
            | Self::Defragment
            | Self::Alarm(_)
            | Self::MemberList(_)
            | Self::MemberAdd(_)
            | Self::MemberUpdate(_)
            | Self::MemberRemove(_)
            | Self::MemberPromote(_)
            | Self::MoveLeader(_)
            | Self::Downgrade(_)
            | Self::Health(_)
            | Self::Auth(_)
            | Self::Unknown(_) => {}
        }
    }

    /// The member that it names, if it is about one.
    pub(super) fn member_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::MemberUpdate(update) => Some(&mut update.id),
            Self::MemberRemove(remove) => Some(&mut remove.id),
            Self::MemberPromote(promote) => Some(&mut promote.id),
            Self::MoveLeader(moved) => Some(&mut moved.target_id),
            Self::Range(_)
            | Self::RangeStream(_)
            | Self::Put(_)
            | Self::DeleteRange(_)
            | Self::Txn(_)
            | Self::Compact(_)
            | Self::LeaseGrant(_)
            | Self::LeaseRevoke(_)
            | Self::LeaseKeepAlive(_)
            | Self::LeaseTimeToLive(_)
            | Self::LeaseLeases
            | Self::Status
            | Self::Hash
            | Self::HashKv(_)
            | Self::Defragment
            | Self::Alarm(_)
            | Self::Auth(_)
            | Self::MemberList(_)
            | Self::MemberAdd(_)
            | Self::Downgrade(_)
            | Self::Health(_)
            | Self::Unknown(_) => None,
        }
    }
}

fn rename_in_txn(txn: &mut pb::TxnRequest, name: &dyn Fn(i64) -> i64) {
    for compare in &mut txn.compare {
        if let Some(TargetUnion::Lease(id)) = &mut compare.target_union {
            *id = name(*id);
        }
    }
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Op::RequestPut(put)) => put.lease = name(put.lease),
            Some(Op::RequestTxn(txn)) => rename_in_txn(txn, name),
            Some(Op::RequestRange(_) | Op::RequestDeleteRange(_)) | None => {}
        }
    }
}
