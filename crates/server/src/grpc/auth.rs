//! The Auth service: users, roles, the switch, and logging in.
//!
//! Passwords are hashed and compared here, before anything is proposed, so that the log holds hashes only.

use std::sync::Arc;

use etched_proto::wire::etcdserverpb as wire;
use etched_state_machine::auth::{Access, Done, Operation, Permission, Secret};
use etched_state_machine::{Command, Outcome};
use tonic::{Request, Response, Status};
use wire::auth_server::Auth;

use super::credentials;
use super::kv::{ask, header, propose};
use super::status::{AUTH_FAILED, mismatched_answer};
use crate::api::{self, Answer, Credentials};
use crate::auth::{Doorman, Passwords, SignError};
use crate::front::{Answered, Link};

/// How often a login is begun anew because users or roles changed meanwhile.
const LOGINS_MAX: usize = 64;

/// Answers calls of the Auth service.
#[derive(Clone, Debug)]
pub(super) struct AuthService {
    pub(super) link: Arc<Link>,
    pub(super) doorman: Arc<Doorman>,
    pub(super) passwords: Arc<Passwords>,
}

/// What was done, and the header of the answer.
struct Answerable {
    header: Option<wire::ResponseHeader>,
    done: Done,
}

impl AuthService {
    async fn run(&self, credentials: Credentials, operation: Operation) -> Result<Answerable, Status> {
        let (outcome, current, raft_term) =
            propose(&self.link, credentials, Command::Auth(operation)).await?;
        let Outcome::Auth { revision, done } = outcome else { return Err(mismatched_answer()) };
        Ok(Answerable { header: header(&self.link, revision, current, raft_term), done })
    }

    async fn hash(&self, password: String) -> Result<Secret, Status> {
        let hashed = self.passwords.hash(password.into()).await;
        hashed.map_err(|error| Status::unknown(error.to_string()))
    }

