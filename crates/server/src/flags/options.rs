//! The second stage: values parsed, split into the parts that the server's parts are built from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::gates::Gates;
use super::observe::{log_options, trace_options};
use super::security::{self, SecurityOptions};
use super::typed::Typed;
use super::url::Url;
use super::value::{parse_duration, parse_signed, parse_unsigned};
use super::{Problem, table};
use crate::logging::{Level, LogOptions};
use crate::trace::TraceOptions;

/// Below it a connection to a member would be cut while nothing is wrong.
pub(super) const RAFT_TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// Entries whose changes may wait for the backend, unless told otherwise: their bytes are the bound that counts.
const BATCH_ENTRIES_MAX: u64 = u64::MAX;

/// All options.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The member and its cluster.
    pub member: MemberOptions,
    /// What is stored and for how long.
    pub store: StoreOptions,
    /// How much is too much, and how long too long.
    pub limits: LimitOptions,
    /// What is listened on, and by how many threads.
    pub listen: ListenOptions,
    /// TLS.
    pub security: SecurityOptions,
    /// Users, tokens and passwords.
    pub auth: AuthOptions,
    /// The HTTP side.
    pub http: HttpOptions,
    /// Log lines.
    pub log: LogOptions,
    /// Traces, if they are sent.
    pub tracing: Option<TraceOptions>,
    /// Whether members' data is compared.
    pub checks: CheckOptions,
    /// Feature gates.
    pub gates: Gates,
}

/// The member and its cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberOptions {
    /// `--name`.
    pub name: String,
    /// `--data-dir`.
    pub data_dir: PathBuf,
    /// `--wal-dir`, if it is not to lie in the data directory.
    pub wal_dir: Option<PathBuf>,
    /// `--listen-peer-urls`.
    pub listen_peer_urls: Vec<Url>,
    /// `--initial-advertise-peer-urls`.
    pub initial_advertise_peer_urls: Vec<Url>,
    /// `--advertise-client-urls`.
    pub advertise_client_urls: Vec<Url>,
    /// `--initial-cluster`: the URLs of each member, by name; empty if it cannot be understood.
    pub initial_cluster: BTreeMap<String, Vec<Url>>,
    /// Why `--initial-cluster` cannot be understood, which matters only at the first start.
    pub(super) initial_cluster_error: Option<String>,
    /// `--initial-cluster-state`.
    pub initial_cluster_state: ClusterState,
    /// `--initial-cluster-token`.
    pub initial_cluster_token: String,
    /// `--heartbeat-interval`.
    pub heartbeat_interval: Duration,
    /// `--election-timeout`.
    pub election_timeout: Duration,
    /// `--snapshot-count`.
    pub snapshot_count: u64,
    /// `--snapshot-catchup-entries`.
    pub snapshot_catchup_entries: u64,
    /// `--initial-election-tick-advance`: whether the first election after a start is held early.
    pub initial_election_tick_advance: bool,
    /// `--pre-vote`.
    pub pre_vote: bool,
    /// `--strict-reconfig-check`: whether changes of membership that endanger the quorum are refused.
    pub strict_reconfig_check: bool,
    /// `--max-learners`.
    pub max_learners: usize,
    /// `--force-new-cluster`: whether to go on alone with the data of a larger cluster.
    pub force_new_cluster: bool,
    /// `--report-version`: the version that clients are told.
    pub report_version: String,
    /// Who says which members a new cluster has, if `--initial-cluster` does not.
    pub discovery: Option<Discovery>,
    /// `--raft-read-timeout`, at least five seconds.
    pub raft_read_timeout: Duration,
    /// `--raft-write-timeout`, at least five seconds.
    pub raft_write_timeout: Duration,
}

/// Who says which members a new cluster has.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// The SRV records of a domain.
    Srv {
        /// `--discovery-srv`.
        domain: String,
        /// `--discovery-srv-name`.
        service_name: String,
    },
    /// The keys of another cluster.
    Service(DiscoveryService),
}

