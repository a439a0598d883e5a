//! One of the two servers, with its clients.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use etched_proto::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::request::{Answer, Outcome, Refused, Request};
use crate::process::{Identity, Program, Server};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Large answers are part of the comparison.
const MESSAGE_MAX: usize = 1 << 30;

/// A running server and a channel to it.
pub(super) struct Side {
    pub(super) server: Server,
    pub(super) channel: Channel,
}

impl Side {
    /// Starts a server with the identity that both sides share, so that even their ids are comparable.
    pub(super) async fn start(program: &Program, directory: &Path) -> Result<Self> {
        let flags = ["--max-request-bytes=1572864"];
        let server = Server::start_as(program, directory, &flags, Identity::Shared)?;
        let side = Self { channel: connect(&server).await?, server };
        side.wait_for_version().await?;
        Ok(side)
    }

    /// Kills the server as a power cut would and starts it again.
    pub(super) async fn restart(&mut self) -> Result<()> {
        self.server.kill()?;
        self.server.respawn()?;
        self.server.wait_until_ready()?;
        self.channel = connect(&self.server).await?;
        self.wait_for_version().await
    }

    /// The cluster's version and the store's are set a moment after the start; waits for both.
    async fn wait_for_version(&self) -> Result<()> {
        for _ in 0..2000 {
            if let Ok(Answer::Status(status)) = self.call(Request::Status).await
                && !status.storage_version.is_empty()
            {
                break;
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
        match tokio::time::timeout(PATIENCE, self.dispatch(request)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(Refused { code: tonic::Code::Unknown, message: format!("NO ANSWER within {PATIENCE:?}") })
            }
        }
    }

    async fn dispatch(&self, request: Request) -> Outcome {
        Ok(match request {
            Request::Range(range) => Answer::Range(self.kv().range(range).await?.into_inner()),
            Request::RangeStream(range) => Answer::RangeStream(self.range_stream(range).await?),
            Request::Put(put) => Answer::Put(self.kv().put(put).await?.into_inner()),
            Request::DeleteRange(delete) => {
                Answer::DeleteRange(self.kv().delete_range(delete).await?.into_inner())
            }
            Request::Txn(txn) => Answer::Txn(self.kv().txn(txn).await?.into_inner()),
            Request::Compact(compact) => Answer::Compact(self.kv().compact(compact).await?.into_inner()),
            Request::LeaseGrant(grant) => {
                Answer::LeaseGrant(self.lease().lease_grant(grant).await?.into_inner())
            }
            Request::LeaseRevoke(revoke) => {
                Answer::LeaseRevoke(self.lease().lease_revoke(revoke).await?.into_inner())
            }
            Request::LeaseKeepAlive(keep) => {
                let mut answers = self.lease().lease_keep_alive(tokio_stream::once(keep)).await?.into_inner();
                Answer::LeaseKeepAlive(answers.message().await?)
            }
            Request::LeaseTimeToLive(ask) => {
                Answer::LeaseTimeToLive(self.lease().lease_time_to_live(ask).await?.into_inner())
            }
            Request::LeaseLeases => {
                Answer::LeaseLeases(self.lease().lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner())
            }
            Request::Status => {
                Answer::Status(self.maintenance().status(pb::StatusRequest {}).await?.into_inner())
            }
            Request::Hash => Answer::Hash(self.maintenance().hash(pb::HashRequest {}).await?.into_inner()),
            Request::HashKv(hash) => Answer::HashKv(self.maintenance().hash_kv(hash).await?.into_inner()),
            Request::Defragment => Answer::Defragment(
                self.maintenance().defragment(pb::DefragmentRequest {}).await?.into_inner(),
            ),
            Request::Alarm(alarm) => Answer::Alarm(self.maintenance().alarm(alarm).await?.into_inner()),
            Request::MemberList(list) => {
                Answer::MemberList(self.cluster().member_list(list).await?.into_inner())
            }
            Request::MemberAdd(add) => Answer::MemberAdd(self.cluster().member_add(add).await?.into_inner()),
            Request::MemberUpdate(update) => {
                Answer::MemberUpdate(self.cluster().member_update(update).await?.into_inner())
            }
            Request::MemberRemove(remove) => {
                Answer::MemberRemove(self.cluster().member_remove(remove).await?.into_inner())
            }
            Request::MemberPromote(promote) => {
                Answer::MemberPromote(self.cluster().member_promote(promote).await?.into_inner())
            }
            Request::MoveLeader(moved) => {
                Answer::MoveLeader(self.maintenance().move_leader(moved).await?.into_inner())
            }
            Request::Downgrade(downgrade) => {
                Answer::Downgrade(self.maintenance().downgrade(downgrade).await?.into_inner())
            }
            Request::Health(service) => {
                let mut health = HealthClient::new(self.channel.clone());
                let request = HealthCheckRequest { service: service.to_owned() };
                Answer::Health(health.check(request).await?.into_inner().status)
            }
            Request::Unknown(path) => return self.call_unknown(path).await,
        })
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    /// Puts the parts together; only the last may carry the header, the count and `more`.
    async fn range_stream(&self, range: pb::RangeRequest) -> Result<pb::RangeResponse, Refused> {
        let mut parts = self.kv().range_stream(range).await?.into_inner();
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
