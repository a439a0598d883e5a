//! Lines for systemd's journal, by its native protocol: one datagram of `FIELD=value` lines.

use std::io;
use std::os::unix::net::UnixDatagram;

use super::Level;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    identifier: String,
}

/// Says whether there is a journal.
///
/// # Errors
///
/// In the words of etcd, if there is none.
pub fn find_journal() -> Result<(), String> {
    Journal::connect(SOCKET).map(drop)
}

impl Journal {
    pub(super) fn open() -> io::Result<Self> {
        Self::connect(SOCKET).map_err(io::Error::other)
    }

    fn connect(path: &str) -> Result<Self, String> {
        let connected = UnixDatagram::unbound().and_then(|socket| socket.connect(path).map(|()| socket));
        let socket = connected.map_err(|error| {
            let reason = reason_of(&error);
            format!("can't find journal (dial unixgram {path}: connect: {reason})")
        })?;
        let program = std::env::args().next().unwrap_or_default();
        let identifier = program.rsplit('/').next().unwrap_or("etched").to_owned();
        Ok(Self { socket, identifier })
    }

    /// Sends one line.
    pub(super) fn send(&self, level: Level, line: &str) -> io::Result<()> {
        self.socket.send(&datagram(level, &self.identifier, line)).map(drop)
    }
}

/// The usual reasons in the words of etcd.
fn reason_of(error: &io::Error) -> String {
    let known = [
        (io::ErrorKind::NotFound, "no such file or directory"),
        (io::ErrorKind::ConnectionRefused, "connection refused"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
    ];
    let text = known.iter().find(|(kind, _)| *kind == error.kind());
    text.map_or_else(|| error.to_string(), |(_, text)| (*text).to_owned())
}

fn datagram(level: Level, identifier: &str, line: &str) -> Vec<u8> {
    // The priorities of syslog.
    let priority = match level {
        Level::Debug => 7,
        Level::Info => 6,
        Level::Warn => 4,
        Level::Error => 3,
        Level::Dpanic | Level::Panic | Level::Fatal => 2,
    };
    let mut datagram = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER={identifier}\n").into_bytes();
    if line.contains('\n') {
        // A value of several lines has its length before it.
        datagram.extend_from_slice(b"MESSAGE\n");
        datagram.extend_from_slice(&(line.len() as u64).to_le_bytes());
    } else {
        datagram.extend_from_slice(b"MESSAGE=");
    }
    datagram.extend_from_slice(line.as_bytes());
    datagram.push(b'\n');
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_datagram_with_its_priority() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::connect(path.to_str().unwrap()).unwrap();
        journal.send(Level::Warn, "{\"level\":\"warn\"}").unwrap();
        let mut buffer = [0; 256];
        let length = receiver.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(text.starts_with("PRIORITY=4\nSYSLOG_IDENTIFIER="), "{text}");
        assert!(text.ends_with("\nMESSAGE={\"level\":\"warn\"}\n"), "{text}");
    }

    #[test]
    fn several_lines_have_their_length_before_them() {
        let datagram = datagram(Level::Info, "x", "a\nb");
        assert!(datagram.ends_with(b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n"));
    }

    #[test]
    fn a_missing_journal_is_told_as_etcd_tells_it() {
        let error = Journal::connect("/nowhere/socket").err().unwrap();
        let expected =
            "can't find journal (dial unixgram /nowhere/socket: connect: no such file or directory)";
        assert_eq!(error, expected);
    }
}
