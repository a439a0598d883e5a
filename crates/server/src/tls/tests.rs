//! Handshakes in memory: who is let in, who is not, and what changes while a listener runs.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::authority::{Authority, Made, Wish};
use super::*;

/// A directory with an authority and the files of one listener.
struct Site {
    dir: tempfile::TempDir,
    authority: Authority,
    /// Clients so far.
    clients: Cell<u32>,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            authority: Authority::new("authority"),
            clients: Cell::new(0),
        };
        site.write("ca.crt", site.authority.cert_pem.as_bytes());
        site.place("server", &site.authority.issue(Wish::named("server").hosts(&["localhost", "127.0.0.1"])));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn place(&self, name: &str, made: &Made) -> (PathBuf, PathBuf) {
        (
            self.write(&format!("{name}.crt"), made.cert_pem.as_bytes()),
            self.write(&format!("{name}.key"), made.key_pem.as_bytes()),
        )
    }

    /// A listener that asks for certificates of the authority.
    fn options(&self) -> TlsOptions {
        TlsOptions { trusted_ca_file: Some(self.path("ca.crt")), ..plain(&self.path("server")) }
    }

    /// Somebody who trusts the authority and shows a certificate.
    fn shows(&self, made: &Made) -> Connector {
        // A name of its own, since a connector reads files that change.
        let name = format!("client-{}", self.clients.get());
        self.clients.set(self.clients.get() + 1);
        self.place(&name, made);
        Connector::new(&TlsOptions { trusted_ca_file: Some(self.path("ca.crt")), ..plain(&self.path(&name)) })
            .unwrap()
    }

    fn issue(&self, wish: Wish) -> Connector {
        self.shows(&self.authority.issue(wish))
    }
}

