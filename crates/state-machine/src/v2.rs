//! The tree of the v2 API beside the keys, and which members keep it.
//!
//! All of it stands in table `v2`, in the records of [`etched_v2store`] and one record for each member that keeps it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{Batch, ReadView, Table};
use etched_v2store::{Depth, Error, Reply, Store};

use crate::machine::{RestoreError, StateMachine};
use crate::members::Members;

/// The first byte of the records about members.
const SPEAKER: u8 = b's';

/// The replicated state of the v2 API.
#[derive(Default)]
pub(crate) struct V2State {
    pub(crate) store: Store,
    /// The members that have said that they keep the tree.
    pub(crate) speakers: BTreeSet<u64>,
}

/// The key of the record that a member keeps the tree.
pub(crate) fn speaker_key(member_id: u64) -> Bytes {
    let mut key = Vec::from([SPEAKER]);
    key.extend_from_slice(&member_id.to_be_bytes());
    key.into()
}

impl V2State {
    pub(crate) fn restore(view: &dyn ReadView) -> Result<Self, RestoreError> {
        let mut records = Vec::new();
        view.scan(Table::V2, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            records.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        let is_speaker = |key: &Bytes| key.first() == Some(&SPEAKER);
        let speakers = records.iter().filter(|(key, _)| is_speaker(key));
        let id_of = |key: &Bytes| Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?));
        let damaged = || etched_v2store::RestoreError("the record of a member cannot be read");
        let speakers = speakers.map(|(key, _)| id_of(key).ok_or_else(damaged)).collect::<Result<_, _>>()?;
        let rest = records.iter().filter(|(key, _)| !is_speaker(key));
        let store = Store::restore(rest.map(|(key, value)| (&key[..], &value[..])))?;
        Ok(Self { store, speakers })
    }

    /// Whether every member keeps the tree.
    pub(crate) fn is_spoken_by_all(&self, members: &Members) -> bool {
        members.iter().all(|member| self.speakers.contains(&member.id))
    }

    /// A member has left for good.
    pub(crate) fn on_removed(&mut self, member_id: u64, batch: &mut Batch) {
        if self.speakers.remove(&member_id) {
            batch.delete(Table::V2, speaker_key(member_id));
        }
    }
}

impl StateMachine {
    /// The tree of the v2 API.
    pub fn v2(&self) -> &Store {
        &self.state.v2.store
    }

    /// Reads a node of the v2 API, which is counted.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub fn v2_read(&mut self, path: &str, depth: Depth, now_ns: i64) -> Result<Reply, Error> {
        self.state.v2.store.read(path, depth, now_ns)
    }

    /// Whether every member keeps the tree of the v2 API, so that it can be changed.
    pub fn is_v2_spoken_by_all(&self) -> bool {
        self.state.v2.is_spoken_by_all(&self.state.members)
    }

    /// Whether this member has said that it keeps the tree.
    pub fn speaks_v2(&self) -> bool {
        self.state.v2.speakers.contains(&self.member_id())
    }

    /// Whether any member has said so: then somebody wants to use the v2 API, and all are to say it.
    pub fn is_v2_wanted(&self) -> bool {
        !self.state.v2.speakers.is_empty()
    }
}
