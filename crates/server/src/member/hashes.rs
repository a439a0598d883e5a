//! Hashes over stored state, each on a thread of its own.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use etched_backend::{Backend, BackendError, ReadView, RedbBackend, Table};
use etched_replica::{Answer, ApiError, HashJob};
use etched_state_machine::HashPlan;

use crate::member::inbox::{Control, Inbox};

/// Starts a job; its result reaches the core thread through the inbox.
pub(crate) fn start(job: HashJob, backend: RedbBackend, inbox: Arc<Inbox>) -> std::io::Result<()> {
    // The view is taken here, before anything later is committed.
    let view = backend.view();
    std::thread::Builder::new().name("hash".into()).spawn(move || {
        let caller = job.caller();
        let result = run(job, view);
        let failure = result.as_ref().err().map(|error| format!("a hash cannot be computed: {error}"));
        let result = result.map_err(|error| ApiError::Storage(error.to_string()));
        inbox.push_control(Control::Answered { caller, result });
        // What is damaged for a hash is damaged for everybody.
        if let Some(failure) = failure {
            inbox.push_control(Control::Fatal(failure));
        }
    })?;
    Ok(())
}

fn run(job: HashJob, view: Result<impl ReadView, BackendError>) -> Result<Answer, BackendError> {
    let view = view?;
    match job {
        HashJob::Whole(_) => whole(&view).map(Answer::Hash),
        HashJob::Keys(_, HashPlan::Cached(hash)) => Ok(Answer::HashKv(hash)),
        HashJob::Keys(_, HashPlan::Walk(walk)) => walk.run(&view).map(Answer::HashKv),
    }
}

/// CRC-32C over all of etcd's tables in the order of their names: each name, then its keys and values.
/// What differs between equal members (the index and the term of the last entry, the version of the format) is left
/// out.
fn whole(view: &dyn ReadView) -> Result<u32, BackendError> {
    let mut tables = Table::BUCKETS;
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
