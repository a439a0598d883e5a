//! `hashkv`: the hash by which members compare what they have, of a file.

use etched_state_machine::{HashKv, HashPlan, Options, StateMachine};

use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::utl::print::{Cell, Format};
use crate::utl::stored::{Stored, check_exists};
use crate::utl::{failed, path_of, patience};

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let format = Format::of(args)?;
    let path = path_of(args.all().first().map_or(&[], Vec::as_slice));
    check_exists(&path)?;
    let stored = Stored::open(&path, "hashing", patience(args))?;
    let hash = compute(&stored, args.int("rev"))?;
    drop(stored);
    format.print(&cells(hash))
}

fn compute(stored: &Stored, revision: i64) -> Result<HashKv, Failure> {
    let machine = StateMachine::restore(stored.view(), Options::default()).map_err(failed)?;
    let plan = machine.store().hash_plan(revision).map_err(|error| {
        // In the words of etcd.
        Failure::new(Exit::Request, format!("mvcc: {}", error.to_string().trim_start_matches("the ")))
    })?;
    match plan {
        HashPlan::Cached(hash) => Ok(hash),
        HashPlan::Walk(walk) => walk.run(stored.view()).map_err(failed),
    }
}

fn cells(hash: HashKv) -> [Cell; 3] {
    let HashKv { hash, compact_revision, hash_revision } = hash;
    let cell = |heading, field, json, value: String| Cell {
        heading,
        shown: value.clone(),
        field: (field, value.clone()),
        json: (json, value),
    };
    [
        cell("HASH", "Hash", "hash", hash.to_string()),
        cell("HASH REVISION", "Hash revision", "hashRevision", hash_revision.to_string()),
        cell("COMPACT REVISION", "Compact revision", "compactRevision", compact_revision.to_string()),
    ]
}
