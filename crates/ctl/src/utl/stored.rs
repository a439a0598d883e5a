//! Opens a file, whatever it is: a database or snapshot of etcd's form, or the database of an etched.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use etched_backend::{Backend as _, OpenError, ReadView, RedbBackend, RedbOptions};
use etched_bolt::{BoltFile, FileView, ReadError};
use etched_disk::{Disk, DiskLock, RealDisk};

use crate::failure::{Exit, Failure, text_of_io};
use crate::utl::failed;
use crate::utl::progress::Watched;

/// How long to wait between two attempts to get a file that is in use.
const ATTEMPT_TIME: Duration = Duration::from_millis(50);

/// With what every redb file begins.
const REDB_MAGIC: &[u8] = b"redb";

/// An open file with the tables of a member.
pub(crate) enum Stored {
    /// Of etcd's form.
    Bolt {
        view: Box<FileView>,
        /// Keeps an etcd away.
        _lock: Box<dyn DiskLock>,
    },
    /// Of an etched.
    Redb { backend: RedbBackend, view: Box<dyn ReadView> },
}

impl Stored {
    /// Opens a file, or the database of a data directory; `what` is being done with it.
    pub(crate) fn open(path: &Path, what: &'static str, patience: Option<Duration>) -> Result<Self, Failure> {
        let path = database_of(path)?;
        if is_redb(&path)? {
            let backend = open_redb(&path, patience)?;
            let view = Box::new(backend.view().map_err(failed)?);
            return Ok(Self::Redb { backend, view });
        }
        let lock = lock(&path, patience)?;
        let file =
            Watched::new(RealDisk::new().open_read_only(&path).map_err(failed)?, what).map_err(failed)?;
        let file = BoltFile::open(file).map_err(text_of_read)?;
        Ok(Self::Bolt { view: Box::new(FileView::new(file)), _lock: lock })
    }

    /// Its tables.
    pub(crate) fn view(&self) -> &dyn ReadView {
        match self {
            Self::Bolt { view, .. } => &**view,
            Self::Redb { view, .. } => &**view,
        }
    }
}

/// The file itself, or that of a data directory.
fn database_of(path: &Path) -> Result<PathBuf, Failure> {
    let metadata = std::fs::metadata(path).map_err(|error| not_there(path, &error))?;
    Ok(if metadata.is_dir() { of_data_dir(path) } else { path.to_owned() })
}

/// Where a data directory has its database.
pub(crate) fn of_data_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("member").join("snap").join("db")
}

fn not_there(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Request, text_of_io("stat", path, error))
}

/// Whether there is such a file; if not, in the words of Go.
pub(crate) fn check_exists(path: &Path) -> Result<(), Failure> {
    std::fs::metadata(path).map(drop).map_err(|error| not_there(path, &error))
}

/// Whether it is the database of an etched.
pub(crate) fn is_redb(path: &Path) -> Result<bool, Failure> {
    let fail = |error| Failure::new(Exit::Request, text_of_io("open", path, &error));
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, REDB_MAGIC.len() as u64), &mut head)
        .map_err(fail)?;
    Ok(head == REDB_MAGIC)
}

/// An error about a file of etcd's form in the words of etcd, where it has some.
pub(crate) fn text_of_read(error: ReadError) -> Failure {
    match error {
        ReadError::NoMeta { .. } => Failure::new(Exit::Request, "invalid database"),
        ReadError::Disk(_) | ReadError::Truncated { .. } | ReadError::Damaged { .. } | _ => failed(error),
    }
}

/// Opens the database of an etched once nobody uses it.
pub(crate) fn open_redb(path: &Path, patience: Option<Duration>) -> Result<RedbBackend, Failure> {
    wait(patience, || match RedbBackend::open(&RealDisk::new(), path, RedbOptions::default()) {
        Err(OpenError::InUse(_)) => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(backend) => Ok(Some(backend)),
    })
}

/// Takes a file or directory for this process once nobody else has it; etcd takes its database in the same way.
pub(crate) fn lock(path: &Path, patience: Option<Duration>) -> Result<Box<dyn DiskLock>, Failure> {
    wait(patience, || match RealDisk::new().lock(path) {
        Err(error) if error.is_in_use() => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(lock) => Ok(Some(lock)),
    })
}

fn wait<T>(
    patience: Option<Duration>,
    mut attempt: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        if patience.is_some_and(|patience| start.elapsed() >= patience) {
            return Err(Failure::new(Exit::Request, "timeout"));
        }
        std::thread::sleep(ATTEMPT_TIME);
    }
}
