//! Faults: their kinds, and a deck from which they are drawn so that each comes up.

use std::collections::BTreeMap;
use std::fmt;

use crate::random::Random;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// A member is killed and starts again.
    Kill,
    /// The leader is.
    KillLeader,
    /// A member is killed while it starts, several times.
    KillStarting,
    /// All members are killed at once.
    KillAll,
    /// A member stops where it is and goes on later.
    Pause,
    /// The leader does.
    PauseLeader,
    /// A member is asked to end.
    Terminate,
    /// Less than half of the members lose all others.
    PartitionMinority,
    /// The leader loses all others.
    PartitionLeader,
    /// A member is not heard, or hears nothing, but not both.
    PartitionOneWay,
    /// Two members lose each other, but not the rest.
    PartitionBridge,
    /// Everything comes late, by different times.
    Delay,
    /// Little passes.
    Throttle,
    /// Connections are reset, again and again.
    Reset,
    /// Connections lose everything, and nobody is told.
    HalfOpen,
    /// Clients lose a member.
    ClientCut,
    /// Clients lose connections to all members, again and again.
    ClientReset,
    /// A member's disk is full.
    DiskFull,
    /// A member is removed, forgets everything, and is added again.
    Replace,
    /// The same, as a learner first.
    Learner,
    /// Leadership is given away.
    MoveLeader,
    /// History is forgotten.
    Compact,
    /// A member rewrites its store.
    Defragment,
}

impl Fault {
    const ALL: [Self; 23] = [
        Self::Kill,
        Self::KillLeader,
        Self::KillStarting,
        Self::KillAll,
        Self::Pause,
        Self::PauseLeader,
        Self::Terminate,
        Self::PartitionMinority,
        Self::PartitionLeader,
        Self::PartitionOneWay,
        Self::PartitionBridge,
        Self::Delay,
        Self::Throttle,
        Self::Reset,
        Self::HalfOpen,
        Self::ClientCut,
        Self::ClientReset,
        Self::DiskFull,
        Self::Replace,
        Self::Learner,
        Self::MoveLeader,
        Self::Compact,
        Self::Defragment,
    ];

    /// Whether it needs other members.
    fn is_of_clusters(self) -> bool {
        match self {
            Self::KillLeader
            | Self::PauseLeader
            | Self::PartitionMinority
            | Self::PartitionLeader
            | Self::PartitionOneWay
            | Self::PartitionBridge
            | Self::Replace
            | Self::Learner
            | Self::MoveLeader => true,
            Self::Kill
            | Self::KillStarting
            | Self::KillAll
            | Self::Pause
            | Self::Terminate
            | Self::Delay
            | Self::Throttle
            | Self::Reset
            | Self::HalfOpen
            | Self::ClientCut
            | Self::ClientReset
            | Self::DiskFull
            | Self::Compact
            | Self::Defragment => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{self:?}");
        for (place, letter) in name.chars().enumerate() {
            if letter.is_ascii_uppercase() && place > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// How often a kind of fault happened, and how often it could not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) done: u64,
    pub(super) skipped: u64,
}

/// All kinds that a cluster can have, in an order of the seed, again and again.
#[derive(Debug)]
pub(super) struct Deck {
    kinds: Vec<Fault>,
    left: Vec<Fault>,
    pub(super) counts: BTreeMap<Fault, Count>,
}

impl Deck {
    pub(super) fn new(members: usize) -> Self {
        let kinds: Vec<Fault> =
            Fault::ALL.into_iter().filter(|kind| members > 1 || !kind.is_of_clusters()).collect();
        let counts = kinds.iter().map(|kind| (*kind, Count::default())).collect();
        Self { kinds, left: Vec::new(), counts }
    }

    pub(super) fn draw(&mut self, random: &mut Random) -> Fault {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        let place = usize::try_from(random.below(self.left.len() as u64)).expect("a place");
        self.left.swap_remove(place)
    }

    /// Notes that a fault happened, or could not.
    pub(super) fn note(&mut self, fault: Fault, was_skipped: bool) {
        let count = self.counts.entry(fault).or_default();
        if was_skipped { count.skipped += 1 } else { count.done += 1 }
    }

    /// Kinds that neither happened nor were impossible.
    pub(super) fn missing(&self) -> Vec<Fault> {
        let missing = self.counts.iter().filter(|(_, count)| count.done + count.skipped == 0);
        missing.map(|(kind, _)| *kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_comes_up_once_a_round() {
        let mut deck = Deck::new(3);
        let mut random = Random::new(1);
        for _ in 0..Fault::ALL.len() {
            let fault = deck.draw(&mut random);
            deck.note(fault, false);
        }
        assert_eq!(deck.missing(), []);
        assert!(deck.counts.values().all(|count| count.done == 1));
    }

    #[test]
    fn a_single_member_has_no_partitions() {
        let deck = Deck::new(1);
        assert!(!deck.kinds.contains(&Fault::PartitionLeader) && deck.kinds.contains(&Fault::DiskFull));
    }

    #[test]
    fn names_are_words() {
        assert_eq!(Fault::PartitionOneWay.to_string(), "partition one way");
    }
}
