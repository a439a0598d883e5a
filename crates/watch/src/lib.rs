//! Who is told of which change.
//!
//! A client opens a *stream* and creates *watchers* on it; each watcher is told of every change of the keys in its
//! range, from a revision on, in order, without gaps and without repetition.
//! The [`Hub`] decides what each stream is sent.
//! It does no I/O and keeps no history: changes come in ([`Hub::publish`]), deliveries go out
//! ([`Hub::poll_delivery`]), and for what a watcher missed the hub asks ([`Hub::poll_history`], [`Hub::on_history`]).
//!
//! **A slow watcher is simply behind.**
//! Each stream has a budget of bytes that were handed out and not yet sent.
//! While there is room, events go out as they are published.
//! When there is none, the watcher leaves the live feed and remembers one number, the next revision it needs.
//! Once its stream has drained ([`Hub::on_consumed`]), it asks history, and rejoins the feed when it has caught up.
//! So memory is bounded by the budgets and not by the slowest reader, nobody waits for anybody, and nothing is ever
//! dropped; the one way to lose a watcher is that compaction removes what it still needs, which it is told.
//!
//! What is alike is done once: watchers with the same range and wishes form a group, an event is matched against
//! groups, and the list of events is shared by all receivers of the group.
//! Those that are behind by about the same share one history request.
//!
//! The revision in a response's header is a promise: every event up to it that its watcher asked for was delivered
//! before, or is in the response.
//! After the response that announces a watcher, that number never goes back.
//! (etcd puts the current revision into the partial responses of a watcher that is catching up, which promises too much;
//! here they carry the revision that they reach.)
//!
//! ```
//! use bytes::Bytes;
//! use etched_key_range::KeyRange;
//! use etched_watch::{Create, Event, EventKind, Filters, Hub, HubOptions, StreamId};
//!
//! let mut hub = Hub::new(HubOptions::default(), 1);
//! hub.open(StreamId(7), 0, 0);
//! hub.create(StreamId(7), Create {
//!     range: KeyRange::prefix(b"pods/"),
//!     start_revision: 0,
//!     filters: Filters::default(),
//!     prev_kv: false,
//!     progress_notify: false,
//!     fragment: false,
//!     watch_id: 0,
//! });
//! assert!(hub.poll_delivery().is_some_and(|delivery| delivery.response.created));
//!
//! let bytes = Bytes::from_static(b"an encoded event");
//! let kind = EventKind::Put { created: true };
//! hub.publish(2, &[Event { revision: 2, key: "pods/a".into(), kind, bytes: bytes.clone(), with_prev: None }]);
//! let delivery = hub.poll_delivery().expect("the watcher is at the head");
//! assert_eq!((delivery.response.revision, &delivery.response.events[..]), (2, &[bytes][..]));
//! hub.on_consumed(delivery.stream, delivery.bytes);
//! ```
#![no_std]
extern crate alloc;

mod event;
mod history;
mod hub;
mod response;

pub use event::{Create, Event, EventKind, Filters, Interest};
pub use history::{History, HistoryRequest};
pub use hub::{Counters, Hub, HubOptions};
pub use response::{Delivery, Response};

/// One watch stream of one client; the caller never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);
