//! The Election service: one leader at a time for a name, and a value that it proclaims.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use etched_key_range::KeyRange;
use etched_proto::wire::v3electionpb as wire;
use etched_proto::wire::{etcdserverpb, mvccpb};
use etched_state_machine::{Command, Txn, TxnOp};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use wire::election_server::Election;

use super::errand::{self, Errand, Told, Watch, Withdrawal};
use super::{needs_leader, status};
use crate::front::{Link, Next, OpenStream};
use crate::metrics::rpc::MethodId;

/// Answers calls of the Election service.
#[derive(Clone, Debug)]
pub(super) struct ElectionService {
    pub(super) link: Arc<Link>,
}

#[tonic::async_trait]
impl Election for ElectionService {
    type ObserveStream = Observing;

    async fn campaign(
        &self,
        request: Request<wire::CampaignRequest>,
    ) -> Result<Response<wire::CampaignResponse>, Status> {
        let errand = Errand::of(&self.link, &request);
        let wire::CampaignRequest { name, lease, value } = request.into_inner();
        let lease = errand.lease(lease).await?;
        let prefix = errand::prefix_of(&name);
        let key = errand::key_of(&prefix, lease);
        let txn = Txn {
            compares: vec![errand::was_created_at(key.clone(), 0)],
            success: vec![errand::put(key.clone(), value.clone(), lease)],
            failure: vec![TxnOp::Range(errand::get(key.clone()))],
        };
        let told = errand.txn(txn).await?;
        let mut leader = wire::LeaderKey { name, key, rev: told.revision(), lease };
        if !told.what.succeeded
            && let Some(record) = errand::first_read(&told.what, 0)?
        {
            leader.rev = record.create_revision;
            if record.value != value
                && let Err(error) = proclaim(&errand, &leader, value).await
            {
                // The candidacy of before is given up; whether that works changes nothing for the caller.
                let _ = resign(&errand, &leader).await;
                return Err(error);
            }
        }
        let withdrawal = Withdrawal::new(&errand, Command::Txn(resignation(&leader)));
        let waited = errand.wait_for_turn(&prefix, leader.rev).await;
        // Only a caller that goes away leaves the queue; other errors leave it in.
        withdrawal.cancel();
        waited?;
        Ok(Response::new(wire::CampaignResponse { header: told.header, leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<wire::ProclaimRequest>,
    ) -> Result<Response<wire::ProclaimResponse>, Status> {
        let errand = Errand::of(&self.link, &request);
        let wire::ProclaimRequest { leader, value } = request.into_inner();
        let leader = leader.ok_or_else(no_leader_given)?;
        let header = proclaim(&errand, &leader, value).await?;
        Ok(Response::new(wire::ProclaimResponse { header }))
    }

    async fn leader(
        &self,
        request: Request<wire::LeaderRequest>,
    ) -> Result<Response<wire::LeaderResponse>, Status> {
        let errand = Errand::of(&self.link, &request);
        let prefix = errand::prefix_of(&request.into_inner().name);
        let Told { header, what } = errand.oldest(&prefix).await?;
        let kv = what.ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(wire::LeaderResponse { header, kv: Some(wire_record(kv)) }))
    }

    async fn observe(&self, request: Request<wire::LeaderRequest>) -> Result<Response<Observing>, Status> {
        let needs_leader = needs_leader(request.metadata().as_ref());
        let errand = Errand::of(&self.link, &request);
        let prefix = errand::prefix_of(&request.into_inner().name);
        let observer = Observer { errand, prefix, leader: None };
        Ok(Response::new(Observing {
            method: super::method_id("/v3electionpb.Election/Observe"),
            ending: OpenStream::new(Arc::clone(&self.link), needs_leader, None),
            link: Arc::clone(&self.link),
            next: Some(Box::pin(observer.next())),
        }))
    }

    async fn resign(
        &self,
        request: Request<wire::ResignRequest>,
    ) -> Result<Response<wire::ResignResponse>, Status> {
        let errand = Errand::of(&self.link, &request);
        let leader = request.into_inner().leader.ok_or_else(no_leader_given)?;
        let header = resign(&errand, &leader).await?;
        Ok(Response::new(wire::ResignResponse { header }))
    }
}

type Header = Option<etcdserverpb::ResponseHeader>;

fn no_leader_given() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

async fn proclaim(errand: &Errand, leader: &wire::LeaderKey, value: bytes::Bytes) -> Result<Header, Status> {
    let told = errand
        .txn(Txn {
            compares: vec![errand::was_created_at(leader.key.clone(), leader.rev)],
            success: vec![errand::put(leader.key.clone(), value, leader.lease)],
            failure: Vec::new(),
        })
        .await?;
    if told.what.succeeded { Ok(told.header) } else { Err(Status::unknown("election: not leader")) }
}

async fn resign(errand: &Errand, leader: &wire::LeaderKey) -> Result<Header, Status> {
    Ok(errand.txn(resignation(leader)).await?.header)
}

/// Deletes a leader's key if it is still the same.
fn resignation(leader: &wire::LeaderKey) -> Txn {
    let Command::DeleteRange(delete) = errand::delete(leader.key.clone()) else {
        unreachable!("deleting is a command of its own")
    };
    Txn {
        compares: vec![errand::was_created_at(leader.key.clone(), leader.rev)],
        success: vec![TxnOp::DeleteRange(delete)],
        failure: Vec::new(),
    }
}

fn wire_record(record: etched_proto::mvccpb::KeyValue) -> mvccpb::KeyValue {
    let etched_proto::mvccpb::KeyValue { key, create_revision, mod_revision, version, value, lease } = record;
    mvccpb::KeyValue { key, create_revision, mod_revision, version, value, lease }
}

// === observing ===

/// Follows the leaders of a name.
#[derive(Debug)]
struct Observer {
    errand: Errand,
    prefix: Vec<u8>,
    /// The leader that is watched; `None` while it is to be found out who leads.
    leader: Option<Observed>,
}

#[derive(Debug)]
struct Observed {
    watch: Watch,
    /// What it proclaimed and is not yet sent.
    proclaimed: VecDeque<wire::LeaderResponse>,
    has_resigned: bool,
}

type Step = Option<(wire::LeaderResponse, Observer)>;

impl Observer {
    /// What is to be sent next; `None` when nothing comes any more, which is a good end whatever the reason.
    async fn next(mut self) -> Step {
        loop {
            let Some(observed) = &mut self.leader else {
                let (header, record) = self.find().await.ok()?;
                let from = header.as_ref().map_or(0, |header| header.revision) + 1;
                let watch = self.errand.watch(KeyRange::single(record.key.clone()), from);
                let response = wire::LeaderResponse { header, kv: Some(wire_record(record)) };
                self.leader = Some(Observed { watch, proclaimed: VecDeque::new(), has_resigned: false });
                return Some((response, self));
            };
            if let Some(response) = observed.proclaimed.pop_front() {
                return Some((response, self));
            }
            if observed.has_resigned {
                self.leader = None;
                continue;
            }
            let Told { header, what } = observed.watch.next().await.ok()?;
            let put = what.iter().position(errand::is_delete).unwrap_or(what.len());
            observed.has_resigned = put < what.len();
            for event in what.into_iter().take(put) {
                let kv = event.kv.map(wire_record);
                observed.proclaimed.push_back(wire::LeaderResponse { header, kv });
            }
        }
    }

    /// The leader of now, or else the first one to come.
    async fn find(&self) -> Result<(Header, etched_proto::mvccpb::KeyValue), Status> {
        let told = self.errand.oldest(&self.prefix).await?;
        let revision = told.revision();
        if let Some(record) = told.what {
            return Ok((told.header, record));
        }
        let mut watch = self.errand.watch(KeyRange::prefix(&self.prefix), revision);
        loop {
            let Told { header, what } = watch.next().await?;
            let first = what.into_iter().find(|event| !errand::is_delete(event));
            if let Some(record) = first.and_then(|event| event.kv) {
                let header = header
                    .map(|header| etcdserverpb::ResponseHeader { revision: record.mod_revision, ..header });
                return Ok((header, record));
            }
        }
    }
}

/// The stream of leaders.
pub(super) struct Observing {
    link: Arc<Link>,
    method: Option<MethodId>,
    /// Tells when the stream has to end from this side.
    ending: OpenStream,
    next: Option<Pin<Box<dyn Future<Output = Step> + Send>>>,
}

impl Stream for Observing {
    type Item = Result<wire::LeaderResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let step = next.as_mut().poll(context);
        if let Poll::Ready(Next::End(ending)) = self.ending.poll_next(context) {
            self.next = None;
            return Poll::Ready(Some(Err(status::of_ending(ending))));
        }
        let step = ready!(step);
        self.next = None;
        match step {
            None => Poll::Ready(None),
            Some((response, observer)) => {
                self.next = Some(Box::pin(observer.next()));
                if let Some(method) = self.method {
                    self.link.metrics().rpc.send(method);
                }
                Poll::Ready(Some(Ok(response)))
            }
        }
    }
}
