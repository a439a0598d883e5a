//! A hub, a store, and clients that check what they are sent.

use crate::codec;
use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_model::watch::{ModelResponse, ModelWish, WatchCheck, WatchModel};
use etched_watch::{
    Create, Delivery, Event, Filters, History, HistoryRequest, Hub, HubOptions, Interest, Response, StreamId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Open {
        interval: u64,
    },
    Close {
        client: usize,
    },
    Create {
        client: usize,
        key: u8,
        range_end: Option<u8>,
        start: i64,
        id: i64,
        flags: (bool, bool, bool, bool, bool),
    },
    Cancel {
        client: usize,
        id: i64,
    },
    AskProgress {
        client: usize,
    },
    Publish {
        batch: Vec<Vec<(u8, Option<u8>)>>,
    },
    Restore {
        batch: Vec<Vec<(u8, Option<u8>)>>,
    },
    Compact {
        back: i64,
    },
    Consume {
        client: usize,
        count: usize,
    },
    Poll {
        count: usize,
    },
    AskHistory,
    AnswerHistory {
        which: usize,
        revisions: usize,
    },
    Tick {
        ns: u64,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) stream: usize,
    pub(crate) history: usize,
    pub(crate) fragment: usize,
}

/// What a response has besides its events, at most.
const BASE_BYTES: usize = 60;

pub(crate) struct World {
    limits: Limits,
    model: WatchModel,
    hub: Hub,
    clients: BTreeMap<u64, Client>,
    streams: u64,
    asked: Vec<HistoryRequest>,
    now: u64,
    /// The largest response that cannot be divided.
    revision_bytes_max: usize,
}

/// One stream, seen from its client.
#[derive(Default)]
struct Client {
    /// The ids that are taken, by the requests that were made.
    taken: BTreeSet<i64>,
    next_id: i64,
    /// The answers that must come, in this order.
    expected: VecDeque<Answer>,
    /// The watchers, by the answers that came.
    watchers: BTreeMap<i64, Watching>,
    /// The sizes of what came and was not consumed, and how much of each counts against the budget.
    unconsumed: VecDeque<(usize, usize)>,
    progress_seen: usize,
}

