//! Bringing a file into being, and opening one that may be anything.

use std::ffi::OsString;
use std::io;

use redb::{Builder, DatabaseError, StorageError, TableError, TableHandle};

use super::file::Storage;
use super::record::{FORMAT, FORMAT_KEY, FORMAT_OLDEST, INFO_TABLE, USAGE_KEY, seal, unseal};
use super::*;

/// With what every redb file begins.
const REDB_MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// What every bbolt file has at offset 16 or a page later, in the byte order of the machine that wrote it.
const BBOLT_MAGIC: [u8; 4] = 0xED0C_DAED_u32.to_le_bytes();
/// How much of a file is looked at to tell what it is.
const HEAD_BYTES: usize = 64;

/// Why a file was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is something of that name, which is left as it is.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// Another process has the directory.
    #[error("the directory of {0} is in use by another process")]
    InUse(PathBuf),
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] DiskError),
    /// redb failed.
    #[error("the database cannot be created: {0}")]
    Storage(String),
}

/// Why a file was not opened. Nothing in it was changed, unless its disk failed while it was brought to this format.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file.
    #[error("{0} does not exist")]
    NotFound(PathBuf),
    /// Another process has the directory.
    #[error("the directory of {0} is in use by another process")]
    InUse(PathBuf),
    /// The file is empty.
    #[error("{0} is empty")]
    Empty(PathBuf),
    /// The file is one of etcd's own.
    #[error("{0} is a database of etcd (bbolt), which has to be converted first")]
    Etcd(PathBuf),
    /// The file belongs to another program.
    #[error("{path} is not a database of etched: {why}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What tells.
        why: &'static str,
    },
    /// The file is of a version that this program does not know.
    #[error("{path} has format {found}, this program knows formats {FORMAT_OLDEST} to {FORMAT}")]
    Format {
        /// The file.
        path: PathBuf,
        /// The version that it has.
        found: u32,
    },
    /// The file was one of this program, and is not sound.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] DiskError),
    /// redb failed.
    #[error("the database cannot be opened: {0}")]
    Storage(String),
}

pub(super) fn create(disk: &dyn Disk, path: &Path, options: RedbOptions) -> Result<RedbBackend, CreateError> {
    let lock = disk.lock(directory_of(path)).map_err(|error| {
        if error.is_in_use() { CreateError::InUse(path.to_owned()) } else { error.into() }
    })?;
    create_locked(disk, path, options, Arc::from(lock))
}

/// The caller has the directory.
pub(super) fn create_locked(
    disk: &dyn Disk,
    path: &Path,
    options: RedbOptions,
    lock: Arc<dyn DiskLock>,
) -> Result<RedbBackend, CreateError> {
    if disk.exists(path)? {
        return Err(CreateError::Exists(path.to_owned()));
    }
    // A crash while redb creates its file leaves one that never opens again, so it gets its name last.
    // A planted fault, see `cargo xtask bugs`.
    let in_place = cfg!(bug = "backend-is-created-in-place");
    let temporary = if in_place { path.to_owned() } else { temporary_name(path) };
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let file = Arc::new(File::direct(disk.create(&temporary)?).map_err(storage)?);
    let database = builder(options).create_with_backend(Storage(Arc::clone(&file))).map_err(storage)?;
    let usage = Usage::default();
    write_tables(&database, &usage).map_err(storage)?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(directory_of(path))?;
    Ok(RedbBackend::new(database, file, usage, lock))
}

fn storage(error: impl ToString) -> CreateError {
    CreateError::Storage(error.to_string())
}

fn write_tables(database: &Database, usage: &Usage) -> Result<(), redb::Error> {
    let transaction = begin_write(database, Durability::Synced)?;
    for table in Table::ALL {
        transaction.open_table(definition(table))?;
    }
    let mut stored = Vec::new();
    seal(INFO_TABLE, FORMAT_KEY, &FORMAT.to_le_bytes(), &mut stored);
    transaction.open_table(INFO)?.insert(FORMAT_KEY, &stored[..])?;
    write_usage(&transaction, usage)?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn open(disk: &dyn Disk, path: &Path, options: RedbOptions) -> Result<RedbBackend, OpenError> {
    if !disk.exists(path)? {
        return Err(OpenError::NotFound(path.to_owned()));
    }
    let lock = disk
        .lock(directory_of(path))
        .map_err(|error| if error.is_in_use() { OpenError::InUse(path.to_owned()) } else { error.into() })?;
    let file = disk.open(path)?;
    check_head(path, &*file)?;
    let file = Arc::new(File::draft(file).map_err(|error| OpenError::Storage(error.to_string()))?);
    let mut database = builder(options)
        .create_with_backend(Storage(Arc::clone(&file)))
        .map_err(|error| database_error(path, error))?;
    let (format, usage) = check_tables(path, &database)?;
    file.carry_out().map_err(|error| OpenError::Storage(error.to_string()))?;
    if format < FORMAT {
        // Tables that an older format did not have begin empty; who uses a derived one makes its content.
        write_tables(&database, &usage).map_err(|error| OpenError::Storage(error.to_string()))?;
    }
    let unused_bytes = file.len().saturating_sub(usage.file_bytes());
    if options.shrink_bytes_min.is_some_and(|min| unused_bytes >= min) {
        database.compact().map_err(|error| OpenError::Storage(error.to_string()))?;
    }
    Ok(RedbBackend::new(database, file, usage, Arc::from(lock)))
}

fn builder(options: RedbOptions) -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    builder.set_check_integrity_on_open(options.integrity == Integrity::Everything);
    builder
}

