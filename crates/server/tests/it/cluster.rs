//! Clusters of processes: what clients see while members fail, lag, come and go.

use std::time::{Duration, Instant};

use etched_client::{Client, Get, Keys, Put};

use crate::process::{Server, Settings};
use crate::session::connect;

/// How long a cluster may take to find a leader and to catch up, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes until it is answered; nothing is known of those that are not.
async fn put(client: &Client, key: &str) {
    let start = Instant::now();
    while let Err(error) = client.put(Put::new(key.to_owned(), "value")).await {
        assert!(start.elapsed() < PATIENCE, "{key} is not answered: {error}");
    }
}

async fn leader(client: &Client) -> u64 {
    client.status().await.unwrap().leader
}

async fn member_id(client: &Client) -> u64 {
    client.status().await.unwrap().header.unwrap().member_id
}

/// All members have the same content; each is asked once it knows of everything.
async fn assert_equal(servers: &[Server]) {
    let mut hashes = Vec::new();
    for server in servers {
        let client = connect(server).await;
        let start = Instant::now();
        let read = loop {
            match client.get(Get::new(Keys::all()).count_only()).await {
                Ok(read) => break read,
                Err(error) => assert!(start.elapsed() < PATIENCE, "no read: {error}"),
            }
        };
        let hash = client.hash_kv(0).await.unwrap();
        hashes.push((read.count, hash.hash, hash.compact_revision, hash.hash_revision));
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}

/// The place of the leader among the servers.
async fn find_leader(servers: &[Server]) -> usize {
    let start = Instant::now();
    loop {
        for (place, server) in servers.iter().enumerate() {
            let client = connect(server).await;
            if member_id(&client).await == leader(&client).await {
                return place;
            }
        }
        assert!(start.elapsed() < PATIENCE, "there is no leader");
    }
}

#[tokio::test]
async fn three_members_serve_and_outlive_their_leader() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::cluster(dir.path(), 3);
    let mut servers = Settings::start_all(&settings);
    for (number, server) in servers.iter().enumerate() {
        let client = connect(server).await;
        client.put(Put::new(format!("by-{number}"), "value")).await.unwrap();
        let lease = client.lease_grant(600).await.unwrap().id;
        assert_eq!(
            client.lease_time_to_live(lease).await.unwrap().granted_ttl,
            600,
            "wherever the leader is"
        );
    }
    for server in &servers {
        let read = connect(server).await.get(Get::new(Keys::prefix("by-"))).await.unwrap();
        assert_eq!(read.count, 3, "a read sees what was answered elsewhere");
    }
    let lost = find_leader(&servers).await;
    servers.remove(lost).kill();
    put(&connect(&servers[0]).await, "after-the-kill").await;
    put(&connect(&servers[1]).await, "by-the-other").await;
    servers.push(settings[lost].start());
    assert_equal(&servers).await;
}

#[tokio::test]
async fn a_leader_that_is_stopped_hands_over() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::cluster(dir.path(), 3);
    let mut servers = Settings::start_all(&settings);
    put(&connect(&servers[0]).await, "before").await;
    let stopped = servers.remove(find_leader(&servers).await);
    let ended = stopped.terminate();
    assert!(ended.log.contains("leadership transfer"), "{}", ended.log);
    // The others know the new leader before the old one is gone, so nothing has to be tried again.
    connect(&servers[0]).await.put(Put::new("after", "value")).await.unwrap();
    assert_equal(&servers).await;
}

#[tokio::test]
async fn a_member_that_lags_beyond_the_log_gets_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let settings: Vec<Settings> = Settings::cluster(dir.path(), 3)
        .into_iter()
        .map(|one| one.with("--snapshot-count=50").with("--snapshot-catchup-entries=20"))
        .collect();
    let mut servers = Settings::start_all(&settings);
    let lagging = (find_leader(&servers).await + 1) % 3;
    servers.remove(lagging).kill();
    let client = connect(&servers[0]).await;
    for number in 0..300 {
        put(&client, &format!("key-{number}")).await;
    }
    client.compact(100).await.unwrap();
    let server = settings[lagging].spawn();
    server.wait_for("applied snapshot");
    server.wait_for("ready to serve");
    servers.push(server);
    assert_equal(&servers).await;
    // What it was sent lasts: it starts again from it.
    servers.pop().expect("it was added").kill();
    servers.push(settings[lagging].start());
    put(&connect(&servers[2]).await, "by-the-one-that-lagged").await;
    assert_equal(&servers).await;
}

#[tokio::test]
async fn members_are_added_promoted_and_removed_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::cluster(dir.path(), 1);
    let mut servers = Settings::start_all(&settings);
    let client = connect(&servers[0]).await;
    put(&client, "before").await;
    for _ in 0..2 {
        let joining = Settings::joining(dir.path(), &settings);
        let refused = joining.refused();
        assert!(refused.log.contains("member count is unequal"), "{}", refused.log);
        // A member must have been connected for five seconds before the next may come.
        let start = Instant::now();
        let added = loop {
            match client.member_add_learner([joining.peer_url()]).await {
                Ok(added) => break added.member.unwrap(),
                Err(error) => assert!(start.elapsed() < PATIENCE, "no member is added: {error}"),
            }
        };
        servers.push(joining.start());
        settings.push(joining);
        let start = Instant::now();
        while let Err(error) = client.member_promote(added.id).await {
            assert!(start.elapsed() < PATIENCE, "the learner is not promoted: {error}");
        }
    }
    assert_eq!(client.member_list().await.unwrap().members.iter().filter(|one| one.is_learner).count(), 0);
    assert_equal(&servers).await;

    let removed = servers.pop().expect("there are three");
    let id = member_id(&connect(&removed).await).await;
    let start = Instant::now();
    while let Err(error) = client.member_remove(id).await {
        assert!(start.elapsed() < PATIENCE, "the member is not removed: {error}");
    }
    let ended = removed.ended();
    assert!(ended.log.contains("the member has been permanently removed from the cluster"), "{}", ended.log);
    put(&client, "after").await;
    assert_equal(&servers).await;
    let again = settings[2].spawn().ended();
    assert!(again.log.contains("the member has been permanently removed from the cluster"), "{}", again.log);
}
