//! `cargo xtask bench`: etched and the real etcd, one after the other on the same machine, the same load on both.
//!
//! Rules of measuring: the sides take turns (A, B, A, B, ...), each time on a fresh directory; medians and their
//! spread are told; a server's processor time for each request is told beside every rate, since it does not depend
//! on what else the machine does.
//! How much the machine did for others is told too.

mod cluster;
mod load;
mod members;
mod paced;
mod report;
mod scenarios;
mod snapshots;
mod users;
mod watchers;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::process::{Program, Server, shared_memory};
use crate::{procfs, workspace};
use cluster::Cluster;
use report::Report;
use scenarios::{SCENARIOS, Scenario, Sizes, Workload};

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The directory for the servers' data: on tmpfs it shows processor time, on a disk also the disk's.
    #[arg(long, default_value_os_t = shared_memory())]
    dir: PathBuf,
    /// Only scenarios whose name begins with this; repeatable.
    #[arg(long)]
    only: Vec<String>,
    /// Members of the cluster that is measured: 1, or 3 with scenarios of their own.
    #[arg(long, default_value_t = 1)]
    members: usize,
    /// Keys (of 1 kB) of the snapshot that a member is sent; a million make a file of 1.8 GB at etcd.
    #[arg(long)]
    snapshot_keys: Option<u64>,
    /// How often each scenario runs on each side.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A tenth of the data, shorter runs, one round: to see that all works.
    #[arg(long)]
    quick: bool,
    /// Our server's program; built when it is not given.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// The reference's program; the vendored etcd when it is not given.
    #[arg(long)]
    reference_bin: Option<PathBuf>,
    /// Measures only our side.
    #[arg(long)]
    skip_reference: bool,
    /// A further flag for both servers; repeatable.
    #[arg(long = "flag", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Appends the table to docs/benchmarks.md.
    #[arg(long)]
    markdown: bool,
    /// Names the scenarios and does nothing.
    #[arg(long)]
    list: bool,
}

/// Runs the scenarios and prints a table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let scenarios = options.scenarios();
    let chosen: Vec<&Scenario> = scenarios.iter().filter(|scenario| options.chooses(scenario)).collect();
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{:12} {}", scenario.name, scenario.about));
        return Ok(());
    }
    ensure!(!chosen.is_empty(), "no scenario has such a name; --list shows them");
    let mut sides = vec![(Program::ours(options.server_bin.clone())?, true)];
    if !options.skip_reference {
        sides.insert(0, (Program::reference(options.reference_bin.clone())?, false));
    }
    let mut sizes = if options.quick { Sizes::QUICK } else { Sizes::FULL };
    sizes.snapshot_keys = options.snapshot_keys.unwrap_or(sizes.snapshot_keys);
    let rounds = if options.quick { 1 } else { options.rounds };
    let mut report = Report::default();
    let mut others = Others::default();
    println!("{}; load average {:.2}", procfs::machine()?, procfs::load_average()?);
    if options.quick {
        println!("quick: a tenth of the data, whatever the names say");
    }
    for scenario in chosen {
        for round in 1..=rounds {
            for (program, is_ours) in &sides {
                println!("{}, round {round} of {rounds}, {}", scenario.name, program.name);
                let before = Usage::now(&[])?;
                let (samples, after) = run_once(options, scenario, program, &sizes)?;
                others.add(&before, &after);
                for (metric, value) in samples {
                    report.add(metric, value, *is_ours);
                }
            }
        }
        println!("\n{}", report.table());
    }
    println!("{}; {} floors missed", others.describe(), report.misses());
    if options.markdown {
        append_markdown(options, &report, &others, rounds)?;
    }
    Ok(())
}

impl Options {
    fn scenarios(&self) -> &'static [Scenario] {
        if self.members == 1 { &SCENARIOS } else { &members::SCENARIOS }
    }

    fn chooses(&self, scenario: &Scenario) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| scenario.name.starts_with(name.as_str()))
    }
}