/// Another cluster that members of a new one find each other by.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveryService {
    /// `--discovery-token`.
    pub token: String,
    /// `--discovery-endpoints`.
    pub endpoints: Vec<String>,
    /// `--discovery-dial-timeout`.
    pub dial_timeout: Duration,
    /// `--discovery-request-timeout`.
    pub request_timeout: Duration,
    /// `--discovery-keepalive-time`.
    pub keepalive_time: Duration,
    /// `--discovery-keepalive-timeout`.
    pub keepalive_timeout: Duration,
    /// `--discovery-insecure-transport`.
    pub insecure_transport: bool,
    /// `--discovery-insecure-skip-tls-verify`.
    pub insecure_skip_tls_verify: bool,
    /// `--discovery-cert`.
    pub cert: Option<PathBuf>,
    /// `--discovery-key`.
    pub key: Option<PathBuf>,
    /// `--discovery-cacert`.
    pub cacert: Option<PathBuf>,
    /// `--discovery-user`, without the password that may follow a colon.
    pub user: String,
    /// `--discovery-password`, or what follows the colon in `--discovery-user`.
    pub password: String,
}

/// Whether a member starts a cluster or joins one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// It starts one.
    New,
    /// It joins one.
    Existing,
}

impl ClusterState {
    /// The state as the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Existing => "existing",
        }
    }
}

/// What is stored and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreOptions {
    /// `--quota-backend-bytes`: 0 is 2 GiB, less than 0 is no limit.
    pub quota_backend_bytes: i64,
    /// `--value-cache-bytes`.
    pub value_cache_bytes: usize,
    /// `--auto-compaction-mode` and `--auto-compaction-retention`.
    pub auto_compaction: AutoCompaction,
    /// `--compaction-batch-limit`, at least 1.
    pub compaction_batch_limit: usize,
    /// `--compaction-sleep-interval`.
    pub compaction_sleep_interval: Duration,
    /// `--unsafe-no-fsync`: nothing is synced to disk, so a crash loses data.
    pub unsafe_no_fsync: bool,
    /// `--memory-mlock`.
    pub memory_mlock: bool,
    /// `--backend-batch-interval`: how long changes may wait for the backend.
    pub batch_interval: Duration,
    /// `--backend-batch-limit`: entries whose changes may wait for the backend.
    pub batch_entries_max: u64,
    /// `--bootstrap-defrag-threshold-megabytes`, in bytes: what must be unused for the backend to be made smaller.
    pub shrink_bytes_min: Option<u64>,
}

/// Users, tokens and passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthOptions {
    /// `--auth-token`: what tokens there are, with their options.
    pub token: String,
    /// `--auth-token-ttl`: how long an unused token lives.
    pub token_life: Duration,
    /// `--bcrypt-cost`, as given: out of 4 to 31 it is 10.
    pub bcrypt_cost: u64,
}

/// Whether members' data is compared, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckOptions {
    /// The gate `InitialCorruptCheck`: whether a member compares itself with the others before it serves.
    pub at_start: bool,
    /// `--corrupt-check-time`; `None` is never.
    pub interval: Option<Duration>,
    /// `--compact-hash-check-time`, if the gate `CompactHashCheck` is on.
    pub compaction_interval: Option<Duration>,
    /// `--downgrade-check-time`.
    pub downgrade_interval: Duration,
}

/// How much history is kept without being asked to compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// All.
    Off,
    /// That of the last while.
    Periodic(Duration),
    /// That many revisions.
    Revisions(i64),
}

/// How much is too much, and how long too long.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitOptions {
    /// `--max-request-bytes`.
    pub max_request_bytes: usize,
    /// `--max-txn-ops`.
    pub max_txn_ops: usize,
    /// `--max-concurrent-streams`.
    pub max_concurrent_streams: u32,
    /// `--warning-apply-duration`.
    pub warning_apply_duration: Duration,
    /// `--warning-unary-request-duration`.
    pub warning_unary_request_duration: Duration,
    /// `--watch-progress-notify-interval`, at least 100 ms.
    pub watch_progress_notify_interval: Duration,
}

