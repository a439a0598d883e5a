//! The format `protobuf`: the answer's bytes, as the server sent them.

use etched_proto::etcdserverpb::{AuthUserAddResponse, ResponseHeader, WatchResponse};
use prost::Message;

use super::{Answer, WatchAnswer};

/// The bytes; `None` for answers that are no message of the protocol.
pub(super) fn render(answer: &Answer) -> Option<Vec<u8>> {
    // etcdctl writes only the header of an answer about leases, and so do we.
    let header = |header: &Option<ResponseHeader>| Some(header.unwrap_or_default().encode_to_vec());
    match answer {
        Answer::Get { response, .. } => Some(response.encode_to_vec()),
        Answer::Put(response) => Some(response.encode_to_vec()),
        Answer::Del(response) => Some(response.encode_to_vec()),
        Answer::Txn(response) => Some(response.encode_to_vec()),
        Answer::LeaseGrant(response) => header(&response.header),
        Answer::LeaseRevoke { response, .. } => Some(response.encode_to_vec()),
        Answer::LeaseKeepAlive(response) => header(&response.header),
        Answer::LeaseTimeToLive { response, .. } => header(&response.header),
        Answer::LeaseList(response) => header(&response.header),
        Answer::MemberList(response) => Some(response.encode_to_vec()),
        Answer::MemberAdd(response) => Some(response.encode_to_vec()),
        Answer::MemberChanged { response, .. } => Some(response.encode_to_vec()),
        Answer::MoveLeader { response, .. } => Some(response.encode_to_vec()),
        Answer::Downgrade { response, .. } => Some(response.encode_to_vec()),
        Answer::Alarm(response) => Some(response.encode_to_vec()),
        // All answers to changes of users and roles look alike.
        Answer::AuthChanged { header, .. } => Some(AuthUserAddResponse { header: *header }.encode_to_vec()),
        Answer::AuthStatus(response) => Some(response.encode_to_vec()),
        Answer::RoleGet { response, .. } => Some(response.encode_to_vec()),
        Answer::RoleList(response) => Some(response.encode_to_vec()),
        Answer::UserGet { response, .. } => Some(response.encode_to_vec()),
        Answer::UserList(response) => Some(response.encode_to_vec()),
        Answer::Watch(watch) => Some(watch_response(watch).encode_to_vec()),
        Answer::Health(_) | Answer::Status(_) | Answer::HashKv(_) => None,
    }
}

fn watch_response(watch: &WatchAnswer) -> WatchResponse {
    WatchResponse {
        header: Some(watch.header.unwrap_or_default()),
        compact_revision: watch.compact_revision,
        canceled: watch.canceled,
        events: watch.events.clone(),
        ..WatchResponse::default()
    }
}
