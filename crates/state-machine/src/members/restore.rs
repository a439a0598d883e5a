//! Taking up the stored members.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, Batch, ReadView, Table};

use super::{Member, Members, key};

impl Members {
    /// Takes everything out of the tables of members.
    pub(crate) fn forget_all(view: &dyn ReadView, batch: &mut Batch) -> Result<(), BackendError> {
        for table in [Table::Members, Table::MembersRemoved] {
            scan(view, table, &mut |stored, _| {
                batch.delete(table, Bytes::copy_from_slice(stored));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Takes out whoever is not among `ids`, and returns them.
    pub(crate) fn retain(&mut self, ids: &BTreeSet<u64>, batch: &mut Batch) -> Vec<Member> {
        let gone: Vec<Member> =
            self.by_id.extract_if(.., |id, _| !ids.contains(id)).map(|(_, gone)| gone).collect();
        for member in &gone {
            batch.delete(Table::Members, key(member.id));
        }
        gone
    }

    pub(crate) fn restore(view: &dyn ReadView) -> Result<Self, BackendError> {
        let mut members = Self::default();
        scan(view, Table::Members, &mut |stored, json| {
            let member = Member::from_json(json).ok_or("the record is no member")?;
            if key(member.id).as_bytes() != stored {
                return Err("the record is of another member");
            }
            members.by_id.insert(member.id, member);
            Ok(())
        })?;
        scan(view, Table::MembersRemoved, &mut |stored, _| {
            let id = core::str::from_utf8(stored).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
            members.removed.insert(id.ok_or("the key is no member's id")?);
            Ok(())
        })?;
        Ok(members)
    }
}

/// Looks at a key and a value, and says what is wrong with them.
type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), &'static str>;

/// Visits all records of a table, until one is found wanting.
fn scan(view: &dyn ReadView, table: Table, visit: Visit<'_>) -> Result<(), BackendError> {
    let mut damage = None;
    view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| match visit(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(why) => {
            damage = Some(BackendError::Damaged { table, key: Bytes::copy_from_slice(key), why });
            ControlFlow::Break(())
        }
    })?;
    damage.map_or(Ok(()), Err)
}
