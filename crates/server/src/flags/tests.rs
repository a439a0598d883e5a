//! Flags as people type them: values, errors, the environment.

use super::table::{FLAGS, Kind};
use super::*;
use crate::tls::TlsVersion;

fn arguments(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn load_text(text: &str) -> Result<Loaded, Stop> {
    load("etched", &arguments(text), &[])
}

fn options(text: &str) -> Options {
    match load_text(text) {
        Ok(loaded) => loaded.options,
        Err(stop) => panic!("{text}: {stop:?}"),
    }
}

fn usage_error(text: &str) -> String {
    match load_text(text) {
        Err(Stop::Text { stderr, code: 2, .. }) => stderr.lines().next().unwrap_or_default().to_owned(),
        other => panic!("{text}: {other:?}"),
    }
}

/// The message and the `error` field of the last line of a refused start.
fn refusal(result: Result<Loaded, Stop>) -> (&'static str, String) {
    let Err(Stop::Refused { notices, .. }) = result else { panic!("{result:?}") };
    let last = notices.last().expect("a refusal says why");
    let Some((_, Value::Text(text))) = last.fields.last() else { panic!("{last:?}") };
    (last.message, text.clone())
}

#[test]
fn the_table_is_consistent() {
    let mut names: Vec<_> = FLAGS.iter().map(|flag| flag.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name stands twice");
    for flag in FLAGS {
        assert_eq!(flag.check(flag.default), Ok(()), "the default of {}", flag.name);
        assert!(flag.help.ends_with('.'), "the help of {}", flag.name);
        // Kubernetes sets such variables for its own purposes.
        let variable = flag.variable();
        let injected = variable == "ETCD_PORT" || variable.starts_with("ETCD_SERVICE_");
        assert!(!injected && variable != "ETCD_VERSION", "{variable}");
    }
}

#[test]
fn each_flag_of_etcd_has_a_row_with_its_default() {
    // Flags of etcd 3.7.2 and what its help shows as default, where that is a plain value.
    for (name, default) in [
        ("name", "default"),
        ("snapshot-count", "10000"),
        ("heartbeat-interval", "100"),
        ("election-timeout", "1000"),
        ("listen-peer-urls", "http://localhost:2380"),
        ("listen-client-urls", "http://localhost:2379"),
        ("max-txn-ops", "128"),
        ("max-request-bytes", "1572864"),
        ("grpc-keepalive-min-time", "5s"),
        ("initial-cluster", "default=http://localhost:2380"),
        ("initial-cluster-state", "new"),
        ("initial-cluster-token", "etcd-cluster"),
        ("auto-compaction-retention", "0"),
        ("auto-compaction-mode", "periodic"),
        ("strict-reconfig-check", "true"),
        ("pre-vote", "true"),
        ("cors", "*"),
        ("host-whitelist", "*"),
        ("tls-min-version", "TLS1.2"),
        ("auth-token", "simple"),
        ("bcrypt-cost", "10"),
        ("metrics", "basic"),
        ("log-level", "info"),
        ("log-format", "json"),
        ("warning-apply-duration", "100ms"),
        ("max-learners", "1"),
    ] {
        assert_eq!(table::find(name).map(|flag| flag.default), Some(default), "{name}");
    }
}

#[test]
fn flags_have_the_syntax_of_go() {
    for text in ["-name a", "--name a", "-name=a", "--name=a", "--name=b --name=a", "--name a --"] {
        assert_eq!(options(text).member.name, "a", "{text}");
    }
    assert!(options("--socket-reuse-port").listen.reuse_port);
    assert!(!options("--socket-reuse-port=f").listen.reuse_port);
    let (message, error) = refusal(load_text("--socket-reuse-port false"));
    assert_eq!((message, error.as_str()), ("failed to verify flags", "\"false\" is not a valid flag"));
}

#[test]
fn usage_errors_have_the_texts_of_go_and_exit_code_2() {
    for (text, error) in [
        ("--bogus", "flag provided but not defined: -bogus"),
        (
            "--experimental-corrupt-check-time=1",
            "invalid value \"1\" for flag -experimental-corrupt-check-time: parse error",
        ),
        (
            "--proxy=on",
            "invalid value \"on\" for flag -proxy: the v2 proxy was removed from etcd 3.6: use the grpc-proxy or gateway sub-command",
        ),
        ("--snapshot-count=abc", "invalid value \"abc\" for flag -snapshot-count: parse error"),
        (
            "--snapshot-count=99999999999999999999",
            "invalid value \"99999999999999999999\" for flag -snapshot-count: value out of range",
        ),
        ("--pre-vote=x", "invalid boolean value \"x\" for -pre-vote: parse error"),
        ("--snapshot-count", "flag needs an argument: -snapshot-count"),
        ("--=x", "bad flag syntax: --=x"),
        ("---x", "bad flag syntax: ---x"),
        (
            "--max-concurrent-streams=x",
            "invalid value \"x\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (
            "--max-concurrent-streams=99999999999",
            "invalid value \"99999999999\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \"99999999999\": value out of range",
        ),
        (
            "--listen-client-urls=foo",
            "invalid value \"foo\" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: foo",
        ),
        ("--warning-apply-duration=5", "invalid value \"5\" for flag -warning-apply-duration: parse error"),
        (
            "--initial-cluster-state=bad",
            "invalid value \"bad\" for flag -initial-cluster-state: invalid value",
        ),
        (
            "--feature-gates=Foo=true",
            "invalid value \"Foo=true\" for flag -feature-gates: unrecognized feature gate: Foo",
        ),
        ("--cors a", "invalid value \"a\" for flag -cors: URL scheme must be http, https, unix, or unixs: a"),
    ] {
        assert_eq!(usage_error(text), error);
    }
}

#[test]
fn a_removed_flag_is_refused_by_name_unless_it_is_empty() {
    assert_eq!(
        usage_error("--discovery=http://a/b"),
        "flag -discovery cannot be set to \"http://a/b\": v2 discovery was removed from etcd: use --discovery-endpoints and --discovery-token"
    );
    options(
        "--auto-tls=false --pre-vote=1 --logger=zap --auth-token=simple --strict-reconfig-check --discovery=",
    );
}

#[test]
fn a_log_level_that_does_not_exist_ends_as_a_panic_of_go_does() {
    let Err(Stop::Text { stderr, code, .. }) = load_text("--log-level=bad") else { panic!() };
    assert_eq!((stderr.as_str(), code), ("panic: unrecognized level: \"bad\"\n", 2));
}

#[test]
fn flags_of_earlier_releases_are_accepted_and_say_what_took_their_place() {
    let loaded = load_text(
        "--experimental-corrupt-check-time=5m --experimental-initial-corrupt-check --debug \
         --experimental-compact-hash-check-enabled=true --feature-gates=CompactHashCheck=false \
         --experimental-snapshot-catchup-entries=7 --snapshot-catchup-entries=9 --proxy=off --log-package-levels=a",
    )
    .unwrap();
    let options = &loaded.options;
    assert_eq!(options.checks.interval.map(|interval| interval.as_secs()), Some(300));
    assert!(options.gates.is_on("InitialCorruptCheck") && !options.gates.is_on("CompactHashCheck"));
    assert_eq!(options.member.snapshot_catchup_entries, 9);
    assert_eq!(options.log.level, Level::Debug);
    let advices: Vec<_> = loaded
        .notices
        .iter()
        .filter(|notice| notice.message == "flag was removed from etcd and is still accepted here")
        .filter_map(|notice| match notice.fields.as_slice() {
            [_, (_, Value::Text(advice))] => Some(advice.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(advices.len(), 7, "{advices:?}");
    assert!(advices.contains(&"use --corrupt-check-time".to_owned()), "{advices:?}");
    assert!(advices.contains(&"use --feature-gates=InitialCorruptCheck=true".to_owned()), "{advices:?}");
}

#[test]
fn variables_of_earlier_releases_count_and_bad_ones_are_ignored() {
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let variables = [
        variable("ETCD_EXPERIMENTAL_MAX_LEARNERS", "3"),
        variable("ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION", "200ms"),
        variable("ETCD_EXPERIMENTAL_CORRUPT_CHECK_TIME", "x"),
        variable("ETCD_PROXY", "on"),
    ];
    let loaded = load("etched", &arguments("--warning-apply-duration=300ms"), &variables).unwrap();
    assert_eq!(loaded.options.member.max_learners, 3);
    assert_eq!(loaded.options.limits.warning_apply_duration.as_millis(), 300);
    let ignored = loaded.notices.iter().filter(|notice| notice.message.starts_with("ignoring the variable"));
    assert_eq!(ignored.count(), 2, "{:?}", loaded.notices);
}

#[test]
fn old_names_are_not_names_of_today_and_lead_to_one() {
    for old in old::OLD {
        assert!(table::find(old.name).is_none(), "{}", old.name);
        match old.fate {
            old::Fate::Flag(name) | old::Fate::Sets(name, _) => {
                let flag = table::find(name).unwrap_or_else(|| panic!("{name}"));
                let same = flag.kind == old.kind || matches!(old.fate, old::Fate::Sets(..));
                assert!(same, "{}: {:?} {:?}", old.name, flag.kind, old.kind);
            }
            old::Fate::Gate(name) => assert!(GATES.iter().any(|gate| gate.name == name), "{name}"),
            old::Fate::Gone(advice) | old::Fate::Refused { advice, .. } => assert!(!advice.is_empty()),
        }
    }
}

#[test]
fn discovery_takes_the_place_of_the_initial_cluster() {
    let with_srv = options("--name=a --discovery-srv=example.com --discovery-srv-name=x");
    assert!(with_srv.member.initial_cluster.is_empty());
    let srv = Discovery::Srv { domain: "example.com".to_owned(), service_name: "x".to_owned() };
    assert_eq!(with_srv.member.discovery, Some(srv));
    let with_service = options("--discovery-endpoints=a:1,b:2 --discovery-token=t --discovery-user=u:p");
    let Some(Discovery::Service(service)) = with_service.member.discovery else { panic!() };
    assert_eq!(service.endpoints, ["a:1", "b:2"]);
    assert_eq!((service.user.as_str(), service.password.as_str()), ("u", "p"));
    assert!(service.insecure_transport);
}

#[test]
fn flags_without_effect_are_accepted_and_say_so() {
    let loaded = load_text("--max-wals=3 --force --max-snapshots 2").unwrap();
    let messages: Vec<_> = loaded.notices.iter().map(|notice| notice.message).collect();
    assert!(messages.contains(&"flag has no effect"), "{messages:?}");
    assert!(messages.contains(&"flag is no longer supported - ignoring"), "{messages:?}");
    assert!(messages.iter().any(|message| message.starts_with("--max-snapshots is deprecated in 3.6")));
}

#[test]
fn what_does_not_go_together_is_refused_with_etcds_texts() {
    let verify = "failed to verify flags";
    let start = "discovery failed";
    for (text, message, error) in [
        ("foo", verify, "\"foo\" is not a valid flag"),
        ("--listen-client-urls=http://foo:2379", verify, "expected IP in URL for binding (http://foo:2379)"),
        (
            "--listen-client-urls=http://127.0.0.1:1111",
            "advertise client URLs are not set",
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            "--initial-advertise-peer-urls=http://:2380",
            verify,
            "--initial-advertise-peer-urls \"http://:2380\" must be \"host:port\" (unexpected empty host (http://:2380))",
        ),
        (
            "--advertise-client-urls=http://:1",
            verify,
            "--advertise-client-urls \"http://:1\" must be in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" (unexpected empty host (http://:1))",
        ),
        ("--heartbeat-interval=0", verify, "--heartbeat-interval must be >0 (set to 0ms)"),
        ("--election-timeout=0", verify, "--election-timeout must be >0 (set to 0ms)"),
        (
            "--heartbeat-interval=300",
            verify,
            "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[300ms]",
        ),
        (
            "--election-timeout=60000",
            verify,
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        ),
        ("--auto-compaction-mode=foo", verify, "unknown auto-compaction-mode \"foo\""),
        ("--auto-compaction-mode=", verify, "undefined auto-compaction-mode"),
        (
            "--auto-compaction-retention=xx",
            start,
            "error parsing CompactionRetention: time: invalid duration \"xx\"",
        ),
        (
            "--discovery-fallback=proxy",
            verify,
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        ),
        ("--discovery-token=x", verify, "both --discovery-token and --discovery-endpoints must be set"),
        ("--discovery-endpoints=x", verify, "both --discovery-token and --discovery-endpoints must be set"),
        (
            "--discovery-endpoints= --discovery-token=x",
            verify,
            "--discovery-endpoints must not contain empty endpoints",
        ),
        (
            "--discovery-srv=x --initial-cluster=default=http://localhost:2380",
            verify,
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\"",
        ),
        (
            "--feature-gates=LeaseCheckpointPersist=true",
            verify,
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
        ),
        ("--compact-hash-check-time=0", verify, "--compact-hash-check-time must be >0 (set to 0s)"),
        ("--compact-hash-check-time=-1s", verify, "--compact-hash-check-time must be >0 (set to -1s)"),
    ] {
        let (got_message, got) = refusal(load_text(text));
        assert_eq!((got_message, got.as_str()), (message, error), "{text}");
    }
}

#[test]
fn what_the_log_and_traces_cannot_do_is_refused_with_etcds_texts() {
    let verify = "failed to verify flags";
    for (text, error) in [
        ("--log-format=x", "unknown log format: x, supported values json, console"),
        ("--log-outputs=default,stderr", "multi logoutput for \"default\" is not supported yet"),
        ("--logger=capnslog", "--logger=capnslog is removed in v3.5"),
        ("--logger=foo", "unknown logger option \"foo\""),
        ("--log-outputs=", "open sink \"\": open : no such file or directory"),
        (
            "--enable-log-rotation",
            "--log-outputs requires a single file path when --log-rotate-config-json is defined",
        ),
        (
            "--enable-log-rotation --log-outputs=a.log --log-rotation-config-json=x",
            "improperly formatted log rotation config: invalid character 'x' looking for beginning of value",
        ),
        (
            "--enable-log-rotation --log-outputs=a.log --log-rotation-config-json={\"maxsize\":\"x\"}",
            "invalid log rotation config: json: cannot unmarshal string into Go struct field \
             logRotationConfig.Logger.maxsize of type int",
        ),
        (
            "--enable-log-rotation --log-outputs=a.log --log-rotation-config-json=[1]",
            "invalid log rotation config: json: cannot unmarshal array into Go value of type \
             embed.logRotationConfig",
        ),
        (
            "--enable-distributed-tracing --distributed-tracing-sampling-rate=2000000",
            "distributed tracing configurition is not valid: (tracing sampling rate must be less than 1000000)",
        ),
    ] {
        let (message, got) = refusal(load_text(text));
        assert_eq!((message, got.as_str()), (verify, error), "{text}");
    }
}

#[test]
fn what_tls_cannot_do_is_refused_with_etcds_texts() {
    let verify = "failed to verify flags";
    let start = "discovery failed";
    for (text, message, error) in [
        (
            "--listen-metrics-urls=https://127.0.0.1:1",
            start,
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url",
        ),
        (
            "--listen-client-urls=http://127.0.0.1:1 --advertise-client-urls=http://127.0.0.1:1 --listen-client-http-urls=http://127.0.0.1:1",
            start,
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url http://127.0.0.1:1",
        ),
        ("--tls-min-version=x", verify, "unexpected TLS version \"x\" (must be one of: TLS1.2, TLS1.3)"),
        (
            "--tls-max-version=TLS1.1",
            verify,
            "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)",
        ),
        (
            "--tls-min-version=TLS1.3 --tls-max-version=TLS1.2",
            verify,
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            "--tls-min-version=TLS1.3 --cipher-suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            verify,
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
        ("--cipher-suites=FOO", start, "unexpected TLS cipher suite \"FOO\""),
        ("--cipher-suites=", start, "unexpected TLS cipher suite \"\""),
        (
            "--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA",
            start,
            "TLS cipher suite \"TLS_RSA_WITH_AES_128_CBC_SHA\" is not supported by etched, which offers suites with forward secrecy and authenticated encryption only",
        ),
        (
            "--listen-client-urls=https://127.0.0.1:1 --advertise-client-urls=https://127.0.0.1:1",
            start,
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme",
        ),
    ] {
        let (got_message, got) = refusal(load_text(text));
        assert_eq!((got_message, got.as_str()), (message, error), "{text}");
    }
}

#[test]
fn defaults_are_those_of_etcd() {
    let options = options("--name=m");
    assert_eq!(options.member.data_dir.to_str(), Some("m.etcd"));
    assert_eq!(options.limits.max_request_bytes, 1_572_864);
    assert_eq!(options.limits.watch_progress_notify_interval.as_secs(), 600);
    assert_eq!(options.store.compaction_batch_limit, 1000);
    assert_eq!(options.store.compaction_sleep_interval.as_millis(), 1);
    assert_eq!(options.store.auto_compaction, AutoCompaction::Off);
    assert_eq!(options.listen.keepalive_interval.as_secs(), 7200);
    assert_eq!(options.http.origins, None);
    assert!(options.listen.front_threads >= 1);
}

#[test]
fn what_members_do_together_is_chosen_by_flags() {
    let options = options(
        "--pre-vote=false --strict-reconfig-check=false --initial-election-tick-advance=false --max-learners=3 \
         --force-new-cluster --corrupt-check-time=5m --feature-gates=CompactHashCheck=true,InitialCorruptCheck=true \
         --raft-read-timeout=1s --raft-write-timeout=9s --unsafe-no-fsync",
    );
    let member = &options.member;
    assert!(!member.pre_vote && !member.strict_reconfig_check && !member.initial_election_tick_advance);
    assert!(member.force_new_cluster && options.store.unsafe_no_fsync);
    assert_eq!(member.max_learners, 3);
    assert_eq!((member.raft_read_timeout.as_secs(), member.raft_write_timeout.as_secs()), (5, 9));
    let minutes = |minutes: u64| Some(std::time::Duration::from_secs(60 * minutes));
    let checks = CheckOptions {
        at_start: true,
        interval: minutes(5),
        compaction_interval: minutes(1),
        downgrade_interval: std::time::Duration::from_secs(5),
    };
    assert_eq!(options.checks, checks);
    let plain = load_text("").unwrap().options;
    assert_eq!((plain.checks.interval, plain.checks.compaction_interval), (None, None));
    assert_eq!(load_text("--max-learners=-1").unwrap().options.member.max_learners, 0);
}

#[test]
fn both_sides_of_tls_have_their_flags() {
    let security = options(
        "--cert-file=a.crt --key-file=a.key --trusted-ca-file=ca --client-crl-file=crl --client-cert-auth \
         --client-cert-allowed-hostname=x,y --peer-cert-file=b.crt --peer-client-cert-file=c.crt \
         --peer-cert-allowed-cn=n,m --peer-skip-client-san-verification --peer-auto-tls \
         --self-signed-cert-validity=3 --tls-max-version=TLS1.2 \
         --cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    )
    .security;
    let (client, peer) = (&security.client, &security.peer);
    assert_eq!(
        client.to_string(),
        "cert = a.crt, key = a.key, client-cert=, client-key=, trusted-ca = ca, client-cert-auth = true, crl-file = crl"
    );
    assert_eq!(
        peer.to_string(),
        "cert = b.crt, key = , client-cert=c.crt, client-key=, trusted-ca = , client-cert-auth = false, crl-file = "
    );
    assert_eq!((client.allowed_hosts.len(), peer.allowed_common_names.len()), (2, 2));
    assert!(
        peer.skip_client_san_verification
            && peer.auto
            && !client.auto
            && !client.skip_client_san_verification
    );
    assert_eq!(peer.validity_years, 3);
    assert_eq!((client.protocol.min, client.protocol.max), (TlsVersion::V12, TlsVersion::V12));
    assert_eq!(client.protocol.cipher_suites.as_ref().map(Vec::len), Some(1));
    let plain = load_text("--tls-min-version=").unwrap().options.security;
    assert!(!plain.client.has_certificate() && plain.peer.allowed_hosts.is_empty());
    assert_eq!(plain.peer.protocol.cipher_suites, None);
}

#[test]
fn auto_compaction_counts_hours_durations_or_revisions() {
    let mode = |text: &str| options(text).store.auto_compaction;
    assert_eq!(
        mode("--auto-compaction-retention=2"),
        AutoCompaction::Periodic(std::time::Duration::from_secs(7200))
    );
    assert_eq!(
        mode("--auto-compaction-retention=5m"),
        AutoCompaction::Periodic(std::time::Duration::from_secs(300))
    );
    assert_eq!(
        mode("--auto-compaction-mode=revision --auto-compaction-retention=1000"),
        AutoCompaction::Revisions(1000)
    );
}

#[test]
fn the_environment_stands_in_where_the_command_line_is_silent() {
    let variables = [
        ("ETCD_NAME".to_owned(), "e".to_owned()),
        ("ETCD_DATA_DIR".to_owned(), String::new()),
        ("ETCD_FOO".to_owned(), "1".to_owned()),
        ("ETCD_VERSION".to_owned(), "3.5".to_owned()),
        ("ETCDCTL_API".to_owned(), "3".to_owned()),
    ];
    let loaded = load("etched", &arguments("--data-dir=d"), &variables).unwrap();
    assert_eq!(loaded.options.member.name, "e");
    let lines: Vec<_> = loaded.notices.iter().map(|notice| (notice.message, notice.fields.clone())).collect();
    assert_eq!(
        lines[..3],
        [
            (
                "recognized and used environment variable",
                vec![("variable-name", "ETCD_NAME".into()), ("variable-value", "e".into())]
            ),
            ("unrecognized environment variable", vec![("environment-variable", "ETCD_FOO=1".into())]),
            (
                "cannot set special environment variable",
                vec![("key", "ETCD_VERSION".into()), ("value", "3.5".into())]
            ),
        ]
    );
}

#[test]
fn a_variable_that_the_command_line_contradicts_is_fatal() {
    let variables = [("ETCD_NAME".to_owned(), "x".to_owned())];
    let (message, variable) = refusal(load("etched", &arguments("--name=y"), &variables));
    assert!(message.ends_with("(either unset environment variable or disable flag))"), "{message}");
    assert_eq!(variable, "ETCD_NAME");
}

#[test]
fn a_bad_value_in_the_environment_names_its_variable() {
    let variables = [("ETCD_SNAPSHOT_COUNT".to_owned(), "abc".to_owned())];
    let (message, error) = refusal(load("etched", &[], &variables));
    assert_eq!(message, "failed to verify flags");
    assert_eq!(error, "invalid value \"abc\" for ETCD_SNAPSHOT_COUNT: parse error");
}

#[test]
fn version_and_help_exit_with_zero() {
    let Err(Stop::Text { stdout, code: 0, .. }) = load_text("--version") else { panic!() };
    assert!(stdout.starts_with("etcd Version: 3.7.2\nGit SHA: "), "{stdout}");
    assert_eq!(stdout.lines().count(), 5);
    assert!(stdout.lines().nth(3).is_some_and(|line| line.starts_with("Go OS/Arch: linux/")));
    for text in ["-h", "--help", "--version -h"] {
        let Err(Stop::Text { stdout, stderr, code: 0 }) = load_text(text) else { panic!("{text}") };
        assert!(stderr.starts_with("Usage:"));
        let listed = FLAGS.iter().filter(|flag| flag.category != table::Category::Head);
        let missing: Vec<_> =
            listed.filter(|flag| !stdout.contains(&format!("\n  --{}", flag.name))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn a_wildcard_listener_is_advertised_by_a_real_address_or_not_at_all() {
    let loaded = load_text("--name=w --listen-peer-urls=http://0.0.0.0:2380").unwrap();
    let member = &loaded.options.member;
    let detected =
        loaded.notices.iter().any(|notice| notice.message == "detected default host for advertise");
    assert_eq!(detected, member.initial_advertise_peer_urls[0].host() != "localhost");
    assert_eq!(loaded.options.check_initial_cluster(), Ok(()));
}

#[test]
fn kinds_and_defaults_of_booleans_agree() {
    for flag in FLAGS.iter().filter(|flag| flag.kind == Kind::Bool) {
        assert!(["true", "false"].contains(&flag.default), "{}", flag.name);
    }
}
