//! The power goes at every operation of a life, also while the log is opened again: what was acknowledged is there.

use crate::model::{Model, content};
use crate::scripts::{Outcome, Script, crash_script, dir};
use etched_disk::{Faults, SimDisk};
use etched_wal::{Recovered, SnapshotRecord, Wal, WalError};
use std::sync::Arc;

const SEEDS: u64 = 12;

/// Opens the log from the newest snapshot that it and the caller know, and checks what it holds. Returns that.
fn check(
    script: &Script,
    outcome: &Outcome,
    disk: &SimDisk,
    context: &str,
) -> Option<(Model, SnapshotRecord)> {
    let from = outcome.acknowledged.snapshot.clone();
    match open(script, disk, &from) {
        Ok(recovered) => {
            let states = outcome.acknowledged.prefixes(&outcome.pending);
            let found = states.into_iter().find(|model| content(&recovered) == model.after(&from));
            let found = found.unwrap_or_else(|| panic!("{context}: lost\n{recovered:?}\n{outcome:?}"));
            Some((found, from))
        }
        Err(WalError::Missing { .. }) if !outcome.created => None,
        Err(error) => panic!("{context}: {error}: {:?}", std::error::Error::source(&error)),
    }
}

fn open(script: &Script, disk: &SimDisk, from: &SnapshotRecord) -> Result<Recovered, WalError> {
    Wal::open(Arc::new(disk.clone()), dir(), from, script.options).map(|(_wal, recovered)| recovered)
}

/// Runs `visit` on the disk and outcome of the script, interrupted at each operation in turn.
fn at_every_operation(visit: &mut dyn FnMut(&Script, &Outcome, &SimDisk, u64)) {
    let script = crash_script();
    for operation in 1.. {
        let disk = SimDisk::new(operation);
        disk.set_faults(Faults { crash_at: Some(operation), ..Faults::default() });
        let outcome = script.run(&disk);
        if !disk.is_crashed() {
            assert!(outcome.error.is_none() && operation > 60);
            return;
        }
        visit(&script, &outcome, &disk, operation);
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    at_every_operation(&mut |script, outcome, disk, operation| {
        for seed in 0..SEEDS {
            let context = format!("operation {operation} seed {seed}");
            check(script, outcome, &disk.crash_image(seed), &context);
        }
    });
}

#[test]
fn what_a_killed_writer_left_is_on_the_disk_once_it_was_read() {
    at_every_operation(&mut |script, outcome, disk, operation| {
        let killed = disk.killed_image();
        let context = format!("operation {operation}, killed");
        if let Some((found, from)) = check(script, outcome, &killed, &context) {
            let recovered = open(script, &killed.synced_image(), &from).unwrap();
            assert_eq!(content(&recovered), found.after(&from), "{context}, then without power");
        }
    });
}

#[test]
fn a_crash_while_opening_after_a_crash_loses_nothing() {
    at_every_operation(&mut |script, outcome, disk, operation| {
        let from = outcome.acknowledged.snapshot.clone();
        let first_seed = operation % SEEDS;
        for again in 1.. {
            let image = disk.crash_image(first_seed);
            image.set_faults(Faults { crash_at: Some(again), ..Faults::default() });
            let _ = open(script, &image, &from);
            if !image.is_crashed() {
                break;
            }
            for seed in 0..4 {
                let context = format!("operation {operation} seed {first_seed}, opening {again} seed {seed}");
                check(script, outcome, &image.crash_image(seed), &context);
            }
        }
    });
}

#[test]
fn a_log_that_survived_goes_on() {
    at_every_operation(&mut |script, outcome, disk, operation| {
        let image = disk.crash_image(operation);
        let context = format!("operation {operation}");
        let Some((mut model, from)) = check(script, outcome, &image, &context) else {
            let created = Wal::create(Arc::new(image), dir(), b"again", script.options);
            assert!(created.is_ok(), "{context}: what did not come into being can be made");
            return;
        };
        let (mut wal, _) = Wal::open(Arc::new(image.clone()), dir(), &from, script.options).unwrap();
        for _ in 0..6 {
            let (term, index) = (9, wal.last_index() + 1);
            let entry = crate::model::entry(term, index, crate::scripts::filled(600, 7));
            let state = crate::model::state(term, 1, index - 1);
            wal.append(std::slice::from_ref(&entry), Some(&state));
            wal.sync().unwrap();
            model.apply(&crate::model::Record::Entry(entry));
            model.apply(&crate::model::Record::State(state));
        }
        drop(wal);
        let recovered = open(script, &image.synced_image(), &from).unwrap();
        assert_eq!(content(&recovered), model.after(&from), "{context}");
        assert_eq!(recovered.torn_tail, None);
    });
}