/// Options with a pair of files and nothing else.
fn plain(pair: &Path) -> TlsOptions {
    TlsOptions {
        cert_file: Some(pair.with_extension("crt")),
        key_file: Some(pair.with_extension("key")),
        client_cert_file: None,
        client_key_file: None,
        trusted_ca_file: None,
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

const REMOTE: ([u8; 4], u16) = ([127, 0, 0, 1], 4711);

/// Lets one connect to the other, exchanges a byte, and says who connected or why not, and what the client saw.
async fn meet(
    tls: &ServerTls,
    connector: &Connector,
) -> (Result<Option<String>, String>, Result<(), String>) {
    let (near, far) = duplex(1 << 16);
    let remote = SocketAddr::from(REMOTE);
    let serving = async {
        let mut secured: Secured<DuplexStream> =
            tls.accept(near, Some(remote)).await.map_err(|rejected| rejected.to_string())?;
        // Whoever was refused is gone already.
        let _ = secured.stream.write_all(b"!").await;
        let _ = secured.stream.flush().await;
        Ok(secured.identity.map(|identity| identity.common_name.clone()))
    };
    let connecting = async {
        let mut stream = connector.connect("localhost", far).await.map_err(|error| error.to_string())?;
        let read = stream.read_exact(&mut [0]).await;
        read.map(drop).map_err(|error| reason::words(&error))
    };
    tokio::join!(serving, connecting)
}

#[tokio::test]
async fn a_trusted_client_is_let_in_with_its_name() {
    let site = Site::new();
    let tls = ServerTls::new(&site.options(), Endpoint::Client).unwrap();
    let client = site.issue(Wish::named("alice"));
    assert_eq!(meet(&tls, &client).await, (Ok(Some("alice".to_owned())), Ok(())));
}

#[tokio::test]
async fn strangers_are_refused_with_etcds_words() {
    let site = Site::new();
    let tls = ServerTls::new(&site.options(), Endpoint::Client).unwrap();
    let other = Authority::new("other");
    let nobody = Connector::new(&TlsOptions {
        cert_file: None,
        key_file: None,
        trusted_ca_file: Some(site.path("ca.crt")),
        ..plain(Path::new("none"))
    })
    .unwrap();
    for (client, reason, seen) in [
        (nobody, "tls: client didn't provide a certificate", "remote error: tls: certificate required"),
        (
            site.shows(&other.issue(Wish::named("alice"))),
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "remote error: tls: unknown certificate authority",
        ),
        (
            site.issue(Wish::named("alice").valid(1_000_000_000, 1_100_000_000)),
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
            "remote error: tls: expired certificate",
        ),
        (
            site.issue(Wish::named("alice").for_servers_only()),
            "tls: failed to verify certificate: x509: certificate specifies an incompatible key usage",
            "remote error: tls: unsupported certificate",
        ),
    ] {
        let (served, connected) = meet(&tls, &client).await;
        let served = served.unwrap_err();
        assert!(served.starts_with(reason), "{served}");
        assert_eq!(connected.unwrap_err(), seen);
    }
}

#[tokio::test]
async fn names_may_have_to_be_on_a_list() {
    let site = Site::new();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let by_name = TlsOptions { allowed_common_names: names(&["alice", "bob"]), ..site.options() };
    let by_host = TlsOptions { allowed_hosts: names(&["a.example"]), ..site.options() };
    let tls = ServerTls::new(&by_name, Endpoint::Peer).unwrap();
    assert_eq!(meet(&tls, &site.issue(Wish::named("bob"))).await.0, Ok(Some("bob".to_owned())));
    let (served, connected) = meet(&tls, &site.issue(Wish::named("eve"))).await;
    assert_eq!(served.unwrap_err(), "client certificate authentication failed");
    assert_eq!(connected.unwrap_err(), "remote error: tls: bad certificate");
    let tls = ServerTls::new(&by_host, Endpoint::Client).unwrap();
    assert!(meet(&tls, &site.issue(Wish::named("").hosts(&["*.example"]))).await.0.is_ok());
    let (served, _) = meet(&tls, &site.issue(Wish::named("a.example"))).await;
    assert_eq!(served.unwrap_err(), "client certificate authentication failed");
    let both =
        TlsOptions { allowed_hosts: names(&["b"]), allowed_common_names: names(&["a"]), ..site.options() };
    assert_eq!(
        ServerTls::new(&both, Endpoint::Peer).unwrap_err().to_string(),
        "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\"], hostnames=[\"b\"])"
    );
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_from_the_moment_the_list_says_so() {
    let site = Site::new();
    let options = TlsOptions { crl_file: Some(site.path("crl")), ..site.options() };
    let tls = ServerTls::new(&options, Endpoint::Client).unwrap();
    let client = site.issue(Wish::named("alice").serial(&[0x1d, 2]));
    let missing = format!("open {}: no such file or directory", site.path("crl").display());
    assert_eq!(meet(&tls, &client).await.0.unwrap_err(), missing);
    site.write("crl", &site.authority.revoke(&[&[1]]));
    assert!(meet(&tls, &client).await.0.is_ok());
    site.write("crl", &site.authority.revoke(&[&[1], &[0x1d, 2]]));
    let (served, _) = meet(&tls, &client).await;
    assert_eq!(served.unwrap_err(), "transport: certificate serial 1d02 revoked");
    site.write("crl", b"broken");
    assert!(meet(&tls, &client).await.0.is_err(), "the last list that could be read counts");
}

#[tokio::test]
async fn a_members_certificate_belongs_to_its_address() {
    let site = Site::new();
    let peer = ServerTls::new(&site.options(), Endpoint::Peer).unwrap();
    let client = ServerTls::new(&site.options(), Endpoint::Client).unwrap();
    let skipping = TlsOptions { skip_client_san_verification: true, ..site.options() };
    let skipping = ServerTls::new(&skipping, Endpoint::Peer).unwrap();
    let elsewhere = site.issue(Wish::named("m").hosts(&["10.0.0.1"]));
    assert_eq!(
        meet(&peer, &elsewhere).await.0.unwrap_err(),
        "x509: certificate is valid for 10.0.0.1, not 127.0.0.1"
    );
    assert!(meet(&client, &elsewhere).await.0.is_ok());
    assert!(meet(&skipping, &elsewhere).await.0.is_ok());
    let here = site.issue(Wish::named("m").hosts(&["127.0.0.1"]));
    assert!(meet(&peer, &here).await.0.is_ok());
}

#[tokio::test]
async fn replaced_files_are_used_by_the_next_connection() {
    let site = Site::new();
    let tls = ServerTls::new(&site.options(), Endpoint::Client).unwrap();
    let alice = site.issue(Wish::named("alice"));
    assert!(meet(&tls, &alice).await.0.is_ok());
    // Another authority, and a server certificate of it: the client trusts neither, the server trusts another client.
    let other = Authority::new("other");
    let bob = site.shows(&other.issue(Wish::named("bob")));
    assert!(meet(&tls, &bob).await.0.is_err());
    site.write("ca.crt", other.cert_pem.as_bytes());
    assert!(meet(&tls, &bob).await.1.is_err(), "the client trusts the other authority only by now");
    site.place("server", &other.issue(Wish::named("server").hosts(&["localhost"])));
    assert_eq!(meet(&tls, &bob).await, (Ok(Some("bob".to_owned())), Ok(())));
    // Half a replacement leaves the old pair in use.
    let third = other.issue(Wish::named("third").hosts(&["localhost"]));
    site.write("server.crt", third.cert_pem.as_bytes());
    assert_eq!(meet(&tls, &bob).await.1, Ok(()));
    std::fs::remove_file(site.path("server.key")).unwrap();
    assert_eq!(meet(&tls, &bob).await.1, Ok(()));
}

#[tokio::test]
async fn members_with_certificates_of_their_own_making_trust_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let options = TlsOptions { cert_file: None, key_file: None, auto: true, ..plain(Path::new("none")) };
    let hosts = ["10.9.8.7".to_owned()];
    let made = options.clone().or_made(&dir.path().join("a"), &hosts).unwrap();
    let other = options.or_made(&dir.path().join("b"), &hosts).unwrap();
    let tls = ServerTls::new(&made, Endpoint::Peer).unwrap();
    assert_eq!(meet(&tls, &Connector::new(&other).unwrap()).await, (Ok(None), Ok(())));
}

#[tokio::test]
async fn a_certificate_that_is_trusted_itself_needs_no_authority() {
    let site = Site::new();
    let own = TlsOptions { cert_file: None, key_file: None, auto: true, ..plain(Path::new("none")) };
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = own.or_made(site.dir.path(), &hosts).unwrap();
    let trusted_ca_file = own.cert_file.clone();
    let pinned = TlsOptions { is_made: false, trusted_ca_file, ..own };
    let tls =
        ServerTls::new(&TlsOptions { trusted_ca_file: None, ..pinned.clone() }, Endpoint::Client).unwrap();
    assert_eq!(meet(&tls, &Connector::new(&pinned).unwrap()).await, (Ok(None), Ok(())));
}

#[tokio::test]
async fn versions_and_cipher_suites_are_those_chosen() {
    let site = Site::new();
    let speak = |min, max, suites: Option<&str>| TlsOptions {
        protocol: Protocol { min, max, cipher_suites: suites.map(|suite| vec![suite.to_owned()]) },
        ..site.options()
    };
    let old = ServerTls::new(&speak(TlsVersion::V12, TlsVersion::V12, None), Endpoint::Client).unwrap();
    let new = Connector::new(&speak(TlsVersion::V13, TlsVersion::V13, None)).unwrap();
    assert!(meet(&old, &new).await.0.is_err());
    let suite = |name| speak(TlsVersion::V12, TlsVersion::V12, Some(name));
    let tls = suite("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    let tls = ServerTls::new(&tls, Endpoint::Client).unwrap();
    let same = Connector::new(&suite("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")).unwrap();
    let other = Connector::new(&suite("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305")).unwrap();
    assert!(meet(&tls, &same).await.0.is_ok());
    let (served, _) = meet(&tls, &other).await;
    assert_eq!(served.unwrap_err(), "tls: no cipher suite supported by both client and server");
}

#[tokio::test(start_paused = true)]
async fn silence_and_nonsense_end_a_handshake() {
    let site = Site::new();
    let tls = ServerTls::new(&site.options(), Endpoint::Client).unwrap();
    let (near, far) = duplex(1 << 16);
    let rejected = tls.accept(near, None).await.unwrap_err();
    assert_eq!(rejected.to_string(), "i/o timeout");
    drop(far);
    let (near, far) = duplex(1 << 16);
    drop(far);
    assert_eq!(tls.accept(near, None).await.unwrap_err().to_string(), "EOF");
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16; 64], &[0xff; 64]] {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(nonsense).await.unwrap();
        assert!(tls.accept(near, None).await.is_err());
    }
    let (near, mut far) = duplex(1 << 16);
    far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let rejected = tls.accept(near, None).await.unwrap_err();
    assert_eq!(rejected.to_string(), "tls: first record does not look like a TLS handshake");
}

#[test]
fn what_is_missing_is_said_at_the_start() {
    let site = Site::new();
    let half = TlsOptions { key_file: None, ..site.options() };
    let cert = site.path("server.crt").display().to_string();
    assert_eq!(
        ServerTls::new(&half, Endpoint::Client).unwrap_err().to_string(),
        format!("KeyFile and CertFile must both be present[key: , cert: {cert}]")
    );
    let half = TlsOptions { client_cert_file: Some(site.path("server.crt")), ..site.options() };
    assert_eq!(
        ServerTls::new(&half, Endpoint::Client).unwrap_err().to_string(),
        format!("ClientKeyFile and ClientCertFile must both be present or both absent: key: , cert: {cert}]")
    );
    site.place("other", &site.authority.issue(Wish::named("other")));
    let crossed = TlsOptions { key_file: Some(site.path("other.key")), ..site.options() };
    assert_eq!(
        ServerTls::new(&crossed, Endpoint::Client).unwrap_err().to_string(),
        "tls: private key does not match public key"
    );
}
