//! `check`: how fast a cluster writes, and how much memory its data takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use etched_client::{Client, Delete, Get, Keys, Put};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Context, write};
use crate::failure::{Exit, Failure, text_of};
use crate::text::quote::quote;

/// What a load asks of a cluster.
#[derive(Clone, Copy, Debug)]
struct Load {
    clients: usize,
    writes_per_second: u32,
    /// How many writes a check of the data's scale makes.
    writes: u64,
}

const PERF_DURATION: Duration = Duration::from_secs(60);
/// The clean-up and the compaction that follow a check may take this long each.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Timers are coarse: a pace that fell behind by less than this is caught up.
const LAG_MAX: Duration = Duration::from_millis(10);

impl Load {
    fn of(context: &Context) -> Result<Self, Failure> {
        let args = &context.args;
        let load = if args.is_given("load") { args.text("load") } else { "s" };
        match load {
            "s" | "small" => Ok(Self { clients: 50, writes_per_second: 150, writes: 10_000 }),
            "m" | "medium" => Ok(Self { clients: 200, writes_per_second: 1_000, writes: 100_000 }),
            "l" | "large" => Ok(Self { clients: 500, writes_per_second: 8_000, writes: 1_000_000 }),
            "xl" | "xLarge" => Ok(Self { clients: 1_000, writes_per_second: 15_000, writes: 3_000_000 }),
            other => Err(Failure::new(Exit::Unsupported, format!("unknown load option {other}"))),
        }
    }
}

pub(super) async fn perf(context: &Context) -> Result<(), Failure> {
    let load = Load::of(context)?;
    let prefix = prefix(context, "/etcdctl-check-perf/");
    let client = context.client().await?;
    require_no_keys(&client, &prefix, "'").await?;
    let bar = Bar::new(PERF_DURATION.as_secs());
    let workers = Workers::start(context, load.clients, &prefix, [256, 1024])?;
    let start = Instant::now();
    tokio::select! {
        () = pace(&workers, load.writes_per_second, start + PERF_DURATION, &bar) => {}
        _signal = tokio::signal::ctrl_c() => {}
    }
    let outcome = workers.finish().await?;
    let report = Report::of(&outcome, start.elapsed());
    bar.finish();
    clean_up(context, &client, &prefix).await?;
    let (text, passed) = report.verdict(load.writes_per_second);
    write(text.as_bytes())?;
    if passed { Ok(()) } else { Err(Failure::silent(Exit::Request)) }
}

pub(super) async fn datascale(context: &Context) -> Result<(), Failure> {
    let load = Load::of(context)?;
    let prefix = prefix(context, "/etcdctl-check-datascale/");
    let client = context.client().await?;
    require_no_keys(&client, &prefix, "").await?;
    let first = context.client_of(&context.endpoints[0]).await?;
    let before = memory_of(&first, "before").await?;
    let Load { clients, writes, .. } = load;
    write(
        format!(
            "Start data scale check for work load [{writes} key-value pairs, 1024 bytes per key-value, {clients} \
             concurrent clients].\n"
        )
        .as_bytes(),
    )?;
    let bar = Bar::new(writes);
    let workers = Workers::start(context, clients, &prefix, [512, 512])?;
    for done in 1..=writes {
        workers.write().await;
        bar.show(done);
    }
    let outcome = workers.finish().await?;
    bar.finish();
    let after = memory_of(&first, "after").await?;
    clean_up(context, &client, &prefix).await?;
    if !outcome.errors.is_empty() {
        write(outcome.text_of_errors().as_bytes())?;
        return Err(Failure::silent(Exit::Request));
    }
    let megabytes = (after - before) / f64::from(1 << 20);
    write(format!("PASS: Approximate system memory used : {megabytes:.2} MB.\n").as_bytes())
}

fn prefix(context: &Context, default: &str) -> String {
    let args = &context.args;
    if args.is_given("prefix") { args.text("prefix").to_owned() } else { default.to_owned() }
}

