//! The versions that the members of a cluster speak, and what the cluster agrees on.

use std::collections::BTreeMap;

use etched_state_machine::{Command, StateMachine, Version};

use crate::request::ApiError;

/// Nanoseconds after which a decision that was not applied is proposed again.
const RETRY_NS: u64 = 1_000_000_000;

/// The version of a cluster whose members are not all known: the lowest.
const VERSION_MIN: Version = Version::new(3, 0, 0);

/// What a member says of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerVersion {
    /// Of the server, `major.minor.patch`.
    pub server: String,
    /// Of the cluster, as far as that member knows; may be empty.
    pub cluster: String,
}

/// The cluster is at a version that this member does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid downgrade; server version {own} is lower than determined cluster version {cluster}")]
pub struct VersionTooLow {
    /// What this member speaks.
    pub own: Version,
    /// What the cluster speaks.
    pub cluster: Version,
}

/// What the leader knows of the members' versions.
#[derive(Debug)]
pub(crate) struct Versions {
    own: Version,
    /// The newest report since this member leads.
    reported: Option<BTreeMap<u64, Option<PeerVersion>>>,
    due_ns: u64,
}

impl Versions {
    /// `own` is the version of this server without its patch number.
    pub(crate) fn new(own: &str) -> Self {
        Self { own: parse(own).unwrap_or(VERSION_MIN), reported: None, due_ns: 0 }
    }

    pub(crate) fn on_reported(&mut self, versions: BTreeMap<u64, Option<PeerVersion>>) {
        self.reported = Some(versions);
        self.due_ns = 0;
    }

    pub(crate) fn on_demoted(&mut self) {
        self.reported = None;
    }

    /// Whether this member speaks the cluster's version.
    pub(crate) fn check_own(&self, machine: &StateMachine) -> Result<(), VersionTooLow> {
        match machine.cluster_version() {
            Some(cluster) if without_patch(cluster) > self.own => {
                Err(VersionTooLow { own: self.own, cluster })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What the leader proposes now, if anything.
    pub(crate) fn poll(&mut self, machine: &StateMachine, self_id: u64, now_ns: u64) -> Option<Command> {
        if now_ns < self.due_ns {
            return None;
        }
        let is_alone = machine.members().len() == 1;
        if !is_alone && self.reported.is_none() {
            return None;
        }
        let servers = self.servers(machine, self_id);
        let decision = self.decide(machine, &servers);
        if decision.is_some() {
            self.due_ns = now_ns + RETRY_NS;
        } else {
            // Nothing changes before the next report.
            self.reported = None;
        }
        decision
    }

    /// The servers' versions without patch numbers; `None` for a member that is not known.
    fn servers(&self, machine: &StateMachine, self_id: u64) -> Vec<Option<Version>> {
        let reported = |id: u64| {
            let version = self.reported.as_ref()?.get(&id)?.as_ref()?;
            parse(&version.server)
        };
        let members = machine.members().iter();
        members
            .map(|member| if member.id == self_id { Some(self.own) } else { reported(member.id) })
            .collect()
    }

    fn decide(&self, machine: &StateMachine, servers: &[Option<Version>]) -> Option<Command> {
        let lowest =
            servers.iter().copied().collect::<Option<Vec<Version>>>().and_then(|all| all.into_iter().min());
        let downgrade = machine.downgrade().map(|downgrade| without_patch(downgrade.target));
        if let Some(target) = downgrade
            && servers.iter().all(|version| *version == Some(target))
        {
            return Some(Command::DowngradeSet { enabled: false, version: String::new() });
        }
        let set = |version: Version| Some(Command::ClusterVersionSet { version: version.to_string() });
        let Some(current) = machine.cluster_version().map(without_patch) else {
            return set(lowest.unwrap_or(VERSION_MIN));
        };
        let lowest = lowest?;
        match downgrade {
            Some(target) if target == current => None,
            Some(target) if Some(target) == below(current) => set(target),
            Some(_) | None if lowest > current => set(lowest),
            Some(_) | None => None,
        }
    }
}

/// Whether a downgrade from `cluster` to `target` may be allowed now.
pub(crate) fn check_downgrade(cluster: Version, target: Version, is_under_way: bool) -> Result<(), ApiError> {
    if Some(target) != below(without_patch(cluster)) {
        Err(ApiError::DowngradeTarget)
    } else if is_under_way {
        Err(ApiError::DowngradeInProcess)
    } else {
        Ok(())
    }
}

/// The version to go down to, of the form `major.minor` or `major.minor.patch`; the patch number does not count.
pub(crate) fn parse_target(text: &str) -> Option<Version> {
    let dots = text.bytes().filter(|byte| *byte == b'.').count();
    let version = if dots == 1 { format!("{text}.0").parse() } else { text.parse() };
    version.ok().map(without_patch)
}

/// A version as clusters are told of it: `major.minor`.
pub(crate) fn short(version: Version) -> String {
    format!("{}.{}", version.major, version.minor)
}

/// A server's version; a suffix such as `-rc.1` does not count.
fn parse(text: &str) -> Option<Version> {
    text.split(['-', '+']).next()?.parse().ok().map(without_patch)
}

const fn without_patch(version: Version) -> Version {
    Version::new(version.major, version.minor, 0)
}

/// The minor version right below.
fn below(version: Version) -> Option<Version> {
    version.minor.checked_sub(1).map(|minor| Version::new(version.major, minor, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_to_go_down_to_is_the_one_right_below() {
        let cluster = Version::new(3, 7, 0);
        assert_eq!(parse_target("3.6"), Some(Version::new(3, 6, 0)));
        assert_eq!(parse_target("3.6.4"), Some(Version::new(3, 6, 0)));
        for text in ["", "3", "v3.6.0", "3.6.0.1", "3.x"] {
            assert_eq!(parse_target(text), None, "{text}");
        }
        assert_eq!(check_downgrade(cluster, Version::new(3, 6, 0), false), Ok(()));
        assert_eq!(check_downgrade(cluster, Version::new(3, 6, 0), true), Err(ApiError::DowngradeInProcess));
        assert_eq!(check_downgrade(cluster, Version::new(3, 5, 0), true), Err(ApiError::DowngradeTarget));
        assert_eq!(check_downgrade(cluster, cluster, false), Err(ApiError::DowngradeTarget));
    }

    #[test]
    fn a_servers_version_counts_without_patch_and_suffix() {
        assert_eq!(parse("3.7.2"), Some(Version::new(3, 7, 0)));
        assert_eq!(parse("3.8.0-alpha.0"), Some(Version::new(3, 8, 0)));
        assert_eq!(parse("unknown"), None);
    }
}
