//! TLS as clients, members and operators see it: who is served, who is not, and what is said of it.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use etched::tls::{Connector, Protocol, TlsOptions, TlsVersion};
use etched_client::{Client, Get, Options, Put, Tls, WatchNotice};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[path = "../../src/tls/authority.rs"]
pub(crate) mod authority;

use authority::{Authority, Made, Wish};

/// How long a process may take for what takes it a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// Files of certificates, and the ports of one member.
struct Site {
    dir: tempfile::TempDir,
    authority: Authority,
    client: u16,
    peer: u16,
}

/// A running member; it is killed when it is dropped.
struct Member {
    child: Child,
    lines: Receiver<String>,
}

impl Site {
    fn new() -> Self {
        let (client, peer) = (free_port(), free_port());
        let site =
            Self { dir: tempfile::tempdir().unwrap(), authority: Authority::new("authority"), client, peer };
        site.write("ca.crt", site.authority.cert_pem.as_bytes());
        site.place("server", &site.authority.issue(Wish::named("server").hosts(&["localhost", "127.0.0.1"])));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file in place at once, as those who replace certificates do.
    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path("unfinished"), bytes).unwrap();
        std::fs::rename(self.path("unfinished"), self.path(name)).unwrap();
    }

    fn place(&self, name: &str, made: &Made) {
        self.write(&format!("{name}.crt"), made.cert_pem.as_bytes());
        self.write(&format!("{name}.key"), made.key_pem.as_bytes());
    }

    fn flag(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.path(file).display())
    }

    /// The flags of a member with these schemes of its URLs.
    fn flags(&self, client_scheme: &str, peer_scheme: &str) -> Vec<String> {
        let client = format!("{client_scheme}://127.0.0.1:{}", self.client);
        let peer = format!("{peer_scheme}://127.0.0.1:{}", self.peer);
        vec![
            "--name=m".to_owned(),
            self.flag("data-dir", "m.etcd"),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=m={peer}"),
        ]
    }

    /// The flags of a member whose clients must show a certificate of the authority.
    fn strict(&self) -> Vec<String> {
        let mut flags = self.flags("https", "http");
        flags.extend(["--client-cert-auth".to_owned(), self.flag("trusted-ca-file", "ca.crt")]);
        flags.extend([self.flag("cert-file", "server.crt"), self.flag("key-file", "server.key")]);
        flags
    }

    fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.client)
    }

    /// A client that trusts the authority and shows this certificate.
    async fn connect(&self, made: &Made) -> Client {
        let tls = Tls::builder().trust(self.authority.cert_pem.as_bytes());
        let tls = tls.identity(made.cert_pem.as_bytes(), made.key_pem.as_bytes()).build().unwrap();
        let options = over(tls);
        Client::connect([self.endpoint()], options).await.unwrap()
    }

    /// A connector that trusts the authority and shows this certificate, if one is given.
    fn connector(&self, made: Option<&Made>) -> Connector {
        let file = made.map(|made| {
            self.place("client", made);
            self.path("client")
        });
        let with = |extension| file.as_ref().map(|file| file.with_extension(extension));
        Connector::new(&TlsOptions {
            cert_file: with("crt"),
            key_file: with("key"),
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
        })
        .unwrap()
    }

    /// The answer to a plain request over TLS, or why there is none.
    async fn ask(&self, connector: &Connector, port: u16, path: &str) -> std::io::Result<String> {
        let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        let mut stream = connector.connect("127.0.0.1", stream).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        if answer.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
    }
}

