//! Which process owns a connection: the kernel's tables of sockets and of open files.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// A connection, as the process that dialed sees it: its own end and the other.
pub(super) type Connection = (SocketAddr, SocketAddr);

/// For each connection, the first of `pids` that owns its own end, by its place.
///
/// Reading the table of sockets takes the kernel milliseconds however few they are, so it is read once for all.
pub(super) fn owners(connections: &[Connection], pids: &[Option<u32>]) -> Vec<Option<usize>> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let inodes = inodes(&table);
    let open = open_sockets(pids);
    let owner = |&(local, remote): &Connection| {
        let ends = (hex(local)?, hex(remote)?);
        open.get(*inodes.get(&(ends.0.as_str(), ends.1.as_str()))?).copied()
    };
    connections.iter().map(owner).collect()
}

/// The number of each socket, whose lines begin `sl local_address rem_address` and have it in the tenth place.
fn inodes(table: &str) -> BTreeMap<(&str, &str), &str> {
    let mut inodes = BTreeMap::new();
    for line in table.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace().skip(1);
        if let (Some(local), Some(remote), Some(inode)) = (fields.next(), fields.next(), fields.nth(6)) {
            inodes.insert((local, remote), inode);
        }
    }
    inodes
}

/// Which place's process has which socket open, by the socket's number.
fn open_sockets(pids: &[Option<u32>]) -> BTreeMap<String, usize> {
    let mut open = BTreeMap::new();
    for (place, pid) in pids.iter().enumerate() {
        let Some(files) = pid.and_then(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).ok()) else {
            continue;
        };
        for target in files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()) {
            let name = target.to_str().unwrap_or_default();
            if let Some(inode) = name.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
                open.entry(inode.to_owned()).or_insert(place);
            }
        }
    }
    open
}

/// An address as the table has it: the bytes of the IP in the machine's order, which is taken to be little endian.
fn hex(address: SocketAddr) -> Option<String> {
    match address.ip() {
        IpAddr::V4(ip) => Some(format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port())),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_of_this_process_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialed = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (dialed.local_addr().unwrap(), listener.local_addr().unwrap());
        let own = Some(std::process::id());
        let nobodys = (remote, ([127, 0, 0, 1], 1).into());
        assert_eq!(owners(&[(local, remote), nobodys], &[None, own]), [Some(1), None]);
        assert_eq!(owners(&[(local, remote)], &[None]), [None]);
    }
}
