//! One of the two servers, with its clients.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use etched_proto::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::request::{Answer, AuthAnswer, AuthRequest, Outcome, Refused, Request};
use crate::process::{Identity, Program, Server};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Large answers are part of the comparison.
const MESSAGE_MAX: usize = 1 << 30;

/// A running server and a channel to it.
pub(super) struct Side {
    pub(super) server: Server,
    pub(super) channel: Channel,
    /// The newest token of each user.
    pub(super) tokens: BTreeMap<String, String>,
}

/// In whose name a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Nobody,
    /// Somebody with a token that was never given out.
    Stranger,
    /// A user, with the token of the last login; without one nobody.
    User(&'static str),
}

/// Puts a token into requests.
#[derive(Clone, Debug)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// A channel whose requests have a name.
pub(super) type Named = InterceptedService<Channel, Bearer>;

impl Side {
    /// Starts a server with the identity that both sides share, so that even their ids are comparable.
    pub(super) async fn start(program: &Program, directory: &Path) -> Result<Self> {
        let flags = ["--max-request-bytes=1572864", "--bcrypt-cost=4"];
        let server = Server::start_as(program, directory, &flags, Identity::Shared)?;
        let side = Self { channel: connect(&server).await?, server, tokens: BTreeMap::new() };
        side.wait_for_version().await?;
        Ok(side)
    }

    /// Kills the server as a power cut would and starts it again.
    pub(super) async fn restart(&mut self) -> Result<()> {
        self.server.kill()?;
        self.server.respawn()?;
        self.server.wait_until_ready()?;
        self.channel = connect(&self.server).await?;
        self.tokens.clear();
        self.wait_for_version().await
    }

