//! The executable reference: what the store must do, written for being obviously right.
//!
//! A model keeps what happened and answers by going through it; nothing in it is clever.
//! It knows nothing of how the real thing is built and uses none of its code, not even its encoders: where the two
//! agree on long random histories, both are right or both misread the specification in the same way.
//!
//! - [`kv`] is the key space: transactions, ranges, history, compaction, hash.
//! - [`lease`] is leases and the leader's clock; [`watch`] replays all events against what a watcher was sent.
//! - [`history`] judges what clients of a whole cluster were told: linearizability, watches, leases, compaction.
//!
//! What is refused here: speed. An answer takes as long as there were changes.
//!
//! ```
//! use etched_model::kv::{Kv, Query, Write};
//!
//! let mut kv = Kv::new();
//! kv.txn(&[Write::put("fox", "red", 0)]);
//! kv.txn(&[Write::put("fox", "grey", 0), Write::put("owl", "brown", 0)]);
//! kv.txn(&[Write::delete("fox", "")]);
//!
//! let all = Query { key: vec![0], range_end: vec![0], ..Query::default() };
//! assert_eq!(kv.range(&all).map(|answer| answer.count), Ok(1));
//! let before = kv.range(&Query { revision: 3, ..all }).map(|answer| answer.records);
//! let before = before.expect("nothing was compacted");
//! assert_eq!((before[0].value.as_slice(), before[0].version), (b"grey".as_slice(), 2));
//! ```

mod crc;
pub mod history;
pub mod kv;
pub mod lease;
pub mod watch;
