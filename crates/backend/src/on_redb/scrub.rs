//! Walking the records, a few at a time, to find those that are damaged before somebody needs them.

use super::*;

/// Where a scrub goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubCursor {
    table: Table,
    /// The last key that was checked.
    after: Option<Bytes>,
}

/// What a step of a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// How many records were checked.
    pub checked: usize,
    /// The table and key of each record whose checksum is wrong.
    pub damaged: Vec<(Table, Bytes)>,
    /// Where to go on; `None` at the end of the last table.
    pub next: Option<ScrubCursor>,
}

impl ScrubCursor {
    /// The beginning of the first table.
    #[must_use]
    pub const fn start() -> Self {
        Self { table: Table::ALL[0], after: None }
    }

    /// The beginning of the table after this one.
    fn next_table(&self) -> Option<Self> {
        let table = *Table::ALL.get(self.table.position() + 1)?;
        Some(Self { table, after: None })
    }
}

impl RedbBackend {
    /// Checks up to `keys_max` records from `cursor` on, in the state of the last commit.
    ///
    /// Records that are written between two steps may be left out; they were written a moment ago.
    ///
    /// # Errors
    ///
    /// The storage failed. Damaged records are not an error here but the result.
    pub fn scrub(&self, cursor: ScrubCursor, keys_max: usize) -> Result<Scrub, BackendError> {
        let view = self.view()?;
        let mut scrub = Scrub { next: Some(cursor), ..Scrub::default() };
        while let Some(cursor) = scrub.next.take() {
            if scrub.checked >= keys_max {
                scrub.next = Some(cursor);
                break;
            }
            scrub.next = view.scrub_table(cursor, keys_max, &mut scrub.checked, &mut scrub.damaged)?;
        }
        Ok(scrub)
    }
}

impl RedbView {
    fn scrub_table(
        &self,
        cursor: ScrubCursor,
        keys_max: usize,
        checked: &mut usize,
        damaged: &mut Vec<(Table, Bytes)>,
    ) -> Result<Option<ScrubCursor>, BackendError> {
        let table = cursor.table;
        let start = cursor.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let records = self.records(table)?;
        let range =
            records.range::<&[u8]>((start, Bound::Unbounded)).map_err(|error| self.shared.fail(error))?;
        for stored in range {
            let (key, stored) = stored.map_err(|error| self.shared.fail(error))?;
            *checked += 1;
            let key = Bytes::copy_from_slice(key.value());
            if record::open(table, &key, stored.value()).is_err() {
                damaged.push((table, key.clone()));
            }
            if *checked >= keys_max {
                return Ok(Some(ScrubCursor { table, after: Some(key) }));
            }
        }
        Ok(cursor.next_table())
    }
}