enum Answer {
    Created { id: i64, at: i64, wish: ModelWish, progress_notify: bool, fragment: bool },
    Refused { reason: &'static str },
    Canceled { id: i64 },
}

struct Watching {
    check: WatchCheck,
    progress_notify: bool,
    fragment: bool,
    in_fragments: bool,
    ended: bool,
}

impl World {
    pub(crate) fn new(limits: Limits) -> Self {
        let options = HubOptions {
            fragment_bytes: limits.fragment,
            stream_queue_bytes: limits.stream,
            history_bytes: limits.history,
        };
        let mut world = Self {
            limits,
            model: WatchModel::new(),
            hub: Hub::new(options, 1),
            clients: BTreeMap::new(),
            streams: 0,
            asked: Vec::new(),
            now: 0,
            revision_bytes_max: 0,
        };
        world.take(Step::Open { interval: 20 });
        world.take(Step::Open { interval: 0 });
        world
    }

    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Open { interval } => self.open(interval),
            Step::Close { client } => self.close(client),
            Step::Create { client, key, range_end, start, id, flags } => {
                self.create(client, key, range_end, start, id, flags);
            }
            Step::Cancel { client, id } => self.cancel(client, id),
            Step::AskProgress { client } => {
                if let Some(stream) = self.stream(client) {
                    self.hub.request_progress(StreamId(stream));
                }
            }
            Step::Publish { batch } => self.publish(batch),
            Step::Restore { batch } => self.restore(batch),
            Step::Compact { back } => self.compact(self.model.current() - back),
            Step::Consume { client, count } => self.consume(client, count),
            Step::Poll { count } => self.poll(count),
            Step::AskHistory => self.asked.extend(self.hub.poll_history()),
            Step::AnswerHistory { which, revisions } => {
                if which < self.asked.len() {
                    let request = self.asked.remove(which);
                    self.answer(&request, revisions);
                }
            }
            Step::Tick { ns } => {
                self.now += ns;
                self.hub.on_tick(self.now);
                assert!(self.hub.next_tick().is_none_or(|next| next > self.now));
            }
        }
    }

    /// Everybody reads on until nothing comes any more; then nobody may miss anything.
    pub(crate) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "the hub never comes to rest");
            self.poll(usize::MAX);
            for client in 0..self.clients.len() {
                self.consume(client, usize::MAX);
            }
            self.asked.extend(self.hub.poll_history());
            let Some(request) = self.asked.pop() else { break };
            self.answer(&request, 5);
        }
        let mut alive = 0;
        for (stream, client) in &self.clients {
            assert!(client.expected.is_empty(), "a request was not answered");
            for watching in client.watchers.values().filter(|watching| !watching.ended) {
                alive += 1;
                watching
                    .check
                    .at_head(&self.model)
                    .unwrap_or_else(|violation| panic!("{stream}: {violation}"));
            }
        }
        let counters = self.hub.counters();
        assert_eq!((counters.watchers, counters.streams), (alive, self.clients.len()));
        assert_eq!((counters.slow_watchers, counters.pending_events), (0, 0));
        self.all_get_progress();
    }

    /// At rest, progress is told to each stream whose watchers have all started.
    fn all_get_progress(&mut self) {
        let streams: Vec<u64> = self.clients.keys().copied().collect();
        for stream in streams {
            self.hub.request_progress(StreamId(stream));
            let seen = self.clients[&stream].progress_seen;
            self.poll(usize::MAX);
            let client = &self.clients[&stream];
            let mut alive = client.watchers.values().filter(|watching| !watching.ended).peekable();
            let due = alive.peek().is_some()
                && alive.all(|watching| watching.check.wish().start_revision <= self.model.current());
            assert_eq!(client.progress_seen - seen, usize::from(due));
        }
    }

    pub(crate) fn close_all(&mut self) {
        while !self.clients.is_empty() {
            self.close(0);
        }
        let events = self.hub.counters().events;
        assert_eq!(self.hub.counters(), etched_watch::Counters { events, ..Default::default() });
        assert!(self.hub.poll_delivery().is_none() && self.hub.poll_history().is_none());
        assert!((0..5).all(|key| self.hub.interest(&key_of(key)) == Interest::None));
        assert_eq!(self.hub.next_tick(), None);
    }

    fn stream(&self, client: usize) -> Option<u64> {
        self.clients.keys().nth(client % self.clients.len().max(1)).copied()
    }

    fn open(&mut self, interval: u64) {
        if self.clients.len() < 4 {
            self.streams += 1;
            self.hub.open(StreamId(self.streams), self.now, interval);
            self.clients.insert(self.streams, Client::default());
        }
    }

    fn close(&mut self, client: usize) {
        if let Some(stream) = self.stream(client) {
            self.hub.close(StreamId(stream));
            self.clients.remove(&stream);
        }
    }

    fn create(
        &mut self,
        client: usize,
        key: u8,
        range_end: Option<u8>,
        start_revision: i64,
        watch_id: i64,
        (no_put, no_delete, prev_kv, progress_notify, fragment): (bool, bool, bool, bool, bool),
    ) {
        let Some(stream) = self.stream(client) else { return };
        // Both filters at once leave nothing to watch for; that is tested by hand.
        let (no_put, no_delete) = (no_put && !no_delete, no_delete && !no_put);
        let key = key_of(key);
        let range_end = match range_end {
            None => Vec::new(),
            Some(u8::MAX) => vec![0],
            Some(end) => key_of(end),
        };
        let range = KeyRange::from_wire(key.clone().into(), range_end.clone().into());
        let wish = ModelWish { key, range_end, start_revision, no_put, no_delete, prev_kv };
        let client = self.clients.get_mut(&stream).expect("the stream is open");
        let at = self.model.current();
        client.expect_creation(&wish, watch_id, at, progress_notify, fragment);
        let filters = Filters { no_put, no_delete };
        let create = Create { range, start_revision, filters, prev_kv, progress_notify, fragment, watch_id };
        self.hub.create(StreamId(stream), create);
    }

    fn cancel(&mut self, client: usize, id: i64) {
        let Some(stream) = self.stream(client) else { return };
        let client = self.clients.get_mut(&stream).expect("the stream is open");
        if client.taken.remove(&id) {
            client.expected.push_back(Answer::Canceled { id });
        }
        self.hub.cancel(StreamId(stream), id);
    }

    fn publish(&mut self, batch: Vec<Vec<(u8, Option<u8>)>>) {
        let from = self.model.current() + 1;
        self.change(batch);
        let events: Vec<Event> = self
            .model
            .events_from(from)
            .iter()
            .map(|event| (event, self.hub.interest(&event.key)))
            .filter(|(_, interest)| *interest != Interest::None)
            .map(|(event, interest)| codec::event(event, interest, self.model.compacted()))
            .collect();
        self.hub.publish(self.model.current(), &events);
    }

    fn restore(&mut self, batch: Vec<Vec<(u8, Option<u8>)>>) {
        self.change(batch);
        self.hub.on_restored(self.model.current());
    }

    /// Only watchers that are behind can end.
    fn compact(&mut self, revision: i64) {
        if revision > self.model.compacted() {
            self.model.compact(revision);
            let before = self.hub.counters();
            self.hub.on_compacted(revision);
            let after = self.hub.counters();
            assert_eq!(before.watchers - after.watchers, before.slow_watchers - after.slow_watchers);
        }
    }

    fn change(&mut self, batch: Vec<Vec<(u8, Option<u8>)>>) {
        for changes in batch {
            let changes: BTreeMap<u8, Option<u8>> = changes.into_iter().collect();
            let value = |len: u8| "v".repeat(usize::from(len)).into_bytes();
            let changes = changes.into_iter().map(|(key, len)| (key_of(key), len.map(value))).collect();
            let events = self.model.change(changes);
            let bytes: usize = events
                .iter()
                .map(|event| codec::event(event, Interest::WithPrevious, 0))
                .map(|event| event.bytes.len().max(event.with_prev.map_or(0, |bytes| bytes.len())) + 4)
                .sum();
            self.revision_bytes_max = self.revision_bytes_max.max(bytes + BASE_BYTES);
        }
    }

    fn consume(&mut self, client: usize, count: usize) {
        let Some(stream) = self.stream(client) else { return };
        let client = self.clients.get_mut(&stream).expect("the stream is open");
        let count = count.min(client.unconsumed.len());
        let bytes = client.unconsumed.drain(..count).map(|(bytes, _)| bytes).sum();
        if count > 0 {
            self.hub.on_consumed(StreamId(stream), bytes);
        }
    }

    fn poll(&mut self, count: usize) {
        for _ in 0..count {
            let Some(Delivery { stream, response, bytes }) = self.hub.poll_delivery() else { break };
            let client = self.clients.get_mut(&stream.0).expect("only open streams are sent something");
            client.receive(&self.model, response, bytes);
            let held: usize = client.unconsumed.iter().map(|(_, counted)| counted).sum();
            let bound = self.limits.stream.max(self.limits.stream / 4 + self.revision_bytes_max);
            assert!(held <= bound, "{held} bytes are held, the bound is {bound}");
        }
    }

    /// Answers as a store would: whole revisions, until the bytes are reached.
    fn answer(&mut self, request: &HistoryRequest, revisions_max: usize) {
        assert!(request.from <= request.to && request.bytes_max <= self.limits.history);
        if request.from < self.model.compacted() {
            return self.hub.on_history(request.id, History::Compacted { revision: self.model.compacted() });
        }
        let (mut events, mut bytes, mut revisions, mut next): (Vec<Event>, _, _, _) =
            (Vec::new(), 0, 0, request.from);
        for event in
            self.model.events_from(request.from).iter().take_while(|event| event.revision <= request.to)
        {
            if event.revision >= next {
                if bytes >= request.bytes_max || revisions >= revisions_max {
                    break;
                }
                revisions += 1;
                next = event.revision + 1;
            }
            let interest = request.interest(&event.key);
            assert_eq!(
                interest != Interest::None,
                request.ranges.iter().any(|range| range.contains(&event.key))
            );
            assert!(request.wants_previous || interest != Interest::WithPrevious);
            if interest != Interest::None {
                let event = codec::event(event, interest, self.model.compacted());
                bytes += event.bytes.len();
                events.push(event);
            }
        }
        if self.model.events_from(next).first().is_none_or(|left| left.revision > request.to) {
            next = request.to + 1;
        }
        self.hub.on_history(request.id, History::Events { events, next });
    }
}

