//! The table of plain numbers: names, types, meanings and where each comes from.

use super::Metrics;
use super::exposition::Type;
use super::histogram::Histogram;
use crate::api::StatusReport;

/// A family with one number and no labels.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kind: Type,
    pub(super) help: &'static str,
    pub(super) value: fn(&Metrics, &StatusReport) -> i128,
}

/// A histogram without labels.
pub(super) struct HistogramRow {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) histogram: fn(&Metrics) -> &Histogram,
}

type Value = fn(&Metrics, &StatusReport) -> i128;

const fn counter(name: &'static str, help: &'static str, value: Value) -> Row {
    Row { name, kind: Type::Counter, help, value }
}

const fn gauge(name: &'static str, help: &'static str, value: Value) -> Row {
    Row { name, kind: Type::Gauge, help, value }
}

const fn histogram(name: &'static str, help: &'static str, of: fn(&Metrics) -> &Histogram) -> HistogramRow {
    HistogramRow { name, help, histogram: of }
}

const NONE: Value = |_, _| 0;
const UNUSED: &str = "Not used here; kept for dashboards.";
const QUOTA_DEFAULT: i128 = 2 << 30;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    gauge("etcd_debugging_auth_revision", "Revision of users and roles.", |_, report| report.auth_revision.into()),
    counter("etcd_debugging_lease_granted_total", "Leases granted.", |_, report| report.counters.leases_granted.into()),
    counter("etcd_debugging_lease_renewed_total", "Leases renewed by the leader.", |_, report| report.counters.leases_renewed.into()),
    counter("etcd_debugging_lease_revoked_total", "Leases revoked.", |_, report| report.counters.leases_revoked.into()),
    gauge("etcd_debugging_mvcc_compact_revision", "Revision of the last compaction.", |_, report| report.compact_revision.into()),
    gauge("etcd_debugging_mvcc_current_revision", "Current revision.", |_, report| report.revision.into()),
    counter("etcd_debugging_mvcc_db_compaction_keys_total", "Revisions removed by compactions.", |_, report| report.counters.compacted_keys.into()),
    gauge("etcd_debugging_mvcc_db_compaction_last", "When the last compaction ended, in Unix time.", |metrics, _| metrics.compaction_last.get().into()),
    counter("etcd_debugging_mvcc_events_total", "Events sent to watchers.", |_, report| report.counters.watch_events.into()),
    gauge("etcd_debugging_mvcc_keys_total", "Live keys.", |_, report| report.counters.keys.into()),
    gauge("etcd_debugging_mvcc_pending_events_total", "Events that wait to be sent.", |_, report| report.counters.watch_events_pending.into()),
    gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that are behind.", |_, report| report.counters.slow_watchers.into()),
    gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes of keys and values put.", |_, report| report.counters.put_bytes.into()),
    gauge("etcd_debugging_mvcc_watch_stream_total", "Open watch streams.", |_, report| report.counters.watch_streams.into()),
    gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", |_, report| report.counters.watchers.into()),
    counter("etcd_debugging_server_lease_expired_total", "Leases that ran out.", |_, report| report.counters.leases_expired.into()),
    counter("etcd_debugging_store_expires_total", "Nodes of the v2 API that expired.", |_, report| report.v2.stats.expired.into()),
    counter("etcd_debugging_store_watch_requests_total", "Watches asked for by the v2 API.", |_, report| report.v2.watch_requests.into()),
    gauge("etcd_debugging_store_watchers", "Clients of the v2 API that wait.", |_, report| report.v2.watchers.into()),
    gauge("etcd_disk_defrag_inflight", "1 while the store is defragmented.", |metrics, _| metrics.defragment_inflight.get().into()),
    gauge("etcd_disk_wal_write_bytes_total", "Bytes written to the log.", |metrics, _| metrics.wal_bytes.get().into()),
    gauge("etcd_grpc_proxy_cache_hits_total", UNUSED, NONE),
    gauge("etcd_grpc_proxy_cache_keys_total", UNUSED, NONE),
    gauge("etcd_grpc_proxy_cache_misses_total", UNUSED, NONE),
    counter("etcd_grpc_proxy_events_coalescing_total", UNUSED, NONE),
    gauge("etcd_grpc_proxy_watchers_coalescing_total", UNUSED, NONE),
    gauge("etcd_mvcc_db_open_read_transactions", "Views of the store that are read from.", |metrics, _| metrics.backend_views.get().into()),
    gauge("etcd_mvcc_db_total_size_in_bytes", "Size of the store.", |_, report| report.database_bytes.into()),
    gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Size of the store without free space.", |_, report| report.database_bytes_in_use.into()),
    counter("etcd_mvcc_delete_total", "Delete operations.", |_, report| report.counters.deletes.into()),
    counter("etcd_mvcc_put_total", "Put operations.", |_, report| report.counters.puts.into()),
    counter("etcd_mvcc_range_total", "Range operations.", |_, report| report.counters.ranges.into()),
    counter("etcd_mvcc_txn_total", "Transactions.", |_, report| report.counters.txns.into()),
    counter("etcd_network_client_grpc_received_bytes_total", "Bytes received from clients.", |metrics, _| metrics.received_bytes.get().into()),
    counter("etcd_network_client_grpc_sent_bytes_total", "Bytes sent to clients.", |metrics, _| metrics.sent_bytes.get().into()),
    gauge("etcd_server_has_leader", "1 if there is a leader.", |_, report| (report.leader != 0).into()),
    counter("etcd_server_health_failures", "Unhealthy answers of /health.", |metrics, _| metrics.health_failures.get().into()),
    counter("etcd_server_health_success", "Healthy answers of /health.", |metrics, _| metrics.health_successes.get().into()),
    counter("etcd_server_heartbeat_send_failures_total", "Heartbeats that were not sent in time.", |metrics, _| metrics.heartbeat_failures.get().into()),
    gauge("etcd_server_is_leader", "1 if this member leads.", |_, report| report.is_leader.into()),
    gauge("etcd_server_is_learner", "1 if this member does not vote.", |_, report| report.is_learner.into()),
    counter("etcd_server_leader_changes_seen_total", "Changes of the leader.", |_, report| report.counters.leader_changes.into()),
    counter("etcd_server_learner_promote_successes", "Learners promoted while this member led.", |metrics, _| metrics.promotions.get().into()),
    gauge("etcd_server_proposals_applied_total", "Index of the last entry applied.", |_, report| report.raft_applied.into()),
    gauge("etcd_server_proposals_committed_total", "Index of the last entry committed.", |_, report| report.raft_committed.into()),
    counter("etcd_server_proposals_failed_total", "Proposals that failed.", |_, report| report.counters.proposals_failed.into()),
    gauge("etcd_server_proposals_pending", "Proposals under way.", |_, report| report.counters.proposals_pending.into()),
    gauge("etcd_server_quota_backend_bytes", "Size of the store from which writes are refused.", |_, report| if report.quota_bytes == 0 { QUOTA_DEFAULT } else { report.quota_bytes.into() }),
    counter("etcd_server_read_indexes_failed_total", "Linearizable reads that failed.", |_, report| report.counters.read_indexes_failed.into()),
    counter("etcd_server_slow_apply_total", "Entries that took long to apply.", |metrics, _| metrics.slow_applies.get().into()),
    counter("etcd_server_slow_read_indexes_total", "Linearizable reads that were given up since the members did not agree in time.", |_, report| report.counters.read_indexes_slow.into()),
    gauge("etcd_server_snapshot_apply_in_progress_total", "1 while a snapshot of the leader is applied.", |metrics, _| metrics.installing.get().into()),
    gauge("promhttp_metric_handler_requests_in_flight", "Scrapes that are being answered.", |metrics, _| metrics.scrapes_inflight.get().into()),
];

