//! Every call under every identity on every kind of listener: one table, sent to this server and to the real etcd.
//!
//! `calls.txt` says who may make which call, `callers` who calls, and `ways` over which listener.
//! What this server answers must fit the table and be what etcd answers, word by word.

mod callers;
mod calls;
pub(crate) mod ways;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use etched::tls::{Connector, Protocol, TlsOptions, TlsVersion};
use etched_proto::etcdserverpb::AuthenticateResponse;
use prost::Message as _;
use tonic::transport::Channel;

use self::callers::{Caller, PASSWORD, WITH_CERTIFICATES, WITH_TOKENS};
use self::calls::Call;
use self::ways::Way;
use crate::process::{Server, Settings, free_port};
use crate::tls::authority::{Authority, Wish};

/// One answer: the call, the caller, and what came of it.
type Line = (String, &'static str, String);

/// Makes a call that must not fail, and gives the answer.
async fn must(channel: &Channel, token: Option<&str>, method: &str, json: &str) -> Vec<u8> {
    let call = Call::new(method, json);
    let answer = ways::answer(channel, &call, token).await;
    answer.unwrap_or_else(|status| panic!("{}: {status}", call.shown())).unwrap()
}

/// Makes users, roles, leases and keys, turns authentication on, and logs everybody in.
async fn set_up(channel: &Channel) -> BTreeMap<&'static str, String> {
    let auth = async |method: &str, json: &str| {
        must(channel, None, &format!("etcdserverpb.Auth/{method}"), json).await;
    };
    for id in [1, 2, 3] {
        must(channel, None, "etcdserverpb.Lease/LeaseGrant", &format!("{{\"TTL\":1000,\"ID\":{id}}}")).await;
    }
    for (key, id) in [("a", 1), ("z", 2), ("s", 3)] {
        let json = format!("{{\"key\":\"<{key}>\",\"lease\":{id}}}");
        must(channel, None, "etcdserverpb.KV/Put", &json).await;
    }
    let campaign = "{\"name\":\"<b>\",\"lease\":1,\"value\":\"<v>\"}";
    must(channel, None, "v3electionpb.Election/Campaign", campaign).await;
    for (role, key, end) in [("role", "a", "c"), ("other", "q", "r")] {
        auth("RoleAdd", &format!("{{\"name\":\"{role}\"}}")).await;
        let perm = format!("{{\"permType\":\"READWRITE\",\"key\":\"<{key}>\",\"range_end\":\"<{end}>\"}}");
        auth("RoleGrantPermission", &format!("{{\"name\":\"{role}\",\"perm\":{perm}}}")).await;
    }
    let users = [
        ("root", "root"),
        ("alice", "role"),
        ("bob", ""),
        ("carol", "other"),
        ("revoked", "role"),
        ("changed", "role"),
        ("deleted", "role"),
    ];
    for (name, role) in users {
        auth("UserAdd", &format!("{{\"name\":\"{name}\",\"password\":\"{PASSWORD}\"}}")).await;
        if !role.is_empty() {
            auth("UserGrantRole", &format!("{{\"user\":\"{name}\",\"role\":\"{role}\"}}")).await;
        }
    }
    auth("AuthEnable", "{}").await;
    let mut tokens = BTreeMap::new();
    for (name, _) in users {
        let login = format!("{{\"name\":\"{name}\",\"password\":\"{PASSWORD}\"}}");
        let answer = must(channel, None, "etcdserverpb.Auth/Authenticate", &login).await;
        tokens.insert(name, AuthenticateResponse::decode(&answer[..]).unwrap().token);
    }
    for (method, json) in [
        ("UserRevokeRole", "{\"name\":\"revoked\",\"role\":\"role\"}"),
        ("UserChangePassword", "{\"name\":\"changed\",\"password\":\"other\"}"),
        ("UserDelete", "{\"name\":\"deleted\"}"),
    ] {
        must(channel, Some(&tokens["root"]), &format!("etcdserverpb.Auth/{method}"), json).await;
    }
    tokens
}

/// Makes everybody and gives his token, for other tests.
pub(crate) async fn log_everybody_in(server: &Server) -> BTreeMap<&'static str, String> {
    let port = server.endpoint.rsplit_once(':').unwrap().1.parse().unwrap();
    set_up(&Way::Tcp(port).channel().await).await
}

/// A member on all kinds of listeners, with certificates for whoever wants one.
struct Site {
    dir: tempfile::TempDir,
    authority: Authority,
    /// TCP, TLS, HTTP alone.
    ports: [u16; 3],
}

