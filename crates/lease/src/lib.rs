//! Which keys a lease holds, and the leader's clock over them.
//!
//! A lease is a promise to keep some keys for a while, renewed by its owner; when it ends, its keys go.
//! Two things with different lives belong to it, and they are two types here.
//!
//! [`Leases`] is *replicated*: which leases exist, their time to live, the keys attached to them.
//! It changes only as committed commands say, is the same on all members, and is stored in [`Table::Lease`], but for
//! the attachments, which are rebuilt from the keys themselves.
//! It knows no time at all.
//!
//! [`LeaseClock`] is *the leader's*: when each lease runs out.
//! It starts when the member becomes leader and ends when it stops being that, so only one clock in a cluster counts.
//! The clock never ends a lease.
//! It names those that have run out ([`LeaseClock::poll_expired`]), the leader proposes their revocation, and only that
//! command, once it is applied, ends them: an old leader whose proposals no one accepts ends nothing.
//! For the same reason a lease that has run out cannot be renewed, although it still exists: its revocation may be on
//! its way.
//!
//! A new leader cannot know how long the leases still had, so each starts anew; a long lease could so live for ever
//! where leaders change often.
//! Therefore the clock asks now and then for a *checkpoint* of the remaining life ([`LeaseClock::poll_checkpoints`]),
//! which is replicated and from which the next leader goes on.
//!
//! Time is nanoseconds of a monotonic clock, always an argument; times to live are whole seconds, as on the wire.
//!
//! ```
//! use etched_backend::Batch;
//! use etched_lease::{LeaseClock, Leases, Renewal};
//!
//! const SECOND: u64 = 1_000_000_000;
//! let mut batch = Batch::new();
//! let mut leases = Leases::new();
//! let mut clock = LeaseClock::default();
//! clock.promote(0, 0, &leases);
//!
//! leases.grant(7, 10, &mut batch)?;
//! clock.on_granted(7, 10, 0);
//! leases.attach(7, "lock".into());
//! assert_eq!(clock.renew(7, &leases, 5 * SECOND), Renewal::Renewed { ttl: 10, clear_checkpoint: false });
//!
//! assert!(clock.poll_expired(14 * SECOND, 100).is_empty());
//! assert_eq!(clock.poll_expired(15 * SECOND, 100), [7]);
//! assert_eq!(clock.renew(7, &leases, 15 * SECOND), Renewal::Expired);
//! assert_eq!(leases.revoke(7, &mut batch)?, ["lock"]);
//! clock.on_revoked(7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Table::Lease`]: etched_backend::Table::Lease
#![no_std]
extern crate alloc;

mod clock;
mod leases;
mod schema;

pub use clock::{ClockOptions, LeaseClock, Renewal, ttl_min_seconds};
pub use leases::{GrantError, Lease, Leases, NotFound, RestoreError, TTL_MAX};
