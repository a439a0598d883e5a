//! The replicated state: users, roles, the switch, the revision, and the question who may do what.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, Batch, ReadView, Table};
use etched_key_range::KeyRange;

use crate::credentials::Principal;
use crate::operation::{Done, Operation, Secret, TokenChange};
use crate::permission::Permission;
use crate::refusal::Refusal;
use crate::schema;
use crate::spans::Spans;
use crate::tokens::simple_token;
use crate::users::User;

/// The name of the user that must exist, and of the role that may do everything.
pub(crate) const ROOT: &str = "root";

/// The revision of a store that never had users.
const REVISION_FIRST: u64 = 1;

/// All users and roles of the cluster, as the applied operations left them.
///
/// Changes go to the batch that is passed, at once and in the order of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub(crate) is_enabled: bool,
    revision: u64,
    is_revision_stored: bool,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) roles: BTreeMap<String, Vec<Permission>>,
    /// What the roles of each user allow together.
    rights: BTreeMap<String, Rights>,
}

/// What one user may do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rights {
    is_root: bool,
    read: Spans,
    write: Spans,
}

/// Why stored users and roles could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The backend failed.
    #[error("the users and roles could not be read")]
    Backend(#[from] BackendError),
    /// A record is not what it should be.
    #[error("the record {key:?} of table {table} is damaged: {why}")]
    Damaged {
        /// The table.
        table: Table,
        /// The record's key.
        key: Bytes,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            is_enabled: false,
            revision: REVISION_FIRST,
            is_revision_stored: false,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            rights: BTreeMap::new(),
        }
    }
}

impl Auth {
    /// Reads what is stored.
    ///
    /// # Errors
    ///
    /// If the backend fails or holds a record that is none.
    pub fn restore(view: &dyn ReadView) -> Result<Self, RestoreError> {
        let mut auth = Self::default();
        if let Some(value) = view.get(Table::Auth, schema::ENABLED.as_bytes())? {
            auth.is_enabled = schema::decode_enabled(&value);
        }
        if let Some(value) = view.get(Table::Auth, schema::REVISION.as_bytes())? {
            let key = Bytes::from_static(schema::REVISION.as_bytes());
            let damaged = |why| RestoreError::Damaged { table: Table::Auth, key, why };
            // etcd takes 0 for a store that never had users.
            auth.revision = schema::decode_revision(&value).map_err(damaged)?.max(REVISION_FIRST);
            auth.is_revision_stored = true;
        }
        auth.users = records(view, Table::AuthUsers, schema::decode_user)?;
        auth.roles = records(view, Table::AuthRoles, schema::decode_role)?;
        auth.refresh_rights();
        Ok(auth)
    }

    /// Whether authentication is on.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// The revision of users and roles.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Has the revision of a fresh store written, with whatever else is.
    pub fn store_revision(&mut self, batch: &mut Batch) {
        if !self.is_revision_stored {
            self.is_revision_stored = true;
            batch.put(Table::Auth, schema::REVISION, schema::encode_revision(self.revision));
        }
    }

    /// Does what a committed operation asks for; `index` is that of its entry.
    ///
    /// Who asks was looked at before ([`Auth::permit_operation`]). A refused operation changes nothing.
    ///
    /// # Errors
    ///
    /// The reason to refuse it.
    pub fn apply(&mut self, operation: &Operation, index: u64, batch: &mut Batch) -> Result<Done, Refusal> {
        match operation {
            Operation::Enable => self.enable(batch)?,
            Operation::Disable => self.disable(batch),
            Operation::Status => {
                return Ok(Done::Status { enabled: self.is_enabled, revision: self.revision });
            }
            Operation::Authenticate { name, simple_token, .. } => {
                return self.authenticate(name, simple_token, index);
            }
            Operation::UserAdd { name, password, hashed_password, no_password } => {
                self.add_user(name, password, hashed_password, *no_password, index, batch)?;
            }
            Operation::UserGet { name } => return self.user_roles(name).map(Done::Roles),
            Operation::UserList => return Ok(Done::Names(self.users.keys().cloned().collect())),
            Operation::UserDelete { name } => self.delete_user(name, batch)?,
            Operation::UserChangePassword { name, password, hashed_password } => {
                self.change_password(name, password, hashed_password, index, batch)?;
            }
            Operation::UserGrantRole { user, role } => self.grant_role(user, role, batch)?,
            Operation::UserRevokeRole { name, role } => self.revoke_role(name, role, batch)?,
            Operation::RoleAdd { name } => self.add_role(name, batch)?,
            Operation::RoleGet { role } => return self.role_permissions(role).map(Done::Permissions),
            Operation::RoleList => return Ok(Done::Names(self.roles.keys().cloned().collect())),
            Operation::RoleDelete { role } => self.delete_role(role, batch)?,
            Operation::RoleGrantPermission { role, permission } => {
                self.grant_permission(role, permission.as_ref(), batch)?;
            }
            Operation::RoleRevokePermission { role, key, range_end } => {
                self.revoke_permission(role, key, range_end, batch)?;
            }
        }
        Ok(Done::Changed)
    }

