//! The committed sequence, and what each member has of it: the promises of Raft.
//!
//! The simulator sees every write to every log before consensus is told that it is done, so it knows which entries are
//! durable where. From that follow: one leader a term, one vote a term, equal logs up to the commit index, nothing
//! committed that is not durable on a quorum, nothing promised before it is durable, and nothing forgotten by a restart.

use std::collections::BTreeMap;

use bytes::Bytes;
use etched_replica::Persist;
use etched_replica::raft::{EntryKind, HardState, Message, MessageKind};

use crate::node::Found;
use crate::oracle::Violation;

/// An entry as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) term: u64,
    pub(crate) kind: EntryKind,
    pub(crate) data: Bytes,
}

/// What is known of one member's log, in all of its lives.
#[derive(Debug, Default)]
struct Mirror {
    /// Entries that are not known to be committed here, by index.
    tail: BTreeMap<u64, LogEntry>,
    /// All up to here is committed and was compared.
    committed: u64,
    /// All up to here is committed, and durable here as it was committed.
    sealed: u64,
    applied: u64,
    last_index: u64,
    hard_state: HardState,
    durable_last_index: u64,
    /// Entries above `committed` that are durable, by index.
    durable_tail: BTreeMap<u64, u64>,
    durable_hard_state: HardState,
    /// Whom it voted for, by term.
    votes: BTreeMap<u64, u64>,
    /// Who votes, as far as this member has applied it; before and after its last turn.
    voters: [Vec<u64>; 2],
}

/// The committed sequence.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Term of each committed entry, and a hash of the rest; the first has index 1.
    committed: Vec<(u64, u32)>,
    mirrors: BTreeMap<u64, Mirror>,
    /// Who led which term.
    leaders: BTreeMap<u64, u64>,
}

fn hash_of(entry: &LogEntry) -> u32 {
    crc32c::crc32c_append(u32::try_from(entry.kind.number()).expect("a small number"), &entry.data)
}

impl Log {
    /// The last index that is known to be committed.
    pub(crate) fn last(&self) -> u64 {
        self.committed.len() as u64
    }

    fn at(&self, index: u64) -> Option<(u64, u32)> {
        self.committed.get(usize::try_from(index.checked_sub(1)?).ok()?).copied()
    }

    fn mirror(&mut self, member: u64) -> &mut Mirror {
        self.mirrors.entry(member).or_default()
    }

    /// A member appended to its log, without having synced.
    pub(crate) fn on_appended(&mut self, member: u64, persist: &Persist) -> Result<(), Violation> {
        let mirror = self.mirror(member);
        if let Some(first) = persist.entries.first() {
            if first.index <= mirror.committed {
                let story = format!(
                    "member {member:x} replaces its log from {} on, {} is committed",
                    first.index, mirror.committed
                );
                return Err(Violation::new("committed is for ever", story));
            }
            mirror.tail.split_off(&first.index);
        }
        for entry in &persist.entries {
            let kept = LogEntry { term: entry.term, kind: entry.kind, data: entry.data.clone() };
            mirror.tail.insert(entry.index, kept);
            mirror.last_index = entry.index;
        }
        if let Some(state) = persist.hard_state {
            let old = mirror.hard_state;
            if state.term < old.term || (state.term == old.term && old.vote != 0 && state.vote != old.vote) {
                let story = format!("member {member:x} goes from {old:?} to {state:?}");
                return Err(Violation::new("one vote a term", story));
            }
            mirror.hard_state = state;
        }
        Ok(())
    }

    /// Everything that a member appended is synced.
    pub(crate) fn on_synced(&mut self, member: u64) {
        let mirror = self.mirror(member);
        mirror.durable_tail = mirror.tail.iter().map(|(index, entry)| (*index, entry.term)).collect();
        mirror.durable_last_index = mirror.last_index;
        mirror.sealed = mirror.sealed.max(mirror.committed.min(mirror.last_index));
        mirror.durable_hard_state = mirror.hard_state;
    }

