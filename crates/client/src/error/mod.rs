//! What can go wrong: one error type, with etcd's own texts recognised as [`ErrorKind`]s.
//!
//! The distinction that matters most is whether a change may have happened.
//! [`Error::fate`] answers it for every error, and [`Error::OutcomeUnknown`] says it outright.

mod kind;

use std::error::Error as StdError;
use std::sync::Arc;

use tonic::{Code, Status};

pub use self::kind::ErrorKind;

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An endpoint is not one that this client can use; found before anything was sent.
    #[error("endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// The endpoint as it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No endpoint could be reached in time, so the request was never sent.
    #[error("no endpoint could be reached in time")]
    Unreachable {
        /// The last failure, if there was one before the time was over.
        #[source]
        cause: Option<Arc<dyn StdError + Send + Sync>>,
    },
    /// The server refused the request or failed at it, and said so.
    ///
    /// The message is the server's own text: nothing is added, because programs compare it.
    #[error("{message}")]
    Server {
        /// The text's meaning, if it is one that etcd is known for.
        kind: ErrorKind,
        /// The gRPC status code.
        code: Code,
        /// The server's text.
        message: String,
    },
    /// The connection broke while the answer of a request without effects was on its way.
    #[error("the connection broke")]
    Broken {
        /// The transport's error.
        #[source]
        cause: Arc<dyn StdError + Send + Sync>,
    },
    /// The request's time was over before its answer came.
    #[error("the request was not answered in time")]
    Timeout,
    /// A change was sent, and whether it happened is not known.
    ///
    /// The client never sends such a request a second time: read the keys to find out, or make the change
    /// conditional with a transaction.
    #[error("it is not known whether the change happened")]
    OutcomeUnknown {
        /// Why the answer is missing.
        #[source]
        cause: Box<Self>,
    },
    /// A watch asked for, or fell behind to, a revision that is compacted.
    ///
    /// Read the current state, and watch from its revision + 1.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted {
        /// The oldest revision that can still be watched.
        compact_revision: i64,
    },
    /// The server ended a watch.
    #[error("the watch was cancelled by the server: {reason}")]
    WatchCanceled {
        /// The reason's meaning, if it is one that etcd is known for.
        kind: ErrorKind,
        /// The server's text; may be empty.
        reason: String,
    },
    /// The server's answers break the protocol.
    #[error("the server broke the protocol: {what}")]
    Protocol {
        /// Which rule was broken.
        what: &'static str,
    },
}

/// What became of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was not executed, and never will be.
    NotExecuted,
    /// It may have been executed, or may still be.
    Unknown,
}

impl Error {
    /// The kind of the error; [`ErrorKind::Other`] if it has no name.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Server { kind, .. } | Self::WatchCanceled { kind, .. } => *kind,
            Self::OutcomeUnknown { cause } => cause.kind(),
            Self::Compacted { .. } => ErrorKind::Compacted,
            Self::Endpoint { .. }
            | Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Timeout
            | Self::Protocol { .. } => ErrorKind::Other,
        }
    }

    /// Whether the request may have had an effect.
    ///
    /// For requests without effects (reads) the answer means only whether the server worked on them.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Endpoint { .. } | Self::Unreachable { .. } => Fate::NotExecuted,
            Self::Server { kind, code, message } => fate_of(*kind, *code, message),
            Self::Compacted { .. } | Self::WatchCanceled { .. } => Fate::NotExecuted,
            Self::Broken { .. } | Self::Timeout | Self::OutcomeUnknown { .. } | Self::Protocol { .. } => {
                Fate::Unknown
            }
        }
    }

    /// Whether the time of the request was over, here or at the server.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout | Self::Unreachable { .. } => true,
            Self::Server { code, .. } => *code == Code::DeadlineExceeded,
            Self::OutcomeUnknown { cause } => cause.is_timeout(),
            Self::Endpoint { .. }
            | Self::Broken { .. }
            | Self::Compacted { .. }
            | Self::WatchCanceled { .. }
            | Self::Protocol { .. } => false,
        }
    }

    pub(crate) fn from_server_text(code: Code, message: &str) -> Self {
        Self::Server { kind: ErrorKind::of(message), code, message: message.to_owned() }
    }
}

