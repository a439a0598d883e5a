//! A backend in memory, for tests and simulation.
//!
//! Each table is an ordered map behind a shared pointer.
//! A view copies the pointers; a commit copies a table only if a view still holds it.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::ops::{Bound, ControlFlow};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::port::is_empty_range;
use crate::{Backend, BackendError, Batch, Durability, Op, ReadView, Sizes, Table};

/// Tables in memory; clones are handles to the same tables.
///
/// [`MemoryBackend::crash`] shows what would be left after a loss of power.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend {
    shared: Arc<Mutex<Shared>>,
}

/// A state of a [`MemoryBackend`].
#[derive(Clone, Debug, Default)]
pub struct MemoryView {
    tables: [Arc<Records>; Table::ALL.len()],
}

type Records = BTreeMap<Bytes, Bytes>;

#[derive(Debug, Default)]
struct Shared {
    current: MemoryView,
    in_use_bytes: u64,
    /// What the buffered commits since the last synced one replaced, in the order of the changes.
    undo: Vec<(Table, Bytes, Option<Bytes>)>,
}

impl MemoryBackend {
    /// Tables without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses what a loss of power would lose: every commit after the last synced one.
    ///
    /// All handles see the older state; views taken before do not change.
    pub fn crash(&self) {
        let mut shared = self.lock();
        while let Some((table, key, before)) = shared.undo.pop() {
            shared.set(table, key, before);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic under the lock could only come from an allocation; the maps stay whole.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryBackend {
    type View = MemoryView;

    fn view(&self) -> Result<MemoryView, BackendError> {
        Ok(self.lock().current.clone())
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), BackendError> {
        let mut shared = self.lock();
        for op in batch.iter() {
            let (table, key, value) = match op {
                Op::Put { table, key, value } => (*table, key, Some(value.clone())),
                Op::Delete { table, key } => (*table, key, None),
            };
            let before = shared.set(table, key.clone(), value);
            if durability == Durability::Buffered {
                shared.undo.push((table, key.clone(), before));
            }
        }
        if durability == Durability::Synced {
            shared.undo.clear();
        }
        Ok(())
    }

    fn sizes(&self) -> Result<Sizes, BackendError> {
        let bytes = self.lock().in_use_bytes;
        Ok(Sizes { total_bytes: bytes, in_use_bytes: bytes })
    }
}

impl Shared {
    /// Sets or removes a record and returns what was there.
    fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
        let records = Arc::make_mut(&mut self.current.tables[table.position()]);
        let key_len = key.len();
        let added = value.as_ref().map(|value| key_len + value.len());
        let before = match value {
            Some(value) => records.insert(key, value),
            None => records.remove(&key),
        };
        let removed = before.as_ref().map(|value| key_len + value.len());
        if !table.is_derived() {
            self.in_use_bytes += added.unwrap_or(0) as u64;
            self.in_use_bytes -= removed.unwrap_or(0) as u64;
        }
        before
    }
}

impl ReadView for MemoryView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        Ok(self.tables[table.position()].get(key).cloned())
    }

    fn scan(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        if is_empty_range(range) {
            return Ok(());
        }
        for (key, value) in self.tables[table.position()].range::<[u8], _>(range) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, table: Table) -> Result<u64, BackendError> {
        Ok(self.tables[table.position()].len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "conformance")]
    #[test]
    fn it_conforms() {
        crate::conformance::run(&mut MemoryBackend::new);
    }

    #[test]
    fn a_crash_takes_back_what_was_not_synced() {
        let backend = MemoryBackend::new();
        let mut batch = Batch::new();
        batch.put(Table::Key, "kept", "1");
        backend.commit(&batch, Durability::Synced).unwrap();
        let sizes = backend.sizes().unwrap();

        let mut batch = Batch::new();
        batch.put(Table::Key, "kept", "2");
        batch.put(Table::Key, "kept", "3");
        batch.delete(Table::Key, "kept");
        batch.put(Table::Key, "lost", "4");
        backend.commit(&batch, Durability::Buffered).unwrap();
        assert_eq!(backend.view().unwrap().get(Table::Key, b"kept").unwrap(), None);

        backend.crash();
        let view = backend.view().unwrap();
        assert_eq!(view.get(Table::Key, b"kept").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(view.get(Table::Key, b"lost").unwrap(), None);
        assert_eq!(backend.sizes().unwrap(), sizes);
    }
}
