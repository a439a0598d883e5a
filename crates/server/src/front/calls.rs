//! The requests of one front that wait for their completion.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::lane::{Lane, Note};
use super::mailbox::Mailbox;
use crate::api::{Completion, Submission, Token};

/// Requests that a front may have waiting; more are refused as too many.
pub(crate) const CALLS_WAITING_MAX: usize = 1 << 17;

/// Slots for waiting requests.
///
/// A token holds the number of its slot in the lower half and, in the upper half, how often the slot was used before,
/// so that a completion never meets a later request.
#[derive(Debug, Default)]
pub(super) struct CallTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Option<Waker>),
    /// A connection waits, for one of its streams.
    Lane(Arc<Lane>, u32),
    /// Nobody waits any more; the slot is free once its completion has come.
    Abandoned,
    Done(Box<Completion>),
}

impl CallTable {
    /// Takes a slot; `None` if there are too many.
    pub(super) fn open(&mut self) -> Option<Token> {
        self.open_as(State::Waiting(None))
    }

    /// Takes a slot whose completion goes to a stream of a connection; `None` if there are too many.
    pub(super) fn open_for(&mut self, lane: &Arc<Lane>, stream: u32) -> Option<Token> {
        self.open_as(State::Lane(Arc::clone(lane), stream))
    }

    fn open_as(&mut self, state: State) -> Option<Token> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < CALLS_WAITING_MAX => {
                self.slots.push(Slot { generation: 0, state: State::Free });
                u32::try_from(self.slots.len() - 1).ok()?
            }
            None => return None,
        };
        let slot = &mut self.slots[index as usize];
        slot.state = state;
        Some(Token(u64::from(slot.generation) << 32 | u64::from(index)))
    }

    /// Puts a completion into its slot; gives the waker of whoever waits.
    pub(super) fn complete(&mut self, completion: Completion) -> Option<Waker> {
        let index = index_of(completion.token);
        let slot = self.slot(completion.token)?;
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Waiting(waker) => {
                slot.state = State::Done(Box::new(completion));
                waker
            }
            State::Lane(lane, stream) => {
                self.release(index);
                lane.push(stream, Note::Completed(completion))
            }
            State::Abandoned => {
                self.release(index);
                None
            }
            // A second completion of one request is against the contract; the first one counts.
            other @ (State::Free | State::Done(_)) => {
                slot.state = other;
                None
            }
        }
    }

    fn poll(&mut self, token: Token, waker: &Waker) -> Poll<Box<Completion>> {
        let index = index_of(token);
        let Some(slot) = self.slot(token) else { return Poll::Pending };
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Done(completion) => {
                self.release(index);
                Poll::Ready(completion)
            }
            State::Waiting(before) => {
                let waker = before.filter(|before| before.will_wake(waker)).unwrap_or_else(|| waker.clone());
                slot.state = State::Waiting(Some(waker));
                Poll::Pending
            }
            other @ (State::Free | State::Lane(..) | State::Abandoned) => {
                slot.state = other;
                Poll::Pending
            }
        }
    }

    /// Nobody waits for this completion any more.
    pub(super) fn abandon(&mut self, token: Token) {
        let index = index_of(token);
        let Some(slot) = self.slot(token) else { return };
        match slot.state {
            State::Waiting(_) | State::Lane(..) => slot.state = State::Abandoned,
            State::Done(_) => self.release(index),
            State::Free | State::Abandoned => {}
        }
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(index_of(token) as usize)?;
        (u64::from(slot.generation) == token.0 >> 32).then_some(slot)
    }

    fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.state = State::Free;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
    }

    /// How many slots are taken.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is the index")]
fn index_of(token: Token) -> u32 {
    token.0 as u32
}

/// A request on its way: resolves to its completion.
/// Dropping it tells nobody but of changes of membership; what the request asks for is done all the same.
#[derive(Debug)]
pub(crate) struct Call {
    mailbox: Arc<Mailbox>,
    token: Token,
    is_done: bool,
    /// Whether the member wants to know when nobody waits any more.
    tells_end: bool,
}

impl Call {
    pub(super) fn new(mailbox: Arc<Mailbox>, token: Token, tells_end: bool) -> Self {
        Self { mailbox, token, is_done: false, tells_end }
    }

    /// The front's name for the request.
    pub(crate) fn token(&self) -> Token {
        self.token
    }
}

impl Future for Call {
    type Output = Box<Completion>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let token = self.token;
        let polled = self.mailbox.calls().poll(token, context.waker());
        self.is_done = polled.is_ready();
        polled
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_done {
            self.mailbox.calls().abandon(self.token);
            if self.tells_end {
                self.mailbox.send(Submission::Gone(self.token));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Answer;

    fn completion(token: Token, revision: i64) -> Completion {
        Completion { token, revision, raft_term: 1, result: Ok(Answer::Done), phases: None }
    }

    #[test]
    fn a_slot_is_used_again_under_another_token() {
        let mut table = CallTable::default();
        let first = table.open().unwrap();
        assert!(table.poll(first, Waker::noop()).is_pending());
        assert!(table.complete(completion(first, 7)).is_some());
        assert!(matches!(table.poll(first, Waker::noop()), Poll::Ready(done) if done.revision == 7));
        let second = table.open().unwrap();
        assert_ne!(first, second);
        assert_eq!(table.slots.len(), 1);
        assert!(table.complete(completion(first, 8)).is_none(), "a late completion meets nobody");
        assert!(table.poll(second, Waker::noop()).is_pending());
    }

    #[test]
    fn a_completion_for_a_connection_frees_its_slot_at_once() {
        let mut table = CallTable::default();
        let lane = Arc::new(Lane::default());
        let token = table.open_for(&lane, 7).unwrap();
        table.complete(completion(token, 1));
        assert_eq!(table.waiting(), 0);
        let mut notes = Vec::new();
        lane.take(&mut notes, Waker::noop());
        assert!(matches!(notes[..], [(7, Note::Completed(_))]));
        let token = table.open_for(&lane, 9).unwrap();
        table.abandon(token);
        table.complete(completion(token, 1));
        notes.clear();
        lane.take(&mut notes, Waker::noop());
        assert!(notes.is_empty());
        assert_eq!(table.waiting(), 0);
    }

    #[test]
    fn an_abandoned_call_frees_its_slot_with_its_completion() {
        let mut table = CallTable::default();
        let token = table.open().unwrap();
        table.abandon(token);
        assert_eq!(table.waiting(), 1, "the completion is still to come");
        assert!(table.complete(completion(token, 1)).is_none());
        assert_eq!(table.waiting(), 0);
        let token = table.open().unwrap();
        table.complete(completion(token, 1));
        table.abandon(token);
        assert_eq!(table.waiting(), 0, "it came before");
    }
}
