//! Hashes over stored state, each on a thread of its own.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use etched_backend::{Backend, BackendError, ReadView, RedbBackend, Table};
use etched_replica::{Answer, ApiError, Caller, HashJob};
use etched_state_machine::HashPlan;

use crate::member::inbox::{Control, Inbox};

/// Starts a job; its result reaches the core thread through the inbox.
pub(crate) fn start(job: HashJob, backend: RedbBackend, inbox: Arc<Inbox>) -> std::io::Result<()> {
    // The view is taken here, before anything later is committed.
    let view = backend.view();
    std::thread::Builder::new().name("hash".into()).spawn(move || {
        let (caller, result) = run(job, view);
        inbox.push_control(Control::Answered { caller, result });
    })?;
    Ok(())
}

fn run(job: HashJob, view: Result<impl ReadView, BackendError>) -> (Caller, Result<Answer, ApiError>) {
    match job {
        HashJob::Whole(caller) => (caller, answer(view.and_then(|view| whole(&view)).map(Answer::Hash))),
        HashJob::Keys(caller, plan) => {
            let hash = view.and_then(|view| match plan {
                HashPlan::Cached(hash) => Ok(hash),
                HashPlan::Walk(walk) => walk.run(&view),
            });
            (caller, answer(hash.map(Answer::HashKv)))
        }
    }
}

fn answer(result: Result<Answer, BackendError>) -> Result<Answer, ApiError> {
    result.map_err(|error| ApiError::Storage(error.to_string()))
}

/// CRC-32C over all tables in the order of their names: each name, then its keys and values.
/// What differs between equal members (the index and the term of the last entry, the version of the format) is left
/// out.
fn whole(view: &dyn ReadView) -> Result<u32, BackendError> {
    let mut tables = Table::ALL;
    tables.sort_by_key(|table| table.name());
    let mut hash = 0;
    for table in tables {
        hash = crc32c::crc32c_append(hash, table.name().as_bytes());
        view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            let is_own =
                table == Table::Meta && matches!(key, b"term" | b"consistent_index" | b"storageVersion");
            if !is_own {
                hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(hash)
}
