//! The gRPC services of etcd, over the member's [`Api`](crate::api::Api).
//!
//! A handler converts a request, hands it over, waits for its completion and converts the answer; it knows no rule.
//! Calls are dispatched by path, without a router between the connection and the service, and watched by a
//! `Call` of this module, which counts them and gives the library's own errors the texts of grpc-go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etched_proto::wire::etcdserverpb as wire;
use etched_proto::wire::v3electionpb::election_server::ElectionServer;
use etched_proto::wire::v3lockpb::lock_server::LockServer;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderName, HeaderValue, Method as HttpMethod, Request};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tonic_reflection::server::v1alpha::{
    ServerReflection as ServerReflectionAlpha, ServerReflectionServer as ServerReflectionServerAlpha,
};

mod auth;
mod call;
mod cluster;
mod convert;
mod election;
mod errand;
mod health;
mod hot;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod range_stream;
mod snapshot;
mod stats;
pub(crate) mod status;
#[cfg(test)]
mod tests;
mod unary;
mod watch;
mod web;

use call::Answering;
pub(crate) use call::Call;
pub(crate) use hot::{HotCall, HotMethod};
pub(crate) use stats::SpareStats;
use status::{INVALID_CLIENT_VERSION, NO_LEADER, NOT_FOR_LEARNERS};
pub(crate) use unary::AnswerBody;
pub(crate) use web::{answer_web_call, is_web_call};

use crate::api::Credentials;
use crate::auth::{Claim, Doorman, Passwords, Words};
use crate::front::Link;
use crate::metrics::rpc::{Found, MethodId, find};
use crate::metrics::{CallKind, Number};
use crate::tls::Visitor;
use crate::trace::Sampled;

/// What a message may be larger than `--max-request-bytes`.
const MESSAGE_OVERHEAD_BYTES: usize = 512 * 1024;

/// The largest message that is sent: what the four bytes of its length can say in Go.
const SENT_BYTES_MAX: usize = i32::MAX as usize;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// How the services are to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrpcOptions {
    /// `--max-request-bytes`.
    pub(crate) request_bytes_max: usize,
    /// `--watch-progress-notify-interval`.
    pub(crate) progress_interval: Duration,
    /// `--warning-unary-request-duration`.
    pub(crate) slow_call: Duration,
}

/// Who finds out who asks; shared by all fronts.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) doorman: Arc<Doorman>,
    pub(crate) passwords: Arc<Passwords>,
}

/// All services of one front.
pub(crate) struct Services {
    link: Arc<Link>,
    doorman: Arc<Doorman>,
    slow_call: Duration,
    last_client: Mutex<Option<(String, CallKind, Arc<Number>)>>,
    received_max: usize,
    /// Answers the calls that come often.
    hot: kv::KvService,
    hot_ids: hot::HotIds,
    kv: wire::kv_server::KvServer<kv::KvService>,
    watch: wire::watch_server::WatchServer<watch::WatchService>,
    lease: wire::lease_server::LeaseServer<lease::LeaseService>,
    cluster: wire::cluster_server::ClusterServer<cluster::ClusterService>,
    maintenance: wire::maintenance_server::MaintenanceServer<maintenance::MaintenanceService>,
    auth: wire::auth_server::AuthServer<auth::AuthService>,
    lock: LockServer<lock::LockService>,
    election: ElectionServer<election::ElectionService>,
    health: HealthServer<health::HealthService>,
    reflect: Box<dyn Reflect>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Services").field("link", &self.link).finish_non_exhaustive()
    }
}

/// The two versions of the reflection service, whose types have no names outside their library.
trait Reflect: Send + Sync {
    fn v1(&self, request: Request<Body>) -> Answering;
    fn v1alpha(&self, request: Request<Body>) -> Answering;
}

struct Reflection<A: ServerReflection, B: ServerReflectionAlpha> {
    v1: ServerReflectionServer<A>,
    v1alpha: ServerReflectionServerAlpha<B>,
}

impl<A: ServerReflection, B: ServerReflectionAlpha> Reflect for Reflection<A, B> {
    fn v1(&self, request: Request<Body>) -> Answering {
        Answering::Library(self.v1.clone().call(request))
    }

    fn v1alpha(&self, request: Request<Body>) -> Answering {
        Answering::Library(self.v1alpha.clone().call(request))
    }
}

/// The reflection services cannot be built from the descriptors.
#[derive(Debug, thiserror::Error)]
#[error("the descriptors of the messages cannot be read")]
pub(crate) struct ReflectionError(#[from] tonic_reflection::server::Error);

fn reflection() -> Result<Box<dyn Reflect>, ReflectionError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(etched_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Box::new(Reflection { v1: builder().build_v1()?, v1alpha: builder().build_v1alpha()? }))
}