impl Site {
    fn new() -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            authority: Authority::new("authority"),
            ports: std::array::from_fn(|_| free_port()),
        };
        site.write_pair("server", "server");
        std::fs::write(site.path("ca.crt"), &site.authority.cert_pem).unwrap();
        site
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write_pair(&self, file: &str, name: &str) {
        let made = self.authority.issue(Wish::named(name).hosts(&["localhost", "127.0.0.1"]));
        std::fs::write(self.path(file).with_extension("crt"), made.cert_pem).unwrap();
        std::fs::write(self.path(file).with_extension("key"), made.key_pem).unwrap();
    }

    fn socket(&self) -> std::path::PathBuf {
        self.path("socket:1")
    }

    /// A member of one of the programs, without TLS or with it.
    fn start(&self, settings: Settings, scheme: &str) -> Server {
        let [tcp, tls, http] = self.ports;
        let flag = |name: &str, file: &str| format!("--{name}={}", self.path(file).display());
        let mut flags = vec!["--bcrypt-cost=4".to_owned(), "--log-level=info".to_owned()];
        match scheme {
            "separate" => flags.extend([
                format!("--listen-client-urls=http://127.0.0.1:{tcp},unix://{}", self.socket().display()),
                format!("--listen-client-http-urls=http://127.0.0.1:{http}"),
            ]),
            "tls" => flags.extend([
                format!("--listen-client-urls=https://127.0.0.1:{tls}"),
                format!("--advertise-client-urls=https://127.0.0.1:{tls}"),
                "--client-cert-auth".to_owned(),
                flag("trusted-ca-file", "ca.crt"),
                flag("cert-file", "server.crt"),
                flag("key-file", "server.key"),
            ]),
            _ => flags.push(format!("--listen-client-urls=http://127.0.0.1:{tcp}")),
        }
        flags.into_iter().fold(settings, |settings, flag| settings.with(&flag)).start()
    }

    /// A way to the listener with TLS, with a certificate of this name.
    fn with_certificate(&self, name: &str) -> Way {
        let file = format!("client-{name}");
        self.write_pair(&file, name);
        let connector = Connector::for_grpc(&self.tls_options(&file)).unwrap();
        Way::Tls(self.ports[1], Arc::new(connector))
    }

    /// The same for HTTP/1.1.
    fn with_certificate_for_http(&self, name: &str) -> Way {
        let file = format!("client-{name}");
        self.write_pair(&file, name);
        Way::Tls(self.ports[1], Arc::new(Connector::new(&self.tls_options(&file)).unwrap()))
    }

    fn tls_options(&self, file: &str) -> TlsOptions {
        TlsOptions {
            cert_file: Some(self.path(file).with_extension("crt")),
            key_file: Some(self.path(file).with_extension("key")),
            client_cert_file: None,
            client_key_file: None,
            trusted_ca_file: Some(self.path("ca.crt")),
            crl_file: None,
            client_cert_auth: false,
            allowed_common_names: Vec::new(),
            allowed_hosts: Vec::new(),
            skip_client_san_verification: false,
            auto: false,
            validity_years: 1,
            protocol: Protocol { min: TlsVersion::V12, max: TlsVersion::V13, cipher_suites: None },
            is_made: false,
        }
    }
}

/// A lease that root has revoked, with its key, for the next who asks.
async fn restore_lease(channel: &Channel, tokens: &BTreeMap<&'static str, String>) {
    let grant = Call::new("etcdserverpb.Lease/LeaseGrant", "{\"TTL\":1000,\"ID\":3}");
    let put = Call::new("etcdserverpb.KV/Put", "{\"key\":\"<s>\",\"lease\":3}");
    for call in [grant, put] {
        // The lease may be there still.
        let outcome = ways::call(channel, &call, Some(&tokens["root"])).await;
        assert!(outcome == "ok" || outcome.contains("lease already exists"), "{outcome}");
    }
}

/// Goes through the table over one way for each caller: by gRPC if a channel is given, else by JSON.
async fn go_through(
    label: &str,
    callers: &[(Caller, Way)],
    is_grpc: bool,
    root: &Channel,
    tokens: &BTreeMap<&'static str, String>,
) -> Vec<Line> {
    let mut table = Vec::new();
    let mut channels = Vec::new();
    for (_, way) in callers.iter().filter(|_| is_grpc) {
        channels.push(way.channel().await);
    }
    for call in calls::all() {
        if !is_grpc && call.path.is_none() {
            continue;
        }
        for (number, (caller, way)) in callers.iter().enumerate() {
            if call.method.ends_with("LeaseRevoke") {
                restore_lease(root, tokens).await;
            }
            let token = caller.token.text(tokens);
            let outcome = match channels.get(number) {
                Some(channel) => ways::call(channel, &call, token).await,
                None => way.post(&call, token).await,
            };
            // The id of a member is made of its URLs and the second; so one that is there may be refused for either.
            let outcome = outcome.replace("member ID already exist", "Peer URLs already exists");
            // By JSON, whoever has a name in his certificate is asked for another one.
            let is_misled = !is_grpc && !caller.certificate.is_empty();
            if is_misled {
                assert!(outcome.starts_with("HTTP 400: CommonName"), "{}: {outcome}", call.shown());
            } else {
                let (is_refused, may) = (caller.is_refused(&outcome), caller.may(&call));
                let shown = call.shown();
                assert_eq!(is_refused, !may, "{label}: {shown} by {}: {outcome}", caller.name);
            }
            table.push((format!("{label}: {}", call.shown()), caller.name, outcome));
        }
    }
    table
}

