//! Roles: names for permissions.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use etched_backend::{Batch, Table};

use crate::permission::{Access, Permission};
use crate::refusal::Refusal;
use crate::schema;
use crate::store::{Auth, ROOT};
use crate::users::User;

impl Auth {
    pub(crate) fn add_role(&mut self, name: &str, batch: &mut Batch) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(Refusal::RoleExists);
        }
        self.put_role(name, Vec::new(), batch);
        self.changed(batch);
        Ok(())
    }

    /// The permissions of a role; of `root` the one that says what it may.
    pub(crate) fn role_permissions(&self, name: &str) -> Result<Vec<Permission>, Refusal> {
        let permissions = self.roles.get(name).ok_or(Refusal::RoleNotFound)?;
        if name != ROOT {
            return Ok(permissions.clone());
        }
        let range_end = Bytes::from_static(&[0]);
        Ok(vec![Permission { access: Access::ReadWrite, key: Bytes::new(), range_end }])
    }

    /// Removes a role, from its users too.
    pub(crate) fn delete_role(&mut self, name: &str, batch: &mut Batch) -> Result<(), Refusal> {
        if self.is_enabled && name == ROOT {
            return Err(Refusal::InvalidManagement);
        }
        self.roles.remove(name).ok_or(Refusal::RoleNotFound)?;
        batch.delete(Table::AuthRoles, name.as_bytes().to_vec());
        let having = self.users.iter().filter(|(_, user)| user.has_role(name));
        let having: Vec<_> = having.map(|(user_name, user)| (user_name.clone(), user.clone())).collect();
        for (user_name, user) in having {
            let User { password, mut roles, no_password } = user;
            roles.retain(|has| has != name);
            self.put_user(&user_name, User { password, roles, no_password }, batch);
        }
        self.changed(batch);
        Ok(())
    }

    /// Gives a role a permission. The first one with the same key is looked at: if its end is the same too, its kind is
    /// replaced; else one more is added. So do members that are etcd, and all must end with the same list.
    pub(crate) fn grant_permission(
        &mut self,
        name: &str,
        permission: Option<&Permission>,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let permission = permission.ok_or(Refusal::PermissionNotGiven)?;
        if !permission.is_valid() {
            return Err(Refusal::InvalidManagement);
        }
        let mut permissions = self.roles.get(name).cloned().ok_or(Refusal::RoleNotFound)?;
        let place = permissions.partition_point(|has| has.key < permission.key);
        match permissions.get_mut(place) {
            Some(has) if has.key == permission.key && has.range_end == permission.range_end => {
                has.access = permission.access;
            }
            Some(_) | None => {
                permissions.push(permission.clone());
                // Stable, as Go's sort is for up to a dozen of them.
                permissions.sort_by(|a, b| a.key.cmp(&b.key));
            }
        }
        self.put_role(name, permissions, batch);
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn revoke_permission(
        &mut self,
        name: &str,
        key: &Bytes,
        range_end: &Bytes,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let permissions = self.roles.get(name).ok_or(Refusal::RoleNotFound)?;
        let is_other = |has: &&Permission| has.key != *key || has.range_end != *range_end;
        let left: Vec<Permission> = permissions.iter().filter(is_other).cloned().collect();
        if left.len() == permissions.len() {
            return Err(Refusal::PermissionNotGranted);
        }
        self.put_role(name, left, batch);
        self.changed(batch);
        Ok(())
    }

    fn put_role(&mut self, name: &str, permissions: Vec<Permission>, batch: &mut Batch) {
        batch.put(Table::AuthRoles, name.as_bytes().to_vec(), schema::encode_role(name, &permissions));
        self.roles.insert(name.into(), permissions);
    }
}
