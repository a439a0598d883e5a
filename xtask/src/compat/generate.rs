//! Random requests: small key spaces, so that everything collides; valid ones, and all that is not.

pub(super) mod auth;
mod cluster;
mod http;
mod kv;
mod watch;

use etched_proto::etcdserverpb as pb;

use super::request::Request;
use crate::random::Random;

/// What the generator knows of the servers' common state.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The newest revision that an answer told.
    pub(super) revision: i64,
    /// The last revision that was compacted.
    pub(super) compacted: i64,
    /// Leases that the server drew, by the reference's ids.
    pub(super) drawn: Vec<i64>,
    /// Whether keys may be attached to drawn leases in this epoch; values then differ between the sides.
    pub(super) attach_drawn: bool,
    /// Members that were added, by the reference's ids; some are removed again.
    pub(super) members: Vec<u64>,
    /// Open watch streams.
    pub(super) streams: usize,
    /// Whether an alarm was raised and not yet taken back.
    pub(super) alarmed: bool,
}

/// What to do next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Call(Request),
    /// Sends a request by HTTP.
    Http(super::http::Request),
    OpenStream,
    CloseStream(usize),
    Watch(usize, pb::WatchRequest),
    /// Asks for the progress of a stream.
    Progress(usize),
    /// Compares what all watches got.
    Compare,
    /// Lets a lease with keys run out.
    Expire,
    /// Kills both servers and starts them again.
    Restart,
    /// Allows older members for a while.
    Downgrade,
}

/// Draws steps from a seed.
pub(super) struct Generator {
    random: Random,
    /// Addresses of members that were given away.
    addresses: u32,
}

/// The small space of names of leases; negative, huge and unknown ones are in it.
const LEASES: [i64; 8] = [1, 2, 3, 4, -5, 7_587_848_000, i64::MAX, i64::MIN];
/// Times to live that do not end within a run, and such that no server accepts.
const TTLS: [i64; 8] = [5000, 6000, 7000, 100_000, 9_000_000_000, 9_000_000_001, i64::MAX, 50_000];

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), addresses: 0 }
    }

    pub(super) fn step(&mut self, view: &View) -> Step {
        if view.alarmed && self.random.one_in(8) {
            return Step::Call(self.disarm());
        }
        match self.random.below(1000) {
            0..=249 => Step::Call(self.write()),
            250..=339 => Step::Http(self.http()),
            340..=539 => Step::Call(self.read(view)),
            540..=719 => Step::Call(self.txn(view)),
            720..=722 => Step::Call(self.compact(view)),
            723..=784 => Step::Call(self.lease(view)),
            785..=839 => Step::Call(self.maintenance(view)),
            840..=844 => Step::OpenStream,
            845..=846 if view.streams > 0 => Step::CloseStream(self.stream(view)),
            847..=959 if view.streams > 0 => self.watch_step(view),
            960 if view.streams > 0 => Step::Progress(self.stream(view)),
            961 | 962 => Step::Call(self.cluster(view)),
            963..=992 => Step::Compare,
            993 if self.random.one_in(2) => Step::Call(self.oversized()),
            994 if self.random.one_in(4) => Step::Expire,
            995 if self.random.one_in(3) => Step::Restart,
            996 if self.random.one_in(8) => Step::Downgrade,
            997..=999 => Step::Call(self.cluster(view)),
            _ => Step::Call(self.write()),
        }
    }

    fn write(&mut self) -> Request {
        if self.random.below(100) < 75 {
            Request::Put(self.put())
        } else {
            Request::DeleteRange(self.delete())
        }
    }

    fn lease(&mut self, view: &View) -> Request {
        let id = self.lease_id(view);
        match self.random.below(12) {
            0..=3 => Request::LeaseGrant(pb::LeaseGrantRequest {
                ttl: *self.random.pick(&TTLS),
                id: self.new_lease(),
            }),
            4 | 5 => Request::LeaseRevoke(pb::LeaseRevokeRequest { id }),
            6 | 7 => Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id }),
            8..=10 => {
                let keys = self.random.one_in(2);
                Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id, keys })
            }
            _ => Request::LeaseLeases,
        }
    }

    /// Zero lets the server draw the id.
    fn new_lease(&mut self) -> i64 {
        if self.random.one_in(4) { 0 } else { *self.random.pick(&LEASES) }
    }

    fn lease_id(&mut self, view: &View) -> i64 {
        match self.random.below(10) {
            0 => 0,
            1 | 2 if !view.drawn.is_empty() => *self.random.pick(&view.drawn),
            _ => *self.random.pick(&LEASES),
        }
    }

    fn maintenance(&mut self, view: &View) -> Request {
        match self.random.below(30) {
            0..=3 => Request::Status,
            4..=15 => Request::HashKv(pb::HashKvRequest { revision: self.revision(view) }),
            16 => Request::Hash,
            17 => Request::Defragment,
            18..=21 => Request::MemberList(pb::MemberListRequest { linearizable: self.random.one_in(2) }),
            22 | 23 => Request::Health(""),
            24 => Request::Health("etcdserverpb.KV"),
            25 => Request::Unknown(
                self.random.pick::<&str>(&["/etcdserverpb.KV/Nothing", "/nobody.Knows/Nothing"]),
            ),
            26 => self.alarm(),
            _ => Request::Alarm(pb::AlarmRequest { alarm: self.alarm_type(), ..Default::default() }),
        }
    }

    fn alarm_type(&mut self) -> i32 {
        *self.random.pick(&[0, 0, 1, 1, 2])
    }

    fn alarm(&mut self) -> Request {
        let action = *self.random.pick(&[1, 2]);
        let member_id = *self.random.pick(&[0, 1, 0x8e9e_05c5_2164_694d, u64::MAX]);
        Request::Alarm(pb::AlarmRequest { action, member_id, alarm: self.alarm_type() })
    }

    fn disarm(&mut self) -> Request {
        let member_id = *self.random.pick(&[0, 1, 0x8e9e_05c5_2164_694d, u64::MAX]);
        Request::Alarm(pb::AlarmRequest { action: 2, member_id, alarm: *self.random.pick(&[1, 2]) })
    }

    fn stream(&mut self, view: &View) -> usize {
        usize::try_from(self.random.below(view.streams as u64)).expect("an index below the streams' number")
    }

    /// Revisions: the present, the past, what is compacted, the future, and nonsense.
    fn revision(&mut self, view: &View) -> i64 {
        let back = i64::try_from(self.random.below(12)).expect("a small number");
        match self.random.below(12) {
            0..=3 => 0,
            4..=6 => view.revision - back,
            7 => view.compacted,
            8 => view.compacted - 1,
            9 => view.revision + 1 + back / 6,
            10 => *self.random.pick(&[-1, 1, i64::MAX, i64::MIN]),
            _ => view.compacted + 1 + back,
        }
    }
}
