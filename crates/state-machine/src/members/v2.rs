//! The members in the form of etcd's v2 store, which etcd still puts into its snapshots and takes from them.
//!
//! It is the JSON that Go writes of the store: a tree of nodes, and beside it the store's counters and the ring of its
//! last events, which is empty here.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::json::{push_list_or_null, push_text};
use super::{Member, Members, key};
use crate::version::Version;

/// Events that etcd's ring holds.
const EVENTS_MAX: usize = 1_000;

/// A node of the tree: a value, or a directory.
#[derive(Debug)]
struct Node {
    index: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Value(String),
    Directory(BTreeMap<String, Node>),
}

/// The tree while it is built; each new value gets the next index.
struct Tree {
    root: Node,
    index: u64,
}

impl Members {
    /// The v2 store's JSON, for the data of a Raft snapshot.
    pub fn to_v2_store(&self, cluster_version: Option<Version>) -> Bytes {
        let mut tree = Tree { root: Node::directory(0), index: 0 };
        tree.root.child("0", 0);
        tree.root.child("1", 0);
        for member in self.iter() {
            let id = key(member.id);
            tree.put(&["0", "members", &id, "raftAttributes"], raft_attributes(member));
            if !member.client_urls.is_empty() {
                tree.put(&["0", "members", &id, "attributes"], attributes(member));
            }
        }
        for id in self.removed() {
            tree.put(&["0", "removed_members", &key(id)], "removed".to_string());
        }
        if let Some(version) = cluster_version {
            tree.put(&["0", "version"], version.to_string());
        }
        tree.to_json().into()
    }
}

impl Node {
    const fn directory(index: u64) -> Self {
        Self { index, content: Content::Directory(BTreeMap::new()) }
    }

    /// The child of that name; a directory if it is new.
    fn child(&mut self, name: &str, index: u64) -> &mut Self {
        let Content::Directory(children) = &mut self.content else { unreachable!("values have no children") };
        children.entry(name.to_string()).or_insert_with(|| Self::directory(index))
    }

    fn write(&self, path: &str, json: &mut String) {
        let index = self.index;
        let shown = if path.is_empty() { "/" } else { path };
        push(
            json,
            format_args!("{{\"Path\":\"{shown}\",\"CreatedIndex\":{index},\"ModifiedIndex\":{index},"),
        );
        json.push_str("\"ExpireTime\":\"0001-01-01T00:00:00Z\",\"Value\":");
        match &self.content {
            Content::Value(value) => {
                push_text(json, value);
                json.push_str(",\"Children\":null}");
            }
            Content::Directory(children) => {
                json.push_str("\"\",\"Children\":{");
                for (place, (name, child)) in children.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    push(json, format_args!("{comma}\"{name}\":"));
                    child.write(&format!("{path}/{name}"), json);
                }
                json.push_str("}}");
            }
        }
    }
}

impl Tree {
    fn put(&mut self, path: &[&str], value: String) {
        self.index += 1;
        let index = self.index;
        let node = path.iter().fold(&mut self.root, |node, name| node.child(name, index));
        *node = Node { index, content: Content::Value(value) };
    }

    fn to_json(&self) -> String {
        let mut json = String::from("{\"Root\":");
        self.root.write("", &mut json);
        json.push_str(",\"WatcherHub\":{\"EventHistory\":{\"Queue\":{\"Events\":[null");
        for _ in 1..EVENTS_MAX {
            json.push_str(",null");
        }
        push(&mut json, format_args!("],\"Size\":0,\"Front\":0,\"Back\":0,\"Capacity\":{EVENTS_MAX}}},"));
        json.push_str("\"StartIndex\":0,\"LastIndex\":0}},");
        push(&mut json, format_args!("\"CurrentIndex\":{},\"Stats\":{{", self.index));
        for (place, counter) in COUNTERS.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            push(&mut json, format_args!("{comma}\"{counter}\":0"));
        }
        json.push_str(",\"expireCount\":0,\"watchers\":0},\"CurrentVersion\":2}");
        json
    }
}

/// The nodes at the top of a v2 store; what lies below is passed over.
#[derive(Deserialize)]
struct TopFields {
    #[serde(rename = "Root")]
    root: ChildrenFields<ChildrenFields<IgnoredAny>>,
}

