//! With a real etcd: its database is read here, and it goes on with what is written here.

use std::path::Path;

use etched_bolt::{PageSize, Trailer, etcd_buckets, verify_snapshot};
use etched_disk::{Disk as _, RealDisk};

use crate::model::{Buckets, encode, open_real, read};
use crate::server::{Etcd, Ports, base64, database};
use crate::tools::{program, run};

const KEYS: usize = 700;

fn key(at: usize) -> String {
    format!("/registry/things/{at:04}")
}

fn value(at: usize) -> String {
    let len = if at.is_multiple_of(50) { at * 40 } else { at % 90 };
    format!("{at}:").repeat(len + 1)
}

/// Fills a new member with keys, deleted and overwritten ones too, a lease, an alarm, a user; and stops it.
fn fill(data_dir: &Path, ports: Ports) {
    let etcd = Etcd::start(data_dir, ports);
    for at in 0..KEYS {
        etcd.put(&key(at), "first");
    }
    etcd.call(
        "/v3/kv/deleterange",
        &format!(r#"{{"key":"{}","range_end":"{}"}}"#, base64(&key(0)), base64(&key(KEYS))),
    );
    etcd.call("/v3/kv/compaction", &format!(r#"{{"revision":"{}","physical":true}}"#, KEYS / 2));
    for at in 0..KEYS {
        etcd.put(&key(at), &value(at));
    }
    etcd.call("/v3/lease/grant", r#"{"TTL":"3600","ID":"77"}"#);
    etcd.call("/v3/auth/user/add", r#"{"name":"ann","password":"secret"}"#);
    etcd.call("/v3/auth/role/add", r#"{"name":"reader"}"#);
    etcd.stop();
}

fn assert_serves_all(etcd: &Etcd) {
    for at in (0..KEYS).step_by(7) {
        assert!(etcd.has(&key(at), &value(at)), "{}", key(at));
    }
    etcd.put("and", "on");
    assert!(etcd.has("and", "on"));
    assert!(etcd.call("/v3/auth/user/list", "{}").contains("ann"));
    assert!(etcd.call("/v3/lease/leases", "{}").contains("77"));
}

/// The buckets of a stopped member, of a file without findings.
fn read_database(data_dir: &Path) -> Buckets {
    let file = open_real(&database(data_dir));
    let report = file.check().unwrap();
    assert_eq!(report.findings, []);
    assert!(file.meta().freelist.is_none(), "etcd keeps no freelist");
    assert!(report.pages.free > 0);
    read(&file).unwrap()
}

#[test]
fn a_database_of_etcd_is_read_and_etcd_goes_on_with_the_same_content_written_here() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, ports) = (folder.path().join("data"), Ports::free());
    fill(&data_dir, ports);
    let buckets = read_database(&data_dir);

    let names: Vec<&[u8]> = buckets.keys().map(|name| &name[..]).collect();
    assert_eq!(names, etcd_buckets().map(|table| table.name().as_bytes()));
    let records = &buckets[&b"key"[..]].entries;
    assert!(records.keys().all(|revision| matches!(revision.len(), 17 | 18) && revision[8] == b'_'));
    for at in 0..KEYS {
        // Each put has a revision of its own; the second ones come after the first ones and the deletion.
        let revision = [&(2 + KEYS as u64 + 1 + at as u64).to_be_bytes()[..], b"_", &[0; 8]].concat();
        let record = &records[&revision[..]];
        assert!(record.windows(key(at).len()).any(|window| window == key(at).as_bytes()));
        assert!(record.windows(value(at).len()).any(|window| window == value(at).as_bytes()));
    }
    let tombstones = records.keys().filter(|revision| revision.last() == Some(&b't')).count();
    assert_eq!(tombstones, KEYS);
    assert_eq!(buckets[&b"meta"[..]].entries[&b"consistent_index"[..]].len(), 8);
    assert!(buckets[&b"authUsers"[..]].entries.contains_key(&b"ann"[..]));

    let written = encode(&buckets, PageSize::USUAL);
    std::fs::write(database(&data_dir), &written).unwrap();
    assert_eq!(read(&open_real(&database(&data_dir))).unwrap(), buckets);
    let etcd = Etcd::start(&data_dir, ports);
    assert_serves_all(&etcd);
    etcd.stop();
    assert!(!read_database(&data_dir).is_empty());
}

#[test]
fn etcdutl_accepts_and_restores_a_snapshot_written_here_and_etcd_starts_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, ports) = (folder.path().join("data"), Ports::free());
    if program("etcdutl").is_none() {
        return;
    }
    let etcdutl = || program("etcdutl").unwrap();
    fill(&data_dir, ports);
    let buckets = read_database(&data_dir);
    let status = |path: &Path| run(etcdutl().args(["snapshot", "status", "-w", "json"]).arg(path));

    let snapshot = folder.path().join("snapshot");
    let mut bytes = encode(&buckets, PageSize::USUAL);
    let database_bytes = bytes.len() as u64;
    let mut trailer = Trailer::new();
    trailer.update(&bytes);
    bytes.extend_from_slice(&trailer.finish());
    std::fs::write(&snapshot, &bytes).unwrap();
    let opened = RealDisk::new().open_read_only(&snapshot).unwrap();
    assert_eq!(verify_snapshot(&*opened).unwrap(), database_bytes);

    let (ours, theirs) = (status(&snapshot), status(&database(&data_dir)));
    let up_to_size = |text: &str| text.split(r#","totalSize""#).next().unwrap().to_owned();
    assert!(ours.contains("hash"), "{ours}");
    assert_eq!(up_to_size(&ours), up_to_size(&theirs), "the same hash, revision and number of keys");
    assert_eq!(run(program("bbolt_check").unwrap().arg("check").arg(&snapshot)), "OK\n");

    let (restored, ports) = (folder.path().join("restored"), Ports::free());
    let cluster = format!("m1={}", ports.peer_url());
    run(etcdutl()
        .args(["snapshot", "restore"])
        .arg(&snapshot)
        .arg("--data-dir")
        .arg(&restored)
        .args(["--name", "m1", "--initial-cluster", &cluster])
        .args(["--initial-advertise-peer-urls", &ports.peer_url()]));
    let etcd = Etcd::start(&restored, ports);
    assert_serves_all(&etcd);
    etcd.stop();

    // Restoring has rewritten members; all else is as it was, and what etcd has put since is there too.
    let after = read_database(&restored);
    let records = &buckets[&b"key"[..]].entries;
    assert!(
        records.iter().all(|(revision, record)| after[&b"key"[..]].entries.get(revision) == Some(record))
    );
}
