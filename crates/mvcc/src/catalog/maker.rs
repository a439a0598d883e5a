//! What the catalog is good for without a store: it is made for records that come from elsewhere, and tells how long
//! the records are.

use core::ops::ControlFlow;

use etched_backend::{Batch, Op, ReadView, Table};

use super::{Catalog, Numbers, Row};
use crate::RestoreError;
use crate::codec::{LEN_MAX, REVISION_MAX, Record, StoredRevision, varint_len};

impl<'a> Row<'a> {
    /// The row of what is stored under a revision, or what is wrong with it.
    pub(crate) fn of_stored(key: &[u8], value: &'a [u8]) -> Result<Self, &'static str> {
        let revision = StoredRevision::decode(key)?;
        let record = Record::decode(value).map_err(|error| error.0)?;
        let len = u32::try_from(value.len()).ok().filter(|len| (*len as usize) < LEN_MAX);
        let len = len.ok_or("the record is too long")?;
        let Record { create_revision: create, mod_revision, version, lease, key, .. } = record;
        if revision.is_deletion {
            return Ok(Self { revision, key, numbers: Numbers::default() });
        }
        // A snapshot whose revision was raised ends with an empty record that has no fields at all.
        if mod_revision != revision.main && !value.is_empty() {
            return Err("the record is of another revision");
        }
        if !(0..=revision.main).contains(&create) {
            return Err("the revision of the creation is out of range");
        }
        if !(0..=REVISION_MAX).contains(&version) {
            return Err("the version is out of range");
        }
        Ok(Self { revision, key, numbers: Numbers { create, version, lease, len } })
    }
}

/// Makes the catalog of a backend that is filled with the records of another, batch by batch.
///
/// A store that is restored from it then reads no value.
#[derive(Debug)]
pub struct CatalogMaker {
    catalog: Catalog,
    last: Option<StoredRevision>,
}

impl Default for CatalogMaker {
    fn default() -> Self {
        Self { catalog: Catalog::new(), last: None }
    }
}

impl CatalogMaker {
    /// Adds the rows of the records that a batch puts, in the order in which it has them.
    ///
    /// The batches are committed in the order in which they come here, the last one too.
    ///
    /// # Errors
    ///
    /// A record makes no sense, or comes after one of a later revision; no store could be restored from it either.
    pub fn add(&mut self, batch: &mut Batch) -> Result<(), RestoreError> {
        for op in batch.iter() {
            let Op::Put { table: Table::Key, key, value } = op else { continue };
            let damaged = |why| RestoreError::Damaged { table: Table::Key, key: key.clone(), why };
            let row = Row::of_stored(key, value).map_err(damaged)?;
            let place = |revision: StoredRevision| (revision.main, revision.sub);
            if self.last.is_some_and(|last| place(last) >= place(row.revision)) {
                return Err(damaged("the revision is stored twice"));
            }
            self.last = Some(row.revision);
            self.catalog.push(&row);
        }
        let revision = self.last.map_or(0, |last| last.main);
        self.catalog.write(revision, batch);
        self.catalog.on_committed(revision);
        Ok(())
    }
}

/// Visits the lengths of key and value of all records, in their order, without reading the records; returns how many
/// there are.
///
/// A view without a catalog has none, whatever records it has.
///
/// # Errors
///
/// The backend failed, or the catalog makes no sense.
pub fn record_lengths(
    view: &dyn ReadView,
    visit: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<u64, RestoreError> {
    let mut count = 0;
    let mut goes_on = true;
    Catalog::restore(view, &mut |row, _| {
        count += 1;
        let StoredRevision { is_deletion, .. } = row.revision;
        let key_len = row.shared + row.suffix.len();
        // A deletion is stored as a message with the key alone.
        let value_len =
            if is_deletion { 1 + varint_len(key_len as u64) + key_len } else { row.numbers.len as usize };
        let stored_len = REVISION_KEY_LEN + usize::from(is_deletion);
        if goes_on {
            goes_on = visit(stored_len, value_len).is_continue();
        }
        Ok(())
    })?;
    Ok(count)
}

/// Length of the key of a record that is no deletion.
const REVISION_KEY_LEN: usize = 17;

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;
    use core::ops::Bound;

    use bytes::Bytes;
    use etched_backend::{Backend as _, Durability, MemoryBackend};

    use super::*;
    use crate::{Store, StoreOptions};

    const OPTIONS: StoreOptions = StoreOptions { value_cache_bytes: 1 << 20 };

    /// A store with puts, deletions and transactions, in the tables of a backend.
    fn filled() -> MemoryBackend {
        let backend = MemoryBackend::new();
        let mut store = Store::new(OPTIONS);
        for round in 0..300_u32 {
            let mut batch = Batch::new();
            let mut txn = store.begin();
            let key = alloc::format!("key-{:0width$}", round % 40, width = 1 + round as usize % 200);
            txn.put(key.into_bytes().into(), vec![7; round as usize % 300].into(), 0);
            if round % 3 == 0 {
                let range = etched_key_range::KeyRange::single(Bytes::from_static(b"key-0"));
                txn.delete_range(&range);
            }
            txn.finish(&mut batch);
            store.write_catalog(&mut batch);
            backend.commit(&batch, Durability::Buffered).unwrap();
        }
        backend
    }

    #[test]
    fn lengths_are_those_of_the_records() {
        let view = filled().view().unwrap();
        let (mut told, mut read) = (Vec::new(), Vec::new());
        let count = record_lengths(&view, &mut |key, value| {
            told.push((key, value));
            ControlFlow::Continue(())
        });
        view.scan(Table::Key, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            read.push((key.len(), value.len()));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(read.iter().any(|(key, _)| *key == 18), "there are deletions");
        assert_eq!((count.unwrap(), told), (read.len() as u64, read));
    }

    #[test]
    fn a_catalog_is_made_of_the_records_of_another_store() {
        let view = filled().view().unwrap();
        let copy = MemoryBackend::new();
        let (mut maker, mut batch) = (CatalogMaker::default(), Batch::new());
        let mut batches = Vec::new();
        view.scan(Table::Key, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            batch.put(Table::Key, key.to_vec(), value.to_vec());
            if batch.len() == 7 {
                batches.push(core::mem::take(&mut batch));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        batches.push(batch);
        for mut batch in batches {
            maker.add(&mut batch).unwrap();
            copy.commit(&batch, Durability::Buffered).unwrap();
        }
        let restored = Store::restore(&copy.view().unwrap(), OPTIONS, &mut |_, _| ()).unwrap();
        assert_eq!(restored.index_source(), crate::IndexSource::Catalog);
        let original = Store::restore(&view, OPTIONS, &mut |_, _| ()).unwrap();
        assert_eq!(restored.revision(), original.revision());
        assert_eq!(restored.statistics(), original.statistics());
    }

    #[test]
    fn records_that_make_no_sense_are_refused() {
        let mut batch = Batch::new();
        batch.put(Table::Key, vec![1, 2, 3], vec![7; 30]);
        assert!(CatalogMaker::default().add(&mut batch).is_err());
    }
}
