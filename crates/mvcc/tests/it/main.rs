//! The store from outside: against the model, and against what etcd is known to do.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod answers;
mod damage;
mod golden;
mod model;
mod power_loss;
mod scenarios;
mod world;
