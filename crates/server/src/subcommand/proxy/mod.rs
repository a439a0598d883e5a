//! `grpc-proxy start`: stands between clients and a cluster.
//!
//! gRPC calls are forwarded as they are, streams message by message, over one shared connection to the cluster.
//! With `--namespace`, keys in the calls of KV, Watch and Lease get the prefix and lose it on the way back.
//! A proxy tells clients that it is the cluster's only member, so that they stay with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use etched_proto::etcdserverpb::MemberListRequest;
use etched_proto::etcdserverpb::cluster_client::ClusterClient;
use tokio::net::TcpListener;

use super::endpoints;
use super::spec::{Command, Flag, Kind, Parsed, flag};
use crate::front::Door;
use crate::tls::{Connector, Endpoint, Protocol, ServerTls, TlsOptions, TlsVersion, common_name};
use crate::upstream::{Upstream, UpstreamOptions};
use crate::{log, notify};

mod forward;
mod mapped;
mod namespace;
mod serve;

use namespace::Namespace;

/// How long connecting to the cluster may take.
const DIAL_TIME_MAX: Duration = Duration::from_secs(5);

const FLAGS: &[Flag] = &[
    flag("advertise-client-url", Kind::Text, "127.0.0.1:23790", "address at which clients reach this proxy"),
    flag("auto-tls", Kind::Bool, "false", "make a certificate for clients"),
    flag("cacert", Kind::Text, "", "certificate authorities of the cluster"),
    flag("cert", Kind::Text, "", "certificate to show to the cluster"),
    flag("cert-file", Kind::Text, "", "certificate to show to clients"),
    flag("client-crl-file", Kind::Text, "", "revoked certificates of clients"),
    flag("data-dir", Kind::Text, "default.proxy", "directory of certificates that are made"),
    flag("debug", Kind::Bool, "false", "write log lines of level debug"),
    flag(
        "dial-keepalive-time",
        Kind::Duration,
        "0s",
        "time after which the connection to the cluster is pinged (0 is never)",
    ),
    flag(
        "dial-keepalive-timeout",
        Kind::Duration,
        "20s",
        "time after which a connection with an unanswered ping is closed",
    ),
    flag("discovery-srv", Kind::Text, "", "domain whose SRV records name the cluster"),
    flag("discovery-srv-name", Kind::Text, "", "suffix of the service's name in the SRV records"),
    flag("enable-pprof", Kind::Bool, "false", "accepted without effect: there are no profiles"),
    flag("endpoints", Kind::List, "127.0.0.1:2379", "members of the cluster, separated by commas"),
    flag(
        "endpoints-auto-sync-interval",
        Kind::Duration,
        "0s",
        "time between two looks at the cluster's members (0 is never)",
    ),
    flag("experimental-enable-grpc-logging", Kind::Bool, "false", "write a log line for each call"),
    flag("experimental-leasing-prefix", Kind::Text, "", "refused: there is no cache of keys"),
    flag(
        "experimental-serializable-ordering",
        Kind::Bool,
        "false",
        "accepted without effect: there is one connection to the cluster",
    ),
    flag(
        "grpc-keepalive-interval",
        Kind::Duration,
        "2h0m0s",
        "time without traffic after which a client is pinged (0 is never)",
    ),
    flag(
        "grpc-keepalive-min-time",
        Kind::Duration,
        "5s",
        "accepted without effect: clients may ping as they like",
    ),
    flag(
        "grpc-keepalive-timeout",
        Kind::Duration,
        "20s",
        "time after which a client with an unanswered ping is cut off",
    ),
    flag("insecure-discovery", Kind::Bool, "false", "trust SRV records that name endpoints without TLS"),
    flag(
        "insecure-skip-tls-verify",
        Kind::Bool,
        "false",
        "do not verify the cluster's certificates: for tests only",
    ),
    flag("key", Kind::Text, "", "key of the certificate to show to the cluster"),
    flag("key-file", Kind::Text, "", "key of the certificate to show to clients"),
    flag("listen-addr", Kind::Text, "127.0.0.1:23790", "address to listen on"),
    flag("listen-cipher-suites", Kind::List, "", "cipher suites to offer to clients"),
    flag(
        "max-concurrent-streams",
        Kind::Unsigned32,
        "4294967295",
        "calls that a client may have open at a time",
    ),
    flag(
        "max-recv-bytes",
        Kind::Signed,
        "2147483647",
        "size of the largest message from the cluster that is looked into",
    ),
    flag(
        "max-send-bytes",
        Kind::Signed,
        "1572864",
        "size of the largest message to the cluster that is looked into",
    ),
    flag("metrics-addr", Kind::Text, "", "URL to listen on for metrics and health alone"),
    flag("namespace", Kind::Text, "", "prefix of all keys in the cluster"),
    flag("permit-without-stream", Kind::Bool, "false", "ping the cluster even while no call is under way"),
    flag("resolver-prefix", Kind::Text, "", "refused: proxies do not register themselves"),
    flag("resolver-ttl", Kind::Signed, "0", "refused with --resolver-prefix"),
    flag("self-signed-cert-validity", Kind::Unsigned, "1", "years that a made certificate is valid"),
    flag("tls-max-version", Kind::Text, "", "newest TLS version for clients"),
    flag("tls-min-version", Kind::Text, "TLS1.2", "oldest TLS version for clients"),
    flag("trusted-ca-file", Kind::Text, "", "certificate authorities of clients"),
];

