//! Both servers on the same steps: sending, comparing, and keeping them in the same state.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use etched_proto::authpb;
use etched_proto::etcdserverpb as pb;
use pb::downgrade_request::DowngradeAction;
use pb::watch_request::RequestUnion;

use super::accepted::{self, Past};
use super::diff;
use super::generate::auth::PASSWORDS;
use super::generate::{Generator, Step, View};
use super::normal::{Context, Leases, Members, normalise};
use super::request::{Answer, AuthAnswer, AuthRequest, Outcome, Request};
use super::side::{Side, Who};
use super::watching::{Item, Received, Stream};
use super::{http, metrics};
use crate::process::Program;

/// Differences after which an epoch ends.
const DIFFERENCES_MAX: usize = 3;
/// Streams open at once.
const STREAMS_MAX: usize = 4;
/// So long a server may need until a watch of the past has caught up, or a compaction has finished.
const SETTLED_AFTER: Duration = Duration::from_millis(400);
/// So long the events of an answered write may be on their way.
const DELIVERED_AFTER: Duration = Duration::from_millis(20);
/// So long both sides may need until their stores have the version that the cluster has; both look every few seconds.
const VERSION_PATIENCE: Duration = Duration::from_secs(20);
/// So long both sides may need until their watches have got the same.
const EVENTS_PATIENCE: Duration = Duration::from_secs(10);

/// What a session did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) steps: u64,
    pub(super) calls: u64,
    pub(super) refused: u64,
    pub(super) differences: Vec<String>,
    /// How often what was answered: the method, and the text of a refusal.
    pub(super) answers: BTreeMap<String, u64>,
}

/// A watch stream on each side.
struct Pair {
    reference: Stream,
    ours: Stream,
    /// Whether a watch on it was cancelled by a compaction: etcd then answers no request for progress.
    has_compacted: bool,
}

/// One epoch.
pub(super) struct Session {
    reference: Side,
    ours: Side,
    generator: Generator,
    view: View,
    leases: Leases,
    members: Members,
    streams: Vec<Pair>,
    /// When the last watch of the past was created, and the last compaction was left to the background.
    watched_past: Instant,
    compacted: Instant,
    past: Past,
    tally: Tally,
    /// In whose name the present step is done; nobody's, where nobody is asked.
    who: Who,
    with_auth: bool,
    verbose: bool,
}

impl Session {
    pub(super) async fn start(
        reference: &Program,
        ours: &Program,
        directory: &Path,
        seed: u64,
        with_auth: bool,
        verbose: bool,
    ) -> Result<Self> {
        let now = Instant::now();
        Ok(Self {
            reference: Side::start(reference, &directory.join("reference")).await?,
            ours: Side::start(ours, &directory.join("ours")).await?,
            generator: Generator::new(seed),
            view: View { attach_drawn: seed % 4 == 3, ..View::default() },
            leases: Leases::default(),
            members: Members::default(),
            streams: Vec::new(),
            watched_past: now,
            compacted: now,
            past: Past::default(),
            tally: Tally::default(),
            who: Who::Nobody,
            with_auth,
            verbose,
        })
    }

    pub(super) fn finish(self) -> Tally {
        self.tally
    }

    /// Does so many steps, or fewer if `end` is reached, or the sides differ.
    pub(super) async fn run(&mut self, steps: u64, end: Option<Instant>) -> Result<()> {
        if self.with_auth {
            self.set_up_auth().await;
        }
        for number in 0..steps {
            if end.is_some_and(|end| Instant::now() >= end) || self.has_gone_apart() {
                break;
            }
            let step = if self.with_auth {
                let (who, step) = self.generator.step_with_auth(&self.view);
                self.who = who;
                step
            } else {
                self.generator.step(&self.view)
            };
            if self.verbose {
                println!("{number}: {:?} {step:?}", self.who);
            }
            self.step(step).await?;
            self.tally.steps += 1;
        }
        tokio::time::sleep(SETTLED_AFTER).await;
        self.compare_streams().await;
        Ok(())
    }

