//! The Cluster service: who is in it. Changing that is not there yet.

use std::sync::Arc;

use etched_proto::wire::etcdserverpb as wire;
use tonic::{Request, Response, Status};
use wire::cluster_server::Cluster;

use super::convert;
use super::kv::ask;
use super::status::{mismatched_answer, not_yet};
use crate::api::{self, Answer};
use crate::front::Link;

/// Answers calls of the Cluster service.
#[derive(Clone, Debug)]
pub(super) struct ClusterService {
    pub(super) link: Arc<Link>,
}

const CHANGES: &str = "changing the members";

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<wire::MemberListRequest>,
    ) -> Result<Response<wire::MemberListResponse>, Status> {
        let linearizable = request.into_inner().linearizable;
        let answered = ask(&self.link, api::Request::Members { linearizable }).await?;
        let Answer::Members(members) = answered.answer else { return Err(mismatched_answer()) };
        // Headers of this service have no revision.
        let header = Some(convert::header(self.link.identity(), 0, answered.raft_term));
        let members = members.into_iter().map(convert::member).collect();
        Ok(Response::new(wire::MemberListResponse { header, members }))
    }

    async fn member_add(
        &self,
        _request: Request<wire::MemberAddRequest>,
    ) -> Result<Response<wire::MemberAddResponse>, Status> {
        Err(not_yet(CHANGES))
    }

    async fn member_remove(
        &self,
        _request: Request<wire::MemberRemoveRequest>,
    ) -> Result<Response<wire::MemberRemoveResponse>, Status> {
        Err(not_yet(CHANGES))
    }

    async fn member_update(
        &self,
        _request: Request<wire::MemberUpdateRequest>,
    ) -> Result<Response<wire::MemberUpdateResponse>, Status> {
        Err(not_yet(CHANGES))
    }

    async fn member_promote(
        &self,
        _request: Request<wire::MemberPromoteRequest>,
    ) -> Result<Response<wire::MemberPromoteResponse>, Status> {
        Err(not_yet(CHANGES))
    }
}