/// The sub-command.
pub(super) const COMMAND: Command = Command {
    name: "grpc-proxy",
    about: "stand between clients and a cluster",
    about_start: "start the grpc proxy",
    flags: FLAGS,
    start,
};

/// What connections are served from.
#[derive(Debug)]
struct Proxy {
    upstream: Upstream,
    namespace: Option<Namespace>,
    advertised: String,
    send_bytes_max: usize,
    receive_bytes_max: usize,
    logs_calls: bool,
    calls: AtomicU64,
}

fn start(parsed: &Parsed) -> Result<(), String> {
    check(parsed)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(run(parsed))
}

async fn run(parsed: &Parsed) -> Result<(), String> {
    let door = door(parsed)?;
    let address = parsed.text("listen-addr");
    let listener =
        TcpListener::bind(address).await.map_err(|error| format!("listen tcp {address}: {error}"))?;
    log!(Info, "listening for gRPC proxy client requests", "address" => address);
    let upstream = upstream(parsed).await?;
    let proxy = Arc::new(Proxy {
        namespace: Namespace::new(parsed.text("namespace").as_bytes()),
        advertised: parsed.text("advertise-client-url").to_owned(),
        send_bytes_max: usize::try_from(parsed.signed("max-send-bytes")).unwrap_or(usize::MAX),
        receive_bytes_max: usize::try_from(parsed.signed("max-recv-bytes")).unwrap_or(usize::MAX),
        logs_calls: parsed.is_on("experimental-enable-grpc-logging"),
        upstream: upstream.clone(),
        calls: AtomicU64::new(0),
    });
    let protocol = serve::Protocol::new(parsed);
    let metrics = parsed.text("metrics-addr");
    if !metrics.is_empty() {
        let (is_secure, address) = match metrics.split_once("://") {
            Some(("http", address)) => (false, address),
            Some(("https", address)) => (true, address),
            Some(_) | None => return Err(format!("cannot parse {metrics:?}")),
        };
        let door = if is_secure { door.clone() } else { Door::Plain };
        let listener =
            TcpListener::bind(address).await.map_err(|error| format!("listen tcp {address}: {error}"))?;
        log!(Info, "gRPC proxy listening for metrics", "address" => metrics);
        let serving =
            serve::accept(listener, door, serve::Role::Metrics, Arc::clone(&proxy), protocol.clone());
        tokio::spawn(serving);
    }
    let interval = parsed.duration("endpoints-auto-sync-interval");
    if !interval.is_zero() {
        tokio::spawn(follow_members(upstream, interval));
    }
    log!(Info, "started gRPC proxy", "address" => address);
    notify::ready();
    serve::accept(listener, door, serve::Role::Clients, proxy, protocol).await;
    Ok(())
}

/// Checks what single values cannot show, in etcd's words.
fn check(parsed: &Parsed) -> Result<(), String> {
    let (prefix, ttl) = (parsed.text("resolver-prefix"), parsed.signed("resolver-ttl"));
    if !prefix.is_empty() && ttl < 1 {
        return Err(format!("invalid resolver-ttl {ttl}"));
    }
    if prefix.is_empty() && ttl > 0 {
        return Err(format!("invalid resolver-prefix {prefix:?}"));
    }
    if !prefix.is_empty() {
        return Err("--resolver-prefix: the proxy of etched does not register itself".to_owned());
    }
    if !parsed.text("experimental-leasing-prefix").is_empty() {
        return Err("--experimental-leasing-prefix: the proxy of etched has no cache of keys".to_owned());
    }
    if parsed.is_on("auto-tls") && parsed.number("self-signed-cert-validity") == 0 {
        return Err("selfSignedCertValidity is invalid,it should be greater than 0".to_owned());
    }
    let min = version(parsed, "tls-min-version")?;
    let max = version(parsed, "tls-max-version")?;
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return Err(format!("min version ({min}) is greater than max version ({max})"));
    }
    if min == Some(TlsVersion::V13) && !parsed.text("listen-cipher-suites").is_empty() {
        return Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_owned());
    }
    Ok(())
}

fn version(parsed: &Parsed, name: &str) -> Result<Option<TlsVersion>, String> {
    match parsed.text(name) {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(TlsVersion::V12)),
        "TLS1.3" => Ok(Some(TlsVersion::V13)),
        other => Err(format!(
            "{name} is invalid: unexpected TLS version {other:?} (must be one of: TLS1.2, TLS1.3)"
        )),
    }
}

