//! The stored form of a store: a record for each node, one for each event of the history, and one for the rest.
//!
//! ```text
//! key                       value (each begins with the byte 1, the version of the form)
//! "m"                       index, 1 if older events were dropped, then the counts:
//!                           succeeded and failed of sets, deletes, updates, creates, swaps, compared deletes; expired
//! "n" path                  flags (1 directory, 2 expires), created, modified, [expires], value to the end
//! "e" index (8 bytes, BE)   action, flags (1 refresh, 2 previous), node, [previous]
//!
//! node of an event          flags (1 directory, 2 value, 4 expires), key, [value], created, modified, [expires, ttl]
//! ```
//!
//! Numbers are LEB128 without sign (a time or a time to live is taken for 64 bits without sign), texts are a length and
//! their bytes.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Node, Store, is_namespace};
use crate::event::{Action, Event, Expiry, NodeView};
use crate::history::{EVENTS_MAX, History};
use crate::path;
use crate::stats::Stats;

const VERSION: u8 = 1;

const META: u8 = b'm';
const NODE: u8 = b'n';
const EVENT: u8 = b'e';

/// The actions by their stored numbers.
const ACTIONS: [Action; 8] = [
    Action::Get,
    Action::Create,
    Action::Set,
    Action::Update,
    Action::Delete,
    Action::CompareAndSwap,
    Action::CompareAndDelete,
    Action::Expire,
];

/// A record to be stored, or to be removed if it has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Option<Bytes>,
}

/// Stored records are not those of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored tree of the v2 API is damaged: {0}")]
pub struct RestoreError(pub &'static str);

/// What has changed since the records were taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Unstored {
    nodes: BTreeSet<String>,
    events: BTreeSet<u64>,
    dropped: BTreeSet<u64>,
    is_meta_changed: bool,
}

impl Unstored {
    pub(super) fn on_node(&mut self, path: &str) {
        self.nodes.insert(path.into());
    }

    pub(super) fn on_event(&mut self, index: u64, dropped: Option<u64>) {
        self.is_meta_changed = true;
        self.events.insert(index);
        self.dropped.extend(dropped);
    }

    pub(super) fn on_counted(&mut self) {
        self.is_meta_changed = true;
    }
}

impl Store {
    /// The records that changed since the last call; together they are the whole store.
    pub fn take_records(&mut self) -> Vec<Record> {
        let Unstored { nodes, events, dropped, is_meta_changed } = core::mem::take(&mut self.unstored);
        let mut records = Vec::with_capacity(nodes.len() + events.len() + dropped.len() + 1);
        for path in nodes {
            let value = self.nodes.get(&path).map(encode_node);
            records.push(Record { key: node_key(&path), value });
        }
        for index in dropped {
            records.push(Record { key: event_key(index), value: None });
        }
        for index in events {
            if let Some(event) = self.history.get(index) {
                records.push(Record { key: event_key(index), value: Some(encode_event(event)) });
            }
        }
        if is_meta_changed {
            records.push(Record { key: Bytes::from_static(&[META]), value: Some(self.encode_meta()) });
        }
        records
    }

    /// The store that these records are; none give an untouched one.
    ///
    /// # Errors
    ///
    /// A record is damaged, or they do not fit together.
    pub fn restore<'a>(
        records: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, RestoreError> {
        let mut parts = Parts::default();
        for (key, value) in records {
            parts.add(key, value).ok_or(RestoreError("a record cannot be read"))?;
        }
        parts.finish()
    }

    fn encode_meta(&self) -> Bytes {
        let mut stats = self.stats;
        let mut bytes = alloc::vec![VERSION];
        push_number(&mut bytes, self.index);
        push_number(&mut bytes, u64::from(self.history.is_cut()));
        for tally in stats.tallies_mut() {
            push_number(&mut bytes, tally.succeeded);
            push_number(&mut bytes, tally.failed);
        }
        push_number(&mut bytes, self.stats.expired);
        bytes.into()
    }
}

/// A store of which not all records are there yet.
#[derive(Default)]
struct Parts {
    nodes: BTreeMap<String, Node>,
    events: VecDeque<Event>,
    meta: Option<(u64, bool, Stats)>,
}

impl Parts {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let mut reader = Reader(value);
        (reader.byte()? == VERSION).then_some(())?;
        match key.split_first()? {
            (&META, []) => self.meta = Some(reader.meta()?),
            (&NODE, path) => {
                let node = reader.node()?;
                self.nodes.insert(core::str::from_utf8(path).ok()?.into(), node);
            }
            (&EVENT, index) => {
                let event = reader.event()?;
                (event.index().to_be_bytes() == *index).then_some(())?;
                self.events.push_back(event);
            }
            (_, _) => return None,
        }
        reader.0.is_empty().then_some(())
    }

    fn finish(self) -> Result<Store, RestoreError> {
        let Self { nodes, events, meta } = self;
        let Some((index, is_cut, stats)) = meta else {
            let is_empty = nodes.is_empty() && events.is_empty();
            return if is_empty { Ok(Store::default()) } else { Err(RestoreError("there is no index")) };
        };
        for (path, node) in &nodes {
            let parent = path::parent(path);
            let has_parent = is_namespace(parent) || nodes.get(parent).is_some_and(Node::is_dir);
            if path::clean(path) != *path || is_namespace(path) || !has_parent {
                return Err(RestoreError("a node is not in a directory"));
            }
            if node.created > index || node.modified > index {
                return Err(RestoreError("a node is younger than the store"));
            }
        }
        let follow =
            events.iter().zip(events.iter().skip(1)).all(|(one, next)| one.index() + 1 == next.index());
        let is_last = events.back().is_none_or(|last| last.index() == index);
        if events.len() > EVENTS_MAX || !follow || !is_last {
            return Err(RestoreError("the events do not follow each other"));
        }
        let deadlines =
            nodes.iter().filter_map(|(path, node)| Some((node.expires_ns?, path.clone()))).collect();
        let history = History::restore(events, is_cut);
        Ok(Store { nodes, deadlines, index, history, stats, unstored: Unstored::default() })
    }
}

