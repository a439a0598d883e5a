//! Which values go together, with etcd's texts for those that do not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::options::{Options, RAFT_TIMEOUT_MIN};
use super::typed::{Origin, Typed};
use super::url::{Scheme, Url, joined};
use super::value::parse_duration;
use super::{Notice, Problem, security};
use crate::logging::{Level, go_duration};

const ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(50_000);
const REQUEST_BYTES_RECOMMENDED: usize = 10 << 20;

/// Checks what single values cannot show.
///
/// # Errors
///
/// The first thing that is wrong, in etcd's order.
pub(super) fn check(options: &Options, typed: &Typed, notices: &mut Vec<Notice>) -> Result<(), Problem> {
    if typed.text("discovery-fallback") == "proxy" {
        return Err(Problem::verify(
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        ));
    }
    let (member, listen) = (&options.member, &options.listen);
    check_bound_hosts(&member.listen_peer_urls)?;
    check_bound_hosts(&listen.client_urls)?;
    if listen.client_http_urls.is_empty() {
        let message = "Running http and grpc server on single port. This is not recommended for production.";
        notices.push(Notice::new(Level::Warn, message, Vec::new()));
    }
    check_bound_hosts(&listen.client_http_urls)?;
    check_bound_hosts(&listen.metrics_urls)?;
    check_advertised(options)?;
    check_discovery(typed)?;
    check_intervals(options)?;
    let is_file = typed.origin("listen-client-urls") == Some(Origin::File);
    if typed.has("listen-client-urls") && !typed.has("advertise-client-urls") && !is_file {
        return Err(Problem::NoAdvertisedUrls);
    }
    if let Some(name) = [
        ("listen-peer-urls", &member.listen_peer_urls),
        ("listen-client-urls", &listen.client_urls),
        ("initial-advertise-peer-urls", &member.initial_advertise_peer_urls),
    ]
    .iter()
    .find_map(|(name, urls)| urls.is_empty().then_some(name))
    {
        return Err(Problem::Verify(format!("--{name} must not be empty")));
    }
    check_gates(options, typed)?;
    security::check_versions(typed)?;
    security::check_start(
        &options.security,
        &listen.client_urls,
        &listen.client_http_urls,
        &listen.metrics_urls,
    )?;
    warn(options, typed, notices);
    Ok(())
}

fn check_bound_hosts(urls: &[Url]) -> Result<(), Problem> {
    for url in urls {
        match url.scheme() {
            Scheme::Unix | Scheme::Unixs => continue,
            Scheme::Http | Scheme::Https => {}
        }
        let is_address = url.host().is_empty() || url.host().parse::<IpAddr>().is_ok();
        if url.host() != "localhost" && !is_address {
            return Err(Problem::Verify(format!("expected IP in URL for binding ({url})")));
        }
    }
    Ok(())
}

fn check_advertised(options: &Options) -> Result<(), Problem> {
    let empty_host = |urls: &[Url]| {
        let empty = urls.iter().find(|url| url.host().is_empty());
        empty.map(|url| format!("unexpected empty host ({url})"))
    };
    let peer_urls = &options.member.initial_advertise_peer_urls;
    if let Some(error) = empty_host(peer_urls) {
        let urls = joined(peer_urls);
        let text = format!("--initial-advertise-peer-urls {urls:?} must be \"host:port\" ({error})");
        return Err(Problem::Verify(text));
    }
    let client_urls = &options.member.advertise_client_urls;
    if let Some(error) = empty_host(client_urls) {
        let urls = joined(client_urls);
        return Err(Problem::Verify(format!(
            "--advertise-client-urls {urls:?} must be in the format \"host:port\", \"unix:/path/to/socket\" or \
             \"unixs:/path/to/socket\" ({error})"
        )));
    }
    Ok(())
}

/// One way at most to find the members of a new cluster, and that one complete.
fn check_discovery(typed: &Typed) -> Result<(), Problem> {
    let is_given = |name: &str| !typed.text(name).is_empty();
    // On the command line, an empty list that was given is a list of one empty endpoint.
    let has_endpoints = match typed.origin("discovery-endpoints") {
        Some(Origin::CommandLine | Origin::Environment) => true,
        Some(Origin::File) => is_given("discovery-endpoints"),
        None => false,
    };
    let has_cluster = typed.has("initial-cluster") && is_given("initial-cluster");
    let methods = [has_cluster, is_given("discovery-srv"), has_endpoints];
    if methods.iter().filter(|given| **given).count() > 1 {
        return Err(Problem::verify(
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
             \"discovery-endpoints\" or \"discovery-srv\"",
        ));
    }
    if is_given("discovery-token") != has_endpoints {
        return Err(Problem::verify("both --discovery-token and --discovery-endpoints must be set"));
    }
    if has_endpoints && typed.text("discovery-endpoints").split(',').any(|one| one.trim().is_empty()) {
        return Err(Problem::verify("--discovery-endpoints must not contain empty endpoints"));
    }
    Ok(())
}

