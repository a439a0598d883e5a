//! The messages of users and roles inside an entry.

use alloc::string::String;

use bytes::Bytes;
use etched_auth::{Access, Operation, Permission};

use super::DecodeError;
use super::wire::{Backward, Field};

const ENABLE: u32 = 1000;
const DISABLE: u32 = 1011;
const AUTHENTICATE: u32 = 1012;
const STATUS: u32 = 1013;
const USER_ADD: u32 = 1100;
const USER_DELETE: u32 = 1101;
const USER_GET: u32 = 1102;
const USER_CHANGE_PASSWORD: u32 = 1103;
const USER_GRANT_ROLE: u32 = 1104;
const USER_REVOKE_ROLE: u32 = 1105;
const USER_LIST: u32 = 1106;
const ROLE_LIST: u32 = 1107;
const ROLE_ADD: u32 = 1200;
const ROLE_DELETE: u32 = 1201;
const ROLE_GET: u32 = 1202;
const ROLE_GRANT_PERMISSION: u32 = 1203;
const ROLE_REVOKE_PERMISSION: u32 = 1204;

pub(super) fn field_number(operation: &Operation) -> u32 {
    match operation {
        Operation::Enable => ENABLE,
        Operation::Disable => DISABLE,
        Operation::Authenticate { .. } => AUTHENTICATE,
        Operation::Status => STATUS,
        Operation::UserAdd { .. } => USER_ADD,
        Operation::UserDelete { .. } => USER_DELETE,
        Operation::UserGet { .. } => USER_GET,
        Operation::UserChangePassword { .. } => USER_CHANGE_PASSWORD,
        Operation::UserGrantRole { .. } => USER_GRANT_ROLE,
        Operation::UserRevokeRole { .. } => USER_REVOKE_ROLE,
        Operation::UserList => USER_LIST,
        Operation::RoleList => ROLE_LIST,
        Operation::RoleAdd { .. } => ROLE_ADD,
        Operation::RoleDelete { .. } => ROLE_DELETE,
        Operation::RoleGet { .. } => ROLE_GET,
        Operation::RoleGrantPermission { .. } => ROLE_GRANT_PERMISSION,
        Operation::RoleRevokePermission { .. } => ROLE_REVOKE_PERMISSION,
    }
}

pub(super) fn write(writer: &mut Backward, operation: &Operation) {
    match operation {
        Operation::Enable
        | Operation::Disable
        | Operation::Status
        | Operation::UserList
        | Operation::RoleList => {}
        Operation::Authenticate { name, password, simple_token } => {
            write_texts(writer, &[name, &password.0, &simple_token.0]);
        }
        Operation::UserAdd { name, password, hashed_password, no_password } => {
            writer.bytes(4, hashed_password.0.as_bytes());
            if let Some(no_password) = no_password {
                let options = writer.open();
                writer.bool(1, *no_password);
                writer.close(3, options);
            }
            write_texts(writer, &[name, &password.0]);
        }
        Operation::UserChangePassword { name, password, hashed_password } => {
            write_texts(writer, &[name, &password.0, &hashed_password.0]);
        }
        Operation::UserGrantRole { user: name, role } | Operation::UserRevokeRole { name, role } => {
            write_texts(writer, &[name, role]);
        }
        Operation::UserGet { name }
        | Operation::UserDelete { name }
        | Operation::RoleAdd { name }
        | Operation::RoleGet { role: name }
        | Operation::RoleDelete { role: name } => write_texts(writer, &[name]),
        Operation::RoleGrantPermission { role, permission } => {
            if let Some(Permission { access, key, range_end }) = permission {
                let mark = writer.open();
                writer.bytes(3, range_end);
                writer.bytes(2, key);
                writer.i32(1, access.to_wire());
                writer.close(2, mark);
            }
            write_texts(writer, &[role]);
        }
        Operation::RoleRevokePermission { role, key, range_end } => {
            writer.bytes(3, range_end);
            writer.bytes(2, key);
            write_texts(writer, &[role]);
        }
    }
}

/// The texts of fields 1, 2, ….
fn write_texts(writer: &mut Backward, texts: &[&String]) {
    for (number, text) in [1, 2, 3].into_iter().zip(texts).rev() {
        writer.bytes(number, text.as_bytes());
    }
}

