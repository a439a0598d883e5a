//! A real etcd on loopback, spoken to in JSON over plain HTTP.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A member that runs. It ends with the value.
pub(crate) struct Etcd {
    process: Child,
    ports: Ports,
}

/// Where a member listens.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Ports {
    client: u16,
    peer: u16,
}

impl Ports {
    pub(crate) fn free() -> Self {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (client, peer) = (listener(), listener());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        Self { client: port(&client), peer: port(&peer) }
    }

    pub(crate) fn peer_url(self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }
}

/// The database of a data directory.
pub(crate) fn database(data_dir: &Path) -> PathBuf {
    data_dir.join("member/snap/db")
}

impl Etcd {
    /// Starts a member, new or on what is in the directory, and waits until it serves.
    pub(crate) fn start(data_dir: &Path, ports: Ports) -> Self {
        let Ok(etcd) = etcd_bin_vendored_linux_amd64::etcd_bin_path();
        let (client_url, peer_url) = (format!("http://127.0.0.1:{}", ports.client), ports.peer_url());
        let mut process = Command::new(etcd)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--name", "m1", "--log-level", "info", "--initial-cluster-state", "new"])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("m1={peer_url}")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("ready to serve client requests") {
            assert!(log.read_line(&mut lines).unwrap() > 0, "etcd has ended:\n{lines}");
        }
        drain(log);
        Self { process, ports }
    }

    /// Sends a request of the JSON form of the API, and returns the body of the answer.
    pub(crate) fn call(&self, path: &str, body: &str) -> String {
        let answer = self.call_any(path, body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path} {body}: {answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Sends a request of the JSON form of the API, and returns the whole answer.
    pub(crate) fn call_any(&self, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.client)).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn put(&self, key: &str, value: &str) {
        let body = format!(r#"{{"key":"{}","value":"{}"}}"#, base64(key), base64(value));
        self.call("/v3/kv/put", &body);
    }

    /// Whether the member serves this value of a key.
    pub(crate) fn has(&self, key: &str, value: &str) -> bool {
        let answer = self.call("/v3/kv/range", &format!(r#"{{"key":"{}"}}"#, base64(key)));
        answer.contains(&format!(r#""value":"{}""#, base64(value)))
    }

    /// Asks the member to end, and waits until it has.
    pub(crate) fn stop(mut self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.process.wait().unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads a log to its end, since a server whose log nobody reads comes to a stop.
fn drain(mut log: impl BufRead + Send + 'static) {
    std::thread::Builder::new().spawn(move || std::io::copy(&mut log, &mut std::io::sink())).unwrap();
}

pub(crate) fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            let is_padding = digit > group.len();
            encoded.push(if is_padding { '=' } else { DIGITS[value as usize].into() });
        }
    }
    encoded
}
