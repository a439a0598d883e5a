//! What happened to a node, and what a node looks like: the bodies that clients get.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use crate::json::push_text;
use crate::time;

/// What a request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Read.
    Get,
    /// Made something new.
    Create,
    /// Wrote, whatever was there.
    Set,
    /// Changed what was there.
    Update,
    /// Deleted.
    Delete,
    /// Wrote after a comparison.
    CompareAndSwap,
    /// Deleted after a comparison.
    CompareAndDelete,
    /// Deleted because its time was over.
    Expire,
}

/// One answer or one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was done.
    pub action: Action,
    /// The node afterwards; of what was deleted only the name and the indices.
    pub node: NodeView,
    /// The node before.
    pub previous: Option<NodeView>,
    /// Whether only the time to live changed, of which watchers are not told.
    pub is_refresh: bool,
}

/// A node as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NodeView {
    /// The path, with the namespace in front.
    pub key: String,
    /// The value; none for directories and for what was deleted.
    pub value: Option<String>,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// When it expires, and the seconds until then, rounded up.
    pub expiry: Option<Expiry>,
    /// The children that are shown, by name.
    pub nodes: Vec<Self>,
    /// The index of its last change.
    pub modified: u64,
    /// The index that made it.
    pub created: u64,
}

/// When a node expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Nanoseconds of the Unix epoch.
    pub at_ns: i64,
    /// Seconds from when it was looked at, rounded up.
    pub ttl: i64,
}

impl Action {
    /// Its name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Set => "set",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::CompareAndSwap => "compareAndSwap",
            Self::CompareAndDelete => "compareAndDelete",
            Self::Expire => "expire",
        }
    }
}

impl Event {
    /// The index of the change; of a read, that of the node's last change.
    pub fn index(&self) -> u64 {
        self.node.modified
    }

    /// Whether it made a node where there was none: such answers have another status.
    pub fn is_created(&self) -> bool {
        self.action == Action::Create || (self.action == Action::Set && self.previous.is_none())
    }

    /// Whether it took the node away.
    pub fn is_removal(&self) -> bool {
        match self.action {
            Action::Delete | Action::CompareAndDelete | Action::Expire => true,
            Action::Get | Action::Create | Action::Set | Action::Update | Action::CompareAndSwap => false,
        }
    }

    /// The body that clients get, without the line's end.
    pub fn to_json(&self, namespace: &str) -> String {
        let mut json = String::from("{\"action\":\"");
        json.push_str(self.action.name());
        json.push_str("\",\"node\":");
        self.node.push_json(namespace, &mut json);
        if let Some(previous) = &self.previous {
            json.push_str(",\"prevNode\":");
            previous.push_json(namespace, &mut json);
        }
        json.push('}');
        json
    }

    /// The body for a client that wants no values back; reads and deletions are told in full.
    pub fn to_json_without_values(&self, namespace: &str) -> String {
        match self.action {
            Action::Set | Action::CompareAndSwap | Action::Create | Action::Update => {
                let mut json = String::from("{\"action\":\"");
                json.push_str(self.action.name());
                json.push_str("\"}");
                json
            }
            Action::Get | Action::Delete | Action::CompareAndDelete | Action::Expire => {
                self.to_json(namespace)
            }
        }
    }
}

impl Expiry {
    /// The expiry of a node that is looked at now.
    pub(crate) fn seen_at(at_ns: i64, now_ns: i64) -> Self {
        let left = at_ns.saturating_sub(now_ns);
        let up = i64::from(left % time::SECOND_NS > 0);
        Self { at_ns, ttl: left / time::SECOND_NS + up }
    }
}

impl NodeView {
    /// Paths have a bounded number of names, and so has the depth of this.
    fn push_json(&self, namespace: &str, json: &mut String) {
        let mut separator = '{';
        let mut field = |json: &mut String, name: &str| {
            json.push(core::mem::replace(&mut separator, ','));
            json.push('"');
            json.push_str(name);
            json.push_str("\":");
        };
        let number = |json: &mut String, number: i128| {
            write!(json, "{number}").expect("a string takes any text");
        };
        let key = self.key.strip_prefix(namespace).unwrap_or(&self.key);
        if !key.is_empty() {
            field(json, "key");
            push_text(json, key);
        }
        if let Some(value) = &self.value {
            field(json, "value");
            push_text(json, value);
        }
        if self.is_dir {
            field(json, "dir");
            json.push_str("true");
        }
        if let Some(expiry) = self.expiry {
            field(json, "expiration");
            json.push('"');
            time::push_rfc3339(json, expiry.at_ns);
            json.push('"');
            if expiry.ttl != 0 {
                field(json, "ttl");
                number(json, expiry.ttl.into());
            }
        }
        if !self.nodes.is_empty() {
            field(json, "nodes");
            for (place, node) in self.nodes.iter().enumerate() {
                json.push(if place == 0 { '[' } else { ',' });
                node.push_json(namespace, json);
            }
            json.push(']');
        }
        for (name, index) in [("modifiedIndex", self.modified), ("createdIndex", self.created)] {
            if index != 0 {
                field(json, name);
                number(json, index.into());
            }
        }
        if separator == '{' {
            json.push('{');
        }
        json.push('}');
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn an_event_is_written_as_clients_know_it() {
        let node = NodeView {
            key: "/1/a".into(),
            value: Some("x".into()),
            expiry: Some(Expiry::seen_at(1_500_000_000_250_000_000, 1_499_999_990_000_000_000)),
            modified: 5,
            created: 4,
            ..NodeView::default()
        };
        let previous = Some(NodeView { key: "/1/a".into(), is_dir: true, ..NodeView::default() });
        let event = Event { action: Action::Set, node: node.clone(), previous, is_refresh: false };
        assert_eq!(
            event.to_json("/1"),
            concat!(
                r#"{"action":"set","node":{"key":"/a","value":"x","expiration":"2017-07-14T02:40:00.25Z","ttl":11,"#,
                r#""modifiedIndex":5,"createdIndex":4},"prevNode":{"key":"/a","dir":true}}"#
            )
        );
        assert_eq!(event.to_json_without_values("/1"), r#"{"action":"set"}"#);
        let root = NodeView { key: "/1".into(), is_dir: true, nodes: vec![node], ..NodeView::default() };
        let read = Event { action: Action::Get, node: root, previous: None, is_refresh: false };
        assert!(
            read.to_json("/1").starts_with(r#"{"action":"get","node":{"dir":true,"nodes":[{"key":"/a","#)
        );
    }
}
