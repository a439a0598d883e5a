//! The links between members and from clients: proxies in this process, through which all bytes go and which a fault
//! can hold up, slow down, swallow or cut, each direction by itself.
//!
//! All members dial the same advertised address of a member, so a proxy finds out who dials from the kernel: which
//! process owns the other end of the connection.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::owner::{Connection, owners};
use crate::random::Random;

/// A member, by its place, or the clients: the place after the last member.
pub(super) type Node = usize;

/// What happens to bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// They pass.
    Pass,
    /// They wait, as if packets were lost, and come when this is over.
    Stall,
    /// They are lost, and nobody is told: the other end is gone.
    Swallow,
    /// They come later, by a time between these milliseconds.
    Delay(u64, u64),
    /// So many bytes pass in a second.
    Throttle(u64),
}

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;
/// Chunks that wait in one direction of a connection; more stay with the sender.
const CHUNKS_WAITING: usize = 64;

/// Connections that wait to know who dialed them; more are not taken meanwhile.
const DIALED_WAITING: usize = 256;

/// Asks who dialed a connection.
type Question = (Connection, oneshot::Sender<Option<Node>>);

/// All links.
#[derive(Debug)]
pub(super) struct Network {
    nodes: usize,
    flows: BTreeMap<(Node, Node), watch::Sender<Traffic>>,
    /// Counts the cuts of a pair's connections.
    cuts: BTreeMap<(Node, Node), watch::Sender<u64>>,
    /// The processes of the members.
    pids: Mutex<Vec<Option<u32>>>,
    /// Held while the kernel is asked for sockets: once at a time.
    asking: tokio::sync::Mutex<()>,
}

impl Network {
    /// Links between so many members, and from clients to each.
    pub(super) fn new(members: usize) -> Arc<Self> {
        let nodes = members + 1;
        let pairs = || (0..nodes).flat_map(move |from| (0..nodes).map(move |to| (from, to)));
        Arc::new(Self {
            nodes,
            flows: pairs().map(|pair| (pair, watch::Sender::new(Traffic::Pass))).collect(),
            cuts: pairs().map(|pair| (pair, watch::Sender::new(0))).collect(),
            pids: Mutex::new(vec![None; members]),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// The place of the clients.
    pub(super) fn clients(&self) -> Node {
        self.nodes - 1
    }

    pub(super) fn set_pid(&self, member: Node, pid: u32) {
        self.pids.lock().expect("nobody panics with it")[member] = Some(pid);
    }

    /// Changes one direction.
    pub(super) fn set(&self, from: Node, to: Node, traffic: Traffic) {
        self.flows[&(from, to)].send_replace(traffic);
    }

    /// Changes both directions.
    pub(super) fn set_both(&self, one: Node, other: Node, traffic: Traffic) {
        self.set(one, other, traffic);
        self.set(other, one, traffic);
    }

    /// Resets all connections between two nodes.
    pub(super) fn cut(&self, one: Node, other: Node) {
        for pair in [(one, other), (other, one)] {
            self.cuts[&pair].send_modify(|cuts| *cuts += 1);
        }
    }

    /// Lets everything pass. Connections that lost bytes are reset.
    pub(super) fn heal(&self) {
        for (&(from, to), flow) in &self.flows {
            if flow.send_replace(Traffic::Pass) == Traffic::Swallow {
                self.cut(from, to);
            }
        }
    }

    /// Takes connections from clients to a member.
    pub(super) async fn proxy_clients(self: &Arc<Self>, to: Node, target: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let network = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                let from = network.clients();
                tokio::spawn(Arc::clone(&network).connection(inbound, from, to, target));
            }
        });
        Ok(address)
    }

    /// Takes connections from other members to a member, at an address that stays.
    pub(super) async fn proxy_peers(
        self: &Arc<Self>,
        to: Node,
        address: SocketAddr,
        target: SocketAddr,
    ) -> Result<()> {
        let listener = TcpListener::bind(address).await?;
        let (ask, questions) = mpsc::channel(DIALED_WAITING);
        tokio::spawn(Arc::clone(self).answer(questions));
        let network = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((inbound, dialer)) = listener.accept().await {
                let (answer, dialed) = oneshot::channel();
                if ask.send(((dialer, address), answer)).await.is_err() {
                    return;
                }
                let network = Arc::clone(&network);
                tokio::spawn(async move {
                    // Nobody: the process has ended meanwhile, and so has its connection.
                    if let Ok(Some(from)) = dialed.await {
                        network.connection(inbound, from, to, target).await;
                    }
                });
            }
        });
        Ok(())
    }

    /// Finds out who dialed, for all that wait at once.
    ///
    /// One by one, members that all dialed again and again kept the machine so busy with this that no connection
    /// was made in time, and no leader elected.
    async fn answer(self: Arc<Self>, mut questions: mpsc::Receiver<Question>) {
        let mut waiting = Vec::new();
        while questions.recv_many(&mut waiting, DIALED_WAITING).await > 0 {
            let _asking = self.asking.lock().await;
            while let Ok(question) = questions.try_recv() {
                waiting.push(question);
            }
            let (connections, answers): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
            let pids = self.pids.lock().expect("nobody panics with it").clone();
            let Ok(found) = tokio::task::spawn_blocking(move || owners(&connections, &pids)).await else {
                return;
            };
            for (answer, owner) in answers.into_iter().zip(found) {
                // Whoever asked may have gone.
                let _ = answer.send(owner);
            }
        }
    }

    /// Serves one connection until it ends or is cut.
    async fn connection(self: Arc<Self>, mut inbound: TcpStream, from: Node, to: Node, target: SocketAddr) {
        let mut cut = self.cuts[&(from, to)].subscribe();
        let (mut there, mut back) =
            (self.flows[&(from, to)].subscribe(), self.flows[&(to, from)].subscribe());
        let open = |traffic: &Traffic| !matches!(traffic, Traffic::Stall | Traffic::Swallow);
        let serve = async {
            // A connection is made only when packets go both ways.
            there.wait_for(open).await.map_err(io::Error::other)?;
            back.wait_for(open).await.map_err(io::Error::other)?;
            let mut outbound = TcpStream::connect(target).await?;
            inbound.set_nodelay(true)?;
            outbound.set_nodelay(true)?;
            let (from_dialer, to_dialer) = inbound.split();
            let (from_target, to_target) = outbound.split();
            tokio::select! {
                ended = async { tokio::try_join!(
                    pump(from_dialer, to_target, there.clone()),
                    pump(from_target, to_dialer, back.clone()),
                ) } => ended.map(|_| ()),
                _ = cut.changed() => Err(io::ErrorKind::ConnectionReset.into()),
            }
        };
        if serve.await.is_err() {
            // Closing it sends a reset. It may be gone already.
            let _ = inbound.set_zero_linger();
        }
    }
}

