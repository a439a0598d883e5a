//! The tree as a list of nodes that is searched from front to back for everything, with the answers as texts.
//!
//! Nothing of the store is used but the types of its requests.

use std::fmt::Write as _;

use etched_v2store::{Compared, Request, What, Written};

#[derive(Clone, Debug)]
struct Entry {
    names: Vec<String>,
    /// None of a directory.
    value: Option<String>,
    created: u64,
    modified: u64,
    expires_ns: i64,
}

#[derive(Debug)]
struct Past {
    index: u64,
    names: Vec<String>,
    took_directory: bool,
    is_silent: bool,
}

pub(crate) struct Model {
    entries: Vec<Entry>,
    past: Vec<Past>,
    pub(crate) index: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self { entries: Vec::new(), past: Vec::new(), index: 3 }
    }
}

/// The names of a path below the namespace.
fn names(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !name.is_empty()).skip(1).map(str::to_owned).collect()
}

fn text(names: &[String]) -> String {
    names.iter().map(|name| format!("/{name}")).collect()
}

impl Entry {
    /// Its JSON, without what is below; `nodes` is the list of those.
    fn json(&self, now_ns: i64, nodes: &str, shown_modified: u64) -> String {
        let mut json = format!("{{\"key\":\"{}\"", text(&self.names));
        match &self.value {
            Some(value) => write!(json, ",\"value\":\"{value}\"").unwrap(),
            None => json.push_str(",\"dir\":true"),
        }
        if self.expires_ns != 0 {
            let seconds = self.expires_ns / 1_000_000_000 - 1_000_000_000;
            // The test's time begins at 01:46:40.
            write!(json, ",\"expiration\":\"2001-09-09T01:46:{}Z\"", 40 + seconds).unwrap();
            let left = (self.expires_ns - now_ns) / 1_000_000_000;
            if left != 0 {
                write!(json, ",\"ttl\":{left}").unwrap();
            }
        }
        json.push_str(nodes);
        write!(json, ",\"modifiedIndex\":{shown_modified},\"createdIndex\":{}}}", self.created).unwrap();
        json
    }

    fn plain(&self, now_ns: i64) -> String {
        self.json(now_ns, "", self.modified)
    }
}

