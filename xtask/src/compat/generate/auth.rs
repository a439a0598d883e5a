//! Requests about users and roles, and who makes a request, in epochs with authentication.

use etched_proto::authpb;
use etched_proto::etcdserverpb as pb;

use super::{Generator, Step, View};
use crate::compat::accepted;
use crate::compat::request::{AuthRequest, Request};
use crate::compat::side::Who;

/// Users that come and go; `root` stays mostly.
pub(in crate::compat) const USERS: [&str; 5] = ["root", "alice", "bob", "carol", ""];
const ROLES: [&str; 5] = ["root", "reader", "writer", "both", ""];
/// The password of `root` is always the first.
pub(in crate::compat) const PASSWORDS: [&str; 3] = ["p", "q", ""];

impl Generator {
    /// A step of an epoch with authentication.
    pub(in crate::compat) fn step_with_auth(&mut self, view: &View) -> (Who, Step) {
        match self.random.below(100) {
            0..=27 => (self.manager(), Step::Call(Request::Auth(self.management()))),
            28..=33 => (Who::Nobody, Step::Call(Request::Auth(self.login()))),
            // So that authentication is not off for long.
            34 | 35 => (Who::User("root"), Step::Call(Request::Auth(AuthRequest::Enable))),
            _ => {
                let who = self.caller();
                match self.step(view) {
                    // Requests over HTTP carry nobody's name.
                    Step::Expire | Step::Downgrade | Step::Http(_) => (who, Step::Compare),
                    Step::Call(request) => (who, Step::Call(accepted::upright(request))),
                    step @ (Step::OpenStream
                    | Step::CloseStream(_)
                    | Step::Watch(..)
                    | Step::Progress(_)
                    | Step::Compare
                    | Step::Restart) => (who, step),
                }
            }
        }
    }

    fn manager(&mut self) -> Who {
        if self.random.one_in(8) { self.caller() } else { Who::User("root") }
    }

    fn caller(&mut self) -> Who {
        match self.random.below(20) {
            0 => Who::Nobody,
            1 => Who::Stranger,
            2..=5 => Who::User("root"),
            6..=12 => Who::User("alice"),
            13..=16 => Who::User("bob"),
            _ => Who::User("carol"),
        }
    }

    fn login(&mut self) -> AuthRequest {
        let name = (*self.random.pick(&USERS)).to_owned();
        let password =
            if name == "root" && !self.random.one_in(4) { "p" } else { self.random.pick(&PASSWORDS) };
        AuthRequest::Authenticate(pb::AuthenticateRequest { name, password: password.to_owned() })
    }

    fn user(&mut self) -> String {
        (*self.random.pick(&USERS)).to_owned()
    }

    fn role(&mut self) -> String {
        (*self.random.pick(&ROLES)).to_owned()
    }

    fn management(&mut self) -> AuthRequest {
        match self.random.below(40) {
            0 => AuthRequest::Disable,
            1 => AuthRequest::Enable,
            2..=4 => AuthRequest::Status,
            5..=8 => self.user_add(),
            9..=10 => AuthRequest::UserDelete(pb::AuthUserDeleteRequest { name: self.user() }),
            11 | 12 => self.change_password(),
            13..=18 => AuthRequest::UserGrantRole(pb::AuthUserGrantRoleRequest {
                user: self.user(),
                role: self.role(),
            }),
            19 | 20 => AuthRequest::UserRevokeRole(pb::AuthUserRevokeRoleRequest {
                name: self.user(),
                role: self.role(),
            }),
            21 | 22 => AuthRequest::UserGet(pb::AuthUserGetRequest { name: self.user() }),
            23 => AuthRequest::UserList,
            24..=26 => AuthRequest::RoleAdd(pb::AuthRoleAddRequest { name: self.role() }),
            27 => AuthRequest::RoleDelete(pb::AuthRoleDeleteRequest { role: self.role() }),
            28 | 29 => AuthRequest::RoleGet(pb::AuthRoleGetRequest { role: self.role() }),
            30 => AuthRequest::RoleList,
            31..=37 => self.grant(),
            _ => AuthRequest::RoleRevokePermission(pb::AuthRoleRevokePermissionRequest {
                role: self.role(),
                key: self.key(),
                range_end: self.end(),
            }),
        }
    }

    fn user_add(&mut self) -> AuthRequest {
        let name = self.user();
        let password = if name == "root" { "p" } else { self.random.pick(&PASSWORDS) };
        let options = match self.random.below(8) {
            0 if name != "root" => Some(authpb::UserAddOptions { no_password: true }),
            1 => Some(authpb::UserAddOptions { no_password: false }),
            _ => None,
        };
        let password =
            if self.random.one_in(40) && name != "root" { "x".repeat(73) } else { password.to_owned() };
        AuthRequest::UserAdd(pb::AuthUserAddRequest {
            name,
            password,
            options,
            hashed_password: String::new(),
        })
    }

    fn change_password(&mut self) -> AuthRequest {
        let name = self.user();
        let password = if name == "root" { "p" } else { self.random.pick(&PASSWORDS) };
        let hashed_password = if self.random.one_in(6) && name != "root" { "no base64" } else { "" };
        AuthRequest::UserChangePassword(pb::AuthUserChangePasswordRequest {
            name,
            password: password.to_owned(),
            hashed_password: hashed_password.to_owned(),
        })
    }

    fn grant(&mut self) -> AuthRequest {
        let perm = (!self.random.one_in(12)).then(|| authpb::Permission {
            perm_type: *self.random.pick(&[0, 1, 2, 2]),
            key: self.key(),
            range_end: self.end(),
        });
        AuthRequest::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name: self.role(), perm })
    }
}
