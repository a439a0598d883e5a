//! The load that runs all the time: writers of unique keys, and a watch that sees everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use etched_client::proto::etcdserverpb::RangeResponse;
use etched_client::{Client, Fate, Get, Keys, Options, Put, WatchNotice, WatchOptions};
use tokio::task::JoinSet;

use super::member::PATIENCE;

/// All keys of the writers begin with this.
pub(super) const PREFIX: &str = "load/";
/// What one writer waits between two writes, so that the machine has time for the rest.
const BETWEEN_WRITES: Duration = Duration::from_millis(4);

/// What the writers were told and the watch saw.
#[derive(Debug, Default)]
struct Notes {
    /// The endpoints of the members of the moment.
    endpoints: Vec<String>,
    /// Answered writes: the revision of each key.
    answered: BTreeMap<String, i64>,
    /// Writes of which nobody knows whether they happened.
    unknown: BTreeSet<String>,
    /// What the watch saw: the revision and the key of each event, as they came.
    seen: Vec<(i64, String)>,
    /// Why the watch ended, if it did.
    watch_failure: Option<String>,
}

/// The running load.
#[derive(Debug)]
pub(super) struct Load {
    notes: Arc<Mutex<Notes>>,
    is_over: Arc<AtomicBool>,
    refusals: Arc<AtomicUsize>,
    writers: JoinSet<Result<()>>,
    watch: JoinSet<()>,
}

impl Load {
    /// Starts writers and the watch.
    pub(super) async fn start(endpoints: Vec<String>, writers: u32, own: Options) -> Result<Self> {
        let mut options = own.clone();
        options.sync_interval = Some(Duration::from_secs(1));
        options.require_leader = true;
        let client = Client::connect(&endpoints, options).await?;
        let mut load = Self {
            notes: Arc::new(Mutex::new(Notes { endpoints, ..Notes::default() })),
            is_over: Arc::default(),
            refusals: Arc::default(),
            writers: JoinSet::new(),
            watch: JoinSet::new(),
        };
        load.watch.spawn(watch(client, Arc::clone(&load.notes)));
        for writer in 0..writers {
            load.writers.spawn(write(
                writer,
                own.clone(),
                Arc::clone(&load.notes),
                Arc::clone(&load.is_over),
                Arc::clone(&load.refusals),
            ));
        }
        Ok(load)
    }

    /// Sends the writers to these members from now on.
    pub(super) fn set_endpoints(&self, endpoints: Vec<String>) {
        lock(&self.notes).endpoints = endpoints;
    }

    /// How many writes were answered.
    pub(super) fn answered(&self) -> usize {
        lock(&self.notes).answered.len()
    }

