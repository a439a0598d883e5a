//! What the holders of watches and keep-alives tell the task that has their stream (the *driver*).
//!
//! The driver is started by the first command that needs it, and ends when it has nothing to do.
//! The lock settles who comes first: a driver that wants to end, or a command that needs it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A word from a holder.
pub(crate) trait Command {
    /// Whether it is worth starting a driver for; without one, other commands have nothing to act on.
    fn starts(&self) -> bool;

    /// Whether it says nothing beyond an earlier one that was not heard yet.
    fn repeats(&self, earlier: &Self) -> bool;
}

/// Commands on their way to the driver.
///
/// Its bound is the number of holders: each has at most one command of each kind in it, repetitions being dropped.
#[derive(Debug)]
pub(crate) struct Mailbox<C> {
    state: Mutex<State<C>>,
    arrived: Notify,
}

#[derive(Debug)]
struct State<C> {
    commands: Vec<C>,
    last_name: u64,
    driver_runs: bool,
}

impl<C> Default for Mailbox<C> {
    fn default() -> Self {
        let state = State { commands: Vec::new(), last_name: 0, driver_runs: false };
        Self { state: Mutex::new(state), arrived: Notify::new() }
    }
}

impl<C: Command> Mailbox<C> {
    /// A name for a new holder.
    pub(crate) fn new_name(&self) -> u64 {
        let mut state = self.lock();
        state.last_name += 1;
        state.last_name
    }

    /// Leaves a command. True if the caller has to start the driver.
    pub(crate) fn push(&self, command: C) -> bool {
        let mut state = self.lock();
        let is_lost = !state.driver_runs && !command.starts();
        if is_lost || state.commands.iter().any(|earlier| command.repeats(earlier)) {
            return false;
        }
        state.commands.push(command);
        let is_first = !std::mem::replace(&mut state.driver_runs, true);
        drop(state);
        self.arrived.notify_one();
        is_first
    }

    /// Takes all commands.
    pub(crate) fn take(&self) -> Vec<C> {
        std::mem::take(&mut self.lock().commands)
    }

    /// Waits until there may be commands.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// The driver wants to end. False if a command came in between.
    pub(crate) fn stop(&self) -> bool {
        let mut state = self.lock();
        if state.commands.is_empty() {
            state.driver_runs = false;
        }
        !state.driver_runs
    }

    /// The driver was dropped: the next command that needs one starts a new one.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.commands.clear();
        state.driver_runs = false;
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Word {
        Begin,
        Ask,
    }

    impl Command for Word {
        fn starts(&self) -> bool {
            *self == Self::Begin
        }

        fn repeats(&self, earlier: &Self) -> bool {
            *self == Self::Ask && *earlier == Self::Ask
        }
    }

    #[test]
    fn the_first_command_that_needs_a_driver_starts_it() {
        let mailbox = Mailbox::default();
        assert!(!mailbox.push(Word::Ask), "there is nothing to ask for");
        assert!(mailbox.push(Word::Begin));
        assert!(!mailbox.push(Word::Begin));
        assert_eq!(mailbox.take(), [Word::Begin, Word::Begin]);
    }

    #[test]
    fn a_driver_does_not_end_over_an_unheard_command() {
        let mailbox = Mailbox::default();
        mailbox.push(Word::Begin);
        assert!(!mailbox.stop());
        mailbox.take();
        assert!(mailbox.stop());
        assert!(mailbox.push(Word::Begin), "it takes a new driver");
        mailbox.abandon();
        assert!(mailbox.take().is_empty() && mailbox.push(Word::Begin));
    }

    #[test]
    fn repetitions_are_dropped_until_the_first_is_heard() {
        let mailbox = Mailbox::default();
        mailbox.push(Word::Begin);
        mailbox.push(Word::Ask);
        mailbox.push(Word::Ask);
        assert_eq!(mailbox.take(), [Word::Begin, Word::Ask]);
        mailbox.push(Word::Ask);
        assert_eq!(mailbox.take(), [Word::Ask]);
    }
}
