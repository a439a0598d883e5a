//! Leases in real time: none ends before its life is over, counted from the last renewal that was answered.

use std::collections::{BTreeMap, BTreeSet};

use etched_state_machine::Command;

use super::Violation;
use super::store::Lease;
use crate::clock::SECOND;

/// What is known of the time of one lease.
#[derive(Clone, Copy, Debug)]
struct Life {
    ttl: i64,
    /// When the last answered grant or renewal was asked for.
    renewed: u64,
}

/// The leases that somebody was told of.
#[derive(Debug, Default)]
pub(crate) struct LeaseWatch {
    lives: BTreeMap<i64, Life>,
    /// Leases whose remaining life is noted in the log.
    checkpointed: BTreeSet<i64>,
    /// Revocations that clients asked for, by lease.
    asked: BTreeSet<i64>,
    /// How much faster than true time the fastest clock runs, in parts in a million, and the most that clocks jumped.
    pub(crate) rate_ppm_max: u64,
    /// True time that leaders' clocks may have lost by jumps.
    pub(crate) jumped: u64,
    pub(crate) expired: u64,
}

impl LeaseWatch {
    /// A client was told that it has a lease.
    pub(crate) fn on_granted(&mut self, id: i64, ttl: i64, asked_at: u64) {
        self.lives.insert(id, Life { ttl, renewed: asked_at });
    }

    /// A client was told that its lease lives on.
    pub(crate) fn on_renewed(&mut self, id: i64, asked_at: u64) {
        if let Some(life) = self.lives.get_mut(&id) {
            life.renewed = life.renewed.max(asked_at);
        }
    }

    /// Whether the remaining life of a lease is noted in the log.
    pub(crate) fn has_checkpoints(&self) -> bool {
        !self.checkpointed.is_empty()
    }

    /// A client asks to end a lease.
    pub(crate) fn on_revoke_asked(&mut self, id: i64) {
        self.asked.insert(id);
    }

    /// An entry is committed.
    pub(crate) fn on_entry(
        &mut self,
        command: &Command,
        leases: &BTreeMap<i64, Lease>,
        now: u64,
    ) -> Result<(), Violation> {
        if let Command::LeaseCheckpoint(notes) = command {
            for (id, remaining) in notes {
                if *remaining > 0 {
                    self.checkpointed.insert(*id)
                } else {
                    self.checkpointed.remove(id)
                };
            }
        }
        let Command::LeaseRevoke { id } = command else { return Ok(()) };
        self.checkpointed.remove(id);
        let is_there = leases.contains_key(id);
        let life = self.lives.remove(id);
        if !is_there || self.asked.contains(id) {
            return Ok(());
        }
        self.expired += 1;
        let Some(life) = life else { return Ok(()) };
        let ttl = u64::try_from(life.ttl).unwrap_or_default() * SECOND;
        let least = ttl / (1_000_000 + self.rate_ppm_max) * 1_000_000;
        let lived = (now + self.jumped).saturating_sub(life.renewed);
        if lived < least {
            let story =
                format!("lease {id:x} of {} s ended {} ms after it was renewed", life.ttl, lived / 1_000_000);
            return Err(Violation::new("leases live as long as promised", story));
        }
        Ok(())
    }
}
