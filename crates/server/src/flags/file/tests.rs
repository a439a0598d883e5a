//! Files as people write them, and etcd's answers to what is wrong with them.

use super::super::{Loaded, Options, Stop, load};
use super::*;

fn typed(text: &str) -> Typed {
    parse(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"))
}

fn problem(text: &str) -> String {
    match parse(text) {
        Err(FileProblem::Verify(text) | FileProblem::Print(text)) => text,
        Ok(typed) => panic!("{text}: {typed:?}"),
    }
}

/// Loads the options of a file, with these arguments beside it.
fn load_file(text: &str, arguments: &[&str]) -> Result<Loaded, Stop> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.yaml");
    std::fs::write(&path, text).unwrap();
    let mut all = vec![format!("--config-file={}", path.display())];
    all.extend(arguments.iter().map(|&argument| argument.to_owned()));
    load("etched", &all, &[("ETCD_HEARTBEAT_INTERVAL".to_owned(), "7".to_owned())])
}

fn options(text: &str) -> Options {
    load_file(text, &[]).unwrap_or_else(|stop| panic!("{text}: {stop:?}")).options
}

/// The text of a value that the flag takes, as a file has it.
fn sample(flag: &Flag) -> (String, &'static str) {
    match (flag.kind, flag.name) {
        (Kind::Bool, _) => ("true".to_owned(), "true"),
        (Kind::Unsigned | Kind::Unsigned32, _) => ("7".to_owned(), "7"),
        (Kind::Signed, _) => ("-7".to_owned(), "-7"),
        (Kind::Duration, _) => ("7000".to_owned(), "7000ns"),
        (Kind::Urls | Kind::Origins, _) => ("\"http://127.0.0.1:7\"".to_owned(), "http://127.0.0.1:7"),
        (Kind::List, "host-whitelist") => ("\"a,b\"".to_owned(), "a,b"),
        (Kind::List, _) => ("[a, b]".to_owned(), "a,b"),
        (Kind::Choice(choices), _) => (format!("\"{}\"", choices[0]), choices[0]),
        (Kind::Gates, _) => ("\"AllAlpha=true\"".to_owned(), "AllAlpha=true"),
        (Kind::Text, _) => ("text".to_owned(), "text"),
    }
}

#[test]
fn each_flag_with_a_place_in_a_file_is_read_from_there() {
    for flag in FLAGS {
        let path = match flag.place {
            Place::Name => flag.name,
            Place::Path(path) => path,
            Place::Nowhere => continue,
        };
        let (written, expected) = sample(flag);
        let mut text = String::new();
        let parts: Vec<&str> = path.split('.').collect();
        for (depth, part) in parts.iter().enumerate() {
            let is_last = depth + 1 == parts.len();
            let value = if is_last { format!(" {written}") } else { String::new() };
            text.push_str(&format!("{}{part}:{value}\n", "  ".repeat(depth)));
        }
        let typed = typed(&text);
        assert_eq!(typed.text(flag.name), expected, "{text}");
        assert_eq!(typed.origin(flag.name), Some(Origin::File), "{text}");
    }
}

#[test]
fn a_file_takes_the_place_of_the_command_line_and_the_environment() {
    let text = "name: f\ndata-dir: /tmp/f\nlisten-client-urls: http://127.0.0.1:1,http://127.0.0.1:2\n\
                watch-progress-notify-interval: 5000000000\nunknown: {a: 1}\nlog-outputs: [stdout]\n";
    let loaded = load_file(text, &["--name=x", "--snapshot-count=5"]).unwrap();
    let options = &loaded.options;
    assert_eq!((options.member.name.as_str(), options.member.snapshot_count), ("f", 10_000));
    assert_eq!(options.member.heartbeat_interval.as_millis(), 100);
    assert_eq!(options.limits.watch_progress_notify_interval.as_secs(), 5);
    assert_eq!(options.listen.client_urls.len(), 2);
    let said = loaded.notices.iter().any(|notice| notice.message.starts_with("loaded server configuration"));
    assert!(said, "{:?}", loaded.notices);
}

