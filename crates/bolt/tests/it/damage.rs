//! Damaged files: an error, or what is left of the data, and never a panic or a walk without end.

use std::path::Path;

use bytes::Bytes;
use etched_bolt::{BoltFile, Flaw, PageId, Problem, ReadError};
use proptest::prelude::*;

use crate::model::{Buckets, PATH, bucket, disk_with, encode, named, open, open_on, read};
use crate::round_trip::size;

const PAGE: usize = 1024;

/// Inline, paged and empty buckets, branches of two levels, overflow pages.
fn small() -> Buckets {
    named(vec![
        bucket(2, 8, |_| 3),
        bucket(12, 130, |at| at * 20),
        bucket(0, 1, |_| 0),
        bucket(25, 150, |_| 5),
        bucket(2, 6, |at| at * 1500),
    ])
}

/// How many buckets and entries are not the same, those that are missing or new included.
fn differences(one: &Buckets, other: &Buckets) -> usize {
    let flat = |buckets: &Buckets| -> Vec<(Bytes, Bytes, Bytes)> {
        let entries = |(name, bucket): (&Bytes, &crate::model::BucketContent)| {
            let head = (name.clone(), Bytes::new(), Bytes::from(bucket.sequence.to_string()));
            let name = name.clone();
            let entries = bucket.entries.clone().into_iter();
            std::iter::once(head).chain(entries.map(move |(key, value)| (name.clone(), key, value)))
        };
        buckets.iter().flat_map(entries).collect()
    };
    let (one, other) = (flat(one), flat(other));
    let missing = one.iter().filter(|entry| !other.contains(entry)).count();
    let new = other.iter().filter(|entry| !one.contains(entry)).count();
    missing.max(new)
}

/// Asks a file for everything that can be asked.
fn use_all(file: &BoltFile) -> Result<Buckets, ReadError> {
    file.check().unwrap();
    for key in [&b"a"[..], b"d", b"00000003", b""] {
        if let Ok(Some(bucket)) = file.bucket(key) {
            let _ = bucket.get(b"0000000001");
            bucket.entries_from(b"00000002").map_while(Result::ok).for_each(drop);
        }
    }
    read(file)
}

#[test]
fn every_flipped_bit_is_an_error_or_one_entry_or_a_finding() {
    let buckets = small();
    let bytes = encode(&buckets, size(1024));
    let disk = disk_with(&bytes);
    let (mut refused, mut found) = (0, 0);
    for offset in 0..bytes.len() {
        for mask in [0x01, 0x04, 0x80, 0xff] {
            disk.flip_bits(Path::new(PATH), offset as u64, mask);
            match open_on(&disk).and_then(|file| Ok((use_all(&file)?, file.check().unwrap()))) {
                Err(_) => refused += 1,
                Ok((read, report)) => {
                    found += usize::from(!report.is_clean());
                    let differences = differences(&buckets, &read);
                    assert!(
                        differences <= 1 || !report.is_clean() || is_of_bucket_of_buckets(&bytes, offset),
                        "byte {offset} mask {mask:x}: {differences} entries differ"
                    );
                }
            }
            disk.flip_bits(Path::new(PATH), offset as u64, mask);
        }
    }
    assert!(refused > 1000 && found > 10, "{refused} refused, {found} found by the check");
}

/// Whether the byte is in the bucket of buckets, where damage renames a whole bucket, or changes an inline one.
fn is_of_bucket_of_buckets(bytes: &[u8], offset: usize) -> bool {
    let root = open(bytes).unwrap().meta().root;
    (offset / PAGE) as u64 == root.0
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = encode(&small(), size(1024));
    let disk = disk_with(&bytes);
    for len in (0..bytes.len()).rev() {
        disk.truncate(Path::new(PATH), len as u64);
        assert!(open_on(&disk).is_err(), "{len} of {} bytes", bytes.len());
    }
}

#[test]
fn bytes_behind_the_last_page_do_not_matter() {
    let buckets = small();
    let mut bytes = encode(&buckets, size(1024));
    bytes.extend_from_slice(&[0xee; 32]);
    assert_eq!(read(&open(&bytes).unwrap()).unwrap(), buckets);
}

