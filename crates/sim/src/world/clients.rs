//! Clients that ask one thing after the other, and what they know.

use etched_replica::auth::Credentials;
use etched_replica::{Answer, Request, Respond};
use etched_state_machine::{Command, Outcome};

use super::{Event, Input, Phase, World};
use crate::clock::{MILLISECOND, SECOND};
use crate::oracle::{Asked, Violation};
use crate::random::{Purpose, Random};
use crate::scenario::Plant;

/// After so long a client does not wait any more.
const PATIENCE: u64 = 12 * SECOND;
/// Requests that may be without an answer while members stand still.
const PENDING_MAX: usize = 2_000;
/// Leases that clients remember.
const LEASES_MAX: usize = 40;

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) random: Random,
    /// What it waits for.
    waits_for: Option<u64>,
    pub(crate) writes: u64,
}

/// A request that was handed to a member and is not answered.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) client: Option<usize>,
    pub(crate) site: u64,
    pub(crate) boot: u64,
    pub(crate) asked: Asked,
}

impl Client {
    pub(crate) fn new(seed: u64, place: usize) -> Self {
        Self { random: Random::new(seed, Purpose::Client(place as u64)), waits_for: None, writes: 0 }
    }
}

impl World {
    pub(super) fn client_acts(&mut self, place: usize) -> Result<(), Violation> {
        let think = self.profile.think_mean;
        if self.phase == Phase::Liveness || self.clients[place].waits_for.is_some() {
            return Ok(());
        }
        if self.pending.len() >= PENDING_MAX {
            self.schedule(self.now + SECOND, Event::Client(place));
            return Ok(());
        }
        let running = self.running();
        let request = self.draw_request(place);
        let client = &mut self.clients[place];
        if running.is_empty() {
            let after = client.random.about(think + 100 * MILLISECOND);
            self.schedule(self.now + after, Event::Client(place));
            return Ok(());
        }
        let site = *client.random.pick(&running);
        let token = self.submit(Some(place), site, request)?;
        if self.pending.contains_key(&token) {
            self.clients[place].waits_for = Some(token);
            self.schedule(self.now + PATIENCE, Event::GiveUp { client: place, token });
        }
        Ok(())
    }

    /// Members that have a process.
    pub(super) fn running(&self) -> Vec<u64> {
        self.sites.values().filter(|site| site.is_running()).map(|site| site.id).collect()
    }

    /// Hands a request to a member and returns its token.
    pub(super) fn submit(
        &mut self,
        client: Option<usize>,
        site: u64,
        request: Request,
    ) -> Result<u64, Violation> {
        self.tokens += 1;
        let token = self.tokens;
        if let Request::Propose(Command::LeaseRevoke { id }) = &request {
            self.oracle.leases.on_revoke_asked(*id);
        }
        let boot = self.sites.get(&site).map_or(0, |site| site.boot);
        let asked = self.oracle.ask(request.clone(), self.now);
        self.note(site, "asked", [token, client.map_or(0, |client| client as u64 + 1), 0]);
        self.pending.insert(token, Pending { client, site, boot, asked });
        let mut request = request;
        if let Request::Range(range) = &mut request
            && self.profile.plant == Some(Plant::StaleReads)
        {
            range.serializable = true;
        }
        self.give(site, Input::Submit { token, credentials: Credentials::Anonymous, request })?;
        Ok(token)
    }

    /// The client goes on after an answer.
    pub(super) fn client_is_answered(&mut self, place: usize, token: u64) {
        let think = self.profile.think_mean;
        let client = &mut self.clients[place];
        // An answer that comes at once finds a client that has not begun to wait.
        if client.waits_for.is_some_and(|waits_for| waits_for != token) {
            return;
        }
        client.waits_for = None;
        let after = client.random.about(think) + 1_000;
        self.schedule(self.now + after, Event::Client(place));
    }

    pub(super) fn give_up(&mut self, place: usize, token: u64) {
        if self.clients[place].waits_for == Some(token) {
            self.counts.add("outcome unknown");
            self.client_is_answered(place, token);
        }
    }

    /// Nobody will answer what a life that has ended was asked.
    pub(super) fn forget_life(&mut self, id: u64, boot: u64) {
        let lost: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.site == id && pending.boot == boot)
            .map(|(token, _)| *token)
            .collect();
        for token in lost {
            let Some(Pending { client, .. }) = self.pending.remove(&token) else { continue };
            self.counts.add("outcome unknown");
            if let Some(client) = client {
                self.client_is_answered(client, token);
            }
        }
        self.drop_streams(id);
    }

    /// Clients take note of what they were told.
    pub(super) fn learn(&mut self, request: &Request, respond: &Respond) {
        if let (Request::Propose(_), Ok(Answer::Applied(Outcome::LeaseGrant { id, ttl, .. }))) =
            (request, &respond.result)
        {
            if self.leases.len() >= LEASES_MAX {
                self.leases.remove(0);
            }
            self.leases.push((*id, *ttl));
        }
    }

    pub(super) fn stop_clients(&mut self) {
        self.counts.add("liveness phase reached");
    }
}
