//! The cluster: how members come, lead, fall behind and go.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use etched_client::proto::etcdserverpb::StatusResponse;
use etched_client::{Client, Get, Options};

use super::WRITES_BEYOND_THE_LOG;
use super::load::Load;
use super::member::{Member, PATIENCE, retry};
use super::users::{ROOT, Users};
use crate::process::Program;

/// How long a removed member may take until it ends by itself.
const LEAVING: Duration = Duration::from_secs(15);
/// What the real etcd writes to its log when it has taken a snapshot, and when it has sent one.
const ETCD_TOOK: &str = "received and saved database snapshot";
const ETCD_SENT: &str = "sent database snapshot";

/// All members, in the order in which they came.
#[derive(Debug)]
pub(super) struct Cluster {
    root: PathBuf,
    members: Vec<Member>,
    /// How many members there ever were; names are made of it.
    born: u32,
    users: Users,
}

impl Cluster {
    /// Starts a new cluster of one kind.
    pub(super) async fn start(program: &Program, size: u32, root: &Path, users: Users) -> Result<Self> {
        let mut cluster = Self { root: root.to_path_buf(), members: Vec::new(), born: 0, users };
        for _ in 0..size {
            let member = cluster.make(program)?;
            cluster.members.push(member);
        }
        let entries = cluster.entries();
        for member in &mut cluster.members {
            member.start(&entries, "new")?;
        }
        let anybody = Client::connect_lazy(cluster.endpoints(), Options::default())?;
        retry("the first read of all", || anybody.get(Get::new("x"))).await?;
        cluster.users.create(&anybody).await?;
        for member in &mut cluster.members {
            let client = member.connect()?;
            retry("the first read", || client.get(Get::new("x"))).await?;
            let status = client.status().await?;
            member.id = status.header.context("a status without a header")?.member_id;
        }
        Ok(cluster)
    }

    fn make(&mut self, program: &Program) -> Result<Member> {
        self.born += 1;
        Member::new(format!("{}-{}", program.name, self.born), program, &self.root, &self.users)
    }

    fn entries(&self) -> String {
        self.members.iter().map(Member::entry).collect::<Vec<_>>().join(",")
    }

    pub(super) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.to_string()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn count_of(&self, kind: &str) -> usize {
        self.members.iter().filter(|member| member.program.name == kind).count()
    }

    /// The place of the oldest member of a kind.
    pub(super) fn first_of(&self, kind: &str) -> Result<usize> {
        self.members.iter().position(|member| member.program.name == kind).context("no such member")
    }

    /// The place of the newest member of a kind.
    pub(super) fn last_of(&self, kind: &str) -> Result<usize> {
        self.members.iter().rposition(|member| member.program.name == kind).context("no such member")
    }

    /// A client that may ask any member.
    pub(super) fn client(&self) -> Result<Client> {
        Ok(Client::connect_lazy(self.endpoints(), self.users.options(ROOT))?)
    }

    /// All members know the same users and take the tokens of each other.
    pub(super) async fn check_users(&self) -> Result<()> {
        self.users.check(&self.members).await
    }

    /// A client of one member.
    pub(super) fn client_of(&self, place: usize) -> Result<Client> {
        self.members[place].connect()
    }

