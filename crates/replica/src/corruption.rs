//! What follows from the hashes of all members: whether one of them holds other data than the rest.
//!
//! The shell asks (by [`crate::Request::HashKv`] here, over HTTP elsewhere) and hands the answers in; what has to be
//! done comes out: a member that must not start, members for which the CORRUPT alarm is to be raised.

use std::collections::BTreeMap;

use etched_state_machine::HashKv;

/// A hash of a member, and the revision of its store when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The hash, the revision that it is of, and the compaction that it stands on.
    pub hash: HashKv,
    /// The member's current revision.
    pub revision: i64,
}

/// The answers of the other members, by their ids; `None` where there is none.
pub type PeerHashes = BTreeMap<u64, Option<Hashed>>;

/// Before a member serves: the peers that hold other data than it at the same revision.
///
/// Peers that do not answer, or stand on another compaction, say nothing.
#[must_use]
pub fn check_initially(own: Hashed, peers: &PeerHashes) -> Vec<u64> {
    let differs = |peer: &Hashed| {
        peer.hash.compact_revision == own.hash.compact_revision && peer.hash.hash != own.hash.hash
    };
    peers.iter().filter(|(_, peer)| peer.as_ref().is_some_and(differs)).map(|(id, _)| *id).collect()
}

/// Now and then, on the leader: the member that is found corrupt, at most one in a pass.
///
/// `first` is the leader's hash, `peers` are those of the others at its revision, and `second` is the leader's hash
/// after a barrier that followed the answers.
#[must_use]
pub fn check_periodically(own_id: u64, first: Hashed, peers: &PeerHashes, second: Hashed) -> Option<u64> {
    let is_same_place = first.hash.hash_revision == second.hash.hash_revision
        && first.hash.compact_revision == second.hash.compact_revision;
    if is_same_place && first.hash.hash != second.hash.hash {
        return Some(own_id);
    }
    let is_corrupt = |peer: &Hashed| {
        peer.revision > second.revision
            || peer.hash.compact_revision > second.hash.compact_revision
            || (peer.hash.compact_revision == first.hash.compact_revision
                && peer.hash.hash != first.hash.hash)
    };
    peers.iter().find(|(_, peer)| peer.as_ref().is_some_and(is_corrupt)).map(|(id, _)| *id)
}

/// What the members' hashes of one compaction say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompactionCheck {
    /// All members have the same: older ones need not be looked at.
    Verified,
    /// Those that answered have the same; an older compaction may be known to all.
    Incomplete,
    /// For each of these members the CORRUPT alarm is to be raised; the member 0 stands for nobody in particular,
    /// when no quorum holds the same data.
    Corrupt(Vec<u64>),
}

/// The hashes that the leader compares with those of the others, in this order: those of compactions newer than the
/// last that all were seen to agree on, newest first.
///
/// The next one is compared only if the one before was [`CompactionCheck::Incomplete`]: a member that lags, or that was
/// away when the newest was made, may have an older one.
pub fn compactions_to_check(own: &[HashKv], verified: i64) -> impl Iterator<Item = HashKv> {
    own.iter().rev().take_while(move |hash| hash.hash_revision > verified).copied()
}

/// On the leader, for a compaction whose hash it remembers.
#[must_use]
pub fn check_compaction(own_id: u64, own: HashKv, peers: &PeerHashes) -> CompactionCheck {
    let mut groups: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    groups.entry(own.hash).or_default().push(own_id);
    let comparable = |peer: &Hashed| peer.hash.compact_revision == own.compact_revision;
    for (id, peer) in peers {
        if let Some(peer) = peer.filter(comparable) {
            groups.entry(peer.hash.hash).or_default().push(*id);
        }
    }
    let members = peers.len() + 1;
    let compared: usize = groups.values().map(Vec::len).sum();
    if groups.len() == 1 {
        return if compared == members { CompactionCheck::Verified } else { CompactionCheck::Incomplete };
    }
    let quorum = members / 2 + 1;
    let Some(right) = groups.iter().find(|(_, ids)| ids.len() >= quorum).map(|(hash, _)| *hash) else {
        return CompactionCheck::Corrupt(vec![0]);
    };
    let wrong = groups.into_iter().filter(|(hash, _)| *hash != right);
    let mut wrong: Vec<u64> = wrong.flat_map(|(_, ids)| ids).collect();
    wrong.sort_unstable();
    CompactionCheck::Corrupt(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(hash: u32, compact_revision: i64, revision: i64) -> Hashed {
        Hashed { hash: HashKv { hash, compact_revision, hash_revision: revision }, revision }
    }

    fn peers(hashes: &[Option<Hashed>]) -> PeerHashes {
        (2..).zip(hashes.iter().copied()).collect()
    }

    #[test]
    fn a_member_does_not_start_with_other_data_than_a_peer_on_the_same_compaction() {
        let own = hashed(7, 3, 10);
        assert_eq!(check_initially(own, &peers(&[Some(own), None])), [0; 0]);
        assert_eq!(check_initially(own, &peers(&[Some(hashed(8, 3, 10)), Some(own)])), [2]);
        assert_eq!(check_initially(own, &peers(&[Some(hashed(8, 4, 10))])), [0; 0]);
    }

    #[test]
    fn a_pass_finds_at_most_one_corrupt_member() {
        let (first, second) = (hashed(7, 3, 10), hashed(9, 3, 12));
        let check = |hashes: &[Option<Hashed>]| check_periodically(1, first, &peers(hashes), second);
        assert_eq!(check(&[Some(first), None]), None);
        assert_eq!(check(&[Some(first), Some(hashed(8, 3, 10))]), Some(3));
        assert_eq!(check(&[Some(hashed(7, 3, 13))]), Some(2), "ahead of the leader");
        assert_eq!(check(&[Some(hashed(8, 4, 10))]), Some(2), "a compaction that the leader has not seen");
        assert_eq!(check(&[Some(hashed(8, 2, 10))]), None, "another compaction");
        let changed = hashed(8, 3, 10);
        assert_eq!(check_periodically(1, first, &peers(&[]), changed), Some(1), "the leader itself");
    }

    #[test]
    fn compactions_are_checked_from_the_newest_to_the_one_that_was_verified() {
        let own: Vec<HashKv> = (1..=10).map(|at| hashed(7, at * 10 - 10, at * 10).hash).collect();
        let revisions = |verified| -> Vec<i64> {
            compactions_to_check(&own, verified).map(|hash| hash.hash_revision).collect()
        };
        assert_eq!(revisions(70), [100, 90, 80]);
        assert_eq!(revisions(0), [100, 90, 80, 70, 60, 50, 40, 30, 20, 10]);
        assert_eq!(revisions(100), [0; 0]);
    }

    #[test]
    fn a_quorum_decides_who_is_wrong_about_a_compaction() {
        let own = hashed(7, 3, 10);
        let other = Some(hashed(8, 3, 10));
        let check = |hashes: &[Option<Hashed>]| check_compaction(1, own.hash, &peers(hashes));
        assert_eq!(check(&[Some(own), Some(own)]), CompactionCheck::Verified);
        assert_eq!(check(&[Some(own), None]), CompactionCheck::Incomplete);
        assert_eq!(check(&[Some(own), Some(hashed(8, 4, 10))]), CompactionCheck::Incomplete);
        assert_eq!(check(&[Some(own), other]), CompactionCheck::Corrupt(vec![3]));
        assert_eq!(check(&[other, other]), CompactionCheck::Corrupt(vec![1]));
        assert_eq!(check(&[other, None]), CompactionCheck::Corrupt(vec![0]));
    }
}
