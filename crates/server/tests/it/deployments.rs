//! The command lines, environments and files with which others deploy etcd: they start unchanged.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use etched_client::{Client, Get, Options, Put, Tls};

use crate::program::{Program, command, free_port, get, run};
use crate::tls::authority::{Authority, Wish};

/// Certificates as installers make them: an authority, one pair for everything.
struct Pki {
    authority: Authority,
    dir: std::path::PathBuf,
}

impl Pki {
    fn new(dir: &Path) -> Self {
        let authority = Authority::new("etcd-ca");
        std::fs::write(dir.join("ca.crt"), &authority.cert_pem).unwrap();
        let made = authority.issue(Wish::named("m").hosts(&["localhost", "127.0.0.1"]));
        std::fs::write(dir.join("m.crt"), &made.cert_pem).unwrap();
        std::fs::write(dir.join("m.key"), &made.key_pem).unwrap();
        Self { authority, dir: dir.to_owned() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    async fn put_and_get(&self, endpoint: String) {
        let made = self.authority.issue(Wish::named("client"));
        let tls = Tls::builder().trust(self.authority.cert_pem.as_bytes());
        let tls = tls.identity(made.cert_pem.as_bytes(), made.key_pem.as_bytes()).build().unwrap();
        let mut options = Options::default();
        options.tls = Some(tls);
        let client = Client::connect([endpoint], options).await.unwrap();
        client.put(Put::new("a", "1")).await.unwrap();
        assert_eq!(client.get(Get::new("a")).await.unwrap().kvs.len(), 1);
    }
}

#[tokio::test]
async fn the_static_pod_of_kubeadm() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let (client, peer, metrics) = (free_port(), free_port(), free_port());
    let program = Program::start(command(&[
        format!("--advertise-client-urls=https://127.0.0.1:{client}"),
        format!("--cert-file={}", pki.path("m.crt")),
        "--client-cert-auth=true".to_owned(),
        format!("--data-dir={}", dir.path().join("data").display()),
        "--feature-gates=InitialCorruptCheck=true".to_owned(),
        format!("--initial-advertise-peer-urls=https://127.0.0.1:{peer}"),
        format!("--initial-cluster=node=https://127.0.0.1:{peer}"),
        format!("--key-file={}", pki.path("m.key")),
        format!("--listen-client-urls=https://127.0.0.1:{client}"),
        format!("--listen-metrics-urls=http://127.0.0.1:{metrics}"),
        format!("--listen-peer-urls=https://127.0.0.1:{peer}"),
        "--name=node".to_owned(),
        format!("--peer-cert-file={}", pki.path("m.crt")),
        "--peer-client-cert-auth=true".to_owned(),
        format!("--peer-key-file={}", pki.path("m.key")),
        format!("--peer-trusted-ca-file={}", pki.path("ca.crt")),
        "--snapshot-count=10000".to_owned(),
        format!("--trusted-ca-file={}", pki.path("ca.crt")),
        "--watch-progress-notify-interval=5s".to_owned(),
    ]));
    program.wait_until_ready();
    pki.put_and_get(format!("https://127.0.0.1:{client}")).await;
    for (path, status) in [
        ("/livez", "200 OK"),
        ("/readyz", "200 OK"),
        ("/health?exclude=NOSPACE&serializable=true", "200 OK"),
        ("/metrics", "200 OK"),
        ("/version", "404 Not Found"),
        ("/v3/kv/range", "404 Not Found"),
    ] {
        let answer = get(metrics, path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {answer}");
    }
}

#[test]
fn the_unit_of_debian() {
    let dir = tempfile::tempdir().unwrap();
    let (client, peer) = (free_port(), free_port());
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    let mut unit = command(&[""; 0]);
    // /etc/default/etcd, and what systemd sets for a unit of the type notify.
    unit.env("ETCD_NAME", "debian")
        .env("ETCD_DATA_DIR", dir.path().join("default"))
        .env("ETCD_LISTEN_CLIENT_URLS", format!("http://localhost:{client}"))
        .env("ETCD_ADVERTISE_CLIENT_URLS", format!("http://localhost:{client}"))
        .env("ETCD_LISTEN_PEER_URLS", format!("http://localhost:{peer}"))
        .env("ETCD_INITIAL_ADVERTISE_PEER_URLS", format!("http://localhost:{peer}"))
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .current_dir(dir.path());
    let program = Program::start(unit);
    let received = || {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(received(), "READY=1");
    program.wait_for("ready to serve client requests");
    program.wait_for("successfully notified init daemon");
    assert!(get(client, "/health").ends_with("{\"health\":\"true\",\"reason\":\"\"}"));
    program.terminate();
    assert_eq!(received(), "STOPPING=1");
    let (code, log) = program.ended();
    assert_eq!(code, None, "{log}");
    assert!(log.contains("closed etcd server"), "{log}");
    assert!(!log.contains("\"level\":\"error\""), "{log}");
}

#[test]
fn the_environment_of_the_bitnami_chart() {
    let dir = tempfile::tempdir().unwrap();
    let (client, peer) = (free_port(), free_port());
    let mut pod = command(&[""; 0]);
    for (name, value) in [
        ("ETCD_ON_K8S", "yes"),
        ("ETCD_START_FROM_SNAPSHOT", "no"),
        ("ETCD_DISASTER_RECOVERY", "no"),
        ("ETCD_NAME", "etcd-0"),
        ("ETCD_LOG_LEVEL", "info"),
        ("ALLOW_NONE_AUTHENTICATION", "yes"),
        ("ETCDCTL_API", "3"),
        ("ETCD_AUTO_COMPACTION_MODE", "periodic"),
        ("ETCD_AUTO_COMPACTION_RETENTION", "1"),
        ("ETCD_INITIAL_CLUSTER_TOKEN", "etcd-cluster-k8s"),
        ("ETCD_INITIAL_CLUSTER_STATE", "new"),
        ("ETCD_CLUSTER_DOMAIN", "etcd-headless.default.svc.cluster.local"),
        ("ETCD_INIT_SNAPSHOT_FILENAME", ""),
        ("ETCD_ROOT_PASSWORD", "secret"),
        // Kubernetes sets these for a service of the name etcd.
        ("ETCD_PORT", "tcp://10.0.0.1:2379"),
        ("ETCD_SERVICE_HOST", "10.0.0.1"),
        ("ETCD_VERSION", "3.7.2"),
    ] {
        pod.env(name, value);
    }
    pod.env("ETCD_DATA_DIR", dir.path().join("data"))
        .env("ETCD_ADVERTISE_CLIENT_URLS", format!("http://127.0.0.1:{client},http://localhost:{client}"))
        .env("ETCD_LISTEN_CLIENT_URLS", format!("http://0.0.0.0:{client}"))
        .env("ETCD_INITIAL_ADVERTISE_PEER_URLS", format!("http://127.0.0.1:{peer}"))
        .env("ETCD_LISTEN_PEER_URLS", format!("http://0.0.0.0:{peer}"))
        .env("ETCD_INITIAL_CLUSTER", format!("etcd-0=http://127.0.0.1:{peer}"));
    let program = Program::start(pod);
    program.wait_until_ready();
    assert!(get(client, "/readyz").ends_with("ok\n"));
    program.terminate();
    let (_, log) = program.ended();
    assert!(log.contains("\"environment-variable\":\"ETCD_ON_K8S=yes\""), "{log}");
}

#[tokio::test]
async fn the_pod_of_openshift() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let (client, peer, metrics) = (free_port(), free_port(), free_port());
    let socket = dir.path().join("etcd.sock");
    let mut pod = command(&[
        "--logger=zap".to_owned(),
        "--log-level=info".to_owned(),
        "--experimental-initial-corrupt-check=true".to_owned(),
        "--snapshot-count=10000".to_owned(),
        format!("--initial-advertise-peer-urls=https://127.0.0.1:{peer}"),
        format!("--cert-file={}", pki.path("m.crt")),
        format!("--key-file={}", pki.path("m.key")),
        format!("--trusted-ca-file={}", pki.path("ca.crt")),
        "--client-cert-auth=true".to_owned(),
        format!("--peer-cert-file={}", pki.path("m.crt")),
        format!("--peer-key-file={}", pki.path("m.key")),
        format!("--peer-trusted-ca-file={}", pki.path("ca.crt")),
        "--peer-client-cert-auth=true".to_owned(),
        format!("--advertise-client-urls=https://127.0.0.1:{client}"),
        format!("--listen-client-urls=https://127.0.0.1:{client},unixs://{}", socket.display()),
        format!("--listen-peer-urls=https://127.0.0.1:{peer}"),
        "--metrics=extensive".to_owned(),
        format!("--listen-metrics-urls=https://127.0.0.1:{metrics}"),
    ]);
    for (name, value) in [
        ("ETCD_QUOTA_BACKEND_BYTES", "8589934592"),
        ("ETCD_SOCKET_REUSE_ADDRESS", "true"),
        (
            "ETCD_CIPHER_SUITES",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ),
        ("ETCD_TLS_MIN_VERSION", "TLS1.2"),
        ("ETCD_HEARTBEAT_INTERVAL", "100"),
        ("ETCD_ELECTION_TIMEOUT", "1000"),
        ("ETCD_EXPERIMENTAL_MAX_LEARNERS", "1"),
        ("ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION", "200ms"),
        ("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s"),
        ("ETCD_NAME", "master-0"),
        ("ETCD_INITIAL_CLUSTER_STATE", "new"),
        ("ALL_ETCD_ENDPOINTS", "https://127.0.0.1:2379"),
        ("ETCD_IMAGE", "quay.io/x"),
    ] {
        pod.env(name, value);
    }
    pod.env("ETCD_DATA_DIR", dir.path().join("data"))
        .env("ETCD_INITIAL_CLUSTER", format!("master-0=https://127.0.0.1:{peer}"));
    let program = Program::start(pod);
    program.wait_until_ready();
    pki.put_and_get(format!("https://127.0.0.1:{client}")).await;
    assert!(socket.exists());
    program.wait_for("use --feature-gates=InitialCorruptCheck=true");
}

#[test]
fn the_file_of_k3s() {
    let dir = tempfile::tempdir().unwrap();
    let (client, http, peer, metrics) = (free_port(), free_port(), free_port(), free_port());
    let data = dir.path().join("db").join("etcd");
    std::fs::create_dir_all(&data).unwrap();
    let file = data.join("config");
    std::fs::write(
        &file,
        format!(
            "advertise-client-urls: http://127.0.0.1:{client}\n\
             client-transport-security: {{}}\n\
             data-dir: {}\n\
             election-timeout: 5000\n\
             experimental-initial-corrupt-check: true\n\
             experimental-watch-progress-notify-interval: 5000000000\n\
             heartbeat-interval: 500\n\
             initial-advertise-peer-urls: http://127.0.0.1:{peer}\n\
             initial-cluster: node-1=http://127.0.0.1:{peer}\n\
             initial-cluster-state: new\n\
             listen-client-http-urls: http://127.0.0.1:{http}\n\
             listen-client-urls: http://127.0.0.1:{client}\n\
             listen-metrics-urls: http://127.0.0.1:{metrics}\n\
             listen-peer-urls: http://127.0.0.1:{peer}\n\
             log-outputs:\n- stderr\n\
             logger: zap\n\
             name: node-1\n\
             peer-transport-security: {{}}\n\
             snapshot-count: 10000\n\
             socket-options:\n  reuse-address: true\n  reuse-port: true\n\
             a-key-of-another-release: 1\n",
            data.display()
        ),
    )
    .unwrap();
    let program = Program::start(command(&[format!("--config-file={}", file.display())]));
    program.wait_until_ready();
    program.wait_for("\"filename\":\"config\"");
    assert!(get(http, "/version").contains("\"etcdserver\":\"3.7.2\""));
    assert!(get(client, "/version").starts_with("HTTP/1.1 404"), "HTTP has moved to its own URLs");
    assert!(get(metrics, "/livez").ends_with("ok\n"));
}

#[test]
fn the_rest_of_the_environment_does_not_stop_a_start_and_a_contradiction_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut shadowed = command(&["--name=a"]);
    shadowed.env("ETCD_NAME", "b");
    let output = run(shadowed, dir.path());
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("conflicting environment variable is shadowed"), "{log}");
}