#[rustfmt::skip]
pub(super) const HISTOGRAMS: &[HistogramRow] = &[
    histogram("etcd_disk_wal_fsync_duration_seconds", "Syncs of the log.", |metrics| &metrics.wal_fsync),
    histogram("etcd_disk_wal_write_duration_seconds", "Writes to the log.", |metrics| &metrics.wal_write),
    histogram("etcd_disk_backend_commit_duration_seconds", "Commits of the store.", |metrics| &metrics.backend_commit),
    histogram("etcd_disk_backend_defrag_duration_seconds", "Defragmentations of the store.", |metrics| &metrics.backend_defragment),
    histogram("etcd_disk_backend_snapshot_duration_seconds", "Streamed snapshots of the store.", |metrics| &metrics.backend_snapshot),
    histogram("etcd_debugging_snap_save_total_duration_seconds", "Snapshot files written.", |metrics| &metrics.snapshot_save),
    histogram("etcd_snap_fsync_duration_seconds", "Syncs of snapshot files.", |metrics| &metrics.snapshot_fsync),
    histogram("etcd_mvcc_hash_duration_seconds", "Hashes of the whole store.", |metrics| &metrics.hash),
    histogram("etcd_mvcc_hash_rev_duration_seconds", "Hashes of the keys at a revision.", |metrics| &metrics.hash_kv),
    histogram("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "Whole compactions.", |metrics| &metrics.compaction_total_ms),
    histogram("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "Steps of compactions.", |metrics| &metrics.compaction_pause_ms),
    histogram("etcd_debugging_lease_ttl_total", "Times to live of leases, in seconds.", |metrics| &metrics.lease_ttl),
    histogram("etcd_debugging_disk_backend_commit_rebalance_duration_seconds", "A phase of commits that this store does not have: it counts them and takes no time.", |metrics| &metrics.backend_rebalance),
    histogram("etcd_debugging_disk_backend_commit_spill_duration_seconds", "The part of commits in which tables are changed in memory.", |metrics| &metrics.backend_change),
    histogram("etcd_debugging_disk_backend_commit_write_duration_seconds", "The part of commits in which changes are written.", |metrics| &metrics.backend_write),
    histogram("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", "Steps of compactions, in which keys are pruned.", |metrics| &metrics.compaction_index_ms),
    histogram("etcd_debugging_server_watch_send_loop_control_stream_duration_seconds", "Giving a watch stream an answer to a request.", |metrics| &metrics.watch_control),
    histogram("etcd_debugging_server_watch_send_loop_progress_duration_seconds", "Giving a watch stream a notice of progress.", |metrics| &metrics.watch_progress),
    histogram("etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds", "Giving a watch stream events, by event.", |metrics| &metrics.watch_event),
    histogram("etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds", "Giving a watch stream events.", |metrics| &metrics.watch_events),
    histogram("etcd_debugging_snap_save_marshalling_duration_seconds", "Snapshot files encoded.", |metrics| &metrics.snapshot_marshal),
    histogram("etcd_snap_db_fsync_duration_seconds", "Syncs of received databases.", |metrics| &metrics.database_fsync),
    histogram("etcd_snap_db_save_total_duration_seconds", "Databases received.", |metrics| &metrics.database_save),
];
