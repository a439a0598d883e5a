//! The client itself: connecting, and sending a request until it is answered, refused or too late.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use etched_proto::etcdserverpb::auth_client::AuthClient;
use etched_proto::etcdserverpb::cluster_client::ClusterClient;
use etched_proto::etcdserverpb::kv_client::KvClient;
use etched_proto::etcdserverpb::lease_client::LeaseClient;
use etched_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use etched_proto::etcdserverpb::watch_client::WatchClient;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::auth::{Issue, Passport};
use crate::backoff::Backoff;
use crate::endpoint::Endpoint;
use crate::error::{Effect, Failure};
use crate::lease::KeeperMailbox;
use crate::namespace::Namespace;
use crate::pool::{Connection, Pool};
use crate::watch::WatchMailbox;
use crate::{Error, Options};

/// A client of a cluster; clones are cheap and share connections, watches' stream and keep-alives.
///
/// Dropping the future of a change (a put, say) after it was sent leaves its outcome unknown.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Arc<Options>,
    pub(crate) namespace: Namespace,
}

/// What all clones of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    pub(crate) passport: Arc<Passport>,
    pub(crate) watches: Arc<WatchMailbox>,
    pub(crate) keeper: Arc<KeeperMailbox>,
}

impl Shared {
    fn new(pool: Arc<Pool>, passport: Arc<Passport>) -> Self {
        let (watches, keeper) = (Arc::new(WatchMailbox::default()), Arc::new(KeeperMailbox::default()));
        Self { pool, passport, watches, keeper }
    }
}

/// The most attempts at one request, should it have no time limit and be refused for ever.
const ATTEMPTS_MAX: usize = 100;

/// How much earlier than here the deadline of a request may pass at the server.
const DEADLINE_SLACK: Duration = Duration::from_millis(100);

impl Client {
    /// Connects to the first of the endpoints that can be reached.
    ///
    /// An endpoint is `host:port`, `http://host:port`, `https://host:port`, `unix:///path` or `unixs:///path`.
    /// `https` and `unixs` mean TLS, `http` means none; without a scheme there is TLS if the options have it.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), etched_client::Error> {
    /// use etched_client::{Client, Options};
    ///
    /// let client = Client::connect(["127.0.0.1:2379", "127.0.0.1:22379"], Options::default()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] for an endpoint that cannot be used, [`Error::Unreachable`] if none answers within the
    /// request timeout, and those of [`Client::sign_in`].
    pub async fn connect<E: AsRef<str>>(
        endpoints: impl IntoIterator<Item = E>,
        options: Options,
    ) -> Result<Self, Error> {
        let client = Self::connect_lazy(endpoints, options)?;
        client.sign_in().await?;
        if let Some(interval) = client.options.sync_interval {
            tokio::spawn(keep_synced(Arc::downgrade(&client.shared), Arc::clone(&client.options), interval));
        }
        Ok(client)
    }

    /// A client that connects when it is first used. It never synchronises its endpoints on its own.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] for an endpoint that cannot be used, or if there is none.
    pub fn connect_lazy<E: AsRef<str>>(
        endpoints: impl IntoIterator<Item = E>,
        options: Options,
    ) -> Result<Self, Error> {
        let endpoints =
            endpoints.into_iter().map(|e| Endpoint::parse(e.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(Error::Endpoint {
                endpoint: String::new(),
                reason: "there is no endpoint".to_owned(),
            });
        }
        let passport = Passport::new(options.credentials.clone())?;
        let shared = Shared::new(Arc::new(Pool::new(&endpoints, &options)?), passport);
        Ok(Self { shared: Arc::new(shared), options: Arc::new(options), namespace: Namespace::default() })
    }

    /// The endpoints, as they were given or as the cluster listed them.
    pub fn endpoints(&self) -> Vec<String> {
        self.shared.pool.endpoints()
    }

    /// Replaces the endpoints by those that the started voters of the cluster advertise, for all clones.
    ///
    /// # Errors
    ///
    /// As every read, and [`Error::Endpoint`] if a member advertises what this client cannot use.
    pub async fn sync_endpoints(&self) -> Result<(), Error> {
        let members = self.member_list().await?.members;
        let voters = members.iter().filter(|member| !member.name.is_empty() && !member.is_learner);
        let urls = voters.flat_map(|member| &member.client_ur_ls);
        let endpoints = urls.map(|url| Endpoint::parse(url)).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Ok(());
        }
        self.shared.pool.replace(&endpoints, &self.options)
    }

    /// The same client, for requests, watches and keep-alives that need a leader
    /// (see [`Options::require_leader`](Options)); it shares the connections, but not the streams.
    #[must_use]
    pub fn requiring_leader(&self) -> Self {
        let options = Options { require_leader: true, ..Options::clone(&self.options) };
        let shared = Shared::new(Arc::clone(&self.shared.pool), Arc::clone(&self.shared.passport));
        Self { shared: Arc::new(shared), options: Arc::new(options), namespace: self.namespace.clone() }
    }

