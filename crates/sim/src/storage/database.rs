//! Nothing but a database on a disk that loses power, again and again, also while it recovers.
//!
//! It is generic over the database, so that a known fault of one that we do not ship shows that such faults are
//! found here: redb 4.1.0 rolled an acknowledged commit back when it crashed while it recovered from a crash.
//! (`crates/sim/redb-4-1` compiles this file a second time for it, since one build holds one version of redb.)

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use etched_backend::{Batch, Durability, Op, Table};
use etched_disk::{Disk, Faults, SimDisk, Tear};

use crate::random::{Purpose, Random};

const DIR: &str = "/database";
const PATH: &str = "/database/db";
/// Where the number of the commit is stored.
const NUMBER_KEY: &[u8] = b"number";

/// What all tables hold.
pub type Content = BTreeMap<(Table, Bytes), Bytes>;

/// A database under test.
pub trait Database: Sized {
    /// Makes the file at `path`, all of it or nothing.
    ///
    /// # Errors
    /// What the disk or the database answers.
    fn create(disk: &SimDisk, path: &Path) -> Result<Self, String>;

    /// Opens the file at `path`.
    ///
    /// # Errors
    /// What the disk or the database answers.
    fn open(disk: &SimDisk, path: &Path) -> Result<Self, String>;

    /// Applies a batch as one.
    ///
    /// # Errors
    /// What the disk or the database answers.
    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), String>;

    /// Everything that it holds.
    ///
    /// # Errors
    /// What the disk or the database answers.
    fn content(&self) -> Result<Content, String>;
}

/// What a database did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It does not open although the disk works.
    #[error("it does not open: {0}")]
    DoesNotOpen(String),
    /// It opens, but does not work although the disk does.
    #[error("it does not work: {0}")]
    DoesNotWork(String),
    /// It shows an older commit than the last that was acknowledged as synced.
    #[error("it shows commit {found}, and {acknowledged} was acknowledged")]
    Lost {
        /// The commit that it shows.
        found: u64,
        /// The last that was acknowledged.
        acknowledged: u64,
    },
    /// It shows what no commit left.
    #[error("it shows no state after any commit; it says that it is commit {0}")]
    Mixed(u64),
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cycles {
    /// Power losses in a life.
    pub crashes: u64,
    /// Power losses while the file was being opened.
    pub crashes_while_opening: u64,
    /// Commits that were acknowledged as synced.
    pub synced_commits: u64,
}

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Lives of a file.
    pub lives: u64,
    /// What a power loss does to single sectors.
    pub tear: Tear,
    /// Of a hundred commits, so many need not last.
    pub buffered_percent: u64,
}

/// Runs a seed.
///
/// # Errors
/// The database broke a promise.
pub fn run<D: Database>(seed: u64, settings: Settings) -> Result<Cycles, Violation> {
    let mut chain = Chain::new(seed, settings);
    for _ in 0..settings.lives {
        let Some(database) = chain.open::<D>()? else { continue };
        chain.live(&database)?;
    }
    Ok(chain.cycles)
}

struct Chain {
    random: Random,
    disk: SimDisk,
    settings: Settings,
    cycles: Cycles,
    /// The state after commit `synced`.
    base: Content,
    synced: u64,
    /// What the commits after it change.
    later: Vec<Batch>,
}

impl Chain {
    fn new(seed: u64, settings: Settings) -> Self {
        let mut random = Random::new(seed, Purpose::Storage);
        let disk = SimDisk::new(random.bits());
        disk.set_tear(settings.tear);
        disk.create_dir(Path::new(DIR)).expect("a fresh disk makes a directory");
        let cycles = Cycles::default();
        Self { random, disk, settings, cycles, base: Content::new(), synced: 0, later: Vec::new() }
    }

    /// Opens the file, or makes it; `None` if the power went off while it was made.
    fn open<D: Database>(&mut self) -> Result<Option<D>, Violation> {
        loop {
            let crash_at = (self.random.below(2) == 0).then(|| self.random.between(1, 16));
            self.disk.set_faults(Faults { crash_at, ..Faults::default() });
            let path = Path::new(PATH);
            let is_there = self.disk.exists(path).unwrap_or(false);
            let opened = if is_there { D::open(&self.disk, path) } else { D::create(&self.disk, path) };
            if self.disk.is_crashed() {
                self.cycles.crashes_while_opening += 1;
                self.lose_power();
                continue;
            }
            self.disk.set_faults(Faults::default());
            let database = opened.map_err(Violation::DoesNotOpen)?;
            self.check(&database)?;
            return Ok(Some(database));
        }
    }

    fn check<D: Database>(&mut self, database: &D) -> Result<(), Violation> {
        let content = database.content().map_err(Violation::DoesNotWork)?;
        let number = content.get(&(Table::Meta, Bytes::from_static(NUMBER_KEY)));
        let number = number.map_or(Ok(0), |stored| stored[..].try_into().map(u64::from_be_bytes));
        let number = number.map_err(|_| Violation::Mixed(u64::MAX))?;
        if number < self.synced {
            return Err(Violation::Lost { found: number, acknowledged: self.synced });
        }
        self.make_base(number)?;
        if content == self.base { Ok(()) } else { Err(Violation::Mixed(number)) }
    }

    /// Commit `number` lasts, and what came after it never was.
    fn make_base(&mut self, number: u64) -> Result<(), Violation> {
        let count = usize::try_from(number - self.synced).unwrap_or(usize::MAX);
        if count > self.later.len() {
            return Err(Violation::Mixed(number));
        }
        for batch in self.later.drain(..count) {
            for op in batch.iter() {
                match op {
                    Op::Put { table, key, value } => self.base.insert((*table, key.clone()), value.clone()),
                    Op::Delete { table, key } => self.base.remove(&(*table, key.clone())),
                };
            }
        }
        self.later.clear();
        self.synced = number;
        Ok(())
    }

    fn live<D: Database>(&mut self, database: &D) -> Result<(), Violation> {
        let crash_at = Some(self.random.between(1, 60));
        self.disk.set_faults(Faults { crash_at, ..Faults::default() });
        for _ in 0..self.random.between(1, 12) {
            let batch = self.draw_batch();
            self.later.push(batch.clone());
            let is_buffered = self.random.below(100) < self.settings.buffered_percent;
            let durability = if is_buffered { Durability::Buffered } else { Durability::Synced };
            let committed = database.commit(&batch, durability);
            if self.disk.is_crashed() {
                break;
            }
            committed.map_err(Violation::DoesNotWork)?;
            if durability == Durability::Synced {
                self.cycles.synced_commits += 1;
                self.make_base(self.synced + self.later.len() as u64)?;
            }
        }
        self.cycles.crashes += 1;
        self.lose_power();
        Ok(())
    }

    fn draw_batch(&mut self) -> Batch {
        let mut batch = Batch::new();
        let number = self.synced + self.later.len() as u64 + 1;
        batch.put(Table::Meta, NUMBER_KEY, number.to_be_bytes().to_vec());
        for _ in 0..self.random.below(4) {
            let key = vec![b'k', self.random.bits().to_le_bytes()[0] % 32];
            if self.random.below(5) == 0 {
                batch.delete(Table::Key, key);
            } else {
                let len = if self.random.below(40) == 0 { 9_000 } else { self.random.below(200) };
                let value = vec![number.to_le_bytes()[0]; usize::try_from(len).expect("a short value")];
                batch.put(Table::Key, key, value);
            }
        }
        batch
    }

    fn lose_power(&mut self) {
        let seed = self.random.bits();
        self.disk = self.disk.crash_image(seed);
    }
}
