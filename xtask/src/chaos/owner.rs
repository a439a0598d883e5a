//! Which process owns a connection: the kernel's tables of sockets and of open files.

use std::net::{IpAddr, SocketAddr};

/// The first of `pids` that owns the end at `local` of the connection to `remote`, by its place.
pub(super) fn owner(local: SocketAddr, remote: SocketAddr, pids: &[Option<u32>]) -> Option<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode(&table, local, remote)?;
    let name = format!("socket:[{inode}]");
    pids.iter().position(|pid| pid.is_some_and(|pid| has_open(pid, &name)))
}

/// The socket's number in the table, whose lines begin `sl local_address rem_address` and have it in the tenth place.
fn inode(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<&str> {
    let (local, remote) = (hex(local)?, hex(remote)?);
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = fields.next() == Some(&local) && fields.next() == Some(&remote);
        if is_it { fields.nth(6) } else { None }
    })
}

/// An address as the table has it: the bytes of the IP in the machine's order, which is taken to be little endian.
fn hex(address: SocketAddr) -> Option<String> {
    match address.ip() {
        IpAddr::V4(ip) => Some(format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port())),
        IpAddr::V6(_) => None,
    }
}

fn has_open(pid: u32, name: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| {
        std::fs::read_link(file.path())
            .is_ok_and(|target| target.to_str().is_some_and(|target| target == name))
    })
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
        assert_eq!(owner(local, remote, &[None, own]), Some(1));
        assert_eq!(owner(local, remote, &[None, Some(1)]).filter(|place| *place == 0), None);
        assert_eq!(owner(remote, local, &[None]), None);
    }
}
