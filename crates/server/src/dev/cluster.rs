//! The processes of `etched dev`: started, waited for, commanded, ended.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::console::{self, Action};
use super::plan::{Member, Plan};
use super::screen::{complain, say};

/// What a member logs when it serves clients.
const READY: &str = "ready to serve client requests";
/// How long all members may take to serve.
const READY_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a member may take to end before it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(15);
/// The last lines of a member's log that are shown when it ends by itself.
const LAST_LINES: usize = 5;
/// Lines of commands and events that wait; whoever sends more waits.
const EVENTS_MAX: usize = 64;

/// What happens to the cluster.
enum Event {
    /// The member of this number serves.
    Ready(usize),
    /// The output of a member is over, so it has ended; with its last lines.
    Over(usize, VecDeque<String>),
    /// A line of standard input.
    Line(String),
    /// Ctrl-C, or a request to end.
    End,
}

/// A member's process.
struct Process {
    child: Child,
    is_ready: bool,
    /// Its end was asked for.
    is_expected_to_end: bool,
}

/// All processes, by the number of their member.
struct Cluster<'a> {
    plan: &'a Plan,
    processes: Vec<Option<Process>>,
    sender: mpsc::Sender<Event>,
}

/// Runs the cluster until it is told to end.
pub(super) async fn run(plan: &Plan, json: bool) -> Result<()> {
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    watch_signals(&sender)?;
    let processes = plan.members.iter().map(|_| None).collect();
    let mut cluster = Cluster { plan, processes, sender };
    let result = cluster.serve(&mut events, json).await;
    // What still comes is of no interest, and nobody may wait to tell it.
    drop(events);
    cluster.end().await;
    result
}

fn watch_signals(sender: &mpsc::Sender<Event>) -> Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && sender.send(Event::End).await.is_ok() {}
        });
    }
    Ok(())
}

/// Reads commands, unless that would halt this process: the background jobs of a terminal may not read it.
fn watch_input(sender: mpsc::Sender<Event>) {
    let stdin = std::io::stdin();
    let in_front = || rustix::termios::tcgetpgrp(std::io::stdin()).ok() == Some(rustix::process::getpgrp());
    if stdin.is_terminal() && !in_front() {
        return;
    }
    tokio::spawn(async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if sender.send(Event::Line(line)).await.is_err() {
                return;
            }
        }
    });
}

