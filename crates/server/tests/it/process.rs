//! The server as a process of its own: started, waited for, stopped, killed.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a process may take for what takes it a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server logs when it serves clients.
const READY: &str = "ready to serve client requests";

/// A running server; it is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    seen: RefCell<Vec<String>>,
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
    /// The server to start, this one or a real etcd.
    pub(crate) program: PathBuf,
}

/// The program that is tested.
pub(crate) fn etched() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_etched"))
}

/// The real etcd.
pub(crate) fn etcd() -> PathBuf {
    let Ok(path) = etcd_bin_vendored_linux_amd64::etcd_bin_path();
    path.to_owned()
}

impl Settings {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            client_port: free_port(),
            peer_port: free_port(),
            flags: Vec::new(),
            program: etched(),
        }
    }

    /// The same settings for the real etcd.
    pub(crate) fn of_etcd(mut self) -> Self {
        let Ok(etcd) = etcd_bin_vendored_linux_amd64::etcd_bin_path();
        self.program = etcd.to_owned();
        self
    }

    pub(crate) fn with(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
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

    /// The members of a cluster that is to be founded, in directories of their own below `dir`.
    pub(crate) fn cluster(dir: &Path, members: usize) -> Vec<Self> {
        let mut all: Vec<Self> = (0..members)
            .map(|number| Self::new(&dir.join(format!("m{number}"))).with(&format!("--name=m{number}")))
            .collect();
        let names: Vec<String> = all.iter().enumerate().map(|(number, one)| one.named(number)).collect();
        for settings in &mut all {
            settings.flags.push(format!("--initial-cluster={}", names.join(",")));
            settings.flags.push("--initial-cluster-token=test".to_owned());
        }
        all
    }

    /// A member that joins the cluster of `others` under the name of its number.
    pub(crate) fn joining(dir: &Path, others: &[Self]) -> Self {
        let number = others.len();
        let settings = Self::new(&dir.join(format!("m{number}"))).with(&format!("--name=m{number}"));
        let members = others.iter().chain([&settings]).enumerate();
        let names: Vec<String> = members.map(|(number, one)| one.named(number)).collect();
        let cluster = format!("--initial-cluster={}", names.join(","));
        settings.with(&cluster).with("--initial-cluster-state=existing")
    }

    fn named(&self, number: usize) -> String {
        format!("m{number}={}", self.peer_url())
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// Starts all servers and waits until all serve.
    pub(crate) fn start_all(all: &[Self]) -> Vec<Server> {
        let servers: Vec<Server> = all.iter().map(Self::spawn).collect();
        for server in &servers {
            server.wait_for(READY);
        }
        servers
    }

    /// Starts the server and waits until it serves.
    pub(crate) fn start(&self) -> Server {
        let server = self.spawn();
        server.wait_for(READY);
        server
    }

    /// Starts the server.
    pub(crate) fn spawn(&self) -> Server {
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
        let endpoint = format!("http://127.0.0.1:{}", self.client_port);
        Server { child, lines, seen: RefCell::default(), endpoint }
    }

    /// Runs a server that is expected to refuse its start.
    pub(crate) fn refused(&self) -> Ended {
        let output = self.command().output().expect("the binary runs");
        Ended { status: output.status, log: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

impl Server {
    /// The first line with this message, which may have been logged before.
    pub(crate) fn wait_for(&self, message: &str) -> String {
        let mut seen = self.seen.borrow_mut();
        if let Some(line) = seen.iter().find(|line| line.contains(message)) {
            return line.clone();
        }
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("{message:?} is not logged:\n{}", seen.join("\n"));
            };
            seen.push(line.clone());
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

    /// Waits until the process has ended by itself.
    pub(crate) fn ended(mut self) -> Ended {
        let status = self.child.wait().expect("the process ends");
        Ended { status, log: self.lines.iter().collect::<Vec<_>>().join("\n") }
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

pub(crate) fn free_port() -> u16 {
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