    /// The cluster's version and the store's are set a moment after the start; waits for both.
    async fn wait_for_version(&self) -> Result<()> {
        for _ in 0..2000 {
            match self.call(Request::Status).await {
                Ok(Answer::Status(status)) if !status.storage_version.is_empty() => break,
                // Nobody is told without a name; then it was set before.
                Err(refused) if refused.code == tonic::Code::InvalidArgument => break,
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        self.server.name()
    }

    /// Sends one request and waits for its whole answer.
    pub(super) async fn call(&self, request: Request) -> Outcome {
        self.call_as(Who::Nobody, request).await
    }

    /// Sends one request in somebody's name.
    pub(super) async fn call_as(&self, who: Who, request: Request) -> Outcome {
        match tokio::time::timeout(PATIENCE, self.dispatch(&self.bearer(who), request)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(Refused { code: tonic::Code::Unknown, message: format!("NO ANSWER within {PATIENCE:?}") })
            }
        }
    }

    async fn dispatch(&self, bearer: &Bearer, request: Request) -> Outcome {
        Ok(match request {
            Request::Range(range) => Answer::Range(self.kv(bearer).range(range).await?.into_inner()),
            Request::RangeStream(range) => Answer::RangeStream(self.range_stream(bearer, range).await?),
            Request::Put(put) => Answer::Put(self.kv(bearer).put(put).await?.into_inner()),
            Request::DeleteRange(delete) => {
                Answer::DeleteRange(self.kv(bearer).delete_range(delete).await?.into_inner())
            }
            Request::Txn(txn) => Answer::Txn(self.kv(bearer).txn(txn).await?.into_inner()),
            Request::Compact(compact) => {
                Answer::Compact(self.kv(bearer).compact(compact).await?.into_inner())
            }
            Request::LeaseGrant(grant) => {
                Answer::LeaseGrant(self.lease(bearer).lease_grant(grant).await?.into_inner())
            }
            Request::LeaseRevoke(revoke) => {
                Answer::LeaseRevoke(self.lease(bearer).lease_revoke(revoke).await?.into_inner())
            }
            Request::LeaseKeepAlive(keep) => {
                let mut answers =
                    self.lease(bearer).lease_keep_alive(tokio_stream::once(keep)).await?.into_inner();
                Answer::LeaseKeepAlive(answers.message().await?)
            }
            Request::LeaseTimeToLive(ask) => {
                Answer::LeaseTimeToLive(self.lease(bearer).lease_time_to_live(ask).await?.into_inner())
            }
            Request::LeaseLeases => Answer::LeaseLeases(
                self.lease(bearer).lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner(),
            ),
            Request::Status => {
                Answer::Status(self.maintenance(bearer).status(pb::StatusRequest {}).await?.into_inner())
            }
            Request::Hash => {
                Answer::Hash(self.maintenance(bearer).hash(pb::HashRequest {}).await?.into_inner())
            }
            Request::HashKv(hash) => {
                Answer::HashKv(self.maintenance(bearer).hash_kv(hash).await?.into_inner())
            }
            Request::Defragment => Answer::Defragment(
                self.maintenance(bearer).defragment(pb::DefragmentRequest {}).await?.into_inner(),
            ),
            Request::Alarm(alarm) => Answer::Alarm(self.maintenance(bearer).alarm(alarm).await?.into_inner()),
            Request::MemberList(list) => {
                Answer::MemberList(self.cluster(bearer).member_list(list).await?.into_inner())
            }
            Request::MemberAdd(add) => {
                Answer::MemberAdd(self.cluster(bearer).member_add(add).await?.into_inner())
            }
            Request::MemberUpdate(update) => {
                Answer::MemberUpdate(self.cluster(bearer).member_update(update).await?.into_inner())
            }
            Request::MemberRemove(remove) => {
                Answer::MemberRemove(self.cluster(bearer).member_remove(remove).await?.into_inner())
            }
            Request::MemberPromote(promote) => {
                Answer::MemberPromote(self.cluster(bearer).member_promote(promote).await?.into_inner())
            }
            Request::MoveLeader(moved) => {
                Answer::MoveLeader(self.maintenance(bearer).move_leader(moved).await?.into_inner())
            }
            Request::Downgrade(downgrade) => {
                Answer::Downgrade(self.maintenance(bearer).downgrade(downgrade).await?.into_inner())
            }
            Request::Health(service) => Answer::Health(self.health(service).await?),
            Request::Unknown(path) => return self.call_unknown(path).await,
            Request::Auth(request) => Answer::Auth(self.auth(bearer, request).await?),
        })
    }

    async fn health(&self, service: &str) -> Result<i32, Refused> {
        let mut health = HealthClient::new(self.channel.clone());
        let request = HealthCheckRequest { service: service.to_owned() };
        Ok(health.check(request).await?.into_inner().status)
    }

    fn kv(&self, bearer: &Bearer) -> KvClient<Named> {
        KvClient::with_interceptor(self.channel.clone(), bearer.clone())
            .max_decoding_message_size(MESSAGE_MAX)
    }

    fn lease(&self, bearer: &Bearer) -> LeaseClient<Named> {
        LeaseClient::with_interceptor(self.channel.clone(), bearer.clone())
    }

    fn cluster(&self, bearer: &Bearer) -> ClusterClient<Named> {
        ClusterClient::with_interceptor(self.channel.clone(), bearer.clone())
    }

    fn maintenance(&self, bearer: &Bearer) -> MaintenanceClient<Named> {
        MaintenanceClient::with_interceptor(self.channel.clone(), bearer.clone())
    }

    /// What a request of somebody carries.
    pub(super) fn bearer(&self, who: Who) -> Bearer {
        let token = match who {
            Who::Nobody => None,
            Who::Stranger => Some("abcdefghijklmnop.1".to_owned()),
            Who::User(name) => self.tokens.get(name).cloned(),
        };
        Bearer(token.and_then(|token| token.parse().ok()))
    }

    async fn auth(&self, bearer: &Bearer, request: AuthRequest) -> Result<AuthAnswer, Refused> {
        let mut client = AuthClient::with_interceptor(self.channel.clone(), bearer.clone());
        Ok(match request {
            AuthRequest::Enable => {
                AuthAnswer::Done(client.auth_enable(pb::AuthEnableRequest {}).await?.into_inner().header)
            }
            AuthRequest::Disable => {
                AuthAnswer::Done(client.auth_disable(pb::AuthDisableRequest {}).await?.into_inner().header)
            }
            AuthRequest::Status => {
                AuthAnswer::Status(client.auth_status(pb::AuthStatusRequest {}).await?.into_inner())
            }
            AuthRequest::Authenticate(login) => {
                AuthAnswer::Authenticated(client.authenticate(login).await?.into_inner())
            }
            AuthRequest::UserAdd(add) => AuthAnswer::Done(client.user_add(add).await?.into_inner().header),
            AuthRequest::UserGet(get) => AuthAnswer::User(client.user_get(get).await?.into_inner()),
            AuthRequest::UserList => {
                AuthAnswer::Users(client.user_list(pb::AuthUserListRequest {}).await?.into_inner())
            }
            AuthRequest::UserDelete(delete) => {
                AuthAnswer::Done(client.user_delete(delete).await?.into_inner().header)
            }
            AuthRequest::UserChangePassword(change) => {
                AuthAnswer::Done(client.user_change_password(change).await?.into_inner().header)
            }
            AuthRequest::UserGrantRole(grant) => {
                AuthAnswer::Done(client.user_grant_role(grant).await?.into_inner().header)
            }
            AuthRequest::UserRevokeRole(revoke) => {
                AuthAnswer::Done(client.user_revoke_role(revoke).await?.into_inner().header)
            }
            AuthRequest::RoleAdd(add) => AuthAnswer::Done(client.role_add(add).await?.into_inner().header),
            AuthRequest::RoleGet(get) => AuthAnswer::Role(client.role_get(get).await?.into_inner()),
            AuthRequest::RoleList => {
                AuthAnswer::Roles(client.role_list(pb::AuthRoleListRequest {}).await?.into_inner())
            }
            AuthRequest::RoleDelete(delete) => {
                AuthAnswer::Done(client.role_delete(delete).await?.into_inner().header)
            }
            AuthRequest::RoleGrantPermission(grant) => {
                AuthAnswer::Done(client.role_grant_permission(grant).await?.into_inner().header)
            }
            AuthRequest::RoleRevokePermission(revoke) => {
                AuthAnswer::Done(client.role_revoke_permission(revoke).await?.into_inner().header)
            }
        })
    }

    /// Puts the parts together; only the last may carry the header, the count and `more`.
    async fn range_stream(
        &self,
        bearer: &Bearer,
        range: pb::RangeRequest,
    ) -> Result<pb::RangeResponse, Refused> {
        let mut parts = self.kv(bearer).range_stream(range).await?.into_inner();
        let mut whole = pb::RangeResponse::default();
        while let Some(part) = parts.message().await? {
            let part = part.range_response.unwrap_or_default();
            if whole.header.is_some() || whole.count != 0 {
                let message = "PARTS AFTER THE LAST ONE".to_owned();
                return Err(Refused { code: tonic::Code::Unknown, message });
            }
            whole.kvs.extend(part.kvs);
            (whole.header, whole.more, whole.count) = (part.header, part.more, part.count);
        }
        Ok(whole)
    }

    async fn call_unknown(&self, path: &'static str) -> Outcome {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let ready = grpc.ready().await;
        ready.map_err(|error| Refused { code: tonic::Code::Unknown, message: error.to_string() })?;
        let codec = tonic_prost::ProstCodec::<pb::HashRequest, pb::HashResponse>::default();
        let request = tonic::Request::new(pb::HashRequest {});
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
        Ok(Answer::Hash(grpc.unary(request, path, codec).await?.into_inner()))
    }
}

async fn connect(server: &Server) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address()))?;
    endpoint.connect().await.with_context(|| format!("connecting to {}", server.name()))
}
