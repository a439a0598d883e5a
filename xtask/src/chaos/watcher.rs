//! Watches: scribes that are told of everything, one for each member, and others that ask for all kinds of things.

use std::time::Duration;

use etched_model::history::{Message, Stream, Told, Wish};
use etched_proto::etcdserverpb as pb;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::client::{Surroundings, connect};
use super::network::Node;
use super::plant::Plant;
use super::wire;
use crate::random::Random;

/// How often a quiet watch looks whether the run is over.
const GLANCE: Duration = Duration::from_millis(200);

/// Watches everything by one member, past the proxies, and goes on where it was after each failure. Ends when it was
/// told of the revision `until`, once that is known.
pub(super) async fn scribe(
    around: Surroundings,
    client: u32,
    member: Node,
    until: tokio::sync::watch::Receiver<Option<i64>>,
) {
    let mut start = 1;
    let is_done = |start: i64| until.borrow().is_some_and(|revision| start > revision);
    while !is_done(start) {
        let Some(channel) = connect(&around.addresses.direct[member]).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let wish = Wish { key: "\0".into(), end: "\0".into(), start, previous: true, ..Wish::default() };
        let Some(mut watch) = Watch::open(&around, client, member, channel, wish).await else { continue };
        while !is_done(watch.next) {
            if watch.take(&around, Instant::now() + GLANCE).await == Took::End {
                break;
            }
            around.journal.scribe_told(watch.next - 1);
        }
        start = watch.close(&around);
    }
}

/// Opens one watch after the other, until the run is over.
pub(super) async fn wanderer(around: Surroundings, client: u32, seed: u64) {
    let mut random = Random::new(seed.rotate_left(31) ^ u64::from(client));
    let members = around.addresses.proxied.len() as u64;
    let mut resumed = None;
    while !around.is_over() {
        let member = usize::try_from(random.below(members)).expect("few members");
        let Some(channel) = connect(&around.addresses.proxied[member]).await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let wish = resumed.take().unwrap_or_else(|| draw(&mut random, around.journal.told()));
        let Some(mut watch) = Watch::open(&around, client, member, channel, wish.clone()).await else {
            continue;
        };
        let end = Instant::now() + Duration::from_millis(500 + random.below(8_000));
        while !around.is_over() && Instant::now() < end {
            match watch.take(&around, end.min(Instant::now() + GLANCE)).await {
                Took::End => break,
                Took::Nothing if random.one_in(4) => watch.ask_for_progress(),
                Took::Nothing | Took::Message => {}
            }
            if random.one_in(50) {
                watch.ask_for_progress();
            }
        }
        let is_cut_short = watch.is_in_parts();
        let next = watch.close(&around);
        if random.one_in(2) && !is_cut_short {
            resumed = Some(Wish { start: next, ..wish });
        }
    }
}

/// A wish of any kind, near the revision that is known to be reached.
fn draw(random: &mut Random, revision: i64) -> Wish {
    let (key, end) = *random.pick(&[
        ("\0", "\0"),
        ("k/", "k0"),
        ("k/03", ""),
        ("l/", "l0"),
        ("s/", "\0"),
        ("k/05", "k/1"),
    ]);
    let distance = i64::try_from(random.below(300)).expect("a small number");
    let start = match random.below(4) {
        0 | 1 => 0,
        2 => (revision - distance).max(1),
        _ => revision + distance / 4,
    };
    let (no_put, no_delete) = *random.pick(&[(false, false), (false, false), (true, false), (false, true)]);
    let (previous, fragment) = (random.one_in(2), random.one_in(2));
    Wish { key: key.into(), end: end.into(), start, previous, no_put, no_delete, fragment }
}

/// What came while waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Took {
    Message,
    Nothing,
    End,
}

/// One open watch with its stream of its own.
struct Watch {
    stream: Stream,
    /// Where a watch that goes on from here has to start.
    next: i64,
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: tonic::Streaming<pb::WatchResponse>,
}

impl Watch {
    /// Asks for a watch, and waits until it is created.
    async fn open(
        around: &Surroundings,
        client: u32,
        member: Node,
        channel: tonic::transport::Channel,
        wish: Wish,
    ) -> Option<Self> {
        let invoked = around.journal.now();
        let deadline = Instant::now() + Duration::from_secs(3);
        let (requests, outgoing) = mpsc::channel(4);
        let create = RequestUnion::CreateRequest(wire::watch(&wish));
        requests.try_send(pb::WatchRequest { request_union: Some(create) }).expect("the channel is empty");
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut watches = WatchClient::new(channel).max_decoding_message_size(1 << 30);
        let mut answers = timeout_at(deadline, watches.watch(outgoing)).await.ok()?.ok()?.into_inner();
        let created = timeout_at(deadline, answers.message()).await.ok()?.ok()??;
        if !created.created || created.canceled {
            return None;
        }
        let revision = wire::revision(created.header.as_ref());
        let next = if wish.start > 0 { wish.start } else { revision + 1 };
        let member = u32::try_from(member).expect("few members");
        let stream = Stream { client, member, invoked, wish, created: Some(revision), told: Vec::new() };
        Some(Self { stream, next, requests, answers })
    }

    /// Waits for the next message.
    async fn take(&mut self, around: &Surroundings, deadline: Instant) -> Took {
        let answer = match timeout_at(deadline, self.answers.message()).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None) | Err(_)) => return Took::End,
            Err(_) => return Took::Nothing,
        };
        let (at, mut revision) = (around.journal.now(), wire::revision(answer.header.as_ref()));
        let Some(what) = wire::message(&answer) else { return Took::End };
        if around.plant == Some(Plant::DroppedEvents)
            && revision % 100 == 77
            && !self.stream.wish.is_for_all()
        {
            return Took::Message;
        }
        if around.plant == Some(Plant::LyingProgress) && what == Message::Progress {
            revision += 1;
        }
        match &what {
            Message::Events { events, fragment } => {
                let last = events.last().map_or(0, |event| event.record.modified);
                // A revision whose other parts are still to come has to be told again.
                self.next = self.next.max(if *fragment { last } else { last + 1 });
            }
            Message::Progress => self.next = self.next.max(revision + 1),
            Message::Compacted(compacted) => self.next = self.next.max(*compacted),
        }
        let is_end = matches!(what, Message::Compacted(_));
        self.stream.told.push(Told { at, revision, what });
        if is_end { Took::End } else { Took::Message }
    }

    /// Whether the last message was a part, and more of it is to come.
    fn is_in_parts(&self) -> bool {
        let last = self.stream.told.last().map(|told| &told.what);
        matches!(last, Some(Message::Events { fragment: true, .. }))
    }

    fn ask_for_progress(&self) {
        let request = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        // A full channel: there is a question on its way.
        let _ = self.requests.try_send(pb::WatchRequest { request_union: Some(request) });
    }

    /// Ends the watch and hands in what it was told.
    fn close(self, around: &Surroundings) -> i64 {
        around.journal.stream(self.stream);
        self.next
    }
}
