//! Users and roles of the v2 API, which stand in the tree beside the keys and know nothing of those of v3.
//!
//! Passwords come in hashed and are compared outside: hashing them costs far more than everything here.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::json::{push_list, push_text};
use crate::store::{Node, PERMISSIONS, Request, Store, What};

/// Who may do everything. The role is built in and cannot be changed; the user of that name must exist before anybody
/// is asked for a name.
pub const ROOT: &str = "root";
/// What those may do who do not say who they are.
pub const GUEST: &str = "guest";

/// A user, as stored and as asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct User {
    /// The name.
    #[serde(default)]
    pub user: String,
    /// The hash of the password; empty: none is given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// The names of the roles; none was ever given is another thing than an empty list, and is shown so.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// Roles to add.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub grant: Option<Vec<String>>,
    /// Roles to take away.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub revoke: Option<Vec<String>>,
}

/// A role, as stored and as asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Role {
    /// The name.
    #[serde(default)]
    pub role: String,
    /// What it allows.
    #[serde(default)]
    pub permissions: Permissions,
    /// What to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Permissions>,
    /// What to take away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke: Option<Permissions>,
}

/// What a role allows.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Permissions {
    /// On keys.
    #[serde(default)]
    pub kv: Paths,
}

/// Paths; one that ends with a star means all that begins like it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Paths {
    /// What may be read.
    #[serde(default)]
    pub read: Option<Vec<String>>,
    /// What may be written.
    #[serde(default)]
    pub write: Option<Vec<String>>,
}

/// A change of users and roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", content = "of", rename_all = "kebab-case")]
pub enum AuthChange {
    /// Makes a user.
    CreateUser(User),
    /// Makes a user, or changes the one that is there.
    CreateOrUpdateUser(User),
    /// Changes a user.
    UpdateUser(User),
    /// Deletes a user.
    DeleteUser(String),
    /// Makes a role.
    CreateRole(Role),
    /// Changes a role.
    UpdateRole(Role),
    /// Deletes a role.
    DeleteRole(String),
    /// From now on it counts who asks.
    Enable,
    /// From now on anybody may do everything.
    Disable,
}

/// What came of a change of users and roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthDone {
    /// A user was made or changed.
    User {
        /// As it is then, without its password.
        user: User,
        /// Whether there was none before, as far as the caller did not know.
        is_created: bool,
    },
    /// A role was made or changed.
    Role {
        /// As it is then.
        role: Role,
        /// Whether there was none before.
        is_created: bool,
    },
    /// Anything else.
    Done,
}

/// Why users and roles are not as asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct AuthError {
    /// The HTTP status that it is sent with.
    pub status: u16,
    /// The text.
    pub text: String,
}

/// Whether it counts who asks, and who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AuthView {
    /// Whether it counts who asks.
    pub is_enabled: bool,
    /// The user that was asked for, with its password's hash.
    pub user: Option<User>,
    /// That user's roles, or the guest's if nobody was asked for.
    pub roles: Vec<Role>,
}

/// What somebody wants to do with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// The path, without a namespace.
    pub path: &'a str,
    /// Whether it changes something.
    pub is_write: bool,
    /// Whether it is about all below the path as well.
    pub is_recursive: bool,
}

fn refuse(status: u16, text: impl AsRef<str>) -> AuthError {
    AuthError { status, text: format!("auth: {}", text.as_ref()) }
}

