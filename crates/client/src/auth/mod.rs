//! Users, roles and their permissions, and signing in as one of the users.
//!
//! `passport` keeps the token that requests carry; the methods here manage what the cluster knows.

mod passport;

use bytes::Bytes;
use etched_proto::authpb::permission::Type;
use etched_proto::authpb::{Permission, UserAddOptions};
use etched_proto::etcdserverpb::{
    AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse, AuthRoleAddRequest,
    AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse, AuthRoleGetRequest,
    AuthRoleGetResponse, AuthRoleGrantPermissionRequest, AuthRoleGrantPermissionResponse,
    AuthRoleListRequest, AuthRoleListResponse, AuthRoleRevokePermissionRequest,
    AuthRoleRevokePermissionResponse, AuthStatusRequest, AuthStatusResponse, AuthUserAddRequest,
    AuthUserAddResponse, AuthUserChangePasswordRequest, AuthUserChangePasswordResponse,
    AuthUserDeleteRequest, AuthUserDeleteResponse, AuthUserGetRequest, AuthUserGetResponse,
    AuthUserGrantRoleRequest, AuthUserGrantRoleResponse, AuthUserListRequest, AuthUserListResponse,
    AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse,
};

pub use self::passport::Credentials;
pub(crate) use self::passport::{Issue, Passport};
use crate::error::Effect;
use crate::{Client, Error, Keys};

/// What a role may do with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and watch them.
    Read,
    /// Write and delete them.
    Write,
    /// Both.
    ReadWrite,
}

impl From<Access> for Type {
    fn from(access: Access) -> Self {
        match access {
            Access::Read => Self::Read,
            Access::Write => Self::Write,
            Access::ReadWrite => Self::Readwrite,
        }
    }
}