impl Member {
    fn start(flags: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etched"));
        let mut child = command.args(flags).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        let read = move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        };
        std::thread::Builder::new().spawn(read).unwrap();
        let member = Self { child, lines };
        member.wait_for("ready to serve client requests");
        member
    }

    fn wait_for(&self, message: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the member logs what is waited for");
            if line.contains(message) {
                return line;
            }
        }
    }

    /// Waits for the line about a connection that was refused for this reason.
    fn wait_for_rejected(&self, reason: &str) {
        let line = self.wait_for("rejected connection on");
        assert!(line.contains(reason), "{reason} is not in {line}");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The options of a client that speaks TLS.
fn over(tls: Tls) -> Options {
    let mut options = Options::default();
    options.tls = Some(tls);
    options
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn clients_are_served_over_tls() {
    let site = Site::new();
    let metrics = free_port();
    let mut flags = site.strict();
    flags.push(format!("--listen-metrics-urls=https://127.0.0.1:{metrics}"));
    let member = Member::start(&flags);
    let made = site.authority.issue(Wish::named("alice"));
    let client = site.connect(&made).await;
    client.put(Put::new("a", vec![b'x'; 1_000_000])).await.unwrap();
    assert_eq!(client.get(Get::new("a")).await.unwrap().kvs[0].value.len(), 1_000_000);
    let connector = site.connector(Some(&made));
    let health = site.ask(&connector, site.client, "/health").await.unwrap();
    assert!(
        health.starts_with("HTTP/1.1 200 OK") && health.ends_with("{\"health\":\"true\",\"reason\":\"\"}")
    );
    let answer = site.ask(&connector, metrics, "/metrics").await.unwrap();
    assert!(answer.contains("etcd_server_has_leader 1"));
    drop(member);
}

#[tokio::test]
async fn whoever_is_not_trusted_is_refused_and_logged() {
    let site = Site::new();
    let mut flags = site.strict();
    flags.push(site.flag("client-crl-file", "crl"));
    site.write("crl", &site.authority.revoke(&[&[0x2a]]));
    let member = Member::start(&flags);
    let other = Authority::new("other");
    let expired = Wish::named("alice").valid(1_000_000_000, 1_100_000_000);
    for (made, reason) in [
        (None, "tls: client didn't provide a certificate"),
        (Some(other.issue(Wish::named("alice"))), "x509: certificate signed by unknown authority"),
        (Some(site.authority.issue(expired)), "x509: certificate has expired or is not yet valid"),
        (
            Some(site.authority.issue(Wish::named("alice").for_servers_only())),
            "x509: certificate specifies an incompatible key usage",
        ),
        (
            Some(site.authority.issue(Wish::named("alice").serial(&[0x2a]))),
            "transport: certificate serial 2a revoked",
        ),
    ] {
        let asked = site.ask(&site.connector(made.as_ref()), site.client, "/health").await;
        assert!(asked.is_err(), "{reason}: {asked:?}");
        member.wait_for_rejected(reason);
    }
    let mut plain = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], site.client))).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\n\r\n").await.unwrap();
    member.wait_for_rejected("tls: first record does not look like a TLS handshake");
    let good = site.connector(Some(&site.authority.issue(Wish::named("alice"))));
    assert!(site.ask(&good, site.client, "/health").await.is_ok());
}

#[tokio::test]
async fn a_replaced_certificate_is_used_for_the_next_connection() {
    let site = Site::new();
    let member = Member::start(&site.strict());
    let made = site.authority.issue(Wish::named("alice"));
    let before = site.connect(&made).await;
    let mut watch = before.watch("a").await.unwrap();
    // The next certificate is of another authority, which is trusted from now on as well.
    let next = Authority::new("next");
    site.write("ca.crt", format!("{}{}", site.authority.cert_pem, next.cert_pem).as_bytes());
    site.place("server", &next.issue(Wish::named("server").hosts(&["127.0.0.1"])));
    let only_next = Tls::builder().trust(next.cert_pem.as_bytes());
    let bob = next.issue(Wish::named("bob"));
    let tls = only_next.identity(bob.cert_pem.as_bytes(), bob.key_pem.as_bytes()).build().unwrap();
    let options = over(tls);
    let after = Client::connect([site.endpoint()], options).await.unwrap();
    after.put(Put::new("a", "1")).await.unwrap();
    let seen = loop {
        if let WatchNotice::Events { events, .. } = watch.next().await.unwrap().unwrap() {
            break events.len();
        }
    };
    assert_eq!(seen, 1, "a stream that was there goes on");
    member.wait_for("read changed TLS files");
}

