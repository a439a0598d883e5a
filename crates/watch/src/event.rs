//! What is watched for: events, and what a watcher asks of them.

use bytes::Bytes;
use etched_key_range::KeyRange;

/// One change of one key.
///
/// The encoded forms are made once, by the caller, and shared by everyone who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The main revision of the change; all events of one revision belong together.
    pub revision: i64,
    /// The key that changed.
    pub key: Bytes,
    /// What happened to it.
    pub kind: EventKind,
    /// The encoded event without the previous value.
    pub bytes: Bytes,
    /// The encoded event with the previous value, if someone [wants](crate::Hub::interest) it and there was one.
    pub with_prev: Option<Bytes>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put {
        /// It did not exist before.
        created: bool,
    },
    /// It was deleted.
    Delete,
}

/// What a watcher does not want to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filters {
    /// No puts.
    pub no_put: bool,
    /// No deletes.
    pub no_delete: bool,
}

impl Filters {
    /// Whether events of this kind pass.
    pub fn pass(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put { .. } => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// A request for a new watcher, as it came from the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The keys to watch; an empty start stands for the first key that can exist.
    pub range: KeyRange,
    /// The first revision to be told of; 0 for the one after the current.
    pub start_revision: i64,
    /// What not to tell.
    pub filters: Filters,
    /// Whether events carry the value before the change.
    pub prev_kv: bool,
    /// Whether to be told of the revision now and then when nothing happens.
    pub progress_notify: bool,
    /// Whether large responses may come in fragments.
    pub fragment: bool,
    /// The watcher's id within its stream; 0 to have one chosen.
    pub watch_id: i64,
}

/// What the watchers of a key need of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// Nobody is told: the event need not be made.
    None,
    /// The event without the previous value.
    Event,
    /// Also the form with the previous value.
    WithPrevious,
}