impl Cluster<'_> {
    async fn serve(&mut self, events: &mut mpsc::Receiver<Event>, json: bool) -> Result<()> {
        for number in 0..self.plan.members.len() {
            self.start(number)?;
        }
        match timeout(READY_TIME_MAX, self.until_ready(events)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => bail!("not all members serve after {} s; see their logs", READY_TIME_MAX.as_secs()),
        }
        say(&if json { self.as_json() } else { self.as_text() });
        watch_input(self.sender.clone());
        while let Some(event) = events.recv().await {
            match event {
                Event::Ready(number) => {
                    self.became_ready(number);
                    say(&format!("{} serves", self.plan.members[number].name));
                }
                Event::Over(number, last) => self.is_over(number, &last).await?,
                Event::Line(line) => {
                    if !self.obey(&line)? {
                        return Ok(());
                    }
                }
                Event::End => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits until all members serve; false if the end is asked for before.
    async fn until_ready(&mut self, events: &mut mpsc::Receiver<Event>) -> Result<bool> {
        while !self.processes.iter().flatten().all(|process| process.is_ready) {
            match events.recv().await {
                Some(Event::Ready(number)) => self.became_ready(number),
                Some(Event::Over(number, last)) => {
                    let name = &self.plan.members[number].name;
                    bail!("{name} ended before it served; its last lines:\n{}", joined(&last));
                }
                Some(Event::Line(_)) => {}
                Some(Event::End) | None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn became_ready(&mut self, number: usize) {
        if let Some(process) = &mut self.processes[number] {
            process.is_ready = true;
        }
    }

    fn start(&mut self, number: usize) -> Result<()> {
        let member = &self.plan.members[number];
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.arg("dev").arg(super::MEMBER).args(self.plan.flags_of(member));
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"ETCD_") {
                command.env_remove(name);
            }
        }
        // A group of its own: a Ctrl-C ends this process, which ends the members.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let path = self.plan.log_path(member);
        let log = OpenOptions::new().append(true).create(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        let mut child = command.spawn().context("cannot start a member")?;
        let stderr = child.stderr.take().context("a pipe was asked for")?;
        tokio::spawn(follow(number, BufReader::new(stderr), log, self.sender.clone()));
        self.processes[number] = Some(Process { child, is_ready: false, is_expected_to_end: false });
        Ok(())
    }

    /// Takes note of the end of a process.
    async fn is_over(&mut self, number: usize, last: &VecDeque<String>) -> Result<()> {
        let Some(mut process) = self.processes[number].take() else { return Ok(()) };
        let status = process.child.wait().await?;
        let (name, how) = (&self.plan.members[number].name, told(status));
        if process.is_expected_to_end {
            say(&format!("{name} has ended ({how})"));
        } else {
            say(&format!("{name} ended by itself ({how}); its last lines:\n{}", joined(last)));
        }
        Ok(())
    }

    /// Carries out a line of standard input; false if that is to end everything.
    fn obey(&mut self, line: &str) -> Result<bool> {
        let names: Vec<&str> = self.plan.members.iter().map(|member| member.name.as_str()).collect();
        match console::parse(line, &names) {
            Ok(None) => {}
            Ok(Some(console::Command::Help)) => say(console::HELP),
            Ok(Some(console::Command::Status)) => say(&self.status()),
            Ok(Some(console::Command::Quit)) => return Ok(false),
            Ok(Some(console::Command::Member(action, number))) => self.act(action, number)?,
            Err(complaint) => complain(&complaint),
        }
        Ok(true)
    }

    fn act(&mut self, action: Action, number: usize) -> Result<()> {
        let name = &self.plan.members[number].name;
        let signal = match action {
            Action::Start if self.processes[number].is_some() => {
                complain(&format!("{name} runs"));
                return Ok(());
            }
            Action::Start => return self.start(number),
            Action::Stop => Signal::TERM,
            Action::Kill => Signal::KILL,
            Action::Pause => Signal::STOP,
            Action::Resume => Signal::CONT,
        };
        match &mut self.processes[number] {
            None => complain(&format!("{name} does not run")),
            Some(process) => {
                process.is_expected_to_end |= matches!(action, Action::Stop | Action::Kill);
                process.signal(signal);
            }
        }
        Ok(())
    }

    /// Ends all members; those that do not end in time are killed.
    async fn end(&mut self) {
        for process in self.processes.iter().flatten() {
            process.signal(Signal::TERM);
            process.signal(Signal::CONT);
        }
        for (member, process) in self.plan.members.iter().zip(&mut self.processes) {
            let Some(process) = process else { continue };
            if timeout(END_TIME_MAX, process.child.wait()).await.is_err() {
                complain(&format!("{} does not end and is killed", member.name));
                process.signal(Signal::KILL);
                // It has no choice.
                let _ = process.child.wait().await;
            }
        }
    }

    fn line_of(&self, number: usize, member: &Member) -> String {
        let state = match &self.processes[number] {
            None => "does not run".to_owned(),
            Some(process) => {
                let pid = process.child.id().map(|pid| format!("pid {pid}")).unwrap_or_default();
                if process.is_ready { pid } else { format!("{pid}, starting") }
            }
        };
        let log = self.plan.log_path(member);
        format!("  {}  {}  {state}, log {}", member.name, self.plan.client_url(member), log.display())
    }

    fn status(&self) -> String {
        let lines: Vec<String> = self
            .plan
            .members
            .iter()
            .enumerate()
            .map(|(number, member)| self.line_of(number, member))
            .collect();
        lines.join("\n")
    }

    fn as_text(&self) -> String {
        let exports: Vec<String> = self
            .plan
            .client_environment()
            .iter()
            .map(|(name, value)| format!("  export {name}={value}"))
            .collect();
        format!(
            "{} serve, data in {}\n{}\ntry it from another terminal:\n{}\n  etchedctl endpoint status -w table\n\
             help lists commands, Ctrl-C ends everything",
            if self.plan.members.len() == 1 {
                "1 member".to_owned()
            } else {
                format!("{} members", self.plan.members.len())
            },
            self.plan.home.display(),
            self.status(),
            exports.join("\n"),
        )
    }

    fn as_json(&self) -> String {
        let members: Vec<_> = self
            .plan
            .members
            .iter()
            .zip(&self.processes)
            .map(|(member, process)| {
                json!({
                    "name": member.name,
                    "client_url": self.plan.client_url(member),
                    "pid": process.as_ref().and_then(|process| process.child.id()),
                    "log": self.plan.log_path(member),
                })
            })
            .collect();
        let environment: serde_json::Map<_, _> = self
            .plan
            .client_environment()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        json!({ "data_dir": self.plan.home, "members": members, "environment": environment }).to_string()
    }
}

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        if let Some(pid) = pid {
            // A process that has ended cannot be told anything.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Copies the output of a member to its log and tells when it serves and when it is over.
async fn follow(
    number: usize,
    output: BufReader<tokio::process::ChildStderr>,
    mut log: File,
    sender: mpsc::Sender<Event>,
) {
    let mut lines = output.lines();
    let mut last = VecDeque::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Err(error) = writeln!(log, "{line}") {
            complain(&format!("the log of member {} is not complete: {error}", number + 1));
        }
        if line.contains(READY) {
            // When everything ends nobody listens; the output is still read, so that the member can end.
            let _ = sender.send(Event::Ready(number)).await;
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    // Nobody may be interested any more.
    let _ = sender.send(Event::Over(number, last)).await;
}

fn joined(lines: &VecDeque<String>) -> String {
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn told(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "for no known reason".to_owned(),
    }
}
