//! Disks that fill up or fail: the log stops for good, and what it had promised is there afterwards.

use crate::model::content;
use crate::scripts::{Outcome, Script, crash_script, dir};
use etched_disk::{Faults, SimDisk};
use etched_wal::{Wal, WalError};
use std::sync::Arc;

/// Opens the log after the process ended, on the disk as it is, and again after a power loss.
fn check(script: &Script, outcome: &Outcome, disk: &SimDisk, context: &str) {
    disk.set_faults(Faults::default());
    let from = outcome.acknowledged.snapshot.clone();
    let states = outcome.acknowledged.prefixes(&outcome.pending);
    let open = |disk: SimDisk| {
        Wal::open(Arc::new(disk), dir(), &from, script.options).map(|(_wal, recovered)| content(&recovered))
    };
    let after_loss = match open(disk.synced_image()) {
        Ok(found) => found,
        Err(WalError::Missing { .. }) if !outcome.created => return,
        Err(error) => panic!("{context}, power loss: {error}"),
    };
    assert!(states.iter().any(|model| model.after(&from) == after_loss), "{context}: lost by the disk");
    let killed = disk.killed_image();
    let found = open(killed.clone()).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(states.iter().any(|model| model.after(&from) == found), "{context}: lost");
    let later = open(killed.synced_image()).unwrap_or_else(|error| panic!("{context}, later: {error}"));
    assert_eq!(later, found, "{context}: what was read once stays");
}

fn sweep(make: &dyn Fn(u64) -> Faults, step: u64) -> u64 {
    let script = crash_script();
    let mut failures = 0;
    for number in 1.. {
        let disk = SimDisk::new(number);
        disk.set_faults(make(number * step));
        let outcome = script.run(&disk);
        if outcome.error.is_none() {
            break;
        }
        failures += 1;
        check(&script, &outcome, &disk, &format!("{:?}", make(number * step)));
    }
    failures
}

#[test]
fn a_failed_sync_at_any_place_is_final_and_loses_nothing() {
    assert!(
        sweep(&|sync_fails_at| Faults { sync_fails_at: Some(sync_fails_at), ..Faults::default() }, 1) > 40
    );
}

#[test]
fn a_failed_write_at_any_place_is_final_and_loses_nothing() {
    assert!(
        sweep(&|write_fails_at| Faults { write_fails_at: Some(write_fails_at), ..Faults::default() }, 1) > 30
    );
}

#[test]
fn a_disk_that_fills_up_at_any_size_loses_nothing() {
    assert!(sweep(&|max| Faults { growth_bytes_max: Some(max), ..Faults::default() }, 128) > 40);
}

#[test]
fn a_read_that_fails_is_an_error_and_changes_nothing() {
    let script = crash_script();
    let disk = SimDisk::new(1);
    let outcome = script.run(&disk);
    let from = outcome.acknowledged.snapshot;
    let mut failures = 0;
    for number in 1.. {
        let image = disk.synced_image();
        image.set_faults(Faults { read_fails_at: Some(number), ..Faults::default() });
        match Wal::open(Arc::new(image.clone()), dir(), &from, script.options) {
            Ok(_) => break,
            Err(WalError::Disk(_)) => failures += 1,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(image.operations(), 0);
    }
    assert!(failures >= 2);
}
