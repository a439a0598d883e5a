//! How the hub asks for what its watchers have missed.

use crate::{Event, Interest};
use alloc::vec::Vec;
use etched_key_range::{KeyRange, RangeMap};

/// A request for past events, made for all watchers that miss about the same.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    /// Names the request in its answer, [`Hub::on_history`](crate::Hub::on_history).
    pub id: u64,
    /// The first revision of interest.
    pub from: i64,
    /// The last one: the revision that was current when the request was made.
    pub to: i64,
    /// The keys of interest, each range once.
    pub ranges: Vec<KeyRange>,
    /// Whether some of them are wanted with the previous value ([`HistoryRequest::interest`] says which).
    pub wants_previous: bool,
    /// About how many bytes of events are of use at once. The answer should end with the revision that reaches them,
    /// and covers at least one revision whatever its size.
    pub bytes_max: usize,
    pub(crate) interests: RangeMap<Interest>,
}

impl HistoryRequest {
    /// What is needed of the events of this key: the same as asking each range, and faster when they are many.
    pub fn interest(&self, key: &[u8]) -> Interest {
        let mut interest = Interest::None;
        self.interests.for_each_containing(key, |found| interest = interest.max(*found));
        interest
    }
}

/// The answer to a [`HistoryRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// What happened.
    Events {
        /// All events of interest with revisions from [`HistoryRequest::from`] up to, and without, `next`, in order.
        /// Others may be among them.
        events: Vec<Event>,
        /// The first revision that is not covered; above `from`, and at most one above [`HistoryRequest::to`].
        next: i64,
    },
    /// The history at `from` is gone.
    Compacted {
        /// The oldest revision that is left.
        revision: i64,
    },
}
