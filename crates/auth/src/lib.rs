//! Users, roles, and who may touch which keys.
//!
//! A user has roles, a role has permissions, and a permission is for a key or a range of keys.
//! While authentication is on, each request is made by somebody, and what it may do is what the roles of its user allow.
//!
//! [`Auth`] is *replicated*: users, roles, the switch, and a revision that grows with each change of them.
//! It changes only as committed operations say ([`Auth::apply`]), is the same on all members, and is stored as etcd
//! stores it, byte for byte.
//! A request carries its [`Principal`] (a name, and the revision at which the name was believed) through the log, and
//! is judged where it is applied, between the operations before and after it: whoever lost a right just before is
//! refused, on every member alike.
//! A principal that is older than the present revision is refused as well, since its name may mean somebody else.
//!
//! How a principal comes to be is each member's own affair.
//! A connection has [`Credentials`]: nothing, a name from a certificate, a token.
//! [`SimpleTokens`] knows the tokens that stand for users by themselves; of those that are signed, the shell has checked
//! the signature before.
//! Passwords are hashed and compared by [`password`], which is slow by intention: never where requests are applied.
//!
//! The permissions of a user are merged into disjoint spans, once for each change: a single key must be in one of them,
//! and a range must be covered by one; that two roles together cover it is enough.
//! A user that has the role `root` may do everything.
//!
//! The crate refuses clocks, randomness and texts for users: time is an argument in nanoseconds, a salt is an argument,
//! a [`Refusal`] is a value.
//!
//! ```
//! use etched_auth::{Access, Auth, Operation, Permission, Principal, Refusal, Secret};
//! use etched_backend::Batch;
//! use etched_key_range::KeyRange;
//!
//! let mut auth = Auth::default();
//! let mut batch = Batch::new();
//! let mut apply = |operation| auth.apply(&operation, 1, &mut batch);
//! let user = |name: &str| Operation::UserAdd {
//!     name: name.into(),
//!     password: Secret::default(),
//!     hashed_password: Secret::default(),
//!     no_password: Some(true),
//! };
//! let grant = |user: &str, role: &str| Operation::UserGrantRole { user: user.into(), role: role.into() };
//! apply(user("root"))?;
//! apply(grant("root", "root"))?;
//! apply(user("alice"))?;
//! apply(Operation::RoleAdd { name: "reader".into() })?;
//! let permission = Permission { access: Access::Read, key: "pods/".into(), range_end: "pods0".into() };
//! apply(Operation::RoleGrantPermission { role: "reader".into(), permission: Some(permission) })?;
//! apply(grant("alice", "reader"))?;
//! apply(Operation::Enable)?;
//!
//! let alice = Principal { user: "alice".into(), revision: auth.revision() };
//! assert_eq!(auth.permit_read(Some(&alice), &KeyRange::prefix(b"pods/")), Ok(()));
//! assert_eq!(auth.permit_write(Some(&alice), &KeyRange::single("pods/a".into())), Err(Refusal::PermissionDenied));
//! assert_eq!(auth.permit_read(None, &KeyRange::all()), Err(Refusal::UserEmpty));
//! # Ok::<(), Refusal>(())
//! ```
#![no_std]
extern crate alloc;

mod credentials;
mod operation;
pub mod password;
mod permission;
mod refusal;
mod roles;
mod schema;
mod spans;
mod store;
mod tokens;
mod users;

pub use credentials::{Credentials, Principal};
pub use operation::{Done, Operation, Secret, TokenChange};
pub use permission::{Access, Permission};
pub use refusal::Refusal;
pub use store::{Auth, RestoreError};
pub use tokens::{SimpleToken, SimpleTokens, simple_token};
