//! The watches of one stream as a state machine, without I/O.
//!
//! A watch is *waiting* for a stream, being *created* on it, *active*, or *paused* because its reader is slow.
//! What makes it gapless is one number: the next revision, which the watch asks for whenever it is created again.
//! It grows only by what was completely received: by whole responses (fragments are put together first), and by the
//! progress that the server vouches for.
//!
//! Every creation on the server has an id of its own, never used again, so that what arrives late for an earlier
//! creation of the same watch is recognised and ignored.
//!
//! Call `on_*` for what happened, then [`Machine::poll_outcome`] and, as the stream has room,
//! [`Machine::poll_request`], until both are empty.

use std::collections::{BTreeMap, VecDeque};

use etched_proto::etcdserverpb::watch_request::RequestUnion;
use etched_proto::etcdserverpb::{
    ResponseHeader, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use etched_proto::mvccpb::Event;

use super::WatchNotice;
use super::mailbox::WatchKey;
use crate::{Error, ErrorKind};

/// The id in responses that are about no watch, or about all of them.
const NO_ID: i64 = -1;

/// All watches of a client.
#[derive(Debug, Default)]
pub(super) struct Machine {
    watches: BTreeMap<WatchKey, Watched>,
    keys: BTreeMap<i64, WatchKey>,
    /// Ids of the creations that were requested on this stream and not answered, in order.
    creating: VecDeque<i64>,
    requests: VecDeque<WatchRequest>,
    outcomes: VecDeque<Outcome>,
    last_id: i64,
    connected: bool,
}

/// What the machine has to say about a watch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The server confirmed it for the first time, with this header.
    Created { key: WatchKey, header: ResponseHeader },
    /// Its reader gets this.
    Notice { key: WatchKey, notice: WatchNotice },
    /// It is over.
    Ended { key: WatchKey, error: Error },
}

#[derive(Debug)]
struct Watched {
    request: WatchCreateRequest,
    /// The least revision that was not delivered; 0 until the server has confirmed a watch "from now on".
    next_revision: i64,
    phase: Phase,
    confirmed: bool,
    progress_asked: bool,
    /// The events of the fragments received so far.
    fragments: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Creating { id: i64 },
    Active { id: i64 },
    Paused,
}

impl Machine {
    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Whether the server has not yet answered a question for progress.
    pub(super) fn wants_progress(&self) -> bool {
        self.watches.values().any(|watched| watched.progress_asked)
    }

    /// Takes up a watch.
    pub(super) fn create(&mut self, key: WatchKey, request: WatchCreateRequest) {
        let watched = Watched {
            next_revision: request.start_revision,
            request,
            phase: Phase::Waiting,
            confirmed: false,
            progress_asked: false,
            fragments: Vec::new(),
        };
        let previous = self.watches.insert(key, watched);
        assert!(previous.is_none(), "watch {key:?} is created once");
        self.start(key);
    }

    /// Forgets a watch.
    pub(super) fn cancel(&mut self, key: WatchKey) {
        if let Some(watched) = self.watches.remove(&key) {
            self.take_off(watched.phase);
        }
    }

    /// The reader of a watch is too slow: take it off the server, after what was delivered.
    pub(super) fn pause(&mut self, key: WatchKey) {
        if let Some(watched) = self.watches.get_mut(&key) {
            watched.fragments.clear();
            let phase = std::mem::replace(&mut watched.phase, Phase::Paused);
            self.take_off(phase);
        }
    }

    /// The reader of a paused watch has caught up.
    pub(super) fn resume(&mut self, key: WatchKey) {
        if let Some(watched) = self.watches.get_mut(&key)
            && watched.phase == Phase::Paused
        {
            watched.phase = Phase::Waiting;
            self.start(key);
        }
    }

    /// The reader of a watch wants to know how far it is.
    pub(super) fn ask_progress(&mut self, key: WatchKey) {
        if let Some(watched) = self.watches.get_mut(&key) {
            watched.progress_asked = true;
            self.repeat_progress();
        }
    }

    /// Time to ask once more for a progress that was not answered.
    pub(super) fn repeat_progress(&mut self) {
        let request = RequestUnion::ProgressRequest(WatchProgressRequest {});
        let queued = self.requests.iter().any(|queued| queued.request_union.as_ref() == Some(&request));
        if self.connected && !queued && self.wants_progress() {
            self.requests.push_back(WatchRequest { request_union: Some(request) });
        }
    }

    /// There is a new stream.
    pub(super) fn on_connected(&mut self) {
        assert!(!self.connected && self.requests.is_empty(), "streams follow each other");
        self.connected = true;
        let keys: Vec<_> = self.watches.keys().copied().collect();
        for key in keys {
            self.start(key);
        }
        self.repeat_progress();
    }

    /// The stream is gone.
    pub(super) fn on_disconnected(&mut self) {
        self.connected = false;
        self.keys.clear();
        self.creating.clear();
        self.requests.clear();
        for watched in self.watches.values_mut() {
            watched.fragments.clear();
            if watched.phase != Phase::Paused {
                watched.phase = Phase::Waiting;
            }
        }
    }

    /// No stream will do: all watches end with this error.
    pub(super) fn fail_all(&mut self, error: &Error) {
        self.on_disconnected();
        for (key, _) in std::mem::take(&mut self.watches) {
            self.outcomes.push_back(Outcome::Ended { key, error: error.clone() });
        }
    }

