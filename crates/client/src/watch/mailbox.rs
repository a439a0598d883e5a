//! What the holders of watches tell the driver.

use std::sync::Arc;

use etched_proto::etcdserverpb::{ResponseHeader, WatchCreateRequest};
use tokio::sync::oneshot;

use super::queue::Queue;
use crate::Error;
use crate::mailbox::{self, Mailbox};

/// Commands on their way to the driver of the watches.
pub(crate) type WatchMailbox = Mailbox<Command>;

/// The name of a watch within its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatchKey(pub(super) u64);

/// A word from the holder of a watch.
#[derive(Debug)]
pub(crate) enum Command {
    /// Begin; the reply is the header with which the server confirmed it.
    Create {
        key: WatchKey,
        request: Box<WatchCreateRequest>,
        queue: Arc<Queue>,
        reply: oneshot::Sender<Result<ResponseHeader, Error>>,
    },
    /// End.
    Cancel { key: WatchKey },
    /// The queue of a paused watch has room again.
    Room { key: WatchKey },
    /// Ask how far it is.
    Progress { key: WatchKey },
}

impl mailbox::Command for Command {
    fn starts(&self) -> bool {
        matches!(self, Self::Create { .. })
    }

    fn repeats(&self, earlier: &Self) -> bool {
        let pair = (self, earlier);
        matches!(pair, (Self::Progress { key }, Self::Progress { key: other }) if key == other)
    }
}