impl Services {
    /// The services over one link.
    ///
    /// # Errors
    ///
    /// When the descriptors for reflection cannot be read.
    pub(crate) fn new(link: Arc<Link>, gate: Gate, options: GrpcOptions) -> Result<Self, ReflectionError> {
        let Gate { doorman, passwords } = gate;
        let GrpcOptions { request_bytes_max, progress_interval, slow_call } = options;
        let received_max = request_bytes_max.saturating_add(MESSAGE_OVERHEAD_BYTES);
        let to = || Arc::clone(&link);
        /// A server of this service with the limits on messages.
        macro_rules! limited {
            ($server:ty, $service:expr) => {
                <$server>::new($service)
                    .max_decoding_message_size(received_max)
                    .max_encoding_message_size(SENT_BYTES_MAX)
            };
        }
        Ok(Self {
            received_max,
            hot: kv::KvService { link: to(), request_bytes_max },
            hot_ids: hot::HotIds::find(),
            kv: limited!(wire::kv_server::KvServer<_>, kv::KvService { link: to(), request_bytes_max }),
            watch: limited!(
                wire::watch_server::WatchServer<_>,
                watch::WatchService { link: to(), progress_interval }
            ),
            lease: limited!(wire::lease_server::LeaseServer<_>, lease::LeaseService { link: to() }),
            cluster: limited!(wire::cluster_server::ClusterServer<_>, cluster::ClusterService { link: to() }),
            maintenance: limited!(
                wire::maintenance_server::MaintenanceServer<_>,
                maintenance::MaintenanceService { link: to() }
            ),
            auth: limited!(
                wire::auth_server::AuthServer<_>,
                auth::AuthService { link: to(), doorman: Arc::clone(&doorman), passwords }
            ),
            lock: limited!(LockServer<_>, lock::LockService { link: to() }),
            election: limited!(ElectionServer<_>, election::ElectionService { link: to() }),
            health: limited!(HealthServer<_>, health::HealthService { link: to() }),
            reflect: reflection()?,
            slow_call,
            doorman,
            last_client: Mutex::default(),
            link,
        })
    }

    /// The way to the member.
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// The largest message that is taken.
    pub(crate) fn received_max(&self) -> usize {
        self.received_max
    }

