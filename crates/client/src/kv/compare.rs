//! The conditions of transactions.

use bytes::Bytes;
use etched_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etched_proto::etcdserverpb::{self as pb};

use crate::Keys;

/// A condition of a transaction.
///
/// Keys that do not exist have the version, revisions and lease 0; their value meets no condition.
/// A condition on a range must hold for each of its keys.
///
/// ```
/// use etched_client::Compare;
///
/// let absent = Compare::create_revision("lock").equal_to(0);
/// let unchanged = Compare::value("state").equal_to("idle");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    pub(crate) request: pb::Compare,
}

/// What a condition looks at, before it is said what it has to be; made by [`Compare::version`] and its like.
#[derive(Clone, Debug)]
#[must_use]
pub struct CompareSubject<V> {
    keys: Keys,
    target: CompareTarget,
    to_operand: fn(V) -> TargetUnion,
}

impl Compare {
    /// Looks at the number of writes since the key was created.
    pub fn version(keys: impl Into<Keys>) -> CompareSubject<i64> {
        CompareSubject { keys: keys.into(), target: CompareTarget::Version, to_operand: TargetUnion::Version }
    }

    /// Looks at the revision at which the key was created.
    pub fn create_revision(keys: impl Into<Keys>) -> CompareSubject<i64> {
        CompareSubject {
            keys: keys.into(),
            target: CompareTarget::Create,
            to_operand: TargetUnion::CreateRevision,
        }
    }

    /// Looks at the revision at which the key was last written.
    pub fn mod_revision(keys: impl Into<Keys>) -> CompareSubject<i64> {
        CompareSubject { keys: keys.into(), target: CompareTarget::Mod, to_operand: TargetUnion::ModRevision }
    }

    /// Looks at the lease to which the key is attached.
    pub fn lease(keys: impl Into<Keys>) -> CompareSubject<i64> {
        CompareSubject { keys: keys.into(), target: CompareTarget::Lease, to_operand: TargetUnion::Lease }
    }

    /// Looks at the value.
    pub fn value(keys: impl Into<Keys>) -> CompareSubject<Bytes> {
        CompareSubject { keys: keys.into(), target: CompareTarget::Value, to_operand: TargetUnion::Value }
    }
}

impl<V> CompareSubject<V> {
    /// It has to be equal.
    pub fn equal_to(self, operand: impl Into<V>) -> Compare {
        self.with(CompareResult::Equal, operand)
    }

    /// It must not be equal.
    pub fn not_equal_to(self, operand: impl Into<V>) -> Compare {
        self.with(CompareResult::NotEqual, operand)
    }

    /// It has to be greater.
    pub fn greater_than(self, operand: impl Into<V>) -> Compare {
        self.with(CompareResult::Greater, operand)
    }

    /// It has to be less.
    pub fn less_than(self, operand: impl Into<V>) -> Compare {
        self.with(CompareResult::Less, operand)
    }

    fn with(self, result: CompareResult, operand: impl Into<V>) -> Compare {
        let operand = (self.to_operand)(operand.into());
        Compare {
            request: pb::Compare {
                result: result.into(),
                target: self.target.into(),
                key: self.keys.key,
                range_end: self.keys.range_end,
                target_union: Some(operand),
            },
        }
    }
}

impl From<pb::Compare> for Compare {
    fn from(request: pb::Compare) -> Self {
        Self { request }
    }
}
