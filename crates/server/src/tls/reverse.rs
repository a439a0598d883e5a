//! The names of an address: from the hosts file, or else all that the domain name system has for it.
//!
//! The C library would tell only one name of several, and a member behind two services has several.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

const DNS_PORT: u16 = 53;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
const SERVERS_MAX: usize = 3;
const MESSAGE_BYTES_MAX: usize = 4096;
const POINTER: u16 = 12;
const INTERNET: u16 = 1;
const HEADER_BYTES: usize = 12;
/// A name has at most so many labels, so more jumps go in circles.
const JUMPS_MAX: usize = 128;

/// All names of an address.
///
/// # Errors
///
/// When nobody knows, or no server answers.
pub(super) async fn names(address: IpAddr) -> io::Result<Vec<String>> {
    let hosts = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
    let names = names_in_hosts(&hosts, address);
    if !names.is_empty() {
        return Ok(names);
    }
    let settings = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    let servers = servers(&settings);
    let mut failure = io::Error::other(format!("lookup {address}: no such host"));
    for server in servers.iter().cycle().take(servers.len() * ATTEMPTS) {
        match tokio::time::timeout(ANSWER_TIME_MAX, ask(*server, address)).await {
            Ok(Ok(names)) => return Ok(names),
            Ok(Err(error)) => failure = io::Error::other(format!("lookup {address} on {server}: {error}")),
            Err(_) => failure = io::Error::other(format!("lookup {address} on {server}: i/o timeout")),
        }
    }
    Err(failure)
}

fn names_in_hosts(text: &str, address: IpAddr) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let own = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        if own.is_some_and(|own| own.to_canonical() == address) {
            names.extend(words.map(str::to_owned));
        }
    }
    names
}

fn servers(settings: &str) -> Vec<SocketAddr> {
    let lines = settings.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let found = lines.filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    let servers: Vec<_> = found.map(|ip| SocketAddr::new(ip, DNS_PORT)).take(SERVERS_MAX).collect();
    if servers.is_empty() { vec![(Ipv4Addr::LOCALHOST, DNS_PORT).into()] } else { servers }
}

async fn ask(server: SocketAddr, address: IpAddr) -> io::Result<Vec<String>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = RandomState::new().hash_one(address).to_be_bytes();
    let id = [id[0], id[1]];
    let question = question(id, address);
    socket.send(&question).await?;
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not belong to the question is not an answer.
        if let Some(answer) = buffer.get(..length).filter(|answer| belongs(answer, &question)) {
            return read_answer(answer).ok_or_else(|| io::Error::other("no such host"));
        }
    }
}

/// A question for the pointers of an address.
fn question(id: [u8; 2], address: IpAddr) -> Vec<u8> {
    // Recursion is desired; one question.
    let mut message = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let labels: Vec<String> = match address {
        IpAddr::V4(address) => address.octets().iter().rev().map(u8::to_string).collect(),
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect()
        }
    };
    let zone = if address.is_ipv4() { ["in-addr", "arpa"] } else { ["ip6", "arpa"] };
    for label in labels.iter().map(String::as_str).chain(zone) {
        message.push(u8::try_from(label.len()).expect("labels of addresses are short"));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&POINTER.to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    message
}

/// Whether a message answers the question: the same id, and the question repeated.
fn belongs(answer: &[u8], question: &[u8]) -> bool {
    let is_response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let repeated = answer.get(HEADER_BYTES..question.len());
    is_response && answer.get(..2) == question.get(..2) && repeated == question.get(HEADER_BYTES..)
}

/// The names in an answer; `None` if it has none.
fn read_answer(message: &[u8]) -> Option<Vec<String>> {
    let number = |at: usize| message.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let answers = number(6)?;
    let (_, mut at) = read_name(message, HEADER_BYTES)?;
    at += 4;
    let mut names = Vec::new();
    for _ in 0..answers {
        let (_, after) = read_name(message, at)?;
        let (kind, class, length) = (number(after)?, number(after + 2)?, usize::from(number(after + 8)?));
        let data = after + 10;
        if kind == POINTER && class == INTERNET {
            names.push(read_name(message, data)?.0);
        }
        at = data + length;
    }
    (!names.is_empty()).then_some(names)
}

/// The name at a position, and the position after it.
fn read_name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut labels: Vec<String> = Vec::new();
    let mut at = start;
    let mut end = None;
    for _ in 0..JUMPS_MAX {
        let length = *message.get(at)?;
        match length {
            0 => return Some((labels.join("."), end.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                labels.push(String::from_utf8_lossy(label).into_owned());
                at += 1 + usize::from(length);
            }
            0xc0..=0xff => {
                end = end.or(Some(at + 2));
                at = usize::from(length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_gives_all_names_of_an_address() {
        let text = "127.0.0.1 localhost # here\n::1 localhost6\n10.0.0.1\tone.example one\n10.0.0.1 more";
        assert_eq!(names_in_hosts(text, [10, 0, 0, 1].into()), ["one.example", "one", "more"]);
        assert_eq!(names_in_hosts(text, [127, 0, 0, 1].into()), ["localhost"]);
        assert!(names_in_hosts(text, [10, 0, 0, 2].into()).is_empty());
    }

    #[test]
    fn servers_are_those_of_the_settings() {
        let found = servers("search x\nnameserver 10.0.0.1\nnameserver fd00::1\n");
        assert_eq!(found, ["10.0.0.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
        assert_eq!(servers(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[tokio::test]
    async fn all_pointers_of_an_answer_are_names() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let mut answer = buffer[..length].to_vec();
            server.send_to(b"not an answer", from).await.unwrap();
            answer[2] |= 0x80;
            answer[7] = 2;
            for name in [&b"\x01a\x03svc\0"[..], b"\x01b\xc0\x14"] {
                // The name of the question again; a pointer, in class IN, valid for a minute.
                answer.extend_from_slice(&[0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60, 0]);
                answer.push(u8::try_from(name.len()).unwrap());
                answer.extend_from_slice(name);
            }
            server.send_to(&answer, from).await.unwrap();
        });
        // Position 0x14 of the question "4.3.2.1.in-addr.arpa" is where "in-addr.arpa" begins.
        let names = ask(address, [1, 2, 3, 4].into()).await.unwrap();
        assert_eq!(names, ["a.svc", "b.in-addr.arpa"]);
        serving.await.unwrap();
    }

    #[test]
    fn broken_answers_are_no_answers() {
        let question = question([1, 2], Ipv6Addr::LOCALHOST.into());
        assert!(!belongs(&question, &question) && !belongs(b"", &question));
        let mut answer = question;
        answer[7] = 1;
        assert_eq!(read_answer(&answer), None);
        answer.extend_from_slice(&[0xc0, 0xff]);
        for length in 0..answer.len() {
            assert_eq!(read_answer(&answer[..length]), None);
        }
        let circle = [0xc0, 0];
        assert_eq!(read_name(&circle, 0), None);
    }
}
