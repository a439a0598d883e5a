//! The feature gates of `--feature-gates`.

use std::collections::BTreeMap;

use super::value::parse_bool;

/// A switch for something that is not, or was not always, on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// How far it has come, as the metric shows it.
    pub stage: Stage,
    /// Whether it is on unless told otherwise.
    pub default: bool,
}

/// How far a feature has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// May go again.
    Alpha,
    /// Expected to stay.
    Beta,
}

impl Stage {
    /// The stage as etcd writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
        }
    }
}

const fn gate(name: &'static str, stage: Stage, default: bool) -> Gate {
    Gate { name, stage, default }
}

/// All gates of etcd 3.7, by name.
pub const GATES: [Gate; 11] = [
    gate("AllAlpha", Stage::Alpha, false),
    gate("AllBeta", Stage::Beta, false),
    gate("CompactHashCheck", Stage::Alpha, false),
    gate("FastLeaseKeepAlive", Stage::Beta, true),
    gate("InitialCorruptCheck", Stage::Alpha, false),
    gate("LeaseCheckpoint", Stage::Alpha, false),
    gate("LeaseCheckpointPersist", Stage::Alpha, false),
    gate("PriorityRequest", Stage::Alpha, false),
    gate("SetMemberLocalAddr", Stage::Alpha, false),
    gate("StopGRPCServiceOnDefrag", Stage::Alpha, false),
    gate("TxnModeWriteWithSharedBuffer", Stage::Beta, true),
];

/// Which gates are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gates {
    on: BTreeMap<&'static str, bool>,
}

impl Default for Gates {
    fn default() -> Self {
        Self { on: GATES.iter().map(|gate| (gate.name, gate.default)).collect() }
    }
}

impl Gates {
    /// Parses `A=true,B=false`.
    ///
    /// # Errors
    ///
    /// etcd's text for the first part that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut chosen = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (part, None),
            };
            let value = value.ok_or_else(|| format!("missing bool value for {name}"))?;
            let on = parse_bool(value).ok_or_else(|| {
                format!("invalid value of {name}={value}, err: strconv.ParseBool: parsing \"{value}\": invalid syntax")
            })?;
            let gate = GATES.iter().find(|gate| gate.name == name);
            let gate = gate.ok_or_else(|| format!("unrecognized feature gate: {name}"))?;
            chosen.insert(gate.name, on);
        }
        let mut gates = Self::default();
        for gate in &GATES {
            let all = match gate.stage {
                Stage::Alpha => "AllAlpha",
                Stage::Beta => "AllBeta",
            };
            let choice = chosen.get(gate.name).or_else(|| chosen.get(all));
            if let Some(on) = choice {
                gates.on.insert(gate.name, *on);
            }
        }
        Ok(gates)
    }

    /// Whether the gate of that name is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.on.get(name).copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_chosen_by_name_and_by_stage() {
        let gates = Gates::parse("AllAlpha=true, LeaseCheckpoint=false").unwrap();
        assert!(gates.is_on("InitialCorruptCheck") && !gates.is_on("LeaseCheckpoint"));
        assert!(Gates::default().is_on("FastLeaseKeepAlive"));
        assert!(!Gates::parse("FastLeaseKeepAlive=f").unwrap().is_on("FastLeaseKeepAlive"));
    }

    #[test]
    fn what_is_wrong_is_said_in_etcds_words() {
        for (text, error) in [
            ("Foo=true", "unrecognized feature gate: Foo"),
            ("LeaseCheckpoint", "missing bool value for LeaseCheckpoint"),
            (
                "LeaseCheckpoint=y",
                "invalid value of LeaseCheckpoint=y, err: strconv.ParseBool: parsing \"y\": invalid syntax",
            ),
        ] {
            assert_eq!(Gates::parse(text).unwrap_err(), error);
        }
    }
}
