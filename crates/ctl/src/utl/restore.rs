//! `snapshot restore`: makes the data directory of a member of a new cluster.
//!
//! The database becomes a backend; then come the file of the log's snapshot and the log, whose first entries make the
//! members known. The log is made last: a directory that was not finished is refused by the server, which finds a
//! backend without a log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etched_backend::{Backend as _, Batch, Durability, RedbBackend, RedbOptions, Table};
use etched_bolt::{BoltFile, SnapshotError, database_bytes, verify_snapshot};
use etched_disk::{Disk, RealDisk};
use etched_proto::etcdserverpb::Metadata;
use etched_state_machine::stored::{self, Founding};
use etched_state_machine::{Options, StateMachine, bootstrap_changes, cluster_id, member_id, raise_revision};
use etched_wal::snapshot_file::{self, SnapshotFile};
use etched_wal::{Entry, HardState, SnapshotRecord, Wal, WalOptions};
use prost::Message as _;

use crate::args::Args;
use crate::failure::{Exit, Failure, text_of_io};
use crate::text::number;
use crate::utl::cluster::Cluster;
use crate::utl::log::say;
use crate::utl::progress::Watched;
use crate::utl::stored::{Stored, is_redb, of_data_dir, text_of_read};
use crate::utl::{copy, failed, path_of, patience};

/// The kind of an entry that changes the cluster.
const CONF_CHANGE: u64 = 1;

/// What is to be made of which snapshot.
struct Order {
    snapshot: PathBuf,
    data_dir: PathBuf,
    wal_dir: PathBuf,
    cluster: Cluster,
    token: String,
    skips_hash_check: bool,
    /// By how much the revision is raised; 0 is not at all.
    raise: u64,
    memory_map_bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let order = Order::read(args)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    order.say("restoring snapshot");
    if !is_there(&order.snapshot)? {
        check_hash(&*disk, &order)?;
    }
    let backend = fill(&*disk, &order, args)?;
    if order.raise > 0 {
        raise(&backend, order.raise)?;
    }
    found(&disk, &order, &backend)?;
    order.say("restored snapshot");
    Ok(())
}

impl Order {
    fn read(args: &Args) -> Result<Self, Failure> {
        let words = args.all();
        let [snapshot] = words.as_slice() else {
            return Err(Failure::arguments("snapshot restore requires exactly one argument"));
        };
        let raise = unsigned(args, "bump-revision");
        if (raise > 0) != args.bool("mark-compacted") {
            return Err(Failure::arguments("--mark-compacted required if --revision-bump > 0"));
        }
        let or = |name: &str, default: &str| {
            if args.is_given(name) { args.text(name).to_owned() } else { default.to_owned() }
        };
        let name = or("name", "default");
        let cluster = Cluster::read(
            &name,
            &or("initial-cluster", "default=http://localhost:2380"),
            &or("initial-advertise-peer-urls", "http://localhost:2380"),
        )?;
        let data_dir = Some(args.text("data-dir")).filter(|dir| !dir.is_empty());
        let data_dir = data_dir.map_or_else(|| PathBuf::from(format!("{name}.etcd")), PathBuf::from);
        if !is_empty_or_missing(&data_dir) {
            let text =
                format!("data-dir {:?} not empty or could not be read", data_dir.display().to_string());
            return Err(Failure::new(Exit::Request, text));
        }
        let wal_dir = match args.text("wal-dir") {
            "" => data_dir.join("member").join("wal"),
            given if Path::new(given).exists() => {
                return Err(Failure::new(Exit::Request, format!("wal-dir {given:?} exists")));
            }
            given => PathBuf::from(given),
        };
        let memory_map_bytes = unsigned(args, "initial-memory-map-size");
        Ok(Self {
            snapshot: path_of(snapshot),
            data_dir,
            wal_dir,
            cluster,
            token: or("initial-cluster-token", "etcd-cluster"),
            skips_hash_check: args.bool("skip-hash-check"),
            raise,
            memory_map_bytes: if memory_map_bytes == 0 { 10 << 30 } else { memory_map_bytes },
        })
    }

    fn snap_dir(&self) -> PathBuf {
        self.data_dir.join("member").join("snap")
    }

    fn say(&self, message: &str) {
        say!(
            "info", message,
            "path" => self.snapshot.display().to_string(), "wal-dir" => self.wal_dir.display().to_string(),
            "data-dir" => self.data_dir.display().to_string(), "snap-dir" => self.snap_dir().display().to_string(),
            "initial-memory-map-size" => self.memory_map_bytes,
        );
    }
}

/// A number that was read already; 0 if it was not given.
fn unsigned(args: &Args, name: &str) -> u64 {
    number::parse_uint(args.text(name).as_bytes(), 0).unwrap_or(0)
}

