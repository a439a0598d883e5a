//! Changes of the tree. Each asks all its reasons to refuse before it changes anything.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Found, Node, Reply, Store, is_namespace};
use crate::error::{Code, Error};
use crate::event::{Action, Event, NodeView};
use crate::path;

/// Times to live that end before this, in nanoseconds of the Unix epoch, are none: the year 2000.
const EXPIRY_NS_MIN: i64 = 946_684_800 * crate::time::SECOND_NS;

/// A change that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path, with the namespace in front.
    pub path: String,
    /// What to do there.
    pub what: What,
    /// The time by the clock of the member that was asked, in nanoseconds of the Unix epoch: answers say how long
    /// nodes live from then on.
    pub now_ns: i64,
}

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Writes, whatever is there.
    Set(Written),
    /// Makes something that must not be there.
    Create(Written),
    /// Makes a child whose name is the index, so that children are in the order in which they were made.
    CreateInOrder(Written),
    /// Changes something that must be there.
    Update(Written),
    /// Writes if the comparison holds.
    CompareAndSwap(Compared, Written),
    /// Deletes.
    Delete {
        /// Also an empty directory.
        is_dir: bool,
        /// Also a directory with all that is below it.
        is_recursive: bool,
    },
    /// Deletes if the comparison holds.
    CompareAndDelete(Compared),
}

/// What a request writes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Written {
    /// The value; not looked at for a directory and for a refresh.
    pub value: String,
    /// Whether a directory is made.
    pub is_dir: bool,
    /// When it expires, in nanoseconds of the Unix epoch; 0 for never.
    pub expires_ns: i64,
    /// Keep the value, and do not tell watchers.
    pub is_refresh: bool,
}

/// What a node is compared with before it is changed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Compared {
    /// Its value; empty: any.
    pub value: String,
    /// The index of its last change; 0: any.
    pub index: u64,
}

impl Written {
    fn expires_ns(&self) -> Option<i64> {
        (self.expires_ns >= EXPIRY_NS_MIN).then_some(self.expires_ns)
    }
}

impl Store {
    /// Makes a change.
    ///
    /// # Errors
    ///
    /// The reason against it; then only a count has changed.
    pub fn apply(&mut self, request: &Request) -> Result<Reply, Error> {
        let path = path::clean(&request.path);
        let now_ns = request.now_ns;
        let result = match (path::is_bounded(&path), &request.what) {
            (false, _) => Err(self.error(Code::InvalidField, "the path is too long")),
            (true, What::Set(written)) => self.set(&path, written, now_ns),
            (true, What::Create(written)) => self.create(path, written, now_ns),
            (true, What::CreateInOrder(written)) => {
                self.create(format!("{}/{:020}", path.trim_end_matches('/'), self.index + 1), written, now_ns)
            }
            (true, What::Update(written)) => self.update(&path, written, now_ns),
            (true, What::CompareAndSwap(compared, written)) => self.swap(&path, compared, written, now_ns),
            (true, What::Delete { is_dir, is_recursive }) => {
                self.delete(&path, *is_dir, *is_recursive, now_ns)
            }
            (true, What::CompareAndDelete(compared)) => self.compare_and_delete(&path, compared, now_ns),
        };
        let tally = match &request.what {
            What::Set(_) => &mut self.stats.sets,
            What::Create(_) | What::CreateInOrder(_) => &mut self.stats.creates,
            What::Update(_) => &mut self.stats.updates,
            What::CompareAndSwap(..) => &mut self.stats.swaps,
            What::Delete { .. } => &mut self.stats.deletes,
            What::CompareAndDelete(_) => &mut self.stats.compared_deletes,
        };
        tally.count(&result);
        self.unstored.on_counted();
        result
    }

