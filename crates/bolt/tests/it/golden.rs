//! A file made by bbolt itself: pages of 1 KiB, buckets within buckets, a freelist with free pages.
//!
//! `go run . golden FILE` in the folder `go` makes it.

use bytes::Bytes;
use etched_bolt::{BoltFile, BucketSummary, Content, PageCounts, PageId};

use crate::model::open;

fn golden() -> BoltFile {
    open(include_bytes!("../golden/nested.db")).unwrap()
}

#[test]
fn a_file_of_bbolt_is_sound_and_its_pages_are_accounted_for() {
    let report = golden().check().unwrap();
    assert_eq!(report.findings, []);
    let PageCounts { total, branch, leaf, freelist, free } = report.pages;
    assert_eq!(2 + branch + leaf + freelist + free, total);
    assert!(free > 10 && branch > 0, "{:?}", report.pages);
}

#[test]
fn buckets_within_buckets_are_reported_and_can_be_walked() {
    let file = golden();
    let names: Vec<Bytes> = file.buckets().map(|bucket| bucket.unwrap().0).collect();
    assert_eq!(names, ["outer", "plain"]);
    let outer = file.bucket(b"outer").unwrap().unwrap();
    assert_eq!(outer.sequence(), 9);
    let mut kinds = Vec::new();
    for entry in outer.entries() {
        let entry = entry.unwrap();
        let (kind, count) = match entry.content {
            Content::Value(value) => ("value", value.len()),
            Content::Bucket(inner) => ("bucket", inner.entries().map(Result::unwrap).count()),
        };
        kinds.push((entry.key, kind, count));
    }
    let expected = [("inline", "bucket", 0), ("inner", "bucket", 60), ("key", "value", 5)];
    assert_eq!(kinds, expected.map(|(key, kind, count)| (key.into(), kind, count)));

    let report = file.check().unwrap();
    let paths: Vec<String> = report
        .buckets
        .iter()
        .map(|bucket: &BucketSummary| format!("{} {}", bucket.path.len(), bucket.entries))
        .collect();
    assert_eq!(paths, ["1 3", "1 40", "2 0", "2 60"]);
}

#[test]
fn a_wrong_freelist_is_found() {
    let bytes = include_bytes!("../golden/nested.db");
    let file = golden();
    let freelist = file.meta().freelist.unwrap();
    let at = usize::try_from(freelist.0).unwrap() * 1024 + 16;
    let root = file.meta().root;
    for (page, finding) in [
        (root, format!("page {root}: it is in use, and listed as free")),
        (PageId(1), format!("page {freelist}: it lists 1 as a free page")),
        (PageId(900), format!("page {freelist}: it lists 900 as a free page")),
    ] {
        let mut bytes = bytes.to_vec();
        bytes[at..at + 8].copy_from_slice(&page.0.to_le_bytes());
        let report = open(&bytes).unwrap().check().unwrap();
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert!(findings.contains(&finding), "{findings:?}");
        assert!(findings.iter().any(|text| text.contains("neither in use nor")), "{findings:?}");
    }
    let mut twice = bytes.to_vec();
    twice.copy_within(at..at + 8, at + 8);
    let report = open(&twice).unwrap().check().unwrap();
    assert!(report.findings.iter().any(|finding| finding.to_string().contains("more than once")));
    let mut long = bytes.to_vec();
    long[at - 6..at - 4].copy_from_slice(&[0xff, 0xff]);
    assert!(!open(&long).unwrap().check().unwrap().is_clean());
}
