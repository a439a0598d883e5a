//! The Lease service: grant, revoke, keep alive, time to live, list.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use etched_proto::wire::etcdserverpb as wire;
use etched_state_machine::{Command, Outcome};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};
use wire::lease_server::Lease;

use super::kv::{ask, header, propose};
use super::status::{self, Reading, mismatched_answer};
use super::{credentials, needs_leader};
use crate::api::{self, Answer, ApiError, Completion, LeaderQuestion};
use crate::auth::Claim;
use crate::front::{Answered, Call, Link, Next, OpenStream};
use crate::metrics::rpc::MethodId;

/// Answers calls of the Lease service.
#[derive(Clone, Debug)]
pub(super) struct LeaseService {
    pub(super) link: Arc<Link>,
}

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream = KeepAliveStream;

    async fn lease_grant(
        &self,
        request: Request<wire::LeaseGrantRequest>,
    ) -> Result<Response<wire::LeaseGrantResponse>, Status> {
        let credentials = credentials(&request);
        let wire::LeaseGrantRequest { id, ttl } = request.into_inner();
        let command = Command::LeaseGrant { id, ttl };
        let (outcome, current, raft_term) = propose(&self.link, credentials, command).await?;
        let Outcome::LeaseGrant { revision, id, ttl } = outcome else { return Err(mismatched_answer()) };
        let header = header(&self.link, revision, current, raft_term);
        Ok(Response::new(wire::LeaseGrantResponse { header, id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<wire::LeaseRevokeRequest>,
    ) -> Result<Response<wire::LeaseRevokeResponse>, Status> {
        let credentials = credentials(&request);
        let command = Command::LeaseRevoke { id: request.into_inner().id };
        let (outcome, current, raft_term) = propose(&self.link, credentials, command).await?;
        let Outcome::LeaseRevoke { revision } = outcome else { return Err(mismatched_answer()) };
        let header = header(&self.link, revision, current, raft_term);
        Ok(Response::new(wire::LeaseRevokeResponse { header }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<wire::LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAliveStream>, Status> {
        let needs_leader = needs_leader(request.metadata().as_ref());
        Ok(Response::new(KeepAliveStream {
            link: Arc::clone(&self.link),
            claim: Claim::of(request.extensions()),
            method: super::method_id("/etcdserverpb.Lease/LeaseKeepAlive"),
            requests: request.into_inner(),
            stream: OpenStream::new(Arc::clone(&self.link), needs_leader, None),
            renewal: None,
            is_over: false,
        }))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<wire::LeaseTimeToLiveRequest>,
    ) -> Result<Response<wire::LeaseTimeToLiveResponse>, Status> {
        let credentials = credentials(&request);
        let wire::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let asked = || self.link.ask(credentials.clone(), api::Request::LeaseTimeToLive { id, keys });
        let answered = match asked().await {
            Err(ApiError::NotPrimary) => {
                let answered = self.link.ask_leader(LeaderQuestion::LeaseTimeToLive { id, keys }).await;
                // The right to see the keys may have been lost meanwhile.
                match asked().await {
                    Err(ApiError::Refused(refusal)) if keys => Err(ApiError::Refused(refusal)),
                    Ok(_) | Err(_) => answered,
                }
            }
            answered => answered,
        };
        let answered = answered.map_err(|error| status::of(&error))?;
        let Answer::LeaseTimeToLive(lease) = answered.answer else { return Err(mismatched_answer()) };
        let header = header(&self.link, 0, answered.revision, answered.raft_term);
        Ok(Response::new(match lease {
            Some(lease) => wire::LeaseTimeToLiveResponse {
                header,
                id,
                ttl: lease.remaining,
                granted_ttl: lease.granted,
                keys: lease.keys,
            },
            None => wire::LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() },
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<wire::LeaseLeasesRequest>,
    ) -> Result<Response<wire::LeaseLeasesResponse>, Status> {
        let answered = ask(&self.link, credentials(&request), api::Request::Leases).await?;
        let Answer::Leases(ids) = answered.answer else { return Err(mismatched_answer()) };
        let header = header(&self.link, 0, answered.revision, answered.raft_term);
        let leases = ids.into_iter().map(|id| wire::LeaseStatus { id }).collect();
        Ok(Response::new(wire::LeaseLeasesResponse { header, leases }))
    }
}

/// Renewals, one after the other: each request has its response before the next one is read.
#[derive(Debug)]
pub(super) struct KeepAliveStream {
    link: Arc<Link>,
    claim: Claim,
    method: Option<MethodId>,
    requests: Streaming<wire::LeaseKeepAliveRequest>,
    stream: OpenStream,
    renewal: Option<(i64, Renewal)>,
    is_over: bool,
}

/// A renewal on its way.
enum Renewal {
    /// At this member.
    Own(Call),
    /// At the leader.
    Leader(Pin<Box<dyn Future<Output = Result<Answered, ApiError>> + Send>>),
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Own(_) => "Own",
            Self::Leader(_) => "Leader",
        })
    }
}

impl Renewal {
    fn poll(
        &mut self,
        link: &Arc<Link>,
        id: i64,
        context: &mut Context<'_>,
    ) -> Poll<Result<Answered, ApiError>> {
        if let Self::Own(call) = self {
            let Poll::Ready(completion) = Pin::new(call).poll(context) else { return Poll::Pending };
            let Completion { revision, raft_term, result, .. } = *completion;
            match result {
                Err(ApiError::NotPrimary) => {
                    let link = Arc::clone(link);
                    let asking = async move { link.ask_leader(LeaderQuestion::LeaseRenew { id }).await };
                    *self = Self::Leader(Box::pin(asking));
                }
                result => {
                    return Poll::Ready(result.map(|answer| Answered { answer, revision, raft_term }));
                }
            }
        }
        match self {
            Self::Own(_) => Poll::Pending,
            Self::Leader(asking) => asking.as_mut().poll(context),
        }
    }
}

impl KeepAliveStream {
    /// `None` when the client has closed its side and all is answered.
    fn poll_response(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<wire::LeaseKeepAliveResponse, Status>>> {
        if let Poll::Ready(Next::End(ending)) = self.stream.poll_next(context) {
            return Poll::Ready(Some(Err(status::of_ending(ending))));
        }
        if self.renewal.is_none() {
            let request = match Pin::new(&mut self.requests).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => {
                    self.link.metrics().stream_failures.renewal_receive.increment();
                    return Poll::Ready(Some(Err(status::as_grpc_go(error, Reading::Message))));
                }
                Poll::Ready(Some(Ok(request))) => request,
            };
            if let Some(method) = self.method {
                self.link.metrics().rpc.receive(method);
            }
            match self.link.start(self.claim.credentials(), api::Request::LeaseRenew { id: request.id }) {
                Ok(call) => self.renewal = Some((request.id, Renewal::Own(call))),
                Err(error) => return Poll::Ready(Some(Err(status::of(&error)))),
            }
        }
        let Some((id, renewal)) = &mut self.renewal else { return Poll::Pending };
        let id = *id;
        let Poll::Ready(answered) = renewal.poll(&self.link, id, context) else { return Poll::Pending };
        self.renewal = None;
        Poll::Ready(Some(match answered {
            Ok(Answered { answer: Answer::LeaseRenewed { ttl }, revision, raft_term }) => {
                let header = header(&self.link, 0, revision, raft_term);
                Ok(wire::LeaseKeepAliveResponse { header, id, ttl })
            }
            Ok(_) => Err(mismatched_answer()),
            Err(error) => Err(status::of(&error)),
        }))
    }
}

impl Stream for KeepAliveStream {
    type Item = Result<wire::LeaseKeepAliveResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let polled = self.poll_response(context);
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                if let Some(method) = self.method {
                    self.link.metrics().rpc.send(method);
                }
            }
            Poll::Ready(Some(Err(_)) | None) => self.is_over = true,
            Poll::Pending => {}
        }
        polled
    }
}
