//! The Auth service, with authentication off: its state can be asked for; users and roles are not there yet.

use std::sync::Arc;

use etched_proto::wire::etcdserverpb as wire;
use tonic::{Request, Response, Status};
use wire::auth_server::Auth;

use super::kv::{ask, header};
use super::status::{AUTH_NOT_ENABLED, not_yet};
use crate::api;
use crate::front::Link;

/// The revision of users and roles in a store that never had any.
const FRESH_REVISION: u64 = 1;

/// Answers calls of the Auth service.
#[derive(Clone, Debug)]
pub(super) struct AuthService {
    pub(super) link: Arc<Link>,
}

/// Methods that say that they are not there yet.
macro_rules! not_there {
    ($($method:ident: $request:ident -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl Auth for AuthService {
            async fn auth_status(
                &self,
                _request: Request<wire::AuthStatusRequest>,
            ) -> Result<Response<wire::AuthStatusResponse>, Status> {
                // etcd asks through the log, so the answer is as fresh as a linearizable read.
                let answered = ask(&self.link, api::Request::Barrier).await?;
                let header = header(&self.link, 0, answered.revision, answered.raft_term);
                let (enabled, auth_revision) = (false, FRESH_REVISION);
                Ok(Response::new(wire::AuthStatusResponse { header, enabled, auth_revision }))
            }

            async fn authenticate(
                &self,
                _request: Request<wire::AuthenticateRequest>,
            ) -> Result<Response<wire::AuthenticateResponse>, Status> {
                Err(AUTH_NOT_ENABLED.into())
            }

            $(async fn $method(
                &self,
                _request: Request<wire::$request>,
            ) -> Result<Response<wire::$response>, Status> {
                Err(not_yet("authentication"))
            })*
        }
    };
}

not_there! {
    auth_enable: AuthEnableRequest -> AuthEnableResponse;
    auth_disable: AuthDisableRequest -> AuthDisableResponse;
    user_add: AuthUserAddRequest -> AuthUserAddResponse;
    user_get: AuthUserGetRequest -> AuthUserGetResponse;
    user_list: AuthUserListRequest -> AuthUserListResponse;
    user_delete: AuthUserDeleteRequest -> AuthUserDeleteResponse;
    user_change_password: AuthUserChangePasswordRequest -> AuthUserChangePasswordResponse;
    user_grant_role: AuthUserGrantRoleRequest -> AuthUserGrantRoleResponse;
    user_revoke_role: AuthUserRevokeRoleRequest -> AuthUserRevokeRoleResponse;
    role_add: AuthRoleAddRequest -> AuthRoleAddResponse;
    role_get: AuthRoleGetRequest -> AuthRoleGetResponse;
    role_list: AuthRoleListRequest -> AuthRoleListResponse;
    role_delete: AuthRoleDeleteRequest -> AuthRoleDeleteResponse;
    role_grant_permission: AuthRoleGrantPermissionRequest -> AuthRoleGrantPermissionResponse;
    role_revoke_permission: AuthRoleRevokePermissionRequest -> AuthRoleRevokePermissionResponse;
}
