//! A disk in memory that forgets, tears and fails as real ones do.
//!
//! Each file has two contents: what a reader sees, and what a power loss leaves. The difference is kept as a list
//! of unsynced changes; a sync moves them over, a crash draws from the seed which of them (by sector) made it.
//! Names in a directory work the same way, with the difference that a crash keeps a prefix of the unsynced
//! changes, as a journal does.

mod pages;
#[cfg(test)]
mod tests;

use crate::{DirEntry, DirEntryKind, Disk, DiskError, DiskFile, DiskLock, Operation, SECTOR_BYTES};
use pages::Pages;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk in memory; clones are handles to the same disk.
///
/// Everything that happens is a function of the seed and the order of the calls.
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: Arc<Mutex<State>>,
}

/// What shall go wrong from here on. Counts start at 1 and at the call of [`SimDisk::set_faults`].
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The n-th change (write, sync, length, name) is interrupted by a power loss: it fails, may have happened in
    /// part, and every call after it fails.
    pub crash_at: Option<u64>,
    /// The n-th sync of a file or directory fails; a random part of what it should have saved is lost for good,
    /// although later syncs succeed.
    pub sync_fails_at: Option<u64>,
    /// The n-th write fails and changes nothing.
    pub write_fails_at: Option<u64>,
    /// The n-th read fails.
    pub read_fails_at: Option<u64>,
    /// The disk is full once files have grown by so many bytes; a write over the border is done in part.
    pub growth_bytes_max: Option<u64>,
}

/// What a power loss does to a sector that was being written.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Tear {
    /// It is written whole or not at all, as disks promise.
    #[default]
    Sectors,
    /// It may be written up to some byte, or from some byte on, as poor media do.
    Bytes,
}

#[derive(Debug)]
struct State {
    random: Random,
    tear: Tear,
    dirs: BTreeMap<PathBuf, Dir>,
    files: BTreeMap<FileId, Inode>,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    /// Since the faults were set.
    counts: Counts,
    operations: u64,
    next_file: u64,
    crashed: bool,
}

#[derive(Copy, Clone, Debug, Default)]
struct Counts {
    changes: u64,
    syncs: u64,
    writes: u64,
    reads: u64,
    grown_bytes: u64,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileId(u64);

#[derive(Clone, Debug, Default)]
struct Dir {
    names: BTreeMap<String, FileId>,
    synced: BTreeMap<String, FileId>,
    unsynced: Vec<NameChange>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, FileId),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    content: Pages,
    synced: Pages,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Len(u64),
}

