//! The members of the cluster.

use etched_proto::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest,
    MemberUpdateResponse,
};

use crate::error::Effect;
use crate::{Client, Error};

impl Client {
    /// Lists the members, as the cluster agrees on them.
    ///
    /// # Errors
    ///
    /// As every read.
    pub async fn member_list(&self) -> Result<MemberListResponse, Error> {
        self.members(MemberListRequest { linearizable: true }).await
    }

    /// Lists the members as the asked member knows them, which works without a leader and may be old.
    ///
    /// # Errors
    ///
    /// As every read.
    pub async fn member_list_serializable(&self) -> Result<MemberListResponse, Error> {
        self.members(MemberListRequest { linearizable: false }).await
    }

    async fn members(&self, request: MemberListRequest) -> Result<MemberListResponse, Error> {
        self.call(Effect::Read, request, |mut stubs, request| async move {
            stubs.cluster().member_list(request).await
        })
        .await
    }

    /// Adds a member that votes as soon as it has started.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn member_add(
        &self,
        peer_urls: impl IntoIterator<Item = String>,
    ) -> Result<MemberAddResponse, Error> {
        self.add(MemberAddRequest { peer_ur_ls: peer_urls.into_iter().collect(), is_learner: false }).await
    }

    /// Adds a member that only learns, until it is promoted.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn member_add_learner(
        &self,
        peer_urls: impl IntoIterator<Item = String>,
    ) -> Result<MemberAddResponse, Error> {
        self.add(MemberAddRequest { peer_ur_ls: peer_urls.into_iter().collect(), is_learner: true }).await
    }

    async fn add(&self, request: MemberAddRequest) -> Result<MemberAddResponse, Error> {
        self.call(Effect::Change, request, |mut stubs, request| async move {
            stubs.cluster().member_add(request).await
        })
        .await
    }

    /// Removes a member for ever; its id never returns.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn member_remove(&self, member_id: u64) -> Result<MemberRemoveResponse, Error> {
        self.call(Effect::Change, MemberRemoveRequest { id: member_id }, |mut stubs, request| async move {
            stubs.cluster().member_remove(request).await
        })
        .await
    }

    /// Replaces the peer URLs of a member.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn member_update(
        &self,
        member_id: u64,
        peer_urls: impl IntoIterator<Item = String>,
    ) -> Result<MemberUpdateResponse, Error> {
        let request = MemberUpdateRequest { id: member_id, peer_ur_ls: peer_urls.into_iter().collect() };
        self.call(Effect::Change, request, |mut stubs, request| async move {
            stubs.cluster().member_update(request).await
        })
        .await
    }

    /// Makes a learner that has caught up a voter.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn member_promote(&self, member_id: u64) -> Result<MemberPromoteResponse, Error> {
        self.call(Effect::Change, MemberPromoteRequest { id: member_id }, |mut stubs, request| async move {
            stubs.cluster().member_promote(request).await
        })
        .await
    }
}
