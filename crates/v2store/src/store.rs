//! The tree, and what requests do to it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

use crate::error::{Code, Error};
use crate::event::{Action, Event, Expiry, NodeView};
use crate::history::{History, Watched};
use crate::path;
use crate::stats::Stats;

mod change;
mod codec;

pub use change::{Compared, Request, What, Written};
pub use codec::{Record, RestoreError};

/// Where the keys of clients are.
pub const KEYS: &str = "/1";
/// Where users and roles are.
pub const PERMISSIONS: &str = "/2";
/// The index of a store that nobody has written to: a member of etcd's has made three changes of its own by then.
pub(crate) const INDEX_AT_START: u64 = 3;

/// The tree of nodes, and the history of their changes.
///
/// Nodes stand in one flat map under their whole path, so that no path, however deep, needs a deep stack.
#[derive(Clone, Debug)]
pub struct Store {
    nodes: BTreeMap<String, Node>,
    deadlines: BTreeSet<(i64, String)>,
    index: u64,
    history: History,
    stats: Stats,
    unstored: codec::Unstored,
}

/// A node without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) created: u64,
    pub(crate) modified: u64,
    /// When it expires, in nanoseconds of the Unix epoch.
    pub(crate) expires_ns: Option<i64>,
    /// None of a directory.
    pub(crate) value: Option<String>,
}

/// An answer, and the store's index at the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What was read or changed.
    pub event: Event,
    /// The index.
    pub index: u64,
}

/// What a watch finds when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The event, if the history has one.
    pub event: Option<Event>,
    /// The index of the store.
    pub index: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            index: INDEX_AT_START,
            history: History::default(),
            stats: Stats::default(),
            unstored: codec::Unstored::default(),
        }
    }
}

impl Node {
    fn is_dir(&self) -> bool {
        self.value.is_none()
    }

    /// The node alone, without what is below it.
    fn view(&self, path: &str, now_ns: i64) -> NodeView {
        NodeView {
            key: path.into(),
            value: self.value.clone(),
            is_dir: self.is_dir(),
            expiry: self.expires_ns.map(|at_ns| Expiry::seen_at(at_ns, now_ns)),
            nodes: Vec::new(),
            modified: self.modified,
            created: self.created,
        }
    }
}

impl Store {
    /// The index: how many changes there were.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether nobody has ever written to it.
    pub fn is_untouched(&self) -> bool {
        self.index == INDEX_AT_START
    }

    /// When the next node expires, in nanoseconds of the Unix epoch.
    pub fn next_expiry_ns(&self) -> Option<i64> {
        self.deadlines.first().map(|(at_ns, _)| *at_ns)
    }

    /// Reads a node; `path` is below a namespace.
    ///
    /// # Errors
    ///
    /// There is nothing there, or the way to it leads through a value.
    pub fn read(&mut self, path: &str, depth: Depth, now_ns: i64) -> Result<Reply, Error> {
        let result = self.look_up(path, depth, now_ns);
        self.stats.gets.count(&result);
        result
    }

    fn look_up(&self, path: &str, depth: Depth, now_ns: i64) -> Result<Reply, Error> {
        let path = path::clean(path);
        let mut view = match self.find(&path)? {
            Found::Node(node) => node.view(&path, now_ns),
            Found::Namespace => NodeView { key: path.clone(), is_dir: true, ..NodeView::default() },
        };
        if view.is_dir {
            view.nodes = self.children(&path, depth, now_ns);
        }
        let event = Event { action: Action::Get, node: view, previous: None, is_refresh: false };
        Ok(Reply { event, index: self.index })
    }

    /// Begins a watch: what the history has of `since` or later, or nothing so far. `since` 0 means from now on.
    ///
    /// # Errors
    ///
    /// The history does not reach back so far.
    pub fn begin_watch(&self, watched: &Watched, since: u64) -> Result<Begun, Error> {
        let since = if since == 0 { self.index + 1 } else { since };
        let event = self.history.find(watched, since, self.index)?.cloned();
        Ok(Begun { event, index: self.index })
    }

    /// The visible children of a directory, by name.
    fn children(&self, directory: &str, depth: Depth, now_ns: i64) -> Vec<NodeView> {
        let mut children = Vec::new();
        let prefix = if directory == "/" { String::from("/") } else { format!("{directory}/") };
        let mut from = Bound::Included(prefix.clone());
        while let Some((path, node)) = self.nodes.range((from, Bound::Unbounded)).next()
            && let Some(name) = path.strip_prefix(&prefix)
        {
            if let Some((child, _)) = name.split_once('/') {
                // All that is below the child is passed over at once: what follows a slash is a zero.
                from = Bound::Included(format!("{prefix}{child}0"));
                continue;
            }
            from = Bound::Excluded(path.clone());
            if name.starts_with('_') {
                continue;
            }
            let mut view = node.view(path, now_ns);
            if view.is_dir && depth == Depth::All {
                view.nodes = self.children(path, depth, now_ns);
            }
            children.push(view);
        }
        children
    }

    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    pub(crate) fn nodes_from(&self, path: &str) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.range::<str, _>(path::from(path))
    }

    fn has_children(&self, directory: &str) -> bool {
        let prefix = format!("{directory}/");
        self.nodes
            .range::<str, _>(path::from(&prefix))
            .next()
            .is_some_and(|(path, _)| path.starts_with(&prefix))
    }

    /// The node at a clean path.
    fn find(&self, path: &str) -> Result<Found<'_>, Error> {
        if is_namespace(path) {
            return Ok(Found::Namespace);
        }
        if let Some(node) = self.nodes.get(path) {
            return Ok(Found::Node(node));
        }
        // The first name on the way that does not fit is the reason.
        for on_the_way in path::way(path).filter(|path| !is_namespace(path)) {
            match self.nodes.get(on_the_way) {
                Some(node) if node.is_dir() => {}
                Some(_) => return Err(self.error(Code::NotADirectory, on_the_way)),
                None => return Err(self.error(Code::KeyNotFound, on_the_way)),
            }
        }
        Err(self.error(Code::KeyNotFound, path))
    }

    fn error(&self, code: Code, cause: impl Into<String>) -> Error {
        Error::new(code, cause, self.index)
    }
}

/// How deep a directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Its children.
    One,
    /// All that is below it.
    All,
}

/// What is at a path.
enum Found<'a> {
    Node(&'a Node),
    /// The root or a namespace, which are always there.
    Namespace,
}

/// Whether a path is one of those that are always there and never change.
fn is_namespace(path: &str) -> bool {
    path == "/" || path == KEYS || path == PERMISSIONS
}

#[cfg(test)]
mod tests;
