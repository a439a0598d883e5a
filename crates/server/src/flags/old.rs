//! Flags of etcd 3.4 to 3.6 that etcd 3.7 no longer has: accepted, with a warning that says what to use.
//!
//! A value moves to the flag or the feature gate that took the old one's place, unless that is given too.

use super::Notice;
use super::table::{self, Kind, variable};
use super::typed::{Origin, Typed};
use crate::logging::Level;

/// A flag of an earlier release.
#[derive(Clone, Copy, Debug)]
pub(super) struct Old {
    /// Its name, without dashes.
    pub(super) name: &'static str,
    /// What its value may be.
    pub(super) kind: Kind,
    /// What became of it.
    pub(super) fate: Fate,
}

/// What became of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Another flag means the same.
    Flag(&'static str),
    /// A feature gate means the same.
    Gate(&'static str),
    /// It says that another flag has a value, when it is on.
    Sets(&'static str, &'static str),
    /// It changes nothing; this is what to do.
    Gone(&'static str),
    /// A value other than this one is refused; this is what to do.
    Refused {
        /// The value that asks for what is done anyway.
        accepts: &'static str,
        /// What to do.
        advice: &'static str,
    },
}

impl Old {
    /// The name of its environment variable.
    pub(super) fn variable(&self) -> String {
        variable(self.name)
    }

    /// Checks the form of a value, as the flag does that took its place.
    ///
    /// # Errors
    ///
    /// The text that Go's `flag` package shows for it.
    pub(super) fn check(&self, value: &str) -> Result<(), String> {
        match self.fate {
            Fate::Flag(name) => table::find(name).map_or(Ok(()), |flag| flag.check(value)),
            Fate::Refused { accepts, advice } if value != accepts => Err(advice.to_owned()),
            Fate::Gate(_) | Fate::Sets(..) | Fate::Gone(_) | Fate::Refused { .. } => self.kind.check(value),
        }
    }

    fn advice(&self) -> String {
        match self.fate {
            Fate::Flag(name) => format!("use --{name}"),
            Fate::Gate(gate) => format!("use --feature-gates={gate}=true"),
            Fate::Sets(name, value) => format!("use --{name}={value}"),
            Fate::Gone(advice) | Fate::Refused { advice, .. } => advice.to_owned(),
        }
    }
}

/// The flag of that name.
pub(super) fn find(name: &str) -> Option<&'static Old> {
    OLD.iter().find(|old| old.name == name)
}

/// Gives the values of old flags to what took their place.
pub(super) fn translate(typed: &mut Typed, notices: &mut Vec<Notice>) {
    for (old, value, origin) in std::mem::take(&mut typed.old) {
        let fields = vec![("flag-name", old.name.into()), ("advice", old.advice().into())];
        notices.push(Notice::new(
            Level::Warn,
            "flag was removed from etcd and is still accepted here",
            fields,
        ));
        match old.fate {
            Fate::Flag(name) => {
                if let Some(flag) = table::find(name).filter(|_| !is_given_itself(typed, name, origin)) {
                    typed.set(flag, &value, origin);
                }
            }
            Fate::Sets(name, becomes) => {
                let is_on = super::value::parse_bool(&value) == Some(true);
                if let Some(flag) = table::find(name).filter(|_| is_on && !typed.has(name)) {
                    typed.set(flag, becomes, origin);
                }
            }
            Fate::Gate(gate) => {
                let is_named = typed
                    .text("feature-gates")
                    .split(',')
                    .any(|part| part.split_once('=').is_some_and(|(name, _)| name.trim() == gate));
                if let Some(flag) = table::find("feature-gates").filter(|_| !is_named) {
                    let others = typed.text("feature-gates");
                    let comma = if others.is_empty() { "" } else { "," };
                    let gates = format!("{others}{comma}{gate}={value}");
                    typed.set(flag, &gates, origin);
                }
            }
            Fate::Gone(_) | Fate::Refused { .. } => {}
        }
    }
}

/// Whether the flag is given by its own name, by something that counts as much.
fn is_given_itself(typed: &Typed, name: &str, by: Origin) -> bool {
    match (typed.origin(name), by) {
        (Some(Origin::Environment), Origin::CommandLine) | (None, _) => false,
        (Some(Origin::CommandLine | Origin::Environment | Origin::File), _) => true,
    }
}

const fn old(name: &'static str, kind: Kind, fate: Fate) -> Old {
    Old { name, kind, fate }
}

use Kind::{Bool, Duration as Time, List, Signed, Text, Unsigned};

const NO_PROXY: &str = "the v2 proxy was removed from etcd 3.6: use the grpc-proxy or gateway sub-command";
const PROXY: Fate = Fate::Gone(NO_PROXY);

/// All flags of etcd 3.4, 3.5 and 3.6 that are not in 3.7.
#[rustfmt::skip]
pub(super) const OLD: &[Old] = &[
    old("debug", Bool, Fate::Sets("log-level", "debug")),
    old("log-output", List, Fate::Flag("log-outputs")),
    old("log-package-levels", Text, Fate::Gone("use --log-level")),
    old("proxy", Text, Fate::Refused { accepts: "off", advice: NO_PROXY }),
    old("proxy-dial-timeout", Unsigned, PROXY),
    old("proxy-failure-wait", Unsigned, PROXY),
    old("proxy-read-timeout", Unsigned, PROXY),
    old("proxy-refresh-interval", Unsigned, PROXY),
    old("proxy-write-timeout", Unsigned, PROXY),
    old("experimental-backend-bbolt-freelist-type", Text, Fate::Flag("backend-bbolt-freelist-type")),
    old("experimental-bootstrap-defrag-threshold-megabytes", Unsigned, Fate::Flag("bootstrap-defrag-threshold-megabytes")),
    old("experimental-compact-hash-check-enabled", Bool, Fate::Gate("CompactHashCheck")),
    old("experimental-compact-hash-check-time", Time, Fate::Flag("compact-hash-check-time")),
    old("experimental-compaction-batch-limit", Signed, Fate::Flag("compaction-batch-limit")),
    old("experimental-compaction-sleep-interval", Time, Fate::Flag("compaction-sleep-interval")),
    old("experimental-corrupt-check-time", Time, Fate::Flag("corrupt-check-time")),
    old("experimental-distributed-tracing-address", Text, Fate::Flag("distributed-tracing-address")),
    old("experimental-distributed-tracing-instance-id", Text, Fate::Flag("distributed-tracing-instance-id")),
    old("experimental-distributed-tracing-sampling-rate", Signed, Fate::Flag("distributed-tracing-sampling-rate")),
    old("experimental-distributed-tracing-service-name", Text, Fate::Flag("distributed-tracing-service-name")),
    old("experimental-downgrade-check-time", Time, Fate::Flag("downgrade-check-time")),
    old("experimental-enable-distributed-tracing", Bool, Fate::Flag("enable-distributed-tracing")),
    old("experimental-enable-lease-checkpoint", Bool, Fate::Gate("LeaseCheckpoint")),
    old("experimental-enable-lease-checkpoint-persist", Bool, Fate::Gate("LeaseCheckpointPersist")),
    old("experimental-initial-corrupt-check", Bool, Fate::Gate("InitialCorruptCheck")),
    old("experimental-max-learners", Signed, Fate::Flag("max-learners")),
    old("experimental-memory-mlock", Bool, Fate::Flag("memory-mlock")),
    old("experimental-peer-skip-client-san-verification", Bool, Fate::Flag("peer-skip-client-san-verification")),
    old("experimental-set-member-localaddr", Bool, Fate::Gate("SetMemberLocalAddr")),
    old("experimental-snapshot-catchup-entries", Unsigned, Fate::Flag("snapshot-catchup-entries")),
    old("experimental-snapshot-catch-up-entries", Unsigned, Fate::Flag("snapshot-catchup-entries")),
    old("experimental-stop-grpc-service-on-defrag", Bool, Fate::Gate("StopGRPCServiceOnDefrag")),
    old("experimental-txn-mode-write-with-shared-buffer", Bool, Fate::Gate("TxnModeWriteWithSharedBuffer")),
    old("experimental-warning-apply-duration", Time, Fate::Flag("warning-apply-duration")),
    old("experimental-warning-unary-request-duration", Time, Fate::Flag("warning-unary-request-duration")),
    old("experimental-watch-progress-notify-interval", Time, Fate::Flag("watch-progress-notify-interval")),
];
