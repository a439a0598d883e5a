//! The backend thread: commits batches in bulk, away from the path of requests, and writes log snapshot files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use etched_backend::{Backend, BackendError, Durability, RedbBackend};
use etched_disk::Disk;
use etched_replica::{Commit, LogSnapshot};
use etched_wal::{WalError, snapshot_file};

use crate::log;
use crate::member::convert;
use crate::member::inbox::{Control, Inbox};
use crate::metrics::Metrics;

/// What the core thread learns of a finished commit.
pub(crate) struct Committed {
    /// A view that holds the commit.
    pub(crate) view: <RedbBackend as Backend>::View,
    pub(crate) total_bytes: u64,
    pub(crate) in_use_bytes: u64,
}

/// The way to the backend thread; one commit is under way at a time, so a send never blocks.
pub(crate) struct BackendThread {
    work: SyncSender<Work>,
    thread: JoinHandle<()>,
}

enum Work {
    Commit(Commit),
    /// Tell when everything before is done.
    Drain(SyncSender<()>),
    /// From now on commit to this one.
    Replace(Box<RedbBackend>),
}

/// What the thread works with.
pub(crate) struct BackendParts {
    pub(crate) backend: RedbBackend,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) snapshot_dir: PathBuf,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) metrics: Arc<Metrics>,
}

#[derive(Debug, thiserror::Error)]
enum CommitFailure {
    #[error("the backend cannot commit: {0}")]
    Backend(#[from] BackendError),
    #[error("the snapshot file cannot be written: {0}")]
    Snapshot(#[from] WalError),
}

impl BackendThread {
    pub(crate) fn start(parts: BackendParts) -> std::io::Result<Self> {
        let (work, waiting) = sync_channel(1);
        let builder = std::thread::Builder::new().name("backend".into());
        let thread = builder.spawn(move || run(parts, &waiting))?;
        Ok(Self { work, thread })
    }

    /// Hands over a batch; `false` if the thread has ended (it reported why).
    pub(crate) fn commit(&self, commit: Commit) -> bool {
        self.work.send(Work::Commit(commit)).is_ok()
    }

    /// Waits until all that was handed over is done; `false` if the thread has ended.
    pub(crate) fn drain(&self) -> bool {
        let (sender, done) = sync_channel(1);
        self.work.send(Work::Drain(sender)).is_ok() && done.recv().is_ok()
    }

    /// Lets the thread commit to another backend from now on; `false` if it has ended.
    pub(crate) fn replace(&self, backend: RedbBackend) -> bool {
        self.work.send(Work::Replace(Box::new(backend))).is_ok()
    }

    /// Waits until the thread has carried out everything and has let the backend go.
    pub(crate) fn finish(self) {
        let Self { work, thread } = self;
        drop(work);
        if thread.join().is_err() {
            log!(Error, "the backend thread panicked");
        }
    }
}

/// How much the thread gives way to those that serve clients; 19 would be all the way.
const NICENESS: i32 = 10;

fn run(mut parts: BackendParts, waiting: &Receiver<Work>) {
    // Where it is not permitted the thread competes like any other.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    while let Ok(work) = waiting.recv() {
        let commit = match work {
            Work::Commit(commit) => commit,
            Work::Drain(done) => {
                // The core thread waits for it, unless it has ended.
                let _ = done.send(());
                continue;
            }
            Work::Replace(backend) => {
                parts.backend = *backend;
                continue;
            }
        };
        match carry_out(&parts, &commit) {
            Ok(committed) => parts.inbox.push_control(Control::Committed(Box::new(committed))),
            Err(error) => {
                parts.inbox.push_control(Control::Fatal(error.to_string()));
                return;
            }
        }
    }
}

fn carry_out(parts: &BackendParts, commit: &Commit) -> Result<Committed, CommitFailure> {
    let started = Instant::now();
    let durability = if commit.snapshot.is_some() { Durability::Synced } else { Durability::Buffered };
    let mut changed = None;
    parts.backend.commit_noting(&commit.batch, durability, &mut || changed = Some(started.elapsed()))?;
    if let Some(changed) = changed {
        let (metrics, took) = (&parts.metrics, started.elapsed());
        metrics.backend_commit.record(took);
        metrics.backend_rebalance.record(Duration::ZERO);
        metrics.backend_change.record(changed);
        metrics.backend_write.record(took.saturating_sub(changed));
    }
    if let Some(snapshot) = &commit.snapshot {
        write_snapshot(parts, snapshot)?;
    }
    let sizes = parts.backend.sizes()?;
    Ok(Committed {
        view: parts.backend.view()?,
        total_bytes: sizes.total_bytes,
        in_use_bytes: sizes.in_use_bytes,
    })
}

/// The file says at which index a restart may begin to read the log.
fn write_snapshot(parts: &BackendParts, snapshot: &LogSnapshot) -> Result<(), WalError> {
    let started = Instant::now();
    let file = convert::snapshot_file(snapshot);
    let encoded = started.elapsed();
    snapshot_file::write(&*parts.disk, &parts.snapshot_dir, &file)?;
    let took = started.elapsed();
    parts.metrics.snapshot_marshal.record(encoded);
    parts.metrics.snapshot_fsync.record(took.saturating_sub(encoded));
    parts.metrics.snapshot_save.record(took);
    snapshot_file::purge(&*parts.disk, &parts.snapshot_dir, snapshot_file::FILES_KEPT)?;
    Ok(())
}
