//! What can be done with users and roles, and what is answered.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::permission::Permission;

/// A text that is not shown, whoever prints the value that it is in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "\"\"" } else { "***" })
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

/// An operation on users and roles, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Turns authentication on.
    Enable,
    /// Turns it off.
    Disable,
    /// Asks whether it is on, and for the revision.
    Status,
    /// Makes a token for a user whose password was checked.
    Authenticate {
        /// The user.
        name: String,
        /// A password in the clear, as very old versions wrote it; nobody looks at it.
        password: Secret,
        /// The token but for its index; empty where tokens are signed.
        simple_token: Secret,
    },
    /// Adds a user.
    UserAdd {
        /// The name.
        name: String,
        /// A password in the clear, as versions before 3.5 wrote it.
        password: Secret,
        /// The hash of the password, in base64.
        hashed_password: Secret,
        /// Whether the user has no password and comes by a certificate; `None` where the request had no options.
        no_password: Option<bool>,
    },
    /// Tells the roles of a user.
    UserGet {
        /// The user.
        name: String,
    },
    /// Lists the users.
    UserList,
    /// Removes a user.
    UserDelete {
        /// The user.
        name: String,
    },
    /// Gives a user another password.
    UserChangePassword {
        /// The user.
        name: String,
        /// As in [`Operation::UserAdd`].
        password: Secret,
        /// As in [`Operation::UserAdd`].
        hashed_password: Secret,
    },
    /// Gives a user a role.
    UserGrantRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Takes a role from a user.
    UserRevokeRole {
        /// The user.
        name: String,
        /// The role.
        role: String,
    },
    /// Adds a role.
    RoleAdd {
        /// The name.
        name: String,
    },
    /// Tells the permissions of a role.
    RoleGet {
        /// The role.
        role: String,
    },
    /// Lists the roles.
    RoleList,
    /// Removes a role.
    RoleDelete {
        /// The role.
        role: String,
    },
    /// Gives a role a permission.
    RoleGrantPermission {
        /// The role.
        role: String,
        /// The permission; without one the request is refused.
        permission: Option<Permission>,
    },
    /// Takes a permission from a role, by its two ends.
    RoleRevokePermission {
        /// The role.
        role: String,
        /// The key, or the first one of the range.
        key: Bytes,
        /// The end of the range.
        range_end: Bytes,
    },
}

impl Operation {
    /// Whether only a user with the role `root` may ask for it. Of the others, those that tell of one user or role are
    /// also for those whom they concern, and the rest is for everybody.
    pub fn needs_root(&self) -> bool {
        match self {
            Self::Enable
            | Self::Disable
            | Self::UserAdd { .. }
            | Self::UserDelete { .. }
            | Self::UserChangePassword { .. }
            | Self::UserGrantRole { .. }
            | Self::UserRevokeRole { .. }
            | Self::UserList
            | Self::RoleAdd { .. }
            | Self::RoleDelete { .. }
            | Self::RoleGrantPermission { .. }
            | Self::RoleRevokePermission { .. }
            | Self::RoleList => true,
            Self::Status | Self::Authenticate { .. } | Self::UserGet { .. } | Self::RoleGet { .. } => false,
        }
    }
}

/// The answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// To one that only changes something.
    Changed,
    /// To [`Operation::Status`].
    Status {
        /// Whether authentication is on.
        enabled: bool,
        /// The revision of users and roles.
        revision: u64,
    },
    /// To [`Operation::Authenticate`].
    Authenticated {
        /// The user.
        user: String,
        /// The token; empty where tokens are signed, which the caller does then.
        token: Secret,
        /// The revision at which it was made.
        revision: u64,
    },
    /// To [`Operation::UserGet`]: the roles, in order.
    Roles(Vec<String>),
    /// To [`Operation::UserList`] and [`Operation::RoleList`]: the names, in order.
    Names(Vec<String>),
    /// To [`Operation::RoleGet`].
    Permissions(Vec<Permission>),
}

/// What an operation means for the tokens that members know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenChange {
    /// One more.
    Made {
        /// Its letters.
        prefix: Secret,
        /// Whom it stands for.
        user: String,
    },
    /// Those of a user are worth nothing any more.
    OfUserDropped(String),
    /// All are.
    AllDropped,
}