/// All that a member of this program answers without TLS.
async fn table_without_tls(settings: Settings) -> Vec<Line> {
    let site = Site::new();
    let server = site.start(settings, "plain");
    let way = Way::Tcp(site.ports[0]);
    let root = way.channel().await;
    let tokens = set_up(&root).await;
    let callers = WITH_TOKENS.map(|caller| (caller, way.clone()));
    let mut table = go_through("gRPC", &callers, true, &root, &tokens).await;
    table.extend(go_through("JSON", &callers, false, &root, &tokens).await);
    // This one ends what all others are about, so it comes last, and root after all others.
    let disable = Call::new("etcdserverpb.Auth/AuthDisable", "{}");
    for (caller, _) in &callers {
        let outcome = ways::call(&root, &disable, caller.token.text(&tokens)).await;
        assert_eq!(outcome == "ok", caller.name == "root", "{}: {outcome}", caller.name);
        table.push((disable.shown(), caller.name, outcome));
    }
    server.kill();
    table
}

/// The same where gRPC and HTTP have listeners of their own.
async fn table_of_separate_listeners(settings: Settings) -> Vec<Line> {
    let site = Site::new();
    let server = site.start(settings, "separate");
    let socket = Way::Unix(site.socket());
    let root = socket.channel().await;
    let tokens = set_up(&root).await;
    let callers = WITH_TOKENS.map(|caller| (caller, socket.clone()));
    let mut table = go_through("a socket", &callers, true, &root, &tokens).await;
    let http = Way::Tcp(site.ports[2]);
    let callers = WITH_TOKENS.map(|caller| (caller, http.clone()));
    table.extend(go_through("HTTP alone", &callers, false, &root, &tokens).await);
    server.kill();
    table
}

/// All that a member of this program answers to clients with certificates.
async fn table_with_tls(settings: Settings) -> Vec<Line> {
    let site = Site::new();
    let server = site.start(settings, "tls");
    let root = site.with_certificate("").channel().await;
    let named = site.with_certificate_for_http("alice");
    let before = named.ask("/v3/auth/status", "{}", None).await;
    assert_eq!(before.0, 200, "names do not matter before: {before:?}");
    let tokens = set_up(&root).await;
    // Over these connections nobody is without a certificate.
    let all = || WITH_TOKENS[1..].iter().chain(&WITH_CERTIFICATES).copied();
    let way = |caller: Caller| (caller, site.with_certificate(caller.certificate));
    let mut table = go_through("TLS", &all().map(way).collect::<Vec<_>>(), true, &root, &tokens).await;
    let way = |caller: Caller| (caller.by_json(), site.with_certificate_for_http(caller.certificate));
    table.extend(go_through("JSON by TLS", &all().map(way).collect::<Vec<_>>(), false, &root, &tokens).await);
    for path in ["/v3beta/kv/range", "/v3/nothing", "/v2/keys", "/health"] {
        let (status, line) = named.ask(path, "{}", None).await;
        // etcd has no v2 API, and its pages do not take this method.
        let is_misled = line.starts_with("CommonName");
        assert_eq!(is_misled, path.starts_with("/v3"), "{path}: {status} {line}");
    }
    server.kill();
    table
}

fn assert_same(ours: &[Line], theirs: &[Line]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

fn settings(dir: &Path, name: &str) -> Settings {
    Settings::new(&dir.join(name))
}

#[tokio::test]
async fn each_call_is_for_those_whom_the_table_names_as_in_etcd() {
    let dir = tempfile::tempdir().unwrap();
    let ours = table_without_tls(settings(dir.path(), "ours")).await;
    assert_same(&ours, &table_without_tls(settings(dir.path(), "theirs").of_etcd()).await);
}

#[tokio::test]
async fn the_table_holds_on_sockets_and_on_listeners_for_http_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ours = table_of_separate_listeners(settings(dir.path(), "ours")).await;
    assert_same(&ours, &table_of_separate_listeners(settings(dir.path(), "theirs").of_etcd()).await);
}

#[tokio::test]
async fn the_table_holds_for_certificates_and_json_does_not_take_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let ours = table_with_tls(settings(dir.path(), "ours")).await;
    assert_same(&ours, &table_with_tls(settings(dir.path(), "theirs").of_etcd()).await);
}

#[test]
fn every_method_has_a_line() {
    let calls = calls::all();
    // It ends authentication, and so comes behind the table.
    let left_out = ["etcdserverpb.Auth/AuthDisable"];
    for method in calls::methods().iter().filter(|method| !left_out.contains(&method.as_str())) {
        assert!(calls.iter().any(|call| call.method == *method), "{method} has no line");
    }
}
