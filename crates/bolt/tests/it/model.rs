//! Buckets in memory, and the ways between them and a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use etched_bolt::{BoltFile, Content, EncodeError, Encoder, Layout, PageSize, Plan, ReadError};
use etched_disk::{Disk as _, RealDisk, SimDisk};

pub(crate) const PATH: &str = "/db";

/// A bucket: its sequence number and entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BucketContent {
    pub(crate) sequence: u64,
    pub(crate) entries: BTreeMap<Bytes, Bytes>,
}

/// All buckets of a file by name.
pub(crate) type Buckets = BTreeMap<Bytes, BucketContent>;

/// A bucket of entries whose keys and values are made of their number.
pub(crate) fn bucket(count: usize, key_bytes: usize, value_bytes: impl Fn(usize) -> usize) -> BucketContent {
    let entry = |at: usize| {
        let key = format!("{at:0key_bytes$}");
        let value = vec![u8::try_from(at % 251).unwrap(); value_bytes(at)];
        (key.into(), value.into())
    };
    BucketContent { sequence: count as u64, entries: (0..count).map(entry).collect() }
}

/// Buckets named `a`, `b` and so on.
pub(crate) fn named(contents: Vec<BucketContent>) -> Buckets {
    contents.into_iter().zip(b'a'..).map(|(content, name)| (vec![name].into(), content)).collect()
}

pub(crate) fn plan(buckets: &Buckets, size: PageSize) -> Layout {
    let mut plan = Plan::new(size);
    for (name, bucket) in buckets {
        plan.bucket(name, bucket.sequence).unwrap();
        for (key, value) in &bucket.entries {
            plan.entry(key.len(), value.len()).unwrap();
        }
    }
    plan.finish()
}

/// The chunks of a file that was planned for other buckets, perhaps.
pub(crate) fn encode_planned(
    buckets: &Buckets,
    layout: Layout,
    chunk_bytes: usize,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut chunks = Vec::new();
    let mut encoder = Encoder::new(layout, chunk_bytes, |chunk| {
        chunks.push(chunk);
        ControlFlow::Continue(())
    });
    for (name, bucket) in buckets {
        encoder.bucket(name)?;
        for (key, value) in &bucket.entries {
            encoder.entry(key, value)?;
        }
    }
    encoder.finish()?;
    Ok(chunks)
}

/// The file of these buckets.
pub(crate) fn encode(buckets: &Buckets, size: PageSize) -> Vec<u8> {
    let layout = plan(buckets, size);
    let file_bytes = layout.file_bytes();
    let chunks = encode_planned(buckets, layout, size.bytes() * 4).unwrap();
    assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= size.bytes() * 4));
    let bytes = chunks.concat();
    assert_eq!(bytes.len() as u64, file_bytes, "the file is as long as it was planned");
    bytes
}

pub(crate) fn disk_with(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.put_contents(Path::new(PATH), bytes);
    disk
}

pub(crate) fn open(bytes: &[u8]) -> Result<BoltFile, ReadError> {
    open_on(&disk_with(bytes))
}

pub(crate) fn open_on(disk: &SimDisk) -> Result<BoltFile, ReadError> {
    BoltFile::open(disk.open_read_only(Path::new(PATH)).unwrap())
}

pub(crate) fn open_real(path: &Path) -> BoltFile {
    BoltFile::open(RealDisk::new().open_read_only(path).unwrap()).unwrap()
}

/// Everything in a file, but for buckets within buckets, which stand as an empty value.
pub(crate) fn read(file: &BoltFile) -> Result<Buckets, ReadError> {
    let mut buckets = Buckets::new();
    for bucket in file.buckets() {
        let (name, bucket) = bucket?;
        let mut content = BucketContent { sequence: bucket.sequence(), ..BucketContent::default() };
        for entry in bucket.entries() {
            let entry = entry?;
            let value = match entry.content {
                Content::Value(value) => value,
                Content::Bucket(_) => Bytes::new(),
            };
            assert!(content.entries.insert(entry.key, value).is_none(), "a key comes once");
        }
        assert!(buckets.insert(name, content).is_none(), "a bucket comes once");
    }
    Ok(buckets)
}

/// The form that the Go program prints and reads.
pub(crate) fn dump(buckets: &Buckets) -> String {
    let mut text = String::new();
    for (name, bucket) in buckets {
        writeln!(text, "bucket {} {}", hex(name), bucket.sequence).unwrap();
        for (key, value) in &bucket.entries {
            writeln!(text, "{}={}", hex(key), hex(value)).unwrap();
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