fn is_empty(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

impl Permissions {
    /// Whether they allow nothing.
    pub fn is_empty(&self) -> bool {
        is_empty(&self.kv.read) && is_empty(&self.kv.write)
    }

    fn all() -> Self {
        let all = || Some(Vec::from([String::from("/*")]));
        Self { kv: Paths { read: all(), write: all() } }
    }
}

impl Role {
    /// The role that is built in.
    pub fn root() -> Self {
        Self { role: ROOT.into(), permissions: Permissions::all(), ..Self::default() }
    }

    /// Whether the role allows something.
    pub fn allows(&self, access: Access<'_>) -> bool {
        if self.role == ROOT {
            return true;
        }
        let paths = if access.is_write { &self.permissions.kv.write } else { &self.permissions.kv.read };
        paths.iter().flatten().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => access.path.starts_with(prefix),
            None => !access.is_recursive && pattern == access.path,
        })
    }

    /// The JSON that clients get.
    pub fn to_json(&self) -> String {
        let mut json = String::from("{\"role\":");
        push_text(&mut json, &self.role);
        push_permissions(&mut json, "permissions", &self.permissions);
        for (name, permissions) in [("grant", &self.grant), ("revoke", &self.revoke)] {
            if let Some(permissions) = permissions {
                push_permissions(&mut json, name, permissions);
            }
        }
        json.push('}');
        json
    }

    fn merge(mut self, change: &Self) -> Result<Self, AuthError> {
        if let Some(added) = &change.grant {
            let kv = &mut self.permissions.kv;
            for (kind, granted, added) in
                [("read", &mut kv.read, &added.kv.read), ("write", &mut kv.write, &added.kv.write)]
            {
                let mut set: BTreeSet<String> = granted.take().into_iter().flatten().collect();
                for path in added.iter().flatten() {
                    if !set.insert(path.clone()) {
                        return Err(refuse(409, format!("Granting duplicate {kind} permission {path}")));
                    }
                }
                *granted = Some(set.into_iter().collect());
            }
        }
        if let Some(removed) = &change.revoke {
            let kv = &mut self.permissions.kv;
            for (granted, removed) in [(&mut kv.read, &removed.kv.read), (&mut kv.write, &removed.kv.write)] {
                let mut set: BTreeSet<String> = granted.take().into_iter().flatten().collect();
                for path in removed.iter().flatten() {
                    set.remove(path);
                }
                *granted = Some(set.into_iter().collect());
            }
        }
        Ok(self)
    }
}

impl User {
    /// The JSON that clients get: without the password.
    pub fn to_json(&self) -> String {
        let mut json = String::from("{\"user\":");
        push_text(&mut json, &self.user);
        json.push_str(",\"roles\":");
        push_optional_list(&mut json, self.roles.as_ref());
        for (name, list) in [("grant", &self.grant), ("revoke", &self.revoke)] {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                json.push_str(",\"");
                json.push_str(name);
                json.push_str("\":");
                push_list(&mut json, list);
            }
        }
        json.push('}');
        json
    }

    fn merge(&self, change: &Self) -> Result<Self, AuthError> {
        let mut roles: BTreeSet<String> = self.roles.iter().flatten().cloned().collect();
        for role in change.grant.iter().flatten() {
            if !roles.insert(role.clone()) {
                let text = format!("Granting duplicate role {role} for user {}", self.user);
                return Err(refuse(409, text));
            }
        }
        for role in change.revoke.iter().flatten() {
            if !roles.remove(role) {
                let text = format!("Revoking ungranted role {role} for user {}", self.user);
                return Err(refuse(409, text));
            }
        }
        let password = if change.password.is_empty() { &self.password } else { &change.password };
        Ok(Self {
            user: self.user.clone(),
            password: password.clone(),
            roles: Some(roles.into_iter().collect()),
            ..Self::default()
        })
    }
}

fn push_permissions(json: &mut String, name: &str, permissions: &Permissions) {
    json.push_str(",\"");
    json.push_str(name);
    json.push_str("\":{\"kv\":{\"read\":");
    push_optional_list(json, permissions.kv.read.as_ref());
    json.push_str(",\"write\":");
    push_optional_list(json, permissions.kv.write.as_ref());
    json.push_str("}}");
}

fn push_optional_list(json: &mut String, list: Option<&Vec<String>>) {
    match list {
        Some(list) => push_list(json, list),
        None => json.push_str("null"),
    }
}

impl AuthView {
    /// Whether it counts who asks, who `user` is and what he may do; without a name, what guests may do.
    pub fn of(store: &Store, user: Option<&str>) -> Self {
        let found = user.and_then(|name| store.user(name).ok());
        let names: Vec<&str> = match (user, &found) {
            (None, _) => Vec::from([GUEST]),
            (Some(_), None) => Vec::new(),
            (Some(_), Some(user)) => user.roles.iter().flatten().map(String::as_str).collect(),
        };
        let roles = names.into_iter().filter_map(|name| store.role(name).ok()).collect();
        Self { is_enabled: store.is_auth_enabled(), user: found, roles }
    }