fn run_once(
    options: &Options,
    scenario: &Scenario,
    program: &Program,
    sizes: &Sizes,
) -> Result<(scenarios::Samples, Usage)> {
    let directory = tempfile::Builder::new()
        .prefix("etched-bench-")
        .tempdir_in(&options.dir)
        .with_context(|| format!("a folder in {}", options.dir.display()))?;
    let mut flags = vec!["--quota-backend-bytes=17179869184"];
    flags.extend(options.flags.iter().map(String::as_str));
    let about = |log: String| format!("{}, {}\n{log}", scenario.name, program.name);
    match scenario.run {
        Workload::One(run) => {
            let mut server = Server::start(program, directory.path(), &flags)?;
            let samples = run(&mut server, sizes).with_context(|| about(server.log_tail()))?;
            let after = Usage::now(&[server.pid()])?;
            server.stop()?;
            Ok((samples, after))
        }
        Workload::Secure(run) => {
            let (mut server, secure) = Server::start_with_tls(program, directory.path(), &flags)?;
            let samples = run(&mut server, secure, sizes).with_context(|| about(server.log_tail()))?;
            let after = Usage::now(&[server.pid()])?;
            server.stop()?;
            Ok((samples, after))
        }
        Workload::Many(run) => {
            let mut cluster = Cluster::start(program, directory.path(), options.members, &flags)?;
            let samples = run(&mut cluster, sizes).with_context(|| about(cluster.log_tails()))?;
            let after = Usage::now(&cluster.pids())?;
            // All are killed: nobody looks at their data any more.
            drop(cluster);
            Ok((samples, after))
        }
    }
}

/// Processor time used, at a moment.
struct Usage {
    at: Instant,
    machine: f64,
    ours: f64,
}

impl Usage {
    fn now(servers: &[u32]) -> Result<Self> {
        let own = procfs::cpu(std::process::id())?;
        let servers: std::time::Duration = servers.iter().map(|pid| procfs::cpu(*pid)).sum::<Result<_>>()?;
        Ok(Self {
            at: Instant::now(),
            machine: procfs::machine_cpu()?.as_secs_f64(),
            ours: (own + servers).as_secs_f64(),
        })
    }
}

/// Processors kept busy by others while we measured.
#[derive(Default)]
struct Others {
    busy: f64,
    elapsed: f64,
    worst: f64,
}

impl Others {
    fn add(&mut self, before: &Usage, after: &Usage) {
        let elapsed = (after.at - before.at).as_secs_f64();
        let busy = (after.machine - before.machine - (after.ours - before.ours)).max(0.0);
        self.busy += busy;
        self.elapsed += elapsed;
        self.worst = self.worst.max(busy / elapsed);
    }

    fn describe(&self) -> String {
        let mean = self.busy / self.elapsed;
        let warning = if mean > 0.5 { " (too much: trust processor times and ratios only)" } else { "" };
        format!("others kept {mean:.2} processors busy, at worst {:.2}{warning}", self.worst)
    }
}

fn append_markdown(options: &Options, report: &Report, others: &Others, rounds: usize) -> Result<()> {
    let path = workspace::root().join("docs/benchmarks.md");
    let mut text = std::fs::read_to_string(&path).context("reading docs/benchmarks.md")?;
    let date = workspace::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let commit = workspace::output(Command::new("git").args(["log", "-1", "--format=%h"]))?;
    let (date, commit) = (date.trim(), commit.trim());
    let place = options.dir.display();
    let members = options.members;
    writeln!(text, "\n## {date}, commit {commit}, members: {members}, data in `{place}`\n")?;
    writeln!(text, "Machine: {}.", procfs::machine()?)?;
    writeln!(text, "Medians of {rounds} rounds, smallest and largest value in parentheses.")?;
    writeln!(text, "While this was measured, {}.\n\n{}", others.describe(), report.table())?;
    std::fs::write(&path, text.trim_end().to_owned() + "\n")?;
    Ok(())
}