#[test]
fn either_meta_page_is_enough_and_the_newer_one_counts() {
    let buckets = small();
    for shift in 0..5 {
        let page = PAGE << shift;
        let bytes = encode(&buckets, size(1024 << shift));
        assert_eq!(open(&bytes).unwrap().meta().txid, 2);
        for damaged in [0, page] {
            let mut bytes = bytes.clone();
            bytes[damaged + 30] ^= 0x10;
            let file = open(&bytes).unwrap();
            assert_eq!(file.meta().txid, if damaged == 0 { 1 } else { 2 });
            assert_eq!(read(&file).unwrap(), buckets);
        }
        let mut none = bytes;
        none[30] ^= 1;
        none[page + 30] ^= 1;
        assert!(matches!(open(&none), Err(ReadError::NoMeta { .. })));
    }
}

#[test]
fn a_circle_of_pages_ends() {
    let buckets = named(vec![bucket(40, 150, |_| 5)]);
    let bytes = encode(&buckets, size(1024));
    let mut circles = 0;
    for page in 3..bytes.len() / PAGE {
        if bytes[page * PAGE + 8] != 1 {
            continue;
        }
        for target in 3..bytes.len() / PAGE {
            let mut bytes = bytes.clone();
            let pointer = page * PAGE + 16 + 8;
            bytes[pointer..pointer + 8].copy_from_slice(&(target as u64).to_le_bytes());
            let file = open(&bytes).unwrap();
            let (outcome, report) = (use_all(&file), file.check().unwrap());
            match outcome {
                Ok(read) if report.is_clean() => assert_eq!(read, buckets, "the pointer was right"),
                Ok(_) | Err(_) => circles += 1,
            }
        }
    }
    assert!(circles > 20);
}

#[test]
fn a_page_reached_twice_and_a_lost_one_are_found() {
    let buckets = named(vec![bucket(9, 100, |_| 300), bucket(9, 100, |_| 300)]);
    let mut bytes = encode(&buckets, size(1024));
    let file = open(&bytes).unwrap();
    let roots: Vec<PageId> = file.buckets().map(|bucket| bucket.unwrap().1.root_page().unwrap()).collect();
    let at = usize::try_from(file.meta().root.0).unwrap() * PAGE;
    // The first bucket gets the root of the second.
    let pattern = roots[0].0.to_le_bytes();
    let place = at + bytes[at..].windows(8).position(|window| window == pattern).unwrap();
    bytes[place..place + 8].copy_from_slice(&roots[1].0.to_le_bytes());
    let report = open(&bytes).unwrap().check().unwrap();
    let problems: Vec<&Problem> = report.findings.iter().map(|finding| &finding.problem).collect();
    assert!(problems.contains(&&Problem::ReachedTwice), "{problems:?}");
    assert!(problems.iter().any(|problem| matches!(problem, Problem::Lost { .. })), "{problems:?}");
    assert!(report.findings[0].to_string().starts_with("page "));
}

#[test]
fn errors_name_the_page_and_the_reason() {
    let bytes = encode(&named(vec![bucket(9, 100, |_| 300)]), size(1024));
    let mut damaged = bytes;
    let page = 4;
    damaged[page * PAGE] ^= 9;
    let error = read(&open(&damaged).unwrap()).unwrap_err();
    let ReadError::Damaged { page: PageId(4), why: Flaw::OtherId(PageId(13)) } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(error.to_string(), "page 4 is damaged");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn files_with_small_numbers_in_wrong_places_are_survived(
        writes in prop::collection::vec((3..28_usize, 0..9_usize, 0..4_usize, 0..30_u64, any::<bool>()), 1..6),
    ) {
        let mut bytes = encode(&small(), size(1024));
        for (page, element, word, number, wide) in writes {
            let at = (page * PAGE + element * 16 + word * 4) % (bytes.len() - 8);
            let number = number.to_le_bytes();
            let width = if wide { 8 } else { 4 };
            bytes[at..at + width].copy_from_slice(&number[..width]);
        }
        if let Ok(file) = open(&bytes) {
            let _ = use_all(&file);
        }
    }

    #[test]
    fn noise_is_survived(noise in prop::collection::vec(any::<u8>(), 3000), meta in any::<bool>()) {
        let mut bytes = noise;
        if meta {
            let sound = encode(&Buckets::new(), size(1024));
            bytes.resize(sound.len().max(bytes.len()), 0);
            bytes[..2 * PAGE].copy_from_slice(&sound[..2 * PAGE]);
        }
        if let Ok(file) = open(&bytes) {
            let _ = use_all(&file);
        }
    }
}
