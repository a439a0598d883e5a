//! The leader's clock: when each lease runs out, and whose remaining life has to be noted.

mod deadlines;
mod promotion;

#[cfg(test)]
mod tests;

use crate::Leases;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use deadlines::Deadlines;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The most leases of one [`LeaseClock::poll_checkpoints`].
const CHECKPOINTS_PER_POLL_MAX: usize = 1_000;

/// How the clock behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOptions {
    /// After how many nanoseconds an expired lease that still exists is named again.
    pub retry_ns: u64,
    /// How many nanoseconds lie between two checkpoints of a lease, and how much life a lease must have left to get
    /// one; `None` turns checkpoints off.
    pub checkpoint_interval_ns: Option<u64>,
}

impl Default for ClockOptions {
    /// Three seconds; checkpoints every five minutes.
    fn default() -> Self {
        Self { retry_ns: 3 * NANOS_PER_SECOND, checkpoint_interval_ns: Some(300 * NANOS_PER_SECOND) }
    }
}

/// When each lease runs out, on the member that leads.
///
/// While it is *primary* (between [`LeaseClock::promote`] and [`LeaseClock::demote`]) it must be told of each lease
/// that is granted and revoked.
/// After each input, or when [`LeaseClock::next_deadline`] has come, the caller polls
/// [`expired`](LeaseClock::poll_expired) leases and [`checkpoints`](LeaseClock::poll_checkpoints), and proposes.
/// When it is not primary it knows of no lease, and everything it is told but promotion is ignored.
///
/// `now` never runs backwards.
#[derive(Clone, Debug)]
pub struct LeaseClock {
    options: ClockOptions,
    primary: bool,
    timers: BTreeMap<i64, Timer>,
    /// When to look at a lease because it may have run out.
    expiries: Deadlines,
    /// When to look at a lease because its remaining life may have to be noted.
    checkpoints: Deadlines,
}

/// The times of one lease.
///
/// A `…_look` is the time under which the lease stands in the queue of that name. A renewal moves only the time itself,
/// and the queue's entry is put right when it comes up: renewing costs one look into the map.
#[derive(Clone, Copy, Debug)]
struct Timer {
    expires_at: u64,
    checkpoint_at: u64,
    expiry_look: u64,
    /// [`NEVER`] if the lease is not in the queue.
    checkpoint_look: u64,
}

/// The time of what does not happen.
const NEVER: u64 = u64::MAX;

/// What a keep-alive achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives for its whole `ttl` (seconds) again.
    Renewed {
        /// The granted time to live, in seconds.
        ttl: i64,
        /// A checkpoint is stored for the lease, which must be cleared (a checkpoint of 0) before the owner is answered:
        /// else the next leader would give it less than it was promised.
        clear_checkpoint: bool,
    },
    /// The lease has run out and is about to be revoked; it cannot be saved any more.
    Expired,
    /// There is no such lease.
    NotFound,
    /// This member does not lead: another clock counts.
    NotPrimary,
}

/// The smallest time to live that a lease may have, in seconds: one and a half elections.
///
/// A lease must outlive the choice of a new leader, or its owner could not have kept it alive.
pub fn ttl_min_seconds(election_ticks: i64, heartbeat_ms: i64) -> i64 {
    let milliseconds = (election_ticks.saturating_mul(3) / 2).saturating_mul(heartbeat_ms);
    milliseconds / 1_000 + i64::from(milliseconds % 1_000 > 0)
}

impl Default for LeaseClock {
    fn default() -> Self {
        Self::new(ClockOptions::default())
    }
}

impl LeaseClock {
    /// A clock that is not primary.
    pub fn new(options: ClockOptions) -> Self {
        assert!(options.retry_ns > 0, "an expired lease cannot be named all the time");
        assert!(options.checkpoint_interval_ns != Some(0), "checkpoints cannot be made all the time");
        Self {
            options,
            primary: false,
            timers: BTreeMap::new(),
            expiries: Deadlines::new(),
            checkpoints: Deadlines::new(),
        }
    }

    /// Starts the clock over all leases: the member has become leader and has applied all that came before.
    ///
    /// Each lease lives for its checkpointed remaining life, or its whole one, plus `extend_ns` (the length of an
    /// election: its owner could not renew it meanwhile). With a thousand leases or more, those that would run out
    /// together are spread, so that at most 750 do within a second.
    pub fn promote(&mut self, now: u64, extend_ns: u64, leases: &Leases) {
        self.demote();
        self.primary = true;
        promotion::start(self, now, extend_ns, leases);
    }

    /// Stops the clock: another member leads, or none.
    pub fn demote(&mut self) {
        self.primary = false;
        self.timers.clear();
        self.expiries.clear();
        self.checkpoints.clear();
    }

    /// Whether this clock counts.
    pub fn is_primary(&self) -> bool {
        self.primary
    }

    /// A lease with this time to live (seconds) was granted.
    pub fn on_granted(&mut self, id: i64, ttl: i64, now: u64) {
        if !self.primary {
            return;
        }
        let expires_at = now.saturating_add(nanos(ttl));
        let checkpoint_at = self.checkpoint_due(now, expires_at);
        let timer =
            Timer { expires_at, checkpoint_at, expiry_look: expires_at, checkpoint_look: checkpoint_at };
        self.expiries.push(expires_at, id);
        if checkpoint_at != NEVER {
            self.checkpoints.push(checkpoint_at, id);
        }
        self.timers.insert(id, timer);
    }