impl SimDisk {
    /// An empty disk whose crashes are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::from_state(State {
            random: Random(seed),
            tear: Tear::default(),
            dirs: BTreeMap::new(),
            files: BTreeMap::new(),
            locks: BTreeSet::new(),
            faults: Faults::default(),
            counts: Counts::default(),
            operations: 0,
            next_file: 0,
            crashed: false,
        })
    }

    fn from_state(state: State) -> Self {
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans faults and starts their counts anew; `Faults::default()` ends them. A crashed disk stays crashed.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        state.counts = Counts::default();
    }

    /// Chooses what power losses and failed syncs do to single sectors, in this life of the disk and those that
    /// follow.
    pub fn set_tear(&self, tear: Tear) {
        self.state().tear = tear;
    }

    /// How many changes (writes, syncs, lengths, names) were asked of this disk so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Says whether [`Faults::crash_at`] has struck.
    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// The disk after a power loss at this moment: what was synced, and a part of the rest drawn from `seed`.
    ///
    /// This disk stays as it is, so that many crashes can be tried from one state.
    pub fn crash_image(&self, seed: u64) -> Self {
        let mut random = Random(seed ^ 0x05ee_d0fc_4a54_e5aa);
        let style = CrashStyle::draw(&mut random);
        let state = self.state();
        let files = state
            .files
            .iter()
            .map(|(id, inode)| (*id, inode.after_crash(style, state.tear, &mut random)))
            .collect();
        let dirs = state
            .dirs
            .iter()
            .map(|(path, dir)| (path.clone(), dir.after_crash(style, &mut random)))
            .collect();
        Self::from_state(state.restarted(dirs, files, random))
    }

    /// The disk after a power loss that kept exactly what was synced.
    pub fn synced_image(&self) -> Self {
        let state = self.state();
        let mut random = Random(0);
        let files = state.files.iter();
        let files = files
            .map(|(id, inode)| (*id, inode.after_crash(CrashStyle::None, state.tear, &mut random)))
            .collect();
        let dirs = state.dirs.iter();
        let dirs =
            dirs.map(|(path, dir)| (path.clone(), dir.after_crash(CrashStyle::None, &mut random))).collect();
        Self::from_state(state.restarted(dirs, files, random))
    }

    /// The disk after the death of the process alone: nothing is forgotten, the unsynced is still unsynced, locks
    /// are free, faults are off.
    pub fn killed_image(&self) -> Self {
        let state = self.state();
        Self::from_state(state.restarted(state.dirs.clone(), state.files.clone(), Random(state.random.0)))
    }

    /// The whole content of a file as a reader sees it; `None` if there is no such file. Never fails, even when
    /// crashed.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let id = state.find(path).ok()?;
        Some(state.files[&id].content.to_vec())
    }

    /// Puts a file there, synced, as if an earlier life had left it; makes its directory too.
    pub fn put_contents(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let (dir, name) = split(path);
        let id = state.new_file();
        let mut content = Pages::default();
        content.write(bytes, 0);
        state.files.insert(id, Inode { synced: content.clone(), content, unsynced: Vec::new() });
        let dir = state.dirs.entry(dir).or_default();
        dir.names.insert(name.clone(), id);
        dir.synced.insert(name, id);
    }

    /// Damages a file, on the disk and in what readers see: the byte at `offset` is combined with `mask` by XOR.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn flip_bits(&self, path: &Path, offset: u64, mask: u8) {
        self.damage(path, &mut |content| {
            let mut byte = [0];
            assert_eq!(content.read(&mut byte, offset), 1, "damage lies inside the file");
            content.write(&[byte[0] ^ mask], offset);
        });
    }

    /// Damages a file: the sector with this number becomes zeros.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn zero_sector(&self, path: &Path, sector: u64) {
        self.damage(path, &mut |content| {
            let offset = sector * SECTOR_BYTES as u64;
            let count = content.len().saturating_sub(offset).min(SECTOR_BYTES as u64);
            content.write(&vec![0; usize::try_from(count).expect("a sector at most")], offset);
        });
    }

    /// Damages a file: it ends at `len` bytes.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn truncate(&self, path: &Path, len: u64) {
        self.damage(path, &mut |content| content.set_len(len));
    }

    fn damage(&self, path: &Path, change: &mut dyn FnMut(&mut Pages)) {
        let mut state = self.state();
        let id = state.find(path).expect("damage is done to a file that exists");
        let inode = state.files.get_mut(&id).expect("a name stands for a file");
        change(&mut inode.content);
        change(&mut inode.synced);
    }
}

/// How much of the unsynced a crash keeps. Always drawing by sector would hardly ever give the two clean cases.
#[derive(Copy, Clone, Debug)]
enum CrashStyle {
    None,
    All,
    Mixed,
}

impl CrashStyle {
    fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::None,
            1 => Self::All,
            _ => Self::Mixed,
        }
    }

    fn keeps(self, random: &mut Random) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Mixed => random.below(2) == 0,
        }
    }
}

impl CrashStyle {
    /// Which bytes of a sector of `len` bytes are kept.
    fn kept(self, len: usize, tear: Tear, random: &mut Random) -> (usize, usize) {
        let torn = match (self, tear) {
            (Self::Mixed, Tear::Bytes) => random.below(2) == 0,
            (Self::Mixed, Tear::Sectors) | (Self::None | Self::All, _) => false,
        };
        if !torn {
            return if self.keeps(random) { (0, len) } else { (0, 0) };
        }
        let at = usize::try_from(random.below(len as u64 + 1)).expect("no more than a sector's length");
        if random.below(2) == 0 { (0, at) } else { (at, len) }
    }
}