/// How clients come in.
fn door(parsed: &Parsed) -> Result<Door, String> {
    let suites = Some(parsed.list("listen-cipher-suites")).filter(|suites| !suites.is_empty());
    let options = TlsOptions {
        cert_file: parsed.path("cert-file"),
        key_file: parsed.path("key-file"),
        trusted_ca_file: parsed.path("trusted-ca-file"),
        crl_file: parsed.path("client-crl-file"),
        auto: parsed.is_on("auto-tls"),
        validity_years: parsed.number("self-signed-cert-validity"),
        protocol: Protocol {
            min: version(parsed, "tls-min-version")?.unwrap_or(TlsVersion::V12),
            max: version(parsed, "tls-max-version")?.unwrap_or(TlsVersion::V13),
            cipher_suites: suites,
        },
        ..TlsOptions::default()
    };
    let wants_tls = options.has_certificate() || options.trusted_ca_file.is_some() || options.auto;
    if !wants_tls {
        return Ok(Door::Plain);
    }
    options.protocol.check().map_err(|error| error.to_string())?;
    let dir = PathBuf::from(parsed.text("data-dir")).join("fixtures").join("proxy");
    let host = parsed.text("listen-addr").rsplit_once(':').map_or("", |(host, _)| host).to_owned();
    let options = options.or_made(&dir, &[host]).map_err(|error| error.to_string())?;
    log!(Info, "gRPC proxy server TLS", "tls-info" => options.to_string());
    let tls = ServerTls::new(&options, Endpoint::Client).map_err(|error| error.to_string())?;
    Ok(Door::Secure(Arc::new(tls)))
}

/// How the cluster is reached.
async fn upstream(parsed: &Parsed) -> Result<Upstream, String> {
    let found = endpoints::discovered(parsed, "cacert").await?;
    let endpoints = match found.is_empty() {
        true => parsed.list("endpoints"),
        false => found.into_iter().map(|found| found.url).collect(),
    };
    let (cert, key, ca) = (parsed.path("cert"), parsed.path("key"), parsed.path("cacert"));
    let skips_verification = parsed.is_on("insecure-skip-tls-verify");
    let wants_tls = cert.is_some() || key.is_some() || ca.is_some() || skips_verification;
    let (connector, http_connector) = if wants_tls {
        refuse_common_name(cert.as_deref())?;
        if skips_verification {
            log!(Warn, "--insecure-skip-tls-verify was given: the cluster's certificates are not verified");
        }
        let options = TlsOptions {
            cert_file: cert,
            key_file: key,
            trusted_ca_file: ca,
            is_made: skips_verification,
            ..TlsOptions::default()
        };
        log!(Info, "gRPC proxy client TLS", "tls-info" => options.to_string());
        let grpc = Connector::for_grpc(&options).map_err(|error| error.to_string())?;
        let http = Connector::new(&options).map_err(|error| error.to_string())?;
        (Some(Arc::new(grpc)), Some(Arc::new(http)))
    } else {
        (None, None)
    };
    Ok(Upstream::new(UpstreamOptions {
        endpoints,
        connector,
        http_connector,
        dial_timeout: DIAL_TIME_MAX,
        keepalive_time: parsed.duration("dial-keepalive-time"),
        keepalive_timeout: parsed.duration("dial-keepalive-timeout"),
        keepalive_while_idle: parsed.is_on("permit-without-stream"),
    }))
}

/// The cluster would take each client of the proxy for the user of that name.
fn refuse_common_name(cert: Option<&Path>) -> Result<(), String> {
    let Some(cert) = cert else { return Ok(()) };
    match common_name(cert) {
        Some(name) if !name.is_empty() => {
            Err(format!("cert has non empty Common Name ({name}): {}", cert.display()))
        }
        Some(_) | None => Ok(()),
    }
}

/// Takes the members that the cluster names as endpoints, again and again.
async fn follow_members(upstream: Upstream, interval: Duration) {
    let mut client = ClusterClient::new(upstream.clone());
    let mut known = Vec::new();
    loop {
        tokio::time::sleep(interval).await;
        match client.member_list(MemberListRequest { linearizable: false }).await {
            Ok(response) => {
                let members =
                    response.into_inner().members.into_iter().filter(|member| !member.name.is_empty());
                let endpoints: Vec<String> = members.flat_map(|member| member.client_ur_ls).collect();
                if !endpoints.is_empty() && endpoints != known {
                    log!(Info, "the endpoints of the cluster have changed", "endpoints" => endpoints.clone());
                    known.clone_from(&endpoints);
                    upstream.set_endpoints(endpoints).await;
                }
            }
            Err(error) => log!(Warn, "auto sync endpoints failed", "error" => error.to_string()),
        }
    }
}
