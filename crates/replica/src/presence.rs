//! What a member makes known to the cluster at its start: its name and client URLs.

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
    /// The version of this server without its patch number, `major.minor.0`: the highest that the cluster can have.
    pub cluster_version: String,
}

/// Proposes the announcements until they are applied.
#[derive(Debug)]
pub(crate) struct Announcer {
    presence: Presence,
    member_id: u64,
    is_published: bool,
    due_ns: u64,
}

impl Announcer {
    pub(crate) fn new(presence: Presence, member_id: u64) -> Self {
        Self { presence, member_id, is_published: false, due_ns: 0 }
    }

    /// The command to propose now, if this member is one of the cluster and not known yet.
    pub(crate) fn poll(&mut self, machine: &StateMachine, now_ns: u64) -> Option<Command> {
        let is_member = machine.members().get(self.member_id).is_some();
        if !is_member || self.is_known(machine) || now_ns < self.due_ns {
            return None;
        }
        self.due_ns = now_ns + RETRY_NS;
        Some(Command::MemberAttributes {
            member_id: self.member_id,
            name: self.presence.name.clone(),
            client_urls: self.presence.client_urls.clone(),
        })
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