/// Refuses to write among keys that are there already.
async fn require_no_keys(client: &Client, prefix: &str, mark: &str) -> Result<(), Failure> {
    let found = client.get(Get::new(Keys::prefix(prefix.to_owned())).limit(1)).await?;
    if found.kvs.is_empty() {
        return Ok(());
    }
    let quoted = quote(prefix.as_bytes());
    let text =
        format!("prefix {quoted} has keys. Delete with {mark}etcdctl del --prefix {prefix}{mark} first");
    Err(Failure::new(Exit::Input, text))
}

/// Deletes the keys of a check; compacts and defragments if the flags say so.
async fn clean_up(context: &Context, client: &Client, prefix: &str) -> Result<(), Failure> {
    let client = client.with_timeout(Some(CLEANUP_TIMEOUT));
    let deleted = client.delete(Delete::new(Keys::prefix(prefix.to_owned()))).await;
    let revision = match deleted {
        Ok(response) => response.header.unwrap_or_default().revision,
        Err(error) => {
            let text = text_of(&error);
            return write(format!("FAIL: Cleanup failed during key deletion: ERROR({text})\n").as_bytes());
        }
    };
    if context.args.bool("auto-compact") {
        write(format!("Compacting with revision {revision}\n").as_bytes())?;
        client.compact_physical(revision).await?;
        write(format!("Compacted with revision {revision}\n").as_bytes())?;
    }
    if context.args.bool("auto-defrag") {
        for endpoint in &context.endpoints {
            let quoted = quote(endpoint.as_bytes());
            write(format!("Defragmenting {quoted}\n").as_bytes())?;
            context.client_of(endpoint).await?.with_timeout(Some(CLEANUP_TIMEOUT)).defragment().await?;
            write(format!("Defragmented {quoted}\n").as_bytes())?;
        }
    }
    Ok(())
}

/// Orders writes at an even pace, until the end.
async fn pace(workers: &Workers, per_second: u32, end: Instant, bar: &Bar) {
    let period = Duration::from_secs(1) / per_second;
    let start = Instant::now();
    let mut next = start;
    while next < end {
        sleep_until(next).await;
        workers.write().await;
        let now = Instant::now();
        bar.show((now - start).as_secs());
        // Busy workers slow the pace down for good: what could not be ordered is not made up for.
        next = (next + period).max(now.checked_sub(LAG_MAX).unwrap_or(now));
    }
}

/// Clients, each with a connection and one write at a time.
struct Workers {
    orders: mpsc::Sender<()>,
    tasks: JoinSet<Outcome>,
}

/// What became of writes.
#[derive(Debug, Default)]
struct Outcome {
    latencies: Vec<Duration>,
    errors: BTreeMap<String, usize>,
}

impl Workers {
    fn start(context: &Context, count: usize, prefix: &str, bytes: [usize; 2]) -> Result<Self, Failure> {
        let (orders, receiver) = mpsc::channel(count);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let client = context.lazy_client()?.with_timeout(None);
            tasks.spawn(work(client, Arc::clone(&receiver), prefix.to_owned(), bytes));
        }
        Ok(Self { orders, tasks })
    }

    /// Orders a write; waits while all are busy.
    async fn write(&self) {
        self.orders.send(()).await.expect("workers stay until the orders end");
    }

    /// Waits for the writes that were ordered; a second interruption gives them up.
    async fn finish(self) -> Result<Outcome, Failure> {
        drop(self.orders);
        let mut tasks = self.tasks;
        let mut all = Outcome::default();
        loop {
            let joined = tokio::select! {
                joined = tasks.join_next() => joined,
                _signal = tokio::signal::ctrl_c() => return Err(Failure::silent(Exit::Interrupted)),
            };
            let Some(joined) = joined else { return Ok(all) };
            let one = joined.map_err(|error| Failure::new(Exit::Request, error.to_string()))?;
            all.latencies.extend(one.latencies);
            for (text, count) in one.errors {
                *all.errors.entry(text).or_default() += count;
            }
        }
    }
}