/// The operation of a field of `InternalRaftRequest`; `None` if it is not one of these.
pub(super) fn read(field: Field<'_>) -> Result<Option<Operation>, DecodeError> {
    let operation = match field.number {
        ENABLE => nothing(field, "AuthEnableRequest", Operation::Enable)?,
        DISABLE => nothing(field, "AuthDisableRequest", Operation::Disable)?,
        STATUS => nothing(field, "AuthStatusRequest", Operation::Status)?,
        USER_LIST => nothing(field, "AuthUserListRequest", Operation::UserList)?,
        ROLE_LIST => nothing(field, "AuthRoleListRequest", Operation::RoleList)?,
        AUTHENTICATE => {
            let [name, password, simple_token] = texts(field, "InternalAuthenticateRequest")?;
            Operation::Authenticate { name, password: password.into(), simple_token: simple_token.into() }
        }
        USER_ADD => read_user_add(field)?,
        USER_DELETE => {
            let [name] = texts(field, "AuthUserDeleteRequest")?;
            Operation::UserDelete { name }
        }
        USER_GET => {
            let [name] = texts(field, "AuthUserGetRequest")?;
            Operation::UserGet { name }
        }
        USER_CHANGE_PASSWORD => {
            let [name, password, hashed] = texts(field, "AuthUserChangePasswordRequest")?;
            Operation::UserChangePassword { name, password: password.into(), hashed_password: hashed.into() }
        }
        USER_GRANT_ROLE => {
            let [user, role] = texts(field, "AuthUserGrantRoleRequest")?;
            Operation::UserGrantRole { user, role }
        }
        USER_REVOKE_ROLE => {
            let [name, role] = texts(field, "AuthUserRevokeRoleRequest")?;
            Operation::UserRevokeRole { name, role }
        }
        ROLE_ADD => {
            let [name] = texts(field, "AuthRoleAddRequest")?;
            Operation::RoleAdd { name }
        }
        ROLE_DELETE => {
            let [role] = texts(field, "AuthRoleDeleteRequest")?;
            Operation::RoleDelete { role }
        }
        ROLE_GET => {
            let [role] = texts(field, "AuthRoleGetRequest")?;
            Operation::RoleGet { role }
        }
        ROLE_GRANT_PERMISSION => read_grant(field)?,
        ROLE_REVOKE_PERMISSION => read_revoke(field)?,
        _ => return Ok(None),
    };
    Ok(Some(operation))
}

fn nothing(field: Field<'_>, message: &'static str, operation: Operation) -> Result<Operation, DecodeError> {
    let [] = texts(field, message)?;
    Ok(operation)
}

/// A message whose fields 1 to N are texts.
fn texts<const N: usize>(field: Field<'_>, message: &'static str) -> Result<[String; N], DecodeError> {
    let mut texts = [const { String::new() }; N];
    let mut fields = field.fields(message)?;
    while let Some(field) = fields.next()? {
        let place = usize::try_from(field.number - 1).ok().and_then(|place| texts.get_mut(place));
        match place {
            Some(text) => *text = field.string()?,
            None => return field.unknown(),
        }
    }
    Ok(texts)
}

fn read_user_add(field: Field<'_>) -> Result<Operation, DecodeError> {
    let (mut name, mut password, mut hashed_password) = (String::new(), String::new(), String::new());
    let mut no_password = None;
    let mut fields = field.fields("AuthUserAddRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.string()?,
            2 => password = field.string()?,
            3 => {
                let is_set = no_password.get_or_insert(false);
                let mut options = field.fields("UserAddOptions")?;
                while let Some(field) = options.next()? {
                    match field.number {
                        1 => *is_set = field.bool()?,
                        _ => return field.unknown(),
                    }
                }
            }
            4 => hashed_password = field.string()?,
            _ => return field.unknown(),
        }
    }
    let (password, hashed_password) = (password.into(), hashed_password.into());
    Ok(Operation::UserAdd { name, password, hashed_password, no_password })
}

fn read_grant(field: Field<'_>) -> Result<Operation, DecodeError> {
    let (mut role, mut permission) = (String::new(), None);
    let mut fields = field.fields("AuthRoleGrantPermissionRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => role = field.string()?,
            2 => {
                let none = || Permission { access: Access::Read, key: Bytes::new(), range_end: Bytes::new() };
                let permission = permission.get_or_insert_with(none);
                let mut fields = field.fields("Permission")?;
                while let Some(field) = fields.next()? {
                    match field.number {
                        1 => permission.access = Access::from_wire(field.i32()?),
                        // Copied, since a role outlives the entry by far.
                        2 => permission.key = Bytes::copy_from_slice(field.slice()?),
                        3 => permission.range_end = Bytes::copy_from_slice(field.slice()?),
                        _ => return field.unknown(),
                    }
                }
            }
            _ => return field.unknown(),
        }
    }
    Ok(Operation::RoleGrantPermission { role, permission })
}

fn read_revoke(field: Field<'_>) -> Result<Operation, DecodeError> {
    let (mut role, mut key, mut range_end) = (String::new(), Bytes::new(), Bytes::new());
    let mut fields = field.fields("AuthRoleRevokePermissionRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => role = field.string()?,
            2 => key = field.bytes()?,
            3 => range_end = field.bytes()?,
            _ => return field.unknown(),
        }
    }
    Ok(Operation::RoleRevokePermission { role, key, range_end })
}