impl Model {
    fn find(&self, names: &[String]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.names == names)
    }

    /// Why there is nothing at a place.
    fn missing(&self, names: &[String]) -> String {
        for length in 1..=names.len() {
            match self.find(&names[..length]) {
                None => return self.refuse(100, &text(&names[..length])),
                Some(entry) if entry.value.is_some() && length < names.len() => {
                    return self.refuse(104, &text(&names[..length]));
                }
                Some(_) => {}
            }
        }
        unreachable!("it is there")
    }

    fn refuse(&self, code: u32, path: &str) -> String {
        format!("{code} /1{path} [{}]", self.index)
    }

    fn root(&self) -> String {
        format!("107 / [{}]", self.index)
    }

    pub(crate) fn apply(&mut self, request: &Request) -> Result<String, String> {
        let mut place = names(&request.path);
        let now_ns = request.now_ns;
        if matches!(request.what, What::CreateInOrder(_)) {
            place.push(format!("{:020}", self.index + 1));
        }
        if let What::CompareAndDelete(compared) = &request.what {
            let before = self.comparable(&place, compared)?;
            return Ok(self.take(&before, "compareAndDelete", now_ns));
        }
        if place.is_empty() {
            return Err(self.root());
        }
        match &request.what {
            What::Set(written) => {
                let before = self.find(&place).cloned();
                let is_blocked = before.is_none() && self.missing(&place).starts_with("104");
                if before.is_none() && (is_blocked || written.is_refresh) {
                    return Err(self.missing(&place));
                }
                if before.as_ref().is_some_and(|entry| entry.value.is_none()) {
                    return Err(self.refuse(102, &text(&place)));
                }
                let mut written = written.clone();
                if let Some(Entry { value: Some(value), .. }) = before.as_ref().filter(|_| written.is_refresh)
                {
                    written.value.clone_from(value);
                }
                Ok(self.put(place, "set", &written, before, now_ns))
            }
            What::Create(written) | What::CreateInOrder(written) => {
                if self.find(&place).is_some() {
                    return Err(self.refuse(105, &text(&place)));
                }
                if self.missing(&place).starts_with("104") {
                    return Err(self.missing(&place));
                }
                let written = Written { is_refresh: false, ..written.clone() };
                Ok(self.put(place, "create", &written, None, now_ns))
            }
            What::Update(written) => {
                let Some(before) = self.find(&place).cloned() else { return Err(self.missing(&place)) };
                if before.value.is_none() && !written.value.is_empty() {
                    return Err(self.refuse(102, &text(&place)));
                }
                Ok(self.change(&before, "update", written, now_ns))
            }
            What::CompareAndSwap(compared, written) => {
                let before = self.comparable(&place, compared)?;
                Ok(self.change(&before, "compareAndSwap", written, now_ns))
            }
            What::Delete { is_dir, is_recursive } => {
                let Some(before) = self.find(&place).cloned() else { return Err(self.missing(&place)) };
                let is_full = self
                    .entries
                    .iter()
                    .any(|entry| entry.names.len() > place.len() && entry.names.starts_with(&place));
                if before.value.is_none() && !is_dir && !is_recursive {
                    return Err(self.refuse(102, &text(&place)));
                }
                if is_full && !is_recursive {
                    return Err(self.refuse(108, &text(&place)));
                }
                Ok(self.take(&before, "delete", now_ns))
            }
            What::CompareAndDelete(_) => unreachable!("handled above"),
        }
    }

    fn comparable(&self, place: &[String], compared: &Compared) -> Result<Entry, String> {
        if place.is_empty() {
            return Err(self.refuse(102, ""));
        }
        let Some(before) = self.find(place).cloned() else { return Err(self.missing(place)) };
        let Some(value) = &before.value else { return Err(self.refuse(102, &text(place))) };
        let mut faults = Vec::new();
        if !compared.value.is_empty() && compared.value != *value {
            faults.push(format!("[{} != {value}]", compared.value));
        }
        let is_other = compared.index != 0 && compared.index != before.modified;
        if is_other {
            faults.push(format!("[{} != {}]", compared.index, before.modified));
        }
        if faults.is_empty() { Ok(before) } else { Err(format!("101 {} [{}]", faults.join(" "), self.index)) }
    }

    fn put(
        &mut self,
        place: Vec<String>,
        action: &str,
        written: &Written,
        before: Option<Entry>,
        now_ns: i64,
    ) -> String {
        self.index += 1;
        let index = self.index;
        let entry = |names: &[String], value: Option<String>, expires_ns| Entry {
            names: names.to_vec(),
            value,
            created: index,
            modified: index,
            expires_ns,
        };
        for length in 1..place.len() {
            if self.find(&place[..length]).is_none() {
                self.entries.push(entry(&place[..length], None, 0));
            }
        }
        self.entries.retain(|entry| entry.names != place);
        let value = (!written.is_dir).then(|| written.value.clone());
        let new = entry(&place, value, written.expires_ns);
        let mut json = format!("{{\"action\":\"{action}\",\"node\":{}", new.plain(now_ns));
        if let Some(before) = before {
            write!(json, ",\"prevNode\":{}", before.plain(now_ns)).unwrap();
        }
        self.entries.push(new);
        self.note(place, false, written.is_refresh);
        json + "}"
    }

    fn change(&mut self, before: &Entry, action: &str, written: &Written, now_ns: i64) -> String {
        self.index += 1;
        let index = self.index;
        let entry = self.entries.iter_mut().find(|entry| entry.names == before.names).unwrap();
        entry.expires_ns = written.expires_ns;
        if let Some(value) = &mut entry.value {
            entry.modified = index;
            if !written.is_refresh {
                value.clone_from(&written.value);
            }
        }
        let json = format!(
            "{{\"action\":\"{action}\",\"node\":{},\"prevNode\":{}}}",
            entry.json(now_ns, "", index),
            before.plain(now_ns)
        );
        self.note(before.names.clone(), false, written.is_refresh);
        json
    }

    fn take(&mut self, before: &Entry, action: &str, now_ns: i64) -> String {
        self.index += 1;
        self.entries.retain(|entry| !entry.names.starts_with(&before.names));
        let dir = if before.value.is_none() { ",\"dir\":true" } else { "" };
        let json = format!(
            "{{\"action\":\"{action}\",\"node\":{{\"key\":\"{}\"{dir},\"modifiedIndex\":{},\"createdIndex\":{}}},\"prevNode\":{}}}",
            text(&before.names),
            self.index,
            before.created,
            before.plain(now_ns)
        );
        self.note(before.names.clone(), before.value.is_none(), false);
        json
    }

    fn note(&mut self, names: Vec<String>, took_directory: bool, is_silent: bool) {
        self.past.push(Past { index: self.index, names, took_directory, is_silent });
    }

    pub(crate) fn expire(&mut self, until_ns: i64) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            let due =
                self.entries.iter().filter(|entry| entry.expires_ns != 0 && entry.expires_ns <= until_ns);
            let first = due.min_by_key(|entry| (entry.expires_ns, text(&entry.names))).cloned();
            let Some(first) = first else { return events };
            events.push(self.take(&first, "expire", until_ns));
        }
    }

    pub(crate) fn read(&self, path: &str, all: bool, now_ns: i64) -> Result<String, String> {
        let place = names(path);
        if place.is_empty() {
            let nodes = self.list(&place, all, now_ns);
            return Ok(format!("{{\"action\":\"get\",\"node\":{{\"dir\":true{nodes}}}}}"));
        }
        let Some(entry) = self.find(&place) else { return Err(self.missing(&place)) };
        let nodes = if entry.value.is_none() { self.list(&place, all, now_ns) } else { String::new() };
        Ok(format!("{{\"action\":\"get\",\"node\":{}}}", entry.json(now_ns, &nodes, entry.modified)))
    }

    fn list(&self, place: &[String], all: bool, now_ns: i64) -> String {
        let mut children: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.names.len() == place.len() + 1 && entry.names.starts_with(place))
            .filter(|entry| !entry.names.last().unwrap().starts_with('_'))
            .collect();
        children.sort_by_key(|entry| text(&entry.names));
        let children: Vec<String> = children
            .into_iter()
            .map(|entry| {
                let goes_on = all && entry.value.is_none();
                let nodes = if goes_on { self.list(&entry.names, all, now_ns) } else { String::new() };
                entry.json(now_ns, &nodes, entry.modified)
            })
            .collect();
        if children.is_empty() { String::new() } else { format!(",\"nodes\":[{}]", children.join(",")) }
    }

    /// The first event that a watch finds.
    pub(crate) fn watch(&self, path: &str, is_recursive: bool, since: u64) -> Option<u64> {
        let place = names(path);
        let since = if since == 0 { self.index + 1 } else { since };
        let matches = |past: &&Past| {
            let is_below = past.names.len() > place.len() && past.names.starts_with(&place);
            let is_hidden = past.names.iter().skip(place.len()).any(|name| name.starts_with('_'));
            let is_above = place.len() > past.names.len() && place.starts_with(&past.names);
            past.names == place || is_below && is_recursive && !is_hidden || is_above && past.took_directory
        };
        let mut past = self.past.iter().filter(|past| past.index >= since && !past.is_silent);
        past.find(matches).map(|past| past.index)
    }
}
