//! What must happen when all faults have ended: everybody serves, leases run out, members agree.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use etched_model::history::{Answer, Body, Hash, Outcome, Put, Range, Request};
use etched_proto::etcdserverpb as pb;
use pb::maintenance_client::MaintenanceClient;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Surroundings, ask};
use super::cluster::{Cluster, RECOVERY};

/// The client that reads at the end.
const AUDITOR: u32 = 1_001;
/// How long clients may take to notice that the run is over, leases to run out, scribes to be told of everything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the cluster to serve, ends all clients, and reads what is there.
///
/// # Errors
/// If something does not happen in time.
pub(super) async fn settle(
    cluster: &mut Cluster,
    around: &Surroundings,
    mut users: JoinSet<()>,
    mut scribes: JoinSet<()>,
    until: &tokio::sync::watch::Sender<Option<i64>>,
) -> Result<()> {
    cluster.wait_until_healthy().await?;
    // A while without faults, under load.
    sleep(Duration::from_secs(2)).await;
    cluster.check_processes()?;
    around.stop.store(true, Ordering::SeqCst);
    let ended = async { while users.join_next().await.is_some() {} };
    timeout(PATIENCE, ended).await.context("liveness: a request does not end")?;
    for member in 0..cluster.members.len() {
        write(cluster, around, member).await?;
    }
    wait_for_leases(cluster, around).await?;
    let mut revision = 0;
    for member in 0..cluster.members.len() {
        revision = read(cluster, around, member, "\0", "\0").await?.revision;
    }
    until.send_replace(Some(revision));
    let told = async { while scribes.join_next().await.is_some() {} };
    timeout(PATIENCE, told).await.context("liveness: a watch is not told of everything")?;
    for member in 0..cluster.members.len() {
        around.journal.hash(hash(cluster, member, revision).await?);
    }
    cluster.check_processes()
}

/// A write by way of each member must succeed.
async fn write(cluster: &Cluster, around: &Surroundings, member: usize) -> Result<()> {
    let deadline = Instant::now() + RECOVERY;
    for attempt in 0.. {
        let value = format!("{AUDITOR}.{member}.{attempt}");
        let request = Request::Put(Put { key: format!("final/{member}"), value, lease: 0, previous: true });
        let call = ask(around, AUDITOR, member, cluster.channel(member)?, request, PATIENCE).await;
        let outcome = call.outcome.clone();
        around.journal.call(call);
        if matches!(outcome, Outcome::Answered(_)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "liveness: m{member} does not write: {outcome:?}");
        sleep(Duration::from_millis(100)).await;
    }
    unreachable!("attempts have no end")
}

async fn read(
    cluster: &Cluster,
    around: &Surroundings,
    member: usize,
    key: &str,
    end: &str,
) -> Result<Answer> {
    let request = Request::Range(Range { key: key.into(), end: end.into(), ..Range::default() });
    let call = ask(around, AUDITOR, member, cluster.channel(member)?, request, PATIENCE).await;
    let outcome = call.outcome.clone();
    around.journal.call(call);
    match outcome {
        Outcome::Answered(answer) => Ok(answer),
        Outcome::Unknown | Outcome::Refused(_) => bail!("liveness: m{member} does not read: {outcome:?}"),
    }
}

/// Nobody renews leases any more, so their keys must go.
async fn wait_for_leases(cluster: &Cluster, around: &Surroundings) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = read(cluster, around, 0, "l/", "l0").await?;
        if matches!(answer.body, Body::Range { count: 0, .. }) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "liveness: leases do not run out: {:?}", answer.body);
        sleep(Duration::from_millis(500)).await;
    }
}

async fn hash(cluster: &Cluster, member: usize, revision: i64) -> Result<Hash> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = MaintenanceClient::new(cluster.channel(member)?);
        let answer = client.hash_kv(pb::HashKvRequest { revision }).await;
        match answer {
            Ok(answer) => {
                let answer = answer.into_inner();
                let (compacted, hash) = (answer.compact_revision, answer.hash);
                let member = u32::try_from(member).expect("few members");
                return Ok(Hash { member, revision, compacted, hash });
            }
            Err(status) => ensure!(Instant::now() < deadline, "m{member} does not hash: {status}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}
