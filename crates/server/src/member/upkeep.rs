//! What a member does beside its requests, on a thread of its own: it asks the others which version they run and
//! whether their data is the same.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use etched_replica::{PeerVersion, V2Call};
use tokio::sync::watch;

use crate::api::{Api, Credentials, Request};
use crate::flags::{Options, SERVER_VERSION};
use crate::front::Link;
use crate::log;
use crate::member::checks::Checks;
use crate::member::handle::MemberHandle;
use crate::member::inbox::PeerEvent;
use crate::metrics::Metrics;

/// How often it is looked whether there is something to do.
const LOOK: Duration = Duration::from_millis(500);
/// How often the leader asks the members for their versions.
const VERSIONS_INTERVAL: Duration = Duration::from_secs(4);

/// The running thread; it ends when this is dropped.
pub(crate) struct Upkeep {
    link: Arc<Link>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    pub(crate) fn start(
        handle: Arc<MemberHandle>,
        options: &Options,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let link = Link::new(Arc::<MemberHandle>::clone(&handle), metrics);
        let (stop, mut stopped) = watch::channel(false);
        let running = Arc::clone(&link);
        let versions = Versions {
            handle,
            time_max: options.member.election_timeout * 2,
            interval: versions_interval(options.checks.downgrade_interval),
            asked: None,
        };
        let expiring = Arc::clone(&link);
        let checks = Checks {
            handle: Arc::clone(&versions.handle),
            link: Arc::clone(&link),
            options: options.checks.clone(),
        };
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = running.run() => {}
                    () = versions.run() => {}
                    () = checks.run() => {}
                    () = expire_v2(expiring) => {}
                    // An error means that whoever could tell is gone: that is a stop too.
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("upkeep".into()).spawn(work)?;
        Ok(Self { link, stop, thread: Some(thread) })
    }

    /// A way to ask the member, for other threads.
    pub(crate) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        // Without a receiver the thread has ended already.
        let _ = self.stop.send(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log!(Error, "the upkeep thread panicked");
        }
    }
}

/// Lets the nodes of the v2 API go whose time is over by the clock of the leader.
async fn expire_v2(link: Arc<Link>) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let report = link.api().report();
        let until_ns = crate::v2::unix_ns();
        let is_due = report.v2_next_expiry_ns.is_some_and(|at_ns| at_ns <= until_ns);
        if report.is_leader && is_due {
            // Whatever hinders it now, the next look asks again.
            let _ = link.ask(Credentials::Member, Request::V2(V2Call::Expire { until_ns })).await;
        }
    }
}

/// A downgrade is seen by the versions too, so that `--downgrade-check-time` may ask for them more often.
fn versions_interval(downgrade_interval: Duration) -> Duration {
    if downgrade_interval.is_zero() { VERSIONS_INTERVAL } else { downgrade_interval.min(VERSIONS_INTERVAL) }
}

/// Keeps the leader informed of the members' versions, from which it makes that of the cluster.
struct Versions {
    handle: Arc<MemberHandle>,
    time_max: Duration,
    interval: Duration,
    /// The term and the time of the last round.
    asked: Option<(u64, Instant)>,
}

impl Versions {
    async fn run(mut self) {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let report = self.handle.shown.report();
            let is_due = self.asked.is_none_or(|(term, at)| {
                term != report.raft_term || Instant::now().duration_since(at) >= self.interval
            });
            if report.is_leader && is_due {
                self.ask().await;
                self.asked = Some((report.raft_term, Instant::now()));
            }
        }
    }

    async fn ask(&self) {
        let own_id = self.handle.identity().member_id;
        let mut versions = BTreeMap::new();
        for member in self.handle.shown.members().iter() {
            let version = if member.id == own_id {
                let cluster = self.handle.shown.report().cluster_version.clone();
                Some(PeerVersion { server: SERVER_VERSION.to_owned(), cluster })
            } else {
                let asking = self.handle.client.versions(&member.peer_urls);
                let answered = tokio::time::timeout(self.time_max, asking).await;
                let answered = answered.ok().and_then(Result::ok);
                answered.map(|versions| PeerVersion { server: versions.server, cluster: versions.cluster })
            };
            if version.is_none() {
                log!(Warn, "failed to get version", "remote-member-id" => format!("{:x}", member.id));
            }
            versions.insert(member.id, version);
        }
        self.handle.inbox.push_peer(PeerEvent::Versions(versions));
    }
}
