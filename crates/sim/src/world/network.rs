//! The network between members: one link for each direction, with a will of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use etched_replica::raft::{Message, MessageKind};

use crate::profile::NetworkProfile;
use crate::random::{Purpose, Random};

/// Old frames that a link remembers, to bring them again.
const OLD_MAX: usize = 16;

/// Something under way.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) bytes: Bytes,
    /// The database of a snapshot.
    pub(crate) database: Option<Bytes>,
}

#[derive(Debug)]
struct Link {
    random: Random,
    /// When the last frame arrives, if they keep their order.
    last: u64,
    old: VecDeque<Frame>,
    /// Until when, and how much, more is lost than usual.
    burst: (u64, u64),
}

/// What the network did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NetworkCounts {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) replayed: u64,
    pub(crate) cut: u64,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    profile: NetworkProfile,
    /// Whether proposals are repeated too, which is wrong.
    repeats_all: bool,
    links: BTreeMap<(u64, u64), Link>,
    /// Directions in which nothing passes, with the number of partitions that say so.
    cuts: BTreeMap<(u64, u64), u64>,
    pub(crate) counts: NetworkCounts,
}

impl Network {
    pub(crate) fn new(seed: u64, profile: NetworkProfile, repeats_all: bool) -> Self {
        Self {
            seed,
            profile,
            repeats_all,
            links: BTreeMap::new(),
            cuts: BTreeMap::new(),
            counts: NetworkCounts::default(),
        }
    }

    /// Nothing is lost or repeated any more; what is cut stays cut.
    pub(crate) fn calm(&mut self) {
        let NetworkProfile { delay_min, delay_mean, .. } = self.profile;
        self.profile = NetworkProfile { delay_min, delay_mean, ..NetworkProfile::default() };
        for link in self.links.values_mut() {
            link.burst = (0, 0);
            link.old.clear();
        }
    }

    pub(crate) fn cut(&mut self, directions: &BTreeSet<(u64, u64)>) {
        for direction in directions {
            *self.cuts.entry(*direction).or_default() += 1;
        }
    }

    pub(crate) fn heal(&mut self, directions: &BTreeSet<(u64, u64)>) {
        for direction in directions {
            if let Some(count) = self.cuts.get_mut(direction) {
                *count -= 1;
                if *count == 0 {
                    self.cuts.remove(direction);
                }
            }
        }
    }

    pub(crate) fn heal_all(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    pub(crate) fn burst(&mut self, from: u64, to: u64, until: u64, loss_ppm: u64) {
        self.link(from, to).burst = (until, loss_ppm);
    }

    fn link(&mut self, from: u64, to: u64) -> &mut Link {
        let random = || Random::new(self.seed, Purpose::Link(from, to));
        self.links.entry((from, to)).or_insert_with(|| Link {
            random: random(),
            last: 0,
            old: VecDeque::new(),
            burst: (0, 0),
        })
    }

    /// When a message arrives, and again if it does; nothing if it is lost.
    pub(crate) fn send(&mut self, message: &Message, database: Option<Bytes>, now: u64) -> Vec<(u64, Frame)> {
        let (from, to) = (message.from(), message.to());
        if self.is_cut(from, to) {
            self.counts.cut += 1;
            return Vec::new();
        }
        let (profile, repeats_all) = (self.profile, self.repeats_all);
        let mut counts = self.counts;
        let link = self.link(from, to);
        let loss = if now < link.burst.0 { link.burst.1 } else { profile.loss_ppm };
        // All choices are drawn each time, so that one fault moves no other.
        let (is_lost, is_repeated) = (link.random.happens(loss), link.random.happens(profile.duplicate_ppm));
        let is_replayed = link.random.happens(profile.replay_ppm);
        let which = link.random.below(OLD_MAX as u64);
        let mut delays = [0; 3];
        for delay in &mut delays {
            *delay = profile.delay_min + link.random.about(profile.delay_mean);
        }
        let size = database.as_ref().map_or(0, |database| database.len() as u64);
        let frame = Frame { from, to, bytes: message.encode(), database };
        let mut arrivals = Vec::new();
        if is_lost {
            counts.lost += 1;
        } else {
            let at = now + delays[0] + size * 10;
            let at = if profile.reorders { at } else { at.max(link.last) };
            link.last = link.last.max(at);
            arrivals.push((at, frame.clone()));
        }
        // The streams between members repeat nothing; a proposal that came twice would be two.
        let is_proposal = message.kind() == MessageKind::Propose && !repeats_all;
        let may_repeat = frame.database.is_none() && !is_proposal;
        if is_repeated && may_repeat {
            counts.repeated += 1;
            arrivals.push((now + delays[1], frame.clone()));
        }
        if is_replayed && let Some(old) = usize::try_from(which).ok().and_then(|which| link.old.get(which)) {
            counts.replayed += 1;
            arrivals.push((now + delays[2], old.clone()));
        }
        if may_repeat && profile.replay_ppm > 0 {
            if link.old.len() == OLD_MAX {
                link.old.pop_front();
            }
            link.old.push_back(frame);
        }
        self.counts = counts;
        arrivals
    }
}
