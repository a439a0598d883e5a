//! With bbolt itself: it finds our files sound, reads them, works in them, and writes files that are read here.
//!
//! Left out, with a message, where there is no Go.

use std::path::Path;

use crate::model::{Buckets, bucket, dump, encode, named, open_real, read};
use crate::round_trip::size;
use crate::tools::{program, run};

fn bbolt(command: &str, path: &Path) -> Option<String> {
    Some(run(program("bbolt_check")?.arg(command).arg(path)))
}

/// bbolt finds the file sound, sees the same in it, and can delete and put.
fn check(buckets: &Buckets, page_bytes: u32) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    std::fs::write(&path, encode(buckets, size(page_bytes))).unwrap();
    let Some(checked) = bbolt("check", &path) else { return };
    assert_eq!(checked, "OK\n");
    assert_eq!(bbolt("dump", &path).unwrap(), dump(buckets));
    let churned = bbolt("churn", &path).unwrap();
    assert!(churned.ends_with("OK\n"), "{churned}");
    // What bbolt has made of it is read here as bbolt reads it.
    let file = open_real(&path);
    let report = file.check().unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(bbolt("dump", &path).unwrap(), dump(&read(&file).unwrap()));
}

#[test]
fn bbolt_accepts_and_works_in_files_of_all_shapes() {
    for page_bytes in [1024, 4096, 16_384, 65_536] {
        check(&Buckets::new(), page_bytes);
        check(&named(vec![bucket(0, 1, |_| 0)]), page_bytes);
        check(
            &named(vec![bucket(3, 8, |at| at), bucket(40, 30, |at| at * 9), bucket(0, 1, |_| 0)]),
            page_bytes,
        );
        check(&named(vec![bucket(5000, 17, |at| at % 700), bucket(9, 20_000, |_| 1)]), page_bytes);
        check(&named(vec![bucket(30, 10, |at| at * 5000), bucket(2, 5, |_| 1_600_000)]), page_bytes);
    }
    let many = (0..2000_u32).map(|at| (at.to_be_bytes().to_vec().into(), bucket(2, 10, |_| 5))).collect();
    check(&many, 4096);
}

#[test]
fn bbolt_can_delete_whatever_number_of_pages_there_is_at_the_end_of_a_level() {
    // A branch with a single child would end the program that deletes below it.
    for leaves in 1..40 {
        check(&named(vec![bucket(leaves, 240, |_| 600)]), 1024);
    }
}

#[test]
fn files_of_bbolt_are_read_as_bbolt_reads_them() {
    let buckets = named(vec![
        bucket(4000, 17, |at| at % 900),
        bucket(0, 1, |_| 0),
        bucket(20, 1000, |at| at * 3000),
        bucket(7, 9, |_| 3),
    ]);
    for no_freelist_sync in ["", "1"] {
        let folder = tempfile::tempdir().unwrap();
        let (path, text) = (folder.path().join("db"), folder.path().join("text"));
        std::fs::write(&text, dump(&buckets)).unwrap();
        for command in ["write", "churn"] {
            let Some(mut bbolt) = program("bbolt_check") else { return };
            let bbolt = bbolt.env("NO_FREELIST_SYNC", no_freelist_sync);
            run(bbolt.arg(command).arg(&path).arg(&text));
            let file = open_real(&path);
            assert_eq!(file.meta().freelist.is_none(), !no_freelist_sync.is_empty());
            let found = read(&file).unwrap();
            assert!(command == "churn" || found == buckets);
            let report = file.check().unwrap();
            assert_eq!(report.findings, []);
            assert!(command == "write" || report.pages.free > 0);
            assert_eq!(run(program("bbolt_check").unwrap().arg("dump").arg(&path)), dump(&found));
        }
    }
}
