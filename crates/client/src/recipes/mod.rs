//! Locks and elections, as the keys of a cluster: the recipes that etcd's own clients use.
//!
//! Whoever wants a lock or an office puts a key of its own below the name, attached to the lease of its [`Session`].
//! The keys stand in line by their creation revisions, and the first one has it.
//! Clients of etcd in other languages, `etcdctl` and the server's services `Lock` and `Election` stand in the same lines.

mod election;
mod mutex;
mod place;
mod session;

pub use election::{Election, ElectionError, Leader, Leadership, Observer};
pub use mutex::{LockError, LockHeld, Mutex};
pub use session::{SESSION_TTL_SECONDS, Session};