/// What is listened on, and by how many threads.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenOptions {
    /// `--listen-client-urls`.
    pub client_urls: Vec<Url>,
    /// `--listen-client-http-urls`.
    pub client_http_urls: Vec<Url>,
    /// `--listen-metrics-urls`.
    pub metrics_urls: Vec<Url>,
    /// `--socket-reuse-port`.
    pub reuse_port: bool,
    /// `--front-threads`, at least 1.
    pub front_threads: usize,
    /// `--grpc-keepalive-min-time`.
    pub keepalive_min_time: Duration,
    /// `--grpc-keepalive-interval`; zero is never.
    pub keepalive_interval: Duration,
    /// `--grpc-keepalive-timeout`; zero is never.
    pub keepalive_timeout: Duration,
}

/// The HTTP side.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    /// `--cors`: allowed origins; `None` allows all.
    pub origins: Option<Vec<String>>,
    /// `--host-whitelist`: accepted host names; `None` accepts all.
    pub hosts: Option<Vec<String>>,
    /// `--metrics=extensive`.
    pub extensive_metrics: bool,
    /// `--enable-grpc-gateway`: whether `/v3` speaks JSON.
    pub gateway: bool,
    /// `--enable-v2`.
    pub serves_v2: bool,
    /// `--enable-pprof`, or debug lines.
    pub profiles: bool,
}

/// Parses all values.
///
/// # Errors
///
/// When a value is of the right form and still cannot be.
pub(super) fn build(typed: &Typed) -> Result<Options, Problem> {
    let log = log_options(typed)?;
    let gates = Gates::parse(typed.text("feature-gates")).map_err(Problem::Verify)?;
    let tracing = trace_options(typed, signed(typed, "distributed-tracing-sampling-rate")?)?;
    Ok(Options {
        http: http_options(typed, log.level)?,
        log,
        tracing,
        member: member_options(typed)?,
        store: store_options(typed)?,
        limits: limit_options(typed)?,
        listen: listen_options(typed)?,
        security: security::build(typed)?,
        auth: auth_options(typed)?,
        checks: check_options(typed, &gates)?,
        gates,
    })
}

fn member_options(typed: &Typed) -> Result<MemberOptions, Problem> {
    let name = typed.text("name").to_owned();
    let data_dir = match typed.text("data-dir") {
        "" => PathBuf::from(format!("{name}.etcd")),
        path => PathBuf::from(path),
    };
    let wal_dir = Some(typed.text("wal-dir")).filter(|path| !path.is_empty()).map(PathBuf::from);
    let state = match typed.text("initial-cluster-state") {
        "existing" => ClusterState::Existing,
        _ => ClusterState::New,
    };
    let (initial_cluster, initial_cluster_error) = match initial_cluster(typed, &name)? {
        Ok(members) => (members, None),
        Err(error) => (BTreeMap::new(), Some(error)),
    };
    Ok(MemberOptions {
        data_dir,
        wal_dir,
        listen_peer_urls: urls(typed, "listen-peer-urls")?,
        initial_advertise_peer_urls: urls(typed, "initial-advertise-peer-urls")?,
        advertise_client_urls: urls(typed, "advertise-client-urls")?,
        initial_cluster,
        initial_cluster_error,
        initial_cluster_state: state,
        initial_cluster_token: typed.text("initial-cluster-token").to_owned(),
        heartbeat_interval: Duration::from_millis(unsigned(typed, "heartbeat-interval")?),
        election_timeout: Duration::from_millis(unsigned(typed, "election-timeout")?),
        snapshot_count: unsigned(typed, "snapshot-count")?,
        snapshot_catchup_entries: unsigned(typed, "snapshot-catchup-entries")?,
        initial_election_tick_advance: is_on(typed, "initial-election-tick-advance"),
        pre_vote: is_on(typed, "pre-vote"),
        strict_reconfig_check: is_on(typed, "strict-reconfig-check"),
        max_learners: usize::try_from(signed(typed, "max-learners")?).unwrap_or(0),
        force_new_cluster: is_on(typed, "force-new-cluster"),
        report_version: typed.text("report-version").to_owned(),
        discovery: discovery(typed)?,
        raft_read_timeout: duration(typed, "raft-read-timeout")?.max(RAFT_TIMEOUT_MIN),
        raft_write_timeout: duration(typed, "raft-write-timeout")?.max(RAFT_TIMEOUT_MIN),
        name,
    })
}

