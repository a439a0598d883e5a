//! What other tasks have for one connection, and the wake-up that it costs: one for all that comes before it runs.

use std::sync::Mutex;
use std::task::Waker;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;

use super::mailbox::lock;
use crate::api::Completion;

/// Something for one stream of a connection.
#[derive(Debug)]
pub(super) enum Note {
    /// A request is answered.
    Completed(Completion),
    /// The head of a response; with `true`, the whole of it.
    Head(Box<Parts>, bool),
    /// A piece of a response's body.
    Data(Bytes),
    /// The end of a response, with trailers.
    Trailers(HeaderMap),
    /// The end of a response.
    End,
    /// A response that cannot be finished.
    Failed,
    /// So many bytes of a request's body were read.
    Read(usize),
}

/// What waits for one connection.
///
/// It is bounded by what may be under way: one completion for each request, and for each other call what its outlet
/// lets through.
#[derive(Debug, Default)]
pub(super) struct Lane {
    state: Mutex<LaneState>,
}

#[derive(Debug, Default)]
struct LaneState {
    notes: Vec<(u32, Note)>,
    waker: Option<Waker>,
}

impl Lane {
    /// Adds a note; gives the waker of the connection if it sleeps.
    pub(super) fn push(&self, stream: u32, note: Note) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.notes.push((stream, note));
        state.waker.take()
    }

    /// Adds a note and wakes the connection.
    pub(super) fn send(&self, stream: u32, note: Note) {
        if let Some(waker) = self.push(stream, note) {
            waker.wake();
        }
    }

    /// Exchanges what came against an empty list; the next note wakes.
    pub(super) fn take(&self, notes: &mut Vec<(u32, Note)>, waker: &Waker) {
        let mut state = lock(&self.state);
        std::mem::swap(&mut state.notes, notes);
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_note_wakes() {
        let lane = Lane::default();
        let mut notes = Vec::new();
        lane.take(&mut notes, Waker::noop());
        assert!(lane.push(1, Note::End).is_some());
        assert!(lane.push(3, Note::End).is_none());
        lane.take(&mut notes, Waker::noop());
        assert_eq!(notes.len(), 2);
    }
}
