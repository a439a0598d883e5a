//! Ranges of keys with etcd's wire conventions, and maps over ranges.
//!
//! etcd's requests name keys by a pair of byte strings, `key` and `range_end`, with three conventions hidden in it:
//! an absent end means *exactly this key*, an end of one zero byte means *all keys from here on*, and anything else is
//! the first key that is no longer meant.
//! Confusing the first two is how permissions for one key came to cover all later ones in other implementations, so
//! the pair is turned into a [`KeyRange`] once, where the request is read, and only the typed form goes on: to reads,
//! deletes, watches and permissions alike.
//!
//! [`RangeMap`] answers the opposite question: given a key, which of many ranges contain it?
//! Watches and permissions are looked up with it.
//! Single keys, the common case, are kept in an ordered map; real ranges are kept in a balanced tree in which each node
//! knows the furthest end below it, so that a lookup costs `O(log n)` plus what it finds.
//! Equal ranges share one node: ten thousand watchers of one prefix are one node with ten thousand values.
//!
//! Keys compare as unsigned bytes.
//! An inverted range (its end is not after its start) is allowed, as on the wire, and contains nothing.
//!
//! ```
//! use etched_key_range::{KeyRange, RangeMap};
//!
//! let pods = KeyRange::from_wire("/pods/".into(), "/pods0".into());
//! assert_eq!(pods, KeyRange::prefix(b"/pods/"));
//! assert!(pods.contains(b"/pods/a") && !pods.contains(b"/services/a"));
//!
//! let mut watchers = RangeMap::new();
//! watchers.insert(pods, 1);
//! watchers.insert(KeyRange::single("/pods/a".into()), 2);
//! let mut found = Vec::new();
//! watchers.for_each_containing(b"/pods/a", |watcher| found.push(*watcher));
//! found.sort();
//! assert_eq!(found, [1, 2]);
//! ```
#![no_std]
extern crate alloc;

mod key_range;
mod range_map;

pub use key_range::{KeyRange, RangeEnd};
pub use range_map::RangeMap;
