//! Times by operation of the log: names as in etcd's labels, by the number of the field in `InternalRaftRequest`.

use std::sync::OnceLock;
use std::time::Duration;

use super::exposition::Exposition;
use super::histogram::Histogram;

/// The number of `Range`, which clients' reads are counted under too.
pub(super) const RANGE: u32 = 3;
/// A number for transactions that only read, which have no field of their own.
pub(super) const READ_ONLY_TXN: u32 = u32::MAX;

/// The operations, the frequent ones first.
const OPERATIONS: [(u32, &str); 31] = [
    (4, "Put"),
    (RANGE, "Range"),
    (6, "Txn"),
    (5, "DeleteRange"),
    (READ_ONLY_TXN, "ReadonlyTxn"),
    (7, "Compaction"),
    (8, "LeaseGrant"),
    (9, "LeaseRevoke"),
    (11, "LeaseCheckpoint"),
    (10, "Alarm"),
    (1012, "Authenticate"),
    (1000, "AuthEnable"),
    (1011, "AuthDisable"),
    (1013, "AuthStatus"),
    (1100, "AuthUserAdd"),
    (1101, "AuthUserDelete"),
    (1102, "AuthUserGet"),
    (1103, "AuthUserChangePassword"),
    (1104, "AuthUserGrantRole"),
    (1105, "AuthUserRevokeRole"),
    (1106, "AuthUserList"),
    (1107, "AuthRoleList"),
    (1200, "AuthRoleAdd"),
    (1201, "AuthRoleDelete"),
    (1202, "AuthRoleGet"),
    (1203, "AuthRoleGrantPermission"),
    (1204, "AuthRoleRevokePermission"),
    (1300, "ClusterVersionSet"),
    (1301, "ClusterMemberAttrSet"),
    (1302, "DowngradeInfoSet"),
    (9900, "DowngradeVersionTest"),
];

/// A histogram for each operation and for success and failure, there from its first use.
#[derive(Debug)]
pub struct TimesByOperation {
    /// The first bound and the number of bounds.
    buckets: (f64, usize),
    /// Failures, then successes.
    histograms: Vec<[OnceLock<Histogram>; 2]>,
}

impl TimesByOperation {
    pub(super) fn new(start: f64, count: usize) -> Self {
        let histograms = OPERATIONS.iter().map(|_| Default::default()).collect();
        Self { buckets: (start, count), histograms }
    }

    /// Records the time of an operation; one that has no name here is not recorded.
    pub fn record(&self, field: u32, is_ok: bool, took: Duration) {
        let Some(position) = OPERATIONS.iter().position(|(number, _)| *number == field) else { return };
        let (start, count) = self.buckets;
        let histogram = self.histograms[position][usize::from(is_ok)]
            .get_or_init(|| Histogram::exponential(start, 2.0, count));
        histogram.record(took);
    }

    /// How many were recorded.
    pub fn count(&self, name: &str, is_ok: bool) -> u64 {
        let position = OPERATIONS.iter().position(|(_, known)| *known == name);
        let cell = position.map(|position| &self.histograms[position][usize::from(is_ok)]);
        cell.and_then(OnceLock::get).map_or(0, Histogram::count)
    }

    /// Adds the histograms that are in use; `labels_of` makes the labels of a name and its success.
    pub(super) fn render<'a, const N: usize>(
        &'a self,
        exposition: &mut Exposition,
        name: &'static str,
        help: &str,
        labels_of: impl Fn(&'a str, &'a str) -> [(&'a str, &'a str); N],
    ) {
        for ((_, operation), pair) in OPERATIONS.iter().zip(&self.histograms) {
            for (success, cell) in ["false", "true"].into_iter().zip(pair) {
                if let Some(histogram) = cell.get() {
                    exposition.histogram(name, help, &labels_of(operation, success), histogram);
                }
            }
        }
    }
}
