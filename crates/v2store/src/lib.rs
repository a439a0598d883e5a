//! The tree of etcd's v2 API, which etcd removed in 3.6 and old clients still speak.
//!
//! A [`Store`] holds *nodes*: values, and directories of nodes, each with the index of its creation and of its last
//! change, and perhaps a time at which it expires.
//! [`Store::apply`] makes one change and gives the [`Event`] that the client gets; each change has an index of its own,
//! one more than the change before.
//! The last 1,000 events are kept, so that a client that saw index *n* can ask for what happened since
//! ([`Store::begin_watch`]); who finds nothing waits among the [`Waiters`] of its member.
//!
//! The store is replicated: the same changes in the same order give the same events, the same refusals and the same
//! records on every member.
//! So there is no clock here.
//! A request carries the time of the member that it was sent to, and nodes expire when a member says so
//! ([`Store::expire`]) in an entry of the log.
//!
//! Refusals ([`Error`]) have the numbers and texts that clients match on; all of them are asked for before a change
//! begins, so that a refused request changes nothing but a count.
//!
//! What changed is handed out as [`Record`]s ([`Store::take_records`]), and [`Store::restore`] makes the same store of
//! all of them; where they are kept in between is not known here.
//!
//! Users and roles of the v2 API ([`AuthChange`], [`AuthView`]) stand in the same tree, in a namespace of their own
//! ([`PERMISSIONS`]) beside the one of the keys ([`KEYS`]). Paths are given with the namespace in front, and taken away
//! from it when they are written as JSON.
//!
//! ```
//! use etched_v2store::{Depth, Request, Store, What, Written};
//!
//! let mut store = Store::default();
//! let written = Written { value: "bar".into(), ..Written::default() };
//! let request = Request { path: "/1/foo".into(), what: What::Set(written), now_ns: 0 };
//! let reply = store.apply(&request)?;
//! assert_eq!(
//!     reply.event.to_json("/1"),
//!     r#"{"action":"set","node":{"key":"/foo","value":"bar","modifiedIndex":4,"createdIndex":4}}"#
//! );
//! assert_eq!(store.read("/1/foo", Depth::One, 0)?.index, 4);
//! # Ok::<(), etched_v2store::Error>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod auth;
mod error;
mod event;
mod history;
mod json;
mod path;
mod stats;
mod store;
mod time;
mod waiters;

pub use auth::{
    Access, AuthChange, AuthDone, AuthError, AuthView, GUEST, Paths, Permissions, ROOT, Role, User,
};
pub use error::{Code, Error};
pub use event::{Action, Event, Expiry, NodeView};
pub use history::{EVENTS_MAX, Watched};
pub use path::{PATH_BYTES_MAX, PATH_NAMES_MAX, clean};
pub use stats::{Stats, Tally};
pub use store::{
    Begun, Compared, Depth, KEYS, PERMISSIONS, Record, Reply, Request, RestoreError, Store, What, Written,
};
pub use time::rfc3339;
pub use waiters::Waiters;
