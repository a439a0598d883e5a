//! Tells the service manager how far the process is, by the protocol of systemd's `sd_notify(3)`.
//!
//! The socket stands in `NOTIFY_SOCKET`: a path, or a name after `@`. Without it nobody wants to know.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::log;

const VARIABLE: &str = "NOTIFY_SOCKET";

/// Tells that clients are served.
pub fn ready() {
    let Some(name) = socket_name() else { return };
    log!(Info, "notifying init daemon");
    match send(&name, "READY=1") {
        Ok(()) => log!(Info, "successfully notified init daemon"),
        Err(error) => log!(Error, "failed to notify systemd for readiness", "error" => error.to_string()),
    }
}

/// Tells that the process is ending.
pub fn stopping() {
    if let Some(name) = socket_name() {
        // The manager sees the end in any case.
        let _ = send(&name, "STOPPING=1");
    }
}

fn socket_name() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())
}

fn send(name: &str, state: &str) -> io::Result<()> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn the_manager_is_told_by_path_or_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.to_str().unwrap(), "READY=1").unwrap();
        assert_eq!(received(&socket), "READY=1");

        let name = format!("etched-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(&format!("@{name}"), "STOPPING=1").unwrap();
        assert_eq!(received(&socket), "STOPPING=1");
        assert!(send("/nonexistent/socket", "READY=1").is_err());
    }
}