#[derive(Deserialize)]
struct ChildrenFields<T> {
    #[serde(rename = "Children", default = "Option::default")]
    children: Option<BTreeMap<String, T>>,
}

/// Whether a v2 store has keys of users, which lie below `/1`; none if the JSON is no v2 store.
pub(crate) fn has_v2_keys(json: &[u8]) -> Option<bool> {
    let top: TopFields = serde_json::from_slice(json).ok()?;
    let users = top.root.children.unwrap_or_default().remove("1");
    Some(users.and_then(|node| node.children).is_some_and(|children| !children.is_empty()))
}

/// What the store counts.
const COUNTERS: [&str; 14] = [
    "getsSuccess",
    "getsFail",
    "setsSuccess",
    "setsFail",
    "deleteSuccess",
    "deleteFail",
    "updateSuccess",
    "updateFail",
    "createSuccess",
    "createFail",
    "compareAndSwapSuccess",
    "compareAndSwapFail",
    "compareAndDeleteSuccess",
    "compareAndDeleteFail",
];

fn raft_attributes(member: &Member) -> String {
    let mut json = String::from("{\"peerURLs\":");
    push_list_or_null(&mut json, &member.peer_urls, push_text);
    json.push_str(if member.is_learner { ",\"isLearner\":true}" } else { "}" });
    json
}

fn attributes(member: &Member) -> String {
    let mut json = String::from("{");
    if !member.name.is_empty() {
        json.push_str("\"name\":");
        push_text(&mut json, &member.name);
        json.push(',');
    }
    json.push_str("\"clientURLs\":");
    push_list_or_null(&mut json, &member.client_urls, push_text);
    json.push('}');
    json
}

fn push(json: &mut String, text: core::fmt::Arguments<'_>) {
    json.write_fmt(text).expect("a string takes any text");
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn the_tree_is_the_one_that_etcd_writes() {
        let mut members = Members::default();
        let one = Member {
            id: 0x5c76_a90a_e78b_cee7,
            name: "m1".into(),
            peer_urls: vec!["http://127.0.0.1:33380".into()],
            client_urls: vec!["http://127.0.0.1:33379".into()],
            is_learner: false,
        };
        let learner = Member {
            id: 0x271a_55f6_f641_32a7,
            peer_urls: vec!["http://127.0.0.1:33399".into()],
            is_learner: true,
            ..Member::default()
        };
        members.by_id.insert(one.id, one);
        members.by_id.insert(learner.id, learner);
        members.removed.insert(0xabc);
        let json = members.to_v2_store(Some(Version::new(3, 7, 0)));
        let golden = concat!(
            r#"{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","#,
            r#""Children":{"0":{"Path":"/0","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","#,
            r#""Value":"","Children":{"members":{"Path":"/0/members","CreatedIndex":1,"ModifiedIndex":1,"#,
            r#""ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"271a55f6f64132a7":{"#,
            r#""Path":"/0/members/271a55f6f64132a7","CreatedIndex":1,"ModifiedIndex":1,"#,
            r#""ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"raftAttributes":{"#,
            r#""Path":"/0/members/271a55f6f64132a7/raftAttributes","CreatedIndex":1,"ModifiedIndex":1,"#,
            r#""ExpireTime":"0001-01-01T00:00:00Z","#,
            r#""Value":"{\"peerURLs\":[\"http://127.0.0.1:33399\"],\"isLearner\":true}","Children":null}}},"#,
        );
        let text = core::str::from_utf8(&json).unwrap();
        assert!(text.starts_with(golden), "{text}");
        assert!(
            text.contains(r#""removed_members":{"Path":"/0/removed_members","CreatedIndex":4"#),
            "{text}"
        );
        let parsed: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(parsed["Root"]["Children"]["0"]["Children"]["version"]["Value"], "3.7.0");
        assert_eq!(parsed["Root"]["Children"]["1"]["Children"], serde_json::json!({}));
        let events = &parsed["WatcherHub"]["EventHistory"]["Queue"]["Events"];
        assert_eq!(events.as_array().unwrap().len(), EVENTS_MAX);
    }
}
