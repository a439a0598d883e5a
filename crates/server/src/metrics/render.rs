//! Renders everything as the text that a scrape gets.

use std::sync::PoisonError;

use super::exposition::{Exposition, Type};
use super::rows::{HISTOGRAMS, ROWS};
use super::rpc::{CODES, MethodNumbers};
use super::{CallKind, Metrics, process, runtime};
use crate::api::{Identity, StatusReport, V2Counts};
use crate::flags::{GATES, Gates, SERVER_VERSION, git_sha};

/// Whose metrics are rendered.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The member's names.
    pub identity: &'a Identity,
    /// Its state.
    pub report: &'a StatusReport,
    /// Its feature gates.
    pub gates: &'a Gates,
}

impl Metrics {
    /// The text of a scrape.
    pub fn render(&self, subject: &Subject<'_>) -> String {
        let mut exposition = Exposition::default();
        for row in ROWS {
            let value = (row.value)(self, subject.report);
            exposition.sample((row.name, row.kind, row.help), &[], value);
        }
        for row in HISTOGRAMS {
            exposition.histogram(row.name, row.help, &[], (row.histogram)(self));
        }
        render_names(&mut exposition, subject);
        self.peers.render(&mut exposition, &format!("{:x}", subject.identity.member_id));
        self.render_rpc(&mut exposition);
        self.render_times(&mut exposition);
        self.render_failures(&mut exposition);
        self.render_clients_and_checks(&mut exposition);
        render_v2(&mut exposition, &subject.report.v2);
        process::render(&mut exposition);
        runtime::render(&mut exposition);
        exposition.finish()
    }

    fn render_rpc(&self, exposition: &mut Exposition) {
        let counter = |name, help| (name, Type::Counter, help);
        for numbers in self.rpc.numbers() {
            let MethodNumbers { method, started, received, sent, .. } = numbers;
            if started == 0 && !method.is_shown_from_the_start() {
                continue;
            }
            let labels = [
                ("grpc_method", method.name),
                ("grpc_service", method.service),
                ("grpc_type", method.shape.name()),
            ];
            for (name, help, value) in [
                ("grpc_server_started_total", "Calls begun.", started),
                ("grpc_server_msg_received_total", "Messages received.", received),
                ("grpc_server_msg_sent_total", "Messages sent.", sent),
            ] {
                exposition.sample(counter(name, help), &labels, value);
            }
            for (code, count) in CODES.iter().zip(numbers.handled) {
                let labels = [("grpc_code", *code), labels[0], labels[1], labels[2]];
                exposition.sample(counter("grpc_server_handled_total", "Calls ended."), &labels, count);
            }
            if let Some(handling) = numbers.handling {
                let help = "Time that calls took, in seconds.";
                exposition.histogram("grpc_server_handling_seconds", help, &labels, handling);
            }
        }
    }

    fn render_times(&self, exposition: &mut Exposition) {
        let name = "etcd_server_apply_duration_seconds";
        let help = "Time that entries took to apply, in seconds.";
        self.applies.render(exposition, name, help, |operation, success| {
            [("op", operation), ("success", success), ("version", "v3")]
        });
        let name = "etcd_server_request_duration_seconds";
        let help = "Time from a request to its outcome, in seconds.";
        self.requests
            .render(exposition, name, help, |operation, success| [("success", success), ("type", operation)]);
        for (success, histogram) in ["false", "true"].into_iter().zip(&self.ranges) {
            if histogram.count() > 0 {
                let (name, help) = ("etcd_server_range_duration_seconds", "Time that ranges took to read.");
                exposition.histogram(name, help, &[("success", success)], histogram);
            }
        }
    }

    fn render_failures(&self, exposition: &mut Exposition) {
        let failures = &self.stream_failures;
        for (api, kind, number) in [
            ("watch", "receive", &failures.watch_receive),
            ("watch", "send", &failures.watch_send),
            ("lease-keepalive", "receive", &failures.renewal_receive),
            ("lease-keepalive", "send", &failures.renewal_send),
        ] {
            if number.get() > 0 {
                let name = "etcd_network_server_stream_failures_total";
                let family = (name, Type::Counter, "Streams of clients that failed.");
                exposition.sample(family, &[("API", api), ("Type", kind)], number.get());
            }
        }
        let refused = self.promotion_failures.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in refused.iter() {
            let name = "etcd_server_learner_promote_failures";
            let family = (name, Type::Counter, "Promotions of learners that were refused.");
            exposition.sample(family, &[("Reason", reason)], count);
        }
    }

