//! Looking after the members.
//!
//! These requests are about the one member that answers them.
//! To ask a certain member, use a client with its endpoint alone.

use etched_proto::etcdserverpb::alarm_request::AlarmAction;
use etched_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, HashKvRequest,
    HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest,
    SnapshotResponse, StatusRequest, StatusResponse,
};
use tonic::Streaming;

use crate::error::{Effect, Failure};
use crate::{Client, Error};

impl Client {
    /// The member's version, sizes, leader and progress.
    ///
    /// # Errors
    ///
    /// As every read.
    pub async fn status(&self) -> Result<StatusResponse, Error> {
        self.call(Effect::Read, StatusRequest {}, |mut stubs, request| async move {
            stubs.maintenance().status(request).await
        })
        .await
    }

    /// The hash of all key-value history up to a revision; 0 means the newest.
    ///
    /// Members with the same compacted revision have the same hash.
    ///
    /// # Errors
    ///
    /// As [`Client::get`] at the revision.
    pub async fn hash_kv(&self, revision: i64) -> Result<HashKvResponse, Error> {
        self.call(Effect::Read, HashKvRequest { revision }, |mut stubs, request| async move {
            stubs.maintenance().hash_kv(request).await
        })
        .await
    }

    /// The hash of the whole storage, which differs between members that are equally right.
    ///
    /// # Errors
    ///
    /// As every read.
    pub async fn hash(&self) -> Result<HashResponse, Error> {
        self.call(Effect::Read, HashRequest {}, |mut stubs, request| async move {
            stubs.maintenance().hash(request).await
        })
        .await
    }

    /// Gives free space in the member's storage back to the filesystem; the member may not answer meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer did not come in time; large storages need a longer timeout.
    pub async fn defragment(&self) -> Result<DefragmentResponse, Error> {
        self.call(Effect::Change, DefragmentRequest {}, |mut stubs, request| async move {
            stubs.maintenance().defragment(request).await
        })
        .await
    }

    /// Lists the alarms of all members.
    ///
    /// # Errors
    ///
    /// As every read.
    pub async fn alarm_list(&self) -> Result<AlarmResponse, Error> {
        let request = AlarmRequest { action: AlarmAction::Get.into(), member_id: 0, alarm: 0 };
        self.alarm(Effect::Read, request).await
    }

    /// Clears an alarm, as [`Client::alarm_list`] lists it.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn alarm_disarm(&self, alarm: AlarmMember) -> Result<AlarmResponse, Error> {
        let AlarmMember { member_id, alarm } = alarm;
        let request = AlarmRequest { action: AlarmAction::Deactivate.into(), member_id, alarm };
        self.alarm(Effect::Change, request).await
    }

    async fn alarm(&self, effect: Effect, request: AlarmRequest) -> Result<AlarmResponse, Error> {
        self.call(
            effect,
            request,
            |mut stubs, request| async move { stubs.maintenance().alarm(request).await },
        )
        .await
    }

    /// Asks the leader to hand over to another voter.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotLeader`](crate::ErrorKind::NotLeader) if the asked member is not the leader.
    pub async fn move_leader(&self, target_id: u64) -> Result<MoveLeaderResponse, Error> {
        self.call(Effect::Change, MoveLeaderRequest { target_id }, |mut stubs, request| async move {
            stubs.maintenance().move_leader(request).await
        })
        .await
    }

    /// Begins to copy the member's storage: first the database file, then 32 bytes, its SHA-256.
    ///
    /// # Errors
    ///
    /// As every read; the time limit is for the beginning only.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let stream = self
            .call(Effect::Read, SnapshotRequest {}, |mut stubs, mut request| async move {
                request.metadata_mut().remove("grpc-timeout");
                stubs
                    .maintenance()
                    .snapshot(request)
                    .await
                    .map(|stream| tonic::Response::new(Snapshot(stream.into_inner())))
            })
            .await?;
        Ok(stream)
    }
}

/// A copy of a member's storage on its way; made by [`Client::snapshot`].
#[derive(Debug)]
pub struct Snapshot(Streaming<SnapshotResponse>);

impl Snapshot {
    /// The next piece; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the connection broke: what was received is of no use.
    pub async fn next(&mut self) -> Result<Option<SnapshotResponse>, Error> {
        self.0.message().await.map_err(|status| Failure::of(status).into_error(Effect::Read))
    }
}
