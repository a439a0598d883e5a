//! bbolt files, the form of etcd's database and of its snapshots: read one, check one, stream one.
//!
//! etched keeps its state elsewhere; this is for interchange.
//! A snapshot taken here restores in etcd, one taken there restores here, and a directory of etcd can be taken over.
//!
//! Reading: [`BoltFile`] opens a file and shows its [`Bucket`]s, whose [`Entries`] come in the order of their keys.
//! [`BoltFile::check`] looks at every page, as `bbolt check` does, and says how the space is used.
//! Nothing is mapped into memory; a walk holds a page a level and 256 KiB.
//! Every page is checked when it is read, so no file makes the reader panic or run for ever: what cannot be is an
//! error that names the page and the reason. bbolt has no checksums but in its meta pages, so a flipped bit *within* a
//! key or value mostly goes unseen; a snapshot has one at its end ([`verify_snapshot`]).
//!
//! Writing goes twice over the entries, because a client wants to know the length of a snapshot before its first byte,
//! and because the pages at the front point to those at the end.
//! First a [`Plan`] is told the *lengths* of all keys and values; it remembers no entry, only where it is, and ends as
//! a [`Layout`]. Then an [`Encoder`] is fed the entries themselves and gives out exactly that file, front to back, in
//! chunks, without a seek. It refuses entries that differ from the plan.
//! The alternative, a branch page for all leaves at the end, would need a key and a number for each leaf; here a
//! branch is written as soon as its leaves are.
//!
//! [`plan_tables`], [`encode_tables`] and [`import_tables`] do this with the tables of a backend, [`FileView`] shows a
//! file as such tables without reading it in, [`Incremental`] reads such a file while it
//! comes in, [`Trailer`] makes the checksum. What is refused: writing into an existing file, buckets within buckets when writing, big-endian files.
//!
//! ```
//! use etched_bolt::{BoltFile, Content, Encoder, PageSize, Plan};
//! use etched_disk::{Disk, SimDisk};
//! use std::ops::ControlFlow;
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut plan = Plan::new(PageSize::USUAL);
//! plan.bucket(b"cluster", 0)?;
//! plan.entry(b"clusterVersion".len(), b"3.7.0".len())?;
//! let layout = plan.finish();
//! let file_bytes = layout.file_bytes();
//!
//! let mut bytes = Vec::new();
//! let mut encoder = Encoder::new(layout, 64 << 10, |chunk| {
//!     bytes.extend_from_slice(&chunk);
//!     ControlFlow::Continue(())
//! });
//! encoder.bucket(b"cluster")?;
//! encoder.entry(b"clusterVersion", b"3.7.0")?;
//! encoder.finish()?;
//! assert_eq!(bytes.len() as u64, file_bytes);
//!
//! let (disk, path) = (SimDisk::new(1), Path::new("/db"));
//! disk.put_contents(path, &bytes);
//! let file = BoltFile::open(disk.open_read_only(path)?)?;
//! let cluster = file.bucket(b"cluster")?.expect("it was written");
//! let Some(Content::Value(version)) = cluster.get(b"clusterVersion")? else { panic!("it was written") };
//! assert_eq!(&version[..], b"3.7.0");
//! assert!(file.check()?.is_clean());
//! # Ok(())
//! # }
//! ```

mod check;
mod encoder;
mod entries;
mod error;
mod format;
mod incremental;
mod layout;
mod page;
mod plan;
mod reader;
mod tables;
mod trailer;
mod view;

pub use check::{BucketSummary, Finding, PageCounts, Problem, Report};
pub use encoder::{EncodeError, Encoder};
pub use entries::Entries;
pub use error::{Flaw, ReadError};
pub use format::{KEY_BYTES_MAX, Meta, MetaFlaw, PageId, PageSize, VALUE_BYTES_MAX};
pub use incremental::{Incremental, Roots, RootsError};
pub use plan::{Layout, Plan, PlanError};
pub use reader::{BoltFile, Bucket, Content, Entry};
pub use tables::{
    Batches, ExportError, ImportError, encode_tables, etcd_buckets, import_tables, plan_tables,
    plan_tables_by,
};
pub use trailer::{SnapshotError, TRAILER_BYTES, Trailer, database_bytes, verify_snapshot};
pub use view::FileView;