/// Whether a server that answered so can have executed the request.
fn fate_of(kind: ErrorKind, code: Code, message: &str) -> Fate {
    if let Some(fate) = kind.fate() {
        return fate;
    }
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Unimplemented => Fate::NotExecuted,
        Code::ResourceExhausted if message.starts_with("grpc: received message larger than max") => {
            Fate::NotExecuted
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Fate::Unknown,
    }
}

/// A failed attempt, with what is needed to decide what comes next.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The error, as for a request without effects.
    pub(crate) error: Error,
    /// The request never left this machine, or was handed back untouched.
    pub(crate) unsent: bool,
    /// The connection is of no more use.
    pub(crate) broken: bool,
    /// The server gave the request up, as it does when the time that the request has named is over.
    pub(crate) abandoned: bool,
}

impl Failure {
    /// Judges the status of an attempt.
    pub(crate) fn of(status: Status) -> Self {
        let Some(source) = status.source() else {
            let error = Error::from_server_text(status.code(), status.message());
            return Self { error, unsent: false, broken: false, abandoned: false };
        };
        if find::<tonic::TimeoutExpired>(source).is_some() {
            return Self { error: Error::Timeout, unsent: false, broken: false, abandoned: false };
        }
        let is_reset =
            |reason| find::<h2::Error>(source).is_some_and(|e| e.is_remote() && e.reason() == Some(reason));
        let refused = is_reset(h2::Reason::REFUSED_STREAM);
        let abandoned = is_reset(h2::Reason::CANCEL);
        // hyper says "canceled" only of requests that it never gave to the connection.
        let given_back = find::<hyper::Error>(source).is_some_and(hyper::Error::is_canceled);
        let undialled = find::<tonic::ConnectError>(source).is_some();
        let unsent = refused || given_back || undialled;
        let cause: Arc<dyn StdError + Send + Sync> = Arc::new(status);
        let error = if unsent { Error::Unreachable { cause: Some(cause) } } else { Error::Broken { cause } };
        Self { error, unsent, broken: true, abandoned }
    }

    /// The same failure at something that comes before the request, which was not sent then.
    pub(crate) fn before_the_request(mut self) -> Self {
        self.unsent = self.may_retry(Effect::Read);
        if self.unsent {
            let cause: Arc<dyn StdError + Send + Sync> = Arc::new(self.error);
            self.error = Error::Unreachable { cause: Some(cause) };
        }
        self
    }

    /// Whether another member may answer better than this one.
    pub(crate) fn is_of_the_member(&self) -> bool {
        self.broken
            || matches!(
                self.error.kind(),
                ErrorKind::NoLeader
                    | ErrorKind::Stopped
                    | ErrorKind::NotSupportedForLearner
                    | ErrorKind::Timeout
                    | ErrorKind::TimeoutDueToLeaderFail
                    | ErrorKind::TimeoutDueToConnectionLost
                    | ErrorKind::TimeoutWaitAppliedIndex
            )
    }

    /// Whether the same request may be sent again, without asking whoever made it.
    pub(crate) fn may_retry(&self, effect: Effect) -> bool {
        if self.unsent {
            return true;
        }
        let passing = match &self.error {
            Error::Broken { .. } => true,
            // It passes within seconds, if at all; whoever asked may rather want to know.
            Error::Server { kind: ErrorKind::Unhealthy, .. } => false,
            Error::Server { code, kind, .. } => {
                *code == Code::Unavailable || *kind == ErrorKind::NotSupportedForLearner
            }
            Error::Endpoint { .. }
            | Error::Unreachable { .. }
            | Error::Timeout
            | Error::OutcomeUnknown { .. }
            | Error::Compacted { .. }
            | Error::WatchCanceled { .. }
            | Error::Protocol { .. } => false,
        };
        match effect {
            Effect::Read => passing,
            Effect::Change => passing && self.error.fate() == Fate::NotExecuted,
        }
    }

    /// The error to hand out when there will be no further attempt.
    pub(crate) fn into_error(self, effect: Effect) -> Error {
        match effect {
            Effect::Change if !self.unsent => self.error.of_change(),
            Effect::Change | Effect::Read => self.error,
        }
    }
}

