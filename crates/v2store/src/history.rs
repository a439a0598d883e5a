//! The last events, for watchers that come late.

use alloc::collections::VecDeque;
use alloc::format;

use crate::error::{Code, Error};
use crate::event::Event;
use crate::path;

/// Events that are kept.
pub const EVENTS_MAX: usize = 1_000;

/// The last events, of indices that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct History {
    events: VecDeque<Event>,
    /// Whether older events than these existed.
    is_cut: bool,
}

/// What a watch looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The clean path, with the namespace in front.
    pub path: alloc::string::String,
    /// Whether everything below is looked at too.
    pub is_recursive: bool,
}

impl Watched {
    /// Whether an event concerns the watch. A deleted directory takes along all that is below it, and whoever looks
    /// at something there is told.
    pub fn matches(&self, event: &Event) -> bool {
        let key = &event.node.key;
        if *key == self.path {
            return true;
        }
        if path::is_below(key, &self.path) {
            return self.is_recursive && !path::is_hidden_from(&self.path, key);
        }
        let took_directory = event.is_removal() && event.node.is_dir;
        took_directory && path::is_below(&self.path, key)
    }
}

impl History {
    pub(crate) fn restore(events: VecDeque<Event>, is_cut: bool) -> Self {
        Self { events, is_cut }
    }

    /// Keeps an event; gives the index of the one that had to go for it.
    pub(crate) fn push(&mut self, event: Event) -> Option<u64> {
        self.events.push_back(event);
        if self.events.len() <= EVENTS_MAX {
            return None;
        }
        self.is_cut = true;
        self.events.pop_front().map(|event| event.index())
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(crate) fn get(&self, index: u64) -> Option<&Event> {
        let first = self.events.front()?.index();
        self.events.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    /// The first event of `since` or later that concerns a watch.
    pub(crate) fn find(&self, watched: &Watched, since: u64, current: u64) -> Result<Option<&Event>, Error> {
        let Some(first) = self.events.front().map(Event::index) else { return Ok(None) };
        if self.is_cut && since < first {
            let cause = format!("the requested history has been cleared [{first}/{since}]");
            return Err(Error::new(Code::EventIndexCleared, cause, current));
        }
        let skipped = usize::try_from(since.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut events = self.events.range(skipped.min(self.events.len())..);
        Ok(events.find(|event| !event.is_refresh && watched.matches(event)))
    }
}