    fn render_clients_and_checks(&self, exposition: &mut Exposition) {
        for ((version, kind), count) in
            self.client_versions.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let kind = match kind {
                CallKind::Stream => "stream",
                CallKind::Unary => "unary",
            };
            let labels = [("client_api_version", version.as_str()), ("type", kind)];
            let family =
                ("etcd_server_client_requests_total", Type::Counter, "Calls by version of the client.");
            exposition.sample(family, &labels, count.get());
        }
        for ((probe, name), check) in self.checks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels = [("name", *name), ("type", *probe)];
            let family = ("etcd_server_healthcheck", Type::Gauge, "1 if the check passed when it last ran.");
            exposition.sample(family, &labels, u8::from(check.healthy));
            for (status, count) in [("success", check.successes), ("error", check.errors)] {
                let labels = [labels[0], ("status", status), labels[1]];
                let family = ("etcd_server_healthchecks_total", Type::Counter, "Runs of checks.");
                exposition.sample(family, &labels, count);
            }
        }
        for (code, count) in [("200", self.scrapes.get()), ("500", 0), ("503", 0)] {
            let family = ("promhttp_metric_handler_requests_total", Type::Counter, "Scrapes answered.");
            exposition.sample(family, &[("code", code)], count);
        }
    }
}

/// Reads and changes of the v2 API; each sample is there when there is something to count, as in etcd.
fn render_v2(exposition: &mut Exposition, counts: &V2Counts) {
    let stats = &counts.stats;
    let [one, all] = counts.reads;
    for (action, count) in [("get", one), ("getRecursive", all)].into_iter().filter(|(_, count)| *count > 0) {
        let family = ("etcd_debugging_store_reads_total", Type::Counter, "Reads of the v2 API.");
        exposition.sample(family, &[("action", action)], count);
    }
    for (action, tally) in [
        ("compareAndDelete", stats.compared_deletes),
        ("compareAndSwap", stats.swaps),
        ("create", stats.creates),
        ("delete", stats.deletes),
        ("set", stats.sets),
        ("update", stats.updates),
    ] {
        if tally.succeeded > 0 {
            let family = ("etcd_debugging_store_writes_total", Type::Counter, "Changes by the v2 API.");
            exposition.sample(family, &[("action", action)], tally.succeeded);
        }
    }
}

/// Information that stands in labels, with the value 1.
fn render_names(exposition: &mut Exposition, subject: &Subject<'_>) {
    let mut one =
        |name, help, labels: &[(&str, &str)]| exposition.sample((name, Type::Gauge, help), labels, 1);
    one(
        "etcd_server_version",
        "The version of the server.",
        &[("server_version", &subject.identity.version)],
    );
    let runtime = concat!("etched ", env!("CARGO_PKG_VERSION"));
    one("etcd_server_go_version", "What the server is made with.", &[("server_go_version", runtime)]);
    let build =
        [("etcd_version", SERVER_VERSION), ("revision", git_sha()), ("version", env!("CARGO_PKG_VERSION"))];
    one("etched_build_info", "The version of etched.", &build);
    let id = format!("{:x}", subject.identity.member_id);
    one("etcd_server_id", "This member's id.", &[("server_id", &id)]);
    let known = [("Local", id.as_str()), ("Remote", id.as_str())];
    one("etcd_network_known_peers", "Members that are known.", &known);
    let version = &subject.report.cluster_version;
    if !version.is_empty() {
        let short = version.rsplit_once('.').map_or(version.as_str(), |(short, _)| short);
        one("etcd_cluster_version", "The version of the cluster.", &[("cluster_version", short)]);
    }
    for alarm in &subject.report.alarms {
        let member = format!("{:x}", alarm.member_id);
        let labels = [("alarm_type", crate::http::alarm_name(alarm.kind)), ("server_id", &member)];
        one("etcd_debugging_server_alarms", "Active alarms.", &labels);
    }
    for gate in &GATES {
        let labels = [("name", gate.name), ("stage", gate.stage.name())];
        let family = ("etcd_server_feature_enabled", Type::Gauge, "1 if the feature is on.");
        exposition.sample(family, &labels, u8::from(subject.gates.is_on(gate.name)));
    }
}