    /// What an operation that was done means for the tokens that members know.
    pub fn token_change(operation: &Operation, done: &Done) -> Option<TokenChange> {
        match (operation, done) {
            (Operation::Authenticate { simple_token, .. }, Done::Authenticated { user, .. }) => {
                let made = TokenChange::Made { prefix: simple_token.clone(), user: user.clone() };
                (!simple_token.0.is_empty()).then_some(made)
            }
            (Operation::Disable, _) => Some(TokenChange::AllDropped),
            (Operation::UserDelete { name } | Operation::UserChangePassword { name, .. }, _) => {
                Some(TokenChange::OfUserDropped(name.clone()))
            }
            (
                Operation::Enable
                | Operation::Status
                | Operation::Authenticate { .. }
                | Operation::UserAdd { .. }
                | Operation::UserGet { .. }
                | Operation::UserList
                | Operation::UserGrantRole { .. }
                | Operation::UserRevokeRole { .. }
                | Operation::RoleAdd { .. }
                | Operation::RoleGet { .. }
                | Operation::RoleList
                | Operation::RoleDelete { .. }
                | Operation::RoleGrantPermission { .. }
                | Operation::RoleRevokePermission { .. },
                _,
            ) => None,
        }
    }

    fn enable(&mut self, batch: &mut Batch) -> Result<(), Refusal> {
        if self.is_enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(Refusal::RootUserMissing)?;
        if !root.has_role(ROOT) {
            return Err(Refusal::RootRoleMissing);
        }
        self.is_enabled = true;
        batch.put(Table::Auth, schema::ENABLED, schema::encode_enabled(true));
        self.store_revision(batch);
        Ok(())
    }

    fn disable(&mut self, batch: &mut Batch) {
        if self.is_enabled {
            self.is_enabled = false;
            batch.put(Table::Auth, schema::ENABLED, schema::encode_enabled(false));
            self.raise_revision(batch);
        }
    }

    fn authenticate(&self, name: &str, prefix: &Secret, index: u64) -> Result<Done, Refusal> {
        if !self.is_enabled {
            return Err(Refusal::NotEnabled);
        }
        let user = self.users.get(name).ok_or(Refusal::AuthenticationFailed)?;
        if user.has_no_password() {
            return Err(Refusal::AuthenticationFailed);
        }
        let token =
            if prefix.0.is_empty() { Secret::default() } else { simple_token(&prefix.0, index).into() };
        Ok(Done::Authenticated { user: name.into(), token, revision: self.revision })
    }

    /// The hash that a password is compared with, and the revision at which it was the right one.
    ///
    /// # Errors
    ///
    /// When nobody can log in under this name.
    pub fn password_hash(&self, name: &str) -> Result<(Bytes, u64), Refusal> {
        if !self.is_enabled {
            return Err(Refusal::NotEnabled);
        }
        let user = self.users.get(name).ok_or(Refusal::AuthenticationFailed)?;
        if user.has_no_password() {
            return Err(Refusal::NoPasswordUser);
        }
        Ok((user.password.clone(), self.revision))
    }

    /// Users or roles are other ones.
    pub(crate) fn changed(&mut self, batch: &mut Batch) {
        self.raise_revision(batch);
        self.refresh_rights();
    }

    fn raise_revision(&mut self, batch: &mut Batch) {
        self.revision += 1;
        self.is_revision_stored = false;
        self.store_revision(batch);
    }

