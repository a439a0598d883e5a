//! The stored forms, which are etcd's.
//!
//! ```text
//! auth       "authEnabled"   1 byte   0 or 1; absent is 0
//!            "authRevision"  8 bytes  big-endian
//! authUsers  the name                 authpb.User { name, password, roles, options }
//! authRoles  the name                 authpb.Role { name, keyPermission }
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use etched_proto::authpb;
use prost::Message;

use crate::permission::{Access, Permission};
use crate::users::User;

pub(crate) const ENABLED: &str = "authEnabled";
pub(crate) const REVISION: &str = "authRevision";

pub(crate) fn encode_enabled(enabled: bool) -> Bytes {
    Bytes::from_static(if enabled { &[1] } else { &[0] })
}

/// As etcd reads it: everything but one byte of 1 is off.
pub(crate) fn decode_enabled(value: &[u8]) -> bool {
    value == [1]
}

pub(crate) fn encode_revision(revision: u64) -> Bytes {
    Bytes::copy_from_slice(&revision.to_be_bytes())
}

pub(crate) fn decode_revision(value: &[u8]) -> Result<u64, &'static str> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| "the value is not eight bytes long")
}

pub(crate) fn encode_user(name: &str, user: &User) -> Bytes {
    let message = authpb::User {
        name: Bytes::copy_from_slice(name.as_bytes()),
        password: user.password.clone(),
        roles: user.roles.clone(),
        options: user.no_password.map(|no_password| authpb::UserAddOptions { no_password }),
    };
    message.encode_to_vec().into()
}

pub(crate) fn decode_user(key: &[u8], value: &[u8]) -> Result<(String, User), &'static str> {
    let message = authpb::User::decode(value).map_err(|_| "the value is not a user")?;
    let name = name(key, &message.name)?;
    let no_password = message.options.map(|options| options.no_password);
    Ok((name, User { password: message.password, roles: message.roles, no_password }))
}

pub(crate) fn encode_role(name: &str, permissions: &[Permission]) -> Bytes {
    let permission = |permission: &Permission| authpb::Permission {
        perm_type: permission.access.to_wire(),
        key: permission.key.clone(),
        range_end: permission.range_end.clone(),
    };
    let message = authpb::Role {
        name: Bytes::copy_from_slice(name.as_bytes()),
        key_permission: permissions.iter().map(permission).collect(),
    };
    message.encode_to_vec().into()
}

pub(crate) fn decode_role(key: &[u8], value: &[u8]) -> Result<(String, Vec<Permission>), &'static str> {
    let message = authpb::Role::decode(value).map_err(|_| "the value is not a role")?;
    let name = name(key, &message.name)?;
    let permission = |permission: authpb::Permission| Permission {
        access: Access::from_wire(permission.perm_type),
        key: permission.key,
        range_end: permission.range_end,
    };
    Ok((name, message.key_permission.into_iter().map(permission).collect()))
}

fn name(key: &[u8], name: &[u8]) -> Result<String, &'static str> {
    if key != name {
        return Err("the key and the value have different names");
    }
    core::str::from_utf8(name).map(Into::into).map_err(|_| "the name is not UTF-8")
}