    /// Adds a member as a learner, starts it and promotes it as soon as it is in sync.
    pub(super) async fn join(&mut self, program: &Program, load: &Load) -> Result<()> {
        let mut member = self.make(program)?;
        let (client, url) = (self.client()?, member.peer_url());
        let added = retry("adding a learner", || client.member_add_learner([url.clone()])).await?;
        member.id = added.member.context("an added member without a name")?.id;
        member.start(&format!("{},{}", self.entries(), member.entry()), "existing")?;
        let joined = member.connect()?;
        let status = self.status_of_learner(&member).await?;
        ensure!(status.is_learner, "{} should be a learner", member.name);
        let id = member.id;
        retry("promoting a learner", || client.member_promote(id)).await?;
        retry("a read at the new member", || joined.get(Get::new("x"))).await?;
        let deadline = Instant::now() + PATIENCE;
        while joined.status().await?.is_learner {
            ensure!(Instant::now() < deadline, "{} remains a learner", member.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.members.push(member);
        load.set_endpoints(self.endpoints());
        Ok(())
    }

    /// What a learner says of itself. It logs nobody in, so the token is another member's; a new one is made each time,
    /// since what comes by a snapshot has no tokens.
    async fn status_of_learner(&self, learner: &Member) -> Result<StatusResponse> {
        let other = self.members.first().context("a cluster has members")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let options = self.users.options_with_token(other).await?;
            match Client::connect_lazy([learner.client.to_string()], options)?.status().await {
                Ok(status) => return Ok(status),
                Err(error) if Instant::now() > deadline => bail!("the status of a learner: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The place of the leader.
    async fn leader(&self) -> Result<usize> {
        let client = self.client()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(status) = client.status().await
                && let Some(place) = self.members.iter().position(|member| member.id == status.leader)
            {
                return Ok(place);
            }
            ensure!(Instant::now() < deadline, "no member leads");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Makes a member the leader, by `MoveLeader`.
    pub(super) async fn lead(&self, place: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut refusal = String::new();
        loop {
            let leader = self.leader().await?;
            if leader == place && self.members[place].status().await?.leader == self.members[place].id {
                return Ok(());
            }
            if leader != place
                && let Err(error) = self.client_of(leader)?.move_leader(self.members[place].id).await
            {
                refusal = error.to_string();
            }
            if Instant::now() > deadline {
                bail!("{} does not lead: {refusal}", self.members[place].name);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops a follower until the log does not reach back to it, and starts it again: it needs a snapshot.
    pub(super) async fn fall_behind(&mut self, leader: usize, follower: usize, load: &Load) -> Result<()> {
        self.lead(leader).await?;
        self.members[follower].stop().await?;
        // Writers that would wait for it would only make this take longer.
        let mut others = self.endpoints();
        others.remove(follower);
        load.set_endpoints(others);
        let witness = |cluster: &Self| -> Result<usize> {
            // The log of the real etcd tells of the snapshot, from whichever side.
            let took = cluster.members[follower].log_count(ETCD_TOOK)?;
            Ok(took + cluster.members[leader].log_count(ETCD_SENT)?)
        };
        load.more(WRITES_BEYOND_THE_LOG).await?;
        self.lead(leader).await?;
        let before = witness(self)?;
        let entries = self.entries();
        self.members[follower].start(&entries, "existing")?;
        let client = self.client_of(follower)?;
        retry("a read at a follower that was behind", || client.get(Get::new("x"))).await?;
        load.set_endpoints(self.endpoints());
        let deadline = Instant::now() + PATIENCE;
        while witness(self)? == before {
            ensure!(Instant::now() < deadline, "{} got no snapshot", self.members[follower].name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Removes the oldest member of a kind; says what became of its process.
    pub(super) async fn remove_first_of(&mut self, kind: &str, load: &Load) -> Result<String> {
        let place = self.first_of(kind)?;
        if self.leader().await? == place {
            self.lead(self.len() - 1).await?;
        }
        let mut gone = self.members.remove(place);
        load.set_endpoints(self.endpoints());
        let (client, id) = (self.client()?, gone.id);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let refusal = client.member_remove(id).await.err();
            let members = retry("the list of members", || client.member_list()).await?.members;
            if members.iter().all(|member| member.id != id) {
                break;
            }
            ensure!(Instant::now() < deadline, "{} cannot be removed: {refusal:?}", gone.name);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let ended = if gone.ends_within(LEAVING).await? {
            "ended by itself"
        } else {
            gone.stop().await?;
            "was ended"
        };
        Ok(format!("{} was removed and {ended}", gone.name))
    }

    /// Compares the hashes of all members at one revision; returns both.
    pub(super) async fn compare_hashes(&self) -> Result<(i64, u32)> {
        let client = self.client()?;
        let read = retry("a read", || client.get(Get::new("x"))).await?;
        let revision = read.header.context("an answer without a header")?.revision;
        let mut hashes = Vec::new();
        for member in &self.members {
            let client = member.connect()?;
            let answer = retry("a hash", || client.hash_kv(revision)).await?;
            hashes.push((answer.hash, answer.compact_revision, answer.hash_revision));
        }
        ensure!(
            hashes.iter().all(|hash| *hash == hashes[0]),
            "hashes at revision {revision} differ: {hashes:?} of {}",
            self.describe().await?
        );
        Ok((revision, hashes[0].0))
    }

    /// The names of all members, the leader's with a star.
    pub(super) async fn describe(&self) -> Result<String> {
        let leader = self.leader().await?;
        let names = self.members.iter().enumerate().map(|(place, member)| {
            if place == leader { format!("{}*", member.name) } else { member.name.clone() }
        });
        Ok(names.collect::<Vec<_>>().join(" "))
    }
}
