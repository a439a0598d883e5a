//! Watches: changes become encoded events, and history is read for watchers that are behind.

use etched_auth::{Credentials, Refusal as AuthRefusal};
use etched_backend::{BackendError, ReadView};
use etched_key_range::KeyRange;
use etched_mvcc::{Change, ChangeKind, RangeError};
use etched_watch::{Create, Event, EventKind, History, HistoryRequest, Interest, StreamId};

use super::Applier;
use crate::codec::encode_event;
use crate::watch_call::WatchCall;

/// History reads in one slice.
const HISTORY_READS_MAX: usize = 4;

/// Events after which no more history is read in a slice.
const HISTORY_EVENTS_MAX: usize = 2_000;

/// Revisions in one history read.
const HISTORY_REVISIONS_MAX: usize = 1_000;

impl Applier {
    pub(crate) fn watch(&mut self, call: WatchCall, now_ns: u64) {
        match call {
            WatchCall::Open { stream, progress_interval_ns } => {
                self.hub.open(stream, now_ns, progress_interval_ns)
            }
            WatchCall::Create { stream, create, .. } => self.hub.create(stream, create),
            WatchCall::Cancel { stream, watch_id } => self.hub.cancel(stream, watch_id),
            WatchCall::Progress { stream } => self.hub.request_progress(stream),
            WatchCall::Consumed { stream, bytes } => self.hub.on_consumed(stream, bytes),
            WatchCall::Close { stream } => self.hub.close(stream),
        }
    }

    /// Asks whether a watcher may be created. What is wrong with its start is told to whoever asks.
    pub(crate) fn permit_watch(
        &mut self,
        credentials: &Credentials,
        create: &Create,
        now_ns: u64,
    ) -> Result<(), AuthRefusal> {
        if create.start_revision < 0 {
            return Ok(());
        }
        let principal = self.identify(credentials, now_ns)?;
        let mut range = create.range.clone();
        if range.start.is_empty() {
            range.start = KeyRange::all().start;
        }
        self.machine.auth().permit_read(principal.as_ref(), &range)
    }

    /// Answers a create request of somebody who may not watch, in etcd's words, which here are those of its library.
    pub(crate) fn refuse_watch(&mut self, stream: StreamId, refusal: AuthRefusal) {
        let reason = match refusal {
            AuthRefusal::InvalidToken => {
                "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
            }
            AuthRefusal::OldRevision => {
                "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old"
            }
            AuthRefusal::UserEmpty => {
                "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
            }
            AuthRefusal::PermissionDenied
            | AuthRefusal::RootUserMissing
            | AuthRefusal::RootRoleMissing
            | AuthRefusal::UserExists
            | AuthRefusal::UserNotFound
            | AuthRefusal::RoleExists
            | AuthRefusal::RoleNotFound
            | AuthRefusal::RoleEmpty
            | AuthRefusal::PermissionNotGiven
            | AuthRefusal::RoleNotGranted
            | AuthRefusal::PermissionNotGranted
            | AuthRefusal::NotEnabled
            | AuthRefusal::AuthenticationFailed
            | AuthRefusal::NoPasswordUser
            | AuthRefusal::InvalidManagement => {
                "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
            }
        };
        self.hub.refuse(stream, reason.into());
    }

    /// Keeps the changes that somebody watches for the next publication.
    pub(super) fn note_changes(&mut self, changes: Vec<Change>) {
        self.unpublished.extend(changes.into_iter().filter(|change| self.hub.is_watched(&change.key)));
    }

    /// Tells watchers of everything that was applied since the last publication.
    pub(crate) fn publish(&mut self, view: &dyn ReadView) {
        let revision = self.machine.revision();
        if revision == self.published {
            return;
        }
        let mut events = Vec::with_capacity(self.unpublished.len());
        for change in std::mem::take(&mut self.unpublished) {
            let wants_previous = self.hub.interest(&change.key) == Interest::WithPrevious;
            match self.event(view, change, wants_previous) {
                Ok(event) => events.push(event),
                Err(error) => {
                    self.failure = Some(error.into());
                    return;
                }
            }
        }
        self.hub.publish(revision, &events);
        self.published = revision;
    }

    /// Encodes a change once, for all who are told of it.
    fn event(
        &self,
        view: &dyn ReadView,
        change: Change,
        wants_previous: bool,
    ) -> Result<Event, BackendError> {
        let kind = match change.kind {
            ChangeKind::Put => EventKind::Put { created: change.created },
            ChangeKind::Delete => EventKind::Delete,
        };
        let bytes = encode_event(change.kind, &change.record, None);
        let with_prev = if wants_previous && !change.created {
            match self.machine.store().record_at(view, &change.key, change.revision.main - 1) {
                Ok(previous) => {
                    previous.map(|previous| encode_event(change.kind, &change.record, Some(&previous)))
                }
                // What is compacted is left out, as etcd does.
                Err(RangeError::Compacted | RangeError::FutureRevision) => None,
                Err(RangeError::Backend(error)) => return Err(error),
            }
        } else {
            None
        };
        Ok(Event { revision: change.revision.main, key: change.key, kind, bytes, with_prev })
    }

    /// Reads history for watchers that are behind; `true` if more of them wait.
    pub(super) fn work_watches(&mut self, view: &dyn ReadView) -> bool {
        let mut events = 0;
        for _ in 0..HISTORY_READS_MAX {
            let Some(request) = self.hub.poll_history() else { return false };
            events += self.read_history(view, &request);
            if events >= HISTORY_EVENTS_MAX {
                break;
            }
        }
        true
    }

    /// Returns how many events were read.
    fn read_history(&mut self, view: &dyn ReadView, request: &HistoryRequest) -> usize {
        match self.history(view, request) {
            Ok(history) => {
                let events = match &history {
                    History::Events { events, .. } => events.len(),
                    History::Compacted { .. } => 0,
                };
                self.hub.on_history(request.id, history);
                events
            }
            Err(error) => {
                self.failure = Some(error.into());
                0
            }
        }
    }

    fn history(&self, view: &dyn ReadView, request: &HistoryRequest) -> Result<History, BackendError> {
        let store = self.machine.store();
        let mut wanted = |key: &[u8]| request.interest(key) != Interest::None;
        let read = store.history(
            view,
            request.from,
            request.to,
            &mut wanted,
            HISTORY_REVISIONS_MAX,
            request.bytes_max,
        );
        let history = match read {
            Ok(history) => history,
            Err(RangeError::Compacted | RangeError::FutureRevision) => {
                return Ok(History::Compacted { revision: store.compact_revision() });
            }
            Err(RangeError::Backend(error)) => return Err(error),
        };
        let mut events = Vec::with_capacity(history.changes.len());
        for change in history.changes {
            let wants_previous = request.interest(&change.key) == Interest::WithPrevious;
            events.push(self.event(view, change, wants_previous)?);
        }
        Ok(History::Events { events, next: history.next })
    }
}