impl Inode {
    fn after_crash(&self, style: CrashStyle, tear: Tear, random: &mut Random) -> Self {
        let mut content = self.synced.clone();
        for change in &self.unsynced {
            change.apply_torn(&mut content, style, tear, random);
        }
        Self { synced: content.clone(), content, unsynced: Vec::new() }
    }
}

impl Change {
    fn apply(&self, content: &mut Pages) {
        match self {
            Self::Write { offset, bytes } => content.write(bytes, *offset),
            Self::Len(len) => content.set_len(*len),
        }
    }

    fn apply_torn(&self, content: &mut Pages, style: CrashStyle, tear: Tear, random: &mut Random) {
        match self {
            Self::Write { offset, bytes } => {
                for (offset, piece) in sectors(bytes, *offset) {
                    let (from, to) = style.kept(piece.len(), tear, random);
                    if from < to {
                        content.write(&piece[from..to], offset + from as u64);
                    }
                }
            }
            Self::Len(len) => {
                if style.keeps(random) {
                    content.set_len(*len);
                }
            }
        }
    }
}

/// Cuts a write at the borders of sectors.
fn sectors(mut bytes: &[u8], mut offset: u64) -> Vec<(u64, &[u8])> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let in_sector = usize::try_from(offset % SECTOR_BYTES as u64).expect("less than a sector");
        let (piece, rest) = bytes.split_at(bytes.len().min(SECTOR_BYTES - in_sector));
        pieces.push((offset, piece));
        offset += piece.len() as u64;
        bytes = rest;
    }
    pieces
}

