//! An asynchronous client for etcd v3 and for etched.
//!
//! [`Client::connect`] takes the endpoints of a cluster. Requests are values ([`Get`], [`Put`], [`Delete`], [`Txn`],
//! [`WatchOptions`]), which methods of the client send; answers are the messages of the protocol (module [`proto`]).
//!
//! ```no_run
//! use etched_client::{Client, Compare, Get, Keys, Options, Put, Txn};
//!
//! # async fn example() -> Result<(), etched_client::Error> {
//! let client = Client::connect(["127.0.0.1:2379"], Options::default()).await?;
//! client.put(Put::new("jobs/1", "ready")).await?;
//! let jobs = client.get(Get::new(Keys::prefix("jobs/")).limit(100)).await?;
//! let taken = client
//!     .txn(
//!         Txn::new()
//!             .when([Compare::value("jobs/1").equal_to("ready")])
//!             .then([Put::new("jobs/1", "taken").into()]),
//!     )
//!     .await?;
//! println!("{} jobs, first one taken: {}", jobs.count, taken.succeeded);
//! # Ok(()) }
//! ```
//!
//! Three promises shape the crate.
//!
//! **A change is never sent twice.** A request is repeated on its own only if it has no effects, or if it is certain
//! that it was not executed: the connection could not be made, or a server refused it because it had no leader.
//! If the answer to a change is lost, that is [`Error::OutcomeUnknown`], and what to do is the caller's decision.
//!
//! **A watch has no gaps and no repetitions.** It survives broken connections and members, asking the next one for
//! what follows the last event it delivered. Where that is compacted, it says so ([`Error::Compacted`]) and ends.
//! A slow reader holds up neither other watches nor memory: its watch pauses, and goes on where it stood.
//!
//! **A keep-alive knows when not to trust its lease.** The time of a lease counts from when its renewal was sent;
//! when that is over without an answer, [`LeaseState::Doubtful`] says so, although renewal is tried until the server
//! says that the lease is gone.
//!
//! Requests go to each reachable member in turn, or to a preferred one until it fails ([`Balance`]).
//! Endpoints are TCP addresses or Unix sockets, with TLS ([`Tls`]) or without.
//! With [`Credentials`] every request carries a token, which is renewed when servers forget it.
//! The crate needs a tokio runtime.

mod auth;
mod backoff;
mod client;
mod cluster;
mod dialler;
mod endpoint;
mod error;
mod http;
mod keys;
mod kv;
mod lease;
mod mailbox;
mod maintenance;
mod mirror;
mod namespace;
mod options;
mod pool;
mod recipes;
mod tls;
mod watch;

pub use auth::{Access, Credentials};
pub use client::Client;
pub use error::{Error, ErrorKind, Fate};
pub use keys::Keys;
pub use kv::{Compare, CompareSubject, Delete, Get, Op, Put, RangeChunks, Txn};
pub use lease::{Gone, KeepAlive, LeaseState};
pub use maintenance::Snapshot;
pub use mirror::Mirror;
pub use options::{Balance, Options};
pub use recipes::{
    Election, ElectionError, Leader, Leadership, LockError, LockHeld, Mutex, Observer, SESSION_TTL_SECONDS,
    Session,
};
pub use tls::{Tls, TlsBuilder, TlsError};
pub use watch::{Watch, WatchNotice, WatchOptions};

/// The messages of the protocol, which are the answers of the client.
pub mod proto {
    pub use etched_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
    pub use etched_proto::{authpb, etcdserverpb, mvccpb};
    pub use tonic::Code;
}
