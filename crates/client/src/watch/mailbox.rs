//! What the holders of watches tell the driver.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use etched_proto::etcdserverpb::{ResponseHeader, WatchCreateRequest};
use tokio::sync::{Notify, oneshot};

use super::queue::Queue;
use crate::Error;

/// The name of a watch within its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatchKey(pub(super) u64);

/// A word from the holder of a watch.
#[derive(Debug)]
pub(super) enum Command {
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

/// Commands on their way to the driver.
///
/// Its bound is the number of watches: each has at most one command of each kind in it, the rest being the same
/// again (a repeated question for progress is dropped here).
#[derive(Debug, Default)]
pub(crate) struct WatchMailbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    commands: Vec<Command>,
    next_key: u64,
    driver_runs: bool,
}

impl WatchMailbox {
    pub(super) fn new_key(&self) -> WatchKey {
        let mut state = self.lock();
        state.next_key += 1;
        WatchKey(state.next_key)
    }

    /// Leaves a command. True if the caller has to start the driver.
    pub(super) fn push(&self, command: Command) -> bool {
        let mut state = self.lock();
        if let Command::Progress { key } = &command {
            let asked = |other: &Command| matches!(other, Command::Progress { key: other } if other == key);
            if state.commands.iter().any(asked) {
                return false;
            }
        }
        let starts = matches!(command, Command::Create { .. });
        if !state.driver_runs && !starts {
            return false;
        }
        state.commands.push(command);
        let is_first = !std::mem::replace(&mut state.driver_runs, true);
        drop(state);
        self.arrived.notify_one();
        is_first
    }

    /// Takes all commands.
    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut self.lock().commands)
    }

    /// Waits until there may be commands.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// The driver wants to end. False if a command came in between.
    pub(super) fn stop(&self) -> bool {
        let mut state = self.lock();
        if state.commands.is_empty() {
            state.driver_runs = false;
        }
        !state.driver_runs
    }

    /// The driver was dropped: the next watch starts a new one.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.commands.clear();
        state.driver_runs = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