impl Dir {
    /// The files that have, had or may again have a name here.
    fn held(&self) -> impl Iterator<Item = FileId> {
        let created = self.unsynced.iter().filter_map(|change| match change {
            NameChange::Create(_, id) => Some(*id),
            NameChange::Rename(..) | NameChange::Remove(_) => None,
        });
        self.names.values().chain(self.synced.values()).copied().chain(created)
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    fn after_crash(&self, style: CrashStyle, random: &mut Random) -> Self {
        let kept = match style {
            CrashStyle::None => 0,
            CrashStyle::All => self.unsynced.len(),
            CrashStyle::Mixed => {
                let count = random.below(self.unsynced.len() as u64 + 1);
                usize::try_from(count).expect("no more than a vector's length")
            }
        };
        let mut names = self.synced.clone();
        for change in &self.unsynced[..kept] {
            change.apply(&mut names);
        }
        Self { synced: names.clone(), names, unsynced: Vec::new() }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl State {
    /// The same disk in a new life. Files that no name holds, or can hold after a crash, are gone.
    fn restarted(
        &self,
        dirs: BTreeMap<PathBuf, Dir>,
        mut files: BTreeMap<FileId, Inode>,
        random: Random,
    ) -> Self {
        let held: BTreeSet<FileId> = dirs.values().flat_map(Dir::held).collect();
        files.retain(|id, _| held.contains(id));
        Self {
            random,
            tear: self.tear,
            dirs,
            files,
            locks: BTreeSet::new(),
            faults: Faults::default(),
            counts: Counts::default(),
            operations: 0,
            next_file: self.next_file,
            crashed: false,
        }
    }

    fn new_file(&mut self) -> FileId {
        self.next_file += 1;
        FileId(self.next_file)
    }

    fn find(&self, path: &Path) -> io::Result<FileId> {
        let (dir, name) = split(path);
        let found = self.dirs.get(&dir).and_then(|dir| dir.names.get(&name));
        found.copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Refuses if the power is off.
    fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts a change. `Ok(true)`: the power goes off while it is done.
    fn begin_change(&mut self) -> io::Result<bool> {
        self.alive()?;
        self.operations += 1;
        self.counts.changes += 1;
        let crash = self.faults.crash_at == Some(self.counts.changes);
        self.crashed |= crash;
        Ok(crash)
    }

    /// Counts a sync. `Ok(true)`: it is to fail.
    fn begin_sync(&mut self) -> io::Result<bool> {
        if self.begin_change()? {
            self.alive()?;
        }
        self.counts.syncs += 1;
        Ok(self.faults.sync_fails_at == Some(self.counts.syncs))
    }

    fn change_names(&mut self, dir: &Path, change: NameChange) -> io::Result<()> {
        let _crash = self.begin_change()?;
        let dir = self.dirs.get_mut(dir).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        dir.change(change);
        self.alive()
    }

    /// Takes room for a file to grow to `len`, and returns the length that there is room for.
    fn grow(&mut self, id: FileId, len: u64) -> u64 {
        let old = self.files[&id].content.len();
        let wanted = len.saturating_sub(old);
        let left = match self.faults.growth_bytes_max {
            Some(max) => max.saturating_sub(self.counts.grown_bytes),
            None => wanted,
        };
        let granted = wanted.min(left);
        self.counts.grown_bytes += granted;
        len - (wanted - granted)
    }

    fn write(&mut self, id: FileId, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _crash = self.begin_change()?;
        self.counts.writes += 1;
        if self.faults.write_fails_at == Some(self.counts.writes) {
            return Err(io::Error::other("input/output error"));
        }
        let end = offset + bytes.len() as u64;
        let mut room = self.grow(id, end);
        if room < end {
            room -= room % SECTOR_BYTES as u64;
        }
        let count = usize::try_from(room.saturating_sub(offset)).expect("no more than was to be written");
        if count > 0 {
            self.change_file(id, Change::Write { offset, bytes: bytes[..count].to_vec() });
        }
        self.alive()?;
        if count < bytes.len() { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn set_len(&mut self, id: FileId, len: u64) -> io::Result<()> {
        let _crash = self.begin_change()?;
        if self.grow(id, len) < len {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.change_file(id, Change::Len(len));
        self.alive()
    }

    fn change_file(&mut self, id: FileId, change: Change) {
        let inode = self.files.get_mut(&id).expect("an open file exists");
        change.apply(&mut inode.content);
        inode.unsynced.push(change);
    }

    fn sync_file(&mut self, id: FileId) -> io::Result<()> {
        let fails = self.begin_sync()?;
        let inode = self.files.get_mut(&id).expect("an open file exists");
        for change in std::mem::take(&mut inode.unsynced) {
            if fails {
                change.apply_torn(&mut inode.synced, CrashStyle::Mixed, self.tear, &mut self.random);
            } else {
                change.apply(&mut inode.synced);
            }
        }
        if fails { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let fails = self.begin_sync()?;
        let dir = self.dirs.get_mut(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if fails {
            dir.synced = dir.after_crash(CrashStyle::Mixed, &mut self.random).synced;
            dir.unsynced.clear();
            return Err(io::Error::other("input/output error"));
        }
        dir.synced = dir.names.clone();
        dir.unsynced.clear();
        Ok(())
    }

    fn read(&mut self, id: FileId, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.alive()?;
        self.counts.reads += 1;
        if self.faults.read_fails_at == Some(self.counts.reads) {
            return Err(io::Error::other("input/output error"));
        }
        Ok(self.files[&id].content.read(buffer, offset))
    }
}

fn split(path: &Path) -> (PathBuf, String) {
    let dir = path.parent().unwrap_or(Path::new("")).to_owned();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    (dir, name)
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.open_as(path, true)
    }

    fn open_read_only(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.open_as(path, false)
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let fail = |error| DiskError::new(Operation::Create, path, error);
        let mut state = self.state();
        let (dir, name) = split(path);
        if state.find(path).is_ok() || state.dirs.contains_key(path) {
            return Err(fail(io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let id = state.new_file();
        state.files.insert(id, Inode::default());
        state.change_names(&dir, NameChange::Create(name, id)).map_err(fail)?;
        Ok(Arc::new(SimFile { disk: self.clone(), id, path: path.to_owned(), writable: true }))
    }

    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        let fail = |error| DiskError::new(Operation::CreateDir, path, error);
        let mut state = self.state();
        if state.dirs.contains_key(path) {
            return state.alive().map_err(fail);
        }
        if path.ancestors().any(|part| state.find(part).is_ok()) {
            return Err(fail(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        let _crash = state.begin_change().map_err(fail)?;
        state.alive().map_err(fail)?;
        for part in path.ancestors() {
            state.dirs.entry(part.to_owned()).or_default();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let fail = |error| DiskError::new(Operation::Rename, from, error);
        let mut state = self.state();
        let ((dir, from_name), (to_dir, to_name)) = (split(from), split(to));
        if dir != to_dir {
            return Err(fail(io::Error::from(io::ErrorKind::CrossesDevices)));
        }
        state.find(from).map_err(fail)?;
        state.change_names(&dir, NameChange::Rename(from_name, to_name)).map_err(fail)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let fail = |error| DiskError::new(Operation::Remove, path, error);
        let mut state = self.state();
        state.find(path).map_err(fail)?;
        let (dir, name) = split(path);
        state.change_names(&dir, NameChange::Remove(name)).map_err(fail)
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError> {
        let fail = |error| DiskError::new(Operation::List, dir, error);
        let state = self.state();
        state.alive().map_err(fail)?;
        let Some(found) = state.dirs.get(dir) else {
            return Err(fail(io::Error::from(io::ErrorKind::NotFound)));
        };
        let files = found.names.keys().map(|name| DirEntry { name: name.clone(), kind: DirEntryKind::File });
        let dirs = state.dirs.keys().filter(|path| path.parent() == Some(dir));
        let dirs = dirs.map(|path| DirEntry { name: split(path).1, kind: DirEntryKind::Directory });
        let mut entries: Vec<DirEntry> = files.chain(dirs).collect();
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        let state = self.state();
        state.alive().map_err(|error| DiskError::new(Operation::Exists, path, error))?;
        Ok(state.find(path).is_ok() || state.dirs.contains_key(path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.state().sync_dir(dir).map_err(|error| DiskError::new(Operation::SyncDir, dir, error))
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn DiskLock>, DiskError> {
        let fail = |error| DiskError::new(Operation::Lock, dir, error);
        let mut state = self.state();
        state.alive().map_err(fail)?;
        if !state.dirs.contains_key(dir) {
            state.find(dir).map_err(fail)?;
        }
        if !state.locks.insert(dir.to_owned()) {
            return Err(fail(io::Error::from(io::ErrorKind::WouldBlock)));
        }
        Ok(Box::new(SimLock { disk: self.clone(), dir: dir.to_owned() }))
    }
}

impl SimDisk {
    fn open_as(&self, path: &Path, writable: bool) -> Result<Arc<dyn DiskFile>, DiskError> {
        let fail = |error| DiskError::new(Operation::Open, path, error);
        let state = self.state();
        state.alive().map_err(fail)?;
        let id = state.find(path).map_err(fail)?;
        Ok(Arc::new(SimFile { disk: self.clone(), id, path: path.to_owned(), writable }))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    dir: PathBuf,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.dir);
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: FileId,
    path: PathBuf,
    writable: bool,
}

impl SimFile {
    fn fail(&self, operation: Operation) -> impl Fn(io::Error) -> DiskError + '_ {
        move |error| DiskError::new(operation, &self.path, error)
    }

    fn refuse_read_only(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::Error::from(io::ErrorKind::PermissionDenied)) }
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.refuse_read_only()
            .and_then(|()| self.disk.state().write(self.id, bytes, offset))
            .map_err(self.fail(Operation::Write))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        self.disk.state().read(self.id, buffer, offset).map_err(self.fail(Operation::Read))
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.disk.state().sync_file(self.id).map_err(self.fail(Operation::Sync))
    }

    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.refuse_read_only()
            .and_then(|()| self.disk.state().set_len(self.id, len))
            .map_err(self.fail(Operation::SetLen))
    }

    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        let longer = state.files[&self.id].content.len() < len;
        self.refuse_read_only()
            .and_then(|()| if longer { state.set_len(self.id, len) } else { state.alive() })
            .map_err(self.fail(Operation::Allocate))
    }

    fn len(&self) -> Result<u64, DiskError> {
        let state = self.disk.state();
        state.alive().map_err(self.fail(Operation::Len))?;
        Ok(state.files[&self.id].content.len())
    }

    fn unexpected_end(&self) -> DiskError {
        self.fail(Operation::Read)(io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

/// SplitMix64: small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