/// Members and their URLs by name.
type Members = BTreeMap<String, Vec<Url>>;

/// Whether others say who the members of a new cluster are.
fn uses_discovery(typed: &Typed) -> bool {
    ["discovery-srv", "discovery-srv-name", "discovery-endpoints"]
        .iter()
        .any(|name| !typed.text(name).is_empty())
}

/// Parses `a=http://1:1,a=http://1:2,b=http://2:1`; the inner error is for a first start only.
fn initial_cluster(typed: &Typed, name: &str) -> Result<Result<Members, String>, Problem> {
    let mut members = Members::new();
    if uses_discovery(typed) && !typed.has("initial-cluster") {
        return Ok(Ok(members));
    }
    if !typed.has("initial-cluster") {
        members.insert(name.to_owned(), urls(typed, "initial-advertise-peer-urls")?);
        return Ok(Ok(members));
    }
    for pair in typed.text("initial-cluster").split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (member, url) = pair.split_once('=').unwrap_or((pair, ""));
        match Url::parse(url) {
            Ok(url) => members.entry(member.to_owned()).or_default().push(url),
            Err(error) => return Ok(Err(format!("error setting up initial cluster: {error}"))),
        }
    }
    members.values_mut().for_each(|urls| urls.sort());
    Ok(Ok(members))
}