    /// The same client with another time limit for its requests; `None` waits for ever.
    #[must_use]
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        let options = Options { request_timeout: timeout, ..Options::clone(&self.options) };
        Self { options: Arc::new(options), ..self.clone() }
    }

    /// Connects, and exchanges the password of the [`Options`] for a token, rather than with the first request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AuthFailed`](crate::ErrorKind::AuthFailed) if the cluster does not know such a user with such a
    /// password. That authentication is off is no error.
    pub async fn sign_in(&self) -> Result<(), Error> {
        let ready = |_stubs: Stubs, _request: Request<()>| async { Ok(Response::new(())) };
        self.call(Effect::Read, (), ready).await
    }

    /// When the request that begins now has to be done.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.options.request_timeout.map(|timeout| Instant::now() + timeout)
    }

    /// The message with the metadata that every request has.
    pub(crate) fn request<Q>(&self, message: Q, deadline: Option<Instant>) -> Request<Q> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("client-api-version", MetadataValue::from_static("3.7"));
        if self.options.require_leader {
            metadata.insert("hasleader", MetadataValue::from_static("true"));
        }
        if let Some(token) = self.shared.passport.token() {
            request.metadata_mut().insert("token", token);
        }
        if let Some(deadline) = deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        request
    }

    /// Sends a request until it is answered, refused for good, or too late.
    ///
    /// A change is sent a second time only if the first attempt was certainly not executed.
    /// When the time is over while an attempt is under way, the failure of the one before it, if there was one,
    /// says more than the time that is over.
    pub(crate) async fn call<Q, A, F, Fut>(&self, effect: Effect, message: Q, send: F) -> Result<A, Error>
    where
        Q: Clone,
        F: Fn(Stubs, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = self.deadline();
        let pool = &self.shared.pool;
        let mut backoff = None;
        let mut last_failure: Option<Failure> = None;
        for attempt in 1.. {
            let connection = pool.connection(deadline).await?;
            let answer = self.attempt(&connection, deadline, message.clone(), &send);
            let (failure, renews) = match within(deadline, answer).await {
                None => {
                    // A member that hangs keeps its connection; the next request goes elsewhere.
                    pool.move_on(&connection);
                    return Err(out_of_time(effect, last_failure));
                }
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(failed)) => failed,
            };
            let is_late = deadline.is_some_and(|deadline| Instant::now() + DEADLINE_SLACK >= deadline);
            if matches!(failure.error, Error::Timeout) || failure.abandoned && is_late {
                // The connection and the server watch the same deadline, and may be the first to see it pass.
                pool.move_on(&connection);
                return Err(out_of_time(effect, last_failure));
            }
            self.learn_from(&failure, &connection);
            if attempt == ATTEMPTS_MAX || !(renews || failure.may_retry(effect)) {
                return Err(failure.into_error(effect));
            }
            // The first repetition goes out at once if there is another member to ask.
            if attempt >= pool.len() {
                let wait = backoff.get_or_insert_with(|| Backoff::new(attempt as u64)).next();
                if within(deadline, sleep(wait)).await.is_none() {
                    return Err(failure.into_error(effect));
                }
            }
            last_failure = Some(failure);
        }
        unreachable!("the loop ends by its own conditions")
    }

    /// Sends a request once, with a token if there is one; of a failure it also tells whether a new token mends it.
    async fn attempt<Q, A, F, Fut>(
        &self,
        connection: &Connection,
        deadline: Option<Instant>,
        message: Q,
        send: &F,
    ) -> Result<A, (Failure, bool)>
    where
        F: Fn(Stubs, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let issue = self.signed_in(connection).await.map_err(|failure| (failure, false))?;
        let request = self.request(message, deadline);
        match Box::pin(send(self.stubs(connection), request)).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => {
                let failure = Failure::of(status);
                let renews = self.shared.passport.renews(&failure, issue);
                Err((failure, renews))
            }
        }
    }

    /// Makes sure that requests carry a token, if the cluster wants one.
    pub(crate) async fn signed_in(&self, connection: &Connection) -> Result<Issue, Failure> {
        Box::pin(self.shared.passport.sign_in(|| self.stubs(connection))).await
    }

    /// Draws the consequences of a failure for the connections.
    pub(crate) fn learn_from(&self, failure: &Failure, connection: &Connection) {
        if failure.broken {
            self.shared.pool.discard(connection);
        }
        if failure.is_of_the_member() {
            self.shared.pool.move_on(connection);
        }
    }

    pub(crate) fn stubs(&self, connection: &Connection) -> Stubs {
        Stubs {
            channel: connection.channel.clone(),
            request_bytes_max: self.options.request_bytes_max,
            response_bytes_max: self.options.response_bytes_max,
        }
    }
}

/// The error of a request whose time is over while an attempt is under way.
fn out_of_time(effect: Effect, last_failure: Option<Failure>) -> Error {
    match (effect, last_failure) {
        (Effect::Change, _) => Error::Timeout.of_change(),
        (Effect::Read, Some(failure)) => failure.into_error(effect),
        (Effect::Read, None) => Error::Timeout,
    }
}

/// Keeps the endpoints as the cluster lists them, until the last clone of the client is gone.
async fn keep_synced(shared: Weak<Shared>, options: Arc<Options>, interval: Duration) {
    loop {
        sleep(interval).await;
        let Some(shared) = shared.upgrade() else { return };
        let client = Client { shared, options: Arc::clone(&options), namespace: Namespace::default() };
        // The next turn may do better.
        let _unreachable = client.sync_endpoints().await;
    }
}

/// Waits for a future until the deadline; `None` when that is over first.
pub(crate) async fn within<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => timeout_at(deadline, future).await.ok(),
    }
}

/// The gRPC services on one connection, with the client's limits.
#[derive(Debug)]
pub(crate) struct Stubs {
    channel: Channel,
    request_bytes_max: usize,
    response_bytes_max: usize,
}

macro_rules! stubs {
    ($($(#[$doc:meta])* $name:ident: $client:ident,)*) => {
        impl Stubs {
            $(pub(crate) fn $name(&mut self) -> $client<Channel> {
                $client::new(self.channel.clone())
                    .max_encoding_message_size(self.request_bytes_max)
                    .max_decoding_message_size(self.response_bytes_max)
            })*
        }
    };
}

stubs! {
    auth: AuthClient,
    kv: KvClient,
    watch: WatchClient,
    lease: LeaseClient,
    cluster: ClusterClient,
    maintenance: MaintenanceClient,
}