fn check_head(path: &Path, file: &dyn etched_disk::DiskFile) -> Result<(), OpenError> {
    let mut head = [0; HEAD_BYTES];
    let len = file.read_at(&mut head, 0)?;
    let path = path.to_owned();
    if len == 0 {
        return Err(OpenError::Empty(path));
    }
    if head.starts_with(REDB_MAGIC) {
        return Ok(());
    }
    if head[16..20] == BBOLT_MAGIC {
        return Err(OpenError::Etcd(path));
    }
    Err(OpenError::Foreign { path, why: "it does not begin like one" })
}

/// The format that a table came with.
pub(super) const fn since(table: Table) -> u32 {
    match table {
        Table::Catalog => 2,
        Table::V2 => 3,
        Table::Key
        | Table::Meta
        | Table::Lease
        | Table::Alarm
        | Table::Auth
        | Table::AuthUsers
        | Table::AuthRoles
        | Table::Cluster
        | Table::Members
        | Table::MembersRemoved => 1,
    }
}

/// Checks that the tables are ours and all there, and returns their format and how much is in them.
fn check_tables(path: &Path, database: &Database) -> Result<(u32, Usage), OpenError> {
    let damaged = |why: &str| OpenError::Damaged { path: path.to_owned(), why: why.to_owned() };
    let failed = |error: redb::Error| OpenError::Storage(error.to_string());
    let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
    let mut names = transaction.list_tables().map_err(|error| storage_error(path, error))?;
    if !names.any(|name| name.name() == INFO_TABLE) {
        return Err(OpenError::Foreign { path: path.to_owned(), why: "another program's tables are in it" });
    }
    let info = transaction.open_table(INFO).map_err(|error| table_error(path, error))?;
    let read = |key: &'static [u8]| -> Result<Vec<u8>, OpenError> {
        let stored = info.get(key).map_err(|error| storage_error(path, error))?;
        let stored = stored.ok_or_else(|| damaged("a record about the file is missing"))?;
        unseal(INFO_TABLE, key, stored.value()).map(<[u8]>::to_vec).map_err(damaged)
    };
    let format = read(FORMAT_KEY)?.try_into().map(u32::from_le_bytes);
    let found = format.map_err(|_| damaged("the record of its format has the wrong length"))?;
    if !(FORMAT_OLDEST..=FORMAT).contains(&found) {
        return Err(OpenError::Format { path: path.to_owned(), found });
    }
    for table in Table::ALL.into_iter().filter(|table| since(*table) <= found) {
        transaction.open_table(definition(table)).map_err(|error| table_error(path, error))?;
    }
    let usage = Usage::decode(&read(USAGE_KEY)?);
    Ok((found, usage.ok_or_else(|| damaged("the record of its usage has the wrong length"))?))
}

fn database_error(path: &Path, error: DatabaseError) -> OpenError {
    let why = error.to_string();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
        DatabaseError::UpgradeRequired(_) => {
            OpenError::Foreign { path: path.to_owned(), why: "it was written by another version of redb" }
        }
        DatabaseError::Storage(error) => storage_error(path, error),
        DatabaseError::RepairAborted => OpenError::Damaged { path: path.to_owned(), why },
        DatabaseError::LockProtocolMismatch | DatabaseError::TransactionInProgress | _ => {
            OpenError::Storage(why)
        }
    }
}

fn table_error(path: &Path, error: TableError) -> OpenError {
    let why = error.to_string();
    // All else says that the table is not what its name promises.
    if let TableError::Storage(error) = error {
        storage_error(path, error)
    } else {
        OpenError::Damaged { path: path.to_owned(), why }
    }
}

fn storage_error(path: &Path, error: StorageError) -> OpenError {
    let why = error.to_string();
    // redb says so of a head that makes no sense, and of pages beyond the end.
    let senseless =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
    let is_damage = matches!(&error, StorageError::Corrupted(_))
        || matches!(&error, StorageError::Io(error) if senseless(error));
    if is_damage { OpenError::Damaged { path: path.to_owned(), why } } else { OpenError::Storage(why) }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".tmp");
    PathBuf::from(name)
}