    fn has_gone_apart(&self) -> bool {
        self.tally.differences.len() >= DIFFERENCES_MAX
    }

    async fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Call(request) => self.call_settled(request).await,
            Step::Http(request) => self.http(&request).await?,
            Step::OpenStream if self.streams.len() < STREAMS_MAX => {
                let (reference, ours) = tokio::join!(
                    Stream::open(self.reference.channel.clone(), self.reference.bearer(self.who)),
                    Stream::open(self.ours.channel.clone(), self.ours.bearer(self.who))
                );
                self.streams.push(Pair { reference: reference?, ours: ours?, has_compacted: false });
                self.view.streams = self.streams.len();
            }
            Step::OpenStream => {}
            Step::CloseStream(index) => {
                self.compare_streams().await;
                self.streams.remove(index);
                self.view.streams = self.streams.len();
            }
            Step::Watch(index, request) => self.watch(index, request).await?,
            Step::Progress(index) => self.progress(index).await?,
            Step::Compare => self.compare_streams().await,
            Step::Expire => self.expire().await?,
            Step::Restart => self.restart().await?,
            Step::Downgrade => self.downgrade().await,
        }
        Ok(())
    }

    fn root(&self) -> Who {
        if self.with_auth { Who::User("root") } else { Who::Nobody }
    }

    async fn log_in(&mut self, name: &str) {
        let login = pb::AuthenticateRequest { name: name.to_owned(), password: PASSWORDS[0].to_owned() };
        self.call(Request::Auth(AuthRequest::Authenticate(login))).await.ok();
    }

    /// Users with roles, and authentication on.
    async fn set_up_auth(&mut self) {
        for name in ["root", "alice", "bob", "carol"] {
            let (name, password) = (name.to_owned(), PASSWORDS[0].to_owned());
            let add = pb::AuthUserAddRequest { name, password, ..Default::default() };
            self.call(Request::Auth(AuthRequest::UserAdd(add))).await.ok();
        }
        for (role, kind, key, end) in
            [("reader", 0, "a", "c"), ("writer", 1, "b", "d"), ("both", 2, "\0", "\0")]
        {
            let add = pb::AuthRoleAddRequest { name: role.to_owned() };
            self.call(Request::Auth(AuthRequest::RoleAdd(add))).await.ok();
            let perm = Some(authpb::Permission { perm_type: kind, key: key.into(), range_end: end.into() });
            let grant = pb::AuthRoleGrantPermissionRequest { name: role.to_owned(), perm };
            self.call(Request::Auth(AuthRequest::RoleGrantPermission(grant))).await.ok();
        }
        for (user, role) in [("root", "root"), ("alice", "reader"), ("alice", "writer"), ("bob", "both")] {
            let grant = pb::AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
            self.call(Request::Auth(AuthRequest::UserGrantRole(grant))).await.ok();
        }
        self.call(Request::Auth(AuthRequest::Enable)).await.ok();
        for name in ["root", "alice", "bob", "carol"] {
            self.log_in(name).await;
        }
    }

    /// Sends a request when the background work that its answer depends on is done on both sides.
    async fn call_settled(&mut self, request: Request) {
        if request.needs_compaction_finished() {
            tokio::time::sleep_until((self.compacted + SETTLED_AFTER).into()).await;
        }
        let mut unsettled = false;
        if let Request::Compact(compact) = &request {
            tokio::time::sleep_until((self.watched_past + SETTLED_AFTER).into()).await;
            self.compare_streams().await;
            unsettled = !compact.physical;
        }
        let is_alarm = matches!(request, Request::Alarm(_));
        self.call(request).await.ok();
        if unsettled {
            self.compacted = Instant::now();
        }
        if is_alarm {
            self.who = self.root();
            let answer = self.call(Request::Alarm(pb::AlarmRequest::default())).await;
            self.view.alarmed = matches!(answer, Ok(Answer::Alarm(alarms)) if !alarms.alarms.is_empty());
        }
    }

    /// Sends a request to both sides and compares; returns the reference's outcome.
    async fn call(&mut self, request: Request) -> Outcome {
        let mut for_ours = request.clone();
        for_ours.rename_leases(&|id| self.leases.to_ours(id));
        if let Some(member) = for_ours.member_mut() {
            *member = self.members.to_ours(*member);
        }
        let (mut reference, mut ours) = tokio::join!(
            self.reference.call_as(self.who, request.clone()),
            self.ours.call_as(self.who, for_ours)
        );
        self.tally.calls += 1;
        self.tally.refused += u64::from(reference.is_err() && ours.is_err());
        *self.tally.answers.entry(describe(&request, &reference)).or_default() += 1;
        self.learn(&request, &reference, &ours);
        let hashes_comparable = !self.view.attach_drawn;
        let context = Context { leases: &self.leases, members: &self.members, hashes_comparable };
        normalise(&mut reference, &mut ours, &context);
        if reference != ours && !accepted::is_accepted(&request, &reference, &ours, &self.past) {
            let what = format!("{request:#?}");
            self.differ(&what, &format!("{reference:#?}"), &format!("{ours:#?}"));
        }
        reference
    }

    /// Sends a request by HTTP to both sides and compares.
    async fn http(&mut self, request: &http::Request) -> Result<()> {
        let (reference, ours) = tokio::join!(
            http::ask(self.reference.server.address(), request),
            http::ask(self.ours.server.address(), request)
        );
        let (reference, ours) = (reference?, ours?);
        self.tally.calls += 1;
        *self.tally.answers.entry(format!("{} {}", request.method, request.path)).or_default() += 1;
        if reference != ours {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let what = format!("{request:?}\n{body}");
            self.differ(&what, &format!("{reference:#?}"), &format!("{ours:#?}"));
        }
        Ok(())
    }

    /// Compares what both servers measure after the same requests.
    pub(super) async fn compare_metrics(&mut self) -> Result<()> {
        let (reference, ours) = (self.reference.server.address(), self.ours.server.address());
        self.tally.differences.extend(metrics::compare(reference, ours).await?);
        Ok(())
    }

    fn learn(&mut self, request: &Request, reference: &Outcome, ours: &Outcome) {
        if let Ok(answer) = reference {
            self.view.revision = self.view.revision.max(revision_of(answer));
        }
        match (request, reference, ours) {
            (
                Request::Auth(AuthRequest::Authenticate(login)),
                Ok(Answer::Auth(AuthAnswer::Authenticated(a))),
                Ok(Answer::Auth(AuthAnswer::Authenticated(b))),
            ) => {
                self.reference.tokens.insert(login.name.clone(), a.token.clone());
                self.ours.tokens.insert(login.name.clone(), b.token.clone());
            }
            (Request::LeaseGrant(grant), Ok(Answer::LeaseGrant(a)), Ok(Answer::LeaseGrant(b)))
                if grant.id == 0 =>
            {
                self.leases.add(a.id, b.id);
                self.view.drawn.push(a.id);
            }
            (Request::MemberAdd(_), Ok(Answer::MemberAdd(a)), Ok(Answer::MemberAdd(b))) => {
                if let (Some(a), Some(b)) = (&a.member, &b.member) {
                    self.members.add(a.id, b.id);
                    self.view.members.push(a.id);
                }
            }
            (Request::Compact(compact), Ok(_), _) => self.view.compacted = compact.revision,
            _ => {}
        }
    }

    fn differ(&mut self, what: &str, reference: &str, ours: &str) {
        let (a, b) = (self.reference.name(), self.ours.name());
        let number = self.tally.steps;
        let difference = diff::lines(reference, ours);
        self.tally.differences.push(format!("STEP {number}: {what}\n- {a}\n+ {b}\n{difference}"));
    }

    async fn watch(&mut self, index: usize, request: pb::WatchRequest) -> Result<()> {
        if matches!(request.request_union, Some(RequestUnion::CancelRequest(_))) {
            // What a watch still gets while it is cancelled is anyone's guess.
            tokio::time::sleep_until((self.watched_past + SETTLED_AFTER).into()).await;
            tokio::time::sleep(DELIVERED_AFTER).await;
            self.compare_streams().await;
        }
        if let Some(RequestUnion::CreateRequest(create)) = &request.request_union
            && (1..=self.view.revision).contains(&create.start_revision)
        {
            self.watched_past = Instant::now();
        }
        let pair = &mut self.streams[index];
        let (reference, ours) =
            tokio::join!(pair.reference.send(request.clone()), pair.ours.send(request.clone()));
        self.tally.calls += 1;
        for (side, result) in [(self.reference.name(), reference), (self.ours.name(), ours)] {
            if let Err(error) = result {
                let difference = format!("STEP {}: {side}, {request:#?}\n{error:#}", self.tally.steps);
                self.tally.differences.push(difference);
            }
        }
        Ok(())
    }

    async fn progress(&mut self, index: usize) -> Result<()> {
        tokio::time::sleep_until((self.watched_past + SETTLED_AFTER).into()).await;
        self.compare_streams().await;
        let pair = &self.streams[index];
        if pair.has_compacted {
            return Ok(());
        }
        let (reference, ours) = tokio::join!(pair.reference.progress(), pair.ours.progress());
        let (reference, ours) = (reference?, ours?);
        self.tally.calls += 1;
        if reference != ours {
            self.differ("a request for progress", &format!("{reference:?}"), &format!("{ours:?}"));
        }
        Ok(())
    }

    /// Waits until all watches have got the same on both sides.
    async fn compare_streams(&mut self) {
        let deadline = Instant::now() + EVENTS_PATIENCE;
        for index in 0..self.streams.len() {
            loop {
                let pair = &self.streams[index];
                let (reference, ours) =
                    (pair.reference.received(None), pair.ours.received(Some(&self.leases)));
                if reference == ours {
                    self.on_equal(index, &reference);
                    break;
                }
                if Instant::now() > deadline {
                    let what = format!("what came on watch stream {index}");
                    self.differ(&what, &format!("{reference:#?}"), &format!("{ours:#?}"));
                    pair_forget(&self.streams[index], &reference, &ours);
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    fn on_equal(&mut self, index: usize, received: &Received) {
        let pair = &mut self.streams[index];
        pair_forget(pair, received, received);
        let compacted = |item: &Item| matches!(item, Item::Compacted { .. });
        pair.has_compacted |= received.watches.values().flatten().any(compacted);
        if !received.broken.is_empty() {
            let broken = received.broken.join("\n");
            self.tally.differences.push(format!("STEP {}: both sides\n{broken}", self.tally.steps));
        }
    }

    /// A lease of two seconds with keys: both sides must delete them, in one revision.
    async fn expire(&mut self) -> Result<()> {
        const LEASE: i64 = 424_242;
        let granted = self.call(Request::LeaseGrant(pb::LeaseGrantRequest { ttl: 1, id: LEASE })).await;
        if granted.is_err() {
            return Ok(());
        }
        for key in ["x2", "x1", "b"] {
            let put = pb::PutRequest { key: key.into(), lease: LEASE, ..Default::default() };
            self.call(Request::Put(put)).await.ok();
        }
        let deadline = Instant::now() + EVENTS_PATIENCE;
        let ask = || Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id: LEASE, keys: true });
        for side in [&self.reference, &self.ours] {
            while Instant::now() < deadline {
                if matches!(side.call(ask()).await, Ok(Answer::LeaseTimeToLive(ttl)) if ttl.granted_ttl == 0)
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        self.call(ask()).await.ok();
        let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        self.call(Request::Range(all)).await.ok();
        Ok(())
    }

    /// Allows members of an older version and takes that back; what the store says of its version follows in the
    /// background.
    async fn downgrade(&mut self) {
        for (action, stored) in [(DowngradeAction::Enable, "3.6.0"), (DowngradeAction::Cancel, "3.7.0")] {
            let request = pb::DowngradeRequest { action: action.into(), version: "3.6.0".to_owned() };
            self.call(Request::Downgrade(request.clone())).await.ok();
            let deadline = Instant::now() + VERSION_PATIENCE;
            while Instant::now() < deadline && !self.have_stored(stored).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            self.call(Request::Downgrade(request)).await.ok();
            self.call(Request::Status).await.ok();
        }
    }

    async fn have_stored(&self, version: &str) -> bool {
        let (reference, ours) =
            tokio::join!(self.reference.call(Request::Status), self.ours.call(Request::Status));
        let has_it = |outcome: &Outcome| matches!(outcome, Ok(Answer::Status(status)) if status.storage_version == version);
        has_it(&reference) && has_it(&ours)
    }

    /// Streams end with their servers; everything else must be there again.
    async fn restart(&mut self) -> Result<()> {
        tokio::time::sleep_until((self.compacted + SETTLED_AFTER).into()).await;
        self.compare_streams().await;
        self.streams.clear();
        self.view.streams = 0;
        self.past.restarted = true;
        self.reference.restart().await?;
        self.ours.restart().await?;
        if self.with_auth {
            self.who = self.root();
            self.log_in("root").await;
        }
        let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        for request in [
            Request::Range(all),
            Request::LeaseLeases,
            Request::HashKv(pb::HashKvRequest::default()),
            Request::Alarm(pb::AlarmRequest::default()),
            Request::MemberList(pb::MemberListRequest::default()),
            Request::Status,
        ] {
            self.call(request).await.ok();
        }
        // A compaction that the end cut off is taken up again.
        self.compacted = Instant::now();
        self.call_settled(Request::HashKv(pb::HashKvRequest::default())).await;
        Ok(())
    }
}

fn pair_forget(pair: &Pair, reference: &Received, ours: &Received) {
    pair.reference.forget(reference);
    pair.ours.forget(ours);
}

fn describe(request: &Request, outcome: &Outcome) -> String {
    let request = format!("{request:?}");
    let method = request.split(['(', ' ']).next().unwrap_or_default();
    match outcome {
        Ok(_) => method.to_owned(),
        Err(refused) => format!("{method}: {:?}: {}", refused.code, refused.message),
    }
}

/// The store's revision that an answer tells; 0 if none.
fn revision_of(answer: &Answer) -> i64 {
    let header = match answer {
        Answer::Range(range) | Answer::RangeStream(range) => range.header,
        Answer::Put(put) => put.header,
        Answer::DeleteRange(delete) => delete.header,
        Answer::Txn(txn) => txn.header,
        Answer::Compact(compact) => compact.header,
        Answer::LeaseGrant(grant) => grant.header,
        Answer::LeaseRevoke(revoke) => revoke.header,
        Answer::LeaseKeepAlive(keep) => keep.and_then(|keep| keep.header),
        Answer::LeaseTimeToLive(ttl) => ttl.header,
        Answer::LeaseLeases(list) => list.header,
        Answer::Status(status) => status.header,
        Answer::Hash(hash) => hash.header,
        Answer::HashKv(hash) => hash.header,
        Answer::Defragment(defragment) => defragment.header,
        Answer::Alarm(alarm) => alarm.header,
        Answer::MemberList(list) => list.header,
        Answer::MemberAdd(added) => added.header,
        Answer::MemberUpdate(updated) => updated.header,
        Answer::MemberRemove(removed) => removed.header,
        Answer::MemberPromote(promoted) => promoted.header,
        Answer::MoveLeader(moved) => moved.header,
        Answer::Downgrade(downgrade) => downgrade.header,
        Answer::Auth(answer) => *answer.clone().header(),
        Answer::Health(_) => None,
    };
    header.map_or(0, |header| header.revision)
}