fn node_key(path: &str) -> Bytes {
    let mut key = Vec::with_capacity(path.len() + 1);
    key.push(NODE);
    key.extend_from_slice(path.as_bytes());
    key.into()
}

fn event_key(index: u64) -> Bytes {
    let mut key = alloc::vec![EVENT];
    key.extend_from_slice(&index.to_be_bytes());
    key.into()
}

fn encode_node(node: &Node) -> Bytes {
    let value = node.value.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(value.len() + 24);
    bytes.push(VERSION);
    bytes.push(u8::from(node.is_dir()) | u8::from(node.expires_ns.is_some()) << 1);
    push_number(&mut bytes, node.created);
    push_number(&mut bytes, node.modified);
    if let Some(at_ns) = node.expires_ns {
        push_number(&mut bytes, at_ns.cast_unsigned());
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.into()
}

fn encode_event(event: &Event) -> Bytes {
    let mut bytes = alloc::vec![VERSION];
    let action = ACTIONS.iter().position(|action| *action == event.action).expect("all actions have numbers");
    bytes.push(u8::try_from(action).expect("there are few actions"));
    bytes.push(u8::from(event.is_refresh) | u8::from(event.previous.is_some()) << 1);
    push_view(&mut bytes, &event.node);
    if let Some(previous) = &event.previous {
        push_view(&mut bytes, previous);
    }
    bytes.into()
}

fn push_view(bytes: &mut Vec<u8>, view: &NodeView) {
    let flags = [view.is_dir, view.value.is_some(), view.expiry.is_some()];
    bytes.push(flags.into_iter().zip(0..).map(|(flag, bit)| u8::from(flag) << bit).sum());
    push_text(bytes, &view.key);
    if let Some(value) = &view.value {
        push_text(bytes, value);
    }
    push_number(bytes, view.created);
    push_number(bytes, view.modified);
    if let Some(expiry) = view.expiry {
        push_number(bytes, expiry.at_ns.cast_unsigned());
        push_number(bytes, expiry.ttl.cast_unsigned());
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    push_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// What is left of a value. All readings are none if it is damaged.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn flags<const COUNT: usize>(&mut self) -> Option<[bool; COUNT]> {
        let byte = self.byte()?;
        (u32::from(byte) < 1 << COUNT).then(|| core::array::from_fn(|bit| byte & 1 << bit != 0))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..10 {
            let byte = self.byte()?;
            if place == 9 && byte > 1 {
                return None;
            }
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(core::str::from_utf8(text).ok()?.into())
    }

    fn meta(&mut self) -> Option<(u64, bool, Stats)> {
        let index = self.number()?;
        let is_cut = self.number()? == 1;
        let mut stats = Stats::default();
        for tally in stats.tallies_mut() {
            tally.succeeded = self.number()?;
            tally.failed = self.number()?;
        }
        stats.expired = self.number()?;
        Some((index, is_cut, stats))
    }

    fn node(&mut self) -> Option<Node> {
        let [is_dir, expires] = self.flags()?;
        let (created, modified) = (self.number()?, self.number()?);
        let expires_ns = if expires { Some(self.number()?.cast_signed()) } else { None };
        let value = core::str::from_utf8(core::mem::take(&mut self.0)).ok()?;
        if is_dir && !value.is_empty() {
            return None;
        }
        Some(Node { created, modified, expires_ns, value: (!is_dir).then(|| value.into()) })
    }

    fn event(&mut self) -> Option<Event> {
        let action = *ACTIONS.get(usize::from(self.byte()?))?;
        let [is_refresh, has_previous] = self.flags()?;
        let node = self.view()?;
        let previous = if has_previous { Some(self.view()?) } else { None };
        Some(Event { action, node, previous, is_refresh })
    }

    fn view(&mut self) -> Option<NodeView> {
        let [is_dir, has_value, expires] = self.flags()?;
        let key = self.text()?;
        let value = if has_value { Some(self.text()?) } else { None };
        let (created, modified) = (self.number()?, self.number()?);
        let expiry = if expires {
            Some(Expiry { at_ns: self.number()?.cast_signed(), ttl: self.number()?.cast_signed() })
        } else {
            None
        };
        Some(NodeView { key, value, is_dir, expiry, nodes: Vec::new(), modified, created })
    }
}
