//! `cargo xtask mixed`: etched and the real etcd are members of one cluster, both ways.
//!
//! A cluster of etcd is turned into one of etched and back, member by member, while writers and a watch go on.
//! Each step says what it has shown and how long it took.

mod cluster;
mod load;
mod member;
mod users;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use etched_client::{Client, Compare, Get, Put, Txn};

use self::cluster::Cluster;
use self::load::Load;
use self::member::retry;
use self::users::{Tokens, Users};
use crate::process::{Program, shared_memory};

/// How many writes put a stopped member behind the log: more than `--snapshot-count` and the entries kept behind it.
const WRITES_BEYOND_THE_LOG: usize = 2_500;
/// A few writes, so that each step has some of its own.
const SOME_WRITES: usize = 200;

/// Options of `mixed`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Our program; it is built when it is not given.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// The real etcd; the vendored one when it is not given.
    #[arg(long)]
    reference_bin: Option<PathBuf>,
    /// The directory for the members' data.
    #[arg(long, default_value_os_t = shared_memory())]
    dir: PathBuf,
    /// Writers that go on all the time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    writers: u32,
    /// Has users, and tokens of this kind.
    #[arg(long)]
    auth: Option<Tokens>,
}

impl Options {
    /// A run for a gate: with users, which adds questions and leaves none out.
    pub(crate) fn of_ci() -> Self {
        let auth = Some(Tokens::Simple);
        Self { server_bin: None, reference_bin: None, dir: shared_memory(), writers: 4, auth }
    }
}

/// Runs all steps.
///
/// # Errors
/// If a step does not show what it should; data and logs are then left in place.
pub(crate) fn run(options: &Options) -> Result<()> {
    let etcd = Program::reference(options.reference_bin.clone())?;
    let etched = Program::ours(options.server_bin.clone())?;
    let directory = tempfile::Builder::new().prefix("etched-mixed-").tempdir_in(&options.dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let users = Users::new(options.auth, directory.path())?;
        let steps = Box::pin(steps(&etcd, &etched, directory.path(), options.writers, users));
        tokio::select! {
            result = steps => result,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    runtime.shutdown_background();
    if result.is_err() {
        println!("mixed: data and logs are in {}", directory.keep().display());
    }
    result
}

async fn steps(etcd: &Program, etched: &Program, root: &Path, writers: u32, users: Users) -> Result<()> {
    let whole = Instant::now();
    let mut begun = Instant::now();
    let mut cluster = Cluster::start(etcd, 3, root, users.clone()).await?;
    let load = Load::start(cluster.endpoints(), writers, users.options(users::WRITER)).await?;
    load.more(SOME_WRITES).await?;
    say(&mut begun, "three members of etcd serve");

    cluster.join(etched, &load).await?;
    conclude(&mut begun, &cluster, &load, "etched joined as a learner and was promoted").await?;
    let ours = cluster.last_of(&etched.name)?;
    cluster.lead(ours).await?;
    serve(&cluster, ours, cluster.first_of(&etcd.name)?).await?;
    conclude(&mut begun, &cluster, &load, "etched leads, and serves puts, gets, transactions and leases")
        .await?;

    cluster.fall_behind(ours, cluster.first_of(&etcd.name)?, &load).await?;
    conclude(&mut begun, &cluster, &load, "etcd took a snapshot from etched").await?;
    cluster.fall_behind(cluster.first_of(&etcd.name)?, ours, &load).await?;
    conclude(&mut begun, &cluster, &load, "etched took a snapshot from etcd").await?;

    while cluster.count_of(&etcd.name) > 0 {
        if cluster.len() == 3 {
            cluster.join(etched, &load).await?;
        }
        let text = cluster.remove_first_of(&etcd.name, &load).await?;
        conclude(&mut begun, &cluster, &load, &text).await?;
    }
    while cluster.count_of(&etched.name) > 0 {
        cluster.join(etcd, &load).await?;
        let text = cluster.remove_first_of(&etched.name, &load).await?;
        conclude(&mut begun, &cluster, &load, &text).await?;
    }
    let refused = load.refused();
    let (writes, events) = load.finish(&cluster.client()?).await?;
    say(
        &mut begun,
        &format!("all {writes} answered writes are there, and the watch saw all {events} in order"),
    );
    println!(
        "mixed: all shown in {:.1} s; {refused} writes were refused or lost their answer",
        whole.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Says what was shown since the last line.
fn say(begun: &mut Instant, text: &str) {
    println!("mixed: {:6.1} s  {text}", begun.elapsed().as_secs_f64());
    *begun = Instant::now();
}

/// As [`say`], once some more writes were answered, all hashes are equal and no answered write is missing.
async fn conclude(begun: &mut Instant, cluster: &Cluster, load: &Load, text: &str) -> Result<()> {
    load.more(SOME_WRITES).await?;
    let writes = load.check(&cluster.client()?).await?;
    let (revision, hash) = cluster.compare_hashes().await?;
    cluster.check_users().await?;
    let detail = format!(
        "{text} [{}; {writes} writes; hash {hash:08x} of all at revision {revision}]",
        cluster.describe().await?
    );
    say(begun, &detail);
    Ok(())
}

/// Asks the member `leader` for everything that clients ask for, and `follower` to keep its lease alive.
async fn serve(cluster: &Cluster, leader: usize, follower: usize) -> Result<()> {
    let (client, other): (Client, Client) = (cluster.client_of(leader)?, cluster.client_of(follower)?);
    let lease = retry("granting a lease", || client.lease_grant_with_id(60, 4711)).await?;
    retry("a put", || client.put(Put::new("serve/a", "1").lease(lease.id))).await?;
    let read = retry("a get", || client.get(Get::new("serve/a"))).await?;
    ensure!(read.kvs.len() == 1 && read.kvs[0].lease == lease.id, "the put is not there");
    let read = retry("a get at the follower", || other.get(Get::new("serve/a"))).await?;
    ensure!(read.kvs.len() == 1 && read.kvs[0].lease == lease.id, "the put is not at the follower");
    let txn = retry("a transaction", || {
        client.txn(
            Txn::new()
                .when([Compare::value("serve/a").equal_to("1")])
                .then([Put::new("serve/b", "2").into()])
                .or_else([Get::new("serve/b").into()]),
        )
    })
    .await?;
    ensure!(txn.succeeded, "the transaction compared something else");
    let alive = retry("keeping a lease alive", || other.lease_keep_alive_once(lease.id)).await?;
    ensure!(alive.ttl == 60, "a lease of 60 s was renewed for {} s", alive.ttl);
    let left = retry("the time of a lease", || other.lease_time_to_live_with_keys(lease.id)).await?;
    ensure!(
        left.ttl > 50 && left.keys.len() == 1,
        "the lease has {} s and {} keys",
        left.ttl,
        left.keys.len()
    );
    retry("revoking a lease", || other.lease_revoke(lease.id)).await?;
    let read = retry("a get", || client.get(Get::new("serve/a"))).await?;
    ensure!(read.kvs.is_empty(), "the key outlived its lease");
    Ok(())
}
