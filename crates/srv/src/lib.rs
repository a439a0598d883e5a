//! Finds services by the SRV records of a domain (RFC 2782).
//!
//! The server finds the members of its cluster so (`--discovery-srv`), its gateway and its proxy find a cluster, and
//! etchedctl its endpoints.
//!
//! It is a small resolver of its own: it asks the servers of `/etc/resolv.conf`, each twice, over UDP, and over TCP
//! for long answers; names that are not found are tried in the domains of the `search` line.
//! It waits where it is called: whoever has an event loop calls it on another thread.
//!
//! What it does not do: caching, DNSSEC, other records than SRV; addresses of hosts are left to the system.
//!
//! ```no_run
//! let resolver = etched_srv::Resolver::of_the_system();
//! for service in resolver.services("_etcd-server._tcp.example.com")? {
//!     println!("{}:{}", service.target, service.port);
//! }
//! # Ok::<(), etched_srv::LookupError>(())
//! ```

mod message;

use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use self::message::Answer;
pub use self::message::Service;

/// How long a server may take, and how often each is asked.
const PATIENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 2;

/// A name could not be looked up; the text is the one that Go has for it, since etcd and etcdctl show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(String);

/// A service for clients: how it is reached, and its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientService {
    /// Its URL.
    pub url: String,
    /// Its record.
    pub service: Service,
}

/// The services for clients that the records of a domain name: those with TLS, then those without.
///
/// # Errors
///
/// If there are neither.
pub fn client_services(
    resolver: &Resolver,
    domain: &str,
    service_name: &str,
) -> Result<Vec<ClientService>, LookupError> {
    let suffix = if service_name.is_empty() { String::new() } else { format!("-{service_name}") };
    let secure = resolver.services(&format!("_etcd-client-ssl{suffix}._tcp.{domain}"));
    let plain = resolver.services(&format!("_etcd-client{suffix}._tcp.{domain}"));
    if let (Err(secure), Err(plain)) = (&secure, &plain) {
        return Err(LookupError(format!("dns lookup errors: {secure} and {plain}")));
    }
    let with = |scheme: &'static str, services: Result<Vec<Service>, LookupError>| {
        let services = services.unwrap_or_default().into_iter();
        services.map(move |service| ClientService {
            url: format!("{scheme}://{}:{}", service.target, service.port),
            service,
        })
    };
    Ok(with("https", secure).chain(with("http", plain)).collect())
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    /// Domains that are appended to names that are not found.
    search: Vec<String>,
}

impl Resolver {
    /// Those that the system asks.
    pub fn of_the_system() -> Self {
        Self::of(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    /// These servers and no other domains.
    pub fn with_servers(servers: Vec<SocketAddr>) -> Self {
        Self { servers, search: Vec::new() }
    }

    /// Reads the text of a `resolv.conf`.
    fn of(text: &str) -> Self {
        let mut resolver = Self { servers: Vec::new(), search: Vec::new() };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
                    resolver.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        resolver
    }

    /// The services of a name, best first.
    ///
    /// # Errors
    ///
    /// If there are none, or no server answers.
    pub fn services(&self, name: &str) -> Result<Vec<Service>, LookupError> {
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let mut failure = None;
        for candidate in std::iter::once(name.to_owned()).chain(searched) {
            match self.ask(&candidate) {
                Ok(mut services) if !services.is_empty() => {
                    services.sort_by_key(|service| (service.priority, u16::MAX - service.weight));
                    return Ok(services);
                }
                Ok(_none) => {}
                Err(why) => failure = failure.or(Some(why)),
            }
        }
        let why = failure.unwrap_or_else(|| match self.servers.first() {
            Some(server) => format!("on {server}: no such host"),
            None => "no servers".to_owned(),
        });
        Err(LookupError(format!("lookup {name} {why}")))
    }

    fn ask(&self, name: &str) -> Result<Vec<Service>, String> {
        let mut failure = String::new();
        for server in (0..ATTEMPTS).flat_map(|_attempt| &self.servers) {
            match ask(*server, name) {
                Ok(services) => return Ok(services),
                Err(error) => failure = format!("on {server}: {error}"),
            }
        }
        Err(failure)
    }
}

/// Asks one server; no services if there is no such name.
fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<Service>> {
    let id = (RandomState::new().hash_one(name) & 0xffff) as u16;
    let question = message::question(id, name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name is too long"))?;
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(local)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&question)?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer)?;
        match message::answer(id, &buffer[..length]) {
            Some(Answer::Services(services)) => return Ok(services),
            Some(Answer::TooLong) => return ask_by_tcp(server, id, &question),
            Some(Answer::Failure(code)) => return Err(io::Error::other(format!("server failure {code}"))),
            // An answer to somebody else's question.
            None => {}
        }
    }
}

fn ask_by_tcp(server: SocketAddr, id: u16, question: &[u8]) -> io::Result<Vec<Service>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(question.len()).expect("questions are short");
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    match message::answer(id, &answer) {
        Some(Answer::Services(services)) => Ok(services),
        Some(Answer::Failure(code)) => Err(io::Error::other(format!("server failure {code}"))),
        Some(Answer::TooLong) | None => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::response;

    #[test]
    fn servers_and_domains_are_read_from_the_systems_file() {
        let resolver = Resolver::of("# x\nnameserver 10.0.0.1\nnameserver ::1\nnameserver x\nsearch a.b c\n");
        let servers = ["10.0.0.1:53", "[::1]:53"].map(|server| server.parse().unwrap());
        assert_eq!(resolver, Resolver { servers: servers.into(), search: vec!["a.b".into(), "c".into()] });
        assert_eq!(Resolver::of("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    /// A server that knows one name, and answers to any other with an empty message.
    fn server(known: &'static str, services: &'static [(u16, u16, u16, &'static str)]) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let answer = move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let id = u16::from_be_bytes([buffer[0], buffer[1]]);
                let is_known = buffer[..length] == message::question(id, known).unwrap();
                let answer = response(id, known, if is_known { services } else { &[] });
                socket.send_to(&answer, from).unwrap();
            }
        };
        std::thread::Builder::new().spawn(answer).unwrap();
        address
    }

    #[test]
    fn services_are_found_by_their_full_name_or_in_a_searched_domain() {
        let address =
            server("_s._tcp.a.b", &[(2, 0, 1, "late.a.b"), (1, 1, 2, "light.a.b"), (1, 9, 3, "heavy.a.b")]);
        let resolver = Resolver { servers: vec![address], search: vec!["b".to_owned()] };
        for name in ["_s._tcp.a.b", "_s._tcp.a"] {
            let services = resolver.services(name).unwrap();
            let targets: Vec<_> = services.iter().map(|service| service.target.as_str()).collect();
            assert_eq!(targets, ["heavy.a.b", "light.a.b", "late.a.b"]);
        }
        let error = resolver.services("_t._tcp.a").unwrap_err();
        assert_eq!(error.to_string(), format!("lookup _t._tcp.a on {address}: no such host"));
    }
}
