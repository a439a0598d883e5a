//! A script as one of the programs plays it, against a server of its own.

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::normal;
use super::script::{CommandLine, Script, Step};
use crate::process::{Program, Server};

/// How long a command line may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing tells from outside that a watch or a campaign is under way, so it gets some time.
const HEAD_START: Duration = Duration::from_millis(700);

/// A program with its server.
pub(super) struct Session {
    server: Server,
    /// Both programs have the same name, since they print it.
    program: PathBuf,
    folder: PathBuf,
    captured: Vec<(String, String)>,
}

/// What a program said to a command line, in a comparable form.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) line: String,
    code: Option<i32>,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl PartialEq for Said {
    fn eq(&self, other: &Self) -> bool {
        (self.code, &self.out, &self.err) == (other.code, &other.out, &other.err)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "ends with {:?}", self.code)?;
        for (mark, bytes) in [("  ", &self.out), ("2>", &self.err)] {
            for line in String::from_utf8_lossy(bytes).lines() {
                writeln!(formatter, "  {mark} {line}")?;
            }
        }
        Ok(())
    }
}

impl Session {
    /// Starts a server for a program; the addresses are for clients and for peers.
    pub(super) fn start(
        server: &Program,
        program: &Path,
        folder: &Path,
        [client, peer]: [SocketAddr; 2],
    ) -> Result<Self> {
        std::fs::create_dir(folder)?;
        let named = folder.join("etcdctl");
        std::os::unix::fs::symlink(which(program)?, &named)?;
        let flags = vec![
            "--name=one".to_owned(),
            format!("--data-dir={}", folder.join("data").display()),
            format!("--listen-client-urls=http://{client}"),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            format!("--initial-cluster=one=http://{peer}"),
            "--log-level=warn".to_owned(),
        ];
        let mut server = Server::launch(server, folder, client, flags)?;
        server.wait_until_ready()?;
        let scratch = folder.join("scratch");
        std::fs::create_dir(&scratch)?;
        Ok(Self { server, program: named, folder: scratch, captured: Vec::new() })
    }

    /// Plays a script to its end.
    pub(super) fn play(mut self, script: &Script) -> Result<Vec<Said>> {
        let mut said = Vec::new();
        let mut running: Option<(String, Child)> = None;
        for step in &script.steps {
            match step {
                Step::Run { line, input } => said.push(self.run(line, input)?),
                Step::Quiet(line) => drop(self.run(line, b"")?),
                Step::Capture { name, word, line } => {
                    let output = self.output(line, b"")?;
                    let text = String::from_utf8(output.stdout)?;
                    let value = text.split_whitespace().nth(*word).context("there is no such word")?;
                    self.captured.push((name.clone(), value.to_owned()));
                }
                Step::Begin(line) => {
                    ensure!(running.is_none(), "one command line goes on at a time");
                    running = Some((shown(line), self.command(line).stdin(Stdio::null()).spawn()?));
                    std::thread::sleep(HEAD_START);
                }
                Step::End => {
                    let (line, child) = running.take().context("no command line goes on")?;
                    std::thread::sleep(HEAD_START);
                    said.push(self.said(line, interrupt(child)?));
                }
            }
        }
        ensure!(running.is_none(), "a command line still goes on");
        self.server.stop()?;
        Ok(said)
    }

    fn run(&self, line: &CommandLine, input: &[u8]) -> Result<Said> {
        Ok(self.said(shown(line), self.output(line, input)?))
    }

    fn said(&self, line: String, output: Output) -> Said {
        Said {
            line,
            code: output.status.code(),
            out: normal::stdout(&output.stdout, &self.known()),
            err: normal::stderr(&output.stderr),
        }
    }

    /// What stands in outputs by its name: captured values and the folder.
    fn known(&self) -> Vec<(String, String)> {
        let folder = ("DIR".to_owned(), self.folder.to_string_lossy().into_owned());
        self.captured.iter().cloned().chain([folder]).collect()
    }

    fn output(&self, line: &CommandLine, input: &[u8]) -> Result<Output> {
        let mut child = self.command(line).stdin(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("a pipe was asked for")?;
        // A program that reads nothing may be over already.
        let _ended = stdin.write_all(input);
        drop(stdin);
        wait(child).with_context(|| shown(line))
    }

    fn command(&self, line: &CommandLine) -> Command {
        let mut command = Command::new(&self.program);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir(&self.folder);
        command.envs(line.variables.iter().map(|(name, value)| (name, self.filled(value.as_bytes()))));
        let own_endpoints = line.words.iter().any(|word| word.starts_with(b"--endpoints"));
        if !own_endpoints && !line.variables.iter().any(|(name, _)| name == "ETCDCTL_ENDPOINTS") {
            command.arg(format!("--endpoints={}", self.server.address()));
        }
        command.args(line.words.iter().map(|word| self.filled(word)));
        command
    }

    /// A word with the values of what begins with a dollar sign.
    fn filled(&self, word: &[u8]) -> std::ffi::OsString {
        let Ok(text) = std::str::from_utf8(word) else {
            return std::ffi::OsString::from_vec(word.to_vec());
        };
        let mut text = text.replace("$ADDR", &self.server.address().to_string());
        text = text.replace("$DIR", &self.folder.to_string_lossy());
        for (name, value) in &self.captured {
            text = text.replace(&format!("${name}"), value);
        }
        text.into()
    }
}

fn shown(line: &CommandLine) -> String {
    let variables = line.variables.iter().map(|(name, value)| format!("{name}={value}"));
    let words = line.words.iter().map(|word| format!("{:?}", String::from_utf8_lossy(word)));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// The file of a program that may be on the PATH.
fn which(program: &Path) -> Result<PathBuf> {
    if program.components().count() > 1 {
        return Ok(program.canonicalize()?);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.with_context(|| format!("{} is not on the PATH", program.display()))
}

fn interrupt(mut child: Child) -> Result<Output> {
    // What has ended by itself needs no signal.
    if child.try_wait()?.is_none() {
        Command::new("kill").arg("-INT").arg(child.id().to_string()).status()?;
    }
    wait(child)
}

/// Waits for the end of a program, but not for ever. Its outputs are small enough for the pipes.
fn wait(mut child: Child) -> Result<Output> {
    let start = Instant::now();
    let reader = std::thread::spawn({
        let (out, err) = (child.stdout.take(), child.stderr.take());
        move || Ok::<_, std::io::Error>((read_all(out)?, read_all(err)?))
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let Ok(read) = reader.join() else { bail!("its outputs cannot be read") };
    let (stdout, stderr) = read?;
    Ok(Output { status, stdout, stderr })
}

fn read_all(pipe: Option<impl std::io::Read>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