impl Error {
    /// The error of a request that was sent and has effects.
    pub(crate) fn of_change(self) -> Self {
        match self.fate() {
            Fate::NotExecuted => self,
            Fate::Unknown => Self::OutcomeUnknown { cause: Box::new(self) },
        }
    }
}

/// Whether a request has effects, which decides whether it may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing: sent again after any passing failure.
    Read,
    /// It changes something: sent again only if it was certainly not executed.
    Change,
}

/// The first error of this type in a chain of causes.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: Code, text: &str) -> Failure {
        Failure::of(Status::new(code, text))
    }

    fn dial_failure() -> Failure {
        Failure::of(Status::from_error(Box::new(tonic::ConnectError("refused".into()))))
    }

    #[test]
    fn every_named_kind_is_found_by_its_own_text() {
        for kind in ErrorKind::NAMED {
            assert_eq!(ErrorKind::of(kind.text()), *kind);
            assert_eq!(ErrorKind::of(&format!("rpc error: code = Foo desc = {}", kind.text())), *kind);
        }
        assert_eq!(ErrorKind::of("something else"), ErrorKind::Other);
    }

    #[test]
    fn the_servers_text_is_the_message() {
        let error = refusal(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted").error;
        assert_eq!(error.to_string(), ErrorKind::Compacted.text());
        assert_eq!(error.kind(), ErrorKind::Compacted);
    }

    #[test]
    fn a_change_that_was_never_sent_is_sent_again() {
        let failure = dial_failure();
        assert!(failure.unsent && failure.broken);
        assert!(failure.may_retry(Effect::Change));
        assert_eq!(failure.into_error(Effect::Change).fate(), Fate::NotExecuted);
    }

    #[test]
    fn a_change_on_a_broken_connection_is_not_sent_again() {
        let reset = h2::Error::from(h2::Reason::INTERNAL_ERROR);
        let failure = Failure::of(Status::from_error(Box::new(reset)));
        assert!(failure.broken && !failure.unsent);
        assert!(!failure.may_retry(Effect::Change));
        assert!(failure.may_retry(Effect::Read));
        assert!(matches!(failure.into_error(Effect::Change), Error::OutcomeUnknown { .. }));
    }

    #[test]
    fn a_proposal_that_timed_out_at_the_server_has_an_unknown_outcome() {
        for kind in [ErrorKind::Timeout, ErrorKind::TimeoutDueToConnectionLost, ErrorKind::Stopped] {
            let failure = refusal(Code::Unavailable, kind.text());
            assert!(!failure.may_retry(Effect::Change), "{kind:?}");
            assert!(failure.may_retry(Effect::Read), "{kind:?}");
            let error = failure.into_error(Effect::Change);
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{kind:?}");
            assert_eq!(error.kind(), kind);
        }
    }

    #[test]
    fn a_refusal_for_want_of_a_leader_is_tried_again_elsewhere() {
        let failure = refusal(Code::Unavailable, ErrorKind::NoLeader.text());
        assert!(failure.may_retry(Effect::Change) && failure.is_of_the_member());
    }

    #[test]
    fn an_unhealthy_cluster_is_told_at_once() {
        let failure = refusal(Code::Unavailable, "etcdserver: unhealthy cluster");
        assert!(!failure.may_retry(Effect::Change) && !failure.may_retry(Effect::Read));
        assert_eq!(failure.error.fate(), Fate::NotExecuted);
    }

    #[test]
    fn a_plain_refusal_is_final_and_its_outcome_is_known() {
        let failure = refusal(Code::ResourceExhausted, ErrorKind::NoSpace.text());
        assert!(!failure.may_retry(Effect::Read) && !failure.is_of_the_member());
        assert_eq!(failure.into_error(Effect::Change).kind(), ErrorKind::NoSpace);
    }

    #[test]
    fn an_answer_too_large_to_read_leaves_the_outcome_open() {
        let failure = refusal(Code::OutOfRange, "Error, decoded message length too large");
        assert!(matches!(failure.into_error(Effect::Change), Error::OutcomeUnknown { .. }));
    }
}