    /// How many writes were refused or lost their answer.
    pub(super) fn refused(&self) -> usize {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes were answered.
    pub(super) async fn more(&self, count: usize) -> Result<()> {
        let goal = self.answered() + count;
        let deadline = Instant::now() + PATIENCE;
        while self.answered() < goal {
            ensure!(Instant::now() < deadline, "{} of {goal} writes answered", self.answered());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Reads everything through a member and compares it with the answered writes; returns how many those are.
    pub(super) async fn check(&self, client: &Client) -> Result<usize> {
        let answered = lock(&self.notes).answered.clone();
        let read = read_all(client).await?;
        let found = found(&read)?;
        for (key, revision) in &answered {
            let at = found.get(key);
            ensure!(at == Some(revision), "{key} was answered at revision {revision}, and is at {at:?}");
        }
        let revisions: BTreeSet<i64> = answered.values().copied().collect();
        ensure!(revisions.len() == answered.len(), "two answered writes have one revision");
        if let Some(failure) = &lock(&self.notes).watch_failure {
            bail!("the watch ended: {failure}");
        }
        Ok(answered.len())
    }

    /// Ends the load, and compares answers, keys and events; returns how many writes and events there were.
    pub(super) async fn finish(mut self, client: &Client) -> Result<(usize, usize)> {
        self.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.writers.join_next().await {
            ended??;
        }
        let answered = self.check(client).await?;
        let found = found(&read_all(client).await?)?;
        let notes = Arc::clone(&self.notes);
        for key in found.keys() {
            let notes = lock(&notes);
            ensure!(
                notes.answered.contains_key(key) || notes.unknown.contains(key),
                "{key} is there, but its write was refused or never sent"
            );
        }
        let expected: BTreeSet<(i64, String)> = found.into_iter().map(|(key, at)| (at, key)).collect();
        let deadline = Instant::now() + PATIENCE;
        while lock(&notes).seen.len() < expected.len() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let notes = lock(&notes);
        ensure!(
            notes.seen.iter().eq(expected.iter()),
            "the watch saw {} events, which are not the {} changes in their order",
            notes.seen.len(),
            expected.len()
        );
        Ok((answered, notes.seen.len()))
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    // A holder that panicked has left complete notes: each change of them is one call.
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All keys of the load, by a linearizable read.
async fn read_all(client: &Client) -> Result<RangeResponse> {
    super::member::retry("reading all keys", || client.get(Get::new(Keys::prefix(PREFIX)))).await
}

/// The revision of each key; each must have been written once, with its name as value.
fn found(read: &RangeResponse) -> Result<BTreeMap<String, i64>> {
    let mut found = BTreeMap::new();
    for kv in &read.kvs {
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        ensure!(kv.version == 1 && kv.create_revision == kv.mod_revision, "{key} was written twice");
        ensure!(kv.value == kv.key, "{key} has another value");
        found.insert(key, kv.mod_revision);
    }
    Ok(found)
}

/// Writes keys that nobody wrote before, at one member until it fails, and then at the next one.
async fn write(
    writer: u32,
    mut options: Options,
    notes: Arc<Mutex<Notes>>,
    is_over: Arc<AtomicBool>,
    refusals: Arc<AtomicUsize>,
) -> Result<()> {
    let mut turn = usize::try_from(writer)?;
    let mut number = 0_u64;
    options.request_timeout = Some(Duration::from_secs(3));
    while !is_over.load(Ordering::SeqCst) {
        let endpoint = {
            let notes = lock(&notes);
            notes.endpoints[turn % notes.endpoints.len()].clone()
        };
        let client = Client::connect_lazy([&endpoint], options.clone())?;
        // Each thirty-second write or so, the next member is asked, so that all members see writes.
        for _ in 0..32 {
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            let key = format!("{PREFIX}{writer}/{number:08}");
            match client.put(Put::new(key.clone(), key.clone())).await {
                Ok(answer) => {
                    let revision = answer.header.context("an answer without a header")?.revision;
                    lock(&notes).answered.insert(key, revision);
                    number += 1;
                }
                Err(error) => {
                    refusals.fetch_add(1, Ordering::Relaxed);
                    // What was certainly not executed is tried again; any other key is left alone.
                    if error.fate() == Fate::Unknown {
                        lock(&notes).unknown.insert(key);
                        number += 1;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    break;
                }
            }
            tokio::time::sleep(BETWEEN_WRITES).await;
        }
        turn += 1;
    }
    Ok(())
}

/// Notes every event of the load, from revision 1 on.
async fn watch(client: Client, notes: Arc<Mutex<Notes>>) {
    let failure = match follow(&client, &notes).await {
        Ok(()) => "without a reason".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    lock(&notes).watch_failure = Some(failure);
}

async fn follow(client: &Client, notes: &Mutex<Notes>) -> Result<()> {
    let mut watch = client.watch(WatchOptions::new(Keys::prefix(PREFIX)).start_revision(1)).await?;
    while let Some(notice) = watch.next().await {
        if let WatchNotice::Events { events, .. } = notice? {
            let mut notes = lock(notes);
            for event in events {
                let kv = event.kv.context("an event without a key")?;
                let last = notes.seen.last().map_or(0, |seen| seen.0);
                ensure!(
                    kv.mod_revision > last,
                    "an event of revision {} came after revision {last}",
                    kv.mod_revision
                );
                notes.seen.push((kv.mod_revision, String::from_utf8_lossy(&kv.key).into_owned()));
            }
        }
    }
    Ok(())
}
