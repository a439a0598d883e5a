//! Ids, JSON and changes of members, against what etcd writes and refuses.

use alloc::string::ToString;
use std::vec;

use super::*;

fn urls(urls: &[&str]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

#[test]
fn ids_are_those_that_etcd_computes() {
    let id = member_id(&urls(&["http://localhost:2380"]), "etcd-cluster", None);
    assert_eq!(id, 0x8e9e_05c5_2164_694d);
    assert_eq!(cluster_id(&[id]), 0xcdf8_1819_4e3a_8c32);

    let ids: Vec<u64> = ["http://127.0.0.1:12380", "http://127.0.0.1:22380", "http://127.0.0.1:32380"]
        .iter()
        .map(|url| member_id(&urls(&[url]), "etcd-cluster-1", None))
        .collect();
    assert_eq!(ids, [0x8211_f1d0_f64f_3269, 0x91bc_3c39_8fb3_c146, 0xfd42_2379_fda5_0e48]);
    assert_eq!(cluster_id(&ids), 0xef37_ad9d_c622_a7c4);
    assert_eq!(cluster_id(&[ids[2], ids[0], ids[1]]), 0xef37_ad9d_c622_a7c4);
}

#[test]
fn the_time_of_joining_makes_another_id() {
    let url = urls(&["http://b", "http://a"]);
    assert_ne!(member_id(&url, "", Some(1)), member_id(&url, "", Some(2)));
    assert_eq!(member_id(&url, "", Some(1)), member_id(&urls(&["http://a", "http://b"]), "", Some(1)));
}

#[test]
fn a_founded_cluster_opens_with_one_entry_per_member() {
    let cluster: Vec<_> = [("c", 12380), ("b", 22380), ("a", 32380)]
        .iter()
        .map(|(name, port)| (name.to_string(), vec![format!("http://127.0.0.1:{port}")]))
        .collect();
    let changes = bootstrap_changes(&cluster, "etcd-cluster-1");
    assert_eq!(
        changes.iter().map(|change| change.member_id).collect::<Vec<_>>(),
        [0x8211_f1d0_f64f_3269, 0x91bc_3c39_8fb3_c146, 0xfd42_2379_fda5_0e48]
    );
    assert_eq!(
        changes[0].context,
        r#"{"id":9372538179322589801,"peerURLs":["http://127.0.0.1:12380"],"name":"c"}"#
    );
}

#[test]
fn member_json_is_that_of_etcd() {
    let member = Member {
        id: 4_101_407_048_367_717_176,
        name: "n2<&>é".into(),
        peer_urls: urls(&["http://127.0.0.1:43803", "http://127.0.0.1:43805"]),
        client_urls: urls(&["http://127.0.0.1:43792"]),
        is_learner: true,
    };
    let json = r#"{"id":4101407048367717176,"peerURLs":["http://127.0.0.1:43803","http://127.0.0.1:43805"],"isLearner":true,"name":"n2\u003c\u0026\u003eé","clientURLs":["http://127.0.0.1:43792"]}"#;
    assert_eq!(member.to_json(), json);
    assert_eq!(Member::from_json(json.as_bytes()), Some(member));
    let odd = Member { name: "\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}\u{2028}".into(), ..Member::default() };
    assert_eq!(
        odd.to_json(),
        "{\"id\":0,\"peerURLs\":null,\"name\":\"\\\"\\\\\\n\\r\\t\\b\\f\\u0001\u{7f}\\u2028\"}"
    );
    assert_eq!(Member::from_json(&odd.to_json()), Some(odd));
    assert_eq!(Member::from_json(b"7"), None);
}

#[test]
fn the_configuration_of_consensus_is_written_as_etcd_does() {
    let mut state = ConfState { voters: vec![13_668_033_151_171_901_709], ..ConfState::default() };
    assert_eq!(state.to_json(), r#"{"voters":[13668033151171901709],"auto_leave":false}"#);
    state.learners = vec![4_101_407_048_367_717_176];
    assert_eq!(
        state.to_json(),
        r#"{"voters":[13668033151171901709],"learners":[4101407048367717176],"auto_leave":false}"#
    );
    state.voters_outgoing = vec![1, 2];
    state.auto_leave = true;
    assert_eq!(ConfState::from_json(&state.to_json()), Some(state));
    assert_eq!(ConfState::from_json(br#"{"voters":null}"#), Some(ConfState::default()));
}

#[test]
fn contexts_of_changes_are_those_that_etcd_writes() {
    let id = 4_101_407_048_367_717_176;
    let check = |change: MemberChange, kind, context: &str| {
        let record = change.to_record(5);
        assert_eq!((record.id, record.kind, record.node_id), (5, kind, id));
        assert_eq!(record.context, context);
        assert_eq!(MemberChange::from_record(&record), Ok(change));
    };
    let member = Member { id, peer_urls: urls(&["http://a:1"]), ..Member::default() };
    let learner = Member { is_learner: true, ..member.clone() };
    check(
        MemberChange::Add(member),
        ConfChangeKind::AddNode,
        r#"{"id":4101407048367717176,"peerURLs":["http://a:1"]}"#,
    );
    check(
        MemberChange::Add(learner),
        ConfChangeKind::AddLearnerNode,
        r#"{"id":4101407048367717176,"peerURLs":["http://a:1"],"isLearner":true}"#,
    );
    check(
        MemberChange::Promote(id),
        ConfChangeKind::AddNode,
        r#"{"id":4101407048367717176,"peerURLs":null,"isPromote":true}"#,
    );
    check(MemberChange::Remove(id), ConfChangeKind::RemoveNode, "");
    check(
        MemberChange::Update { id, peer_urls: urls(&["http://c:2", "http://b:2"]) },
        ConfChangeKind::UpdateNode,
        r#"{"id":4101407048367717176,"peerURLs":["http://c:2","http://b:2"]}"#,
    );
}

#[test]
fn changes_that_make_no_sense_are_refused_and_do_not_panic() {
    let members = Members::default();
    let check = |kind, node_id, context: &'static str| {
        let record = ConfChangeRecord { id: 1, kind, node_id, context: context.into() };
        members.admit(&record, 1).err()
    };
    assert_eq!(check(ConfChangeKind::AddNode, 1, ""), Some(Refusal::MalformedMember));
    assert_eq!(check(ConfChangeKind::AddNode, 1, "{\"id\":"), Some(Refusal::MalformedMember));
    assert_eq!(check(ConfChangeKind::AddNode, 1, "{\"id\":2}"), Some(Refusal::MalformedMember));
    assert_eq!(check(ConfChangeKind::UpdateNode, 1, "{\"id\":-1}"), Some(Refusal::MalformedMember));
    assert_eq!(check(ConfChangeKind::AddNode, 1, "{\"id\":1,\"peerURLs\":null}"), None);
    assert_eq!(check(ConfChangeKind::RemoveNode, 1, "garbage"), Some(Refusal::MemberNotFound));
    assert_eq!(
        check(ConfChangeKind::AddNode, 1, "{\"id\":1,\"isPromote\":true}"),
        Some(Refusal::MemberNotFound)
    );
}

fn cluster() -> (Members, Batch) {
    let mut members = Members::default();
    let mut batch = Batch::new();
    for (id, url, is_learner) in [(1, "http://a:1", false), (2, "http://b:1", false), (3, "http://c:1", true)]
    {
        let member = Member { id, peer_urls: urls(&[url]), is_learner, ..Member::default() };
        members.execute(MemberChange::Add(member), &mut batch);
    }
    members.execute(MemberChange::Remove(2), &mut batch);
    (members, batch)
}

#[test]
fn changes_are_validated() {
    let (members, _) = cluster();
    let check = |change: MemberChange| members.check(&change, 1);
    let add = |id, url: &str, is_learner| {
        MemberChange::Add(Member { id, peer_urls: urls(&[url]), is_learner, ..Member::default() })
    };
    assert_eq!(check(add(4, "http://d:1", false)), Ok(()));
    assert_eq!(check(add(2, "http://d:1", false)), Err(Refusal::MemberNotFound));
    assert_eq!(check(add(1, "http://d:1", false)), Err(Refusal::MemberExists));
    assert_eq!(check(add(4, "http://c:1", true)), Err(Refusal::PeerUrlExists));
    assert_eq!(check(add(4, "http://d:1", true)), Err(Refusal::TooManyLearners));
    assert_eq!(members.check(&add(4, "http://d:1", true), 2), Ok(()));
    assert_eq!(check(MemberChange::Promote(3)), Ok(()));
    assert_eq!(check(MemberChange::Promote(1)), Err(Refusal::MemberNotLearner));
    assert_eq!(check(MemberChange::Promote(2)), Err(Refusal::MemberNotFound));
    assert_eq!(check(MemberChange::Promote(9)), Err(Refusal::MemberNotFound));
    assert_eq!(check(MemberChange::Remove(1)), Ok(()));
    assert_eq!(check(MemberChange::Remove(2)), Err(Refusal::MemberNotFound));
    assert_eq!(check(MemberChange::Remove(9)), Err(Refusal::MemberNotFound));
    let update = |id, url: &str| MemberChange::Update { id, peer_urls: urls(&[url]) };
    assert_eq!(check(update(1, "http://a:1")), Ok(()));
    assert_eq!(check(update(1, "http://c:1")), Err(Refusal::PeerUrlExists));
    assert_eq!(check(update(9, "http://c:1")), Err(Refusal::MemberNotFound));
}

#[test]
fn updating_the_addresses_of_a_learner_leaves_it_a_learner() {
    // etcd issue 21736.
    let (mut members, mut batch) = cluster();
    members.describe(3, "three".into(), urls(&["http://c:2"]), &mut batch);
    let update = MemberChange::Update { id: 3, peer_urls: urls(&["http://z:1"]) }.to_record(1);
    let change = members.admit(&update, 1).unwrap();
    members.execute(change, &mut batch);
    assert_eq!(
        members.get(3),
        Some(&Member {
            id: 3,
            name: "three".into(),
            peer_urls: urls(&["http://z:1"]),
            client_urls: urls(&["http://c:2"]),
            is_learner: true
        })
    );
    assert!(!members.describe(9, "nine".into(), Vec::new(), &mut batch));
    assert!(!members.describe(2, "two".into(), Vec::new(), &mut batch));
}

#[test]
fn members_are_restored_from_their_tables() {
    use etched_backend::{Backend, Durability, MemoryBackend};
    let (members, batch) = cluster();
    let backend = MemoryBackend::new();
    backend.commit(&batch, Durability::Synced).unwrap();
    assert_eq!(Members::restore(&backend.view().unwrap()), Ok(members));

    let mut broken = Batch::new();
    broken.put(Table::Members, "4", "{}");
    backend.commit(&broken, Durability::Synced).unwrap();
    assert!(Members::restore(&backend.view().unwrap()).is_err());
}

#[test]
fn the_cluster_keeps_a_quorum_of_started_members() {
    let mut members = Members::default();
    let mut batch = Batch::new();
    let add = |id| MemberChange::Add(Member { id, ..Member::default() });
    members.execute(add(1), &mut batch);
    members.describe(1, "one".into(), Vec::new(), &mut batch);
    assert_eq!(members.check_started(&add(2)), Ok(()), "growing from one to two");
    members.execute(add(2), &mut batch);
    assert_eq!(members.check_started(&add(3)), Err(Refusal::NotEnoughStarted));
    assert_eq!(members.check_started(&MemberChange::Remove(1)), Err(Refusal::NotEnoughStarted));
    assert_eq!(members.check_started(&MemberChange::Remove(2)), Ok(()));
    members.describe(2, "two".into(), Vec::new(), &mut batch);
    assert_eq!(members.check_started(&add(3)), Ok(()));
    let learner = MemberChange::Add(Member { id: 3, is_learner: true, ..Member::default() });
    assert_eq!(members.check_started(&learner), Ok(()));
    members.execute(learner, &mut batch);
    assert_eq!(members.check_started(&MemberChange::Promote(3)), Ok(()));
    assert_eq!(members.check_started(&MemberChange::Remove(3)), Ok(()));
}

#[test]
fn peer_addresses_are_checked() {
    let check = |url: &str| check_peer_urls(&urls(&[url])).is_ok();
    for good in
        ["http://a:1", "https://10.0.0.1:2380", "http://[::1]:2380", "unix://localhost:2380", " http://a:1 "]
    {
        assert!(check(good), "{good}");
    }
    for bad in [
        "",
        "a:1",
        "http://a",
        "http://a:1/",
        "http://a:1/path",
        "ftp://a:1",
        "http://::1:2380",
        "http://a:x",
        "http://a b:1",
    ] {
        assert!(!check(bad), "{bad}");
    }
    assert_eq!(check_peer_urls(&[]), Err(Refusal::MemberBadUrls));
    assert_eq!(
        check_peer_urls(&urls(&[" http://b:1", "http://a:1"])),
        Ok(urls(&["http://a:1", "http://b:1"]))
    );
}
