//! `gateway start`: forwards TCP connections to the members of a cluster, without looking into them.
//!
//! A member that cannot be reached is left out for `--retry-delay`, then tried again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::endpoints;
use super::spec::{Command, Flag, Kind, Parsed, flag};
use crate::{log, notify};

/// Connections that are forwarded at a time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 32_768;
/// The time between two tries of what cannot be reached, if `--retry-delay` is 0.
const RETRY_DELAY: Duration = Duration::from_secs(300);
/// How long a listener rests when no connection can be accepted, for want of files mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

const FLAGS: &[Flag] = &[
    flag("discovery-srv", Kind::Text, "", "domain whose SRV records name the cluster"),
    flag("discovery-srv-name", Kind::Text, "", "suffix of the service's name in the SRV records"),
    flag("endpoints", Kind::List, "127.0.0.1:2379", "members of the cluster, separated by commas"),
    flag("insecure-discovery", Kind::Bool, "false", "trust SRV records that name endpoints without TLS"),
    flag("listen-addr", Kind::Text, "127.0.0.1:23790", "address to listen on"),
    flag(
        "retry-delay",
        Kind::Duration,
        "1m0s",
        "time after which a member that could not be reached is tried again",
    ),
    flag("trusted-ca-file", Kind::Text, "", "certificate authorities of the endpoints that SRV records name"),
];

/// The sub-command.
pub(super) const COMMAND: Command = Command {
    name: "gateway",
    about: "forward TCP connections to a cluster",
    about_start: "start the gateway",
    flags: FLAGS,
    start,
};

fn start(parsed: &Parsed) -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().collect();
    log!(Info, "Running: ", "args" => arguments);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let (listener, remotes) = prepare(parsed).await?;
        let delay = parsed.duration("retry-delay");
        let retry_delay = if delay.is_zero() { RETRY_DELAY } else { delay };
        notify::ready();
        let targets: Vec<String> = remotes.iter().map(|remote| remote.address.clone()).collect();
        log!(Info, "ready to proxy client requests", "endpoints" => targets);
        run(listener, Arc::new(Picker::new(remotes)), retry_delay).await;
        Ok(())
    })
}

/// The listener, and where to forward to.
async fn prepare(parsed: &Parsed) -> Result<(TcpListener, Vec<Remote>), String> {
    let found = endpoints::discovered(parsed, "trusted-ca-file").await?;
    let remotes: Vec<Remote> = if found.is_empty() {
        parsed.list("endpoints").iter().map(|endpoint| Remote::of(endpoint)).collect::<Result<_, _>>()?
    } else {
        let of = |service: etched_srv::Service| Remote {
            address: format!("{}:{}", service.target, service.port),
            priority: service.priority,
            weight: service.weight,
            used: 0,
            is_active: true,
        };
        found.into_iter().map(|found| of(found.service)).collect()
    };
    let listen = parsed.text("listen-addr");
    let Some((host, port)) = listen.rsplit_once(':') else {
        return Err(format!("failed to validate listen address: {listen}"));
    };
    let own: Vec<SocketAddr> = match tokio::net::lookup_host((host, port.parse().unwrap_or(0))).await {
        Ok(addresses) => addresses.collect(),
        Err(_) => return Err(format!("failed to resolve listen host: {host}")),
    };
    for remote in &remotes {
        let target = remote.address.rsplit_once(':').map_or(remote.address.as_str(), |(host, _)| host);
        let addresses = tokio::net::lookup_host(&remote.address).await;
        let addresses = addresses.map_err(|_| format!("failed to resolve endpoint host: {target}"))?;
        for address in addresses {
            if own.contains(&address) {
                let (ip, port) = (address.ip(), address.port());
                return Err(format!(
                    "SRV or endpoint ({target}:{port}->{ip}:{port}) should not resolve to the gateway listen addr ({listen})"
                ));
            }
        }
    }
    if remotes.is_empty() {
        return Err("no endpoints found".to_owned());
    }
    let listener = TcpListener::bind(listen).await.map_err(|error| listen_error(listen, &error))?;
    Ok((listener, remotes))
}

fn listen_error(address: &str, error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        return format!("listen tcp {address}: bind: address already in use");
    }
    format!("listen tcp {address}: {error}")
}