#[test]
fn json_is_read_as_well_and_an_empty_file_says_nothing() {
    assert_eq!(options("{\"name\": \"j\", \"pre-vote\": false}").member.name, "j");
    assert_eq!(options("").member.name, "default");
    assert_eq!(options("# nothing\n").member.name, "default");
    assert_eq!(options("name: a\n---\nname: b\n").member.name, "a");
    assert_eq!(options("Name: capital\n").member.name, "capital");
    assert_eq!(options("name: a\nname: z\n").member.name, "z");
    assert_eq!(options("name: ~\n").member.name, "default");
    assert_eq!(options("snapshot-count: 1e4\n").member.snapshot_count, 10_000);
}

#[test]
fn fields_of_earlier_releases_keep_their_meaning() {
    let options = options(
        "experimental-initial-corrupt-check: true\nexperimental-watch-progress-notify-interval: 5000000000\n\
         feature-gates: CompactHashCheck=true\n",
    );
    assert!(options.gates.is_on("InitialCorruptCheck") && options.gates.is_on("CompactHashCheck"));
    assert_eq!(options.limits.watch_progress_notify_interval.as_secs(), 5);
}

#[test]
fn what_is_wrong_with_a_file_is_said_in_etcds_words() {
    let decoding = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
    for (text, error) in [
        ("name: 5", format!("{decoding} number into Go struct field configYAML.Config.name of type string")),
        (
            "watch-progress-notify-interval: 5s",
            format!("{decoding} string into Go struct field configYAML.Config.watch-progress-notify-interval of type time.Duration"),
        ),
        (
            "listen-peer-urls: 5",
            format!("{decoding} number into Go struct field configYAML.configJSON.listen-peer-urls of type string"),
        ),
        ("listen-peer-urls: foo", "unexpected error setting up listen-peer-urls: URL scheme must be http, https, unix, or unixs: foo\n".to_owned()),
        ("snapshot-count: -1", format!("{decoding} number -1 into Go struct field configYAML.Config.snapshot-count of type uint64")),
        ("snapshot-count: 1.5", format!("{decoding} number 1.5 into Go struct field configYAML.Config.snapshot-count of type uint64")),
        ("log-outputs: stderr", format!("{decoding} string into Go struct field configYAML.Config.log-outputs of type []string")),
        ("log-outputs: [5]", format!("{decoding} number into Go struct field configYAML.Config.log-outputs of type string")),
        (
            "client-transport-security: 5",
            format!("{decoding} number into Go struct field configYAML.configJSON.client-transport-security of type embed.securityConfig"),
        ),
        (
            "client-transport-security: {cert-file: 5}",
            format!("{decoding} number into Go struct field securityConfig.configJSON.client-transport-security.cert-file of type string"),
        ),
        ("peer-transport-security:", "invalid peer-transport-security".to_owned()),
        (
            "socket-options: {reuse-port: 5}",
            format!("{decoding} number into Go struct field SocketOpts.Config.socket-options.reuse-port of type bool"),
        ),
        (
            "discovery-config: {client: {dial-timeout: 5s}}",
            format!("{decoding} string into Go struct field ConfigSpec.Config.discovery-config.client.dial-timeout of type time.Duration"),
        ),
        ("max-concurrent-streams: 4294967296", format!("{decoding} number 4294967296 into Go struct field configYAML.Config.max-concurrent-streams of type uint32")),
        ("feature-gates: Foo=true", "unrecognized feature gate: Foo".to_owned()),
        ("initial-cluster-state: bad", "unexpected clusterState \"bad\"".to_owned()),
        ("[a]", format!("{decoding} array into Go value of type embed.configYAML")),
        ("a: b: c", "error converting YAML to JSON: yaml: mapping values are not allowed in this context at line 1, column 5".to_owned()),
    ] {
        assert_eq!(problem(text), error, "{text}");
    }
    let missing = read(Path::new("/nonexistent/etcd.yaml"));
    let text = "open /nonexistent/etcd.yaml: no such file or directory".to_owned();
    assert_eq!(missing.unwrap_err(), FileProblem::Verify(text));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*", lines in proptest::collection::vec("[a-z-]{1,20}: [\\[\\]{}&*!a-z0-9,'\"-]{0,12}", 0..8)) {
        let _ = parse(&text);
        let _ = parse(&lines.join("\n"));
    }
}