    /// Deletes all nodes whose time was over at `until_ns`, each with an index of its own, those that ended first
    /// first.
    pub fn expire(&mut self, until_ns: i64) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((at_ns, path)) = self.deadlines.first()
            && *at_ns <= until_ns
        {
            let path = path.clone();
            let node = self.nodes.get(&path).expect("who has a deadline is there");
            let event = removal(Action::Expire, &path, node, self.index + 1, until_ns);
            self.remove_with_all_below(&path);
            self.stats.expired += 1;
            events.push(self.commit(event).event);
        }
        events
    }

    /// Changes a node that is the store's own business, outside of what clients see.
    pub(crate) fn write_own(&mut self, path: &str, value: String) {
        let written = Written { value, ..Written::default() };
        let path = path::clean(path);
        self.set(&path, &written, 0).expect("the store's own nodes are values at paths of its own");
    }

    fn set(&mut self, path: &str, written: &Written, now_ns: i64) -> Result<Reply, Error> {
        self.refuse_namespace(path)?;
        let before = match self.find(path) {
            Ok(Found::Node(node)) => Some(node),
            Ok(Found::Namespace) => return Err(self.error(Code::RootReadOnly, "/")),
            Err(error) if error.code == Code::KeyNotFound && !written.is_refresh => None,
            Err(error) => return Err(error),
        };
        if before.is_some_and(Node::is_dir) {
            return Err(self.error(Code::NotAFile, path));
        }
        let kept = before.filter(|_| written.is_refresh).and_then(|node| node.value.clone());
        let previous = before.map(|node| node.view(path, now_ns));
        let value = (!written.is_dir).then(|| kept.unwrap_or_else(|| written.value.clone()));
        Ok(self.put_new(Action::Set, path, value, written, previous, now_ns))
    }

    fn create(&mut self, path: String, written: &Written, now_ns: i64) -> Result<Reply, Error> {
        self.refuse_namespace(&path)?;
        match self.find(&path) {
            Err(error) if error.code == Code::KeyNotFound => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(self.error(Code::KeyExists, path)),
        }
        let value = (!written.is_dir).then(|| written.value.clone());
        let written = Written { is_refresh: false, ..written.clone() };
        Ok(self.put_new(Action::Create, &path, value, &written, None, now_ns))
    }

    /// Puts a new node in the place of what is there, and makes the directories on the way.
    fn put_new(
        &mut self,
        action: Action,
        path: &str,
        value: Option<String>,
        written: &Written,
        previous: Option<NodeView>,
        now_ns: i64,
    ) -> Reply {
        let index = self.index + 1;
        for directory in path::way(path::parent(path)) {
            if !is_namespace(directory) && !self.nodes.contains_key(directory) {
                let node = Node { created: index, modified: index, expires_ns: None, value: None };
                self.insert(directory, node);
            }
        }
        let node = Node { created: index, modified: index, expires_ns: written.expires_ns(), value };
        let event = Event { action, node: node.view(path, now_ns), previous, is_refresh: written.is_refresh };
        self.insert(path, node);
        self.commit(event)
    }

    fn update(&mut self, path: &str, written: &Written, now_ns: i64) -> Result<Reply, Error> {
        self.refuse_namespace(path)?;
        let Found::Node(before) = self.find(path)? else { return Err(self.error(Code::RootReadOnly, "/")) };
        if before.is_dir() && !written.value.is_empty() {
            return Err(self.error(Code::NotAFile, path));
        }
        Ok(self.rewrite(Action::Update, path, before.clone(), written, now_ns))
    }

    fn swap(
        &mut self,
        path: &str,
        compared: &Compared,
        written: &Written,
        now_ns: i64,
    ) -> Result<Reply, Error> {
        self.refuse_namespace(path)?;
        let before = self.find_equal(path, compared)?.clone();
        Ok(self.rewrite(Action::CompareAndSwap, path, before, written, now_ns))
    }

    /// Gives a node another value and another end. A directory has no value, and its own index stays.
    fn rewrite(&mut self, action: Action, path: &str, before: Node, written: &Written, now_ns: i64) -> Reply {
        let index = self.index + 1;
        let previous = Some(before.view(path, now_ns));
        let mut node = before;
        node.expires_ns = written.expires_ns();
        if let Some(value) = &mut node.value {
            node.modified = index;
            if !written.is_refresh {
                value.clone_from(&written.value);
            }
        }
        let mut view = node.view(path, now_ns);
        view.modified = index;
        self.insert(path, node);
        self.commit(Event { action, node: view, previous, is_refresh: written.is_refresh })
    }

    fn delete(&mut self, path: &str, is_dir: bool, is_recursive: bool, now_ns: i64) -> Result<Reply, Error> {
        self.refuse_namespace(path)?;
        let Found::Node(node) = self.find(path)? else { return Err(self.error(Code::RootReadOnly, "/")) };
        if node.is_dir() && !is_dir && !is_recursive {
            return Err(self.error(Code::NotAFile, path));
        }
        if node.is_dir() && !is_recursive && self.has_children(path) {
            return Err(self.error(Code::DirectoryNotEmpty, path));
        }
        let event = removal(Action::Delete, path, node, self.index + 1, now_ns);
        self.remove_with_all_below(path);
        Ok(self.commit(event))
    }

    fn compare_and_delete(&mut self, path: &str, compared: &Compared, now_ns: i64) -> Result<Reply, Error> {
        let node = self.find_equal(path, compared)?;
        let event = removal(Action::CompareAndDelete, path, node, self.index + 1, now_ns);
        self.remove_with_all_below(path);
        Ok(self.commit(event))
    }

    /// The value at a path, if it is what the request expects.
    fn find_equal(&self, path: &str, compared: &Compared) -> Result<&Node, Error> {
        let (node, value) = match self.find(path)? {
            Found::Node(node @ Node { value: Some(value), .. }) => (node, value),
            Found::Node(_) | Found::Namespace => return Err(self.error(Code::NotAFile, path)),
        };
        let by_value = compared.value.is_empty() || compared.value == *value;
        let by_index = compared.index == 0 || compared.index == node.modified;
        let values = format!("[{} != {value}]", compared.value);
        let indices = format!("[{} != {}]", compared.index, node.modified);
        match (by_value, by_index) {
            (true, true) => Ok(node),
            (false, true) => Err(self.error(Code::CompareFailed, values)),
            (true, false) => Err(self.error(Code::CompareFailed, indices)),
            (false, false) => Err(self.error(Code::CompareFailed, format!("{values} {indices}"))),
        }
    }

    fn refuse_namespace(&self, path: &str) -> Result<(), Error> {
        if is_namespace(path) { Err(self.error(Code::RootReadOnly, "/")) } else { Ok(()) }
    }

    fn insert(&mut self, path: &str, node: Node) {
        if let Some(before) = self.nodes.get(path)
            && let Some(at_ns) = before.expires_ns
        {
            self.deadlines.remove(&(at_ns, path.into()));
        }
        if let Some(at_ns) = node.expires_ns {
            self.deadlines.insert((at_ns, path.into()));
        }
        self.unstored.on_node(path);
        self.nodes.insert(path.into(), node);
    }

    fn remove_with_all_below(&mut self, path: &str) {
        let below = format!("{path}/");
        let mut paths: Vec<String> = self
            .nodes
            .range::<str, _>(path::from(&below))
            .take_while(|(path, _)| path.starts_with(&below))
            .map(|(path, _)| path.clone())
            .collect();
        paths.push(path.into());
        for path in paths {
            if let Some(Node { expires_ns: Some(at_ns), .. }) = self.nodes.remove(&path) {
                self.deadlines.remove(&(at_ns, path.clone()));
            }
            self.unstored.on_node(&path);
        }
    }

    /// The change is made: it gets its index and its place in the history.
    fn commit(&mut self, event: Event) -> Reply {
        self.index += 1;
        assert_eq!(event.index(), self.index, "each change has an index of its own");
        let dropped = self.history.push(event.clone());
        self.unstored.on_event(self.index, dropped);
        Reply { event, index: self.index }
    }
}

/// The event of a deletion: the node is shown without its value, and as it was.
fn removal(action: Action, path: &str, node: &Node, index: u64, now_ns: i64) -> Event {
    let gone = NodeView {
        key: path.into(),
        is_dir: node.is_dir(),
        modified: index,
        created: node.created,
        ..NodeView::default()
    };
    let previous = node.view(path, now_ns);
    Event { action, node: gone, previous: Some(previous), is_refresh: false }
}
