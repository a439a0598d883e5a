//! Who is told of which change.
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

/// One watch stream of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);