    /// Whether those roles allow something. Guests are not asked for whole trees, as in etcd.
    pub fn allows(&self, access: Access<'_>) -> bool {
        let is_recursive = access.is_recursive && self.user.is_some();
        self.roles.iter().any(|role| role.allows(Access { is_recursive, ..access }))
    }

    /// Whether the user may do everything.
    pub fn is_root(&self) -> bool {
        self.user.iter().flat_map(|user| user.roles.iter().flatten()).any(|role| role == ROOT)
    }
}

impl Store {
    /// Whether it counts who asks.
    pub fn is_auth_enabled(&self) -> bool {
        self.own_value("/enabled").is_some_and(|value| value == "true")
    }

    /// The names of all users, or of all roles but those that are built in.
    fn own_names(&self, kind: &str) -> Vec<String> {
        let prefix = format!("{PERMISSIONS}/{kind}/");
        let found = self.nodes_from(&prefix).take_while(|(path, _)| path.starts_with(&prefix));
        found.map(|(path, _)| path[prefix.len()..].to_string()).collect()
    }

    /// All users, by name.
    pub fn users(&self) -> Vec<User> {
        self.own_names("users").iter().filter_map(|name| self.user(name).ok()).collect()
    }

    /// All roles, by name.
    pub fn roles(&self) -> Vec<Role> {
        let mut names = self.own_names("roles");
        names.push(ROOT.into());
        names.sort();
        names.iter().filter_map(|name| self.role(name).ok()).collect()
    }

