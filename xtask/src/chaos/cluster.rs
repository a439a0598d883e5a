//! A cluster of real processes behind proxies, and what an operator does to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use etched_proto::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

use super::member::Member;
use super::network::{Network, Node};
use crate::process::Program;

/// How long a cluster may take until each member serves, once it can.
pub(super) const RECOVERY: Duration = Duration::from_secs(90);
/// How long a step of administration may take. etcd wants to see all members connected for five seconds before some.
const ADMINISTRATION: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(50);

/// Where clients find the members, and in which life each is.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Through proxies.
    pub(super) proxied: Vec<String>,
    /// Past them.
    pub(super) direct: Vec<String>,
    boots: Vec<AtomicU32>,
}

impl Addresses {
    /// The life of a member.
    pub(super) fn boot(&self, member: Node) -> u32 {
        self.boots[member].load(Ordering::SeqCst)
    }
}

/// All members.
pub(super) struct Cluster {
    pub(super) members: Vec<Member>,
    pub(super) network: Arc<Network>,
    pub(super) addresses: Arc<Addresses>,
    initial: String,
}

impl Cluster {
    /// Starts a member of each program and waits until all serve.
    pub(super) async fn start(programs: &[Program], directory: &Path) -> Result<Self> {
        let network = Network::new(programs.len());
        let mut members = Vec::new();
        for (number, program) in programs.iter().enumerate() {
            members.push(Member::new(format!("m{number}"), program.clone(), directory)?);
        }
        let (mut proxied, mut direct) = (Vec::new(), Vec::new());
        for (node, member) in members.iter().enumerate() {
            network.proxy_peers(node, member.advertised, member.peer).await?;
            proxied.push(format!("http://{}", network.proxy_clients(node, member.client).await?));
            direct.push(format!("http://{}", member.client));
        }
        let boots = members.iter().map(|_| AtomicU32::new(0)).collect();
        let addresses = Arc::new(Addresses { proxied, direct, boots });
        let initial = members.iter().map(Member::initial).collect::<Vec<_>>().join(",");
        let mut cluster = Self { members, network, addresses, initial };
        for node in 0..programs.len() {
            cluster.respawn(node)?;
        }
        cluster.wait_until_healthy().await?;
        Ok(cluster)
    }

    /// Starts a member on its data.
    pub(super) fn respawn(&mut self, node: Node) -> Result<()> {
        let initial = self.initial.clone();
        self.start_member(node, &initial, "new")
    }

    fn start_member(&mut self, node: Node, initial: &str, state: &str) -> Result<()> {
        self.addresses.boots[node].fetch_add(1, Ordering::SeqCst);
        let pid = self.members[node].start(initial, state)?;
        self.network.set_pid(node, pid);
        Ok(())
    }

    /// A connection to a member past the proxies.
    pub(super) fn channel(&self, node: Node) -> Result<Channel> {
        channel(&self.addresses.direct[node])
    }

    /// The member that leads, as far as any member knows.
    pub(super) async fn leader(&self) -> Result<Node> {
        let deadline = Instant::now() + RECOVERY;
        while Instant::now() < deadline {
            for node in 0..self.members.len() {
                if let Ok(status) = self.status(node).await
                    && status.leader != 0
                    && status.header.is_some_and(|header| header.member_id == status.leader)
                {
                    return Ok(node);
                }
            }
            sleep(PAUSE).await;
        }
        bail!("nobody leads for {} s", RECOVERY.as_secs())
    }

    async fn status(&self, node: Node) -> Result<pb::StatusResponse> {
        if !self.members[node].is_running() {
            bail!("{} does not run", self.members[node].name);
        }
        let mut client = MaintenanceClient::new(self.channel(node)?);
        let request = client.status(pb::StatusRequest {});
        Ok(tokio::time::timeout(Duration::from_secs(1), request).await??.into_inner())
    }

