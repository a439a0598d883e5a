//! `convert`: turns the data directory of a stopped etched into one of etcd, in place.
//!
//! ```text
//! snap/db ──▶ snap/db.converting ──▶ snap/db.converted
//! a log snapshot at the applied index: its file, then its record in the log
//! snap/db ──▶ snap/db.etched,  then snap/db.converted ──▶ snap/db
//! ```
//!
//! The log is in etcd's format already. etcd begins to read it at a snapshot for which there is a file, so one is made.
//! Nothing is removed: the database of etched stays as `db.etched`.
//! A crash before the exchange of names lets the next run begin anew; one between the two renames lets it do the second.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etched_backend::{Backend as _, ReadView, Table};
use etched_disk::{Disk, RealDisk};
use etched_state_machine::stored::{self, Standing};
use etched_wal::snapshot_file::{self, SnapshotFile};
use etched_wal::{HardState, SnapshotRecord, Wal, WalOptions};

use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::utl::log::say;
use crate::utl::migrate::wal_dir;
use crate::utl::stored::{check_exists, is_redb, lock, of_data_dir, open_redb};
use crate::utl::{copy, failed, patience};

/// The newest version of etcd that there is.
const ETCD: &str = "etcd";

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let target = if args.is_given("to") { args.text("to") } else { ETCD };
    if target != ETCD {
        let text =
            format!("cannot convert to {target:?}: etched takes over a data directory of etcd by itself");
        return Err(Failure::arguments(text));
    }
    let data_dir = Path::new(args.text("data-dir"));
    let path = of_data_dir(data_dir);
    let member = data_dir.join("member");
    check_exists(&member)?;
    // A server holds it for as long as it runs.
    let in_use = lock(&member, patience(args))?;
    if finish(&path)? {
        say!("info", "finished a conversion that was cut off", "path" => path.display().to_string());
        return Ok(());
    }
    check_exists(&path)?;
    if !is_redb(&path)? {
        return Err(Failure::new(
            Exit::Request,
            format!("{} is not the database of an etched", path.display()),
        ));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let backend = open_redb(&path, patience(args))?;
    let view = backend.view().map_err(failed)?;
    let standing = Standing::read(&view).map_err(failed)?;
    if view.count(Table::V2).map_err(failed)? > 0 {
        say!(
            "warn",
            "etcd has no place for what was written by the v2 API; it stays in the kept database alone"
        );
    }
    let unfinished = path.with_file_name("db.converting");
    copy::remove_leftover(&unfinished)?;
    copy::remove_leftover(&converted(&path))?;
    copy::to_bolt(&view, &*disk.create(&unfinished).map_err(failed)?)?;
    copy::rename(&unfinished, &converted(&path))?;
    mark(&disk, &path, &wal_dir(args), &view, &standing)?;
    drop((view, backend));
    let kept = kept(&path);
    copy::rename(&path, &kept)?;
    finish(&path)?;
    drop(in_use);
    say!(
        "info", "converted the data directory for etcd",
        "path" => path.display().to_string(), "kept-database" => kept.display().to_string(),
        "applied-index" => standing.index, "applied-term" => standing.term,
    );
    Ok(())
}

fn converted(path: &Path) -> PathBuf {
    path.with_file_name("db.converted")
}

/// A name that is free for what is put aside.
fn kept(path: &Path) -> PathBuf {
    let mut kept = path.with_file_name("db.etched");
    let mut number = 0;
    while kept.exists() {
        number += 1;
        kept = path.with_file_name(format!("db.etched.{number}"));
    }
    kept
}

/// Does what a crash between the two renames has left undone; whether there was such a thing.
fn finish(path: &Path) -> Result<bool, Failure> {
    let converted = converted(path);
    if path.exists() || !converted.exists() {
        return Ok(false);
    }
    copy::rename(&converted, path).map(|()| true)
}

/// Makes a log snapshot at the applied index: etcd reads the log from there.
fn mark(
    disk: &Arc<dyn Disk>,
    path: &Path,
    wal_dir: &Path,
    view: &dyn ReadView,
    standing: &Standing,
) -> Result<(), Failure> {
    let Standing { index, term, .. } = *standing;
    if index == 0 {
        // Nothing was applied: etcd reads the log from its beginning.
        return Ok(());
    }
    let records = Wal::snapshots(&**disk, wal_dir).map_err(failed)?;
    let from = records.last().cloned().unwrap_or_default();
    let (mut wal, recovered) =
        Wal::open(Arc::clone(disk), wal_dir, &from, WalOptions::default()).map_err(failed)?;
    let log_end = recovered.entries.last().map_or(from.index, |entry| entry.index);
    if log_end < index || from.index > index {
        let text = format!(
            "the log holds entries from {} to {log_end}, and the database is at {index}",
            from.index + 1
        );
        return Err(Failure::new(Exit::Request, text));
    }
    let conf_state = standing.conf_state.encode();
    let data = stored::v2_store(view).map_err(failed)?;
    let snapshot = SnapshotFile { index, term, conf_state: conf_state.clone(), data };
    let snap_dir = path.parent().unwrap_or(Path::new("."));
    snapshot_file::write(&**disk, snap_dir, &snapshot).map_err(failed)?;
    let state = recovered.hard_state;
    if state.commit < index {
        // It is written lazily; what was applied was committed.
        wal.append(&[], Some(&HardState { commit: index, ..state }));
    }
    if from.index < index {
        wal.append_snapshot(&SnapshotRecord { index, term, conf_state: Some(conf_state) });
    }
    wal.close().map_err(failed)
}
