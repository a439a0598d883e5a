//! The commands that need the cluster: one file per family.

mod auth;
mod check;
mod child;
mod endpoint;
mod kv;
mod lease;
mod maintenance;
mod member;
mod mirror;
mod recipes;
mod snapshot;
mod txn;
mod watch;

use std::cell::OnceCell;
use std::io::Write as _;

use etched_client::{Client, Credentials, Options};

use crate::args::Args;
use crate::connection;
use crate::failure::{Exit, Failure, text_of};
use crate::output::{Answer, DowngradeStep, Format, Style};
use crate::spec::{Action, GLOBAL_FLAGS};
use crate::table::Flag;
use crate::text::number::{parse_int, parse_uint};

/// What all commands need.
#[derive(Debug)]
pub(crate) struct Context {
    args: Args,
    endpoints: Vec<String>,
    style: Style,
    /// Without credentials.
    options: Options,
    /// Read when they are needed, since a password may be asked for.
    credentials: OnceCell<Option<Credentials>>,
}

/// Runs a command.
pub(crate) async fn run(action: Action, context: Context) -> Result<(), Failure> {
    match action {
        Action::Get => kv::get(&context).await,
        Action::Put => kv::put(&context).await,
        Action::Del => kv::del(&context).await,
        Action::Compaction => kv::compaction(&context).await,
        Action::Txn => txn::txn(&context).await,
        Action::Watch => watch::watch(context).await,
        Action::LeaseGrant => lease::grant(&context).await,
        Action::LeaseRevoke => lease::revoke(&context).await,
        Action::LeaseTimeToLive => lease::time_to_live(&context).await,
        Action::LeaseList => lease::list(&context).await,
        Action::LeaseKeepAlive => lease::keep_alive(&context).await,
        Action::MemberList => member::list(&context).await,
        Action::MemberAdd => member::add(&context).await,
        Action::MemberRemove => member::remove(&context).await,
        Action::MemberUpdate => member::update(&context).await,
        Action::MemberPromote => member::promote(&context).await,
        Action::MoveLeader => maintenance::move_leader(&context).await,
        Action::SnapshotSave => snapshot::save(&context).await,
        Action::DowngradeValidate => maintenance::downgrade(&context, DowngradeStep::Validate).await,
        Action::DowngradeEnable => maintenance::downgrade(&context, DowngradeStep::Enable).await,
        Action::DowngradeCancel => maintenance::downgrade(&context, DowngradeStep::Cancel).await,
        Action::CheckPerf => check::perf(&context).await,
        Action::CheckDatascale => check::datascale(&context).await,
        Action::EndpointHealth => endpoint::health(&context).await,
        Action::EndpointStatus => endpoint::status(&context).await,
        Action::EndpointHashKv => endpoint::hash_kv(&context).await,
        Action::AlarmList => maintenance::alarm_list(&context).await,
        Action::AlarmDisarm => maintenance::alarm_disarm(&context).await,
        Action::Defrag => maintenance::defrag(&context).await,
        Action::AuthEnable => auth::enable(&context).await,
        Action::AuthDisable => auth::disable(&context).await,
        Action::AuthStatus => auth::status(&context).await,
        Action::UserAdd => auth::user_add(&context).await,
        Action::UserDelete => auth::user_delete(&context).await,
        Action::UserGet => auth::user_get(&context).await,
        Action::UserList => auth::user_list(&context).await,
        Action::UserPasswd => auth::user_passwd(&context).await,
        Action::UserGrantRole => auth::user_grant_role(&context).await,
        Action::UserRevokeRole => auth::user_revoke_role(&context).await,
        Action::RoleAdd => auth::role_add(&context).await,
        Action::RoleDelete => auth::role_delete(&context).await,
        Action::RoleGet => auth::role_get(&context).await,
        Action::RoleList => auth::role_list(&context).await,
        Action::RoleGrantPermission => auth::role_grant_permission(&context).await,
        Action::RoleRevokePermission => auth::role_revoke_permission(&context).await,
        Action::Lock => recipes::lock(&context).await,
        Action::Elect => recipes::elect(&context).await,
        Action::MakeMirror => mirror::make_mirror(&context).await,
        Action::Version | Action::Completion | Action::Options | Action::Help => {
            unreachable!("these need no cluster, and were run already")
        }
    }
}

