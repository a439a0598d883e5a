//! The JSON of members, byte for byte as Go writes it: no spaces, empty optional fields left out, no list is `null`, and
//! `<`, `>`, `&` escaped.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use super::{ConfState, Downgrade, Member};

/// What the context of a change of the cluster says.
pub(super) struct Context {
    pub(super) member: Member,
    /// Whether it asks for a learner to become a voter.
    pub(super) is_promotion: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MemberFields {
    #[serde(default)]
    id: u64,
    #[serde(default, rename = "peerURLs", deserialize_with = "nullable")]
    peer_urls: Vec<String>,
    #[serde(default)]
    is_learner: bool,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "clientURLs", deserialize_with = "nullable")]
    client_urls: Vec<String>,
    #[serde(default)]
    is_promote: bool,
}

#[derive(Deserialize)]
struct ConfStateFields {
    #[serde(default, deserialize_with = "nullable")]
    voters: Vec<u64>,
    #[serde(default, deserialize_with = "nullable")]
    learners: Vec<u64>,
    #[serde(default, deserialize_with = "nullable")]
    voters_outgoing: Vec<u64>,
    #[serde(default, deserialize_with = "nullable")]
    learners_next: Vec<u64>,
    #[serde(default)]
    auto_leave: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DowngradeFields {
    #[serde(default)]
    target_version: String,
    #[serde(default)]
    enabled: bool,
}

impl Context {
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let fields: MemberFields = serde_json::from_slice(json).ok()?;
        let is_promotion = fields.is_promote;
        Some(Self { member: fields.into(), is_promotion })
    }
}

impl From<MemberFields> for Member {
    fn from(fields: MemberFields) -> Self {
        Self {
            id: fields.id,
            name: fields.name,
            peer_urls: fields.peer_urls,
            client_urls: fields.client_urls,
            is_learner: fields.is_learner,
        }
    }
}

impl Member {
    /// The JSON that stands in the log and in table `members`.
    pub fn to_json(&self) -> Bytes {
        let mut json = format!("{{\"id\":{},\"peerURLs\":", self.id);
        push_list_or_null(&mut json, &self.peer_urls, push_text);
        if self.is_learner {
            json.push_str(",\"isLearner\":true");
        }
        if !self.name.is_empty() {
            json.push_str(",\"name\":");
            push_text(&mut json, &self.name);
        }
        if !self.client_urls.is_empty() {
            json.push_str(",\"clientURLs\":");
            push_list_or_null(&mut json, &self.client_urls, push_text);
        }
        json.push('}');
        json.into()
    }

    /// Reads [`to_json`](Self::to_json); none if it is something else.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let fields: MemberFields = serde_json::from_slice(json).ok()?;
        Some(fields.into())
    }
}

/// The context that asks for a learner to become a voter.
pub(super) fn promotion(id: u64) -> Bytes {
    format!("{{\"id\":{id},\"peerURLs\":null,\"isPromote\":true}}").into()
}

impl ConfState {
    pub(crate) fn to_json(&self) -> Bytes {
        let mut json = String::from("{");
        let lists = [
            ("voters", &self.voters),
            ("learners", &self.learners),
            ("voters_outgoing", &self.voters_outgoing),
            ("learners_next", &self.learners_next),
        ];
        for (name, ids) in lists {
            if !ids.is_empty() {
                push(&mut json, format_args!("\"{name}\":"));
                push_list_or_null(&mut json, ids, |json, id| push(json, format_args!("{id}")));
                json.push(',');
            }
        }
        push(&mut json, format_args!("\"auto_leave\":{}}}", self.auto_leave));
        json.into()
    }

    pub(crate) fn from_json(json: &[u8]) -> Option<Self> {
        let fields: ConfStateFields = serde_json::from_slice(json).ok()?;
        Some(Self {
            voters: fields.voters,
            learners: fields.learners,
            voters_outgoing: fields.voters_outgoing,
            learners_next: fields.learners_next,
            auto_leave: fields.auto_leave,
        })
    }
}

impl Downgrade {
    /// The record of an allowed downgrade, or of one that was called off.
    pub(crate) fn to_json(downgrade: Option<Self>) -> Bytes {
        match downgrade {
            Some(Self { target }) => format!("{{\"target-version\":\"{target}\",\"enabled\":true}}").into(),
            None => Bytes::from_static(b"{\"target-version\":\"\",\"enabled\":false}"),
        }
    }

    /// The outer option is none if the JSON is something else.
    pub(crate) fn from_json(json: &[u8]) -> Option<Option<Self>> {
        let fields: DowngradeFields = serde_json::from_slice(json).ok()?;
        if !fields.enabled {
            return Some(None);
        }
        Some(Some(Self { target: fields.target_version.parse().ok()? }))
    }
}

/// Go writes a list that was never set as `null`.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn push(json: &mut String, text: core::fmt::Arguments<'_>) {
    json.write_fmt(text).expect("a string takes any text");
}

pub(super) fn push_list_or_null<T>(
    json: &mut String,
    items: &[T],
    mut push_item: impl FnMut(&mut String, &T),
) {
    if items.is_empty() {
        json.push_str("null");
        return;
    }
    let mut separator = '[';
    for item in items {
        json.push(separator);
        push_item(json, item);
        separator = ',';
    }
    json.push(']');
}

#[expect(clippy::ptr_arg, reason = "passed as the item writer of lists of strings")]
pub(super) fn push_text(json: &mut String, text: &String) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                push(json, format_args!("\\u{:04x}", u32::from(character)));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}
