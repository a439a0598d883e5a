//! `snapshot save`.

use std::os::unix::fs::PermissionsExt as _;

use crate::etcd::Etcd;
use crate::program::{ok, run};

#[tokio::test]
async fn a_copy_is_complete_and_private() {
    let etcd = Etcd::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.db");
    let shown = path.display();
    ok(&etcd.endpoint(), "put a 1").await;
    let text = ok(&etcd.endpoint(), &format!("snapshot save {shown}")).await;
    assert_eq!(text, format!("Snapshot saved at {shown}\nServer version 3.7.0\n"));
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.len() % 512, metadata.permissions().mode() & 0o777), (32, 0o600));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "the incomplete file is gone");
}

#[tokio::test]
async fn a_copy_that_fails_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let line = format!("snapshot save {}/copy.db --command-timeout 200ms", directory.path().display());
    let late = run("127.0.0.1:1", &line).await;
    assert_eq!((late.code, late.err.as_str()), (5, "Error: context deadline exceeded\n"));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let many = run("a:1,b:1", &line).await;
    assert_eq!(
        (many.code, many.err.as_str()),
        (5, "Error: snapshot must be requested to one selected node, not multiple [a:1 b:1]\n")
    );
    let nowhere = run("a:1", "snapshot save /nonexistent/copy.db").await;
    let text = "Error: could not open /nonexistent/copy.db.part (open /nonexistent/copy.db.part: no such file or \
                directory)\n";
    assert_eq!((nowhere.code, nowhere.err.as_str()), (5, text));
}
