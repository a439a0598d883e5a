//! The errors that etcd names, as one table.

use super::Fate;

macro_rules! kinds {
    (refusals { $($refusal:ident = $refusal_text:literal,)* } open { $($open:ident = $open_text:literal,)* }) => {
        /// The errors that etcd names, by their exact text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $(#[doc = concat!("`", $refusal_text, "`")] $refusal,)*
            $(#[doc = concat!("`", $open_text, "`")] $open,)*
            /// An error without a name of its own.
            Other,
        }

        impl ErrorKind {
            /// The kind that has this text.
            ///
            /// The form that etcd uses inside of watch responses, `rpc error: code = … desc = …`, is understood too.
            pub fn of(text: &str) -> Self {
                match description(text) {
                    $($refusal_text => Self::$refusal,)*
                    $($open_text => Self::$open,)*
                    _ => Self::Other,
                }
            }

            /// The exact text of the kind; empty for [`ErrorKind::Other`].
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$refusal => $refusal_text,)*
                    $(Self::$open => $open_text,)*
                    Self::Other => "",
                }
            }

            /// Whether a server that says so can have executed the request, if the kind alone tells.
            pub(super) fn fate(self) -> Option<Fate> {
                match self {
                    $(Self::$refusal)|* => Some(Fate::NotExecuted),
                    $(Self::$open)|* => Some(Fate::Unknown),
                    Self::Other => None,
                }
            }

            #[cfg(test)]
            pub(super) const NAMED: &[Self] = &[$(Self::$refusal,)* $(Self::$open,)*];
        }
    };
}

/// The text of an error without gRPC's wrapping.
fn description(text: &str) -> &str {
    match text.strip_prefix("rpc error: code = ").and_then(|rest| rest.split_once(" desc = ")) {
        Some((_code, description)) => description,
        None => text,
    }
}

// The open ones are those after which a request may have been executed, or may still be.
kinds! {
    refusals {
        EmptyKey = "etcdserver: key is not provided",
        KeyNotFound = "etcdserver: key not found",
        ValueProvided = "etcdserver: value is provided",
        LeaseProvided = "etcdserver: lease is provided",
        TooManyOps = "etcdserver: too many operations in txn request",
        DuplicateKey = "etcdserver: duplicate key given in txn request",
        InvalidClientApiVersion = "etcdserver: invalid client api version",
        InvalidSortOption = "etcdserver: invalid sort option",
        Compacted = "etcdserver: mvcc: required revision has been compacted",
        FutureRevision = "etcdserver: mvcc: required revision is a future revision",
        NoSpace = "etcdserver: mvcc: database space exceeded",
        LeaseNotFound = "etcdserver: requested lease not found",
        LeaseExist = "etcdserver: lease already exists",
        LeaseTtlTooLarge = "etcdserver: too large lease TTL",
        WatchCanceled = "etcdserver: watch canceled",
        WatchRangeEmpty = "mvcc: watcher range is empty",
        MemberExist = "etcdserver: member ID already exist",
        PeerUrlExist = "etcdserver: Peer URLs already exists",
        MemberNotEnoughStarted = "etcdserver: re-configuration failed due to not enough started members",
        MemberBadUrls = "etcdserver: given member URLs are invalid",
        MemberNotFound = "etcdserver: member not found",
        MemberNotLearner = "etcdserver: can only promote a learner member",
        LearnerNotReady = "etcdserver: can only promote a learner member which is in sync with leader",
        TooManyLearners = "etcdserver: too many learner members in cluster",
        ClusterIdMismatch = "etcdserver: cluster ID mismatch",
        RequestTooLarge = "etcdserver: request is too large",
        TooManyRequests = "etcdserver: too many requests",
        RootUserNotExist = "etcdserver: root user does not exist",
        RootRoleNotExist = "etcdserver: root user does not have root role",
        UserAlreadyExist = "etcdserver: user name already exists",
        UserEmpty = "etcdserver: user name is empty",
        UserNotFound = "etcdserver: user name not found",
        RoleAlreadyExist = "etcdserver: role name already exists",
        RoleNotFound = "etcdserver: role name not found",
        RoleEmpty = "etcdserver: role name is empty",
        AuthFailed = "etcdserver: authentication failed, invalid user ID or password",
        PermissionNotGiven = "etcdserver: permission not given",
        PermissionDenied = "etcdserver: permission denied",
        RoleNotGranted = "etcdserver: role is not granted to the user",
        PermissionNotGranted = "etcdserver: permission is not granted to the role",
        AuthNotEnabled = "etcdserver: authentication is not enabled",
        InvalidAuthToken = "etcdserver: invalid auth token",
        InvalidAuthManagement = "etcdserver: invalid auth management",
        AuthOldRevision = "etcdserver: revision of auth store is old",
        NoLeader = "etcdserver: no leader",
        NotLeader = "etcdserver: not leader",
        NotCapable = "etcdserver: not capable",
        ProposalDropped = "raft proposal dropped",
        Unhealthy = "etcdserver: unhealthy cluster",
        Corrupt = "etcdserver: corrupt cluster",
        NotSupportedForLearner = "etcdserver: rpc not supported for learner",
        BadLeaderTransferee = "etcdserver: bad leader transferee",
        WrongDowngradeVersionFormat = "etcdserver: wrong downgrade target version format",
        InvalidDowngradeTargetVersion = "etcdserver: invalid downgrade target version",
        ClusterVersionUnavailable = "etcdserver: cluster version not found during downgrade",
        DowngradeInProcess = "etcdserver: cluster has a downgrade job in progress",
        NoInflightDowngrade = "etcdserver: no inflight downgrade job",
    }
    open {
        LeaderChanged = "etcdserver: leader changed",
        Stopped = "etcdserver: server stopped",
        Timeout = "etcdserver: request timed out",
        TimeoutDueToLeaderFail = "etcdserver: request timed out, possibly due to previous leader failure",
        TimeoutDueToConnectionLost = "etcdserver: request timed out, possibly due to connection lost",
        TimeoutWaitAppliedIndex = "etcdserver: request timed out, waiting for the applied index took too long",
        Canceled = "etcdserver: request canceled",
        DeadlineExceeded = "etcdserver: context deadline exceeded",
    }
}
