//! What stands for a run: a seed, and what is different from what the seed says. As a text it is a scenario file.
//!
//! ```text
//! # what it shows, in lines that begin with a hash
//! seed = 17
//! members = 3
//! seconds = 12
//! clients = 1
//! skip = 2 5 9
//! ```
//!
//! `skip` names faults that do not strike, by their number in the run; leaving one out moves none of the others.

use std::collections::BTreeSet;
use std::fmt;

use crate::clock::SECOND;
use crate::profile::Profile;

/// Something that is done wrong on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Consensus is told that its writes are down before they are.
    EarlyAnswers,
    /// The log is not synced, although everybody is told so.
    LyingDisk,
    /// Linearizable reads are served without asking other members.
    StaleReads,
    /// Frames with proposals are repeated.
    RepeatedProposals,
    /// Some responses to watches are lost.
    LostEvents,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::EarlyAnswers, Self::LyingDisk, Self::StaleReads, Self::RepeatedProposals, Self::LostEvents];

    /// Its name in a scenario file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EarlyAnswers => "early-answers",
            Self::LyingDisk => "lying-disk",
            Self::StaleReads => "stale-reads",
            Self::RepeatedProposals => "repeated-proposals",
            Self::LostEvents => "lost-events",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plant| plant.name() == name)
    }
}

/// What stands for a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// Where all choices come from.
    pub seed: u64,
    /// How many members there are.
    pub members: Option<u64>,
    /// For how long faults strike, in simulated seconds.
    pub seconds: Option<u64>,
    /// How many clients ask.
    pub clients: Option<u64>,
    /// How many clients watch.
    pub watchers: Option<u64>,
    /// Whether the network is perfect.
    pub is_calm: bool,
    /// What is done wrong on purpose.
    pub plant: Option<Plant>,
    /// Faults that do not strike.
    pub skip: BTreeSet<u64>,
    /// What the file says about it.
    pub story: Vec<String>,
}

/// Why a text is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the scenario: {text:?} is not `name = value` of a known name")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What stands there.
    pub text: String,
}

impl Scenario {
    /// The run of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Reads a scenario file.
    ///
    /// # Errors
    /// A line is not understood.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut scenario = Self::default();
        for (place, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(story) = line.strip_prefix('#') {
                scenario.story.push(story.trim().to_owned());
            } else if !line.is_empty() && scenario.set(line).is_none() {
                return Err(ParseError { line: place + 1, text: line.to_owned() });
            }
        }
        Ok(scenario)
    }

    fn set(&mut self, line: &str) -> Option<()> {
        let (name, value) = line.split_once('=')?;
        let value = value.trim();
        let number = || value.parse::<u64>().ok();
        match name.trim() {
            "seed" => self.seed = number()?,
            "members" => self.members = Some(number()?),
            "seconds" => self.seconds = Some(number()?),
            "clients" => self.clients = Some(number()?),
            "watchers" => self.watchers = Some(number()?),
            "plant" => self.plant = Some(Plant::parse(value)?),
            "calm" => self.is_calm = value.parse().ok()?,
            "skip" => {
                let numbers: Option<BTreeSet<u64>> =
                    value.split_whitespace().map(|number| number.parse().ok()).collect();
                self.skip = numbers?;
            }
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn change(&self, profile: &mut Profile) {
        profile.members = self.members.unwrap_or(profile.members);
        profile.safety = self.seconds.map_or(profile.safety, |seconds| seconds * SECOND);
        profile.clients = self.clients.unwrap_or(profile.clients);
        profile.watchers = self.watchers.unwrap_or(profile.watchers);
        profile.plant = self.plant;
        if self.is_calm {
            profile.network = crate::profile::NetworkProfile::default();
            profile.disk = crate::profile::DiskProfile::default();
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.story {
            writeln!(f, "# {line}")?;
        }
        writeln!(f, "seed = {}", self.seed)?;
        let numbers = [
            ("members", self.members),
            ("seconds", self.seconds),
            ("clients", self.clients),
            ("watchers", self.watchers),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                writeln!(f, "{name} = {number}")?;
            }
        }
        if let Some(plant) = self.plant {
            writeln!(f, "plant = {}", plant.name())?;
        }
        if self.is_calm {
            writeln!(f, "calm = true")?;
        }
        if !self.skip.is_empty() {
            let skip: Vec<String> = self.skip.iter().map(u64::to_string).collect();
            writeln!(f, "skip = {}", skip.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read_as_it_was_written() {
        let scenario = Scenario {
            seed: 17,
            members: Some(3),
            seconds: Some(12),
            clients: Some(1),
            watchers: Some(0),
            is_calm: true,
            plant: Some(Plant::StaleReads),
            skip: [2, 5, 9].into(),
            story: vec!["a power loss while the vote is written".into()],
        };
        assert_eq!(Scenario::parse(&scenario.to_string()), Ok(scenario));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["seed = x", "sead = 1", "plant = x", "seed 1", "skip = 1 a"] {
            assert_eq!(Scenario::parse(text), Err(ParseError { line: 1, text: text.into() }));
        }
    }
}
