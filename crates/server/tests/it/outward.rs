//! Where the program calls others: a discovery service, the clusters behind its gateway and its gRPC proxy.

use etched_client::{Client, Get, Keys, Options, Put, WatchNotice, WatchOptions};

use crate::process::Settings;
use crate::program::{Program, command, free_port, get, run};
use crate::session::connect;

async fn client_of(port: u16) -> Client {
    Client::connect([format!("http://127.0.0.1:{port}")], Options::default()).await.unwrap()
}

async fn keys(client: &Client) -> Vec<String> {
    let found = client.get(Get::new(Keys::all())).await.unwrap();
    found.kvs.iter().map(|pair| String::from_utf8_lossy(&pair.key).into_owned()).collect()
}

/// The flags of a member that finds the others by the service.
fn discovering(dir: &std::path::Path, name: &str, service: &str, ports: (u16, u16)) -> Vec<String> {
    let (client, peer) = ports;
    vec![
        format!("--name={name}"),
        format!("--data-dir={}", dir.join(name).display()),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--discovery-endpoints={}", service.trim_start_matches("http://")),
        "--discovery-token=t1".to_owned(),
    ]
}

#[tokio::test]
async fn members_find_each_other_by_a_discovery_service() {
    let dir = tempfile::tempdir().unwrap();
    let service = Settings::new(&dir.path().join("service")).start();
    let registry = connect(&service).await;
    let missing = discovering(dir.path(), "early", &service.endpoint, (free_port(), free_port()));
    let output = run(command(&missing), dir.path());
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("discovery: size key not found"), "{log}");

    registry.put(Put::new("/_etcd/registry/t1/_config/size", "3")).await.unwrap();
    let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
    let members: Vec<Program> = ports
        .iter()
        .enumerate()
        .map(|(number, &ports)| {
            let name = format!("m{number}");
            Program::start(command(&discovering(dir.path(), &name, &service.endpoint, ports)))
        })
        .collect();
    members.iter().for_each(Program::wait_until_ready);
    let client = client_of(ports[0].0).await;
    client.put(Put::new("a", "1")).await.unwrap();
    let other = client_of(ports[2].0).await;
    assert_eq!(other.get(Get::new("a")).await.unwrap().kvs.len(), 1);

    let late = discovering(dir.path(), "late", &service.endpoint, (free_port(), free_port()));
    let output = run(command(&late), dir.path());
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("discovery: cluster is full"), "{log}");
}

#[tokio::test]
async fn the_gateway_forwards_connections_and_leaves_out_who_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(dir.path()).start();
    let (port, gone) = (free_port(), free_port());
    let arguments = [
        "gateway".to_owned(),
        "start".to_owned(),
        format!("--listen-addr=127.0.0.1:{port}"),
        format!("--endpoints=127.0.0.1:{gone},{}", server.endpoint),
    ];
    let gateway = Program::start(command(&arguments));
    gateway.wait_for("ready to proxy client requests");
    let client = client_of(port).await;
    client.put(Put::new("a", "1")).await.unwrap();
    assert_eq!(client.get(Get::new("a")).await.unwrap().kvs.len(), 1);
    gateway.wait_for("deactivated endpoint");

    let itself = [
        "gateway".to_owned(),
        "start".to_owned(),
        format!("--listen-addr=127.0.0.1:{gone}"),
        format!("--endpoints=127.0.0.1:{gone}"),
    ];
    let output = run(command(&itself), dir.path());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("should not resolve to the gateway listen addr"), "{text}");
}

#[tokio::test]
async fn the_grpc_proxy_stands_for_the_cluster_within_its_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(dir.path()).start();
    let direct = connect(&server).await;
    let (port, metrics) = (free_port(), free_port());
    let arguments = [
        "grpc-proxy".to_owned(),
        "start".to_owned(),
        format!("--listen-addr=127.0.0.1:{port}"),
        format!("--advertise-client-url=127.0.0.1:{port}"),
        format!("--endpoints={}", server.endpoint.trim_start_matches("http://")),
        format!("--metrics-addr=http://127.0.0.1:{metrics}"),
        "--namespace=ns/".to_owned(),
    ];
    let proxy = Program::start(command(&arguments));
    proxy.wait_for("started gRPC proxy");
    let client = client_of(port).await;
    let mut watch = client.watch(WatchOptions::new(Keys::all())).await.unwrap();
    client.put(Put::new("a", "1")).await.unwrap();
    direct.put(Put::new("outside", "2")).await.unwrap();
    assert_eq!(keys(&client).await, ["a"]);
    assert_eq!(keys(&direct).await, ["ns/a", "outside"]);
    client.put(Put::new("b", "3")).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let WatchNotice::Events { events, .. } = watch.next().await.unwrap().unwrap() {
            seen.extend(events.iter().map(|event| event.kv.as_ref().unwrap().key.clone()));
        }
    }
    assert_eq!(seen, ["a", "b"]);
    for port in [port, metrics] {
        for path in ["/health", "/proxy/health"] {
            assert!(get(port, path).ends_with("{\"health\":\"true\",\"reason\":\"\"}"), "{path}");
        }
        assert!(get(port, "/proxy/metrics").contains("etcd_grpc_proxy_cache_hits_total 0"));
        assert!(get(port, "/metrics").contains("etcd_server_has_leader 1"));
    }
}