fn discovery(typed: &Typed) -> Result<Option<Discovery>, Problem> {
    if !typed.text("discovery-endpoints").is_empty() {
        let path = |name| Some(typed.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
        let (user, password) = match typed.text("discovery-user").split_once(':') {
            Some((user, password)) if typed.text("discovery-password").is_empty() => (user, password),
            Some(_) | None => (typed.text("discovery-user"), typed.text("discovery-password")),
        };
        return Ok(Some(Discovery::Service(DiscoveryService {
            token: typed.text("discovery-token").to_owned(),
            endpoints: typed
                .text("discovery-endpoints")
                .split(',')
                .map(|one| one.trim().to_owned())
                .collect(),
            dial_timeout: duration(typed, "discovery-dial-timeout")?,
            request_timeout: duration(typed, "discovery-request-timeout")?,
            keepalive_time: duration(typed, "discovery-keepalive-time")?,
            keepalive_timeout: duration(typed, "discovery-keepalive-timeout")?,
            insecure_transport: is_on(typed, "discovery-insecure-transport"),
            insecure_skip_tls_verify: is_on(typed, "discovery-insecure-skip-tls-verify"),
            cert: path("discovery-cert"),
            key: path("discovery-key"),
            cacert: path("discovery-cacert"),
            user: user.to_owned(),
            password: password.to_owned(),
        })));
    }
    match typed.text("discovery-srv") {
        "" => Ok(None),
        domain => Ok(Some(Discovery::Srv {
            domain: domain.to_owned(),
            service_name: typed.text("discovery-srv-name").to_owned(),
        })),
    }
}

fn store_options(typed: &Typed) -> Result<StoreOptions, Problem> {
    let batch_limit = match signed(typed, "compaction-batch-limit")? {
        ..=0 => 1000,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    Ok(StoreOptions {
        quota_backend_bytes: signed(typed, "quota-backend-bytes")?,
        value_cache_bytes: size(typed, "value-cache-bytes")?,
        auto_compaction: auto_compaction(typed)?,
        compaction_batch_limit: batch_limit,
        compaction_sleep_interval: or_default(duration(typed, "compaction-sleep-interval")?, 1),
        unsafe_no_fsync: is_on(typed, "unsafe-no-fsync"),
        memory_mlock: is_on(typed, "memory-mlock"),
        batch_interval: or_default(duration(typed, "backend-batch-interval")?, 100),
        batch_entries_max: match signed(typed, "backend-batch-limit")? {
            ..=0 => BATCH_ENTRIES_MAX,
            limit => limit.unsigned_abs(),
        },
        shrink_bytes_min: match unsigned(typed, "bootstrap-defrag-threshold-megabytes")? {
            0 => None,
            megabytes => Some(megabytes.saturating_mul(1 << 20)),
        },
    })
}

fn auth_options(typed: &Typed) -> Result<AuthOptions, Problem> {
    const LIFE_DEFAULT_SECONDS: u64 = 300;
    let life = match unsigned(typed, "auth-token-ttl")? {
        0 => LIFE_DEFAULT_SECONDS,
        seconds => seconds,
    };
    Ok(AuthOptions {
        token: typed.text("auth-token").to_owned(),
        token_life: Duration::from_secs(life),
        bcrypt_cost: unsigned(typed, "bcrypt-cost")?,
    })
}

fn check_options(typed: &Typed, gates: &Gates) -> Result<CheckOptions, Problem> {
    let interval = duration(typed, "corrupt-check-time")?;
    let compaction_interval = duration(typed, "compact-hash-check-time")?;
    Ok(CheckOptions {
        at_start: gates.is_on("InitialCorruptCheck"),
        interval: Some(interval).filter(|interval| !interval.is_zero()),
        compaction_interval: Some(compaction_interval).filter(|_| gates.is_on("CompactHashCheck")),
        downgrade_interval: duration(typed, "downgrade-check-time")?,
    })
}

fn auto_compaction(typed: &Typed) -> Result<AutoCompaction, Problem> {
    const SECONDS_PER_HOUR: u64 = 3600;
    let retention = typed.text("auto-compaction-retention");
    let wrong = |text: &str| Problem::Start(format!("error parsing CompactionRetention: {text}"));
    let number = parse_signed(retention);
    match typed.text("auto-compaction-mode") {
        "periodic" => {
            let period = match number {
                Ok(hours) => {
                    let hours = u64::try_from(hours)
                        .map_err(|_| wrong("--auto-compaction-retention is less than zero"))?;
                    Duration::from_secs(hours.saturating_mul(SECONDS_PER_HOUR))
                }
                Err(_) => match parse_duration(retention) {
                    Some(period) if !period.negative => period.magnitude,
                    Some(_) | None => return Err(wrong(&format!("time: invalid duration {retention:?}"))),
                },
            };
            Ok(if period.is_zero() { AutoCompaction::Off } else { AutoCompaction::Periodic(period) })
        }
        "revision" => match number {
            Ok(0) => Ok(AutoCompaction::Off),
            Ok(revisions) if revisions > 0 => Ok(AutoCompaction::Revisions(revisions)),
            Ok(_) | Err(_) => Err(wrong(&format!("strconv.ParseInt: parsing {retention:?}: invalid syntax"))),
        },
        "" => Err(Problem::verify("undefined auto-compaction-mode")),
        other => Err(Problem::Verify(format!("unknown auto-compaction-mode {other:?}"))),
    }
}

fn limit_options(typed: &Typed) -> Result<LimitOptions, Problem> {
    const TEN_MINUTES_MS: u64 = 600_000;
    const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);
    let progress = or_default(duration(typed, "watch-progress-notify-interval")?, TEN_MINUTES_MS);
    Ok(LimitOptions {
        max_request_bytes: size(typed, "max-request-bytes")?,
        max_txn_ops: size(typed, "max-txn-ops")?,
        max_concurrent_streams: u32::try_from(unsigned(typed, "max-concurrent-streams")?).unwrap_or(u32::MAX),
        warning_apply_duration: duration(typed, "warning-apply-duration")?,
        warning_unary_request_duration: duration(typed, "warning-unary-request-duration")?,
        watch_progress_notify_interval: progress.max(PROGRESS_INTERVAL_MIN),
    })
}

fn listen_options(typed: &Typed) -> Result<ListenOptions, Problem> {
    let threads = match size(typed, "front-threads")? {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1)),
        threads => threads,
    };
    let mut client_urls = urls(typed, "listen-client-urls")?;
    client_urls.dedup();
    Ok(ListenOptions {
        client_urls,
        client_http_urls: urls(typed, "listen-client-http-urls")?,
        metrics_urls: urls(typed, "listen-metrics-urls")?,
        reuse_port: is_on(typed, "socket-reuse-port"),
        front_threads: threads.max(1),
        keepalive_min_time: duration(typed, "grpc-keepalive-min-time")?,
        keepalive_interval: duration(typed, "grpc-keepalive-interval")?,
        keepalive_timeout: duration(typed, "grpc-keepalive-timeout")?,
    })
}

