//! The calls of a watch stream.

use etched_auth::Credentials;
use etched_watch::{Create, StreamId};

/// One call of a watch stream.
#[derive(Clone, Debug)]
pub enum WatchCall {
    /// The first call of a stream: responses go to the front that calls.
    Open {
        /// A stream id that is not in use.
        stream: StreamId,
        /// Nanoseconds between progress notifications, with this stream's jitter already in it.
        progress_interval_ns: u64,
    },
    /// Create a watcher.
    Create {
        /// The stream.
        stream: StreamId,
        /// Who wants to watch.
        credentials: Credentials,
        /// What to watch.
        create: Create,
    },
    /// Cancel a watcher.
    Cancel {
        /// The stream.
        stream: StreamId,
        /// The watcher.
        watch_id: i64,
    },
    /// Ask for one progress response.
    Progress {
        /// The stream.
        stream: StreamId,
    },
    /// That much of the delivered bytes left the front's queue.
    Consumed {
        /// The stream.
        stream: StreamId,
        /// Bytes, as counted by [`crate::Deliver::bytes`].
        bytes: usize,
    },
    /// The last call: all watchers are dropped.
    Close {
        /// The stream.
        stream: StreamId,
    },
}
