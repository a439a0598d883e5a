//! What happens to the machine because of the cluster around it.

use alloc::string::ToString;

use bytes::Bytes;
use etched_backend::Table;

use super::{Progress, StateMachine};
use crate::applied::Applied;
use crate::refusal::Refusal;
use crate::schema;

impl StateMachine {
    /// Applies the next entry, a change of the cluster that consensus cannot carry out: nothing changes.
    ///
    /// # Panics
    ///
    /// As [`apply`](Self::apply).
    pub fn refuse_conf_change(
        &mut self,
        index: u64,
        term: u64,
        request_id: u64,
        refusal: Refusal,
    ) -> Applied {
        self.advance(index, term);
        self.applied_as(request_id, Err(refusal), Progress::default())
    }

    /// Whether the cluster went down to a version below that of the stored data.
    pub fn is_storage_too_new(&self) -> bool {
        matches!((self.state.storage_version, self.state.cluster_version), (Some(storage), Some(cluster)) if storage > cluster)
    }

    /// Takes the version of the stored data down to the cluster's.
    ///
    /// Only when no older log is left that a start would read: it may hold entries of the newer version.
    pub fn lower_storage_version(&mut self) {
        if let Some(version) = self.state.cluster_version
            && self.is_storage_too_new()
        {
            self.state.storage_version = Some(version);
            self.batch.put(Table::Meta, schema::STORAGE_VERSION, version.to_string());
        }
    }

    /// The members as etcd puts them into the data of a Raft snapshot.
    pub fn v2_store(&self) -> Bytes {
        self.state.members.to_v2_store(self.state.cluster_version)
    }
}
