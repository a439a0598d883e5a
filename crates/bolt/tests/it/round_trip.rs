//! What is written reads back, page by page sound; what differs from the plan is refused.

use std::ops::ControlFlow;

use bytes::Bytes;
use etched_bolt::{Content, EncodeError, Encoder, KEY_BYTES_MAX, PageSize, Plan, PlanError, VALUE_BYTES_MAX};
use proptest::prelude::*;

use crate::model::{BucketContent, Buckets, bucket, encode, encode_planned, named, open, plan, read};

pub(crate) fn size(bytes: u32) -> PageSize {
    PageSize::new(bytes).unwrap()
}

/// Writes, reads back, and looks at every page.
fn check(buckets: &Buckets, size: PageSize) {
    let file = open(&encode(buckets, size)).unwrap();
    assert_eq!(&read(&file).unwrap(), buckets);
    let report = file.check().unwrap();
    assert_eq!(report.findings, [], "{buckets:?}");
    assert_eq!(report.pages.free, 0);
    let pages = &report.pages;
    assert_eq!(2 + pages.freelist + pages.branch + pages.leaf, pages.total);
    assert_eq!(report.buckets.len(), buckets.len());
    for (summary, (name, bucket)) in report.buckets.iter().zip(buckets) {
        assert_eq!(summary.path, std::slice::from_ref(name));
        assert_eq!(summary.entries, bucket.entries.len() as u64);
        assert_eq!(summary.values_bytes, bucket.entries.values().map(Bytes::len).sum::<usize>() as u64);
    }
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    // Mostly small, at times up to the largest.
    prop_oneof![8 => 0..max.min(40), 2 => 0..max.min(600), 1 => 0..max]
        .prop_flat_map(|len| prop::collection::vec(any::<u8>(), len))
        .prop_map(Bytes::from)
}

fn key(max: usize) -> impl Strategy<Value = Bytes> {
    bytes(max).prop_filter("a key is not empty", |key| !key.is_empty())
}

fn buckets() -> impl Strategy<Value = Buckets> {
    let entries = prop::collection::btree_map(key(3000), bytes(9000), 0..120);
    let content = (any::<u64>(), entries).prop_map(|(sequence, entries)| BucketContent { sequence, entries });
    prop::collection::btree_map(key(2000), content, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_buckets_read_back(buckets in buckets(), shift in 0..7_u32) {
        check(&buckets, size(1024 << shift));
    }

    #[test]
    fn a_walk_can_begin_at_any_key(buckets in buckets(), start in bytes(3000), shift in 0..3_u32) {
        let file = open(&encode(&buckets, size(1024 << shift))).unwrap();
        for (name, bucket) in &buckets {
            let found = file.bucket(name).unwrap().unwrap();
            let middle = bucket.entries.keys().nth(bucket.entries.len() / 2);
            for start in [Some(&start), middle].into_iter().flatten() {
                let keys: Vec<Bytes> = found.entries_from(start).map(|entry| entry.unwrap().key).collect();
                let expected: Vec<Bytes> = bucket.entries.range(start.clone()..).map(|(key, _)| key.clone()).collect();
                prop_assert_eq!(keys, expected);
                let value = match found.get(start).unwrap() {
                    Some(Content::Value(value)) => Some(value),
                    Some(Content::Bucket(_)) => None,
                    None => None,
                };
                prop_assert_eq!(value.as_ref(), bucket.entries.get(start));
            }
        }
    }

    #[test]
    fn what_differs_from_the_plan_is_refused(planned in buckets(), fed in buckets()) {
        let lengths = |buckets: &Buckets| {
            let of = |bucket: &BucketContent| {
                let lens = bucket.entries.iter().map(|(key, value)| (key.len(), value.len()));
                lens.collect::<Vec<_>>()
            };
            buckets.iter().map(|(name, bucket)| (name.clone(), of(bucket))).collect::<Vec<_>>()
        };
        let encoded = encode_planned(&fed, plan(&planned, PageSize::USUAL), 4096);
        prop_assert_eq!(encoded.is_ok(), lengths(&planned) == lengths(&fed));
    }
}

#[test]
fn entries_that_changed_places_are_refused_though_their_sum_is_the_same() {
    let fed = named(vec![bucket(20, 8, |at| at * 10)]);
    let planned = named(vec![bucket(20, 8, |at| (at ^ 1) * 10)]);
    let encoded = encode_planned(&fed, plan(&planned, PageSize::USUAL), 4096);
    assert!(matches!(encoded, Err(EncodeError::Differs { .. })));
}

#[test]
fn every_number_of_leaves_and_branches_makes_a_sound_tree() {
    // Keys so long that a branch has few children: three levels come soon, with every remainder at their ends.
    for count in 0..150 {
        check(&named(vec![bucket(count, 200, |_| 300)]), size(1024));
        check(&named(vec![bucket(count, 600, |_| 10), bucket(count, 90, |at| at * 7)]), size(1024));
    }
}

#[test]
fn no_branch_has_a_single_child() {
    let page = 1024;
    for count in 0..150 {
        let file = encode(&named(vec![bucket(count, 200, |_| 300)]), size(1024));
        for head in file.chunks_exact(page).skip(2) {
            let (flags, count) = (head[8], u16::from_le_bytes([head[10], head[11]]));
            assert!(flags != 1 || count >= 2, "a branch with {count} children");
        }
    }
}

#[test]
fn values_larger_than_pages_and_the_largest_keys_read_back() {
    let sizes = [0, 1, 4000, 4064, 4065, 4080, 4096, 8192, 100_000, 1_500_000, 3];
    check(&named(vec![bucket(sizes.len(), 8, |at| sizes[at])]), PageSize::USUAL);
    check(&named(vec![bucket(9, KEY_BYTES_MAX, |at| at * 1000)]), PageSize::USUAL);
    for value in 3900..4200 {
        check(&named(vec![bucket(3, 17, |_| value), bucket(1, 17, |_| value)]), PageSize::USUAL);
    }
}

#[test]
fn small_buckets_lie_inline_and_larger_ones_have_pages() {
    let quarter = 1024 - 16 - 16 - 5;
    let buckets = named(vec![bucket(0, 1, |_| 0), bucket(1, 5, |_| quarter), bucket(1, 5, |_| quarter + 1)]);
    let file = open(&encode(&buckets, PageSize::USUAL)).unwrap();
    let roots: Vec<bool> = file.buckets().map(|bucket| bucket.unwrap().1.root_page().is_some()).collect();
    assert_eq!(roots, [false, false, true]);
    check(&buckets, PageSize::USUAL);
}

#[test]
fn a_file_without_buckets_and_one_with_very_many_read_back() {
    check(&Buckets::new(), PageSize::USUAL);
    let many = (0..3000_u32)
        .map(|at| (Bytes::copy_from_slice(&at.to_be_bytes()), bucket(at as usize % 3, 10, |_| 5)))
        .collect();
    check(&many, PageSize::USUAL);
    assert!(open(&encode(&many, PageSize::USUAL)).unwrap().bucket(&77_u32.to_be_bytes()).unwrap().is_some());
}

#[test]
fn a_page_never_has_more_elements_than_its_head_can_count() {
    // A page of 16 MiB has room for some 800,000 elements.
    let buckets = named(vec![bucket(140_000, 6, |_| 0)]);
    let file = encode(&buckets, size(1 << 24));
    let opened = open(&file).unwrap();
    assert_eq!(opened.check().unwrap().findings, []);
    assert_eq!(opened.check().unwrap().buckets[0].leaf_pages, 3);
    assert_eq!(read(&opened).unwrap(), buckets);
}

#[test]
fn chunks_are_full_but_for_the_last() {
    let buckets = named(vec![bucket(3000, 20, |_| 100), bucket(5, 20, |_| 70_000)]);
    let layout = plan(&buckets, PageSize::USUAL);
    let chunks = encode_planned(&buckets, layout, 16 << 10).unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= 16 << 10));
    let full = chunks.iter().filter(|chunk| chunk.len() == 16 << 10).count();
    assert!(full * 10 > chunks.len() * 8, "{full} of {} chunks are full", chunks.len());
}

