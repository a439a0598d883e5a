//! The reasons why a request is refused for the sake of users and roles. Texts and codes are the shell's.

/// Why a request is refused; an answer, equal on all members.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Authentication cannot be turned on without the user `root`.
    RootUserMissing,
    /// Authentication cannot be turned on while the user `root` lacks the role `root`.
    RootRoleMissing,
    /// The user exists already.
    UserExists,
    /// The name of a user is empty, or nobody says who asks.
    UserEmpty,
    /// There is no such user.
    UserNotFound,
    /// The role exists already.
    RoleExists,
    /// There is no such role.
    RoleNotFound,
    /// The name of a role is empty.
    RoleEmpty,
    /// A permission was to be granted and is not there.
    PermissionNotGiven,
    /// The user may not do this.
    PermissionDenied,
    /// The user does not have the role.
    RoleNotGranted,
    /// The role does not have the permission.
    PermissionNotGranted,
    /// Authentication is off.
    NotEnabled,
    /// The user is unknown, or the password wrong.
    AuthenticationFailed,
    /// A password was given for a user who has none, or it cannot be taken.
    NoPasswordUser,
    /// The token stands for nobody.
    InvalidToken,
    /// The name was believed at an older revision than that of now.
    OldRevision,
    /// It would leave nobody who may change users and roles, or a range is none.
    InvalidManagement,
}
