//! Distributed traces: sampled requests as spans that are sent to a collector by OTLP (`--enable-distributed-tracing`).
//!
//! ```text
//! etcdserverpb.KV/Put            the whole call, a child of what the client's `traceparent` names
//! ├ queue                        until the core thread took it in
//! ├ propose                      until its entry was in the log's buffer; by way of the leader at a follower
//! ├ log                          until the entry was on this member's disk
//! ├ agreement                    until a quorum had it, or agreed on the index of a read
//! ├ apply                        until it was applied or read, and answered
//! └ answer                       until the answer was written
//! ```
//!
//! Whether a request is sampled is decided when it begins: as the client did, or by chance.
//! Spans are made when it has ended, from the times that the core thread keeps for each batch; so a request that is not
//! sampled costs one look at a number, and without tracing nothing.
//! Spans wait in the library's bounded queue, which drops them when it is full.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tonic::Code;

use crate::api::Phases;
use crate::member::now_ns;
use crate::metrics::rpc::Method;

/// The collector's address if none is given, as in etcd.
pub const ADDRESS_DEFAULT: &str = "localhost:4317";

/// How long the last spans may take to leave when the process ends.
const LAST_TIME_MAX: Duration = Duration::from_secs(2);

/// Requests of a million that are sampled at most: all.
pub const RATE_MAX: u32 = 1_000_000;

/// Where traces go, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// `--distributed-tracing-address`; a URL says whether TLS is spoken.
    pub address: String,
    /// `--distributed-tracing-service-name`.
    pub service_name: String,
    /// `--distributed-tracing-instance-id`; empty for none.
    pub instance_id: String,
    /// `--distributed-tracing-sampling-rate`: requests of a million.
    pub sampling_rate: u32,
}

/// Traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The thread for connections to the collector cannot be started.
    #[error("cannot start the thread for traces")]
    Thread(#[from] std::io::Error),
    /// The settings do not make sense.
    #[error("the collector of traces cannot be used")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Samples requests and sends their spans.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    rate: u64,
    state: AtomicU64,
    /// The exporter's connections live in it.
    _runtime: tokio::runtime::Runtime,
}

/// A request that is sampled.
#[derive(Debug)]
pub struct Sampled {
    parent: Option<SpanContext>,
    started_ns: u64,
}

impl Traces {
    /// Makes ready to send; the collector is connected to when there is something to send.
    ///
    /// # Errors
    ///
    /// When the settings are wrong or a thread cannot be started.
    pub fn start(options: &TraceOptions) -> Result<Self, TraceError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let mut exporter = SpanExporter::builder().with_tonic();
        if options.address != ADDRESS_DEFAULT || !is_in_environment() {
            exporter = exporter.with_endpoint(url_of(&options.address));
        }
        let exporter = exporter.build()?;
        let mut resource = Resource::builder().with_service_name(options.service_name.clone());
        if !options.instance_id.is_empty() {
            resource =
                resource.with_attribute(KeyValue::new("service.instance.id", options.instance_id.clone()));
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .with_sampler(Sampler::AlwaysOn)
            .build();
        drop(entered);
        Ok(Self {
            tracer: provider.tracer("etched"),
            provider,
            rate: options.sampling_rate.into(),
            state: AtomicU64::new(now_ns()),
            _runtime: runtime,
        })
    }

    /// Decides over a request that begins now: as its client did, or by chance.
    pub fn sample(&self, traceparent: Option<&[u8]>) -> Option<Sampled> {
        let parent = traceparent.and_then(parse_traceparent);
        let is_sampled = match &parent {
            Some(parent) => parent.is_sampled(),
            None => self.chance() < self.rate,
        };
        is_sampled.then(|| Sampled { parent, started_ns: now_ns() })
    }

    /// A number below a million that differs from call to call.
    fn chance(&self) -> u64 {
        let state = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % u64::from(RATE_MAX)
    }

    /// Sends the spans of a request that has ended.
    pub fn finish(&self, sampled: &Sampled, method: &Method, code: Code, phases: Option<&Phases>) {
        let ended_ns = now_ns();
        let now = SystemTime::now();
        let at = |ns: u64| now - Duration::from_nanos(ended_ns.saturating_sub(ns));
        let parent = match &sampled.parent {
            Some(parent) => Context::new().with_remote_span_context(parent.clone()),
            None => Context::new(),
        };
        let mut whole = SpanBuilder::from_name(format!("{}/{}", method.service, method.name))
            .with_kind(SpanKind::Server)
            .with_start_time(at(sampled.started_ns))
            .with_attributes([
                KeyValue::new("rpc.system", "grpc"),
                KeyValue::new("rpc.service", method.service),
                KeyValue::new("rpc.method", method.name),
                KeyValue::new("rpc.grpc.status_code", code as i64),
            ])
            .start_with_context(&self.tracer, &parent);
        if code != Code::Ok {
            whole.set_status(Status::error(crate::metrics::rpc::CODES[code as usize]));
        }
        let inside = Context::new().with_remote_span_context(whole.span_context().clone());
        for (name, begin_ns, end_ns) in spans(sampled.started_ns, ended_ns, phases) {
            let mut span = SpanBuilder::from_name(name)
                .with_kind(SpanKind::Internal)
                .with_start_time(at(begin_ns))
                .start_with_context(&self.tracer, &inside);
            span.end_with_timestamp(at(end_ns));
        }
        whole.end_with_timestamp(now);
    }

    /// Sends what waits, for a short time; called before the process ends.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_TIME_MAX) {
            crate::log!(Warn, "the last traces could not be sent", "error" => error.to_string());
        }
    }
}

/// The parts of a request: name, begin and end, each of which begins where the one before ends.
fn spans(started_ns: u64, ended_ns: u64, phases: Option<&Phases>) -> Vec<(&'static str, u64, u64)> {
    let Some(phases) = phases else { return Vec::new() };
    let ends = [
        ("queue", phases.taken_ns),
        ("propose", phases.appended_ns),
        ("log", phases.synced_ns),
        ("agreement", phases.applied_ns),
        ("apply", phases.answered_ns),
        ("answer", ended_ns),
    ];
    let mut spans = Vec::with_capacity(ends.len());
    let mut begin_ns = started_ns;
    for (name, end_ns) in ends {
        if end_ns > begin_ns {
            spans.push((name, begin_ns, end_ns.min(ended_ns)));
            begin_ns = end_ns.min(ended_ns);
        }
    }
    spans
}

fn is_in_environment() -> bool {
    ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Without a scheme no TLS is spoken, as in etcd.
fn url_of(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

/// `00-<trace id>-<parent id>-<flags>` of W3C's Trace Context; `None` if it is anything else.
fn parse_traceparent(value: &[u8]) -> Option<SpanContext> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    if !is_hex(version, 2) || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
        return None;
    }
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests;
