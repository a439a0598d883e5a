//! What the members agree on about their versions.

use alloc::string::ToString;

use etched_backend::{Batch, Table};

use crate::applied::Outcome;
use crate::machine::{Progress, State};
use crate::members::Downgrade;
use crate::refusal::Refusal;
use crate::schema;
use crate::version::Version;

/// The first version whose stored data names its version.
const STORAGE_VERSION_SINCE: Version = Version::new(3, 6, 0);

pub(super) fn check_version(version: &str) -> Result<(), Refusal> {
    version.parse::<Version>().map(|_| ())
}

pub(super) fn check_downgrade(enabled: bool, version: &str) -> Result<(), Refusal> {
    if enabled { check_version(version) } else { Ok(()) }
}

/// Sets the version that all members can speak. The version of the stored data rises with it; it never falls here,
/// since that needs a log without newer entries.
pub(crate) fn set_version(
    version: &str,
    state: &mut State,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, Refusal> {
    let version: Version = version.parse()?;
    if state.cluster_version != Some(version) {
        progress.effects.cluster_version = Some(version);
    }
    state.cluster_version = Some(version);
    batch.put(Table::Cluster, schema::CLUSTER_VERSION, version.to_string());
    if version >= STORAGE_VERSION_SINCE && state.storage_version.is_none_or(|storage| storage < version) {
        state.storage_version = Some(version);
        batch.put(Table::Meta, schema::STORAGE_VERSION, version.to_string());
    }
    Ok(Outcome::Nothing)
}

/// Allows members of an older version, or calls that off.
pub(crate) fn set_downgrade(
    enabled: bool,
    version: &str,
    state: &mut State,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, Refusal> {
    let downgrade = if enabled { Some(Downgrade { target: version.parse()? }) } else { None };
    progress.effects.downgrade_changed = state.downgrade != downgrade;
    state.downgrade = downgrade;
    batch.put(Table::Cluster, schema::DOWNGRADE, Downgrade::to_json(downgrade));
    Ok(Outcome::Nothing)
}
