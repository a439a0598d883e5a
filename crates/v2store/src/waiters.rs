//! Who waits for which change of the tree. Each waits for one event; who wants a stream of them waits again.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::event::Event;
use crate::history::Watched;
use crate::path;

/// Those who wait on one member, under ids that the caller draws.
#[derive(Debug, Default)]
pub struct Waiters {
    by_id: BTreeMap<u64, Watched>,
    by_path: BTreeMap<String, BTreeSet<u64>>,
}

impl Waiters {
    /// Lets `id` wait for the next event that concerns `watched`.
    ///
    /// # Panics
    ///
    /// If `id` waits already.
    pub fn add(&mut self, id: u64, watched: Watched) {
        self.by_path.entry(watched.path.clone()).or_default().insert(id);
        let before = self.by_id.insert(id, watched);
        assert!(before.is_none(), "{id} waits already");
    }

    /// Ends a wait; whether there was one.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(watched) = self.by_id.remove(&id) else { return false };
        if let Some(ids) = self.by_path.get_mut(&watched.path) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_path.remove(&watched.path);
            }
        }
        true
    }

    /// Takes those out that an event concerns, in the order of their ids.
    pub fn on_event(&mut self, event: &Event) -> Vec<u64> {
        if event.is_refresh || self.by_id.is_empty() {
            return Vec::new();
        }
        let key = &event.node.key;
        let mut candidates = BTreeSet::new();
        for path in path::way(key) {
            candidates.extend(self.by_path.get(path).into_iter().flatten());
        }
        if event.is_removal() && event.node.is_dir {
            let below =
                self.by_path.range::<str, _>(path::from(key)).take_while(|(path, _)| path.starts_with(key));
            candidates.extend(below.flat_map(|(_, ids)| ids));
        }
        candidates.retain(|id| self.by_id.get(id).is_some_and(|watched| watched.matches(event)));
        for id in &candidates {
            self.remove(*id);
        }
        candidates.into_iter().collect()
    }

    /// Takes everybody out.
    pub fn take_all(&mut self) -> Vec<u64> {
        self.by_path.clear();
        core::mem::take(&mut self.by_id).into_keys().collect()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::event::{Action, NodeView};

    fn event(action: Action, key: &str, is_dir: bool) -> Event {
        let node = NodeView { key: key.into(), is_dir, modified: 4, created: 4, ..NodeView::default() };
        Event { action, node, previous: None, is_refresh: false }
    }

    fn waiters(watched: &[(&str, bool)]) -> Waiters {
        let mut waiters = Waiters::default();
        for (id, (path, is_recursive)) in (0..).zip(watched) {
            waiters.add(id, Watched { path: (*path).into(), is_recursive: *is_recursive });
        }
        waiters
    }

    #[test]
    fn those_are_told_whom_an_event_concerns() {
        let watched = [
            ("/1", true),
            ("/1/a", true),
            ("/1/a", false),
            ("/1/a/b", false),
            ("/1/ab", true),
            ("/1/a/b/c", false),
        ];
        assert_eq!(waiters(&watched).on_event(&event(Action::Set, "/1/a/b", false)), vec![0, 1, 3]);
        assert_eq!(waiters(&watched).on_event(&event(Action::Delete, "/1/a", true)), vec![0, 1, 2, 3, 5]);
        assert_eq!(waiters(&watched).on_event(&event(Action::Set, "/1/a/_b", false)), Vec::<u64>::new());
        let mut waiters = waiters(&watched);
        assert!(waiters.remove(4) && !waiters.remove(4));
        assert_eq!((waiters.len(), waiters.take_all().len(), waiters.is_empty()), (5, 5, true));
    }
}
