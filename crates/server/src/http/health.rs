//! `/health`, and the probes `/livez` and `/readyz` with their checks.

use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_state_machine::{AlarmKind, Range, RangeQuery};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::{Query, Site, TEXT, alarm_name, method_not_allowed, not_found, plain, typed};
use crate::api::{ApiError, Credentials, Request};
use crate::grpc::status::message_of;

/// A group of checks with an own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Whether the process is to be restarted when it fails.
    Live,
    /// Whether requests are to be sent here.
    Ready,
}

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Probe {
    /// The probe of a path, and the name of its one check if the path goes on.
    pub(super) fn of_path(path: &str) -> Option<(Self, Option<&str>)> {
        let (probe, rest) = if let Some(rest) = path.strip_prefix("/livez") {
            (Self::Live, rest)
        } else {
            (Self::Ready, path.strip_prefix("/readyz")?)
        };
        if rest.is_empty() { Some((probe, None)) } else { Some((probe, Some(rest.strip_prefix('/')?))) }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Live => "livez",
            Self::Ready => "readyz",
        }
    }

    fn checks(self) -> &'static [Check] {
        match self {
            Self::Live => &[Check::SerializableRead],
            Self::Ready => {
                &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner]
            }
        }
    }
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }
}

impl Site {
    /// `/health`: one word, for whoever asks seldom and wants little.
    pub(super) async fn health(&self, head: &Parts, query: &Query) -> Response<Bytes> {
        if head.method != Method::GET {
            return method_not_allowed();
        }
        match self.illness(query).await {
            None => {
                self.link.metrics().health_successes.increment();
                typed(TEXT, "{\"health\":\"true\",\"reason\":\"\"}")
            }
            Some(reason) => {
                self.link.metrics().health_failures.increment();
                crate::log!(Warn, "serving /health false", "reason" => reason.as_str());
                let reason = serde_json::Value::String(reason);
                let body = format!("{{\"health\":\"false\",\"reason\":{reason}}}\n");
                plain(StatusCode::SERVICE_UNAVAILABLE, body)
            }
        }
    }

    /// What ails the member, alarms first.
    async fn illness(&self, query: &Query) -> Option<String> {
        let report = self.link.api().report();
        let counted = |kind: AlarmKind| !query.all("exclude").any(|excluded| excluded == alarm_name(kind));
        if let Some(alarm) = report.alarms.iter().find(|alarm| counted(alarm.kind)) {
            return Some(format!("ALARM {}", alarm_name(alarm.kind)));
        }
        let serializable = query.first("serializable") == Some("true");
        if !serializable && !self.link.api().has_leader() {
            return Some("RAFT NO LEADER".to_owned());
        }
        let error = self.read(serializable).await.err()?;
        Some(format!("RANGE ERROR:{}", message_of(&error)))
    }

    /// `/livez` and `/readyz`, or one check of them.
    pub(super) async fn probe(
        &self,
        head: &Parts,
        query: &Query,
        probe: Probe,
        only: Option<&str>,
    ) -> Response<Bytes> {
        let checks = probe.checks();
        if only.is_some_and(|only| checks.iter().all(|check| check.name() != only)) {
            return not_found();
        }
        if head.method != Method::GET {
            return method_not_allowed();
        }
        warn_of_unknown(query, checks);
        let mut lines = String::new();
        let mut is_healthy = true;
        for check in checks {
            let excluded = only.is_none() && query.all("exclude").any(|name| name == check.name());
            if excluded || only.is_some_and(|only| only != check.name()) {
                continue;
            }
            let failure = self.run(*check).await.err();
            self.link.metrics().record_check(probe.name(), check.name(), failure.is_none());
            let line = match failure {
                None => format!("[+]{} ok\n", check.name()),
                Some(failure) => {
                    is_healthy = false;
                    format!("[-]{} failed: {failure}\n", check.name())
                }
            };
            lines.push_str(&line);
        }
        if !is_healthy {
            let path = head.uri.path();
            crate::log!(Error, "health check error", "path" => path, "reason" => lines.as_str());
            return plain(StatusCode::SERVICE_UNAVAILABLE, format!("{lines}\n"));
        }
        let body = if query.has("verbose") { format!("{lines}ok\n") } else { "ok\n".to_owned() };
        plain(StatusCode::OK, body)
    }

    async fn run(&self, check: Check) -> Result<(), String> {
        let report = self.link.api().report();
        match check {
            Check::DataCorruption => {
                let corrupt = report.alarms.iter().any(|alarm| alarm.kind == AlarmKind::Corrupt);
                if corrupt { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
            }
            Check::SerializableRead => self.read(true).await.map_err(|error| message_of(&error)),
            Check::LinearizableRead => self.read(false).await.map_err(|error| message_of(&error)),
            Check::NonLearner if report.is_learner => Err("not supported for learner".to_owned()),
            Check::NonLearner => Ok(()),
        }
    }

    /// Reads one key, without caring which.
    async fn read(&self, serializable: bool) -> Result<(), ApiError> {
        let mut query = RangeQuery::new(KeyRange::single(Bytes::from_static(b"a")));
        query.limit = 1;
        query.keys_only = true;
        let range = Range::from_wire(query, serializable, 0, 0);
        self.link.ask(Credentials::Member, Request::Range(range)).await.map(drop)
    }
}

fn warn_of_unknown(query: &Query, checks: &[Check]) {
    let unknown: Vec<String> = query
        .all("exclude")
        .filter(|name| checks.iter().all(|check| check.name() != *name))
        .map(str::to_owned)
        .collect();
    if !unknown.is_empty() {
        crate::log!(Warn, "some health checks cannot be excluded", "missing-health-checks" => unknown);
    }
}