    /// A snapshot took the place of a member's log.
    pub(crate) fn on_installed(&mut self, member: u64, index: u64) -> Result<(), Violation> {
        if index > self.last() {
            let story =
                format!("member {member:x} has a snapshot of {index}, only {} is committed", self.last());
            return Err(Violation::new("snapshots are of what is committed", story));
        }
        let mirror = self.mirror(member);
        mirror.committed = mirror.committed.max(index);
        mirror.sealed = mirror.sealed.max(index);
        mirror.tail.retain(|at, _| *at > index);
        mirror.durable_tail.retain(|at, _| *at > index);
        mirror.last_index = mirror.last_index.max(index);
        mirror.durable_last_index = mirror.durable_last_index.max(index);
        Ok(())
    }

    /// What a start found must be what was durable, at least.
    pub(crate) fn on_started(&mut self, member: u64, found: &Found) -> Result<(), Violation> {
        let committed = std::mem::take(&mut self.committed);
        let result = self.compare_found(member, found, &committed);
        self.committed = committed;
        result
    }

    fn compare_found(
        &mut self,
        member: u64,
        found: &Found,
        committed: &[(u64, u32)],
    ) -> Result<(), Violation> {
        let mirror = self.mirror(member);
        let last = found.entries.last().map_or(found.snapshot_index, |entry| entry.index);
        // What was written and not synced may have replaced what was.
        let unsynced = std::mem::take(&mut mirror.tail);
        let is_replaced = |index: u64, term: u64| {
            let was_written = unsynced.get(&index).is_some_and(|entry| entry.term == term);
            was_written && mirror.durable_tail.get(&index) != Some(&term)
        };
        let is_shortened = found.entries.last().is_some_and(|entry| is_replaced(entry.index, entry.term));
        if last < mirror.durable_last_index && !is_shortened {
            let story = format!(
                "member {member:x} finds its log up to {last}, {} was synced",
                mirror.durable_last_index
            );
            return Err(Violation::new("durable", story));
        }
        let (old, new) = (mirror.durable_hard_state, found.hard_state);
        if new.term < old.term || (new.term == old.term && old.vote != 0 && new.vote != old.vote) {
            let story = format!("member {member:x} finds {new:?}, {old:?} was synced");
            return Err(Violation::new("votes are durable", story));
        }
        for entry in &found.entries {
            let kept = LogEntry { term: entry.term, kind: entry.kind, data: entry.data.clone() };
            let is_durable = mirror.durable_tail.get(&entry.index).is_none_or(|term| *term == entry.term);
            if !is_durable && !is_replaced(entry.index, entry.term) {
                let story = format!("member {member:x} finds another entry at {}", entry.index);
                return Err(Violation::new("durable", story));
            }
            if entry.index <= mirror.sealed {
                let place = usize::try_from(entry.index - 1).expect("an index fits");
                if committed.get(place) != Some(&(kept.term, hash_of(&kept))) {
                    let story = format!("member {member:x} finds another entry at {}", entry.index);
                    return Err(Violation::new("committed is for ever", story));
                }
            } else {
                mirror.tail.insert(entry.index, kept);
            }
        }
        // It may have known of more than it had durable, or had something else there from before.
        mirror.committed = mirror.sealed.min(last);
        mirror.last_index = last;
        mirror.hard_state = new;
        mirror.applied = 0;
        self.on_synced(member);
        Ok(())
    }

    /// A member knows who the members are.
    pub(crate) fn on_voters(&mut self, member: u64, voters: Vec<u64>) {
        self.mirror(member).voters[1] = voters;
    }

    /// A member sends a message: it must not promise what is not durable.
    pub(crate) fn on_sent(&mut self, member: u64, message: &Message) -> Result<(), Violation> {
        let (kind, term, to) = (message.kind(), message.term(), message.to());
        let mirror = self.mirror(member);
        if kind == MessageKind::AppendResponse && !message.is_reject() {
            let (index, durable) = (message.index(), mirror.durable_last_index);
            if index > durable {
                let story = format!("member {member:x} acknowledges {index}, {durable} is durable");
                return Err(Violation::new("nothing is promised before it is durable", story));
            }
        }
        if kind == MessageKind::VoteResponse && !message.is_reject() {
            let durable = mirror.durable_hard_state;
            if durable.term < term || (durable.term == term && durable.vote != to) {
                let story =
                    format!("member {member:x} votes for {to:x} in term {term}, {durable:?} is durable");
                return Err(Violation::new("nothing is promised before it is durable", story));
            }
            let voted = *mirror.votes.entry(term).or_insert(to);
            if voted != to {
                let story = format!("member {member:x} votes for {voted:x} and {to:x} in term {term}");
                return Err(Violation::new("one vote a term", story));
            }
        }
        Ok(())
    }

