//! The running member behind the port: requests go into its queue, and its threads do the rest.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etched_replica::ApiError;
use etched_watch::StreamId;

use crate::api::{
    Answer, Api, Asked, Completion, Database, Front, FrontId, Identity, LeaderQuestion, MemberEntry,
    StatusReport, Submission, Token,
};
use crate::member::inbox::{Control, Inbox, NotTaken};
use crate::member::leader;
use crate::peer::PeerClient;

/// What the core thread shows to everybody without being asked.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) has_leader: AtomicBool,
    pub(crate) report: Mutex<Arc<StatusReport>>,
    members: Mutex<Arc<Vec<MemberEntry>>>,
}

impl Shown {
    /// The state as of the last tick or change of the leader.
    pub(crate) fn report(&self) -> Arc<StatusReport> {
        Arc::clone(&self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The members as applied.
    pub(crate) fn members(&self) -> Arc<Vec<MemberEntry>> {
        Arc::clone(&self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_members(&self, members: Vec<MemberEntry>) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(members);
    }

    /// Where the leader is reached; `None` when it is not known.
    pub(crate) fn leader_urls(&self) -> Option<Vec<String>> {
        let leader = self.report().leader;
        let members = self.members();
        members.iter().find(|member| member.id == leader).map(|member| member.peer_urls.clone())
    }
}

/// The running member; cheap to share.
pub struct MemberHandle {
    pub(crate) identity: Identity,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) fronts: Mutex<Vec<Arc<dyn Front>>>,
    pub(crate) fronts_next: AtomicUsize,
    pub(crate) streams_next: AtomicU64,
    pub(crate) client: PeerClient,
    pub(crate) request_timeout: Duration,
}

impl MemberHandle {
    /// Asks the member to flush and end; requests are refused from now on.
    pub fn stop(&self) {
        self.inbox.push_control(Control::Stop);
    }

    fn refuse(&self, front: FrontId, tokens: &[Token], error: &ApiError) {
        let fronts = self.fronts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(front) = fronts.get(front.0) {
            let completion = |token: &Token| Completion {
                token: *token,
                revision: 0,
                raft_term: 0,
                result: Err(error.clone()),
                phases: None,
            };
            front.complete(tokens.iter().map(completion).collect());
        }
    }
}

impl Api for MemberHandle {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn register(&self, front: Arc<dyn Front>) -> FrontId {
        let mut fronts = self.fronts.lock().unwrap_or_else(PoisonError::into_inner);
        fronts.push(Arc::clone(&front));
        self.inbox.push_control(Control::Register(front));
        FrontId(self.fronts_next.fetch_add(1, Ordering::Relaxed))
    }

    fn submit(&self, front: FrontId, submissions: Vec<Submission>) {
        if let Some(NotTaken { tokens, is_stopped }) = self.inbox.push(front, submissions) {
            let error = if is_stopped { ApiError::Stopped } else { ApiError::TooManyRequests };
            self.refuse(front, &tokens, &error);
        }
    }

    fn new_stream(&self) -> StreamId {
        StreamId(self.streams_next.fetch_add(1, Ordering::Relaxed))
    }

    fn has_leader(&self) -> bool {
        self.shown.has_leader.load(Ordering::Relaxed)
    }

    fn report(&self) -> Arc<StatusReport> {
        self.shown.report()
    }

    fn ask_leader(&self, question: LeaderQuestion) -> Asked<Result<Answer, ApiError>> {
        let asking = leader::ask(self.client.clone(), Arc::clone(&self.shown), question);
        let time_max = self.request_timeout;
        Box::pin(
            async move { tokio::time::timeout(time_max, asking).await.unwrap_or(Err(ApiError::Timeout)) },
        )
    }

    fn database(&self) -> Asked<Result<Database, ApiError>> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.inbox.push_control(Control::Database(sender));
        Box::pin(async move { receiver.await.unwrap_or(Err(ApiError::Stopped)) })
    }
}