fn http_options(typed: &Typed, level: Level) -> Result<HttpOptions, Problem> {
    let list = |name: &str| {
        let entries: Vec<String> = typed.text(name).split(',').map(|entry| entry.trim().to_owned()).collect();
        let all = entries.iter().any(|entry| entry.is_empty() || entry == "*");
        (!all).then_some(entries)
    };
    // Any other level is the basic one, as it is for etcd.
    let extensive_metrics = typed.text("metrics") == "extensive";
    let gateway = is_on(typed, "enable-grpc-gateway");
    let serves_v2 = is_on(typed, "enable-v2");
    let profiles = is_on(typed, "enable-pprof") || level == Level::Debug;
    let (origins, hosts) = (list("cors"), list("host-whitelist"));
    Ok(HttpOptions { origins, hosts, extensive_metrics, gateway, serves_v2, profiles })
}

pub(super) fn is_on(typed: &Typed, name: &str) -> bool {
    typed.text(name) == "true"
}

fn urls(typed: &Typed, name: &str) -> Result<Vec<Url>, Problem> {
    match typed.text(name) {
        "" => Ok(Vec::new()),
        text => Url::parse_list(text).map_err(Problem::Verify),
    }
}

pub(super) fn unsigned(typed: &Typed, name: &str) -> Result<u64, Problem> {
    parse_unsigned(typed.text(name), u64::MAX).map_err(|error| malformed(typed, name, error))
}

fn signed(typed: &Typed, name: &str) -> Result<i64, Problem> {
    parse_signed(typed.text(name)).map_err(|error| malformed(typed, name, error))
}

fn size(typed: &Typed, name: &str) -> Result<usize, Problem> {
    Ok(usize::try_from(unsigned(typed, name)?).unwrap_or(usize::MAX))
}

/// A negative duration counts as none.
pub(super) fn duration(typed: &Typed, name: &str) -> Result<Duration, Problem> {
    let parsed = parse_duration(typed.text(name)).ok_or_else(|| malformed(typed, name, "parse error"))?;
    Ok(if parsed.negative { Duration::ZERO } else { parsed.magnitude })
}

/// Zero asks for the default.
fn or_default(duration: Duration, default_ms: u64) -> Duration {
    if duration.is_zero() { Duration::from_millis(default_ms) } else { duration }
}

fn malformed(typed: &Typed, name: &str, error: &str) -> Problem {
    debug_assert!(table::find(name).is_some(), "{name} is no flag");
    Problem::Verify(format!("invalid value {:?} for flag -{name}: {error}", typed.text(name)))
}