    /// Answers one call.
    pub(crate) fn call<B>(&self, mut request: Request<B>) -> Call
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        if request.method() != HttpMethod::POST {
            return Call::refused(not_posted(request.method()));
        }
        let id = match find(request.uri().path()) {
            Found::Method(id) => id,
            Found::NoMethod { service, method } => {
                let text = format!("unknown method {method} for service {service}");
                return Call::refused(Status::unimplemented(text).into_http());
            }
            Found::NoService { service } if service.starts_with("grpc.reflection.") => {
                return self.reflect(request);
            }
            Found::NoService { service } => {
                return Call::refused(
                    Status::unimplemented(format!("unknown service {service}")).into_http(),
                );
            }
            Found::Malformed => {
                let text = format!("malformed method name: {:?}", request.uri().path());
                return Call::refused(Status::unimplemented(text).into_http());
            }
        };
        self.link.metrics().rpc.start(id);
        let sampled = self.sample(request.headers().get("traceparent").map(HeaderValue::as_bytes));
        let answering = match self.admit(id, Claims::of(request.headers())) {
            Ok(()) => {
                let claim = self.claim(&request);
                request.extensions_mut().insert(claim);
                self.dispatch(id, request)
            }
            Err(status) => Answering::status(status),
        };
        Call::new(Arc::clone(&self.link), id, self.slow_call, sampled, answering)
    }

    /// Whether a call's time is to be traced.
    fn sample(&self, traceparent: Option<&[u8]>) -> Option<Sampled> {
        self.link.metrics().traces.as_ref()?.sample(traceparent)
    }

    /// What is asked of every call before it is looked at.
    fn admit(&self, id: MethodId, claims: Claims<'_>) -> Result<(), Status> {
        let method = id.method();
        if self.link.is_learner() && !matches!(method.name, "Status" | "Range" | "Snapshot") {
            return Err(NOT_FOR_LEARNERS.into());
        }
        let version = match claims.client_version {
            None => "unknown",
            Some(version) => std::str::from_utf8(version).map_err(|_| INVALID_CLIENT_VERSION)?,
        };
        self.count_client(version, method.shape.kind());
        if claims.needs_leader && !self.link.api().has_leader() {
            return Err(NO_LEADER.into());
        }
        Ok(())
    }

    /// Counts a call by the client's version, which mostly is that of the call before.
    fn count_client(&self, version: &str, kind: CallKind) {
        let mut last = self.last_client.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, known_kind, count)) if known == version && *known_kind == kind => count.increment(),
            Some(_) | None => {
                let count = self.link.metrics().client_requests(version, kind);
                count.increment();
                *last = Some((version.to_owned(), kind, count));
            }
        }
    }

    /// What a request says of who asks.
    fn claim<B>(&self, request: &Request<B>) -> Claim {
        let visitor = request.extensions().get::<Visitor>().cloned().unwrap_or_default();
        self.doorman.claim(Words::of(request.headers()), &visitor)
    }

    /// Calls that come often are answered by hand, all others by the library.
    fn dispatch<B>(&self, id: MethodId, request: Request<B>) -> Answering
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let max = self.received_max;
        let kv = || self.hot.clone();
        /// One unary call by hand.
        macro_rules! by_hand {
            ($service:expr, $answer:path) => {{
                let service = $service;
                let encoding = request.headers().get(GRPC_ENCODING).cloned();
                let credentials = Claim::of(request.extensions()).credentials();
                let body = request.into_body();
                Answering::Own(Box::pin(unary::serve(body, encoding, max, |request| {
                    $answer(service, credentials, request)
                })))
            }};
        }
        match (id.method().service, id.method().name) {
            ("etcdserverpb.KV", "Put") => by_hand!(kv(), kv::KvService::answer_put),
            ("etcdserverpb.KV", "Range") => by_hand!(kv(), kv::KvService::answer_range),
            ("etcdserverpb.KV", "Txn") => by_hand!(kv(), kv::KvService::answer_txn),
            ("etcdserverpb.KV", "DeleteRange") => by_hand!(kv(), kv::KvService::answer_delete_range),
            (service, name) => self.dispatch_to_library(service, name, request),
        }
    }

    fn dispatch_to_library<B>(&self, service: &str, name: &str, request: Request<B>) -> Answering
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        Answering::Library(match service {
            "etcdserverpb.KV" => self.kv.clone().call(request),
            "etcdserverpb.Watch" => self.watch.clone().call(request),
            "etcdserverpb.Lease" => self.lease.clone().call(request),
            "etcdserverpb.Cluster" => self.cluster.clone().call(request),
            "etcdserverpb.Maintenance" => self.maintenance.clone().call(request),
            "etcdserverpb.Auth" => self.auth.clone().call(request),
            "v3lockpb.Lock" => self.lock.clone().call(request),
            "v3electionpb.Election" => self.election.clone().call(request),
            // The library's table has no such method.
            "grpc.health.v1.Health" if name == "List" => return Answering::Ready(Some(health::list())),
            _ => self.health.clone().call(request),
        })
    }

    fn reflect<B>(&self, request: Request<B>) -> Call
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let request = request.map(Body::new);
        Call::uncounted(if request.uri().path().starts_with("/grpc.reflection.v1alpha.") {
            self.reflect.v1alpha(request)
        } else {
            self.reflect.v1(request)
        })
    }
}

/// What a call says of itself, beside its message.
#[derive(Clone, Copy, Debug, Default)]
struct Claims<'a> {
    client_version: Option<&'a [u8]>,
    needs_leader: bool,
}

impl<'a> Claims<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let client_version = headers.get("client-api-version").map(HeaderValue::as_bytes);
        Self { client_version, needs_leader: needs_leader(headers) }
    }
}

/// In whose name a handler asks the member for what its caller wants.
fn credentials<T>(request: &tonic::Request<T>) -> Credentials {
    Claim::of(request.extensions()).credentials()
}

/// Whether the client wants an error rather than wait for a leader.
fn needs_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value.as_bytes() == b"true")
}

/// The id of a method of the table by its path.
fn method_id(path: &str) -> Option<MethodId> {
    match find(path) {
        Found::Method(id) => Some(id),
        Found::NoMethod { .. } | Found::NoService { .. } | Found::Malformed => None,
    }
}

/// Whether a request is a gRPC call.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| is_call_type(value.as_bytes()))
}

/// Whether a content type is that of a gRPC call; that of gRPC-Web is not.
pub(crate) fn is_call_type(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn not_posted(method: &HttpMethod) -> http::Response<Body> {
    let text = format!("Received a HEADERS frame with :method {:?} which should be POST", method.as_str());
    let mut response = Status::new(Code::Internal, text).into_http();
    *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
