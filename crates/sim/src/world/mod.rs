//! The run: one heap of events, and everybody who takes part.

mod answers;
mod clients;
mod ending;
mod faults;
mod lives;
mod network;
mod operators;
mod site;
mod watchers;
mod workload;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use etched_state_machine::{bootstrap_changes, member_id};

use crate::clock::{MILLISECOND, SECOND};
use crate::coverage::Counts;
use crate::oracle::{Oracle, Violation};
use crate::profile::Profile;
use crate::random::{Purpose, Random};
use crate::scenario::{Plant, Scenario};
use crate::trace::{Listing, Trace};
use clients::{Client, Pending};
use network::{Frame, Network};
use site::{Input, Site, TTL_MIN};
use watchers::Stream;

/// The token of the cluster.
const CLUSTER: &str = "simulated";

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A tick of a member's clock in a life.
    Tick { site: u64, boot: u64 },
    /// A member goes on.
    Work { site: u64, boot: u64 },
    /// A member's log is synced.
    Synced { site: u64, boot: u64 },
    /// A member's backend has taken a commit.
    Committed { site: u64, boot: u64, number: u64 },
    /// Something arrives.
    Frame(Box<Frame>),
    /// A client does its next thing.
    Client(usize),
    /// A client does not wait any longer.
    GiveUp { client: usize, token: u64 },
    /// A watching client has read something.
    Consumed { stream: u64, bytes: usize },
    /// A watching client does its next thing.
    Watcher(usize),
    /// A member starts.
    Start { site: u64, boot: u64 },
    /// A member goes on after a pause.
    Resume { site: u64 },
    /// A disk has room again.
    Room { site: u64, boot: u64 },
    /// The next fault.
    Fault,
    /// Operators do the next thing.
    Operator,
    /// A member that was removed hears of it.
    Expel(u64),
    /// A partition ends.
    Heal(BTreeSet<(u64, u64)>),
    /// Who can speak with whom is looked at.
    Activity,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults strike.
    Safety,
    /// No more faults: everything must come right.
    Liveness,
}

/// The run.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) profile: Profile,
    pub(crate) now: u64,
    pub(crate) step: u64,
    phase: Phase,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
    /// By id.
    sites: BTreeMap<u64, Site>,
    network: Network,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    clients: Vec<Client>,
    pending: BTreeMap<u64, Pending>,
    streams: BTreeMap<u64, Stream>,
    watchers: Vec<watchers::Watcher>,
    tokens: u64,
    fault_random: Random,
    member_random: Random,
    operator_random: Random,
    faults: u64,
    /// The highest number of a member so far.
    numbers: u64,
    /// Members that were asked for and are not known to be ones, by id.
    planned: BTreeMap<u64, u64>,
    leases: Vec<(i64, i64)>,
    leases_made: i64,
}

impl World {
    pub(crate) fn new(scenario: Scenario, listing: Listing) -> Self {
        let profile = Profile::draw(&scenario);
        let seed = scenario.seed;
        let mut world = Self {
            network: Network::new(seed, profile.network, profile.plant == Some(Plant::RepeatedProposals)),
            oracle: Oracle::new(TTL_MIN),
            trace: Trace::new(listing),
            counts: Counts::default(),
            now: 10 * SECOND,
            step: 0,
            phase: Phase::Safety,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            sites: BTreeMap::new(),
            clients: Vec::new(),
            pending: BTreeMap::new(),
            streams: BTreeMap::new(),
            watchers: Vec::new(),
            tokens: 0,
            fault_random: Random::new(seed, Purpose::Faults),
            member_random: Random::new(seed, Purpose::Members),
            operator_random: Random::new(seed, Purpose::Operator),
            numbers: profile.members,
            planned: BTreeMap::new(),
            faults: 0,
            leases: Vec::new(),
            leases_made: 0,
            profile,
            scenario,
        };
        world.oracle.leases.rate_ppm_max = world.profile.rate_ppm;
        world.found();
        world
    }