    /// The user of that name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn user(&self, name: &str) -> Result<User, AuthError> {
        let missing = || refuse(404, format!("User {name} does not exist."));
        self.own_record("users", name).ok_or_else(missing)
    }

    /// The role of that name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn role(&self, name: &str) -> Result<Role, AuthError> {
        if name == ROOT {
            return Ok(Role::root());
        }
        let missing = || refuse(404, format!("Role {name} does not exist."));
        self.own_record("roles", name).ok_or_else(missing)
    }

    fn own_value(&self, path: &str) -> Option<&str> {
        self.node(&format!("{PERMISSIONS}{path}")).and_then(|node: &Node| node.value.as_deref())
    }

    fn own_record<T: for<'de> Deserialize<'de>>(&self, kind: &str, name: &str) -> Option<T> {
        if name.is_empty() || name.contains('/') {
            return None;
        }
        serde_json::from_str(self.own_value(&format!("/{kind}/{name}"))?).ok()
    }

    fn write_record<T: Serialize>(&mut self, kind: &str, name: &str, record: &T) {
        let json = serde_json::to_string(record).expect("texts and lists can be written as JSON");
        self.write_own(&format!("{PERMISSIONS}/{kind}/{name}"), json);
    }

    fn delete_record(&mut self, kind: &str, name: &str) {
        let path = format!("{PERMISSIONS}/{kind}/{name}");
        let what = What::Delete { is_dir: false, is_recursive: false };
        // Whether it is there was asked before.
        let _ = self.apply(&Request { path, what, now_ns: 0 });
    }

    /// Changes users and roles.
    ///
    /// # Errors
    ///
    /// The reason against it; then nothing has changed.
    pub fn apply_auth(&mut self, change: AuthChange) -> Result<AuthDone, AuthError> {
        match change {
            AuthChange::CreateUser(user) => self.create_user(user, false),
            AuthChange::CreateOrUpdateUser(user) => match self.user(&user.user) {
                Ok(before) => self.update_user(&before, &user),
                Err(_) => self.create_user(user, true),
            },
            AuthChange::UpdateUser(user) => {
                let before = self.user(&user.user)?;
                self.update_user(&before, &user)
            }
            AuthChange::DeleteUser(name) => self.delete_user(&name),
            AuthChange::CreateRole(role) => self.create_role(role),
            AuthChange::UpdateRole(role) => self.update_role(&role),
            AuthChange::DeleteRole(name) => self.delete_role(&name),
            AuthChange::Enable => self.enable_auth(),
            AuthChange::Disable if !self.is_auth_enabled() => Err(refuse(409, "already disabled")),
            AuthChange::Disable => {
                self.write_own(&format!("{PERMISSIONS}/enabled"), "false".into());
                Ok(AuthDone::Done)
            }
        }
    }

    fn create_user(&mut self, mut user: User, is_created: bool) -> Result<AuthDone, AuthError> {
        check_name(&user.user)?;
        if user.password.is_empty() {
            let text = format!("Cannot create user {} with an empty password", user.user);
            return Err(refuse(400, text));
        }
        if self.user(&user.user).is_ok() {
            return Err(refuse(409, format!("User {} already exists.", user.user)));
        }
        let has_root = user.roles.iter().flatten().any(|role| role == ROOT);
        if user.user == ROOT && !has_root {
            user.roles.get_or_insert_default().push(ROOT.into());
        }
        (user.grant, user.revoke) = (None, None);
        let name = user.user.clone();
        self.write_record("users", &name, &user);
        Ok(AuthDone::User { user, is_created })
    }

    fn update_user(&mut self, before: &User, change: &User) -> Result<AuthDone, AuthError> {
        let user = before.merge(change)?;
        if user == *before {
            let text = "User not updated. Use grant/revoke/password to update the user.";
            return Err(refuse(400, text));
        }
        self.write_record("users", &user.user, &user);
        Ok(AuthDone::User { user, is_created: false })
    }

    fn delete_user(&mut self, name: &str) -> Result<AuthDone, AuthError> {
        if self.is_auth_enabled() && name == ROOT {
            return Err(refuse(403, "Cannot delete root user while auth is enabled."));
        }
        self.user(name).map_err(|_| refuse(404, format!("User {name} does not exist")))?;
        self.delete_record("users", name);
        Ok(AuthDone::Done)
    }

    fn create_role(&mut self, role: Role) -> Result<AuthDone, AuthError> {
        check_name(&role.role)?;
        refuse_root(&role.role)?;
        if self.role(&role.role).is_ok() {
            return Err(refuse(409, format!("Role {} already exists.", role.role)));
        }
        self.write_record("roles", &role.role, &role);
        Ok(AuthDone::Role { role, is_created: true })
    }

    fn update_role(&mut self, change: &Role) -> Result<AuthDone, AuthError> {
        refuse_root(&change.role)?;
        let before = self.role(&change.role)?;
        let role = before.clone().merge(change)?;
        if role == before {
            return Err(refuse(400, "Role not updated. Use grant/revoke to update the role."));
        }
        self.write_record("roles", &role.role, &role);
        Ok(AuthDone::Role { role, is_created: false })
    }

    fn delete_role(&mut self, name: &str) -> Result<AuthDone, AuthError> {
        refuse_root(name)?;
        self.role(name).map_err(|_| refuse(404, format!("Role {name} doesn't exist.")))?;
        self.delete_record("roles", name);
        Ok(AuthDone::Done)
    }

    fn enable_auth(&mut self) -> Result<AuthDone, AuthError> {
        if self.is_auth_enabled() {
            return Err(refuse(409, "already enabled"));
        }
        if self.user(ROOT).is_err() {
            return Err(refuse(409, "No root user available, please create one"));
        }
        if self.role(GUEST).is_err() {
            let guest = Role { role: GUEST.into(), permissions: Permissions::all(), ..Role::default() };
            self.write_record("roles", GUEST, &guest);
        }
        self.write_own(&format!("{PERMISSIONS}/enabled"), "true".into());
        Ok(AuthDone::Done)
    }
}

fn refuse_root(role: &str) -> Result<(), AuthError> {
    if role == ROOT { Err(refuse(403, format!("Cannot modify role {role}: is root role."))) } else { Ok(()) }
}

/// Names are names of nodes.
fn check_name(name: &str) -> Result<(), AuthError> {
    let is_bad = name.is_empty() || name.contains('/') || name == "." || name == ".." || name.len() > 1024;
    if is_bad { Err(refuse(400, format!("the name {name:?} cannot be used"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