fn is_empty_or_missing(dir: &Path) -> bool {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Whether it is no snapshot at all but the database of an etched.
fn is_there(snapshot: &Path) -> Result<bool, Failure> {
    let fail = |error| Failure::new(Exit::Request, text_of_io("open", snapshot, &error));
    std::fs::File::open(snapshot).map_err(fail)?;
    is_redb(snapshot)
}

fn check_hash(disk: &dyn Disk, order: &Order) -> Result<(), Failure> {
    if order.skips_hash_check {
        return Ok(());
    }
    let file = Watched::new(disk.open_read_only(&order.snapshot).map_err(failed)?, "verifying");
    match verify_snapshot(&*file.map_err(failed)?) {
        Ok(_) => Ok(()),
        Err(SnapshotError::NoTrailer { .. }) => Err(missing_hash()),
        Err(SnapshotError::Mismatch { stated, computed }) => {
            let list = |hash: [u8; 32]| hash.map(|byte| byte.to_string()).join(" ");
            let text = format!("expected sha256 [{}], got [{}]", list(stated), list(computed));
            Err(Failure::new(Exit::Request, text))
        }
        Err(error @ (SnapshotError::Disk(_) | _)) => Err(failed(error)),
    }
}

fn missing_hash() -> Failure {
    Failure::new(Exit::Request, "snapshot missing hash but --skip-hash-check=false")
}

/// Makes a backend with the content of the snapshot.
fn fill(disk: &dyn Disk, order: &Order, args: &Args) -> Result<RedbBackend, Failure> {
    let create = || {
        disk.create_dir(&order.snap_dir()).map_err(failed)?;
        RedbBackend::create(disk, &of_data_dir(&order.data_dir), RedbOptions::default()).map_err(failed)
    };
    if is_redb(&order.snapshot)? {
        // It has no checksum of the whole, but each record has one.
        if !order.skips_hash_check {
            return Err(missing_hash());
        }
        let source = Stored::open(&order.snapshot, "reading", patience(args))?;
        let backend = create()?;
        copy::tables(source.view(), &Table::BUCKETS, &backend)?;
        return Ok(backend);
    }
    let file = disk.open_read_only(&order.snapshot).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let file = BoltFile::open(Watched::new(file, "restoring").map_err(failed)?).map_err(text_of_read)?;
    if database_bytes(len).is_some_and(|bytes| bytes < file.pages_bytes()) {
        return Err(Failure::new(Exit::Request, "the database reaches into its checksum"));
    }
    let report = file.check().map_err(failed)?;
    if let Some(first) = report.findings.first() {
        let text = format!("the database is damaged, first in page {}: {}", first.page, first.problem);
        return Err(Failure::new(Exit::Request, text));
    }
    let backend = create()?;
    etched_bolt::import_tables(&file, &backend, &mut |_| {}).map_err(failed)?;
    Ok(backend)
}

fn raise(backend: &RedbBackend, amount: u64) -> Result<(), Failure> {
    let mut batch = Batch::new();
    let raised = raise_revision(&backend.view().map_err(failed)?, amount, &mut batch).map_err(failed)?;
    let latest = u64::try_from(raised).unwrap_or_default() - amount;
    say!("info", "bumping latest revision", "latest-revision" => latest, "bump-amount" => amount, "new-latest-revision" => raised);
    say!("info", "marking revision compacted", "revision" => raised);
    backend.commit(&batch, Durability::Buffered).map_err(failed)
}

/// Makes the state that of a new cluster, and the log.
fn found(disk: &Arc<dyn Disk>, order: &Order, backend: &RedbBackend) -> Result<(), Failure> {
    let founders = bootstrap_changes(&order.cluster.members(), &order.token);
    let ids: Vec<u64> = founders.iter().map(|founder| founder.member_id).collect();
    let own = member_id(order.cluster.own_urls(), &order.token, None);
    let cluster = cluster_id(&ids);
    let founding = stored::found_anew(&backend.view().map_err(failed)?, &founders).map_err(failed)?;
    backend.commit(&founding.batch, Durability::Synced).map_err(failed)?;
    // What the server would refuse is refused here; and it finds the catalog made that it would have to make.
    let mut machine =
        StateMachine::restore(&backend.view().map_err(failed)?, Options::default()).map_err(failed)?;
    backend.commit(&machine.take_batch(), Durability::Synced).map_err(failed)?;
    for member in machine.members().iter() {
        say!(
            "info", "added member",
            "cluster-id" => format!("{cluster:x}"), "local-member-id" => "0", "added-peer-id" => format!("{:x}", member.id),
            "added-peer-peer-urls" => member.peer_urls.clone(), "added-peer-is-learner" => false,
        );
    }
    let metadata = Metadata { node_id: own, cluster_id: cluster };
    write_log(disk, order, &founding, ids.first().copied().unwrap_or(own), &metadata)
}

fn write_log(
    disk: &Arc<dyn Disk>,
    order: &Order,
    founding: &Founding,
    vote: u64,
    metadata: &Metadata,
) -> Result<(), Failure> {
    let (index, term) = (founding.entries.len() as u64, founding.term);
    let conf_state = founding.conf_state.encode();
    let snapshot =
        SnapshotFile { index, term, conf_state: conf_state.clone(), data: founding.v2_store.clone() };
    snapshot_file::write(&**disk, &order.snap_dir(), &snapshot).map_err(failed)?;
    let entries: Vec<Entry> = (1..)
        .zip(&founding.entries)
        .map(|(index, data)| Entry { term, index, kind: CONF_CHANGE, data: data.clone() })
        .collect();
    let mut wal =
        Wal::create(Arc::clone(disk), &order.wal_dir, &metadata.encode_to_vec(), WalOptions::default())
            .map_err(failed)?;
    wal.append(&entries, Some(&HardState { term, vote, commit: index }));
    wal.append_snapshot(&SnapshotRecord { index, term, conf_state: Some(conf_state) });
    wal.close().map_err(failed)
}