/// Makes writes as they are ordered.
async fn work(
    client: Client,
    orders: Arc<Mutex<mpsc::Receiver<()>>>,
    prefix: String,
    [key_bytes, value_bytes]: [usize; 2],
) -> Outcome {
    let mut outcome = Outcome::default();
    let random = RandomState::new();
    for round in 0_u64.. {
        if orders.lock().await.recv().await.is_none() {
            break;
        }
        let mut key = prefix.clone().into_bytes();
        key.extend_from_slice(&random.hash_one(round).to_be_bytes());
        key.resize(prefix.len() + key_bytes, 0);
        let start = Instant::now();
        match client.put(Put::new(key, vec![0; value_bytes])).await {
            Ok(_) => outcome.latencies.push(start.elapsed()),
            Err(error) => *outcome.errors.entry(text_of(&error)).or_default() += 1,
        }
    }
    outcome
}

impl Outcome {
    fn text_of_errors(&self) -> String {
        let mut text = "FAIL: too many errors\n".to_owned();
        for (error, count) in &self.errors {
            let _infallible = writeln!(text, "FAIL: ERROR({error}) -> {count}");
        }
        text
    }
}

/// The figures that a verdict needs; times in seconds.
#[derive(Debug)]
struct Report<'a> {
    outcome: &'a Outcome,
    writes_per_second: f64,
    slowest: f64,
    deviation: f64,
}

impl<'a> Report<'a> {
    fn of(outcome: &'a Outcome, took: Duration) -> Self {
        let seconds: Vec<f64> = outcome.latencies.iter().map(Duration::as_secs_f64).collect();
        let count = seconds.len().max(1) as f64;
        let mean = seconds.iter().sum::<f64>() / count;
        let variance = seconds.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / count;
        Self {
            outcome,
            writes_per_second: seconds.len() as f64 / took.as_secs_f64(),
            slowest: seconds.iter().copied().fold(0.0, f64::max),
            deviation: variance.sqrt(),
        }
    }

    /// The text, and whether the cluster passed.
    fn verdict(&self, wanted_per_second: u32) -> (String, bool) {
        let mut text = String::new();
        let mut passed = true;
        let mut line = |pass: bool, good: String, bad: String| {
            passed &= pass;
            text.push_str(if pass { &good } else { &bad });
        };
        if !self.outcome.errors.is_empty() {
            line(false, String::new(), self.outcome.text_of_errors());
        }
        let throughput = self.writes_per_second.trunc() + 1.0;
        line(
            self.writes_per_second / f64::from(wanted_per_second) > 0.9,
            format!("PASS: Throughput is {throughput} writes/s\n"),
            format!("FAIL: Throughput too low: {throughput} writes/s\n"),
        );
        let slowest = self.slowest;
        line(
            slowest <= 0.5,
            format!("PASS: Slowest request took {slowest:.6}s\n"),
            format!("Slowest request took too long: {slowest:.6}s\n"),
        );
        let deviation = self.deviation;
        line(
            deviation <= 0.1,
            format!("PASS: Stddev is {deviation:.6}s\n"),
            format!("Stddev too high: {deviation:.6}s\n"),
        );
        text.push_str(if passed { "PASS\n" } else { "FAIL\n" });
        (text, passed)
    }
}

/// The resident memory of a member, in bytes, as its metrics have it.
async fn memory_of(client: &Client, when: &str) -> Result<f64, Failure> {
    const METRIC: &str = "process_resident_memory_bytes";
    let known = match client.http_get("/metrics").await {
        Ok(page) => {
            let page = String::from_utf8_lossy(&page).into_owned();
            let line = page.lines().find_map(|line| line.strip_prefix(METRIC));
            let value = line.and_then(|value| value.trim().parse::<f64>().ok()).filter(|bytes| *bytes > 0.0);
            value.ok_or_else(|| format!("could not find: {METRIC}"))
        }
        Err(error) => Err(format!("fetch error: {}", text_of(&error))),
    };
    match known {
        Ok(bytes) => Ok(bytes),
        Err(why) => {
            let text = format!("{why}\nFAIL: Could not read {METRIC} {when} the put operations.\n");
            write(text.as_bytes())?;
            Err(Failure::silent(Exit::Request))
        }
    }
}