#[test]
fn a_sink_that_wants_no_more_ends_the_writing() {
    let buckets = named(vec![bucket(3000, 20, |_| 100)]);
    let mut wanted = 3;
    let mut encoder = Encoder::new(plan(&buckets, PageSize::USUAL), 8192, |_| {
        wanted -= 1;
        if wanted == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    encoder.bucket(b"a").unwrap();
    let entries = buckets[&b"a"[..]].entries.iter();
    let result: Result<Vec<()>, _> = entries.map(|(key, value)| encoder.entry(key, value)).collect();
    assert_eq!(result, Err(EncodeError::Stopped));
}

#[test]
fn keys_have_to_rise_and_lengths_to_be_possible() {
    let mut plan = Plan::new(PageSize::USUAL);
    assert_eq!(plan.bucket(b"", 0), Err(PlanError::KeyLength { bytes: 0 }));
    plan.bucket(b"b", 0).unwrap();
    assert!(matches!(plan.bucket(b"b", 0), Err(PlanError::BucketOrder { .. })));
    assert!(matches!(plan.bucket(b"a", 0), Err(PlanError::BucketOrder { .. })));
    assert_eq!(plan.entry(0, 1), Err(PlanError::KeyLength { bytes: 0 }));
    assert_eq!(
        plan.entry(1, VALUE_BYTES_MAX + 1),
        Err(PlanError::ValueLength { bytes: VALUE_BYTES_MAX + 1 })
    );
    plan.entry(1, 1).unwrap();
    plan.entry(1, 1).unwrap();
    let layout = plan.finish();

    let mut encoder = Encoder::new(layout, 4096, |_| ControlFlow::Continue(()));
    assert!(matches!(encoder.bucket(b"a"), Err(EncodeError::Differs { .. })));
    encoder.bucket(b"b").unwrap();
    encoder.entry(b"k", b"1").unwrap();
    assert!(matches!(encoder.entry(b"k", b"2"), Err(EncodeError::KeyOrder { .. })));
    encoder.entry(b"l", b"2").unwrap();
    assert!(matches!(encoder.entry(b"m", b"3"), Err(EncodeError::Differs { .. })));
    encoder.finish().unwrap();
}
