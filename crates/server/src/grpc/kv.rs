//! The KV service: put, range, delete, transaction, compaction.

use std::sync::Arc;

use etched_proto::wire::etcdserverpb as wire;
use etched_state_machine::{Command, Compact, Outcome};
use tonic::{Request, Response, Status};
use wire::kv_server::Kv;

use super::range_stream::RangeStream;
use super::status::{self, mismatched_answer};
use super::{convert, credentials};
use crate::api::{self, Answer, Credentials};
use crate::auth::Claim;
use crate::front::{Answered, Link};

/// Answers calls of the KV service.
#[derive(Clone, Debug)]
pub(super) struct KvService {
    pub(super) link: Arc<Link>,
    pub(super) request_bytes_max: usize,
}

/// Asks the member; a missing answer becomes its status.
pub(super) async fn ask(
    link: &Link,
    credentials: Credentials,
    request: api::Request,
) -> Result<Answered, Status> {
    link.ask(credentials, request).await.map_err(|error| status::of(&error))
}

/// Has a command carried out; gives its outcome, the store's revision and the term.
pub(super) async fn propose(
    link: &Link,
    credentials: Credentials,
    command: Command,
) -> Result<(Outcome, i64, u64), Status> {
    let request = api::Request::Propose(command);
    let Answered { answer, revision, raft_term } = ask(link, credentials, request).await?;
    let Answer::Applied(outcome) = answer else { return Err(mismatched_answer()) };
    Ok((outcome, revision, raft_term))
}

/// A header with a revision of its own; 0 is filled with the store's.
pub(super) fn header(link: &Link, own: i64, current: i64, raft_term: u64) -> Option<wire::ResponseHeader> {
    let revision = if own == 0 { current } else { own };
    Some(convert::header(link.identity(), revision, raft_term))
}

impl KvService {
    pub(super) async fn answer_range(
        self,
        credentials: Credentials,
        request: wire::RangeRequest,
    ) -> Result<wire::RangeResponse, Status> {
        let answered = ask(&self.link, credentials, self.range_request(request)?).await?;
        self.range_response(answered)
    }

    pub(super) async fn answer_put(
        self,
        credentials: Credentials,
        request: wire::PutRequest,
    ) -> Result<wire::PutResponse, Status> {
        let answered = ask(&self.link, credentials, put_request(request)).await?;
        self.put_response(answered)
    }

    pub(super) async fn answer_delete_range(
        self,
        credentials: Credentials,
        request: wire::DeleteRangeRequest,
    ) -> Result<wire::DeleteRangeResponse, Status> {
        let answered = ask(&self.link, credentials, delete_range_request(request)).await?;
        self.delete_range_response(answered)
    }

    pub(super) async fn answer_txn(
        self,
        credentials: Credentials,
        request: wire::TxnRequest,
    ) -> Result<wire::TxnResponse, Status> {
        let answered = ask(&self.link, credentials, txn_request(request)).await?;
        self.txn_response(answered)
    }

    // === the two halves of each ===

    pub(super) fn range_request(&self, request: wire::RangeRequest) -> Result<api::Request, Status> {
        let range = convert::range(request);
        if self.link.is_learner() && !range.serializable {
            return Err(status::NOT_FOR_LEARNERS.into());
        }
        Ok(api::Request::Range(range))
    }

    pub(super) fn range_response(&self, answered: Answered) -> Result<wire::RangeResponse, Status> {
        let Answered { answer: Answer::Range(output), revision, raft_term } = answered else {
            return Err(mismatched_answer());
        };
        let header = header(&self.link, output.revision, revision, raft_term);
        Ok(convert::range_response(header, output))
    }

    pub(super) fn put_response(&self, answered: Answered) -> Result<wire::PutResponse, Status> {
        let Answered { answer: Answer::Applied(Outcome::Put(done)), revision, raft_term } = answered else {
            return Err(mismatched_answer());
        };
        let header = header(&self.link, done.revision, revision, raft_term);
        Ok(convert::put_response(header, done))
    }

    pub(super) fn delete_range_response(
        &self,
        answered: Answered,
    ) -> Result<wire::DeleteRangeResponse, Status> {
        let Answered { answer: Answer::Applied(Outcome::DeleteRange(done)), revision, raft_term } = answered
        else {
            return Err(mismatched_answer());
        };
        let header = header(&self.link, done.revision, revision, raft_term);
        Ok(convert::delete_response(header, done))
    }

    pub(super) fn txn_response(&self, answered: Answered) -> Result<wire::TxnResponse, Status> {
        let Answered { answer: Answer::Applied(Outcome::Txn(done)), revision, raft_term } = answered else {
            return Err(mismatched_answer());
        };
        let header = header(&self.link, done.revision, revision, raft_term);
        Ok(convert::txn_response(header, done))
    }
}

pub(super) fn put_request(request: wire::PutRequest) -> api::Request {
    api::Request::Propose(Command::Put(convert::put(request)))
}

pub(super) fn delete_range_request(request: wire::DeleteRangeRequest) -> api::Request {
    api::Request::Propose(Command::DeleteRange(convert::delete_range(request)))
}

pub(super) fn txn_request(request: wire::TxnRequest) -> api::Request {
    api::Request::Propose(Command::Txn(convert::txn(request)))
}

#[tonic::async_trait]
impl Kv for KvService {
    type RangeStreamStream = RangeStream;

    async fn range(
        &self,
        request: Request<wire::RangeRequest>,
    ) -> Result<Response<wire::RangeResponse>, Status> {
        let credentials = credentials(&request);
        self.clone().answer_range(credentials, request.into_inner()).await.map(Response::new)
    }

    async fn range_stream(
        &self,
        request: Request<wire::RangeRequest>,
    ) -> Result<Response<RangeStream>, Status> {
        let claim = Claim::of(request.extensions());
        let range = convert::range(request.into_inner());
        let stream = RangeStream::start(Arc::clone(&self.link), claim, range, self.request_bytes_max)?;
        Ok(Response::new(stream))
    }

    async fn put(&self, request: Request<wire::PutRequest>) -> Result<Response<wire::PutResponse>, Status> {
        let credentials = credentials(&request);
        self.clone().answer_put(credentials, request.into_inner()).await.map(Response::new)
    }

    async fn delete_range(
        &self,
        request: Request<wire::DeleteRangeRequest>,
    ) -> Result<Response<wire::DeleteRangeResponse>, Status> {
        let credentials = credentials(&request);
        self.clone().answer_delete_range(credentials, request.into_inner()).await.map(Response::new)
    }

    async fn txn(&self, request: Request<wire::TxnRequest>) -> Result<Response<wire::TxnResponse>, Status> {
        let credentials = credentials(&request);
        self.clone().answer_txn(credentials, request.into_inner()).await.map(Response::new)
    }

    async fn compact(
        &self,
        request: Request<wire::CompactionRequest>,
    ) -> Result<Response<wire::CompactionResponse>, Status> {
        let credentials = credentials(&request);
        let wire::CompactionRequest { revision, physical } = request.into_inner();
        let command = Command::Compact(Compact { revision, physical });
        let (outcome, current, raft_term) = propose(&self.link, credentials, command).await?;
        let Outcome::Compact { revision } = outcome else { return Err(mismatched_answer()) };
        let header = header(&self.link, revision, current, raft_term);
        Ok(Response::new(wire::CompactionResponse { header }))
    }
}