/// One unary method of the service `Auth`.
macro_rules! calls {
    ($($(#[$doc:meta])* $effect:ident $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty
        = $method:ident($request:expr);)*) => {
        impl Client {
            $($(#[$doc])*
            pub async fn $name(&self, $($argument: $kind),*) -> Result<$answer, Error> {
                self.call(Effect::$effect, $request, |mut stubs, request| async move {
                    stubs.auth().$method(request).await
                })
                .await
            })*
        }
    };
}

calls! {
    /// Turns authentication on, from which moment every request needs a user.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RootUserNotExist`](crate::ErrorKind::RootUserNotExist) and
    /// [`ErrorKind::RootRoleNotExist`](crate::ErrorKind::RootRoleNotExist) while nobody could manage the cluster then.
    Change auth_enable() -> AuthEnableResponse = auth_enable(AuthEnableRequest {});

    /// Turns authentication off.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) for users without the role `root`.
    Change auth_disable() -> AuthDisableResponse = auth_disable(AuthDisableRequest {});

    /// Whether authentication is on, and how often users and roles were changed.
    ///
    /// # Errors
    ///
    /// As every read.
    Read auth_status() -> AuthStatusResponse = auth_status(AuthStatusRequest {});

    /// Creates a user with a password.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UserAlreadyExist`](crate::ErrorKind::UserAlreadyExist);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    Change user_add(name: impl Into<String>, password: impl Into<String>) -> AuthUserAddResponse =
        user_add(AuthUserAddRequest {
            name: name.into(),
            password: password.into(),
            options: Some(UserAddOptions { no_password: false }),
            hashed_password: String::new(),
        });

    /// Creates a user who cannot sign in with a password, but by the name in a client's certificate.
    ///
    /// # Errors
    ///
    /// As [`Client::user_add`].
    Change user_add_without_password(name: impl Into<String>) -> AuthUserAddResponse =
        user_add(AuthUserAddRequest {
            name: name.into(),
            password: String::new(),
            options: Some(UserAddOptions { no_password: true }),
            hashed_password: String::new(),
        });

    /// Deletes a user.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UserNotFound`](crate::ErrorKind::UserNotFound);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    Change user_delete(name: impl Into<String>) -> AuthUserDeleteResponse =
        user_delete(AuthUserDeleteRequest { name: name.into() });

    /// Gives a user another password, which ends the sessions of that user.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UserNotFound`](crate::ErrorKind::UserNotFound);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    Change user_change_password(
        name: impl Into<String>,
        password: impl Into<String>
    ) -> AuthUserChangePasswordResponse =
        user_change_password(AuthUserChangePasswordRequest {
            name: name.into(),
            password: password.into(),
            hashed_password: String::new(),
        });

    /// The roles of a user.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UserNotFound`](crate::ErrorKind::UserNotFound).
    Read user_get(name: impl Into<String>) -> AuthUserGetResponse =
        user_get(AuthUserGetRequest { name: name.into() });

    /// The names of all users.
    ///
    /// # Errors
    ///
    /// As every read.
    Read user_list() -> AuthUserListResponse = user_list(AuthUserListRequest {});

    /// Gives a user a role.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UserNotFound`](crate::ErrorKind::UserNotFound),
    /// [`ErrorKind::RoleNotFound`](crate::ErrorKind::RoleNotFound);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    Change user_grant_role(
        user: impl Into<String>,
        role: impl Into<String>
    ) -> AuthUserGrantRoleResponse =
        user_grant_role(AuthUserGrantRoleRequest { user: user.into(), role: role.into() });

    /// Takes a role from a user.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RoleNotGranted`](crate::ErrorKind::RoleNotGranted);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    Change user_revoke_role(
        name: impl Into<String>,
        role: impl Into<String>
    ) -> AuthUserRevokeRoleResponse =
        user_revoke_role(AuthUserRevokeRoleRequest { name: name.into(), role: role.into() });

    /// Creates a role that may do nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RoleAlreadyExist`](crate::ErrorKind::RoleAlreadyExist);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    Change role_add(name: impl Into<String>) -> AuthRoleAddResponse =
        role_add(AuthRoleAddRequest { name: name.into() });

    /// Deletes a role, and takes it from all users.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RoleNotFound`](crate::ErrorKind::RoleNotFound);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    Change role_delete(role: impl Into<String>) -> AuthRoleDeleteResponse =
        role_delete(AuthRoleDeleteRequest { role: role.into() });

    /// The permissions of a role.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RoleNotFound`](crate::ErrorKind::RoleNotFound).
    Read role_get(role: impl Into<String>) -> AuthRoleGetResponse =
        role_get(AuthRoleGetRequest { role: role.into() });

    /// The names of all roles.
    ///
    /// # Errors
    ///
    /// As every read.
    Read role_list() -> AuthRoleListResponse = role_list(AuthRoleListRequest {});

    /// Lets a role do something with keys.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RoleNotFound`](crate::ErrorKind::RoleNotFound);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    Change role_grant_permission(
        role: impl Into<String>,
        access: Access,
        keys: impl Into<Keys>
    ) -> AuthRoleGrantPermissionResponse =
        role_grant_permission(AuthRoleGrantPermissionRequest {
            name: role.into(),
            perm: Some(permission(access, keys.into())),
        });

    /// Takes the permission on exactly these keys from a role.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionNotGranted`](crate::ErrorKind::PermissionNotGranted);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    Change role_revoke_permission(
        role: impl Into<String>,
        keys: impl Into<Keys>
    ) -> AuthRoleRevokePermissionResponse =
        role_revoke_permission(revocation(role.into(), keys.into()));
}

fn permission(access: Access, keys: Keys) -> Permission {
    Permission { perm_type: Type::from(access).into(), key: keys.key, range_end: keys.range_end }
}

fn revocation(role: String, keys: Keys) -> AuthRoleRevokePermissionRequest {
    let (key, range_end): (Bytes, Bytes) = (keys.key, keys.range_end);
    AuthRoleRevokePermissionRequest { role, key, range_end }
}
