//! One front thread's way to the member.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use tokio::sync::Notify;

use super::calls::Call;
use super::mailbox::Mailbox;
use super::streams::Ending;
use crate::api::{
    Answer, Api, ApiError, Completion, Credentials, FrontId, Identity, LeaderQuestion, Request, Submission,
    WatchCall,
};
use crate::metrics::Metrics;

/// What a handler needs: the member, and what it records.
#[derive(Debug)]
pub(crate) struct Link {
    api: DebugApi,
    front: FrontId,
    mailbox: Arc<Mailbox>,
    metrics: Arc<Metrics>,
    is_learner: AtomicBool,
    is_stopping: AtomicBool,
    stopping: Notify,
    jitter: AtomicU64,
}

/// A member that can stand in a value with `Debug`.
struct DebugApi(Arc<dyn Api>);

impl std::fmt::Debug for DebugApi {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.identity().fmt(formatter)
    }
}

/// An answer, and what its header says.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The answer.
    pub(crate) answer: Answer,
    /// The store's revision.
    pub(crate) revision: i64,
    /// The Raft term.
    pub(crate) raft_term: u64,
}

impl Link {
    /// Registers a new front with the member.
    pub(crate) fn new(api: Arc<dyn Api>, metrics: Arc<Metrics>) -> Arc<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let front = api.register(Arc::clone(&mailbox) as Arc<dyn crate::api::Front>);
        Arc::new(Self {
            api: DebugApi(api),
            front,
            mailbox,
            metrics,
            is_learner: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            stopping: Notify::new(),
            jitter: AtomicU64::new(front.0 as u64),
        })
    }

    /// The member.
    pub(crate) fn api(&self) -> &dyn Api {
        &*self.api.0
    }

    /// The member's names.
    pub(crate) fn identity(&self) -> &Identity {
        self.api().identity()
    }

    /// What is recorded.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Asks the member for something in somebody's name; [`Credentials::Member`] is for the server's own questions.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub(crate) async fn ask(&self, credentials: Credentials, request: Request) -> Result<Answered, ApiError> {
        let is_promotion = matches!(request, Request::MemberPromote { .. });
        let Completion { revision, raft_term, result, .. } = *self.start(credentials, request)?.await;
        if is_promotion {
            self.metrics.record_promotion(result.as_ref().err());
        }
        result.map(|answer| Answered { answer, revision, raft_term })
    }

    /// Has the leader answer what only it can.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub(crate) async fn ask_leader(&self, question: LeaderQuestion) -> Result<Answered, ApiError> {
        let answer = self.api().ask_leader(question).await?;
        let report = self.api().report();
        Ok(Answered { answer, revision: report.revision, raft_term: report.raft_term })
    }

    /// Hands a request to the member; the call resolves to its completion.
    ///
    /// # Errors
    ///
    /// When too many requests wait.
    pub(crate) fn start(&self, credentials: Credentials, request: Request) -> Result<Call, ApiError> {
        let token = self.mailbox.calls().open().ok_or(ApiError::TooManyRequests)?;
        let waits_for_ever = matches!(
            request,
            Request::MemberAdd { .. }
                | Request::MemberRemove { .. }
                | Request::MemberUpdate { .. }
                | Request::MemberPromote { .. }
        );
        let call = Call::new(Arc::clone(&self.mailbox), token, waits_for_ever);
        self.mailbox.send(Submission::Request { token, credentials, request, wants_phases: false });
        Ok(call)
    }

    /// Hands one call of a watch stream to the member.
    pub(crate) fn watch(&self, call: WatchCall) {
        self.mailbox.send(Submission::Watch(call));
    }

    /// Whether this member does not vote, as of the last look.
    pub(crate) fn is_learner(&self) -> bool {
        self.is_learner.load(Ordering::Relaxed)
    }

    /// Whether streams are being ended.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Returns when streams are being ended.
    pub(crate) async fn stopped(&self) {
        // Asked for before the look, so that no end is missed in between.
        let stopping = self.stopping.notified();
        if !self.is_stopping() {
            stopping.await;
        }
    }

    /// A number below `bound` that differs from call to call; not for secrets.
    pub(crate) fn jitter_below(&self, bound: u64) -> u64 {
        let state = self.jitter.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % bound.max(1)
    }

    /// Hands out what comes from the member, and hands over what gathered for it, for ever.
    pub(crate) async fn run(&self) {
        let outgoing = self.mailbox.run_outgoing(|submissions| self.api().submit(self.front, submissions));
        tokio::join!(self.mailbox.run(), outgoing);
    }

    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Notes what calls are checked against; `no_leader` ends the streams whose clients want a leader.
    pub(super) fn look(&self, no_leader: bool) {
        self.is_learner.store(self.api().report().is_learner, Ordering::Relaxed);
        if no_leader {
            self.end_streams(Ending::NoLeader);
        }
    }

    /// Ends all streams, those that come later too.
    pub(super) fn stop_streams(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.stopping.notify_waiters();
        self.end_streams(Ending::Stopped);
    }

    fn end_streams(&self, ending: Ending) {
        let streams = self.mailbox.streams();
        let concerned = streams.values().filter(|slot| ending == Ending::Stopped || slot.needs_leader());
        let wakers: Vec<_> = concerned.filter_map(|slot| slot.end(ending)).collect();
        drop(streams);
        wakers.into_iter().for_each(Waker::wake);
    }
}
