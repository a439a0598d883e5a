//! Errors as gRPC statuses, with etcd's texts and codes: clients match on both.
//!
//! This is the one place where a reason becomes a text.

use etched_state_machine::{Refusal, auth};
use tonic::{Code, Status};

use crate::api::ApiError;
use crate::front::Ending;

/// A status of etcd: a code and an exact text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    code: Code,
    text: &'static str,
}

impl From<Known> for Status {
    fn from(known: Known) -> Self {
        Self::new(known.code, known.text)
    }
}

const fn known(code: Code, text: &'static str) -> Known {
    Known { code, text }
}

pub(super) const AUTH_FAILED: Known =
    known(Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password");
pub(super) const INVALID_CLIENT_VERSION: Known =
    known(Code::InvalidArgument, "etcdserver: invalid client api version");
pub(super) const NOT_FOR_LEARNERS: Known =
    known(Code::FailedPrecondition, "etcdserver: rpc not supported for learner");
pub(crate) const NO_LEADER: Known = known(Code::Unavailable, "etcdserver: no leader");
const STOPPED: Known = known(Code::Unavailable, "etcdserver: server stopped");
const REQUEST_TOO_LARGE: Known = known(Code::InvalidArgument, "etcdserver: request is too large");

/// The status of a refusal.
fn of_refusal(refusal: Refusal) -> Known {
    match refusal {
        Refusal::EmptyKey => known(Code::InvalidArgument, "etcdserver: key is not provided"),
        Refusal::KeyNotFound => known(Code::InvalidArgument, "etcdserver: key not found"),
        Refusal::ValueProvided => known(Code::InvalidArgument, "etcdserver: value is provided"),
        Refusal::LeaseProvided => known(Code::InvalidArgument, "etcdserver: lease is provided"),
        Refusal::LeaseNotFound => known(Code::NotFound, "etcdserver: requested lease not found"),
        Refusal::LeaseExists => known(Code::FailedPrecondition, "etcdserver: lease already exists"),
        Refusal::LeaseTtlTooLarge => known(Code::OutOfRange, "etcdserver: too large lease TTL"),
        Refusal::TooManyOps => known(Code::InvalidArgument, "etcdserver: too many operations in txn request"),
        Refusal::DuplicateKey => {
            known(Code::InvalidArgument, "etcdserver: duplicate key given in txn request")
        }
        Refusal::InvalidSortOption => known(Code::InvalidArgument, "etcdserver: invalid sort option"),
        Refusal::Compacted => {
            known(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted")
        }
        Refusal::FutureRevision => {
            known(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision")
        }
        Refusal::V2Unsupported => {
            known(Code::FailedPrecondition, "etched: not all members of the cluster serve the v2 API")
        }
        Refusal::NoSpace => known(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        Refusal::Corrupt => known(Code::DataLoss, "etcdserver: corrupt cluster"),
        Refusal::RequestTooLarge => REQUEST_TOO_LARGE,
        Refusal::StreamSortUnsupported => {
            known(Code::Unimplemented, "RangeStream does not support custom sort orders")
        }
        Refusal::StreamFilterUnsupported => {
            known(Code::Unimplemented, "RangeStream does not support revision filters")
        }
        Refusal::MemberNotFound => known(Code::NotFound, "etcdserver: member not found"),
        Refusal::MemberExists => known(Code::FailedPrecondition, "etcdserver: member ID already exist"),
        Refusal::PeerUrlExists => known(Code::FailedPrecondition, "etcdserver: Peer URLs already exists"),
        Refusal::MemberNotLearner => {
            known(Code::FailedPrecondition, "etcdserver: can only promote a learner member")
        }
        Refusal::TooManyLearners => {
            known(Code::FailedPrecondition, "etcdserver: too many learner members in cluster")
        }
        Refusal::MalformedMember | Refusal::MemberBadUrls => {
            known(Code::InvalidArgument, "etcdserver: given member URLs are invalid")
        }
        Refusal::MalformedVersion => {
            known(Code::InvalidArgument, "etcdserver: wrong downgrade target version format")
        }
        // etcd has a code for this text, and sends it as unknown all the same.
        Refusal::NotEnoughStarted => {
            known(Code::Unknown, "etcdserver: re-configuration failed due to not enough started members")
        }
        Refusal::Auth(refusal) => of_auth_refusal(refusal),
        // A reason of a newer state machine, which this match is to be given as soon as it exists.
        other => {
            crate::log!(Error, "a refusal has no status", "refusal" => format!("{other:?}"));
            known(Code::Unknown, "etched: refused")
        }
    }
}

/// The status of a refusal for the sake of users and roles.
fn of_auth_refusal(refusal: auth::Refusal) -> Known {
    use auth::Refusal;
    match refusal {
        Refusal::RootUserMissing => known(Code::FailedPrecondition, "etcdserver: root user does not exist"),
        Refusal::RootRoleMissing => {
            known(Code::FailedPrecondition, "etcdserver: root user does not have root role")
        }
        Refusal::UserExists => known(Code::FailedPrecondition, "etcdserver: user name already exists"),
        Refusal::UserEmpty => known(Code::InvalidArgument, "etcdserver: user name is empty"),
        Refusal::UserNotFound => known(Code::FailedPrecondition, "etcdserver: user name not found"),
        Refusal::RoleExists => known(Code::FailedPrecondition, "etcdserver: role name already exists"),
        Refusal::RoleNotFound => known(Code::FailedPrecondition, "etcdserver: role name not found"),
        Refusal::RoleEmpty => known(Code::InvalidArgument, "etcdserver: role name is empty"),
        Refusal::PermissionNotGiven => known(Code::InvalidArgument, "etcdserver: permission not given"),
        Refusal::PermissionDenied => known(Code::PermissionDenied, "etcdserver: permission denied"),
        Refusal::RoleNotGranted => {
            known(Code::FailedPrecondition, "etcdserver: role is not granted to the user")
        }
        Refusal::PermissionNotGranted => {
            known(Code::FailedPrecondition, "etcdserver: permission is not granted to the role")
        }
        Refusal::NotEnabled => known(Code::FailedPrecondition, "etcdserver: authentication is not enabled"),
        Refusal::AuthenticationFailed => AUTH_FAILED,
        // etcd has no code for it.
        Refusal::NoPasswordUser => {
            known(Code::Unknown, "auth: authentication failed, password was given for no password user")
        }
        Refusal::InvalidToken => known(Code::Unauthenticated, "etcdserver: invalid auth token"),
        Refusal::OldRevision => known(Code::InvalidArgument, "etcdserver: revision of auth store is old"),
        Refusal::InvalidManagement => known(Code::InvalidArgument, "etcdserver: invalid auth management"),
    }
}

/// The status of an error of the member.
pub(crate) fn of(error: &ApiError) -> Status {
    let known = match error {
        ApiError::Refused(refusal) => of_refusal(*refusal),
        ApiError::NoLeader => NO_LEADER,
        ApiError::LeaderChanged => known(Code::Unavailable, "etcdserver: leader changed"),
        ApiError::Timeout => known(Code::Unavailable, "etcdserver: request timed out"),
        ApiError::DeadlineExceeded => known(Code::DeadlineExceeded, "context deadline exceeded"),
        ApiError::TimeoutLeaderFailed => {
            known(Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure")
        }
        ApiError::TimeoutConnectionLost => {
            known(Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost")
        }
        ApiError::TimeoutApplied => known(
            Code::Unavailable,
            "etcdserver: request timed out, waiting for the applied index took too long",
        ),
        ApiError::TimeoutLeaderTransfer => {
            known(Code::Unknown, "etcdserver: request timed out, leader transfer took too long")
        }
        ApiError::NotLeader => known(Code::FailedPrecondition, "etcdserver: not leader"),
        ApiError::BadLeaderTransferee => known(Code::FailedPrecondition, "etcdserver: bad leader transferee"),
        ApiError::LearnerNotReady => known(
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        ApiError::Unhealthy => known(Code::Unavailable, "etcdserver: unhealthy cluster"),
        ApiError::ClusterVersionUnavailable => {
            known(Code::FailedPrecondition, "etcdserver: cluster version not found during downgrade")
        }
        ApiError::DowngradeVersionFormat => {
            known(Code::InvalidArgument, "etcdserver: wrong downgrade target version format")
        }
        ApiError::DowngradeTarget => {
            known(Code::InvalidArgument, "etcdserver: invalid downgrade target version")
        }
        ApiError::DowngradeInProcess => {
            known(Code::FailedPrecondition, "etcdserver: cluster has a downgrade job in progress")
        }
        // etcd has a code for this text, and sends it as unknown all the same.
        ApiError::TooManyRequests => known(Code::Unknown, "etcdserver: too many requests"),
        ApiError::RequestTooLarge => REQUEST_TOO_LARGE,
        ApiError::ProposalDropped => known(Code::Unknown, "raft proposal dropped"),
        ApiError::NotPrimary => known(Code::Unknown, "not a primary lessor"),
        ApiError::Stopped => STOPPED,
        ApiError::Storage(text) => return Status::new(Code::Unknown, text.clone()),
        other => return Status::new(Code::Unknown, other.to_string()),
    };
    known.into()
}

/// The text of an error of the member, as it stands in health checks.
pub(crate) fn message_of(error: &ApiError) -> String {
    of(error).message().to_owned()
}

/// The status with which a stream ends from this side.
pub(super) fn of_ending(ending: Ending) -> Status {
    match ending {
        Ending::NoLeader => NO_LEADER.into(),
        Ending::Stopped => STOPPED.into(),
    }
}

/// The member answered something else than it was asked; a bug, but the client's connection goes on.
pub(super) fn mismatched_answer() -> Status {
    Status::internal("etched: the answer does not match the request")
}

/// Which message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The one message of a call.
    Request,
    /// A message of a stream.
    Message,
}

/// Turns the texts of the gRPC library about messages that cannot be read into those of grpc-go, which clients and
/// tests of etcd know.
pub(super) fn as_grpc_go(status: Status, reading: Reading) -> Status {
    let text = status.message();
    if let Some(sizes) = text.strip_prefix("Error, decoded message length too large: found ") {
        let mut numbers = sizes.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
        if let (Some(found), Some(limit)) = (numbers.next(), numbers.next()) {
            let text = format!("grpc: received message larger than max ({found} vs. {limit})");
            return Status::resource_exhausted(text);
        }
    }
    if let Some(cause) = text.strip_prefix("failed to decode Protobuf message: ") {
        let cause = if cause.contains("UTF-8") {
            "string field contains invalid UTF-8"
        } else {
            "proto: cannot parse invalid wire-format data"
        };
        return Status::internal(match reading {
            Reading::Request => format!("grpc: error unmarshalling request: {cause}"),
            Reading::Message => format!("grpc: failed to unmarshal the received message: {cause}"),
        });
    }
    if text.starts_with("Unexpected EOF decoding stream") {
        return Status::unknown("unexpected EOF");
    }
    if text.contains("compressed-flag but no grpc-encoding") {
        return Status::internal("grpc: compressed flag set with identity or empty encoding");
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_etcds_codes_and_texts() {
        for (refusal, code, text) in [
            (Refusal::EmptyKey, 3, "etcdserver: key is not provided"),
            (Refusal::KeyNotFound, 3, "etcdserver: key not found"),
            (Refusal::ValueProvided, 3, "etcdserver: value is provided"),
            (Refusal::LeaseProvided, 3, "etcdserver: lease is provided"),
            (Refusal::TooManyOps, 3, "etcdserver: too many operations in txn request"),
            (Refusal::DuplicateKey, 3, "etcdserver: duplicate key given in txn request"),
            (Refusal::InvalidSortOption, 3, "etcdserver: invalid sort option"),
            (Refusal::Compacted, 11, "etcdserver: mvcc: required revision has been compacted"),
            (Refusal::FutureRevision, 11, "etcdserver: mvcc: required revision is a future revision"),
            (Refusal::NoSpace, 8, "etcdserver: mvcc: database space exceeded"),
            (Refusal::LeaseNotFound, 5, "etcdserver: requested lease not found"),
            (Refusal::LeaseExists, 9, "etcdserver: lease already exists"),
            (Refusal::LeaseTtlTooLarge, 11, "etcdserver: too large lease TTL"),
            (Refusal::RequestTooLarge, 3, "etcdserver: request is too large"),
            (Refusal::Corrupt, 15, "etcdserver: corrupt cluster"),
            (Refusal::StreamSortUnsupported, 12, "RangeStream does not support custom sort orders"),
            (Refusal::StreamFilterUnsupported, 12, "RangeStream does not support revision filters"),
            (Refusal::MemberNotFound, 5, "etcdserver: member not found"),
            (Refusal::MemberExists, 9, "etcdserver: member ID already exist"),
            (Refusal::PeerUrlExists, 9, "etcdserver: Peer URLs already exists"),
            (Refusal::MemberNotLearner, 9, "etcdserver: can only promote a learner member"),
            (Refusal::TooManyLearners, 9, "etcdserver: too many learner members in cluster"),
            (Refusal::MalformedMember, 3, "etcdserver: given member URLs are invalid"),
            (Refusal::MalformedVersion, 3, "etcdserver: wrong downgrade target version format"),
        ] {
            let status = of(&ApiError::Refused(refusal));
            assert_eq!((status.code() as i32, status.message()), (code, text));
        }
    }

    #[test]
    fn errors_of_the_member_have_etcds_codes_and_texts() {
        for (error, code, text) in [
            (ApiError::NoLeader, 14, "etcdserver: no leader"),
            (ApiError::LeaderChanged, 14, "etcdserver: leader changed"),
            (ApiError::Timeout, 14, "etcdserver: request timed out"),
            (
                ApiError::TimeoutApplied,
                14,
                "etcdserver: request timed out, waiting for the applied index took too long",
            ),
            (ApiError::TooManyRequests, 2, "etcdserver: too many requests"),
            (ApiError::RequestTooLarge, 3, "etcdserver: request is too large"),
            (ApiError::ProposalDropped, 2, "raft proposal dropped"),
            (ApiError::NotPrimary, 2, "not a primary lessor"),
            (ApiError::Stopped, 14, "etcdserver: server stopped"),
        ] {
            let status = of(&error);
            assert_eq!((status.code() as i32, status.message()), (code, text));
        }
    }
}
