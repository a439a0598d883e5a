//! A scripted member for tests, and real fronts before it, on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use etched_watch::{Response, StreamId};
use tonic::transport::{Channel, Endpoint};

use super::{Fronts, Listeners};
use crate::api::{
    Answer, Api, ApiError, Asked, Completion, Credentials, Database, Delivery, Front, FrontId, Identity,
    LeaderQuestion, Request, StatusReport, Submission, Token, WatchCall,
};
use crate::auth::Doorman;
use crate::flags::{self, Options};
use crate::metrics::Metrics;

pub(crate) const CLUSTER_ID: u64 = 0xcdf8_1819_4e3a_8c32;
pub(crate) const MEMBER_ID: u64 = 0x8e9e_05c5_2164_694d;
pub(crate) const REVISION: i64 = 42;
pub(crate) const RAFT_TERM: u64 = 7;

type Script = Box<dyn Fn(&Request) -> Option<Result<Answer, ApiError>> + Send + Sync>;

/// A member that answers by a script, at once or when a test says so.
pub(crate) struct FakeApi {
    identity: Identity,
    script: Script,
    fronts: Mutex<Vec<Arc<dyn Front>>>,
    streams: AtomicU64,
    pub(crate) requests: Mutex<Vec<Request>>,
    /// Who made the requests.
    pub(crate) credentials: Mutex<Vec<Credentials>>,
    /// Requests that the script does not answer.
    pub(crate) unanswered: Mutex<Vec<(FrontId, Token)>>,
    pub(crate) calls: Mutex<Vec<(FrontId, WatchCall)>>,
    pub(crate) has_leader: AtomicBool,
    pub(crate) report: Mutex<StatusReport>,
}

impl FakeApi {
    pub(crate) fn new(
        script: impl Fn(&Request) -> Option<Result<Answer, ApiError>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let report = StatusReport {
            leader: MEMBER_ID,
            is_leader: true,
            raft_term: RAFT_TERM,
            revision: REVISION,
            compact_revision: -1,
            cluster_version: "3.7.0".into(),
            storage_version: "3.7.0".into(),
            ..StatusReport::default()
        };
        Arc::new(Self {
            identity: Identity {
                cluster_id: CLUSTER_ID,
                member_id: MEMBER_ID,
                name: "fake".into(),
                version: "3.7.2".into(),
            },
            script: Box::new(script),
            fronts: Mutex::default(),
            streams: AtomicU64::new(1),
            requests: Mutex::default(),
            credentials: Mutex::default(),
            unanswered: Mutex::default(),
            calls: Mutex::default(),
            has_leader: AtomicBool::new(true),
            report: Mutex::new(report),
        })
    }

    /// Completes a request that the script left unanswered.
    pub(crate) fn complete(&self, (front, token): (FrontId, Token), result: Result<Answer, ApiError>) {
        let completion = Completion { token, revision: REVISION, raft_term: RAFT_TERM, result, phases: None };
        self.front(front).complete(vec![completion]);
    }

    /// Delivers a response on a watch stream.
    pub(crate) fn deliver(&self, front: FrontId, stream: StreamId, bytes: usize, response: Response) {
        self.front(front).deliver(vec![Delivery { stream, bytes, raft_term: RAFT_TERM, response }]);
    }

    fn take(&self, front: FrontId, token: Token, request: Request) {
        // Nobody is asked who he is.
        if matches!(request, Request::CheckRoot) {
            return self.complete((front, token), Ok(Answer::Done));
        }
        let result = (self.script)(&request);
        self.requests.lock().unwrap().push(request);
        match result {
            Some(result) => self.complete((front, token), result),
            None => self.unanswered.lock().unwrap().push((front, token)),
        }
    }

    fn front(&self, front: FrontId) -> Arc<dyn Front> {
        Arc::clone(&self.fronts.lock().unwrap()[front.0])
    }
}

impl Api for FakeApi {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn register(&self, front: Arc<dyn Front>) -> FrontId {
        let mut fronts = self.fronts.lock().unwrap();
        fronts.push(front);
        FrontId(fronts.len() - 1)
    }

    fn submit(&self, front: FrontId, submissions: Vec<Submission>) {
        for submission in submissions {
            match submission {
                Submission::Request { token, credentials, request, .. } => {
                    self.credentials.lock().unwrap().push(credentials);
                    self.take(front, token, request);
                }
                Submission::Gone(_) => {}
                Submission::Watch(call) => self.calls.lock().unwrap().push((front, call)),
            }
        }
    }

    fn new_stream(&self) -> StreamId {
        StreamId(self.streams.fetch_add(1, Ordering::Relaxed))
    }

    fn has_leader(&self) -> bool {
        self.has_leader.load(Ordering::Relaxed)
    }

    fn report(&self) -> Arc<StatusReport> {
        Arc::new(self.report.lock().unwrap().clone())
    }

    fn ask_leader(&self, _: LeaderQuestion) -> Asked<Result<Answer, ApiError>> {
        Box::pin(async { Err(ApiError::Timeout) })
    }

    fn database(&self) -> Asked<Result<Database, ApiError>> {
        let chunks = [Bytes::from_static(b"a database"), Bytes::from_static(b" in two parts")];
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let chunks = Box::new(chunks.into_iter().map(Ok));
        Box::pin(async move { Ok(Database { bytes, version: "3.7.0".to_owned(), roots: None, chunks }) })
    }
}

/// Fronts that serve a fake member.
pub(crate) struct Served {
    pub(crate) api: Arc<FakeApi>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) client: SocketAddr,
    pub(crate) metrics_address: SocketAddr,
    pub(crate) peer: SocketAddr,
    fronts: Option<Fronts>,
}

pub(crate) fn options(arguments: &str) -> Options {
    let listeners = "--listen-client-urls=http://127.0.0.1:0 --advertise-client-urls=http://127.0.0.1:1 \
                     --listen-peer-urls=http://127.0.0.1:0 --listen-metrics-urls=http://127.0.0.1:0 \
                     --election-timeout=10 --heartbeat-interval=1";
    let arguments: Vec<String> =
        listeners.split_whitespace().chain(arguments.split_whitespace()).map(str::to_owned).collect();
    flags::load("etched", &arguments, &[]).expect("the flags are fine").options
}

pub(crate) fn serve(api: Arc<FakeApi>, arguments: &str) -> Served {
    let options = options(arguments);
    let mut listeners = Listeners::default();
    listeners.bind_clients(&options).expect("a free port");
    listeners.bind_peers(&options).expect("a free port");
    let client = listeners.client_addresses()[0];
    let metrics_address = listeners.metrics_addresses()[0];
    let peer = listeners.peer_addresses()[0];
    let metrics = Arc::new(Metrics::new(options.http.extensive_metrics));
    let member: Arc<dyn Api> = Arc::<FakeApi>::clone(&api);
    let doorman = Arc::new(Doorman::new(&options).expect("tokens are simple"));
    let fronts = Fronts::start(listeners, member, &options, Arc::clone(&metrics), doorman).expect("threads");
    Served { api, metrics, client, metrics_address, peer, fronts: Some(fronts) }
}

impl Served {
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.client)).expect("an address is a URL");
        endpoint.connect().await.expect("the front accepts")
    }

    /// Stops the fronts and waits for them; clients of the same runtime go on meanwhile.
    pub(crate) async fn stop(self) {
        tokio::task::spawn_blocking(move || self.stop_now()).await.expect("stopping does not panic");
    }

    /// Stops the fronts and waits for them.
    pub(crate) fn stop_now(mut self) {
        if let Some(fronts) = self.fronts.take() {
            fronts.stop();
        }
    }
}