    /// The server said something.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] if it cannot be meant so; the stream is of no more use.
    pub(super) fn on_response(&mut self, response: WatchResponse) -> Result<(), Error> {
        if response.created {
            return self.on_created(&response);
        }
        if response.watch_id == NO_ID {
            if !response.canceled && response.events.is_empty() {
                self.on_progress_of_all(response.header.unwrap_or_default());
            }
            return Ok(());
        }
        let Some(&key) = self.keys.get(&response.watch_id) else {
            return Ok(());
        };
        if response.canceled {
            self.on_canceled(key, &response);
        } else if response.events.is_empty() && !response.fragment && self.watches[&key].fragments.is_empty()
        {
            self.on_progress(key, response.header.unwrap_or_default());
        } else {
            self.on_events(key, response);
        }
        Ok(())
    }

    /// The next request to send.
    pub(super) fn poll_request(&mut self) -> Option<WatchRequest> {
        self.requests.pop_front()
    }

    /// Whether there is a request to send.
    pub(super) fn has_request(&self) -> bool {
        !self.requests.is_empty()
    }

    /// The next thing that became known.
    pub(super) fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// Asks the server for a watch, if there is a stream and the watch waits for one.
    fn start(&mut self, key: WatchKey) {
        let Some(watched) = self.watches.get_mut(&key).filter(|_| self.connected) else { return };
        if watched.phase != Phase::Waiting {
            return;
        }
        self.last_id += 1;
        let id = self.last_id;
        let request = WatchCreateRequest {
            watch_id: id,
            start_revision: watched.next_revision,
            ..watched.request.clone()
        };
        watched.phase = Phase::Creating { id };
        self.keys.insert(id, key);
        self.creating.push_back(id);
        self.requests.push_back(WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) });
    }

    /// Makes the server forget what a watch in this phase has there.
    fn take_off(&mut self, phase: Phase) {
        match phase {
            Phase::Waiting | Phase::Paused => {}
            Phase::Creating { id } | Phase::Active { id } => {
                self.keys.remove(&id);
                let request = RequestUnion::CancelRequest(WatchCancelRequest { watch_id: id });
                self.requests.push_back(WatchRequest { request_union: Some(request) });
            }
        }
    }

    fn on_created(&mut self, response: &WatchResponse) -> Result<(), Error> {
        // Creations are answered in order, and a refusal carries no id.
        let Some(id) = self.creating.pop_front() else {
            return Err(Error::Protocol { what: "a watch was created that nobody asked for" });
        };
        let Some(&key) = self.keys.get(&id) else {
            return Ok(());
        };
        if response.canceled {
            self.on_canceled(key, response);
            return Ok(());
        }
        let id = self.rename(id, response.watch_id)?;
        let watched = self.watches.get_mut(&key).expect("every id belongs to a watch");
        watched.phase = Phase::Active { id };
        let header = response.header.unwrap_or_default();
        if watched.next_revision == 0 {
            watched.next_revision = header.revision + 1;
        }
        if !std::mem::replace(&mut watched.confirmed, true) {
            self.outcomes.push_back(Outcome::Created { key, header });
        }
        Ok(())
    }

    /// Some proxies choose ids of their own; then theirs counts.
    fn rename(&mut self, asked: i64, given: i64) -> Result<i64, Error> {
        let key = self.keys.remove(&asked).expect("an id is renamed while it is in use");
        if self.keys.insert(given, key).is_some() {
            return Err(Error::Protocol { what: "two watches have the same id" });
        }
        Ok(given)
    }

    fn on_canceled(&mut self, key: WatchKey, response: &WatchResponse) {
        let watched = self.watches.remove(&key).expect("every id belongs to a watch");
        // The id stays taken on the server until it is cancelled from here too.
        self.take_off(watched.phase);
        let kind = ErrorKind::of(&response.cancel_reason);
        let error = if response.compact_revision != 0 || kind == ErrorKind::Compacted {
            Error::Compacted { compact_revision: response.compact_revision }
        } else {
            Error::WatchCanceled { kind, reason: response.cancel_reason.clone() }
        };
        self.outcomes.push_back(Outcome::Ended { key, error });
    }

    fn on_events(&mut self, key: WatchKey, response: WatchResponse) {
        let watched = self.watches.get_mut(&key).expect("every id belongs to a watch");
        watched.fragments.extend(response.events);
        if response.fragment {
            return;
        }
        let mut events = std::mem::take(&mut watched.fragments);
        let next_revision = watched.next_revision;
        events.retain(|event| revision_of(event) >= next_revision);
        let Some(last) = events.last() else { return };
        watched.next_revision = revision_of(last) + 1;
        let header = response.header.unwrap_or_default();
        self.outcomes.push_back(Outcome::Notice { key, notice: WatchNotice::Events { header, events } });
    }

    fn on_progress(&mut self, key: WatchKey, header: ResponseHeader) {
        let watched = self.watches.get_mut(&key).expect("every id belongs to a watch");
        watched.next_revision = watched.next_revision.max(header.revision + 1);
        self.outcomes.push_back(Outcome::Notice { key, notice: WatchNotice::Progress { header } });
    }

    fn on_progress_of_all(&mut self, header: ResponseHeader) {
        for (&key, watched) in &mut self.watches {
            if !matches!(watched.phase, Phase::Active { .. }) || !watched.fragments.is_empty() {
                continue;
            }
            watched.next_revision = watched.next_revision.max(header.revision + 1);
            if std::mem::take(&mut watched.progress_asked) {
                self.outcomes.push_back(Outcome::Notice { key, notice: WatchNotice::Progress { header } });
            }
        }
    }
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}
