//! Members whose data differs: found before they serve, or by the leader.

use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use etched_backend::{Backend as _, Batch, Durability, ReadView as _, RedbBackend, RedbOptions, Table};
use etched_client::Put;
use etched_disk::RealDisk;

use crate::process::{Server, Settings};
use crate::session::connect;

/// How long a check may take to find something, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Changes the last byte of the first record of the key space, as no checksum would tell.
fn corrupt(data_dir: &Path) {
    let path = data_dir.join("member/snap/db");
    let backend = RedbBackend::open(&RealDisk::new(), &path, RedbOptions::default()).unwrap();
    let mut batch = Batch::new();
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let view = backend.view().unwrap();
    view.scan(Table::Key, everything, &mut |key, value| {
        let mut value = value.to_vec();
        *value.last_mut().unwrap() ^= 1;
        batch.put(Table::Key, Bytes::copy_from_slice(key), value);
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(batch.len(), 1);
    backend.commit(&batch, Durability::Synced).unwrap();
}

/// A cluster of three of which the last one was stopped and corrupted.
async fn corrupted(settings: &[Settings]) -> (Vec<Server>, u64) {
    let mut servers = Settings::start_all(settings);
    let client = connect(&servers[2]).await;
    for number in 0..10 {
        client.put(Put::new(format!("key-{number}"), "value")).await.unwrap();
    }
    let id = client.status().await.unwrap().header.unwrap().member_id;
    servers.pop().expect("there are three").terminate();
    corrupt(&settings[2].data_dir);
    (servers, id)
}

#[tokio::test]
async fn a_member_with_other_data_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let settings: Vec<Settings> = Settings::cluster(dir.path(), 3)
        .into_iter()
        .map(|one| one.with("--feature-gates=InitialCorruptCheck=true"))
        .collect();
    let (_servers, _) = corrupted(&settings).await;
    let ended = settings[2].spawn().ended();
    assert!(!ended.status.success());
    assert!(ended.log.contains("found data inconsistency with peers"), "{}", ended.log);
}

#[tokio::test]
async fn the_leader_raises_the_alarm_for_a_member_with_other_data() {
    let dir = tempfile::tempdir().unwrap();
    let settings: Vec<Settings> =
        Settings::cluster(dir.path(), 3).into_iter().map(|one| one.with("--corrupt-check-time=1s")).collect();
    let (mut servers, id) = corrupted(&settings).await;
    servers.push(settings[2].start());
    let client = connect(&servers[0]).await;
    let start = Instant::now();
    loop {
        let alarms = client.alarm_list().await.unwrap().alarms;
        if alarms.iter().any(|alarm| alarm.member_id == id && alarm.alarm == 2) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "no alarm is raised: {alarms:?}");
    }
    let error = client.put(Put::new("after", "value")).await.unwrap_err();
    assert!(error.to_string().contains("etcdserver: corrupt cluster"), "{error}");
}