    /// A new cluster, whose members start at about the same time.
    fn found(&mut self) {
        let names: Vec<(String, Vec<String>)> =
            (1..=self.profile.members).map(|number| (format!("m{number}"), vec![peer_url(number)])).collect();
        let bootstrap = bootstrap_changes(&names, CLUSTER);
        for number in 1..=self.profile.members {
            let id = member_id(&[peer_url(number)], CLUSTER, None);
            self.add_site(number, id, bootstrap.clone());
            let at = self.now + self.member_random.below(200) * MILLISECOND;
            self.schedule(at, Event::Start { site: id, boot: 0 });
        }
        for place in 0..usize::try_from(self.profile.clients).expect("few clients") {
            self.clients.push(Client::new(self.scenario.seed, place));
            self.schedule(self.now + SECOND, Event::Client(place));
        }
        for place in 0..usize::try_from(self.profile.watchers).expect("few watchers") {
            self.watchers.push(watchers::Watcher::new(self.scenario.seed, place));
            self.schedule(self.now + SECOND, Event::Watcher(place));
        }
        self.schedule(self.now, Event::Activity);
        self.schedule(self.now + 3 * SECOND, Event::Operator);
        let first = self.now + 2 * SECOND + self.fault_random.about(self.profile.fault_mean);
        self.schedule(first, Event::Fault);
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at.max(self.now), self.sequence)));
        self.events.insert(self.sequence, event);
    }

    /// Runs to the end of both phases.
    pub(crate) fn run(&mut self, step_max: Option<u64>) -> Result<(), Violation> {
        let end = self.now + self.profile.safety;
        self.run_until(end, step_max)?;
        self.end_faults();
        self.come_right(step_max)
    }

    fn is_at_its_end(&self, step_max: Option<u64>) -> bool {
        step_max.is_some_and(|most| self.step >= most)
    }

    /// Runs until a time.
    pub(crate) fn run_until(&mut self, end: u64, step_max: Option<u64>) -> Result<(), Violation> {
        while let Some(Reverse((at, sequence))) = self.queue.peek().copied() {
            if at > end || self.is_at_its_end(step_max) {
                break;
            }
            self.queue.pop();
            let event = self.events.remove(&sequence).expect("each place in the queue has an event");
            self.now = at;
            self.step += 1;
            self.happen(event)?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick { site, boot } => self.tick(site, boot),
            Event::Work { site, boot } => self.go_on(site, boot),
            Event::Synced { site, boot } => self.on_synced(site, boot),
            Event::Committed { site, boot, number } => self.on_committed(site, boot, number),
            Event::Frame(frame) => self.arrive(*frame),
            Event::Client(client) => self.client_acts(client),
            Event::GiveUp { client, token } => {
                self.give_up(client, token);
                Ok(())
            }
            Event::Consumed { stream, bytes } => self.consumed(stream, bytes),
            Event::Watcher(watcher) => self.watcher_acts(watcher),
            Event::Start { site, boot } => self.start(site, boot),
            Event::Resume { site } => self.resume(site),
            Event::Room { site, boot } => {
                self.make_room(site, boot);
                Ok(())
            }
            Event::Fault => self.strike(),
            Event::Operator => self.operator_acts(),
            Event::Expel(site) => {
                self.expel(site);
                Ok(())
            }
            Event::Heal(directions) => {
                self.network.heal(&directions);
                self.counts.add("partition healed");
                Ok(())
            }
            Event::Activity => self.look_at_activity(),
        }
    }

    fn note(&mut self, member: u64, what: &'static str, numbers: [u64; 3]) {
        let number = self.sites.get(&member).map_or(0, |site| site.number);
        self.trace.note(self.now, self.step, number, what, numbers);
    }

    /// After the faults everything must come right within these times.
    fn come_right(&mut self, step_max: Option<u64>) -> Result<(), Violation> {
        if self.is_at_its_end(step_max) {
            return Ok(());
        }
        self.await_that(30, "there is a leader that serves", step_max, |world| {
            told(world.is_served(), "no")
        })?;
        self.stop_clients();
        let is_answered = |world: &Self| told(world.is_answered(), "no");
        self.await_that(40, "all requests are answered", step_max, is_answered)?;
        self.await_that(60, "all members have applied the same", step_max, |world| {
            told(world.is_settled(), "no")
        })?;
        self.await_that(30, "all watches are told everything", step_max, Self::are_watches_at_head)?;
        self.compare_members(step_max)
    }

    /// Runs until it is so, for so many seconds at most.
    fn await_that(
        &mut self,
        seconds: u64,
        what: &str,
        step_max: Option<u64>,
        is_so: impl Fn(&Self) -> Result<(), String>,
    ) -> Result<(), Violation> {
        let end = self.now + seconds * SECOND;
        while self.now < end && !self.is_at_its_end(step_max) {
            if is_so(self).is_ok() {
                return Ok(());
            }
            self.run_until(self.now + 100 * MILLISECOND, step_max)?;
        }
        let Err(why) = is_so(self) else { return Ok(()) };
        if self.is_at_its_end(step_max) {
            return Ok(());
        }
        let picture = self.picture();
        let story = format!("after {seconds} s without faults it is not so that {what}: {why}\n{picture}");
        Err(Violation::new("liveness", story))
    }

    /// What is to be seen of all members.
    pub(crate) fn picture(&self) -> String {
        let of = |site: &Site| {
            let Some(node) = &site.node else { return format!("m{} is down", site.number) };
            let report = node.member.report();
            format!(
                "m{} {:x}: boot {} term {} leader {:x} committed {} applied {} revision {} awake {} waiting {}",
                site.number,
                site.id,
                site.boot,
                report.raft_term,
                report.leader,
                report.raft_committed,
                report.raft_applied,
                report.revision,
                site.is_awake(self.now),
                site.inbox.len(),
            )
        };
        self.sites.values().map(of).collect::<Vec<_>>().join("\n")
    }
}

/// A yes or no as a reason.
fn told(is_so: bool, why: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(why.to_owned()) }
}

pub(crate) fn peer_url(number: u64) -> String {
    format!("http://127.0.0.1:{}", 10_000 + number)
}