impl Context {
    /// Reads the flags of all commands.
    pub(crate) fn new(args: Args) -> Result<Self, Failure> {
        if args.bool("debug") {
            GLOBAL_FLAGS
                .iter()
                .for_each(|flag| eprintln!("{}={}", crate::env::name_of(flag), shown(flag, &args)));
        }
        let format = Format::of(if args.is_given("write-out") { args.text("write-out") } else { "simple" })?;
        let endpoints = connection::endpoints(&args)?;
        let options = connection::options(&args)?;
        let style = Style { format, hex: args.bool("hex") };
        Ok(Self { args, endpoints, style, options, credentials: OnceCell::new() })
    }

    /// The options of the client, with the credentials.
    fn options(&self) -> Result<Options, Failure> {
        if self.credentials.get().is_none() {
            let _first = self.credentials.set(connection::credentials(&self.args)?);
        }
        let mut options = self.options.clone();
        options.credentials = self.credentials.get().cloned().flatten();
        Ok(options)
    }

    /// A client of all endpoints, signed in.
    async fn client(&self) -> Result<Client, Failure> {
        connect(&self.endpoints, self.options()?).await
    }

    /// A client of one endpoint, signed in.
    async fn client_of(&self, endpoint: &str) -> Result<Client, Failure> {
        connect(&[endpoint.to_owned()], self.options()?).await
    }

    /// A client of all endpoints that signs in with its first request.
    fn lazy_client(&self) -> Result<Client, Failure> {
        Ok(Client::connect_lazy(&self.endpoints, self.options()?)?)
    }

    /// A client of one endpoint that signs in with its first request.
    fn lazy_client_of(&self, endpoint: &str) -> Result<Client, Failure> {
        Ok(Client::connect_lazy([endpoint], self.options()?)?)
    }

    /// The endpoints to ask: those given, or those that the cluster knows.
    async fn endpoints_to_ask(&self) -> Result<Vec<String>, Failure> {
        if !self.args.bool("cluster") {
            return Ok(self.endpoints.clone());
        }
        match self.client().await?.member_list().await {
            Ok(list) => Ok(list.members.into_iter().flat_map(|member| member.client_ur_ls).collect()),
            Err(error) => {
                let text = text_of(&error);
                Err(Failure::new(
                    Exit::Request,
                    format!("failed to fetch endpoints from etcd cluster member list: {text}"),
                ))
            }
        }
    }

    /// Prints an answer in the chosen format.
    fn print(&self, answer: &Answer) -> Result<(), Failure> {
        write(&answer.render(self.style)?)
    }
}

/// A client that has exchanged its password for a token, if it has one; that may take as long as a dial.
async fn connect(endpoints: &[String], options: Options) -> Result<Client, Failure> {
    let limit = options.credentials.as_ref().map(|_| options.dial_timeout);
    let client = Client::connect_lazy(endpoints, options)?;
    if limit.is_some() {
        let signed_in = client.with_timeout(limit).sign_in().await;
        signed_in.map_err(|error| Failure::new(Exit::Connection, text_of(&error)))?;
    }
    Ok(client)
}

/// Writes to standard output at once.
fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    // Whoever reads the output may have heard enough.
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|_| Failure::silent(Exit::Io))
}

fn shown(flag: &'static Flag, args: &Args) -> String {
    let value = if args.is_given(flag.name) { args.text(flag.name) } else { flag.default };
    if flag.name == "endpoints" { format!("[{value}]") } else { value.to_owned() }
}

/// The id of a lease, in hexadecimal digits.
fn lease_id(text: &[u8], what: &str) -> Result<i64, Failure> {
    parse_int(text, 16).map_err(|why| Failure::arguments(format!("bad {what} ({why}), expecting ID in Hex")))
}

/// The id of a member, in hexadecimal digits.
fn member_id(text: &[u8]) -> Result<u64, String> {
    parse_uint(text, 16)
}
