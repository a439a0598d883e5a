//! The table of flags: each row is one flag, and everything about flags is read from here.
//!
//! The environment variable of `foo-bar` is `ETCD_FOO_BAR`.

use super::gates::Gates;
use super::url::Url;
use super::value::{parse_bool, parse_duration, parse_signed, parse_unsigned};

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// The section of the help that it stands in.
    pub category: Category,
    /// What its value may be.
    pub kind: Kind,
    /// Its value when it is not given, in the same syntax.
    pub default: &'static str,
    /// Whether it does something.
    pub support: Support,
    /// What it means.
    pub help: &'static str,
    /// What the help shows behind the name, where that is not the default in quotes.
    pub shown: Option<&'static str>,
    /// Where its value stands in a configuration file.
    pub place: Place,
}

/// Where the value of a flag stands in a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Under the flag's name.
    Name,
    /// At this path, whose parts are joined by dots.
    Path(&'static str),
    /// Nowhere: it is for the command line and the environment.
    Nowhere,
}

/// The sections of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// The member itself and its storage.
    Member,
    /// Who it forms a cluster with.
    Clustering,
    /// TLS and access from browsers.
    Security,
    /// Users and tokens.
    Auth,
    /// Metrics and profiles.
    Monitoring,
    /// Log lines.
    Logging,
    /// Traces.
    Tracing,
    /// Behaviour that seldom needs a change.
    Features,
    /// What may lose data.
    Unsafe,
    /// What etcd does not have.
    Own,
    /// What the head of the help tells of.
    Head,
}

impl Category {
    /// The sections of the list of flags, in the order of the help.
    pub const ALL: [Self; 10] = [
        Self::Member,
        Self::Clustering,
        Self::Security,
        Self::Auth,
        Self::Monitoring,
        Self::Logging,
        Self::Tracing,
        Self::Features,
        Self::Unsafe,
        Self::Own,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Member => "Member",
            Self::Clustering => "Clustering",
            Self::Security => "Security",
            Self::Auth => "Auth",
            Self::Monitoring => "Profiling and Monitoring",
            Self::Logging => "Logging",
            Self::Tracing => "Distributed tracing",
            Self::Features => "Features",
            Self::Unsafe => "Unsafe feature",
            Self::Own => "Only in etched",
            Self::Head => "Usage",
        }
    }
}

/// What the value of a flag may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A truth value; the flag alone means true.
    Bool,
    /// An unsigned number of 64 bits.
    Unsigned,
    /// An unsigned number of 32 bits, with the error texts of `strconv`.
    Unsigned32,
    /// A signed number of 64 bits.
    Signed,
    /// A duration in Go's syntax.
    Duration,
    /// URLs, separated by commas; nothing is no URLs.
    Urls,
    /// Origins of browser pages, separated by commas, or `*`.
    Origins,
    /// Texts, separated by commas.
    List,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Feature gates.
    Gates,
}

/// Whether a flag does something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what it says.
    Full,
    /// It is accepted, and a line in the log says why it changes nothing.
    NoEffect(&'static str),
    /// etcd has removed it and still names it in its help; a value on the command line is refused with this advice.
    Removed(&'static str),
}

impl Flag {
    /// The same flag with something else behind its name in the help.
    const fn shown(mut self, shown: &'static str) -> Self {
        self.shown = Some(shown);
        self
    }

    /// The same flag with another place in a configuration file.
    const fn at(mut self, path: &'static str) -> Self {
        self.place = Place::Path(path);
        self
    }

    /// The same flag without a place in a configuration file.
    const fn not_in_file(mut self) -> Self {
        self.place = Place::Nowhere;
        self
    }

    /// The name of its environment variable.
    pub fn variable(&self) -> String {
        variable(self.name)
    }

    /// Checks the form of a value.
    ///
    /// # Errors
    ///
    /// The text that Go's `flag` package or etcd shows for it.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let checked = self.kind.check(text);
        if self.name == "v2-deprecation" {
            // etcd reads this one by other means.
            return checked.map_err(|error| format!("{error} {text:?}"));
        }
        checked
    }
}

