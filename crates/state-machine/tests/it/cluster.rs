//! Members, versions, and what consensus made of a change.

use etched_backend::{Backend, Batch, Durability, MemoryBackend, ReadView, Table};
use etched_state_machine::{
    Applied, Command, ConfState, Downgrade, Member as Peer, MemberChange, Outcome, Refusal, StateMachine,
    Version, bootstrap_changes,
};

use crate::support::*;

fn change(member: &mut Member, change: &MemberChange, voters: &[u64], learners: &[u64]) -> Applied {
    let (index, term) = member.machine.applied();
    let record = change.to_record(42);
    let conf_state = ConfState { voters: voters.into(), learners: learners.into(), ..ConfState::default() };
    let is_valid = member.machine.admit_conf_change(&record);
    let applied = member.machine.apply_conf_change(index + 1, term.max(1), &record, conf_state);
    assert_eq!(applied.outcome.clone().map(|_| ()), is_valid);
    assert_eq!(applied.request_id, 42);
    applied
}

fn stored(member: &Member, table: Table, key: &str) -> Option<String> {
    let value = member.backend.view().unwrap().get(table, key.as_bytes()).unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn peer(id: u64, is_learner: bool) -> MemberChange {
    let url = format!("http://127.0.0.1:{id}");
    MemberChange::Add(Peer { id, peer_urls: vec![url], is_learner, ..Peer::default() })
}

#[test]
fn a_cluster_is_founded_grows_and_shrinks() {
    let mut member = Member::new();
    let initial = [("one".into(), vec!["http://localhost:2380".into()])];
    let founding = bootstrap_changes(&initial, "etcd-cluster");
    let id = founding[0].member_id;
    let founder = Peer::from_json(&founding[0].context).unwrap();
    change(&mut member, &MemberChange::Add(founder), &[id], &[]);

    let applied = change(&mut member, &peer(16, true), &[id], &[16]);
    assert_eq!(applied.outcome, Ok(Outcome::Members));
    assert!(applied.effects.members_changed);
    let applied = change(&mut member, &peer(17, true), &[id], &[16]);
    assert_eq!(applied.outcome, Err(Refusal::TooManyLearners));
    assert!(!applied.effects.members_changed);
    change(&mut member, &MemberChange::Promote(16), &[id, 16], &[]);
    member.done(Command::MemberAttributes {
        member_id: 16,
        name: "two".into(),
        client_urls: vec!["http://c".into()],
    });
    member.commit();
    assert_eq!(
        stored(&member, Table::Members, "10").unwrap(),
        r#"{"id":16,"peerURLs":["http://127.0.0.1:16"],"name":"two","clientURLs":["http://c"]}"#
    );
    let ids = format!(r#"{{"voters":[16,{id}],"auto_leave":false}}"#);
    assert_eq!(stored(&member, Table::Meta, "confState").unwrap(), ids);

    let applied = change(&mut member, &MemberChange::Remove(16), &[id], &[]);
    assert_eq!(applied.effects.member_removed, Some(16));
    member.commit();
    assert_eq!(stored(&member, Table::Members, "10"), None);
    assert_eq!(stored(&member, Table::MembersRemoved, "10").unwrap(), "removed");

    let mut member = member.restarted();
    assert_eq!(member.machine.members().iter().map(|peer| peer.id).collect::<Vec<_>>(), [id]);
    assert_eq!(member.machine.conf_state().voters, [id]);
    assert!(member.machine.members().was_removed(16));
    let applied = change(&mut member, &peer(16, false), &[id], &[]);
    assert_eq!(applied.outcome, Err(Refusal::MemberNotFound), "a removed member never comes back");
}

#[test]
fn attributes_of_a_stranger_are_ignored() {
    let mut member = Member::new();
    let applied =
        member.apply(Command::MemberAttributes { member_id: 9, name: "x".into(), client_urls: vec![] });
    assert_eq!(applied.outcome, Ok(Outcome::Nothing));
    assert!(!applied.effects.members_changed);
}

#[test]
fn the_version_of_the_cluster_is_set_and_that_of_the_data_rises_with_it() {
    let mut member = Member::new();
    let set = |version: &str| Command::ClusterVersionSet { version: version.into() };
    assert_eq!(member.machine.cluster_version(), None);
    member.done(set("3.5.0"));
    assert_eq!(member.machine.storage_version(), None);
    let applied = member.apply(set("3.7.0"));
    assert_eq!(applied.effects.cluster_version, Some(Version::new(3, 7, 0)));
    assert_eq!(member.apply(set("3.7.0")).effects.cluster_version, None);
    assert_eq!(member.run(set("4")), Err(Refusal::MalformedVersion));
    assert_eq!(member.run(set("")), Err(Refusal::MalformedVersion));
    member.done(set("3.6.0"));
    member.commit();
    assert_eq!(stored(&member, Table::Cluster, "clusterVersion").unwrap(), "3.6.0");
    assert_eq!(stored(&member, Table::Meta, "storageVersion").unwrap(), "3.7.0");
    let member = member.restarted();
    assert_eq!(member.machine.cluster_version(), Some(Version::new(3, 6, 0)));
    assert_eq!(member.machine.storage_version(), Some(Version::new(3, 7, 0)));
}

#[test]
fn a_downgrade_is_allowed_and_called_off() {
    let mut member = Member::new();
    let set = |enabled, version: &str| Command::DowngradeSet { enabled, version: version.into() };
    assert!(member.apply(set(true, "3.6.0")).effects.downgrade_changed);
    let allowed = Some(Downgrade { target: Version::new(3, 6, 0) });
    assert_eq!(member.machine.downgrade(), allowed);
    member.commit();
    assert_eq!(
        stored(&member, Table::Cluster, "downgrade").unwrap(),
        r#"{"target-version":"3.6.0","enabled":true}"#
    );
    let mut member = member.restarted();
    assert_eq!(member.machine.downgrade(), allowed);
    assert_eq!(member.run(set(true, "x")), Err(Refusal::MalformedVersion));
    member.done(set(false, ""));
    member.commit();
    assert_eq!(
        stored(&member, Table::Cluster, "downgrade").unwrap(),
        r#"{"target-version":"","enabled":false}"#
    );
    assert_eq!(member.restarted().machine.downgrade(), None);
}

#[test]
fn a_damaged_record_is_an_error_at_restore() {
    let damaged = [
        (Table::Meta, "consistent_index", "short"),
        (Table::Meta, "confState", "{"),
        (Table::Meta, "storageVersion", "3"),
        (Table::Cluster, "clusterVersion", "x"),
        (Table::Cluster, "downgrade", "[1]"),
        (Table::Members, "1", "{}"),
        (Table::MembersRemoved, "x", "removed"),
        (Table::Alarm, "x", ""),
        (Table::Lease, "x", ""),
        (Table::Key, "x", ""),
    ];
    for (table, key, value) in damaged {
        let backend = MemoryBackend::new();
        let mut batch = Batch::new();
        batch.put(table, key, value);
        backend.commit(&batch, Durability::Synced).unwrap();
        assert!(StateMachine::restore(&backend.view().unwrap(), options()).is_err(), "{table:?} {key}");
    }
}