    /// Waits until each member answers a linearizable read.
    ///
    /// # Errors
    /// If one does not within the time for that, or its process ended.
    pub(super) async fn wait_until_healthy(&mut self) -> Result<()> {
        let deadline = Instant::now() + RECOVERY;
        for node in 0..self.members.len() {
            loop {
                let mut client = KvClient::new(self.channel(node)?);
                let request = pb::RangeRequest { key: "health".into(), ..Default::default() };
                let answer = tokio::time::timeout(Duration::from_secs(3), client.range(request)).await;
                if matches!(answer, Ok(Ok(_))) {
                    break;
                }
                self.check_processes()?;
                if Instant::now() > deadline {
                    let member = &self.members[node];
                    bail!(
                        "liveness: {} does not serve for {} s without faults: {answer:?}\n{}",
                        member.name,
                        RECOVERY.as_secs(),
                        member.log_tail()
                    );
                }
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Checks that no process ended by itself.
    pub(super) fn check_processes(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(status) = member.ended()? {
                bail!("{} ended by itself with {status}:\n{}", member.name, member.log_tail());
            }
        }
        Ok(())
    }

    /// Starts all members that do not run, because they were ended.
    pub(super) fn respawn_all(&mut self) -> Result<()> {
        for node in 0..self.members.len() {
            if !self.members[node].is_running() {
                self.respawn(node)?;
            }
        }
        Ok(())
    }

    /// Removes a member, forgets its data, and adds it again, by way of another member.
    pub(super) async fn replace(&mut self, node: Node, through: Node, as_learner: bool) -> Result<()> {
        let url = format!("http://{}", self.members[node].advertised);
        let has_url = |member: &&pb::Member| member.peer_ur_ls.contains(&url);
        let gone = async |mut client: ClusterClient<Channel>| {
            let members = list(&mut client).await?;
            let Some(member) = members.iter().find(has_url) else { return Ok(Some(())) };
            client.member_remove(pb::MemberRemoveRequest { id: member.id }).await?;
            Ok(None)
        };
        self.administer(through, "removing a member", gone).await?;
        // A member that learns of its removal ends by itself; one that does not is ended.
        if self.members[node].wait(Duration::from_secs(5)).await.is_err() {
            self.members[node].kill()?;
        }
        self.members[node].disk.wipe()?;
        let added = async |mut client: ClusterClient<Channel>| {
            let members = list(&mut client).await?;
            if members.iter().any(|member| has_url(&member)) {
                return Ok(Some(members));
            }
            let request = pb::MemberAddRequest { peer_ur_ls: vec![url.clone()], is_learner: as_learner };
            client.member_add(request).await?;
            Ok(None)
        };
        let members = self.administer(through, "adding a member", added).await?;
        self.start_member(node, &self.initial_of(&members), "existing")?;
        if as_learner {
            let promoted = async |mut client: ClusterClient<Channel>| {
                let members = list(&mut client).await?;
                let member = members.iter().find(has_url).context("the learner is a member")?;
                if !member.is_learner {
                    return Ok(Some(()));
                }
                client.member_promote(pb::MemberPromoteRequest { id: member.id }).await?;
                Ok(None)
            };
            self.administer(through, "promoting a learner", promoted).await?;
        }
        self.wait_until_healthy().await
    }

    /// `--initial-cluster` for a member that joins these.
    fn initial_of(&self, members: &[pb::Member]) -> String {
        let known = self.members.iter().filter(|member| {
            let url = format!("http://{}", member.advertised);
            members.iter().any(|listed| listed.peer_ur_ls.contains(&url))
        });
        known.map(Member::initial).collect::<Vec<_>>().join(",")
    }

    /// Tries a step again and again until it says that it is done.
    async fn administer<T>(
        &self,
        through: Node,
        what: &str,
        step: impl AsyncFn(ClusterClient<Channel>) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + ADMINISTRATION;
        loop {
            let client = ClusterClient::new(self.channel(through)?);
            let problem = match tokio::time::timeout(Duration::from_secs(10), step(client)).await {
                Ok(Ok(Some(done))) => return Ok(done),
                Ok(Ok(None)) => continue,
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() > deadline {
                bail!("liveness: {what} fails for {} s: {problem}", ADMINISTRATION.as_secs());
            }
            sleep(PAUSE * 4).await;
        }
    }

    /// Gives leadership to another member.
    pub(super) async fn move_leader(&self, from: Node, to: Node) -> Result<()> {
        let target = self.status(to).await?.header.context("an answer has a header")?.member_id;
        let mut client = MaintenanceClient::new(self.channel(from)?);
        let request = client.move_leader(pb::MoveLeaderRequest { target_id: target });
        tokio::time::timeout(Duration::from_secs(10), request).await??;
        Ok(())
    }

    /// Rewrites a member's store without gaps.
    pub(super) async fn defragment(&self, node: Node) -> Result<()> {
        let mut client = MaintenanceClient::new(self.channel(node)?);
        tokio::time::timeout(Duration::from_secs(30), client.defragment(pb::DefragmentRequest {})).await??;
        Ok(())
    }
}

async fn list(client: &mut ClusterClient<Channel>) -> Result<Vec<pb::Member>> {
    let request = pb::MemberListRequest { linearizable: true };
    Ok(client.member_list(request).await?.into_inner().members)
}

/// A connection that is made when it is used.
pub(super) fn channel(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(Duration::from_secs(1));
    Ok(endpoint.connect_lazy())
}