impl Kind {
    pub(super) fn check(self, text: &str) -> Result<(), String> {
        let plain = |result: Result<(), &'static str>| result.map_err(str::to_owned);
        match self {
            Self::Text | Self::List => Ok(()),
            Self::Bool => plain(parse_bool(text).map(drop).ok_or("parse error")),
            Self::Unsigned => plain(parse_unsigned(text, u64::MAX).map(drop)),
            Self::Signed => plain(parse_signed(text).map(drop)),
            Self::Unsigned32 => check_unsigned_32(text),
            Self::Duration => plain(parse_duration(text).map(drop).ok_or("parse error")),
            Self::Urls if text.is_empty() => Ok(()),
            Self::Urls => Url::parse_list(text).map(drop),
            Self::Origins if text.is_empty() || text == "*" => Ok(()),
            Self::Origins => Url::parse_list(text).map(drop),
            Self::Choice(choices) => plain(choices.contains(&text).then_some(()).ok_or("invalid value")),
            Self::Gates => Gates::parse(text).map(drop),
        }
    }
}

fn check_unsigned_32(text: &str) -> Result<(), String> {
    match parse_unsigned(text, u32::MAX.into()) {
        Ok(_) => Ok(()),
        Err("value out of range") => {
            Err(format!("strconv.ParseUint: parsing \"{text}\": value out of range"))
        }
        Err(_) => Err(format!("strconv.ParseUint: parsing \"{text}\": invalid syntax")),
    }
}

/// Flags of old releases that are accepted without a value and change nothing.
pub(super) const IGNORED: [&str; 15] = [
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
    "test.coverprofile",
    "test.outputdir",
];

