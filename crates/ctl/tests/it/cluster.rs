//! Commands about members and clusters.

use crate::certificates::Certificates;
use crate::etcd::{Etcd, Setup};
use crate::program::{endpoints_of, ok, run};

/// The id in the first row that has this text.
fn id_of(rows: &str, text: &str) -> String {
    let row = rows.lines().find(|row| row.contains(text)).unwrap();
    row.split(", ")
        .find(|cell| cell.len() > 12 && cell.chars().all(|c| c.is_ascii_hexdigit()))
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_learner_is_added_updated_and_removed() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    let added = ok(&all, "member add m2 --peer-urls http://127.0.0.1:1 --learner").await;
    let (first, rest) = added.split_once('\n').unwrap();
    let id = id_of(&ok(&all, "member list").await, "unstarted");
    assert!(first.starts_with(&format!("Member {id:>16} added as learner to cluster ")), "{first}");
    let peer = etcd.peer();
    let cluster = |list: &str| {
        format!(
            "\nETCD_NAME=\"m2\"\nETCD_INITIAL_CLUSTER=\"{list}\"\n\
             ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://127.0.0.1:1\"\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"
        )
    };
    // Members are sorted by their ids.
    let orders = [format!("{peer},m2=http://127.0.0.1:1"), format!("m2=http://127.0.0.1:1,{peer}")];
    assert!(orders.iter().any(|order| rest == cluster(order)), "{rest}");

    let early = run(&all, &format!("member promote {id}")).await;
    assert_eq!(
        (early.code, early.err.as_str()),
        (1, "Error: etcdserver: can only promote a learner member which is in sync with leader\n")
    );
    let updated = ok(&all, &format!("member update {id} --peer-urls http://127.0.0.1:2")).await;
    assert!(updated.starts_with(&format!("Member {id:>16} updated in cluster ")), "{updated}");
    let removed = ok(&all, &format!("member remove {id} -w json --hex")).await;
    assert!(removed.starts_with("{\"header\":{\"cluster_id\":\"") && !removed.contains(&id), "{removed}");
    let again = run(&all, &format!("member remove {id}")).await;
    assert_eq!((again.code, again.err.as_str()), (1, "Error: etcdserver: member not found\n"));
}

#[tokio::test]
async fn the_leader_hands_over_if_its_endpoint_is_given() {
    let members = Etcd::start_cluster(3, Setup::default()).await;
    let all = endpoints_of(&members);
    let status = ok(&all, "endpoint status --cluster").await;
    assert_eq!(status.lines().count(), 3);
    let leader_row = status.lines().find(|row| row.contains(", true, false, ")).unwrap();
    let leader = leader_row.split(", ").next().unwrap();
    let follower_row = status.lines().find(|row| row.contains(", false, false, ")).unwrap();
    let follower = follower_row.split(", ").next().unwrap();
    let (old, new) = (id_of(leader_row, ""), id_of(follower_row, ""));
    let refused = run(follower, &format!("move-leader {new}")).await;
    assert_eq!(
        (refused.code, refused.err),
        (128, format!("Error: no leader endpoint given at [{follower}]\n"))
    );
    let moved = ok(leader, &format!("move-leader {new}")).await;
    assert_eq!(moved, format!("Leadership transferred from {old} to {new}\n"));
}

#[tokio::test]
async fn all_members_are_asked_and_defragmented() {
    let members = Etcd::start_cluster(3, Setup::default()).await;
    let first = members[0].endpoint();
    let health = ok(&first, "endpoint health --cluster").await;
    assert_eq!(health.matches(" is healthy: successfully committed proposal: took = ").count(), 3);
    ok(&first, "put a 1").await;
    ok(&endpoints_of(&members), "get a").await;
    let hashes = ok(&first, "endpoint hashkv --cluster --rev 2").await;
    let mut distinct: Vec<_> = hashes.lines().map(|row| row.split_once(", ").unwrap().1).collect();
    distinct.dedup();
    assert_eq!(distinct.len(), 1, "{hashes}");
    let defragmented = ok(&first, "defrag --cluster").await;
    for member in &members {
        let text = format!("Finished defragmenting etcd member[{}]. took ", member.endpoint());
        assert!(defragmented.contains(&text), "{defragmented}");
    }
}

#[tokio::test]
async fn downgrades_and_alarms_are_told_about() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    assert_eq!(ok(&all, "downgrade validate 3.6").await, "Downgrade validate success, cluster version 3.7\n");
    let fields = run(&all, "downgrade validate 3.6 -w fields").await;
    assert_eq!((fields.code, fields.err.as_str()), (4, "Error: fields not supported as output format\n"));
    ok(&all, "downgrade enable 3.6").await;
    assert!(ok(&all, "endpoint status").await.ends_with(", 3.6.0, true\n"));
    let twice = run(&all, "downgrade enable 3.6").await;
    assert_eq!(twice.err, "Error: etcdserver: cluster has a downgrade job in progress\n");
    assert_eq!(ok(&all, "downgrade cancel").await, "Downgrade cancel success, cluster version 3.7\n");
    assert_eq!(ok(&all, "alarm list").await, "");
}

#[tokio::test]
async fn a_member_with_tls_is_reached_with_its_certificates() {
    let certificates = Certificates::new();
    let etcd = Etcd::start_with(certificates.setup_with_clients()).await;
    let file = |name: &str| certificates.path(name).display().to_string();
    let identity = format!("--cert {} --key {}", file("client.pem"), file("client.key"));
    let trusting = format!("{identity} --cacert {}", file("ca.pem"));
    assert_eq!(ok(&etcd.endpoint(), &format!("{trusting} put a 1")).await, "OK\n");
    let careless = format!("{identity} --insecure-skip-tls-verify get a");
    assert_eq!(ok(&etcd.endpoint(), &careless).await, "a\n1\n");
    let nobody = format!("--cacert {} --command-timeout 1s get a", file("ca.pem"));
    assert_eq!(run(&etcd.endpoint(), &nobody).await.code, 1);
    let half = run(&etcd.endpoint(), &format!("--cert {} get a", file("client.pem"))).await;
    assert_eq!(half.code, 128);
    assert!(half.err.starts_with("Error: KeyFile and CertFile must both be present[key: , cert: "));
}

#[tokio::test]
async fn a_check_of_the_datas_scale_leaves_nothing_behind() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    let text = ok(&all, "check datascale --prefix c/ --auto-compact --auto-defrag").await;
    assert!(text.starts_with(
        "Start data scale check for work load [10000 key-value pairs, 1024 bytes per key-value, 50 concurrent \
         clients].\nCompacting with revision 10002\nCompacted with revision 10002\nDefragmenting "
    ));
    assert!(text.contains("\nPASS: Approximate system memory used : "), "{text}");
    assert_eq!(ok(&all, "get c/ --prefix").await, "");
    ok(&all, "put c/a 1").await;
    let refused = run(&all, "check perf --prefix c/").await;
    assert_eq!(
        (refused.code, refused.err.as_str()),
        (3, "Error: prefix \"c/\" has keys. Delete with 'etcdctl del --prefix c/' first\n")
    );
}
