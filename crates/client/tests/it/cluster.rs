//! Clusters of three members: changes of membership, of the leader, and of the endpoints.

use std::time::Duration;

use etched_client::{Client, Error, ErrorKind, Put};

use crate::etcd::{Etcd, Setup, options};

/// A client of all members, in their order.
async fn client_of(members: &[Etcd]) -> Client {
    Client::connect(members.iter().map(Etcd::endpoint), options()).await.unwrap()
}

/// The place of the leader among the members.
async fn leader_of(members: &[Etcd]) -> usize {
    for (place, member) in members.iter().enumerate() {
        let status = member.client().await.status().await.unwrap();
        if status.header.unwrap().member_id == status.leader {
            return place;
        }
    }
    panic!("there is no leader");
}

#[tokio::test]
async fn the_other_members_answer_when_one_is_gone() {
    let mut members = Etcd::start_cluster(3, Setup::default()).await;
    let client = client_of(&members).await;
    client.put(Put::new("a", "1")).await.unwrap();
    // The preferred member may be the leader, so that both are replaced at once.
    members[0].kill().await;
    assert_eq!(client.get("a").await.unwrap().count, 1);
    client.put(Put::new("a", "2")).await.unwrap();
}

#[tokio::test]
async fn a_member_without_a_majority_says_that_there_is_no_leader() {
    let mut members = Etcd::start_cluster(3, Setup::default()).await;
    let client = client_of(&members[..1]).await.requiring_leader();
    let client = client.with_timeout(Some(Duration::from_secs(3)));
    members[1].kill().await;
    members[2].kill().await;
    let error = loop {
        match client.put(Put::new("a", "1")).await {
            // The member needs some time to notice.
            Ok(_) | Err(Error::OutcomeUnknown { .. }) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NoLeader);
}

#[tokio::test]
async fn the_leader_hands_over() {
    let members = Etcd::start_cluster(3, Setup::default()).await;
    let leader = leader_of(&members).await;
    let heir = (leader + 1) % 3;
    let client = members[heir].client().await;
    let heir_id = client.status().await.unwrap().header.unwrap().member_id;
    let refused = client.move_leader(heir_id).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotLeader);
    members[leader].client().await.move_leader(heir_id).await.unwrap();
    assert_eq!(client.status().await.unwrap().leader, heir_id);
}

#[tokio::test]
async fn a_learner_is_added_promoted_and_removed() {
    let members = Etcd::start_cluster(1, Setup::default()).await;
    let client = members[0].client().await;
    let mut learner = Etcd::new("m2".to_owned(), Setup::default());
    let added = client.member_add_learner([learner.peer_url()]).await.unwrap().member.unwrap();
    assert!(added.is_learner && added.name.is_empty());
    let too_early = client.member_promote(added.id).await.unwrap_err();
    assert_eq!(too_early.kind(), ErrorKind::LearnerNotReady);
    learner.join(format!("{},{}", members[0].peer(), learner.peer()));
    // It learns what it has missed, in its own time.
    let promoted = loop {
        match client.member_promote(added.id).await {
            Ok(response) => break response.members,
            Err(error) => assert_eq!(error.kind(), ErrorKind::LearnerNotReady),
        }
    };
    assert!(promoted.iter().all(|member| !member.is_learner));

    client.sync_endpoints().await.unwrap();
    let mut endpoints = client.endpoints();
    endpoints.sort();
    let mut expected = [members[0].endpoint(), learner.endpoint()];
    expected.sort();
    assert_eq!(endpoints, expected);

    let moved = client.member_update(added.id, ["http://127.0.0.1:1".to_owned()]).await.unwrap();
    let moved = moved.members.iter().find(|member| member.id == added.id).unwrap();
    assert_eq!(moved.peer_ur_ls, ["http://127.0.0.1:1"]);
}

#[tokio::test]
async fn members_that_are_removed_stay_away() {
    let members = Etcd::start_cluster(3, Setup::default()).await;
    let leader = leader_of(&members).await;
    let client = members[leader].client().await;
    let list = client.member_list().await.unwrap().members;
    let other = list.iter().find(|member| member.name != members[leader].name()).unwrap();
    // The cluster has to be whole for some seconds until it lets a member go.
    let left = loop {
        match client.member_remove(other.id).await {
            Ok(response) => break response.members,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unhealthy),
        }
    };
    assert_eq!(left.len(), 2);
    let again = client.member_remove(other.id).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::MemberNotFound);
}

#[tokio::test]
async fn downgrades_are_validated_begun_and_called_off() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    assert_eq!(client.downgrade_validate("3.6").await.unwrap().version, "3.7");
    let kind = |error: Error| error.kind();
    assert_eq!(
        client.downgrade_validate("3.5").await.map_err(kind).unwrap_err(),
        ErrorKind::InvalidDowngradeTargetVersion
    );
    assert_eq!(
        client.downgrade_validate("x").await.map_err(kind).unwrap_err(),
        ErrorKind::WrongDowngradeVersionFormat
    );
    client.downgrade_enable("3.6").await.unwrap();
    let info = client.status().await.unwrap().downgrade_info.unwrap();
    assert!(info.enabled && info.target_version == "3.6.0");
    assert_eq!(
        client.downgrade_enable("3.6").await.map_err(kind).unwrap_err(),
        ErrorKind::DowngradeInProcess
    );
    client.downgrade_cancel().await.unwrap();
    assert!(!client.status().await.unwrap().downgrade_info.unwrap().enabled);
}