/// Progress, if somebody looks at standard error.
struct Bar {
    total: u64,
    shown: std::sync::atomic::AtomicU64,
    visible: bool,
}

const BAR_WIDTH: u64 = 60;

impl Bar {
    fn new(total: u64) -> Self {
        let bar = Self { total, shown: 0.into(), visible: std::io::stderr().is_terminal() };
        bar.draw(0);
        bar
    }

    /// Draws anew if it makes a difference.
    fn show(&self, done: u64) {
        let step = (self.total / BAR_WIDTH).max(1);
        let before = self.shown.swap(done, std::sync::atomic::Ordering::Relaxed);
        if done / step != before / step {
            self.draw(done);
        }
    }

    fn draw(&self, done: u64) {
        if self.visible {
            eprint!("\r{}", bar_text(done.min(self.total), self.total));
        }
    }

    fn finish(&self) {
        self.draw(self.total);
        if self.visible {
            eprintln!();
        }
    }
}

fn bar_text(done: u64, total: u64) -> String {
    let total = total.max(1);
    let cells: String =
        (0..BAR_WIDTH).map(|cell| if cell < done * BAR_WIDTH / total { '#' } else { '-' }).collect();
    format!("{done} / {total} [{cells}] {}%", done * 100 / total)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn outcome(millis: &[u64], errors: &[(&str, usize)]) -> Outcome {
        Outcome {
            latencies: millis.iter().map(|one| Duration::from_millis(*one)).collect(),
            errors: errors.iter().map(|(text, count)| ((*text).to_owned(), *count)).collect(),
        }
    }

    fn verdict(outcome: &Outcome, seconds: u64, wanted: u32) -> String {
        let (text, passed) = Report::of(outcome, Duration::from_secs(seconds)).verdict(wanted);
        assert_eq!(passed, text.ends_with("PASS\n"));
        text
    }

    #[test]
    fn a_cluster_that_keeps_up_passes() {
        let outcome = outcome(&[10, 20, 30, 40], &[]);
        expect![[r#"
            PASS: Throughput is 5 writes/s
            PASS: Slowest request took 0.040000s
            PASS: Stddev is 0.011180s
            PASS
        "#]]
        .assert_eq(&verdict(&outcome, 1, 4));
    }

    #[test]
    fn each_weakness_fails_a_cluster() {
        let outcome = outcome(&[10, 600], &[("etcdserver: too many requests", 3)]);
        expect![[r#"
            FAIL: too many errors
            FAIL: ERROR(etcdserver: too many requests) -> 3
            FAIL: Throughput too low: 1 writes/s
            Slowest request took too long: 0.600000s
            Stddev too high: 0.295000s
            FAIL
        "#]]
        .assert_eq(&verdict(&outcome, 4, 100));
    }

    #[test]
    fn a_cluster_that_answers_nothing_fails() {
        assert!(verdict(&outcome(&[], &[]), 60, 150).contains("FAIL: Throughput too low: 1 writes/s"));
    }

    #[test]
    fn a_bar_fills_from_empty_to_full() {
        assert_eq!(bar_text(0, 60), format!("0 / 60 [{}] 0%", "-".repeat(60)));
        assert_eq!(bar_text(30, 60), format!("30 / 60 [{}{}] 50%", "#".repeat(30), "-".repeat(30)));
        assert_eq!(bar_text(60, 60), format!("60 / 60 [{}] 100%", "#".repeat(60)));
    }
}