fn check_intervals(options: &Options) -> Result<(), Problem> {
    let heartbeat = options.member.heartbeat_interval;
    let election = options.member.election_timeout;
    let (heartbeat_ms, election_ms) = (heartbeat.as_millis(), election.as_millis());
    let error = if heartbeat.is_zero() {
        "--heartbeat-interval must be >0 (set to 0ms)".to_owned()
    } else if election.is_zero() {
        "--election-timeout must be >0 (set to 0ms)".to_owned()
    } else if heartbeat_ms.saturating_mul(5) > election_ms {
        format!(
            "--election-timeout[{election_ms}ms] should be at least as 5 times as \
             --heartbeat-interval[{heartbeat_ms}ms]"
        )
    } else if election > ELECTION_TIMEOUT_MAX {
        let max_ms = ELECTION_TIMEOUT_MAX.as_millis();
        format!("--election-timeout[{election_ms}ms] is too long, and should be set less than {max_ms}ms")
    } else {
        return Ok(());
    };
    Err(Problem::Verify(error))
}

fn check_gates(options: &Options, typed: &Typed) -> Result<(), Problem> {
    if options.gates.is_on("LeaseCheckpointPersist") && !options.gates.is_on("LeaseCheckpoint") {
        let text =
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint";
        return Err(Problem::verify(text));
    }
    match parse_duration(typed.text("compact-hash-check-time")) {
        Some(time) if time.negative || time.magnitude.is_zero() => {
            let sign = if time.negative { "-" } else { "" };
            let time = go_duration(time.magnitude);
            Err(Problem::Verify(format!("--compact-hash-check-time must be >0 (set to {sign}{time})")))
        }
        Some(_) | None => Ok(()),
    }
}

fn warn(options: &Options, typed: &Typed, notices: &mut Vec<Notice>) {
    let mut warn = |message, fields| notices.push(Notice::new(Level::Warn, message, fields));
    if options.member.name == "default" {
        warn(
            "it isn't recommended to use default name, please set a value for --name. Note that etcd might run \
             into issue when multiple members have the same default name",
            vec![("name", "default".into())],
        );
    }
    if typed.has("max-snapshots") {
        warn("--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.", Vec::new());
    }
    if typed.has("v2-deprecation") {
        warn(
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, \
             ignoring user input.",
            Vec::new(),
        );
    }
    if options.gates.is_on("LeaseCheckpoint") && !options.gates.is_on("LeaseCheckpointPersist") {
        warn(
            "Detected that checkpointing is enabled without persistence. Consider enabling feature gate \
             LeaseCheckpointPersist",
            Vec::new(),
        );
    }
    for (name, message) in [
        ("raft-read-timeout", "raft-read-timeout increased to minimum value: 5s"),
        ("raft-write-timeout", "raft-write-timeout increased to minimum value: 5s"),
    ] {
        let short = parse_duration(typed.text(name))
            .is_some_and(|time| time.negative || time.magnitude < RAFT_TIMEOUT_MIN);
        if short {
            warn(message, Vec::new());
        }
    }
    if options.store.unsafe_no_fsync {
        warn("--unsafe-no-fsync is set: nothing is synced to disk, and a crash will lose data", Vec::new());
    }
    if options.limits.max_request_bytes > REQUEST_BYTES_RECOMMENDED {
        let fields = vec![
            ("max-request-bytes", options.limits.max_request_bytes.into()),
            ("recommended-request-bytes", REQUEST_BYTES_RECOMMENDED.into()),
        ];
        warn("exceeded recommended request limit", fields);
    }
    for (name, reason) in typed.without_effect() {
        warn("flag has no effect", vec![("flag-name", name.into()), ("reason", reason.into())]);
    }
}

/// Puts in what only this machine knows: the address by which others reach it, and the name of the data directory.
pub(super) fn substitute(options: &mut Options, typed: &Typed, notices: &mut Vec<Notice>) {
    let wildcard = |urls: &[Url]| urls.iter().any(|url| url.host() == Ipv4Addr::UNSPECIFIED.to_string());
    let clients = !typed.has("advertise-client-urls") && wildcard(&options.listen.client_urls);
    let peers = !typed.has("initial-advertise-peer-urls") && wildcard(&options.member.listen_peer_urls);
    if clients || peers {
        match default_host() {
            Some(host) => {
                notices.push(Notice::new(
                    Level::Info,
                    "detected default host for advertise",
                    vec![("host", host.to_string().into())],
                ));
                advertise(options, typed, host, (clients, peers));
            }
            None => notices.push(Notice::new(
                Level::Info,
                "failed to detect default host",
                vec![("error", "could not find default route".into())],
            )),
        }
    }
    if typed.text("data-dir").is_empty() {
        let path = options.member.data_dir.to_string_lossy().into_owned();
        let fields = vec![("data-dir", path.into())];
        notices.push(Notice::new(Level::Warn, "'data-dir' was empty; using default", fields));
    }
}

fn advertise(options: &mut Options, typed: &Typed, host: IpAddr, (clients, peers): (bool, bool)) {
    let member = &mut options.member;
    let replaced = |urls: &[Url]| urls.iter().map(|url| url.with_host(host)).collect::<Vec<_>>();
    if clients {
        member.advertise_client_urls = replaced(&options.listen.client_urls);
    }
    if peers {
        member.initial_advertise_peer_urls = replaced(&member.listen_peer_urls);
        if !typed.has("initial-cluster") && member.discovery.is_none() {
            let own = member.initial_advertise_peer_urls.clone();
            member.initial_cluster.insert(member.name.clone(), own);
        }
    }
}

/// The address that this machine would send from to a far address; nothing is sent.
fn default_host() -> Option<IpAddr> {
    let far: SocketAddr = (Ipv4Addr::new(192, 0, 2, 1), 9).into();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(far).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}