impl Client {
    /// Works out what a create request must be answered with.
    fn expect_creation(&mut self, wish: &ModelWish, id: i64, at: i64, progress_notify: bool, fragment: bool) {
        let is_empty = !matches!(wish.range_end[..], [] | [0]) && wish.range_end <= wish.key;
        let reason = if wish.start_revision < 0 {
            "etcdserver: mvcc: required revision has been compacted"
        } else if is_empty {
            "mvcc: watcher range is empty"
        } else if id != 0 && self.taken.contains(&id) {
            "mvcc: duplicate watch ID provided on the WatchStream"
        } else {
            ""
        };
        if !reason.is_empty() {
            return self.expected.push_back(Answer::Refused { reason });
        }
        let mut id = id;
        if id == 0 {
            while self.taken.contains(&self.next_id) {
                self.next_id += 1;
            }
            id = self.next_id;
            self.next_id += 1;
        }
        self.taken.insert(id);
        self.expected.push_back(Answer::Created { id, at, wish: wish.clone(), progress_notify, fragment });
    }

    fn receive(&mut self, model: &WatchModel, response: Response, bytes: usize) {
        let mut counted = 0;
        if response.created {
            self.on_created(model, response);
        } else if response.canceled {
            self.on_canceled(model, response);
        } else if response.events.is_empty() {
            self.on_progress(model, &response);
        } else {
            let watching = self.watchers.get_mut(&response.watch_id).expect("events follow the creation");
            assert!(!watching.ended, "events after the end");
            assert!(
                watching.fragment || !response.fragment,
                "fragments for a watcher that does not take them"
            );
            // Dividing a response adds to its size after room was found for it.
            counted = if watching.in_fragments { bytes.saturating_sub(BASE_BYTES) } else { bytes };
            watching.in_fragments = response.fragment;
            let events = response.events.iter().map(codec::decode).collect();
            let (revision, fragment) = (response.revision, response.fragment);
            let sent = ModelResponse { revision, fragment, events };
            watching.check.on_events(model, &sent).unwrap_or_else(|violation| panic!("{violation}"));
        }
        self.unconsumed.push_back((bytes, counted));
    }

