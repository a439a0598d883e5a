//! What the holders of leases tell the driver.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::LeaseState;

/// A word from a holder.
#[derive(Debug)]
pub(super) enum Command {
    /// Keep it alive and tell the holder about it.
    Keep { id: i64, holder: u64, state: watch::Sender<LeaseState> },
    /// This holder is not interested any longer.
    Drop { id: i64, holder: u64 },
    /// It was revoked through this client.
    Revoked { id: i64 },
}

/// Commands on their way to the driver; at most one of each kind per holder and revocation.
#[derive(Debug, Default)]
pub(crate) struct KeeperMailbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    commands: Vec<Command>,
    next_holder: u64,
    driver_runs: bool,
}

impl KeeperMailbox {
    pub(super) fn new_holder(&self) -> u64 {
        let mut state = self.lock();
        state.next_holder += 1;
        state.next_holder
    }

    /// Leaves a command. True if the caller has to start the driver.
    pub(super) fn push(&self, command: Command) -> bool {
        let mut state = self.lock();
        if !state.driver_runs && !matches!(command, Command::Keep { .. }) {
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

    /// The driver was dropped: the next keep-alive starts a new one.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.commands.clear();
        state.driver_runs = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
