//! Power is lost at every operation of a short script, and at every operation of the recovery after it.
//!
//! What has to hold: the state after the crash is the one after some commit of the script, not an older one than the
//! last that was acknowledged as synced, and never a part of one.

use std::collections::BTreeMap;

use etched_disk::{Faults, SimDisk};

use super::*;

/// The commits of the script: what they write follows from their number.
const COMMITS: u8 = 14;

fn durability(number: u8) -> Durability {
    if number.is_multiple_of(3) { Durability::Synced } else { Durability::Buffered }
}

/// Commit `number`: a mark of itself, a key of its own, a shared one, one that is deleted later, a large value.
fn batch(number: u8) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Meta, "number", vec![number]);
    batch.put(Table::Key, vec![number], vec![number; 40]);
    batch.put(Table::Lease, "shared", vec![number; usize::from(number)]);
    batch.delete(Table::Key, vec![number.wrapping_sub(4)]);
    batch.put(Table::Catalog, "block", vec![number; 100 * usize::from(number)]);
    if number.is_multiple_of(4) {
        batch.put(Table::Auth, "large", vec![number; 20_000]);
    }
    batch
}

type State = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// The state after each commit.
fn model() -> Vec<State> {
    let mut states = vec![State::new()];
    for number in 1..=COMMITS {
        let mut state = states[usize::from(number) - 1].clone();
        for op in batch(number).iter() {
            match op {
                Op::Put { table, key, value } => state.insert((*table, key.to_vec()), value.to_vec()),
                Op::Delete { table, key } => state.remove(&(*table, key.to_vec())),
            };
        }
        states.push(state);
    }
    states
}

fn state_of(backend: &RedbBackend) -> State {
    let view = backend.view().unwrap();
    let mut state = State::new();
    for table in Table::ALL {
        view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            state.insert((table, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    state
}

/// Runs the script until the disk fails. Returns the last commit that was acknowledged as synced, or `None` if not
/// even the file was created, and the last that was begun.
fn run(disk: &SimDisk) -> (Option<u8>, u8) {
    let Ok(backend) = RedbBackend::create(disk, path(), RedbOptions::default()) else { return (None, 0) };
    let mut synced = 0;
    for number in 1..=COMMITS {
        if backend.commit(&batch(number), durability(number)).is_err() {
            return (Some(synced), number);
        }
        if durability(number) == Durability::Synced {
            synced = number;
        }
    }
    (Some(synced), COMMITS)
}

/// Opens after a crash, whatever the crash left.
fn recover(disk: &SimDisk, created: bool) -> Option<RedbBackend> {
    match opened(disk) {
        Ok(backend) => Some(backend),
        Err(OpenError::NotFound(_)) if !created => None,
        Err(error) => panic!("after a crash: {error:?}"),
    }
}

fn check(disk: &SimDisk, synced: Option<u8>, begun: u8, models: &[State], place: &str) {
    let Some(backend) = recover(disk, synced.is_some()) else { return };
    let state = state_of(&backend);
    let number = state.get(&(Table::Meta, b"number".to_vec())).map_or(0, |number| number[0]);
    assert!(number >= synced.unwrap_or(0) && number <= begun, "{place}: {number}, {synced:?} was synced");
    assert_eq!(state, models[usize::from(number)], "{place}: a mixture");
    backend.commit(&batch(1), Durability::Synced).unwrap();
}

#[test]
fn a_power_loss_at_any_operation_leaves_a_whole_state_that_is_not_too_old() {
    let models = model();
    let mut crashes = 0;
    let mut crashes_in_recovery = 0;
    for crash_at in 1.. {
        let disk = sim_disk();
        disk.set_faults(Faults { crash_at: Some(crash_at), ..Faults::default() });
        let (synced, begun) = run(&disk);
        if !disk.is_crashed() {
            break;
        }
        for seed in 0..3 {
            crashes += 1;
            let place = format!("crash at {crash_at}, seed {seed}");
            check(&disk.crash_image(seed), synced, begun, &models, &place);
            for again_at in 1.. {
                let disk = disk.crash_image(seed);
                disk.set_faults(Faults { crash_at: Some(again_at), ..Faults::default() });
                let opened = opened(&disk);
                if !disk.is_crashed() {
                    break;
                }
                drop(opened);
                crashes_in_recovery += 1;
                let place = format!("{place}, again at {again_at}");
                check(&disk.crash_image(seed + 100), synced, begun, &models, &place);
            }
        }
    }
    assert!(crashes > 100 && crashes_in_recovery > 100, "{crashes} and {crashes_in_recovery} crashes");
}

#[test]
fn after_a_power_loss_while_a_file_is_created_it_can_be_created() {
    for crash_at in 1.. {
        let disk = sim_disk();
        disk.set_faults(Faults { crash_at: Some(crash_at), ..Faults::default() });
        let created = RedbBackend::create(&disk, path(), RedbOptions::default());
        if !disk.is_crashed() {
            assert!(crash_at > 5, "creation is made of several operations");
            break;
        }
        drop(created);
        for seed in 0..8 {
            let disk = disk.crash_image(seed);
            let backend = match opened(&disk) {
                Ok(backend) => backend,
                Err(OpenError::NotFound(_)) => {
                    RedbBackend::create(&disk, path(), RedbOptions::default()).unwrap()
                }
                Err(error) => panic!("crash at {crash_at}, seed {seed}: {error:?}"),
            };
            assert_eq!(state_of(&backend), State::new());
        }
    }
}

#[test]
fn a_power_loss_while_a_file_gets_its_missing_table_leaves_one_that_opens() {
    let mut crashes = 0;
    for crash_at in 1.. {
        let disk = sim_disk();
        let backend = created(&disk);
        put(&backend, "key", "value", Durability::Synced);
        set_format(&backend, 1);
        drop(backend);
        let disk = disk.killed_image();
        disk.set_faults(Faults { crash_at: Some(crash_at), ..Faults::default() });
        drop(opened(&disk));
        if !disk.is_crashed() {
            break;
        }
        for seed in 0..4 {
            crashes += 1;
            let backend = opened(&disk.crash_image(seed)).unwrap();
            assert_eq!(get(&backend, "key").unwrap().as_deref(), Some(&b"value"[..]), "crash at {crash_at}");
            assert_eq!(backend.view().unwrap().count(Table::Catalog).unwrap(), 0);
        }
    }
    assert!(crashes > 20, "{crashes} crashes");
}
