//! The store from outside: against the model, and against what etcd is known to do.

mod answers;
mod damage;
mod golden;
mod model;
mod scenarios;
mod world;