    /// A member leads.
    pub(crate) fn on_leader(&mut self, member: u64, term: u64) -> Result<(), Violation> {
        let first = *self.leaders.entry(term).or_insert(member);
        if first != member {
            let story = format!("members {first:x} and {member:x} lead term {term}");
            return Err(Violation::new("one leader a term", story));
        }
        let committed = self.last();
        let mirror = &self.mirrors[&member];
        let lacks = |index: &u64| {
            mirror.tail.get(index).map(|entry| entry.term) != self.at(*index).map(|(term, _)| term)
        };
        // A later leader of an older term may come to know of its election late; it lacks what came after.
        let is_newest = self.leaders.keys().next_back() == Some(&term);
        if is_newest && let Some(index) = (mirror.committed + 1..=committed).find(lacks) {
            let story = format!("member {member:x} leads term {term} without the committed entry {index}");
            return Err(Violation::new("leaders have all that is committed", story));
        }
        Ok(())
    }

    /// A member has learned that everything up to `committed` is committed, and has applied up to `applied`.
    /// Returns what nobody knew of before.
    pub(crate) fn on_progress(
        &mut self,
        member: u64,
        committed: u64,
        applied: u64,
    ) -> Result<Vec<(u64, LogEntry)>, Violation> {
        let mut new = Vec::new();
        let mirror = self.mirrors.entry(member).or_default();
        if applied > committed || applied > mirror.durable_last_index || applied < mirror.applied {
            let story = format!(
                "member {member:x} applied {applied} (before: {}), committed {committed}, durable {}",
                mirror.applied, mirror.durable_last_index
            );
            return Err(Violation::new("only what is committed and durable is applied", story));
        }
        mirror.applied = applied;
        for index in mirror.committed + 1..=committed {
            let Some(entry) = mirror.tail.remove(&index) else {
                let story = format!("member {member:x} has {index} committed and not in its log");
                return Err(Violation::new("equal logs", story));
            };
            let place = usize::try_from(index - 1).expect("an index fits");
            let own = (entry.term, hash_of(&entry));
            if mirror.sealed + 1 == index && mirror.durable_tail.get(&index) == Some(&entry.term) {
                mirror.sealed = index;
            }
            match self.committed.get(place) {
                Some(known) if *known == own => {}
                Some(known) => {
                    let story =
                        format!("member {member:x} has {own:?} committed at {index}, others {known:?}");
                    return Err(Violation::new("equal logs", story));
                }
                None => {
                    self.committed.push(own);
                    new.push((index, entry));
                }
            }
        }
        mirror.committed = mirror.committed.max(committed);
        self.check_quorum(member, &new)?;
        let mirror = self.mirror(member);
        mirror.durable_tail.retain(|index, _| *index > committed);
        mirror.voters[0] = mirror.voters[1].clone();
        Ok(new)
    }

    /// What is committed is durable on a quorum.
    fn check_quorum(&self, member: u64, new: &[(u64, LogEntry)]) -> Result<(), Violation> {
        for (index, entry) in new {
            // The first entries of a new cluster count as committed.
            if entry.term == 1 && entry.kind == EntryKind::ConfChange {
                continue;
            }
            let has = |voter: &u64| {
                self.mirrors.get(voter).is_some_and(|mirror| {
                    let is_known = mirror.committed >= *index && mirror.durable_last_index >= *index;
                    is_known && mirror.durable_tail.get(index).is_none_or(|term| *term == entry.term)
                        || mirror.durable_tail.get(index) == Some(&entry.term)
                })
            };
            let is_quorum =
                |voters: &Vec<u64>| voters.iter().filter(|voter| has(voter)).count() * 2 > voters.len();
            let voters = &self.mirrors[&member].voters;
            if !voters.iter().any(is_quorum) {
                let story = format!(
                    "entry {index} is committed on member {member:x}, and not durable on a quorum of {voters:x?}"
                );
                return Err(Violation::new("committed is durable on a quorum", story));
            }
        }
        Ok(())
    }
}
