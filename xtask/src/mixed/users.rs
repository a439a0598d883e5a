//! Authentication in a mixed cluster: who asks, with which tokens, and that all members agree on it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use etched_client::proto::etcdserverpb::AuthenticateRequest;
use etched_client::{Access, Client, Credentials, ErrorKind, Get, Keys, Options};
use etched_proto::etcdserverpb::auth_client::AuthClient;
use tonic::transport::Endpoint;

use super::load::PREFIX;
use super::member::{Member, retry};

const PASSWORD: &str = "secret";
/// Who may do everything, and who may do what the load does.
pub(super) const ROOT: &str = "root";
pub(super) const WRITER: &str = "writer";

/// The tokens of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tokens {
    /// Random ones, which each member knows by the log.
    Simple,
    /// Signed ones, which each member can check by itself.
    Jwt,
}

/// Whether there are users, and how members must be started for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    flags: Vec<String>,
    tokens: Option<Tokens>,
}

impl Users {
    /// Users with such tokens, or none; files are put into a folder.
    pub(super) fn new(tokens: Option<Tokens>, folder: &Path) -> Result<Self> {
        let mut flags = Vec::new();
        if let Some(tokens) = tokens {
            flags.push("--bcrypt-cost=4".to_owned());
            if tokens == Tokens::Jwt {
                let key = folder.join("key");
                std::fs::write(&key, "a key that signs and is known to all members")?;
                flags.push(format!("--auth-token=jwt,sign-method=HS256,priv-key={}", key.display()));
            }
        }
        Ok(Self { flags, tokens })
    }

    pub(super) fn flags(&self) -> &[String] {
        &self.flags
    }

    /// The options of a client that asks in somebody's name.
    pub(super) fn options(&self, name: &str) -> Options {
        let mut options = Options::default();
        options.credentials = self.tokens.map(|_| Credentials::password(name, PASSWORD));
        options
    }

    /// The options of a client with a token of root's from this member.
    pub(super) async fn options_with_token(&self, issuer: &Member) -> Result<Options> {
        let mut options = Options::default();
        if self.tokens.is_some() {
            options.credentials = Some(Credentials::token(log_in(issuer, ROOT).await?));
        }
        Ok(options)
    }

    /// Makes the users and turns authentication on; the client is one that says no name.
    pub(super) async fn create(&self, client: &Client) -> Result<()> {
        if self.tokens.is_none() {
            return Ok(());
        }
        client.role_add(WRITER).await?;
        client.role_grant_permission(WRITER, Access::ReadWrite, Keys::prefix(PREFIX)).await?;
        for name in [ROOT, WRITER] {
            client.user_add(name, PASSWORD).await?;
            client.user_grant_role(name, name).await?;
        }
        client.auth_enable().await?;
        Ok(())
    }

    /// Each member takes the tokens of each, knows what the writer may do, and is at the same revision.
    pub(super) async fn check(&self, members: &[Member]) -> Result<()> {
        if self.tokens.is_none() {
            return Ok(());
        }
        let mut revisions = Vec::new();
        for issuer in members {
            let token = log_in(issuer, WRITER).await?;
            for member in members {
                let mut options = Options::default();
                options.credentials = Some(Credentials::token(token.clone()));
                let client = Client::connect_lazy([member.client.to_string()], options)?;
                let what = format!("a read at {} with a token of {}", member.name, issuer.name);
                retry(&what, || client.get(Get::new(PREFIX))).await?;
                let refused = client.get(Get::new("other")).await;
                ensure!(
                    refused.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied),
                    "{what} of what is not the writer's: {refused:?}"
                );
            }
            let anonymous = Client::connect_lazy([issuer.client.to_string()], Options::default())?;
            revisions.push(anonymous.auth_status().await?.auth_revision);
            let refused = anonymous.get(Get::new(PREFIX)).await;
            ensure!(
                refused.as_ref().is_err_and(|error| error.kind() == ErrorKind::UserEmpty),
                "a read by nobody at {}: {refused:?}",
                issuer.name
            );
        }
        ensure!(
            revisions.windows(2).all(|pair| pair[0] == pair[1]),
            "the members are at these revisions of users and roles: {revisions:?}"
        );
        Ok(())
    }
}

/// A token of somebody's, from this member.
async fn log_in(member: &Member, name: &str) -> Result<String> {
    let channel = Endpoint::from_shared(format!("http://{}", member.client))?.connect().await?;
    let login = AuthenticateRequest { name: name.into(), password: PASSWORD.into() };
    let answer = AuthClient::new(channel).authenticate(login).await;
    Ok(answer.with_context(|| format!("logging in at {}", member.name))?.into_inner().token)
}
