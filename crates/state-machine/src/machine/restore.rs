//! Taking up a stored state.

use core::str::FromStr;

use bytes::Bytes;
use etched_auth::Auth;
use etched_backend::{BackendError, Batch, ReadView, Table};
use etched_lease::Leases;
use etched_mvcc::{Store, StoreOptions};

use super::{RestoreError, State};
use crate::alarms::Alarms;
use crate::members::{ConfState, Downgrade, Members};
use crate::schema;
use crate::v2::V2State;
use crate::version::Version;

/// Where in the log the stored state stands.
pub(crate) struct Meta {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) conf_state: ConfState,
}

impl Meta {
    pub(crate) fn read(view: &dyn ReadView) -> Result<Self, BackendError> {
        Ok(Self {
            index: record(view, Table::Meta, schema::CONSISTENT_INDEX, schema::decode_u64)?
                .unwrap_or_default(),
            term: record(view, Table::Meta, schema::TERM, schema::decode_u64)?.unwrap_or_default(),
            conf_state: record(view, Table::Meta, schema::CONF_STATE, ConfState::from_json)?
                .unwrap_or_default(),
        })
    }

    pub(crate) fn write(&self, batch: &mut Batch) {
        batch.put(Table::Meta, schema::CONSISTENT_INDEX, schema::encode_u64(self.index));
        batch.put(Table::Meta, schema::TERM, schema::encode_u64(self.term));
        batch.put(Table::Meta, schema::CONF_STATE, self.conf_state.to_json());
    }

    pub(crate) fn storage_version(view: &dyn ReadView) -> Result<Option<Version>, BackendError> {
        record(view, Table::Meta, schema::STORAGE_VERSION, version)
    }

    pub(crate) fn cluster_version(view: &dyn ReadView) -> Result<Option<Version>, BackendError> {
        record(view, Table::Cluster, schema::CLUSTER_VERSION, version)
    }
}

pub(super) fn state(view: &dyn ReadView, options: StoreOptions) -> Result<State, RestoreError> {
    let mut leases = Leases::restore(view)?;
    let store = Store::restore(view, options, &mut |key, lease| {
        // A key may name a lease that is gone, in a store that etcd wrote: it then is attached to nothing.
        leases.attach(lease, Bytes::copy_from_slice(key));
    })?;
    Ok(State {
        store,
        leases,
        auth: Auth::restore(view)?,
        alarms: Alarms::restore(view)?,
        members: Members::restore(view)?,
        cluster_version: Meta::cluster_version(view)?,
        storage_version: Meta::storage_version(view)?,
        v2: V2State::restore(view)?,
        downgrade: record(view, Table::Cluster, schema::DOWNGRADE, Downgrade::from_json)?.flatten(),
    })
}

fn version(text: &[u8]) -> Option<Version> {
    Version::from_str(core::str::from_utf8(text).ok()?).ok()
}

fn record<T>(
    view: &dyn ReadView,
    table: Table,
    key: &'static str,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, BackendError> {
    let Some(value) = view.get(table, key.as_bytes())? else { return Ok(None) };
    let damaged = || BackendError::Damaged {
        table,
        key: Bytes::from_static(key.as_bytes()),
        why: "the record cannot be read",
    };
    read(&value).map(Some).ok_or_else(damaged)
}
