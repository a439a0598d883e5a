//! Many connections behind one `epoll`, and the blocking call of a single method.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{Timespec, epoll};

use super::connection::{Body, Connection, Failure, Sink};
use super::hpack::Method;

/// Connections to one server, driven by one thread.
pub(crate) struct Pool {
    pub(crate) connections: Vec<Connection>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Pool {
    /// Connects `count` times and waits for the server's settings on each.
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Result<Self> {
        Self::connect_all(&[address], count, false)
    }

    /// Connects `count` times, to the addresses in turn and with TLS or without, and waits for the servers' settings on
    /// each.
    pub(crate) fn connect_all(addresses: &[SocketAddr], count: usize, is_secure: bool) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for (index, address) in addresses.iter().cycle().take(count).enumerate() {
            let mut connection = Connection::connect(*address, is_secure)?;
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&epoll, connection.socket(), epoll::EventData::new_u64(index as u64), flags)?;
            connection.flush()?;
            connections.push(connection);
        }
        let mut pool = Self { connections, epoll, events: Vec::with_capacity(256) };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !pool.connections.iter().all(Connection::has_settings) {
            pool.poll(Duration::from_millis(100), |_, connection| connection.receive(&mut Nothing))?;
            if Instant::now() > deadline {
                bail!("the server sent no settings");
            }
        }
        Ok(pool)
    }

    /// Waits for sockets and calls `visit` with each connection that may have something to read or room to write.
    /// What `visit` leaves in a connection's output is written at once.
    pub(crate) fn poll(
        &mut self,
        timeout: Duration,
        mut visit: impl FnMut(usize, &mut Connection) -> Result<()>,
    ) -> Result<()> {
        let timeout = Timespec::try_from(timeout).context("a timeout too long")?;
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("waiting for sockets"),
        }
        for event in &self.events {
            let index = usize::try_from(event.data.u64())?;
            let connection = &mut self.connections[index];
            visit(index, connection)?;
            connection.flush()?;
        }
        Ok(())
    }
}

/// Takes nothing seriously.
struct Nothing;

impl Sink for Nothing {
    fn message(&mut self, _: u32, _: &[u8]) {}
    fn end(&mut self, _: u32, _: Result<u64, Failure>) {}
}

/// Keeps the last message and the end of the one stream there is.
#[derive(Default)]
struct Answer {
    message: Vec<u8>,
    end: Option<Result<u64, Failure>>,
}

impl Sink for Answer {
    fn message(&mut self, _: u32, message: &[u8]) {
        self.message = message.to_vec();
    }

    fn end(&mut self, _: u32, result: Result<u64, Failure>) {
        self.end = Some(result);
    }
}

/// Calls the unary method at `path` on a connection of its own and returns the encoded answer.
///
/// # Errors
/// If the server cannot be reached, refuses, or does not answer within `timeout`.
pub(crate) fn unary(address: SocketAddr, path: &str, request: &[u8], timeout: Duration) -> Result<Vec<u8>> {
    unary_as(address, path, request, timeout, None)
}

/// The same with a token.
///
/// # Errors
/// As [`unary`].
pub(crate) fn unary_as(
    address: SocketAddr,
    path: &str,
    request: &[u8],
    timeout: Duration,
    token: Option<&str>,
) -> Result<Vec<u8>> {
    let deadline = Instant::now() + timeout;
    let mut pool = Pool::connect(address, 1)?;
    let mut method = Method::new(path, &address.to_string());
    if let Some(token) = token {
        method = method.with_token(token);
    }
    pool.connections[0].open(&method, 0, Body::Delivered, request, true);
    pool.connections[0].flush()?;
    let mut answer = Answer::default();
    loop {
        pool.poll(Duration::from_millis(50), |_, connection| connection.receive(&mut answer))?;
        match answer.end.take() {
            Some(Ok(_)) => return Ok(answer.message),
            Some(Err(failure)) => bail!("{path}: {failure}"),
            None if Instant::now() > deadline => bail!("{path}: no answer within {timeout:?}"),
            None => {}
        }
    }
}