async fn run(listener: TcpListener, picker: Arc<Picker>, retry_delay: Duration) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let monitored = Arc::clone(&picker);
    let monitor = tokio::spawn(async move { monitored.monitor(retry_delay).await });
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
        match listener.accept().await {
            Ok((stream, _)) => {
                let picker = Arc::clone(&picker);
                tokio::spawn(async move {
                    let _permit = permit;
                    forward(stream, &picker, retry_delay).await;
                });
            }
            Err(error) => {
                log!(Warn, "a connection cannot be accepted", "error" => error.to_string());
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    monitor.abort();
}

async fn forward(mut from: TcpStream, picker: &Picker, retry_delay: Duration) {
    while let Some((number, address)) = picker.pick() {
        match TcpStream::connect(&address).await {
            Ok(mut to) => {
                // Small answers must not wait for acknowledgements.
                let _ = from.set_nodelay(true);
                let _ = to.set_nodelay(true);
                // Either side may end or fail: then both are closed.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                return;
            }
            Err(error) => {
                picker.set_active(number, false);
                log!(
                    Warn, "deactivated endpoint",
                    "address" => address, "interval" => retry_delay, "error" => error.to_string()
                );
            }
        }
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remote {
    address: String,
    /// Members with a lower number are used first.
    priority: u16,
    /// The share of connections among those of equal priority.
    weight: u16,
    /// Connections that it was given.
    used: u64,
    is_active: bool,
}

impl Remote {
    fn of(endpoint: &str) -> Result<Self, String> {
        let address = endpoint.split_once("://").map_or(endpoint, |(_, address)| address);
        let address = address.split('/').next().unwrap_or(address);
        if !address.contains(':') {
            return Err(format!("error parsing endpoint {address:?}"));
        }
        Ok(Self { address: address.to_owned(), priority: 0, weight: 0, used: 0, is_active: true })
    }

    /// How often it was used for its share; the lowest is next.
    fn load(&self) -> u64 {
        // Those without a weight get a connection now and then.
        const SHARE: u64 = 100;
        let share = match self.weight {
            0 => 1,
            weight => u64::from(weight) * SHARE,
        };
        (self.used + 1).saturating_mul(1 << 32) / share
    }
}

/// Chooses the member for a connection.
#[derive(Debug)]
struct Picker {
    remotes: Mutex<Vec<Remote>>,
}

impl Picker {
    fn new(remotes: Vec<Remote>) -> Self {
        Self { remotes: Mutex::new(remotes) }
    }

    fn remotes(&self) -> MutexGuard<'_, Vec<Remote>> {
        // Each change is one assignment.
        self.remotes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The best member that can be reached, with its number.
    fn pick(&self) -> Option<(usize, String)> {
        let mut remotes = self.remotes();
        let active = remotes.iter_mut().enumerate().filter(|(_, remote)| remote.is_active);
        let (number, remote) = active.min_by_key(|(_, remote)| (remote.priority, remote.load()))?;
        remote.used += 1;
        Some((number, remote.address.clone()))
    }

    fn set_active(&self, number: usize, is_active: bool) {
        if let Some(remote) = self.remotes().get_mut(number) {
            remote.is_active = is_active;
        }
    }

    /// Tries members again that could not be reached.
    async fn monitor(&self, retry_delay: Duration) {
        loop {
            tokio::time::sleep(retry_delay).await;
            let remotes = self.remotes().clone();
            for (number, remote) in remotes.iter().enumerate().filter(|(_, remote)| !remote.is_active) {
                match TcpStream::connect(&remote.address).await {
                    Ok(_) => {
                        self.set_active(number, true);
                        log!(Info, "activated", "address" => remote.address.as_str());
                    }
                    Err(error) => log!(
                        Warn, "failed to activate endpoint (stay inactive for another interval)",
                        "address" => remote.address.as_str(), "interval" => retry_delay, "error" => error.to_string()
                    ),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(address: &str, priority: u16, weight: u16) -> Remote {
        Remote { priority, weight, ..Remote::of(address).unwrap() }
    }

    fn picked(picker: &Picker, count: usize) -> Vec<String> {
        (0..count).filter_map(|_| picker.pick()).map(|(_, address)| address).collect()
    }

    #[test]
    fn members_of_equal_rank_take_turns() {
        let picker = Picker::new(vec![remote("a:1", 0, 0), remote("b:1", 0, 0)]);
        assert_eq!(picked(&picker, 4), ["a:1", "b:1", "a:1", "b:1"]);
    }

    #[test]
    fn weights_are_shares_and_priorities_come_first() {
        let picker = Picker::new(vec![remote("a:1", 1, 3), remote("b:1", 1, 1), remote("c:1", 2, 9)]);
        let all = picked(&picker, 8);
        assert_eq!(all.iter().filter(|address| *address == "a:1").count(), 6);
        assert!(!all.contains(&"c:1".to_owned()));
        picker.set_active(0, false);
        picker.set_active(1, false);
        assert_eq!(picked(&picker, 1), ["c:1"]);
        picker.set_active(2, false);
        assert_eq!(picker.pick(), None);
    }

    #[test]
    fn an_endpoint_may_be_a_url_and_needs_a_port() {
        assert_eq!(Remote::of("https://a:1").unwrap().address, "a:1");
        assert_eq!(Remote::of("a").unwrap_err(), "error parsing endpoint \"a\"");
    }
}
