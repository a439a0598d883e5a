//! A known fault shows that the storage simulator is not blind.
//!
//! redb 4.1.0 rewrote its head when it recovered from a crash, and gave a commit slot that the crash had torn a
//! checksum that fits. A second crash, before it had recovered, left two slots that looked sound, and the next start
//! took the torn one: an acknowledged commit was rolled back (redb pull request 1290, released in 4.2.0).
//! It takes media that tear a sector, commits in one phase, and two crashes in the right places.

#![cfg(test)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use database::{Content, Database, Settings, Violation};
use etched_backend::{Batch, Durability, Op, Table};
use etched_disk::{Disk, DiskFile, SimDisk, Tear};
use redb_4_1::{ReadableDatabase as _, ReadableTable as _, TableDefinition};

#[path = "../../src/storage/database.rs"]
pub mod database;
#[path = "../../src/random.rs"]
pub mod random;

/// All tables in one: the first byte of a key is the table.
const RECORDS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("records");

/// Seeds within which the fault has to show.
const SEEDS: u64 = 4_000;

/// redb 4.1.0 as its users get it: commits in one phase.
struct Redb41(redb_4_1::Database);

#[derive(Debug)]
struct Storage(Arc<dyn DiskFile>);

impl redb_4_1::StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len()?)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        Ok(self.0.read_exact_at(out, offset)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(self.0.set_len(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.0.sync_data()?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.0.write_at(data, offset)?)
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

impl Redb41 {
    fn over(file: Arc<dyn DiskFile>) -> Result<Self, String> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            redb_4_1::Builder::new().set_cache_size(1 << 20).create_with_backend(Storage(file))
        }));
        Ok(Self(opened.map_err(|_| "it panics".to_owned())?.map_err(text)?))
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), redb_4_1::Error> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(match durability {
            Durability::Buffered => redb_4_1::Durability::None,
            Durability::Synced => redb_4_1::Durability::Immediate,
        })?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            for op in batch.in_key_order() {
                let place = place(op.table(), op.key());
                match op {
                    Op::Put { value, .. } => records.insert(&place[..], &value[..])?,
                    Op::Delete { .. } => records.remove(&place[..])?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn read(&self) -> Result<Content, redb_4_1::Error> {
        let mut content = Content::new();
        let records = match self.0.begin_read()?.open_table(RECORDS) {
            Ok(records) => records,
            Err(redb_4_1::TableError::TableDoesNotExist(_)) => return Ok(content),
            Err(error) => return Err(error.into()),
        };
        for record in records.iter()? {
            let (place, value) = record?;
            let (number, key) = place.value().split_first().expect("a place begins with its table");
            let table = Table::ALL[usize::from(*number)];
            content.insert((table, Bytes::copy_from_slice(key)), Bytes::copy_from_slice(value.value()));
        }
        Ok(content)
    }
}

fn place(table: Table, key: &[u8]) -> Vec<u8> {
    let number = Table::ALL.iter().position(|known| *known == table).expect("all tables are listed");
    [&[u8::try_from(number).unwrap()], key].concat()
}

impl Database for Redb41 {
    fn create(disk: &SimDisk, path: &Path) -> Result<Self, String> {
        // A crash while it creates its file is another story.
        let temporary = path.with_extension("tmp");
        if disk.exists(&temporary).map_err(text)? {
            disk.remove(&temporary).map_err(text)?;
        }
        let created = Self::over(disk.create(&temporary).map_err(text)?)?;
        created.write(&Batch::new(), Durability::Synced).map_err(text)?;
        disk.rename(&temporary, path).map_err(text)?;
        disk.sync_dir(path.parent().unwrap()).map_err(text)?;
        Ok(created)
    }

    fn open(disk: &SimDisk, path: &Path) -> Result<Self, String> {
        Self::over(disk.open(path).map_err(text)?)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), String> {
        self.write(batch, durability).map_err(text)
    }

    fn content(&self) -> Result<Content, String> {
        self.read().map_err(text)
    }
}

#[test]
fn the_double_crash_of_redb_4_1_is_found() {
    let settings = Settings { lives: 8, tear: Tear::Bytes, buffered_percent: 0 };
    std::panic::set_hook(Box::new(|_| {}));
    let lost = (0..SEEDS).find(|seed| {
        let ran = catch_unwind(|| database::run::<Redb41>(*seed, settings));
        matches!(ran, Ok(Err(Violation::Lost { .. })))
    });
    let _ = std::panic::take_hook();
    assert!(lost.is_some(), "no acknowledged commit was rolled back");
}
