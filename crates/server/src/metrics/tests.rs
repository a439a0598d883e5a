//! All names, types and label names of etcd's metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use etched_replica::Measure;
use etched_state_machine::v2store::{Stats, Tally};

use super::*;
use crate::api::{Identity, StatusReport, V2Counts};
use crate::flags::Gates;

/// The families of etcd 3.7.2 after puts, gets and probes: name, type and label names.
const FAMILIES: &str = include_str!("tests/families.txt");

fn render(metrics: &Metrics) -> String {
    let identity = Identity {
        cluster_id: 1,
        member_id: 0x2e12_59d4_15f2_a040,
        name: "m".into(),
        version: "3.7.2".into(),
    };
    let tally = |succeeded| Tally { succeeded, failed: 9 };
    let stats = Stats { sets: tally(3), swaps: tally(2), expired: 4, ..Stats::default() };
    let v2 = V2Counts { stats, reads: [5, 6], watchers: 7, watch_requests: 8 };
    let report = StatusReport { cluster_version: "3.7.0".into(), leader: 1, v2, ..StatusReport::default() };
    let gates = Gates::default();
    metrics.render(&Subject { identity: &identity, report: &report, gates: &gates })
}

fn types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// The names of the labels of each family, without those of buckets and quantiles.
fn labels(text: &str) -> BTreeMap<&str, String> {
    let types = types(text);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let mut labels = BTreeMap::new();
    for sample in samples {
        let (name, rest) = sample.split_at(sample.find(['{', ' ']).unwrap());
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let family = name.strip_suffix(suffix)?;
            types.contains_key(family).then_some(family)
        });
        let names = rest.split_once('{').map_or("", |(_, rest)| rest);
        let mut names: Vec<&str> = names
            .match_indices("=\"")
            .map(|(at, _)| &names[names[..at].rfind([',', '{']).map_or(0, |comma| comma + 1)..at])
            .filter(|name| !["le", "quantile"].contains(name))
            .collect();
        names.sort_unstable();
        let names = names.join(",");
        let before = labels.insert(family.unwrap_or(name), names.clone());
        assert!(before.is_none_or(|before| before == names), "{name} has samples with other labels");
    }
    labels
}

#[test]
fn each_family_of_etcd_is_there_with_its_type_and_its_labels() {
    let metrics = Metrics::new(false);
    metrics.client_requests("3.5", CallKind::Unary).increment();
    metrics.record_check("livez", "serializable_read", true);
    metrics.record(&Measure::Applied { field: 4, is_ok: true, took_ns: 5_000 });
    metrics.record(&Measure::Proposed { field: 4, is_ok: true, took_ns: 500_000 });
    metrics.record(&Measure::Ranged { count: 3, is_ok: true, took_ns: 9_000 });
    let text = render(&metrics);
    let (types, labels) = (types(&text), labels(&text));
    for line in FAMILIES.lines() {
        let mut parts = line.split(' ');
        let (name, kind) = (parts.next().unwrap(), parts.next().unwrap());
        assert_eq!(types.get(name), Some(&kind), "{name}");
        assert_eq!(labels.get(name).map(String::as_str), Some(parts.next().unwrap_or_default()), "{name}");
    }
}

#[test]
fn what_a_member_measures_is_recorded_where_etcd_has_it() {
    let metrics = Metrics::new(false);
    metrics.record(&Measure::Applied { field: 5, is_ok: false, took_ns: 150_000 });
    metrics.record(&Measure::Ranged { count: 4, is_ok: true, took_ns: 2_000_000 });
    metrics.record(&Measure::Read { is_txn: true, is_ok: true, took_ns: 3_000_000 });
    metrics.record(&Measure::Granted { ttl: 60 });
    metrics.record(&Measure::CompactionSlice { took_ns: 1_500_000 });
    metrics.record(&Measure::Compaction { took_ns: 150_000_000 });
    let text = render(&metrics);
    for line in [
        "etcd_server_apply_duration_seconds_bucket{op=\"DeleteRange\",success=\"false\",version=\"v3\",le=\"0.0001\"} 0",
        "etcd_server_apply_duration_seconds_bucket{op=\"DeleteRange\",success=\"false\",version=\"v3\",le=\"0.0002\"} 1",
        "etcd_server_range_duration_seconds_bucket{success=\"true\",le=\"0.0004\"} 0",
        "etcd_server_range_duration_seconds_bucket{success=\"true\",le=\"0.0008\"} 4",
        "etcd_server_range_duration_seconds_sum{success=\"true\"} 0.002",
        "etcd_server_request_duration_seconds_count{success=\"true\",type=\"ReadonlyTxn\"} 1",
        "etcd_debugging_lease_ttl_total_bucket{le=\"32\"} 0",
        "etcd_debugging_lease_ttl_total_bucket{le=\"64\"} 1",
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds_bucket{le=\"2\"} 1",
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds_count 1",
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_bucket{le=\"200\"} 1",
    ] {
        assert!(text.lines().any(|got| got == line), "{line}");
    }
    assert!(metrics.compaction_last.get() > 0);
}

#[test]
fn what_the_v2_api_does_is_counted_where_etcd_counts_it() {
    let text = render(&Metrics::new(false));
    let samples: Vec<_> = text.lines().filter(|line| line.starts_with("etcd_debugging_store_")).collect();
    assert_eq!(
        samples,
        [
            "etcd_debugging_store_expires_total 4",
            "etcd_debugging_store_reads_total{action=\"get\"} 5",
            "etcd_debugging_store_reads_total{action=\"getRecursive\"} 6",
            "etcd_debugging_store_watch_requests_total 8",
            "etcd_debugging_store_watchers 7",
            "etcd_debugging_store_writes_total{action=\"compareAndSwap\"} 2",
            "etcd_debugging_store_writes_total{action=\"set\"} 3",
        ]
    );
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
