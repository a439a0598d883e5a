//! The Cluster service: who is in it, and changes of that.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use etched_proto::wire::etcdserverpb as wire;
use tonic::{Request, Response, Status};
use wire::cluster_server::Cluster;

use super::kv::ask;
use super::status::{self, mismatched_answer};
use super::{convert, credentials};
use crate::api::{self, Answer, ApiError, Credentials, LeaderQuestion, MemberEntry};
use crate::auth::Claim;
use crate::front::{Answered, Link};

/// Answers calls of the Cluster service.
#[derive(Clone, Debug)]
pub(super) struct ClusterService {
    pub(super) link: Arc<Link>,
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<wire::MemberListRequest>,
    ) -> Result<Response<wire::MemberListResponse>, Status> {
        let credentials = credentials(&request);
        let linearizable = request.into_inner().linearizable;
        let answered = ask(&self.link, credentials, api::Request::Members { linearizable }).await?;
        let Answer::Members(members) = answered.answer else { return Err(mismatched_answer()) };
        // Headers of this service have no revision.
        let header = Some(convert::header(self.link.identity(), 0, answered.raft_term));
        let members = members.into_iter().map(convert::member).collect();
        Ok(Response::new(wire::MemberListResponse { header, members }))
    }

    async fn member_add(
        &self,
        request: Request<wire::MemberAddRequest>,
    ) -> Result<Response<wire::MemberAddResponse>, Status> {
        let credentials = credentials(&request);
        let wire::MemberAddRequest { peer_ur_ls: peer_urls, is_learner } = request.into_inner();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let request = api::Request::MemberAdd { peer_urls, is_learner, unix_seconds };
        let (header, member, members) = self.change(credentials, request).await?;
        Ok(Response::new(wire::MemberAddResponse { header, member: member.map(convert::member), members }))
    }

    async fn member_remove(
        &self,
        request: Request<wire::MemberRemoveRequest>,
    ) -> Result<Response<wire::MemberRemoveResponse>, Status> {
        let credentials = credentials(&request);
        let id = request.into_inner().id;
        let (header, _, members) = self.change(credentials, api::Request::MemberRemove { id }).await?;
        Ok(Response::new(wire::MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<wire::MemberUpdateRequest>,
    ) -> Result<Response<wire::MemberUpdateResponse>, Status> {
        let credentials = credentials(&request);
        let wire::MemberUpdateRequest { id, peer_ur_ls: peer_urls } = request.into_inner();
        let (header, _, members) =
            self.change(credentials, api::Request::MemberUpdate { id, peer_urls }).await?;
        Ok(Response::new(wire::MemberUpdateResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<wire::MemberPromoteRequest>,
    ) -> Result<Response<wire::MemberPromoteResponse>, Status> {
        let claim = Claim::of(request.extensions());
        let id = request.into_inner().id;
        let answered = match self.link.ask(claim.credentials(), api::Request::MemberPromote { id }).await {
            // Only the leader knows how far the learner is.
            Err(ApiError::NotLeader) => {
                let token = claim.token().cloned();
                self.link.ask_leader(LeaderQuestion::MemberPromote { id, token }).await
            }
            answered => answered,
        };
        let (header, _, members) = self.changed(answered)?;
        Ok(Response::new(wire::MemberPromoteResponse { header, members }))
    }
}

type Changed = (Option<wire::ResponseHeader>, Option<MemberEntry>, Vec<wire::Member>);

impl ClusterService {
    async fn change(&self, credentials: Credentials, request: api::Request) -> Result<Changed, Status> {
        self.changed(self.link.ask(credentials, request).await)
    }

    fn changed(&self, answered: Result<Answered, ApiError>) -> Result<Changed, Status> {
        let Answered { answer, raft_term, .. } = answered.map_err(|error| status::of(&error))?;
        let Answer::MemberChanged { member, members } = answer else { return Err(mismatched_answer()) };
        // Headers of this service have no revision.
        let header = Some(convert::header(self.link.identity(), 0, raft_term));
        Ok((header, member, members.into_iter().map(convert::member).collect()))
    }
}