    fn refresh_rights(&mut self) {
        let roles = &self.roles;
        let rights = |user: &User| {
            let permissions = || user.roles.iter().filter_map(|role| roles.get(role)).flatten();
            let ranges = |allows: fn(&Permission) -> bool| {
                Spans::new(permissions().filter(|permission| allows(permission)).map(Permission::range))
            };
            Rights {
                is_root: user.has_role(ROOT),
                read: ranges(|permission| permission.access.allows_reading()),
                write: ranges(|permission| permission.access.allows_writing()),
            }
        };
        self.rights = self.users.iter().map(|(name, user)| (name.clone(), rights(user))).collect();
    }

    // === who may do what ===

    /// Asks whether the keys of a range may be read.
    ///
    /// # Errors
    ///
    /// Why they may not.
    pub fn permit_read(&self, principal: Option<&Principal>, range: &KeyRange) -> Result<(), Refusal> {
        self.permit(principal, |rights| rights.read.covers(range))
    }

    /// Asks whether the keys of a range may be written.
    ///
    /// # Errors
    ///
    /// Why they may not.
    pub fn permit_write(&self, principal: Option<&Principal>, range: &KeyRange) -> Result<(), Refusal> {
        self.permit(principal, |rights| rights.write.covers(range))
    }

    fn permit(
        &self,
        principal: Option<&Principal>,
        is_allowed: impl FnOnce(&Rights) -> bool,
    ) -> Result<(), Refusal> {
        if !self.is_enabled {
            return Ok(());
        }
        let principal = principal.ok_or(Refusal::UserEmpty)?;
        if principal.revision < self.revision {
            return Err(Refusal::OldRevision);
        }
        let rights = self.rights.get(&*principal.user).ok_or(Refusal::PermissionDenied)?;
        if rights.is_root || is_allowed(rights) { Ok(()) } else { Err(Refusal::PermissionDenied) }
    }

    /// Asks whether somebody may do what only root may. The revision of the principal does not count.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn permit_root(&self, principal: Option<&Principal>) -> Result<(), Refusal> {
        if !self.is_enabled {
            return Ok(());
        }
        let principal = principal.filter(|principal| !principal.user.is_empty()).ok_or(Refusal::UserEmpty)?;
        let rights = self.rights.get(&*principal.user).ok_or(Refusal::UserNotFound)?;
        if rights.is_root { Ok(()) } else { Err(Refusal::PermissionDenied) }
    }

    /// Asks whether somebody says who asks, be it a user or not.
    ///
    /// # Errors
    ///
    /// Nobody does.
    pub fn permit_somebody(&self, principal: Option<&Principal>) -> Result<(), Refusal> {
        if self.is_enabled && principal.is_none() { Err(Refusal::UserEmpty) } else { Ok(()) }
    }

    /// Asks whether somebody may ask for an operation on users and roles.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn permit_operation(
        &self,
        principal: Option<&Principal>,
        operation: &Operation,
    ) -> Result<(), Refusal> {
        let name = principal.map_or("", |principal| &principal.user);
        let concerns_caller = match operation {
            Operation::UserGet { name: asked } => asked == name,
            Operation::RoleGet { role } => self.users.get(name).is_some_and(|user| user.has_role(role)),
            Operation::Status | Operation::Authenticate { .. } => return Ok(()),
            Operation::Enable
            | Operation::Disable
            | Operation::UserAdd { .. }
            | Operation::UserList
            | Operation::UserDelete { .. }
            | Operation::UserChangePassword { .. }
            | Operation::UserGrantRole { .. }
            | Operation::UserRevokeRole { .. }
            | Operation::RoleAdd { .. }
            | Operation::RoleList
            | Operation::RoleDelete { .. }
            | Operation::RoleGrantPermission { .. }
            | Operation::RoleRevokePermission { .. } => false,
        };
        if concerns_caller { Ok(()) } else { self.permit_root(principal) }
    }
}

/// Reads a record, with the name that it has, or says what is wrong with it.
type Decode<T> = fn(&[u8], &[u8]) -> Result<(String, T), &'static str>;

/// All records of a table, by name.
fn records<T>(
    view: &dyn ReadView,
    table: Table,
    decode: Decode<T>,
) -> Result<BTreeMap<String, T>, RestoreError> {
    let mut records = BTreeMap::new();
    let mut damage = None;
    view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| match decode(key, value) {
        Ok((name, record)) => {
            records.insert(name, record);
            ControlFlow::Continue(())
        }
        Err(why) => {
            damage = Some(RestoreError::Damaged { table, key: Bytes::copy_from_slice(key), why });
            ControlFlow::Break(())
        }
    })?;
    damage.map_or(Ok(records), Err)
}

#[cfg(test)]
mod tests;
