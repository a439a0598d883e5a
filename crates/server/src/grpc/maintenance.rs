//! The Maintenance service: alarms, status, hashes, snapshots, leadership, downgrades.

use std::sync::Arc;
use std::time::Instant;

use etched_proto::wire::etcdserverpb as wire;
use etched_state_machine::{AlarmMember, AlarmRequest, Command, Outcome};
use tonic::{Request, Response, Status};
use wire::maintenance_server::Maintenance;

use super::kv::{ask, header, propose};
use super::snapshot::{self, SnapshotStream};
use super::status::{self, NO_LEADER, mismatched_answer};
use super::{convert, credentials};
use crate::api::{self, Answer, DowngradeAction, StatusReport};
use crate::front::Link;
use crate::http::alarm_name;

/// The quota when none is configured.
const QUOTA_DEFAULT: i64 = 2 << 30;

/// Answers calls of the Maintenance service.
#[derive(Clone, Debug)]
pub(super) struct MaintenanceService {
    pub(super) link: Arc<Link>,
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = SnapshotStream;

    async fn alarm(
        &self,
        request: Request<wire::AlarmRequest>,
    ) -> Result<Response<wire::AlarmResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AlarmRequest { action, member_id, alarm } = request.into_inner();
        let command = Command::Alarm(AlarmRequest { action, member_id, alarm });
        let (outcome, current, raft_term) = propose(&self.link, credentials, command).await?;
        let Outcome::Alarm { revision, alarms } = outcome else { return Err(mismatched_answer()) };
        let header = header(&self.link, revision, current, raft_term);
        let alarms = alarms.into_iter().map(convert::alarm).collect();
        Ok(Response::new(wire::AlarmResponse { header, alarms }))
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let answered = ask(&self.link, credentials(&request), api::Request::Status).await?;
        let Answer::Status(report) = answered.answer else { return Err(mismatched_answer()) };
        let header = header(&self.link, report.revision, answered.revision, answered.raft_term);
        Ok(Response::new(status_response(header, &report, &self.link.identity().version)))
    }

    async fn defragment(
        &self,
        request: Request<wire::DefragmentRequest>,
    ) -> Result<Response<wire::DefragmentResponse>, Status> {
        let credentials = credentials(&request);
        ask(&self.link, credentials.clone(), api::Request::CheckRoot).await?;
        let (metrics, started) = (self.link.metrics(), Instant::now());
        crate::log!(Info, "starting defragment");
        metrics.defragment_inflight.set(1);
        let answered = ask(&self.link, credentials, api::Request::Defragment).await;
        metrics.defragment_inflight.set(0);
        answered?;
        metrics.backend_defragment.record(started.elapsed());
        let took = started.elapsed();
        crate::log!(Info, "finished defragmenting directory", "took" => took);
        crate::log!(Info, "finished defragment", "took" => took);
        Ok(Response::new(wire::DefragmentResponse { header: None }))
    }

    async fn hash(
        &self,
        request: Request<wire::HashRequest>,
    ) -> Result<Response<wire::HashResponse>, Status> {
        let started = Instant::now();
        let answered = ask(&self.link, credentials(&request), api::Request::Hash).await?;
        let Answer::Hash(hash) = answered.answer else { return Err(mismatched_answer()) };
        self.link.metrics().hash.record(started.elapsed());
        let header = header(&self.link, 0, answered.revision, answered.raft_term);
        Ok(Response::new(wire::HashResponse { header, hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<wire::HashKvRequest>,
    ) -> Result<Response<wire::HashKvResponse>, Status> {
        let started = Instant::now();
        let credentials = credentials(&request);
        let revision = request.into_inner().revision;
        let answered = ask(&self.link, credentials, api::Request::HashKv { revision }).await?;
        let Answer::HashKv(hashed) = answered.answer else { return Err(mismatched_answer()) };
        self.link.metrics().hash_kv.record(started.elapsed());
        Ok(Response::new(wire::HashKvResponse {
            header: header(&self.link, 0, answered.revision, answered.raft_term),
            hash: hashed.hash,
            compact_revision: hashed.compact_revision,
            hash_revision: hashed.hash_revision,
        }))
    }

    async fn snapshot(
        &self,
        request: Request<wire::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        ask(&self.link, credentials(&request), api::Request::CheckRoot).await?;
        let database = self.link.api().database().await.map_err(|error| status::of(&error))?;
        Ok(Response::new(snapshot::stream(database)?))
    }

    async fn move_leader(
        &self,
        request: Request<wire::MoveLeaderRequest>,
    ) -> Result<Response<wire::MoveLeaderResponse>, Status> {
        let credentials = credentials(&request);
        let target = request.into_inner().target_id;
        ask(&self.link, credentials, api::Request::MoveLeader { target }).await?;
        // As etcd, which gives this answer no header.
        Ok(Response::new(wire::MoveLeaderResponse::default()))
    }

    async fn downgrade(
        &self,
        request: Request<wire::DowngradeRequest>,
    ) -> Result<Response<wire::DowngradeResponse>, Status> {
        use wire::downgrade_request::DowngradeAction as Wire;
        let credentials = credentials(&request);
        let wire::DowngradeRequest { action, version } = request.into_inner();
        let action = match Wire::try_from(action) {
            Ok(Wire::Validate) => DowngradeAction::Validate,
            Ok(Wire::Enable) => DowngradeAction::Enable,
            Ok(Wire::Cancel) => DowngradeAction::Cancel,
            Err(_) => {
                ask(&self.link, credentials, api::Request::CheckRoot).await?;
                return Err(Status::unknown("etcdserver: unknown method"));
            }
        };
        let answered = ask(&self.link, credentials, api::Request::Downgrade { action, version }).await?;
        let Answer::ClusterVersion(version) = answered.answer else { return Err(mismatched_answer()) };
        let header = header(&self.link, 0, answered.revision, answered.raft_term);
        Ok(Response::new(wire::DowngradeResponse { header, version }))
    }
}

/// The text form of an `AlarmMember`, in which a member of id zero is left out.
fn alarm_text(alarm: &AlarmMember) -> String {
    let name = alarm_name(alarm.kind);
    match alarm.member_id {
        0 => format!("alarm:{name}"),
        member_id => format!("memberID:{member_id}  alarm:{name}"),
    }
}

fn status_response(
    header: Option<wire::ResponseHeader>,
    report: &StatusReport,
    version: &str,
) -> wire::StatusResponse {
    let mut errors = Vec::new();
    if report.leader == 0 {
        errors.push(Status::from(NO_LEADER).message().to_owned());
    }
    errors.extend(report.alarms.iter().map(alarm_text));
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    wire::StatusResponse {
        header,
        version: version.to_owned(),
        db_size: signed(report.database_bytes),
        leader: report.leader,
        raft_index: report.raft_committed,
        raft_term: report.raft_term,
        raft_applied_index: report.raft_applied,
        errors,
        db_size_in_use: signed(report.database_bytes_in_use),
        is_learner: report.is_learner,
        storage_version: report.storage_version.clone(),
        db_size_quota: if report.quota_bytes == 0 { QUOTA_DEFAULT } else { report.quota_bytes },
        downgrade_info: Some(wire::DowngradeInfo {
            enabled: report.downgrade_target.is_some(),
            target_version: report.downgrade_target.clone().unwrap_or_default(),
        }),
    }
}
