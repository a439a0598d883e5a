//! The commands that need the cluster: one file per family.

mod endpoint;
mod kv;
mod lease;
mod maintenance;
mod txn;
mod watch;

use std::io::Write as _;
use std::time::Duration;

use etched_client::{Client, Options};

use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::output::{Answer, Format, Style};
use crate::spec::{Action, Flag, GLOBAL_FLAGS};
use crate::text::duration;
use crate::text::number::parse_int;

/// What all commands need.
#[derive(Debug)]
pub(crate) struct Context {
    args: Args,
    endpoints: Vec<String>,
    style: Style,
    options: Options,
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
        Action::MemberList => maintenance::member_list(&context).await,
        Action::EndpointHealth => endpoint::health(&context).await,
        Action::EndpointStatus => endpoint::status(&context).await,
        Action::EndpointHashKv => endpoint::hash_kv(&context).await,
        Action::AlarmList => maintenance::alarm_list(&context).await,
        Action::AlarmDisarm => maintenance::alarm_disarm(&context).await,
        Action::Defrag => maintenance::defrag(&context).await,
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
        if let Some(flag) = ["cert", "key", "cacert"].into_iter().find(|flag| args.is_given(flag)) {
            return Err(if args.text(flag).is_empty() {
                Failure::arguments(format!("empty string is passed to --{flag} option"))
            } else {
                Failure::new(Exit::Connection, format!("--{flag}: TLS is not supported by this version"))
            });
        }
        if args.is_given("discovery-srv") {
            return Err(Failure::new(Exit::Connection, "--discovery-srv is not supported by this version"));
        }
        if ["user", "password", "auth-jwt-token"].into_iter().any(|flag| args.is_given(flag)) {
            eprintln!(
                "Warning: authentication is not supported by this version; requests are sent without a user."
            );
        }
        let format = Format::of(if args.is_given("write-out") { args.text("write-out") } else { "simple" })?;
        let endpoints = if args.is_given("endpoints") { args.text("endpoints") } else { "127.0.0.1:2379" };
        let endpoints: Vec<_> = endpoints
            .split(',')
            .map(|endpoint| endpoint.trim().to_owned())
            .filter(|e| !e.is_empty())
            .collect();
        if endpoints.is_empty() {
            return Err(Failure::new(Exit::Connection, "etcdclient: no available endpoints"));
        }
        let mut options = Options::default();
        options.request_timeout = Some(duration_of(&args, "command-timeout"));
        options.dial_timeout = duration_of(&args, "dial-timeout");
        options.keepalive_interval = duration_of(&args, "keepalive-time");
        options.keepalive_timeout = duration_of(&args, "keepalive-timeout");
        let size = |flag| usize::try_from(args.int(flag)).ok().filter(|bytes| *bytes > 0);
        options.request_bytes_max = size("max-request-bytes").unwrap_or(options.request_bytes_max);
        options.response_bytes_max = size("max-recv-bytes").unwrap_or(options.response_bytes_max);
        let style = Style { format, hex: args.bool("hex") };
        Ok(Self { args, endpoints, style, options })
    }

    /// A client of all endpoints.
    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect_lazy(&self.endpoints, self.options.clone())?)
    }

    /// A client of one endpoint.
    fn client_of(&self, endpoint: &str) -> Result<Client, Failure> {
        Ok(Client::connect_lazy([endpoint], self.options.clone())?)
    }

    /// The endpoints to ask: those given, or those that the cluster knows.
    async fn endpoints_to_ask(&self) -> Result<Vec<String>, Failure> {
        if !self.args.bool("cluster") {
            return Ok(self.endpoints.clone());
        }
        match self.client()?.member_list().await {
            Ok(list) => Ok(list.members.into_iter().flat_map(|member| member.client_ur_ls).collect()),
            Err(error) => {
                let text = crate::failure::text_of(&error);
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

fn duration_of(args: &Args, name: &str) -> Duration {
    let flag = GLOBAL_FLAGS.iter().find(|flag| flag.name == name).expect("the flag is in the table");
    let value = if args.is_given(name) { args.text(name) } else { flag.default };
    duration::parse(value).expect("values are checked when they are read")
}

/// The id of a lease, in hexadecimal digits.
fn lease_id(text: &[u8], what: &str) -> Result<i64, Failure> {
    parse_int(text, 16).map_err(|why| Failure::arguments(format!("bad {what} ({why}), expecting ID in Hex")))
}
