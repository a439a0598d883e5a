//! Ports for servers that tests start.
//!
//! A port that the system picks (port 0) is among those that it gives to outgoing connections, and may be taken
//! between the test that picked it and its server.
//! These are below, and reserved by a lock until the test is over, also while its server is down.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};

const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port of the loopback on which nobody else listens.
pub(crate) struct Port {
    number: u16,
    _reservation: File,
}

impl Port {
    /// Reserves a port.
    pub(crate) fn free() -> Self {
        let directory = std::env::temp_dir().join("etched-test-ports");
        fs::create_dir_all(&directory).unwrap();
        let random = RandomState::new();
        for round in 0..10_000_u32 {
            let offset = u16::try_from(random.hash_one(round) % u64::from(COUNT)).unwrap();
            let number = FIRST + offset;
            let reservation = File::create(directory.join(number.to_string())).unwrap();
            if reservation.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self { number, _reservation: reservation };
            }
        }
        panic!("no port is free");
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