/// The name of the environment variable of a flag.
pub(super) fn variable(name: &str) -> String {
    format!("ETCD_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// The flag of that name.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

const fn flag(
    category: Category,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    support: Support,
    help: &'static str,
) -> Flag {
    Flag { name, category, kind, default, support, help, shown: None, place: Place::Name }
}

use Category::{
    Auth, Clustering, Features, Head, Logging, Member, Monitoring, Own, Security, Tracing, Unsafe,
};
use Kind::{Bool, Choice, Duration as Time, List, Origins, Signed, Text, Unsigned, Unsigned32, Urls};
use Support::{Full, NoEffect, Removed};

const V2_DISCOVERY: &str =
    "v2 discovery was removed from etcd: use --discovery-endpoints and --discovery-token";
const OWN_STORE: Support = NoEffect("the store is not bbolt");
const OWN_RETENTION: Support = NoEffect("files that are no longer needed are removed at once");

/// All flags, in the order of the help.
#[rustfmt::skip]
pub const FLAGS: &[Flag] = &[
    flag(Head, "config-file", Text, "", Full, "A file to read all settings from.").not_in_file(),

    flag(Member, "name", Text, "default", Full, "The member's name, as people see it."),
    flag(Member, "data-dir", Text, "", Full, "The directory of everything that is kept; '${name}.etcd' unless given.").shown("'${name}.etcd'"),
    flag(Member, "wal-dir", Text, "", Full, "The directory of the write-ahead log, if it is not to lie in the data directory."),
    flag(Member, "snapshot-count", Unsigned, "10000", Full, "Applied entries after which the log is cut."),
    flag(Member, "heartbeat-interval", Unsigned, "100", Full, "Milliseconds between heartbeats."),
    flag(Member, "election-timeout", Unsigned, "1000", Full, "Milliseconds without a leader until an election."),
    flag(Member, "initial-election-tick-advance", Bool, "true", Full, "Whether the first election after a start is held early."),
    flag(Member, "listen-peer-urls", Urls, "http://localhost:2380", Full, "URLs to listen on for other members."),
    flag(Member, "listen-client-urls", Urls, "http://localhost:2379", Full, "URLs to listen on for clients: gRPC, and HTTP unless --listen-client-http-urls is given."),
    flag(Member, "listen-client-http-urls", Urls, "", Full, "URLs to listen on for HTTP alone; --listen-client-urls then serves gRPC alone."),
    flag(Member, "max-snapshots", Unsigned, "5", OWN_RETENTION, "Snapshot files to keep. Deprecated."),
    flag(Member, "max-wals", Unsigned, "5", OWN_RETENTION, "Log files to keep."),
    flag(Member, "memory-mlock", Bool, "false", Full, "Whether the memory of the process is kept from being swapped out.").shown(""),
    flag(Member, "quota-backend-bytes", Signed, "0", Full, "Size of the store from which writes are refused; 0 is 2 GiB, less than 0 is no limit."),
    flag(Member, "backend-bbolt-freelist-type", Text, "map", OWN_STORE, "The free list of a bbolt file: array or map."),
    flag(Member, "backend-batch-interval", Time, "0s", Full, "How long changes may wait for the store; 0 is 100ms.").shown("''"),
    flag(Member, "backend-batch-limit", Signed, "0", Full, "Entries whose changes may wait for the store; 0 is no limit but that of their size."),
    flag(Member, "max-txn-ops", Unsigned, "128", Full, "Most operations in a transaction."),
    flag(Member, "max-request-bytes", Unsigned, "1572864", Full, "Size of the largest request that is accepted."),
    flag(Member, "max-concurrent-streams", Unsigned32, "4294967295", Full, "Most requests that a connection may have open at a time.").shown("'math.MaxUint32'"),
    flag(Member, "grpc-keepalive-min-time", Time, "5s", Full, "Shortest time between two pings of a client."),
    flag(Member, "grpc-keepalive-interval", Time, "2h0m0s", Full, "Time without traffic after which a connection is pinged; 0 is never.").shown("'2h'"),
    flag(Member, "grpc-keepalive-timeout", Time, "20s", Full, "Time after which a connection with an unanswered ping is closed; 0 is never."),
    flag(Member, "socket-reuse-port", Bool, "false", Full, "Whether listeners share their port (SO_REUSEPORT).").at("socket-options.reuse-port"),
    flag(Member, "socket-reuse-address", Bool, "false", Full, "Whether listeners may take an address in TIME_WAIT (SO_REUSEADDR).").at("socket-options.reuse-address"),
    flag(Member, "enable-grpc-gateway", Bool, "true", Full, "Whether /v3 speaks JSON.").shown(""),
    flag(Member, "raft-read-timeout", Time, "5s", Full, "Read timeout of connections to members; at least 5s.").not_in_file(),
    flag(Member, "raft-write-timeout", Time, "5s", Full, "Write timeout of connections to members; at least 5s.").not_in_file(),
    flag(Member, "feature-gates", Kind::Gates, "", Full, "Switches for single features, as A=true,B=false."),

    flag(Clustering, "initial-advertise-peer-urls", Urls, "http://localhost:2380", Full, "URLs at which other members reach this one."),
    flag(Clustering, "initial-cluster", Text, "default=http://localhost:2380", Full, "The members of a new cluster, as name=url pairs."),
    flag(Clustering, "initial-cluster-state", Choice(&["new", "existing"]), "new", Full, "Whether this member starts a cluster or joins one; asked for at the first start only."),
    flag(Clustering, "initial-cluster-token", Text, "etcd-cluster", Full, "A name that keeps clusters with equal URLs apart."),
    flag(Clustering, "advertise-client-urls", Urls, "http://localhost:2379", Full, "URLs at which clients reach this member."),
    flag(Clustering, "discovery", Text, "", Removed(V2_DISCOVERY), "URL of a v2 discovery service. Removed.").not_in_file(),
    flag(Clustering, "discovery-token", Text, "", Full, "Token of the discovery service.").at("discovery-config.token"),
    flag(Clustering, "discovery-endpoints", List, "", Full, "Endpoints of the discovery service.").at("discovery-config.client.endpoints"),
    flag(Clustering, "discovery-dial-timeout", Time, "2s", Full, "Connect timeout of the discovery service.").at("discovery-config.client.dial-timeout"),
    flag(Clustering, "discovery-request-timeout", Time, "5s", Full, "Request timeout of the discovery service.").at("discovery-config.client.request-timeout"),
    flag(Clustering, "discovery-keepalive-time", Time, "2s", Full, "Ping interval of the discovery service.").at("discovery-config.client.keepalive-time"),
    flag(Clustering, "discovery-keepalive-timeout", Time, "6s", Full, "Ping timeout of the discovery service.").at("discovery-config.client.keepalive-timeout"),
    flag(Clustering, "discovery-insecure-transport", Bool, "true", Full, "Whether discovery goes without TLS.").at("discovery-config.client.secure.insecure-transport"),
    flag(Clustering, "discovery-insecure-skip-tls-verify", Bool, "false", Full, "Whether the discovery service's certificate goes unchecked.").at("discovery-config.client.secure.insecure-skip-tls-verify"),
    flag(Clustering, "discovery-cert", Text, "", Full, "Client certificate for discovery.").at("discovery-config.client.secure.cert"),
    flag(Clustering, "discovery-key", Text, "", Full, "Key of the client certificate for discovery.").at("discovery-config.client.secure.key"),
    flag(Clustering, "discovery-cacert", Text, "", Full, "Certificate authorities of the discovery service.").at("discovery-config.client.secure.cacert"),
    flag(Clustering, "discovery-user", Text, "", Full, "User of the discovery service.").at("discovery-config.client.auth.username"),
    flag(Clustering, "discovery-password", Text, "", Full, "Password of the discovery service.").at("discovery-config.client.auth.password"),
    flag(Clustering, "discovery-fallback", Choice(&["exit", "proxy"]), "exit", Full, "What to do when discovery fails.").not_in_file(),
    flag(Clustering, "discovery-proxy", Text, "", Removed(V2_DISCOVERY), "HTTP proxy to a v2 discovery service. Removed.").not_in_file(),
    flag(Clustering, "discovery-srv", Text, "", Full, "Domain whose SRV records name the members."),
    flag(Clustering, "discovery-srv-name", Text, "", Full, "Suffix of the SRV service name."),
    flag(Clustering, "strict-reconfig-check", Bool, "true", Full, "Whether changes of membership that endanger the quorum are refused."),
    flag(Clustering, "pre-vote", Bool, "true", Full, "Whether a member asks before it disturbs with an election."),
    flag(Clustering, "auto-compaction-retention", Text, "0", Full, "History to keep: hours or a duration, or a number of revisions; 0 keeps all."),
    flag(Clustering, "auto-compaction-mode", Text, "periodic", Full, "What --auto-compaction-retention counts: periodic (time) or revision."),
    flag(Clustering, "v2-deprecation", Choice(&["write-only", "write-only-skip-check", "write-only-drop-data", "gone"]), "write-only", NoEffect("it is deprecated"), "Phase of the v2 store. Deprecated."),

    flag(Security, "cert-file", Text, "", Full, "Certificate for clients.").at("client-transport-security.cert-file"),
    flag(Security, "key-file", Text, "", Full, "Key of the certificate for clients.").at("client-transport-security.key-file"),
    flag(Security, "client-cert-auth", Bool, "false", Full, "Whether clients must show a certificate.").at("client-transport-security.client-cert-auth"),
    flag(Security, "client-cert-file", Text, "", Full, "Certificate of this member as a client.").at("client-transport-security.client-cert-file"),
    flag(Security, "client-key-file", Text, "", Full, "Key of this member as a client.").at("client-transport-security.client-key-file"),
    flag(Security, "client-crl-file", Text, "", Full, "Revoked client certificates.").not_in_file(),
    flag(Security, "client-cert-allowed-hostname", List, "", Full, "Names of which a client's certificate must have one.").at("client-transport-security.allowed-hostname"),
    flag(Security, "trusted-ca-file", Text, "", Full, "Certificate authorities of clients.").at("client-transport-security.trusted-ca-file"),
    flag(Security, "auto-tls", Bool, "false", Full, "Whether certificates for clients are made.").at("client-transport-security.auto-tls"),
    flag(Security, "peer-cert-file", Text, "", Full, "Certificate for members.").at("peer-transport-security.cert-file"),
    flag(Security, "peer-key-file", Text, "", Full, "Key of the certificate for members.").at("peer-transport-security.key-file"),
    flag(Security, "peer-client-cert-auth", Bool, "false", Full, "Whether members must show a certificate.").at("peer-transport-security.client-cert-auth"),
    flag(Security, "peer-client-cert-file", Text, "", Full, "Certificate for calls to members.").at("peer-transport-security.client-cert-file"),
    flag(Security, "peer-client-key-file", Text, "", Full, "Key for calls to members.").at("peer-transport-security.client-key-file"),
    flag(Security, "peer-trusted-ca-file", Text, "", Full, "Certificate authorities of members.").at("peer-transport-security.trusted-ca-file"),
    flag(Security, "peer-cert-allowed-cn", List, "", Full, "Common names allowed to members.").at("peer-transport-security.allowed-cn"),
    flag(Security, "peer-cert-allowed-hostname", List, "", Full, "Names of which a member's certificate must have one.").at("peer-transport-security.allowed-hostname"),
    flag(Security, "peer-auto-tls", Bool, "false", Full, "Whether certificates for members are made.").at("peer-transport-security.auto-tls"),
    flag(Security, "self-signed-cert-validity", Unsigned, "1", Full, "Years that a made certificate is valid."),
    flag(Security, "peer-crl-file", Text, "", Full, "Revoked certificates of members.").not_in_file(),
    flag(Security, "cipher-suites", List, "", Full, "Cipher suites to offer."),
    flag(Security, "cors", Origins, "*", Full, "Origins of pages that may call; * is all."),
    flag(Security, "host-whitelist", List, "*", Full, "Host names by which HTTP clients may call without TLS; * is all."),
    flag(Security, "tls-min-version", Text, "TLS1.2", Full, "Oldest TLS version."),
    flag(Security, "tls-max-version", Text, "", Full, "Newest TLS version."),

    flag(Auth, "auth-token", Text, "simple", Full, "Form of tokens and its options: simple, or jwt,sign-method=..,pub-key=..,priv-key=..,ttl=..; empty is none."),
    flag(Auth, "bcrypt-cost", Unsigned, "10", Full, "Cost of hashing a password, 4 to 31.").shown("10"),
    flag(Auth, "auth-token-ttl", Unsigned, "300", Full, "Seconds that an unused token lives.").shown("300"),

    flag(Monitoring, "enable-pprof", Bool, "false", Full, "Whether /debug/pprof is served; it shows threads and memory."),
    flag(Monitoring, "metrics", Text, "basic", Full, "basic, or extensive to add the duration of gRPC calls."),
    flag(Monitoring, "listen-metrics-urls", Urls, "", Full, "URLs to listen on for metrics and health alone."),

    flag(Logging, "logger", Text, "zap", Full, "The only choice is zap."),
    flag(Logging, "log-outputs", List, "default", Full, "Where log lines go: stderr, stdout, systemd/journal or files."),
    flag(Logging, "log-level", Text, "info", Full, "debug, info, warn, error, panic or fatal."),
    flag(Logging, "log-format", Text, "json", Full, "json or console."),
    flag(Logging, "enable-log-rotation", Bool, "false", Full, "Whether the log file is rotated."),
    flag(Logging, "log-rotation-config-json", Text, "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}", Full, "How the log file is rotated."),
    flag(Logging, "warning-unary-request-duration", Time, "300ms", Full, "Duration of a request from which a warning is logged."),

    flag(Tracing, "enable-distributed-tracing", Bool, "false", Full, "Whether traces are sent."),
    flag(Tracing, "distributed-tracing-address", Text, "localhost:4317", Full, "Where traces are sent."),
    flag(Tracing, "distributed-tracing-service-name", Text, "etcd", Full, "Service name in traces."),
    flag(Tracing, "distributed-tracing-instance-id", Text, "", Full, "Name of this member in traces."),
    flag(Tracing, "distributed-tracing-sampling-rate", Signed, "0", Full, "Traces sent of a million."),

    flag(Features, "corrupt-check-time", Time, "0s", Full, "Time between two comparisons of all members' data; 0 is never."),
    flag(Features, "compact-hash-check-time", Time, "1m0s", Full, "Time between two comparisons of all members' compaction hashes.").shown("'1m'"),
    flag(Features, "compaction-batch-limit", Signed, "0", Full, "Revisions removed at a time; 0 is 1000.").shown("1000"),
    flag(Features, "peer-skip-client-san-verification", Bool, "false", Full, "Whether the address in a member's certificate goes unchecked.").at("peer-transport-security.skip-client-san-verification"),
    flag(Features, "watch-progress-notify-interval", Time, "0s", Full, "Time between progress notifications of a watch; 0 is 10m.").shown("'10m'"),
    flag(Features, "warning-apply-duration", Time, "100ms", Full, "Duration of applying an entry from which a warning is logged."),
    flag(Features, "bootstrap-defrag-threshold-megabytes", Unsigned, "0", Full, "Megabytes to win from which the store is defragmented at start; 0 is never.").shown(""),
    flag(Features, "max-learners", Signed, "1", Full, "Most members that do not vote."),
    flag(Features, "compaction-sleep-interval", Time, "0s", Full, "Pause between two removals; 0 is 1ms.").shown(""),
    flag(Features, "downgrade-check-time", Time, "5s", Full, "Time between two looks at a downgrade.").shown(""),
    flag(Features, "snapshot-catchup-entries", Unsigned, "5000", Full, "Entries kept behind a cut, so that a slow member can follow without a snapshot.").shown(""),

    flag(Unsafe, "force-new-cluster", Bool, "false", Full, "Whether to go on alone with the data of a larger cluster."),
    flag(Unsafe, "unsafe-no-fsync", Bool, "false", Full, "Whether nothing is synced to disk: data will be lost."),

    flag(Own, "enable-v2", Bool, "true", Full, "Whether /v2 is served, for clients of etcd up to 3.5."),
    flag(Own, "value-cache-bytes", Unsigned, "67108864", Full, "Memory for values that are read from memory rather than from disk."),
    flag(Own, "report-version", Text, super::SERVER_VERSION, Full, "The version that clients are told.").not_in_file(),
    flag(Own, "front-threads", Unsigned, "0", Full, "Threads that serve connections; 0 is one less than there are cores."),
];