/// Moves bytes in one direction until its end. After losing bytes a connection carries no more.
async fn pump(
    mut source: ReadHalf<'_>,
    mut target: WriteHalf<'_>,
    mut flow: watch::Receiver<Traffic>,
) -> io::Result<()> {
    let (sender, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_WAITING);
    let delays = flow.clone();
    let read = async move {
        let mut random = Random::new(0);
        let mut due = Instant::now();
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = source.read(&mut chunk).await?;
            if count == 0 {
                return io::Result::Ok(());
            }
            let delay = match *delays.borrow() {
                Traffic::Delay(least, most) => Duration::from_millis(least + random.below(most - least + 1)),
                Traffic::Throttle(per_second) => Duration::from_micros(count as u64 * 1_000_000 / per_second),
                Traffic::Pass | Traffic::Stall | Traffic::Swallow => Duration::ZERO,
            };
            // Bytes stay in order; throttled ones follow each other.
            let is_throttled = matches!(*delays.borrow(), Traffic::Throttle(_));
            due =
                if is_throttled { due.max(Instant::now()) + delay } else { due.max(Instant::now() + delay) };
            if sender.send((due, chunk[..count].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        let mut is_lost = false;
        while let Some((due, bytes)) = waiting.recv().await {
            tokio::time::sleep_until(due).await;
            is_lost |= pass_or_swallow(&mut flow).await?;
            if !is_lost {
                target.write_all(&bytes).await?;
            }
        }
        if is_lost || pass_or_swallow(&mut flow).await? {
            // Whoever is on the other end of a half-open connection is never told that it ended.
            std::future::pending::<()>().await;
        }
        target.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

/// Waits until bytes do not have to wait; returns whether they are lost.
async fn pass_or_swallow(flow: &mut watch::Receiver<Traffic>) -> io::Result<bool> {
    let traffic = flow.wait_for(|traffic| *traffic != Traffic::Stall).await.map_err(io::Error::other)?;
    Ok(*traffic == Traffic::Swallow)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection through a proxy: the client's end and the server's.
    async fn link(network: &Arc<Network>) -> (TcpStream, TcpStream) {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = network.proxy_clients(0, server.local_addr().unwrap()).await.unwrap();
        let client = TcpStream::connect(proxy).await.unwrap();
        (client, server.accept().await.unwrap().0)
    }

    async fn send_and_receive(sender: &mut TcpStream, receiver: &mut TcpStream) {
        sender.write_all(b"ping").await.unwrap();
        let mut received = [0; 4];
        receiver.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"ping");
    }

    #[tokio::test]
    async fn a_direction_stalls_by_itself_and_loses_nothing() {
        let network = Network::new(1);
        let (mut client, mut server) = link(&network).await;
        send_and_receive(&mut client, &mut server).await;
        network.set(1, 0, Traffic::Stall);
        client.write_all(b"late").await.unwrap();
        send_and_receive(&mut server, &mut client).await;
        let mut received = [0; 4];
        let early = tokio::time::timeout(Duration::from_millis(20), server.read_exact(&mut received)).await;
        assert!(early.is_err(), "a stalled direction passed bytes");
        network.heal();
        server.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"late");
    }

    #[tokio::test]
    async fn a_cut_resets_and_new_connections_pass() {
        let network = Network::new(1);
        let (mut client, mut server) = link(&network).await;
        send_and_receive(&mut client, &mut server).await;
        network.cut(0, 1);
        assert!(client.read(&mut [0]).await.is_err(), "the connection was not reset");
        let (mut client, mut server) = link(&network).await;
        send_and_receive(&mut client, &mut server).await;
    }

    #[tokio::test]
    async fn a_half_open_connection_is_silent_and_reset_at_the_end() {
        let network = Network::new(1);
        let (mut client, mut server) = link(&network).await;
        send_and_receive(&mut client, &mut server).await;
        network.set_both(0, 1, Traffic::Swallow);
        client.write_all(b"lost").await.unwrap();
        drop(server);
        let told = tokio::time::timeout(Duration::from_millis(20), client.read(&mut [0])).await;
        assert!(told.is_err(), "the end of a half-open connection was told");
        network.heal();
        assert!(client.read(&mut [0]).await.is_err(), "the connection was not reset");
    }
}
