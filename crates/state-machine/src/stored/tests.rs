//! Stored states that are copied, completed and marked.

use alloc::vec;

use etched_backend::{Backend as _, Durability, MemoryBackend};

use super::*;
use crate::machine::{Options, StateMachine};
use crate::{Put, bootstrap_changes};

fn commit(backend: &MemoryBackend, batch: &Batch) {
    backend.commit(batch, Durability::Buffered).unwrap();
}

fn founders(names: &[&str]) -> Vec<BootstrapChange> {
    let cluster: Vec<_> =
        names.iter().map(|name| ((*name).into(), vec![alloc::format!("http://{name}:2380")])).collect();
    bootstrap_changes(&cluster, "token")
}

/// A member of a cluster of two that has applied a put, and seen a third member go.
fn used() -> MemoryBackend {
    let backend = MemoryBackend::new();
    let mut machine = StateMachine::restore(&backend.view().unwrap(), Options::default()).unwrap();
    let mut voters = Vec::new();
    for (index, founder) in (1..).zip(founders(&["a", "b", "c"])) {
        voters.push(founder.member_id);
        let record =
            ConfChangeRecord { node_id: founder.member_id, context: founder.context, ..Default::default() };
        machine.apply_conf_change(
            index,
            1,
            &record,
            ConfState { voters: voters.clone(), ..Default::default() },
        );
    }
    let gone = voters.pop().unwrap();
    let record = ConfChangeRecord { kind: ConfChangeKind::RemoveNode, node_id: gone, ..Default::default() };
    machine.apply_conf_change(4, 2, &record, ConfState { voters, ..Default::default() });
    let put = Put { key: "k".into(), value: "v".into(), ..Put::default() };
    let entry = schema::encode(&crate::Header::default(), &Command::Put(put));
    machine.apply(&backend.view().unwrap(), 5, 3, &entry).unwrap();
    commit(&backend, &machine.take_batch());
    backend
}

#[test]
fn a_new_cluster_has_the_keys_of_the_old_one_and_its_own_members() {
    let backend = used();
    let new = founders(&["x", "y"]);
    let founding = found_anew(&backend.view().unwrap(), &new).unwrap();
    commit(&backend, &founding.batch);
    let machine = StateMachine::restore(&backend.view().unwrap(), Options::default()).unwrap();
    let ids: Vec<u64> = new.iter().map(|founder| founder.member_id).collect();
    assert_eq!(machine.members().iter().map(|member| member.id).collect::<Vec<_>>(), ids);
    assert_eq!(machine.members().removed().count(), 0);
    assert_eq!((machine.applied(), machine.revision()), ((2, 1), 2));
    assert_eq!((&machine.conf_state().voters, &founding.conf_state.voters), (&ids, &ids));
    for (entry, founder) in founding.entries.iter().zip(&new) {
        let record = ConfChangeRecord::decode(entry).unwrap();
        assert_eq!((record.node_id, &record.context), (founder.member_id, &founder.context));
    }
    assert_eq!(has_v2_keys(&founding.v2_store), Some(false));
}

#[test]
fn what_is_raised_is_compacted() {
    let backend = used();
    let mut batch = Batch::new();
    assert_eq!(crate::raise_revision(&backend.view().unwrap(), 1000, &mut batch).unwrap(), 1002);
    batch.append(found_anew(&backend.view().unwrap(), &founders(&["x"])).unwrap().batch);
    // The catalog is of the revisions before.
    batch.append(without_catalog(&backend));
    commit(&backend, &batch);
    let machine = StateMachine::restore(&backend.view().unwrap(), Options::default()).unwrap();
    assert_eq!((machine.revision(), machine.store().compact_revision()), (1002, 1002));
    assert!(machine.store().current(b"k").is_some());
    let mut batch = Batch::new();
    assert!(crate::raise_revision(&backend.view().unwrap(), u64::MAX, &mut batch).is_err());
    assert!(batch.is_empty());
}

fn without_catalog(backend: &MemoryBackend) -> Batch {
    let mut batch = Batch::new();
    let all = (core::ops::Bound::Unbounded, core::ops::Bound::Unbounded);
    let view = backend.view().unwrap();
    view.scan(Table::Catalog, all, &mut |key, _| {
        batch.delete(Table::Catalog, Bytes::copy_from_slice(key));
        core::ops::ControlFlow::Continue(())
    })
    .unwrap();
    batch
}

#[test]
fn who_takes_part_follows_from_the_changes() {
    let mut conf_state = ConfState::default();
    let steps = [
        (ConfChangeKind::AddNode, 1),
        (ConfChangeKind::AddLearnerNode, 2),
        (ConfChangeKind::AddNode, 3),
        (ConfChangeKind::AddNode, 2),
        (ConfChangeKind::UpdateNode, 1),
        (ConfChangeKind::AddLearnerNode, 4),
        (ConfChangeKind::RemoveNode, 3),
    ];
    for (kind, node_id) in steps {
        let change = ConfChangeRecord { kind, node_id, ..ConfChangeRecord::default() };
        take_part(&mut conf_state, &change.encode()).unwrap();
    }
    assert_eq!((&conf_state.voters[..], &conf_state.learners[..]), (&[1, 2][..], &[4][..]));
    assert_eq!(ConfState::decode(&conf_state.encode()), Some(conf_state));
    assert!(take_part(&mut ConfState::default(), &Bytes::from_static(b"\x10\x09")).is_err());
}

#[test]
fn versions_are_marked_from_3_6_on() {
    let backend = used();
    let version = || Standing::read(&backend.view().unwrap()).unwrap().version();
    assert_eq!(version(), Some(Version::new(3, 5, 0)), "there is a term");
    commit(&backend, &mark_version(Version::new(3, 6, 0)));
    assert_eq!(version(), Some(Version::new(3, 6, 0)));
    commit(&backend, &mark_version(Version::new(3, 5, 0)));
    assert_eq!(Standing::read(&backend.view().unwrap()).unwrap().storage_version, None);
    assert_eq!(Standing::read(&MemoryBackend::new().view().unwrap()).unwrap().version(), None);
}

#[test]
fn a_version_has_two_numbers() {
    assert_eq!(parse_minor("3.6"), Ok(Version::new(3, 6, 0)));
    assert!(parse_minor("3").is_err() && parse_minor("3.6.1").is_err() && parse_minor("").is_err());
}
