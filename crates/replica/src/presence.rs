//! What a member makes known to the cluster at its start: its name and client URLs, and the cluster's version.

use etched_state_machine::{Command, StateMachine};

use crate::output::Notice;

/// Nanoseconds after which an announcement that was not applied is proposed again.
const RETRY_NS: u64 = 1_000_000_000;

/// Name and URLs of this member, and the version that it speaks.
#[derive(Clone, Debug)]
pub struct Presence {
    /// `--name`.
    pub name: String,
    /// `--advertise-client-urls`.
    pub client_urls: Vec<String>,
    /// The version to which a cluster without one is set, `major.minor.0`.
    pub cluster_version: String,
}

/// Proposes the announcements until they are applied.
#[derive(Debug)]
pub(crate) struct Announcer {
    presence: Presence,
    member_id: u64,
    is_published: bool,
    attributes_due_ns: u64,
    version_due_ns: u64,
}

impl Announcer {
    pub(crate) fn new(presence: Presence, member_id: u64) -> Self {
        Self { presence, member_id, is_published: false, attributes_due_ns: 0, version_due_ns: 0 }
    }

    /// The commands to propose now.
    pub(crate) fn poll(&mut self, machine: &StateMachine, leads: bool, now_ns: u64) -> Vec<Command> {
        let mut commands = Vec::new();
        if !self.is_known(machine) && now_ns >= self.attributes_due_ns {
            self.attributes_due_ns = now_ns + RETRY_NS;
            commands.push(Command::MemberAttributes {
                member_id: self.member_id,
                name: self.presence.name.clone(),
                client_urls: self.presence.client_urls.clone(),
            });
        }
        if leads && machine.cluster_version().is_none() && now_ns >= self.version_due_ns {
            self.version_due_ns = now_ns + RETRY_NS;
            commands.push(Command::ClusterVersionSet { version: self.presence.cluster_version.clone() });
        }
        commands
    }

    /// Says once that the member is known to the cluster.
    pub(crate) fn published(&mut self, machine: &StateMachine) -> Option<Notice> {
        if self.is_published || !self.is_known(machine) {
            return None;
        }
        self.is_published = true;
        Some(Notice::Published)
    }

    fn is_known(&self, machine: &StateMachine) -> bool {
        machine.members().get(self.member_id).is_some_and(|member| {
            member.name == self.presence.name && member.client_urls == self.presence.client_urls
        })
    }
}