    fn on_created(&mut self, model: &WatchModel, response: Response) {
        match self.expected.pop_front() {
            Some(Answer::Refused { reason }) => {
                assert!(response.canceled);
                assert_eq!((response.watch_id, response.cancel_reason.as_ref()), (-1, reason));
            }
            Some(Answer::Created { id, at, wish, progress_notify, fragment }) => {
                assert_eq!((response.watch_id, response.revision, response.canceled), (id, at, false));
                let check = WatchCheck::new(model, wish, at);
                let watching =
                    Watching { check, progress_notify, fragment, in_fragments: false, ended: false };
                assert!(self.watchers.insert(id, watching).is_none());
            }
            Some(Answer::Canceled { .. }) | None => panic!("{response:?} was not asked for"),
        }
    }

    fn on_canceled(&mut self, model: &WatchModel, response: Response) {
        assert!(response.cancel_reason.is_empty());
        if response.compact_revision == 0 {
            let Some(Answer::Canceled { id }) = self.expected.pop_front() else { panic!("{response:?}") };
            assert_eq!(response.watch_id, id);
            assert!(self.watchers.remove(&id).is_some());
        } else {
            let watching = self.watchers.get_mut(&response.watch_id).expect("the watcher exists");
            assert_eq!((response.revision, watching.ended), (0, false));
            let check = watching.check.on_compacted(model, response.compact_revision);
            check.unwrap_or_else(|violation| panic!("{violation}"));
            watching.ended = true;
        }
    }

    fn on_progress(&mut self, model: &WatchModel, response: &Response) {
        let told = |watching: &mut Watching| {
            let check = watching.check.on_progress(model, response.revision);
            check.unwrap_or_else(|violation| panic!("{violation}"));
        };
        if response.watch_id == -1 {
            self.progress_seen += 1;
            self.watchers.values_mut().filter(|watching| !watching.ended).for_each(told);
        } else {
            let watching = self.watchers.get_mut(&response.watch_id).expect("the watcher exists");
            assert!(watching.progress_notify && !watching.ended);
            told(watching);
        }
    }
}

/// Keys of different lengths, so that some are prefixes of others.
fn key_of(key: u8) -> Vec<u8> {
    Bytes::from_static(b"kkkkkk").slice(..usize::from(key % 5) + 1).to_vec()
}