#[tokio::test]
async fn a_member_makes_its_own_certificate_and_keeps_it() {
    let site = Site::new();
    let mut flags = site.flags("https", "https");
    flags.extend(["--auto-tls".to_owned(), "--peer-auto-tls".to_owned()]);
    let options = || over(Tls::builder().skip_verification().build().unwrap());
    let member = Member::start(&flags);
    let client = Client::connect([site.endpoint()], options()).await.unwrap();
    client.put(Put::new("a", "1")).await.unwrap();
    drop(member);
    let path = site.path("m.etcd/fixtures/client/cert.pem");
    let before = std::fs::read(&path).unwrap();
    assert!(site.path("m.etcd/fixtures/peer/key.pem").exists());
    let _member = Member::start(&flags);
    let client = Client::connect([site.endpoint()], options()).await.unwrap();
    assert_eq!(client.get(Get::new("a")).await.unwrap().count, 1);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn one_port_serves_with_tls_and_without() {
    let site = Site::new();
    let mut flags = site.strict();
    let urls = format!("--listen-client-urls=http://127.0.0.1:{0},https://127.0.0.1:{0}", site.client);
    flags.push(urls);
    let _member = Member::start(&flags);
    let made = site.authority.issue(Wish::named("alice"));
    site.connect(&made).await.put(Put::new("a", "1")).await.unwrap();
    let plain = format!("http://127.0.0.1:{}", site.client);
    let plain = Client::connect([plain], Options::default()).await.unwrap();
    assert_eq!(plain.get(Get::new("a")).await.unwrap().count, 1);
}

#[tokio::test]
async fn only_members_reach_the_listener_of_members() {
    let site = Site::new();
    let mut flags = site.flags("http", "https");
    for (name, file) in [
        ("peer-cert-file", "server.crt"),
        ("peer-key-file", "server.key"),
        ("peer-trusted-ca-file", "ca.crt"),
    ] {
        flags.push(site.flag(name, file));
    }
    flags.extend(["--peer-client-cert-auth", "--peer-cert-allowed-cn=server,member"].map(str::to_owned));
    let member = Member::start(&flags);
    let here = |name: &str| Wish::named(name).hosts(&["127.0.0.1"]);
    let version = "/version";
    let ask = async |made: Made| site.ask(&site.connector(Some(&made)), site.peer, version).await;
    let answer = ask(site.authority.issue(here("member"))).await.unwrap();
    assert!(answer.contains("etcdserver"), "{answer}");
    assert!(ask(site.authority.issue(here("client"))).await.is_err());
    member.wait_for_rejected("client certificate authentication failed");
    assert!(ask(site.authority.issue(Wish::named("member").hosts(&["10.0.0.1"]))).await.is_err());
    member.wait_for_rejected("x509: certificate is valid for 10.0.0.1, not 127.0.0.1");
}

/// The last grave line of a start that fails: its message and its error.
fn refusal(binary: &Path, flags: &[String]) -> (String, String) {
    let output = Command::new(binary).args(flags).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{flags:?}: {log}");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let grave: Vec<_> =
        lines.filter(|line| line["level"] == "fatal" || line["msg"] == "failed to verify flags").collect();
    let last = grave.last().unwrap_or_else(|| panic!("{flags:?}: {log}"));
    let text = |key: &str| last[key].as_str().unwrap_or_default().to_owned();
    (text("msg"), text("error"))
}

#[test]
fn what_etcd_refuses_is_refused_with_its_words() {
    let site = Site::new();
    let Ok(etcd) = etcd_bin_vendored_linux_amd64::etcd_bin_path();
    let other = site.authority.issue(Wish::named("other"));
    site.place("other", &other);
    site.write("text", b"text");
    let (cert, key) = (site.flag("cert-file", "server.crt"), site.flag("key-file", "server.key"));
    let (peer_cert, peer_key) =
        (site.flag("peer-cert-file", "server.crt"), site.flag("peer-key-file", "server.key"));
    let good = [cert.as_str(), key.as_str()];
    let peer = [peer_cert.as_str(), peer_key.as_str()];
    let file = |name: &str, file: &str| site.flag(name, file);
    let cases: Vec<(&str, &str, Vec<String>)> = [
        ("https", "http", vec![]),
        ("http", "https", vec![]),
        ("https", "http", vec![cert.clone()]),
        ("https", "http", vec![key.clone()]),
        ("https", "http", vec![file("cert-file", "missing"), file("key-file", "missing")]),
        ("https", "http", vec![cert.clone(), file("key-file", "other.key")]),
        ("https", "http", vec![cert.clone(), file("key-file", "server.crt")]),
        ("https", "http", vec![file("cert-file", "text"), key.clone()]),
        ("http", "https", vec![peer_cert.clone()]),
        ("http", "https", vec![file("peer-cert-file", "missing"), file("peer-key-file", "missing")]),
        ("http", "https", vec!["--peer-auto-tls".to_owned(), "--self-signed-cert-validity=0".to_owned()]),
        ("https", "http", vec!["--auto-tls".to_owned(), "--self-signed-cert-validity=0".to_owned()]),
        ("http", "http", vec!["--cipher-suites=FOO".to_owned()]),
        ("http", "http", vec!["--tls-min-version=x".to_owned()]),
        ("http", "http", vec!["--tls-min-version=TLS1.3".to_owned(), "--tls-max-version=TLS1.2".to_owned()]),
        ("http", "http", vec!["--compact-hash-check-time=0".to_owned()]),
        ("http", "http", vec![format!("--listen-metrics-urls=https://127.0.0.1:{}", free_port())]),
        ("http", "http", vec![format!("--listen-client-http-urls=http://127.0.0.1:{}", site.client)]),
    ]
    .into_iter()
    .chain(
        [
            vec![file("client-cert-file", "server.crt")],
            vec![file("client-cert-file", "missing"), file("client-key-file", "missing")],
            vec![file("trusted-ca-file", "missing")],
        ]
        .map(|more| ("https", "http", good.iter().map(|flag| (*flag).to_owned()).chain(more).collect())),
    )
    .chain(
        [
            vec!["--peer-cert-allowed-cn=a,b".to_owned(), "--peer-cert-allowed-hostname=c".to_owned()],
            vec![file("peer-trusted-ca-file", "missing")],
        ]
        .map(|more| ("http", "https", peer.iter().map(|flag| (*flag).to_owned()).chain(more).collect())),
    )
    .collect();
    for (client_scheme, peer_scheme, more) in cases {
        let mut flags = site.flags(client_scheme, peer_scheme);
        flags.extend(more.clone());
        let ours = refusal(Path::new(env!("CARGO_BIN_EXE_etched")), &flags);
        // What one left behind must not make the other an old member.
        let _ = std::fs::remove_dir_all(site.path("m.etcd"));
        let theirs = refusal(etcd, &flags);
        let _ = std::fs::remove_dir_all(site.path("m.etcd"));
        assert_eq!(ours, theirs, "{more:?}");
    }
}
