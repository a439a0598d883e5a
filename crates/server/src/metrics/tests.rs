//! All names, types and label names of etcd's metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::api::{Identity, StatusReport};
use crate::flags::Gates;

/// The families of a fresh etcd 3.7.2, but for those of Go's runtime: name and type.
const FAMILIES: &str = include_str!("tests/families.txt");

fn render(metrics: &Metrics) -> String {
    let identity = Identity { cluster_id: 1, member_id: 0x2e12_59d4_15f2_a040, name: "m".into() };
    let report = StatusReport { cluster_version: "3.7.0".into(), leader: 1, ..StatusReport::default() };
    let gates = Gates::default();
    metrics.render(&Subject { identity: &identity, report: &report, gates: &gates })
}

fn types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn each_family_of_etcd_is_there_with_its_type() {
    let metrics = Metrics::new(false);
    metrics.client_requests("3.5", CallKind::Unary).increment();
    metrics.record_check("livez", "serializable_read", true);
    let rpc::Found::Method(id) = rpc::find("/etcdserverpb.KV/Range") else { panic!() };
    metrics.rpc.finish(id, tonic::Code::Ok, Duration::from_micros(50));
    let text = render(&metrics);
    let ours = types(&text);
    for line in FAMILIES.lines() {
        let (name, kind) = line.split_once(' ').unwrap();
        // Labels of the first apply come from the log of a real member.
        if name == "etcd_server_apply_duration_seconds" {
            continue;
        }
        assert_eq!(ours.get(name), Some(&kind), "{name}");
    }
}

#[test]
fn samples_are_those_that_dashboards_ask_for() {
    let metrics = Metrics::new(true);
    metrics.wal_fsync.record(Duration::from_millis(3));
    let rpc::Found::Method(id) = rpc::find("/etcdserverpb.Watch/Watch") else { panic!() };
    metrics.rpc.start(id);
    metrics.rpc.finish(id, tonic::Code::Cancelled, Duration::ZERO);
    let text = render(&metrics);
    for line in [
        "etcd_cluster_version{cluster_version=\"3.7\"} 1",
        "etcd_server_version{server_version=\"3.7.2\"} 1",
        "etcd_server_id{server_id=\"2e1259d415f2a040\"} 1",
        "etcd_server_has_leader 1",
        "etcd_server_quota_backend_bytes 2147483648",
        "etcd_server_feature_enabled{name=\"FastLeaseKeepAlive\",stage=\"BETA\"} 1",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 0",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.004\"} 1",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 1",
        "etcd_disk_wal_fsync_duration_seconds_sum 0.003",
        "etcd_debugging_lease_ttl_total_bucket{le=\"1.048576e+06\"} 0",
        "etcd_mvcc_hash_duration_seconds_bucket{le=\"163.84\"} 0",
        "grpc_server_handled_total{grpc_code=\"Canceled\",grpc_method=\"Watch\",\
         grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 1",
        "grpc_server_started_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 0",
        "grpc_server_handling_seconds_bucket{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",\
         grpc_type=\"bidi_stream\",le=\"0.005\"} 1",
    ] {
        assert!(text.lines().any(|got| got == line), "{line}");
    }
    assert!(text.lines().any(|line| line.starts_with("process_resident_memory_bytes ")));
}

#[test]
fn families_come_once_each() {
    let text = render(&Metrics::new(false));
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
}

#[test]
fn invented_client_versions_take_no_memory() {
    let metrics = Metrics::new(false);
    for number in 0..1000 {
        metrics.client_requests(&format!("v{number}"), CallKind::Unary).increment();
    }
    let lines = render(&metrics);
    let count = lines.lines().filter(|line| line.starts_with("etcd_server_client_requests_total{")).count();
    assert!(count <= CLIENT_VERSIONS_MAX + 1, "{count}");
}