    /// A lease was revoked, for whatever reason.
    pub fn on_revoked(&mut self, id: i64) {
        if self.timers.remove(&id).is_some() {
            self.drop_stale_entries();
        }
    }

    /// Gives a lease its whole life again, if it has not run out.
    ///
    /// # Panics
    ///
    /// If `leases` has the lease and the clock was never told that it was granted.
    pub fn renew(&mut self, id: i64, leases: &Leases, now: u64) -> Renewal {
        if !self.primary {
            return Renewal::NotPrimary;
        }
        let Some(lease) = leases.get(id) else { return Renewal::NotFound };
        let expires_at = now.saturating_add(nanos(lease.ttl()));
        let checkpoint_at = self.checkpoint_due(now, expires_at);
        let timer = self.timers.get_mut(&id).expect("the clock is told of every lease that is granted");
        if timer.expires_at <= now {
            return Renewal::Expired;
        }
        timer.expires_at = expires_at;
        timer.checkpoint_at = checkpoint_at;
        // Promotion may have given more than the whole life; then the lease has to be looked at earlier than planned.
        if expires_at < timer.expiry_look {
            timer.expiry_look = expires_at;
            self.expiries.push(expires_at, id);
        }
        if checkpoint_at < timer.checkpoint_look {
            timer.checkpoint_look = checkpoint_at;
            self.checkpoints.push(checkpoint_at, id);
        }
        Renewal::Renewed { ttl: lease.ttl(), clear_checkpoint: lease.remaining() > 0 }
    }

    /// How many nanoseconds the lease has left, negative once it has run out; `None` if the clock does not know it.
    pub fn remaining_ns(&self, id: i64, now: u64) -> Option<i64> {
        let timer = self.timers.get(&id)?;
        Some(match timer.expires_at.checked_sub(now) {
            Some(left) => i64::try_from(left).unwrap_or(i64::MAX),
            None => -i64::try_from(now - timer.expires_at).unwrap_or(i64::MAX),
        })
    }

    /// Up to `max` leases that have run out, whose revocation has to be proposed.
    ///
    /// Each is named again [`retry_ns`](ClockOptions::retry_ns) later if it was not revoked by then, since the proposal
    /// may have been lost.
    pub fn poll_expired(&mut self, now: u64, max: usize) -> Vec<i64> {
        let mut expired = Vec::new();
        while expired.len() < max {
            let Some((look_at, id)) = self.expiries.pop_due(now) else { break };
            let Some(timer) = self.timers.get_mut(&id).filter(|timer| timer.expiry_look == look_at) else {
                continue;
            };
            timer.expiry_look = if timer.expires_at <= now {
                expired.push(id);
                now.saturating_add(self.options.retry_ns)
            } else {
                timer.expires_at
            };
            self.expiries.push(timer.expiry_look, id);
        }
        expired
    }

    /// Leases whose remaining life has to be noted, with that life in seconds, rounded up; at most a thousand.
    ///
    /// The caller asks again until nothing comes; a checkpoint that is lost is followed by the next one.
    pub fn poll_checkpoints(&mut self, now: u64) -> Vec<(i64, i64)> {
        let mut due = Vec::new();
        while due.len() < CHECKPOINTS_PER_POLL_MAX {
            let Some((look_at, id)) = self.checkpoints.pop_due(now) else { break };
            let Some(timer) = self.timers.get(&id).filter(|timer| timer.checkpoint_look == look_at) else {
                continue;
            };
            let Timer { expires_at, checkpoint_at, .. } = *timer;
            let mut next = checkpoint_at;
            if checkpoint_at <= now {
                if expires_at > now {
                    due.push((id, whole_seconds_up(expires_at - now)));
                }
                next = self.checkpoint_due(now, expires_at);
            }
            let timer = self.timers.get_mut(&id).expect("the lease was just found");
            timer.checkpoint_at = next;
            timer.checkpoint_look = next;
            if next != NEVER {
                self.checkpoints.push(next, id);
            }
        }
        due
    }

    /// When to poll again at the latest; polling then may yield nothing.
    pub fn next_deadline(&self) -> Option<u64> {
        [self.expiries.first(), self.checkpoints.first()].into_iter().flatten().min()
    }

    /// The ids of all leases, the one that runs out first in front; nothing if the clock is not primary.
    pub fn by_remaining(&self) -> Vec<i64> {
        let mut ids: Vec<(u64, i64)> =
            self.timers.iter().map(|(id, timer)| (timer.expires_at, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// When the next checkpoint of a lease is due, seen from `now`.
    fn checkpoint_due(&self, now: u64, expires_at: u64) -> u64 {
        match self.options.checkpoint_interval_ns {
            Some(interval) if expires_at.saturating_sub(now) > interval => now.saturating_add(interval),
            Some(_) | None => NEVER,
        }
    }

    /// Keeps the queues in proportion to the leases, where leases are granted and revoked long before they run out.
    fn drop_stale_entries(&mut self) {
        let Self { timers, expiries, checkpoints, .. } = self;
        expiries.shrink(timers.len(), |look_at, id| {
            timers.get(&id).is_some_and(|timer| timer.expiry_look == look_at)
        });
        checkpoints.shrink(timers.len(), |look_at, id| {
            timers.get(&id).is_some_and(|timer| timer.checkpoint_look == look_at)
        });
    }
}

fn nanos(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(NANOS_PER_SECOND)
}

/// Never more than [`NEVER`] in seconds, which is far below the largest number.
fn whole_seconds_up(nanos: u64) -> i64 {
    i64::try_from(nanos.div_ceil(NANOS_PER_SECOND)).unwrap_or(i64::MAX)
}
