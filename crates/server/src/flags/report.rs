//! What the start of a server tells of its options, in etcd's words.

use super::options::{AutoCompaction, Options};
use super::url::{joined, texts};
use super::{SERVER_VERSION, help};
use crate::log;
use crate::logging::Value;

impl Options {
    /// Logs all options of a server that starts.
    pub fn log_starting(&self) {
        let (member, store, limits) = (&self.member, &self.store, &self.limits);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (mode, retention) = match store.auto_compaction {
            AutoCompaction::Off => ("periodic", Value::from(std::time::Duration::ZERO)),
            AutoCompaction::Periodic(period) => ("periodic", Value::from(period)),
            AutoCompaction::Revisions(revisions) => ("revision", Value::from(revisions)),
        };
        let cluster: Vec<String> =
            member.initial_cluster.iter().map(|(name, urls)| format!("{name}={}", joined(urls))).collect();
        let state = member.initial_cluster_state.name();
        log!(
            Info,
            "starting an etcd server",
            "etcd-version" => SERVER_VERSION,
            "etched-version" => env!("CARGO_PKG_VERSION"),
            "git-sha" => help::git_sha(),
            "go-os" => std::env::consts::OS,
            "go-arch" => help::go_arch(),
            "max-cpu-available" => cores,
            "name" => member.name.as_str(),
            "data-dir" => member.data_dir.to_string_lossy().into_owned(),
            "wal-dir" => member.wal_dir.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            "heartbeat-interval" => member.heartbeat_interval,
            "election-timeout" => member.election_timeout,
            "snapshot-count" => member.snapshot_count,
            "snapshot-catchup-entries" => member.snapshot_catchup_entries,
            "initial-advertise-peer-urls" => texts(&member.initial_advertise_peer_urls),
            "listen-peer-urls" => texts(&member.listen_peer_urls),
            "advertise-client-urls" => texts(&member.advertise_client_urls),
            "listen-client-urls" => texts(&self.listen.client_urls),
            "listen-metrics-urls" => texts(&self.listen.metrics_urls),
            "initial-cluster" => cluster.join(","),
            "initial-cluster-state" => state,
            "initial-cluster-token" => member.initial_cluster_token.as_str(),
            "quota-backend-bytes" => store.quota_backend_bytes,
            "max-request-bytes" => limits.max_request_bytes,
            "max-concurrent-streams" => limits.max_concurrent_streams,
            "auto-compaction-mode" => mode,
            "auto-compaction-retention" => retention,
            "value-cache-bytes" => store.value_cache_bytes,
            "front-threads" => self.listen.front_threads,
        );
    }
}
