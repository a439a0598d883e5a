//! `/v2/auth`: users and roles of the v2 API, and whether they count.

use bytes::Bytes;
use etched_replica::{V2Answer, V2Call};
use etched_state_machine::v2store::{AuthChange, AuthDone, AuthError, Role, User};
use etched_state_machine::{Command, Outcome, V2Command, V2Done};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::{Asked, V2, empty, failed, guard, json, message, refuse_method, text_json, unexpected};
use crate::api::{Answer, ApiError, Request};

/// Something, or the response that tells what went wrong.
type Or<T> = Result<T, Response<Bytes>>;

impl V2 {
    pub(super) async fn auth(&self, asked: Asked<'_>, rest: &str) -> Response<Bytes> {
        let pieces: Vec<&str> = rest.split('/').filter(|piece| !piece.is_empty()).collect();
        let answered = match pieces[..] {
            ["enable"] => self.auth_switch(asked).await,
            ["users"] => self.auth_users(asked).await,
            ["roles"] => self.auth_roles(asked).await,
            ["users", name] => self.auth_user(asked, name).await,
            ["roles", name] => self.auth_role(asked, name).await,
            ["users" | "roles", _, ..] => Err(message(StatusCode::BAD_REQUEST, "Invalid path")),
            _ => return crate::http::not_found(),
        };
        answered.unwrap_or_else(|refused| refused)
    }

