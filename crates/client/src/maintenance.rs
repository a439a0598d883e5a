//! Looking after the members.
//!
//! These requests are about the one member that answers them.
//! To ask a certain member, use a client with its endpoint alone.

use etched_proto::etcdserverpb::alarm_request::AlarmAction;
use etched_proto::etcdserverpb::downgrade_request::DowngradeAction;
use etched_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeRequest,
    DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest,
    MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};
use sha2::{Digest as _, Sha256};
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

    /// Asks whether the cluster could be taken back to a version, `major.minor`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidDowngradeTargetVersion`](crate::ErrorKind::InvalidDowngradeTargetVersion) and the like.
    pub async fn downgrade_validate(&self, version: impl Into<String>) -> Result<DowngradeResponse, Error> {
        self.downgrade(Effect::Read, DowngradeAction::Validate, version.into()).await
    }

    /// Makes the cluster ready to be taken back to a version, `major.minor`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DowngradeInProcess`](crate::ErrorKind::DowngradeInProcess) and those of
    /// [`Client::downgrade_validate`]; [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn downgrade_enable(&self, version: impl Into<String>) -> Result<DowngradeResponse, Error> {
        self.downgrade(Effect::Change, DowngradeAction::Enable, version.into()).await
    }

    /// Calls the downgrade off.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoInflightDowngrade`](crate::ErrorKind::NoInflightDowngrade);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn downgrade_cancel(&self) -> Result<DowngradeResponse, Error> {
        self.downgrade(Effect::Change, DowngradeAction::Cancel, String::new()).await
    }

    async fn downgrade(
        &self,
        effect: Effect,
        action: DowngradeAction,
        version: String,
    ) -> Result<DowngradeResponse, Error> {
        let request = DowngradeRequest { action: action.into(), version };
        self.call(effect, request, |mut stubs, request| async move {
            stubs.maintenance().downgrade(request).await
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
                    .map(|stream| tonic::Response::new(Snapshot::new(stream.into_inner())))
            })
            .await?;
        Ok(stream)
    }
}

/// A copy of a member's storage on its way; made by [`Client::snapshot`].
#[derive(Debug)]
pub struct Snapshot {
    stream: Streaming<SnapshotResponse>,
    checked: Checked,
}

impl Snapshot {
    fn new(stream: Streaming<SnapshotResponse>) -> Self {
        Self { stream, checked: Checked::default() }
    }

    /// The next piece; `None` after the last one, when the copy was complete and its checksum right.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the connection broke, [`Error::Protocol`] if the checksum is missing or wrong:
    /// what was received is of no use.
    pub async fn next(&mut self) -> Result<Option<SnapshotResponse>, Error> {
        let piece = self.stream.message().await;
        let piece = piece.map_err(|status| Failure::of(status).into_error(Effect::Read))?;
        match &piece {
            Some(piece) => self.checked.update(&piece.blob),
            None => self.checked.verify()?,
        }
        Ok(piece)
    }
}

const CHECKSUM_BYTES: usize = 32;

/// Hashes what it is given, except for the last 32 bytes, which should be the hash of the rest.
#[derive(Debug, Default)]
struct Checked {
    hasher: Sha256,
    tail: Vec<u8>,
}

impl Checked {
    fn update(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        let hashed = self.tail.len().saturating_sub(CHECKSUM_BYTES);
        self.hasher.update(&self.tail[..hashed]);
        self.tail.drain(..hashed);
    }

    fn verify(&self) -> Result<(), Error> {
        if self.tail.len() < CHECKSUM_BYTES {
            return Err(Error::Protocol { what: "the snapshot has no checksum" });
        }
        if self.hasher.clone().finalize().as_slice() != self.tail {
            return Err(Error::Protocol { what: "the snapshot does not have its checksum" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pieces: &[&[u8]]) -> Result<(), Error> {
        let mut checked = Checked::default();
        pieces.iter().for_each(|piece| checked.update(piece));
        checked.verify()
    }

    #[test]
    fn a_checksum_is_found_wherever_the_pieces_are_cut() {
        let bytes = [b'x'; 1000];
        let whole = [&bytes[..], &Sha256::digest(bytes)].concat();
        for at in [0, 1, 999, 1000, 1001, 1031, 1032] {
            assert!(checked(&[&whole[..at], &whole[at..]]).is_ok(), "cut at {at}");
        }
        let each: Vec<_> = whole.chunks(1).collect();
        assert!(checked(&each).is_ok());
    }

    #[test]
    fn a_copy_that_is_cut_off_or_changed_is_noticed() {
        let mut whole = [&[b'x'; 1000][..], &Sha256::digest([b'x'; 1000])].concat();
        assert!(checked(&[&whole[..1031]]).is_err());
        assert!(checked(&[&whole[..20]]).is_err());
        whole[7] ^= 1;
        assert!(checked(&[&whole]).is_err());
    }
}