    /// Checks a password, then has the members make a token; again, if the password may have changed between.
    async fn log_in(&self, name: String, password: Secret) -> Result<wire::AuthenticateResponse, Status> {
        for _ in 0..LOGINS_MAX {
            let request = api::Request::PasswordHash { name: name.clone() };
            let Answered { answer, .. } = ask(&self.link, Credentials::Anonymous, request).await?;
            let Answer::PasswordHash { hash, revision: checked } = answer else {
                return Err(mismatched_answer());
            };
            let is_right = self.passwords.verify(password.clone(), hash).await;
            if !is_right.map_err(|error| Status::unknown(error.to_string()))? {
                crate::log!(Warn, "invalid authentication was requested", "user" => name.as_str());
                return Err(AUTH_FAILED.into());
            }
            let simple_token =
                self.doorman.new_prefix().map_err(|error| Status::unknown(error.to_string()))?;
            let operation =
                Operation::Authenticate { name: name.clone(), password: Secret::default(), simple_token };
            let Answerable { header, done } = self.run(Credentials::Anonymous, operation).await?;
            let Done::Authenticated { user, token, revision } = done else { return Err(mismatched_answer()) };
            let issued = self.doorman.issue(&user, revision, token);
            if revision == checked {
                let token = issued.map_err(not_issued)?.0;
                return Ok(wire::AuthenticateResponse { header, token });
            }
            crate::log!(Info, "revision when password checked became stale; retrying");
        }
        Err(Status::unavailable("etched: users and roles change all the time"))
    }
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(
        &self,
        request: Request<wire::AuthEnableRequest>,
    ) -> Result<Response<wire::AuthEnableResponse>, Status> {
        let credentials = credentials(&request);
        let Answerable { header, .. } = self.run(credentials, Operation::Enable).await?;
        Ok(Response::new(wire::AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<wire::AuthDisableRequest>,
    ) -> Result<Response<wire::AuthDisableResponse>, Status> {
        let credentials = credentials(&request);
        let Answerable { header, .. } = self.run(credentials, Operation::Disable).await?;
        Ok(Response::new(wire::AuthDisableResponse { header }))
    }

    async fn user_delete(
        &self,
        request: Request<wire::AuthUserDeleteRequest>,
    ) -> Result<Response<wire::AuthUserDeleteResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AuthUserDeleteRequest { name } = request.into_inner();
        let Answerable { header, .. } = self.run(credentials, Operation::UserDelete { name }).await?;
        Ok(Response::new(wire::AuthUserDeleteResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<wire::AuthUserGrantRoleRequest>,
    ) -> Result<Response<wire::AuthUserGrantRoleResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AuthUserGrantRoleRequest { user, role } = request.into_inner();
        let Answerable { header, .. } =
            self.run(credentials, Operation::UserGrantRole { user, role }).await?;
        Ok(Response::new(wire::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<wire::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<wire::AuthUserRevokeRoleResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AuthUserRevokeRoleRequest { name, role } = request.into_inner();
        let Answerable { header, .. } =
            self.run(credentials, Operation::UserRevokeRole { name, role }).await?;
        Ok(Response::new(wire::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<wire::AuthRoleAddRequest>,
    ) -> Result<Response<wire::AuthRoleAddResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AuthRoleAddRequest { name } = request.into_inner();
        let Answerable { header, .. } = self.run(credentials, Operation::RoleAdd { name }).await?;
        Ok(Response::new(wire::AuthRoleAddResponse { header }))
    }

    async fn role_delete(
        &self,
        request: Request<wire::AuthRoleDeleteRequest>,
    ) -> Result<Response<wire::AuthRoleDeleteResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AuthRoleDeleteRequest { role } = request.into_inner();
        let Answerable { header, .. } = self.run(credentials, Operation::RoleDelete { role }).await?;
        Ok(Response::new(wire::AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<wire::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<wire::AuthRoleGrantPermissionResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AuthRoleGrantPermissionRequest { name: role, perm } = request.into_inner();
        let Answerable { header, .. } = self
            .run(credentials, Operation::RoleGrantPermission { role, permission: perm.map(permission) })
            .await?;
        Ok(Response::new(wire::AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<wire::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<wire::AuthRoleRevokePermissionResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AuthRoleRevokePermissionRequest { role, key, range_end } = request.into_inner();
        let Answerable { header, .. } =
            self.run(credentials, Operation::RoleRevokePermission { role, key, range_end }).await?;
        Ok(Response::new(wire::AuthRoleRevokePermissionResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<wire::AuthStatusRequest>,
    ) -> Result<Response<wire::AuthStatusResponse>, Status> {
        let Answerable { header, done } = self.run(credentials(&request), Operation::Status).await?;
        let Done::Status { enabled, revision } = done else { return Err(mismatched_answer()) };
        Ok(Response::new(wire::AuthStatusResponse { header, enabled, auth_revision: revision }))
    }

    async fn authenticate(
        &self,
        request: Request<wire::AuthenticateRequest>,
    ) -> Result<Response<wire::AuthenticateResponse>, Status> {
        let wire::AuthenticateRequest { name, password } = request.into_inner();
        self.log_in(name, password.into()).await.map(Response::new)
    }

    async fn user_add(
        &self,
        request: Request<wire::AuthUserAddRequest>,
    ) -> Result<Response<wire::AuthUserAddResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AuthUserAddRequest { name, password, options, hashed_password } = request.into_inner();
        let no_password = options.map(|options| options.no_password);
        let (password, hashed_password) = if no_password == Some(true) {
            (password.into(), hashed_password.into())
        } else {
            (Secret::default(), self.hash(password).await?)
        };
        let operation = Operation::UserAdd { name, password, hashed_password, no_password };
        let Answerable { header, .. } = self.run(credentials, operation).await?;
        Ok(Response::new(wire::AuthUserAddResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<wire::AuthUserChangePasswordRequest>,
    ) -> Result<Response<wire::AuthUserChangePasswordResponse>, Status> {
        let credentials = credentials(&request);
        let wire::AuthUserChangePasswordRequest { name, password, hashed_password } = request.into_inner();
        let hashed_password =
            if password.is_empty() { hashed_password.into() } else { self.hash(password).await? };
        let operation = Operation::UserChangePassword { name, password: Secret::default(), hashed_password };
        let Answerable { header, .. } = self.run(credentials, operation).await?;
        Ok(Response::new(wire::AuthUserChangePasswordResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<wire::AuthUserGetRequest>,
    ) -> Result<Response<wire::AuthUserGetResponse>, Status> {
        let credentials = credentials(&request);
        let operation = Operation::UserGet { name: request.into_inner().name };
        let Answerable { header, done } = self.run(credentials, operation).await?;
        let Done::Roles(roles) = done else { return Err(mismatched_answer()) };
        Ok(Response::new(wire::AuthUserGetResponse { header, roles }))
    }

    async fn user_list(
        &self,
        request: Request<wire::AuthUserListRequest>,
    ) -> Result<Response<wire::AuthUserListResponse>, Status> {
        let Answerable { header, done } = self.run(credentials(&request), Operation::UserList).await?;
        let Done::Names(users) = done else { return Err(mismatched_answer()) };
        Ok(Response::new(wire::AuthUserListResponse { header, users }))
    }

    async fn role_get(
        &self,
        request: Request<wire::AuthRoleGetRequest>,
    ) -> Result<Response<wire::AuthRoleGetResponse>, Status> {
        let credentials = credentials(&request);
        let operation = Operation::RoleGet { role: request.into_inner().role };
        let Answerable { header, done } = self.run(credentials, operation).await?;
        let Done::Permissions(permissions) = done else { return Err(mismatched_answer()) };
        let perm = permissions.into_iter().map(wire_permission).collect();
        Ok(Response::new(wire::AuthRoleGetResponse { header, perm }))
    }

    async fn role_list(
        &self,
        request: Request<wire::AuthRoleListRequest>,
    ) -> Result<Response<wire::AuthRoleListResponse>, Status> {
        let Answerable { header, done } = self.run(credentials(&request), Operation::RoleList).await?;
        let Done::Names(roles) = done else { return Err(mismatched_answer()) };
        Ok(Response::new(wire::AuthRoleListResponse { header, roles }))
    }
}

fn not_issued(error: SignError) -> Status {
    match error {
        SignError::None => AUTH_FAILED.into(),
        SignError::VerifyOnly => Status::unknown(error.to_string()),
    }
}

fn permission(permission: etched_proto::wire::authpb::Permission) -> Permission {
    let etched_proto::wire::authpb::Permission { perm_type, key, range_end } = permission;
    Permission { access: Access::from_wire(perm_type), key, range_end }
}

fn wire_permission(permission: Permission) -> etched_proto::wire::authpb::Permission {
    let Permission { access, key, range_end } = permission;
    etched_proto::wire::authpb::Permission { perm_type: access.to_wire(), key, range_end }
}
