//! Data directories that cannot be used: a clear message, an exit code, and nothing changed.

use std::path::Path;

use etched_client::Put;

use crate::process::{Settings, contents};
use crate::session::connect;

/// A directory that a member has used, with a few keys in it.
async fn used(dir: &Path) -> Settings {
    let settings = Settings::new(dir);
    let server = settings.start();
    let client = connect(&server).await;
    for number in 0..10 {
        client.put(Put::new(format!("key-{number}"), "value")).await.unwrap();
    }
    server.kill();
    settings
}

fn assert_refused(settings: &Settings, message: &str) {
    let before = contents(&settings.data_dir);
    let ended = settings.refused();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(ended.log.contains(message), "{}", ended.log);
    assert!(contents(&settings.data_dir) == before, "the directory was changed");
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(dir.path());
    let server = settings.start();
    let other = Settings::new(dir.path());
    let ended = other.refused();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.log.contains("in use by another process"), "{}", ended.log);
    server.kill();
}

#[tokio::test]
async fn a_damaged_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = used(dir.path()).await;
    let (path, mut bytes) = contents(&dir.path().join("member/wal"))
        .into_iter()
        .find(|(path, _)| path.extension().is_some_and(|extension| extension == "wal"))
        .unwrap();
    // Inside the first put, behind which others were synced.
    let position = bytes.windows(5).position(|window| window == b"key-0").unwrap();
    bytes[position] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_refused(&settings, "is damaged at byte");
}

#[tokio::test]
async fn a_backend_without_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = used(dir.path()).await;
    std::fs::remove_dir_all(dir.path().join("member/wal")).unwrap();
    assert_refused(&settings, "but no write-ahead log");
}

#[tokio::test]
async fn a_backend_older_than_the_last_snapshot_is_refused_in_the_words_of_etcd() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(dir.path()).with("--snapshot-count=10").with("--snapshot-catchup-entries=1");
    settings.start().terminate();
    let backend = dir.path().join("member/snap/db");
    let old = std::fs::read(&backend).unwrap();
    let server = settings.start();
    let client = connect(&server).await;
    for number in 0..30 {
        client.put(Put::new(format!("key-{number}"), "value")).await.unwrap();
    }
    server.terminate();
    std::fs::write(&backend, old).unwrap();
    let ended = settings.refused();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    let words =
        "failed to find database snapshot file (snap: snapshot file doesn't exist): the log begins after";
    assert!(ended.log.contains(words), "{}", ended.log);
}

#[tokio::test]
async fn a_damaged_backend_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = used(dir.path()).await;
    std::fs::write(dir.path().join("member/snap/db"), b"this was once a database").unwrap();
    assert_refused(&settings, "cannot open the backend");
}

#[test]
fn a_directory_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("member/wal")).unwrap();
    std::fs::write(dir.path().join("member/wal/notes.txt"), b"not a log").unwrap();
    assert_refused(&Settings::new(dir.path()), "no write-ahead log");
}

#[test]
fn a_wrong_flag_ends_with_usage() {
    let dir = tempfile::tempdir().unwrap();
    let ended = Settings::new(dir.path()).with("--no-such-flag").refused();
    assert_eq!(ended.status.code(), Some(2), "{}", ended.log);
    assert!(contents(dir.path()).is_empty());
}
