//! Choices from a seed: xoshiro256++ (Blackman and Vigna), one stream for each purpose.
//!
//! The generator is our own, so that no other version of a dependency changes what a seed stands for.

/// What choices are made for. Each purpose has its own stream of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// What the run is like: members, options, which families of faults are on.
    Profile,
    /// When which fault strikes.
    Faults,
    /// A directed link between two members.
    Link(u64, u64),
    /// The disk of a member.
    Disk(u64),
    /// The clock of a member.
    Clock(u64),
    /// What a client does.
    Client(u64),
    /// What operators do.
    Operator,
    /// The seeds that members themselves are started with.
    Members,
    /// What a storage simulation does.
    Storage,
}

impl Purpose {
    /// A number that no other purpose has.
    fn number(self) -> [u64; 3] {
        match self {
            Self::Profile => [1, 0, 0],
            Self::Faults => [2, 0, 0],
            Self::Link(from, to) => [3, from, to],
            Self::Disk(member) => [4, member, 0],
            Self::Clock(member) => [5, member, 0],
            Self::Client(client) => [6, client, 0],
            Self::Operator => [7, 0, 0],
            Self::Members => [8, 0, 0],
            Self::Storage => [9, 0, 0],
        }
    }
}

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of a seed for a purpose.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let mut mixer = seed;
        for part in purpose.number() {
            mixer = split_mix(&mut mixer.wrapping_add(part.wrapping_mul(0xd6e8_feb8_6659_fd93)));
        }
        let state = std::array::from_fn(|_| {
            mixer = mixer.wrapping_add(0x9e37_79b9_7f4a_7c15);
            split_mix(&mut mixer.clone())
        });
        Self { state }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a product of two 64-bit numbers")
    }

    /// A number of `low..=high`; `low` if there is none.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Whether it happens, with a probability of `parts` in a million.
    pub fn happens(&mut self, parts_per_million: u64) -> bool {
        self.below(1_000_000) < parts_per_million
    }

    /// One of these, which must not be empty.
    ///
    /// # Panics
    /// If there is nothing to choose from.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let position = usize::try_from(self.below(choices.len() as u64)).expect("an index fits");
        &choices[position]
    }

    /// A time that is exponentially distributed about `mean`, at most sixteen times that.
    pub fn about(&mut self, mean: u64) -> u64 {
        // Halves of halves: the number of leading zeros is geometric, and what follows fills the gaps.
        let drawn = self.bits() | 1;
        let halvings = u64::from(drawn.leading_zeros().min(22));
        let rest = self.below(1 << 20);
        // ln(2) is 710/1024 to within a thousandth.
        let scaled = (u128::from(halvings) << 20) + u128::from(rest);
        let nanos = u128::from(mean) * scaled * 710 / (1024 << 20);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_has_a_stream_of_its_own() {
        let purposes = [
            Purpose::Profile,
            Purpose::Faults,
            Purpose::Link(1, 2),
            Purpose::Link(2, 1),
            Purpose::Disk(1),
            Purpose::Clock(1),
            Purpose::Client(1),
            Purpose::Operator,
            Purpose::Members,
            Purpose::Storage,
        ];
        let mut firsts: Vec<u64> = purposes.map(|purpose| Random::new(9, purpose).bits()).to_vec();
        firsts.extend(purposes.map(|purpose| Random::new(10, purpose).bits()));
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 2 * purposes.len());
    }

    #[test]
    fn a_seed_stands_for_the_same_choices_for_ever() {
        let mut random = Random { state: [1, 2, 3, 4] };
        // The first outputs of the published reference implementation for this state.
        assert_eq!([random.bits(), random.bits()], [41_943_041, 58_720_359]);
    }

    #[test]
    fn times_are_about_their_mean() {
        let mut random = Random::new(1, Purpose::Faults);
        let sum: u64 = (0..10_000).map(|_| random.about(1_000)).sum();
        assert!((800..1_200).contains(&(sum / 10_000)), "{}", sum / 10_000);
    }

    #[test]
    fn what_is_chosen_lies_within_the_bounds() {
        let mut random = Random::new(1, Purpose::Faults);
        for _ in 0..1_000 {
            assert!(random.below(10) < 10);
            assert!((5..=7).contains(&random.between(5, 7)));
        }
        assert_eq!((random.below(0), random.between(3, 3)), (0, 3));
    }
}
