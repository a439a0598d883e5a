//! Injects faults into a cluster, one after the other, some with a second one on top.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use etched_model::history::{Put, Request};
use tokio::time::{Instant, sleep};

use super::client::{self, Surroundings};
use super::cluster::{Cluster, channel};
use super::fault::{Deck, Fault};
use super::network::{Node, Traffic};
use super::plant::Plant;
use super::wire;
use crate::random::Random;

/// The client that asks for what faults need.
const OPERATOR: u32 = 1_000;
/// What the operator writes while a disk is full, in bytes.
const LARGE_VALUE: usize = 120 << 10;

/// Injects faults.
pub(super) struct Injector<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) around: &'a Surroundings,
    pub(super) random: Random,
    pub(super) deck: Deck,
}

impl Injector<'_> {
    /// Injects faults until a moment, then ends all of them.
    ///
    /// # Errors
    /// If a process ends by itself, or the cluster does not do what it must while nothing is wrong with it.
    pub(super) async fn run(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            let calm = self.between(200, 1_800);
            sleep(calm).await;
            let fault = match self.around.plant {
                Some(Plant::LostWrites) => Fault::KillAll,
                Some(_) | None => self.deck.draw(&mut self.random),
            };
            let from = self.around.journal.now();
            let noise = self.make_noise(fault);
            let what = self.inject(fault).await.with_context(|| format!("during the fault {fault}"))?;
            self.heal()?;
            self.deck.note(fault, what.is_none());
            let what = what.unwrap_or_else(|| "skipped".to_owned());
            self.around.journal.episode(format!("{fault}: {what}{noise}"), from);
        }
        self.heal()
    }

    /// Ends all faults of networks and processes.
    fn heal(&mut self) -> Result<()> {
        self.cluster.network.heal();
        self.cluster.check_processes()?;
        self.cluster.respawn_all()
    }

    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.random.below(most - least))
    }

    fn any(&mut self) -> Node {
        usize::try_from(self.random.below(self.cluster.members.len() as u64)).expect("a place")
    }

    fn other_than(&mut self, node: Node) -> Node {
        let count = self.cluster.members.len();
        let add = 1 + usize::try_from(self.random.below(count as u64 - 1)).expect("a place");
        (node + add) % count
    }

    /// Some faults come with a slow link on top, which the end of the fault ends too.
    fn make_noise(&mut self, fault: Fault) -> &'static str {
        let is_patient =
            matches!(fault, Fault::Replace | Fault::Learner | Fault::MoveLeader | Fault::DiskFull);
        if is_patient || self.cluster.members.len() == 1 || !self.random.one_in(3) {
            return "";
        }
        let from = self.any();
        let to = self.other_than(from);
        self.cluster.network.set(from, to, Traffic::Delay(10, 150));
        ", and a slow link"
    }

    /// Injects one fault. Returns where, or nothing if that is not possible.
    async fn inject(&mut self, fault: Fault) -> Result<Option<String>> {
        match fault {
            Fault::Kill | Fault::KillLeader => {
                let node = if fault == Fault::Kill { self.any() } else { self.cluster.leader().await? };
                self.cluster.members[node].kill()?;
                let down = self.between(0, 3_000);
                sleep(down).await;
                self.name(node)
            }
            Fault::KillStarting => self.kill_starting().await,
            Fault::KillAll => {
                if self.around.plant == Some(Plant::LostWrites) {
                    self.lose_writes().await?;
                }
                for member in &mut self.cluster.members {
                    member.kill()?;
                }
                let down = self.between(0, 1_000);
                sleep(down).await;
                Ok(Some("all".into()))
            }
            Fault::Pause | Fault::PauseLeader => {
                let node = if fault == Fault::Pause { self.any() } else { self.cluster.leader().await? };
                self.cluster.members[node].pause()?;
                let pause = if self.random.one_in(4) {
                    self.between(4_000, 10_000)
                } else {
                    self.between(100, 4_000)
                };
                sleep(pause).await;
                self.cluster.members[node].resume()?;
                self.name(node)
            }
            Fault::Terminate => {
                let node = self.any();
                self.cluster.members[node].terminate().await?;
                let down = self.between(0, 2_000);
                sleep(down).await;
                self.name(node)
            }
            Fault::PartitionMinority
            | Fault::PartitionLeader
            | Fault::PartitionOneWay
            | Fault::PartitionBridge => self.partition(fault).await,
            Fault::Delay | Fault::Throttle | Fault::HalfOpen => self.spoil_links(fault).await,
            Fault::Reset | Fault::ClientReset => self.reset(fault).await,
            Fault::ClientCut => {
                let node = self.any();
                let clients = self.cluster.network.clients();
                self.cluster.network.set_both(clients, node, Traffic::Stall);
                self.hold().await;
                self.name(node)
            }
            Fault::DiskFull => self.fill_disk().await,
            Fault::Replace | Fault::Learner => self.replace(fault == Fault::Learner).await,
            Fault::MoveLeader => self.move_leader().await,
            Fault::Compact => self.compact().await,
            Fault::Defragment => {
                let node = self.any();
                self.cluster.wait_until_healthy().await?;
                self.cluster.defragment(node).await.with_context(|| format!("defragmenting m{node}"))?;
                self.name(node)
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the last step of a fault")]
    fn name(&self, node: Node) -> Result<Option<String>> {
        let member = &self.cluster.members[node];
        Ok(Some(format!("{} ({})", member.name, member.program())))
    }

    /// Keeps a fault of the network up, sometimes with a member that is killed and starts meanwhile.
    async fn hold(&mut self) {
        let half = self.between(300, 2_500);
        sleep(half).await;
        if self.random.one_in(4) {
            let node = self.any();
            if self.cluster.members[node].kill().is_ok() {
                let down = self.between(0, 500);
                sleep(down).await;
            }
            // A member that cannot start is found when the fault ends.
            let _ = self.cluster.respawn(node);
        }
        sleep(half).await;
    }

    async fn kill_starting(&mut self) -> Result<Option<String>> {
        let node = self.any();
        for _ in 0..3 {
            self.cluster.members[node].kill()?;
            self.cluster.respawn(node)?;
            let life = self.between(5, 600);
            sleep(life).await;
        }
        self.cluster.members[node].kill()?;
        self.name(node)
    }

    /// Takes all members back to where they were some seconds before.
    async fn lose_writes(&mut self) -> Result<()> {
        let saved = tempfile::tempdir()?;
        for member in &mut self.cluster.members {
            member.kill()?;
            member.disk.save(&saved.path().join(&member.name))?;
        }
        self.cluster.respawn_all()?;
        self.cluster.wait_until_healthy().await?;
        sleep(Duration::from_secs(2)).await;
        for member in &mut self.cluster.members {
            member.kill()?;
            member.disk.restore(&saved.path().join(&member.name))?;
        }
        Ok(())
    }

    async fn partition(&mut self, fault: Fault) -> Result<Option<String>> {
        let count = self.cluster.members.len();
        let leader = self.cluster.leader().await?;
        let mut cut: Vec<(Node, Node)> = Vec::new();
        let first = self.any();
        let others =
            |inside: &[Node]| -> Vec<Node> { (0..count).filter(|node| !inside.contains(node)).collect() };
        let what = if fault == Fault::PartitionBridge {
            let second = self.other_than(first);
            cut.extend([(first, second), (second, first)]);
            format!("m{first} | m{second}")
        } else if fault == Fault::PartitionOneWay {
            let node = if self.random.one_in(2) { leader } else { first };
            let is_deaf = self.random.one_in(2);
            for other in others(&[node]) {
                cut.push(if is_deaf { (other, node) } else { (node, other) });
            }
            format!("m{node} {}", if is_deaf { "hears nothing" } else { "is not heard" })
        } else {
            let mut inside = vec![if fault == Fault::PartitionLeader { leader } else { first }];
            if count >= 5 && self.random.one_in(2) {
                inside.push(self.other_than(inside[0]));
            }
            for &node in &inside {
                cut.extend(others(&inside).iter().flat_map(|&other| [(node, other), (other, node)]));
            }
            format!("{inside:?}")
        };
        for (from, to) in cut {
            self.cluster.network.set(from, to, Traffic::Stall);
        }
        self.hold().await;
        Ok(Some(what))
    }

    /// Delays, throttles or silences some links, of clients too.
    async fn spoil_links(&mut self, fault: Fault) -> Result<Option<String>> {
        let nodes = self.cluster.members.len() + 1;
        let mut spoiled = Vec::new();
        for one in 0..nodes {
            for other in 0..one {
                if spoiled.is_empty() && one + 1 == nodes && other + 1 == one || self.random.one_in(2) {
                    let traffic = if fault == Fault::Delay {
                        Traffic::Delay(self.random.below(60), 60 + self.random.below(300))
                    } else if fault == Fault::Throttle {
                        Traffic::Throttle(2_000 + self.random.below(50_000))
                    } else {
                        Traffic::Swallow
                    };
                    self.cluster.network.set_both(one, other, traffic);
                    spoiled.push((one, other));
                }
            }
        }
        self.hold().await;
        Ok(Some(format!("{spoiled:?}")))
    }

    async fn reset(&mut self, fault: Fault) -> Result<Option<String>> {
        let members = self.cluster.members.len();
        let clients = self.cluster.network.clients();
        let times = 1 + self.random.below(8);
        for _ in 0..times {
            for node in 0..members {
                if fault == Fault::ClientReset {
                    self.cluster.network.cut(clients, node);
                } else {
                    (0..=members).for_each(|other| self.cluster.network.cut(node, other));
                }
            }
            let pause = self.between(20, 600);
            sleep(pause).await;
        }
        Ok(Some(format!("{times} times")))
    }

    /// Fills a member's disk while much is written. The member may end, and starts again when there is space.
    async fn fill_disk(&mut self) -> Result<Option<String>> {
        let node = self.any();
        if !self.cluster.members[node].disk.is_small() {
            println!("chaos: no full disk, because mounting a small file system is not permitted");
            return Ok(None);
        }
        self.cluster.wait_until_healthy().await?;
        self.cluster.members[node].disk.fill()?;
        let until = Instant::now() + self.between(3_000, 6_000);
        let mut count = 0;
        while Instant::now() < until {
            self.write_much(node, count).await?;
            count += 1;
        }
        self.cluster.members[node].disk.free()?;
        let ended = self.cluster.members[node].ended()?;
        let what = ended.map_or("it went on".to_owned(), |status| format!("it ended with {status}"));
        Ok(Some(format!("m{node}, {what}")))
    }

    async fn write_much(&self, node: Node, count: u64) -> Result<()> {
        let through =
            if self.cluster.members.len() > 1 { (node + 1) % self.cluster.members.len() } else { node };
        let mut value = format!("{OPERATOR}.{}.{count}.", self.around.journal.now()).into_bytes();
        value.resize(LARGE_VALUE, b'.');
        let key = format!("large/{}", count % 4);
        let request = Request::Put(Put { key, value: wire::text(&value), lease: 0, previous: false });
        let value = Some(Bytes::from(value));
        let channel = channel(&self.around.addresses.direct[through])?;
        let patience = Duration::from_secs(1);
        let call = client::ask_with(self.around, OPERATOR, through, channel, request, value, patience).await;
        self.around.journal.call(call);
        sleep(Duration::from_millis(50)).await;
        Ok(())
    }

    async fn replace(&mut self, as_learner: bool) -> Result<Option<String>> {
        let node = self.any();
        let through = self.other_than(node);
        self.cluster.wait_until_healthy().await?;
        self.cluster.replace(node, through, as_learner).await?;
        self.name(node)
    }

    async fn move_leader(&mut self) -> Result<Option<String>> {
        for _ in 0..20 {
            self.cluster.wait_until_healthy().await?;
            let from = self.cluster.leader().await?;
            let to = self.other_than(from);
            if self.cluster.move_leader(from, to).await.is_ok() {
                return Ok(Some(format!("m{from} to m{to}")));
            }
            sleep(Duration::from_millis(200)).await;
        }
        anyhow::bail!("liveness: leadership does not move, in 20 attempts")
    }

    /// Compacts up to a revision that the record of the history has already.
    async fn compact(&mut self) -> Result<Option<String>> {
        let node = self.any();
        let told = self.around.journal.told();
        let back = if self.random.one_in(2) { 0 } else { self.random.below(100) };
        let revision = (told - i64::try_from(back).expect("a small number")).max(1);
        let channel = channel(&self.around.addresses.direct[node])?;
        let request = Request::Compact { revision };
        let call = client::ask(self.around, OPERATOR, node, channel, request, Duration::from_secs(8)).await;
        let what = format!("at {revision}: {:?}", call.outcome);
        self.around.journal.call(call);
        Ok(Some(what))
    }
}
