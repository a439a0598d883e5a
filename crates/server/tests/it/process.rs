//! The server as a process of its own: started, waited for, stopped, killed.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a process may take for what takes it a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; it is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    pub(crate) endpoint: String,
}

/// What a server said, and how it ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

/// The settings of one member; the same ones start it again.
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    client_port: u16,
    peer_port: u16,
    pub(crate) flags: Vec<String>,
}

impl Settings {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            client_port: free_port(),
            peer_port: free_port(),
            flags: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etched"));
        let client = format!("http://127.0.0.1:{}", self.client_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        command
            .arg(format!("--data-dir={}", self.data_dir.display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            .args(&self.flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the server and waits until it serves.
    pub(crate) fn start(&self) -> Server {
        let mut child = self.command().spawn().expect("the binary runs");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, lines) = channel();
        std::thread::Builder::new()
            .spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            })
            .expect("a thread starts");
        let server = Server { child, lines, endpoint: format!("http://127.0.0.1:{}", self.client_port) };
        server.wait_for("ready to serve client requests");
        server
    }

    /// Runs a server that is expected to refuse its start.
    pub(crate) fn refused(&self) -> Ended {
        let output = self.command().output().expect("the binary runs");
        Ended { status: output.status, log: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

impl Server {
    pub(crate) fn wait_for(&self, message: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the server logs what is waited for");
            if line.contains(message) {
                return line;
            }
        }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process ends");
    }

    /// Asks the process to end and waits for it.
    pub(crate) fn terminate(mut self) -> Ended {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("the process is there");
        let status = self.child.wait().expect("the process ends");
        Ended { status, log: self.lines.iter().collect::<Vec<_>>().join("\n") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("the socket has an address").port()
}

/// All files below a directory with their contents, to see that nothing was changed.
pub(crate) fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).expect("the directory can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("the file can be read");
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}
