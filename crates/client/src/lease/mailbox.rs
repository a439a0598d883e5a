//! What the holders of leases tell the driver.

use tokio::sync::watch;

use super::LeaseState;
use crate::mailbox::{self, Mailbox};

/// Commands on their way to the driver of the keep-alives.
pub(crate) type KeeperMailbox = Mailbox<Command>;

/// A word from a holder.
#[derive(Debug)]
pub(crate) enum Command {
    /// Keep it alive and tell the holder about it.
    Keep { id: i64, holder: u64, state: watch::Sender<LeaseState> },
    /// This holder is not interested any longer.
    Drop { id: i64, holder: u64 },
    /// It was revoked through this client.
    Revoked { id: i64 },
}

impl mailbox::Command for Command {
    fn starts(&self) -> bool {
        matches!(self, Self::Keep { .. })
    }

    fn repeats(&self, _earlier: &Self) -> bool {
        false
    }
}
