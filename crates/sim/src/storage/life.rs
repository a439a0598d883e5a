//! What a member does to its storage between two starts.

use std::ops::RangeInclusive;

use bytes::Bytes;
use etched_backend::{Backend, BackendError, Batch, Durability, Table};
use etched_disk::Faults;
use etched_wal::{Entry, HardState, SnapshotRecord, WalError};

use super::Simulation;
use super::model::{APPLIED_KEY, Record, changes, payload};
use super::rig::Rig;

/// Steps of a life that nothing ends before.
const STEPS: RangeInclusive<u64> = 4..=40;

/// Why a life ended early.
#[derive(Debug, thiserror::Error)]
enum Death {
    #[error("log: {0}")]
    Wal(#[from] WalError),
    #[error("backend: {0}")]
    Backend(#[from] BackendError),
    #[error("{0}")]
    Broken(String),
}

/// Lives until a fault strikes or enough was done, and dies.
pub(super) fn live(simulation: &mut Simulation, mut rig: Rig) -> Result<(), String> {
    let has_faults = simulation.faults != Faults::default();
    let steps = simulation.random.between(*STEPS.start(), *STEPS.end());
    for _ in 0..steps {
        match step(simulation, &mut rig) {
            Ok(()) => {}
            Err(Death::Broken(what)) => return Err(what),
            Err(death) if !has_faults => return Err(format!("failed without a fault of the disk: {death}")),
            Err(_) => return end_by_fault(simulation, rig),
        }
    }
    if simulation.disk.is_crashed() {
        return end_by_fault(simulation, rig);
    }
    simulation.disk.set_faults(Faults::default());
    if simulation.random.below(4) == 0 {
        return close(simulation, rig);
    }
    simulation.end_without_crash();
    drop(rig);
    Ok(())
}

/// The image of the disk is taken while everything is still open: what the drop of the backend writes is lost.
fn end_by_fault(simulation: &mut Simulation, rig: Rig) -> Result<(), String> {
    if simulation.disk.is_crashed() {
        simulation.counts.power_losses += 1;
        simulation.lose_power();
    } else {
        let faults = simulation.faults;
        simulation.count_failures(faults);
        simulation.end_without_crash();
    }
    drop(rig);
    Ok(())
}

fn close(simulation: &mut Simulation, rig: Rig) -> Result<(), String> {
    let Rig { wal, backend, .. } = rig;
    wal.close().map_err(|error| format!("the log does not close: {error}"))?;
    let applied = simulation.model.applied;
    simulation.model.begin_commit(applied);
    backend
        .commit(&Batch::new(), Durability::Synced)
        .map_err(|error| format!("the backend does not close: {error}"))?;
    simulation.model.end_commit(applied, true);
    drop(backend);
    simulation.counts.closes += 1;
    if simulation.random.below(2) == 0 {
        simulation.kill();
    } else {
        simulation.lose_power();
    }
    Ok(())
}

fn step(simulation: &mut Simulation, rig: &mut Rig) -> Result<(), Death> {
    let drawn = simulation.random.below(100);
    match drawn {
        0..=39 => write(simulation, rig)?,
        40..=46 => take_back(simulation, rig)?,
        47..=50 => vote(simulation, rig)?,
        51..=64 => {
            let (low, high) = (simulation.model.commit, simulation.model.log.last_index());
            let index = simulation.random.between(low, high.max(low));
            simulation.model.commit_to(index);
        }
        65..=78 => commit(simulation, rig, Durability::Buffered)?,
        79..=84 => commit(simulation, rig, Durability::Synced)?,
        85..=90 => snapshot(simulation, rig)?,
        91..=94 => rig.wal.seal()?,
        95..=97 => prepare_spare(simulation, rig)?,
        _ => check(simulation, rig)?,
    }
    simulation.event("step", drawn << 32 | simulation.disk.operations());
    Ok(())
}

/// Entries of the present term, at the end.
fn write(simulation: &mut Simulation, rig: &mut Rig) -> Result<(), Death> {
    let count = simulation.random.between(1, 4);
    let model = &mut simulation.model;
    let mut state = model.log.state;
    let is_new_term = state.term == 0 || simulation.random.below(12) == 0;
    if is_new_term {
        state = HardState { term: state.term + 1, vote: simulation.random.below(3), ..state };
    }
    state.commit = model.commit;
    let first = model.log.last_index() + 1;
    let entries: Vec<Entry> = (first..first + count).map(|index| entry(state.term, index)).collect();
    let with_state = is_new_term || simulation.random.below(2) == 0;
    write_batch(simulation, rig, &entries, with_state.then_some(state))
}

/// Another leader's entries replace some that are not committed.
fn take_back(simulation: &mut Simulation, rig: &mut Rig) -> Result<(), Death> {
    let model = &simulation.model;
    let (low, high) = (model.commit + 1, model.log.last_index());
    if low > high {
        return Ok(());
    }
    let state = HardState { term: model.log.state.term + 1, vote: 0, commit: model.commit };
    let first = simulation.random.between(low, high);
    let count = simulation.random.between(1, 3);
    let entries: Vec<Entry> = (first..first + count).map(|index| entry(state.term, index)).collect();
    simulation.counts.conflicts += 1;
    write_batch(simulation, rig, &entries, Some(state))
}

fn vote(simulation: &mut Simulation, rig: &mut Rig) -> Result<(), Death> {
    let model = &simulation.model;
    let term = model.log.state.term + 1;
    let state = HardState { term, vote: simulation.random.between(1, 3), commit: model.commit };
    write_batch(simulation, rig, &[], Some(state))
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { term, index, kind: 0, data: payload(term, index) }
}

fn write_batch(
    simulation: &mut Simulation,
    rig: &mut Rig,
    entries: &[Entry],
    state: Option<HardState>,
) -> Result<(), Death> {
    let records = entries.iter().cloned().map(Record::Entry);
    simulation.model.pending = if simulation.random.below(2) == 0 {
        rig.wal.append(entries, state.as_ref());
        records.chain(state.map(Record::State)).collect()
    } else {
        rig.wal.append(&[], state.as_ref());
        rig.wal.append(entries, None);
        state.map(Record::State).into_iter().chain(records).collect()
    };
    sync(simulation, rig)
}

fn sync(simulation: &mut Simulation, rig: &mut Rig) -> Result<(), Death> {
    rig.wal.sync()?;
    simulation.model.acknowledge();
    simulation.counts.batches += 1;
    Ok(())
}

/// Applies some of what is committed and on the disk.
fn commit(simulation: &mut Simulation, rig: &mut Rig, durability: Durability) -> Result<(), Death> {
    let model = &mut simulation.model;
    let to = model.commit.min(model.log.last_index());
    let index = simulation.random.between(model.applied, to.max(model.applied));
    let mut batch = Batch::new();
    for entry in model.applicable(index) {
        batch.append(changes(entry));
    }
    if index > model.applied {
        batch.put(Table::Meta, APPLIED_KEY, index.to_be_bytes().to_vec());
    }
    model.begin_commit(index);
    rig.backend.commit(&batch, durability)?;
    model.end_commit(index, durability == Durability::Synced);
    match durability {
        Durability::Buffered => simulation.counts.buffered_commits += 1,
        Durability::Synced => simulation.counts.synced_commits += 1,
    }
    Ok(())
}

/// What the backend has on the disk needs no log any more.
fn snapshot(simulation: &mut Simulation, rig: &mut Rig) -> Result<(), Death> {
    let model = &simulation.model;
    let index = model.durable();
    let term = match model.log.term_of(index) {
        Some(term) if index > model.log.snapshot.index => term,
        Some(_) | None => return Ok(()),
    };
    let conf_state = (simulation.random.below(2) == 0).then(|| Bytes::from_static(&[0x08, 1]));
    let record = SnapshotRecord { index, term, conf_state };
    Rig::write_snapshot(&simulation.disk, &record)?;
    let state = HardState { commit: model.commit, ..model.log.state };
    rig.wal.append(&[], Some(&state));
    rig.wal.append_snapshot(&record);
    simulation.model.pending = vec![Record::State(state), Record::Snapshot(record)];
    sync(simulation, rig)?;
    simulation.counts.snapshots += 1;
    simulation.counts.segments_released += rig.wal.release(index)? as u64;
    Rig::purge_snapshots(&simulation.disk)?;
    Ok(())
}

fn prepare_spare(simulation: &mut Simulation, rig: &mut Rig) -> Result<(), Death> {
    if let Some(request) = rig.wal.spare_request() {
        rig.wal.add_spare(request.prepare()?);
        simulation.counts.spares += 1;
    }
    Ok(())
}

/// What the backend shows while it lives.
fn check(simulation: &mut Simulation, rig: &Rig) -> Result<(), Death> {
    let content = rig.content()?;
    if content == simulation.model.content_at(simulation.model.applied) {
        return Ok(());
    }
    Err(Death::Broken(format!(
        "the backend does not show what was applied up to {}",
        simulation.model.applied
    )))
}