    async fn must_be_root(&self, head: &Parts) -> Or<()> {
        match self.is_root(head).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(message(StatusCode::UNAUTHORIZED, "Insufficient credentials")),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn auth_switch(&self, asked: Asked<'_>) -> Or<Response<Bytes>> {
        if let Some(response) = refuse_method(asked.head, "GET,PUT,DELETE") {
            return Err(response);
        }
        let change = match asked.head.method {
            Method::PUT => AuthChange::Enable,
            Method::DELETE => AuthChange::Disable,
            _ => {
                let view = self.who(None).await.map_err(|error| failed(&error))?;
                let body = format!("{{\"enabled\":{}}}", view.is_enabled);
                return Ok(self.named(json(StatusCode::OK, &body)));
            }
        };
        self.must_be_root(asked.head).await?;
        self.change_auth(change).await?;
        Ok(self.named(empty_json()))
    }

    async fn auth_users(&self, asked: Asked<'_>) -> Or<Response<Bytes>> {
        if let Some(response) = refuse_method(asked.head, "GET") {
            return Err(response);
        }
        self.must_be_root(asked.head).await?;
        let (users, roles) = (self.all_users().await?, self.all_roles().await?);
        let users: Vec<String> = users.iter().map(|user| user_json(user, &roles)).collect();
        let list = if users.is_empty() { "null".to_owned() } else { format!("[{}]", users.join(",")) };
        Ok(self.named(json(StatusCode::OK, &format!("{{\"users\":{list}}}"))))
    }

    async fn auth_roles(&self, asked: Asked<'_>) -> Or<Response<Bytes>> {
        if let Some(response) = refuse_method(asked.head, "GET") {
            return Err(response);
        }
        self.must_be_root(asked.head).await?;
        let roles: Vec<String> = self.all_roles().await?.iter().map(Role::to_json).collect();
        Ok(self.named(json(StatusCode::OK, &format!("{{\"roles\":[{}]}}", roles.join(",")))))
    }

    async fn auth_user(&self, asked: Asked<'_>, name: &str) -> Or<Response<Bytes>> {
        if let Some(response) = refuse_method(asked.head, "GET,PUT,DELETE") {
            return Err(response);
        }
        self.must_be_root(asked.head).await?;
        match asked.head.method {
            Method::PUT => self.put_user(asked, name).await,
            Method::DELETE => {
                self.change_auth(AuthChange::DeleteUser(name.to_owned())).await?;
                Ok(self.named(empty_json()))
            }
            _ => {
                let users = self.all_users().await?;
                let text = format!("auth: User {name} does not exist.");
                let user = users.iter().find(|user| user.user == name);
                let user = user.ok_or_else(|| self.named(message(StatusCode::NOT_FOUND, &text)))?;
                let roles = self.all_roles().await?;
                Ok(self.named(json(StatusCode::OK, &user_json(user, &roles))))
            }
        }
    }

    async fn put_user(&self, asked: Asked<'_>, name: &str) -> Or<Response<Bytes>> {
        let body = self.read(asked.body).await?;
        let bad = |text: &str| self.named(message(StatusCode::BAD_REQUEST, text));
        let mut user: User =
            serde_json::from_slice(&body).map_err(|_| bad("Invalid JSON in request body."))?;
        if user.user != name {
            return Err(bad("User JSON name does not match the name in the URL"));
        }
        let is_some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let is_update = is_some(&user.grant) || is_some(&user.revoke);
        if is_update && is_some(&user.roles) {
            return Err(bad("User JSON contains both roles and grant/revoke"));
        }
        if !user.password.is_empty() {
            let password = std::mem::take(&mut user.password);
            let no_hash = || failed(&ApiError::Storage("a password cannot be hashed".to_owned()));
            user.password = guard::hash(password).await.ok_or_else(no_hash)?;
        }
        let change = if is_update {
            AuthChange::UpdateUser(user)
        } else if is_some(&user.roles) {
            AuthChange::CreateUser(user)
        } else {
            AuthChange::CreateOrUpdateUser(user)
        };
        match self.change_auth(change).await? {
            AuthDone::User { user, is_created } => {
                let status = if is_created { StatusCode::CREATED } else { StatusCode::OK };
                Ok(self.named(json(status, &user.to_json())))
            }
            AuthDone::Role { .. } | AuthDone::Done => Ok(self.named(empty_json())),
        }
    }

    async fn auth_role(&self, asked: Asked<'_>, name: &str) -> Or<Response<Bytes>> {
        if let Some(response) = refuse_method(asked.head, "GET,PUT,DELETE") {
            return Err(response);
        }
        self.must_be_root(asked.head).await?;
        match asked.head.method {
            Method::PUT => self.put_role(asked, name).await,
            Method::DELETE => {
                self.change_auth(AuthChange::DeleteRole(name.to_owned())).await?;
                Ok(self.named(empty_json()))
            }
            _ => {
                let roles = self.all_roles().await?;
                let text = format!("auth: Role {name} does not exist.");
                let role = roles.iter().find(|role| role.role == name);
                let role = role.ok_or_else(|| self.named(message(StatusCode::NOT_FOUND, &text)))?;
                Ok(self.named(json(StatusCode::OK, &role.to_json())))
            }
        }
    }

    async fn put_role(&self, asked: Asked<'_>, name: &str) -> Or<Response<Bytes>> {
        let body = self.read(asked.body).await?;
        let bad = |text: &str| self.named(message(StatusCode::BAD_REQUEST, text));
        let role: Role = serde_json::from_slice(&body).map_err(|_| bad("Invalid JSON in request body."))?;
        if role.role != name {
            return Err(bad("Role JSON name does not match the name in the URL"));
        }
        let is_some = |permissions: &Option<_>| {
            permissions.as_ref().is_some_and(|permissions: &etched_state_machine::v2store::Permissions| {
                !permissions.is_empty()
            })
        };
        let is_update = is_some(&role.grant) || is_some(&role.revoke);
        if is_update && !role.permissions.is_empty() {
            return Err(bad("Role JSON contains both permissions and grant/revoke"));
        }
        let change = if is_update { AuthChange::UpdateRole(role) } else { AuthChange::CreateRole(role) };
        match self.change_auth(change).await? {
            AuthDone::Role { role, is_created } => {
                let status = if is_created { StatusCode::CREATED } else { StatusCode::OK };
                Ok(self.named(json(status, &role.to_json())))
            }
            AuthDone::User { .. } | AuthDone::Done => Ok(self.named(empty_json())),
        }
    }

    async fn change_auth(&self, change: AuthChange) -> Or<AuthDone> {
        let command = Command::V2(V2Command::Auth(change));
        let answered = self.ask(Request::Propose(command)).await.map_err(|error| failed(&error))?;
        let Answer::Applied(Outcome::V2 { done, .. }) = answered.answer else {
            return Err(failed(&unexpected()));
        };
        let V2Done::Auth(result) = *done else { return Err(failed(&unexpected())) };
        result.map_err(|AuthError { status, text }| {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            self.named(message(status, &text))
        })
    }

    async fn all_users(&self) -> Or<Vec<User>> {
        let told = self.ask_v2(V2Call::Users).await.map_err(|error| failed(&error))?;
        let V2Answer::Users(users) = told.answer else { return Err(failed(&unexpected())) };
        Ok(users)
    }

    async fn all_roles(&self) -> Or<Vec<Role>> {
        let told = self.ask_v2(V2Call::Roles).await.map_err(|error| failed(&error))?;
        let V2Answer::Roles(roles) = told.answer else { return Err(failed(&unexpected())) };
        Ok(roles)
    }
}

fn empty_json() -> Response<Bytes> {
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(http::header::CONTENT_TYPE, super::JSON);
    response
}

/// A user with what the roles allow; roles that are gone are left out.
fn user_json(user: &User, roles: &[Role]) -> String {
    let names = user.roles.iter().flatten();
    let shown: Vec<String> =
        names.filter_map(|name| roles.iter().find(|role| role.role == *name)).map(Role::to_json).collect();
    let name = text_json(&user.user);
    if shown.is_empty() {
        format!("{{\"user\":{name}}}")
    } else {
        format!("{{\"user\":{name},\"roles\":[{}]}}", shown.join(","))
    }
}
