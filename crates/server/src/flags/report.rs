//! What the start of a server tells of its options, in etcd's words.

use super::options::{AutoCompaction, Discovery, Options};
use super::url::{joined, texts};
use super::{GATES, Notice, SERVER_VERSION, help};
use crate::logging::{Level, Value};

/// Names and values of one line.
type Fields = Vec<(&'static str, Value)>;

impl Options {
    /// Logs all options of a server that starts.
    pub fn log_starting(&self) {
        let fields =
            [self.program(), self.places(), self.timing(), self.addresses(), self.store_and_checks()];
        Notice::new(Level::Info, "starting an etcd server", fields.concat()).emit();
    }

    fn program(&self) -> Fields {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        vec![
            ("etcd-version", SERVER_VERSION.into()),
            ("etched-version", env!("CARGO_PKG_VERSION").into()),
            ("git-sha", help::git_sha().into()),
            ("go-os", std::env::consts::OS.into()),
            ("go-arch", help::go_arch().into()),
            ("max-cpu-set", cores.into()),
            ("max-cpu-available", cores.into()),
        ]
    }

    fn places(&self) -> Fields {
        let member = &self.member;
        let member_dir = member.data_dir.join("member");
        let wal_dir = member.wal_dir.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        vec![
            ("member-initialized", member_dir.join("wal").exists().into()),
            ("name", member.name.as_str().into()),
            ("data-dir", member.data_dir.display().to_string().into()),
            ("wal-dir", wal_dir.as_str().into()),
            ("wal-dir-dedicated", wal_dir.into()),
            ("member-dir", member_dir.display().to_string().into()),
            ("force-new-cluster", member.force_new_cluster.into()),
        ]
    }

    fn timing(&self) -> Fields {
        let member = &self.member;
        vec![
            ("heartbeat-interval", member.heartbeat_interval.into()),
            ("election-timeout", member.election_timeout.into()),
            ("initial-election-tick-advance", member.initial_election_tick_advance.into()),
            ("snapshot-count", member.snapshot_count.into()),
            ("snapshot-catchup-entries", member.snapshot_catchup_entries.into()),
        ]
    }

    fn addresses(&self) -> Fields {
        let (member, listen, http) = (&self.member, &self.listen, &self.http);
        let cluster: Vec<String> =
            member.initial_cluster.iter().map(|(name, urls)| format!("{name}={}", joined(urls))).collect();
        let all = |list: &Option<Vec<String>>| list.clone().unwrap_or_else(|| vec!["*".to_owned()]);
        vec![
            ("initial-advertise-peer-urls", texts(&member.initial_advertise_peer_urls).into()),
            ("listen-peer-urls", texts(&member.listen_peer_urls).into()),
            ("advertise-client-urls", texts(&member.advertise_client_urls).into()),
            ("listen-client-urls", texts(&listen.client_urls).into()),
            ("listen-metrics-urls", texts(&listen.metrics_urls).into()),
            ("cors", all(&http.origins).into()),
            ("host-whitelist", all(&http.hosts).into()),
            ("initial-cluster", cluster.join(",").into()),
            ("initial-cluster-state", member.initial_cluster_state.name().into()),
            ("initial-cluster-token", member.initial_cluster_token.as_str().into()),
            ("front-threads", listen.front_threads.into()),
        ]
    }

    fn store_and_checks(&self) -> Fields {
        let (store, limits, checks) = (&self.store, &self.limits, &self.checks);
        let (mode, retention) = match store.auto_compaction {
            AutoCompaction::Off => ("periodic", Value::from(std::time::Duration::ZERO)),
            AutoCompaction::Periodic(period) => ("periodic", Value::from(period)),
            AutoCompaction::Revisions(revisions) => ("revision", Value::from(revisions)),
        };
        let (token, endpoints, domain) = match &self.member.discovery {
            None => ("", String::new(), ""),
            Some(Discovery::Service(service)) => (service.token.as_str(), service.endpoints.join(","), ""),
            Some(Discovery::Srv { domain, .. }) => ("", String::new(), domain.as_str()),
        };
        let chosen = GATES.iter().filter(|gate| self.gates.is_on(gate.name) != gate.default);
        let chosen: Vec<String> =
            chosen.map(|gate| format!("{}={}", gate.name, self.gates.is_on(gate.name))).collect();
        vec![
            ("quota-backend-bytes", store.quota_backend_bytes.into()),
            ("max-request-bytes", limits.max_request_bytes.into()),
            ("max-concurrent-streams", limits.max_concurrent_streams.into()),
            ("pre-vote", self.member.pre_vote.into()),
            ("feature-gates", chosen.join(",").into()),
            ("initial-corrupt-check", checks.at_start.into()),
            ("corrupt-check-time-interval", checks.interval.unwrap_or_default().into()),
            ("compact-check-time-interval", checks.compaction_interval.unwrap_or_default().into()),
            ("auto-compaction-mode", mode.into()),
            ("auto-compaction-retention", retention),
            ("discovery-token", token.into()),
            ("discovery-endpoints", endpoints.into()),
            ("discovery-srv", domain.into()),
            ("downgrade-check-interval", checks.downgrade_interval.into()),
            ("max-learners", self.member.max_learners.into()),
            // What etcd enforces, whatever the flag says.
            ("v2-deprecation", "write-only".into()),
            ("value-cache-bytes", store.value_cache_bytes.into()),
        ]
    }
}
