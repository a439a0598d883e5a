//! Clients that watch: they read at their own pace, go to other members, and resume where they were.

use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_model::watch::ModelWish;
use etched_replica::WatchCall;
use etched_replica::auth::Credentials;
use etched_watch::{Create, Filters, StreamId};

use super::{Event, Input, Phase, World};
use crate::clock::{MILLISECOND, SECOND};
use crate::oracle::Violation;
use crate::oracle::watches::StreamCheck;
use crate::random::{Purpose, Random};

/// The first number of the random streams of watching clients.
const WATCHERS_FROM: u64 = 1_000;

/// A client that watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    random: Random,
    stream: Option<u64>,
    /// Where it goes on, if it had been told something.
    resumes_at: i64,
}

/// A stream that is open.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) site: u64,
    pub(crate) check: StreamCheck,
    /// How long the client takes to read a response.
    reading: u64,
    watcher: usize,
}

impl Stream {
    pub(crate) fn reading_time(&self) -> u64 {
        self.reading
    }
}

impl Watcher {
    pub(crate) fn new(seed: u64, place: usize) -> Self {
        let random = Random::new(seed, Purpose::Client(WATCHERS_FROM + place as u64));
        Self { random, stream: None, resumes_at: 0 }
    }
}

impl World {
    pub(super) fn watcher_acts(&mut self, place: usize) -> Result<(), Violation> {
        let after = self.watchers[place].random.about(SECOND) + 50 * MILLISECOND;
        if self.phase == Phase::Safety {
            self.schedule(self.now + after, Event::Watcher(place));
        }
        match self.watchers[place].stream {
            None if self.phase == Phase::Safety => self.open_stream(place),
            None => Ok(()),
            Some(stream) => self.use_stream(place, stream),
        }
    }

    fn open_stream(&mut self, place: usize) -> Result<(), Violation> {
        let running = self.running();
        if running.is_empty() {
            return Ok(());
        }
        self.tokens += 1;
        let stream = self.tokens;
        let watcher = &mut self.watchers[place];
        let site = *watcher.random.pick(&running);
        let reading = *watcher.random.pick(&[0, MILLISECOND, 100 * MILLISECOND, 2 * SECOND]);
        watcher.stream = Some(stream);
        let is_resumed = watcher.resumes_at > 0;
        self.streams.insert(stream, Stream { site, check: StreamCheck::default(), reading, watcher: place });
        self.note(site, "stream", [stream, place as u64, 0]);
        let progress_interval_ns = 2 * SECOND;
        let open = WatchCall::Open { stream: StreamId(stream), progress_interval_ns };
        self.give(site, Input::Watch(open))?;
        if is_resumed {
            self.counts.add("watch resumed on another member");
        }
        self.create_watch(place, stream)
    }

    fn create_watch(&mut self, place: usize, stream: u64) -> Result<(), Violation> {
        let revision = self.oracle.store.revision();
        let compacted = self.oracle.store.compacted();
        let keys = self.profile.keys;
        let watcher = &mut self.watchers[place];
        let key = Bytes::from(format!("k{:03}", watcher.random.below(keys)));
        let range = match watcher.random.below(4) {
            0 => KeyRange::single(key),
            1 => KeyRange::prefix(b"k0"),
            _ => KeyRange::all(),
        };
        let back = i64::try_from(watcher.random.below(100)).expect("small");
        let start_revision = match watcher.random.below(6) {
            0 => 0,
            1 => (revision - back).max(0),
            2 => revision + back,
            3 => compacted.max(0),
            _ => watcher.resumes_at,
        };
        let (no_put, no_delete) = (watcher.random.happens(50_000), watcher.random.happens(50_000));
        let prev_kv = watcher.random.happens(400_000);
        let progress_notify = watcher.random.happens(500_000);
        let fragment = watcher.random.happens(500_000);
        let (wire_key, wire_end) = range.to_wire();
        let wish = ModelWish {
            key: wire_key.to_vec(),
            range_end: wire_end.to_vec(),
            start_revision,
            no_put,
            no_delete,
            prev_kv,
        };
        let Some(open) = self.streams.get_mut(&stream) else { return Ok(()) };
        open.check.ask(wish);
        let site = open.site;
        let create = Create {
            range,
            start_revision,
            filters: Filters { no_put, no_delete },
            prev_kv,
            progress_notify,
            fragment,
            watch_id: 0,
        };
        let (stream, credentials) = (StreamId(stream), Credentials::Anonymous);
        self.give(site, Input::Watch(WatchCall::Create { stream, credentials, create }))
    }

    fn use_stream(&mut self, place: usize, stream: u64) -> Result<(), Violation> {
        let Some(open) = self.streams.get(&stream) else { return Ok(()) };
        let (site, ids) = (open.site, open.check.watch_ids().collect::<Vec<_>>());
        let name = StreamId(stream);
        let choice = self.watchers[place].random.below(20);
        match choice {
            0 => self.close_stream(stream),
            1..4 => self.give(site, Input::Watch(WatchCall::Progress { stream: name })),
            4 | 5 if ids.len() > 1 => {
                let watch_id = *self.watchers[place].random.pick(&ids);
                self.give(site, Input::Watch(WatchCall::Cancel { stream: name, watch_id }))
            }
            6..9 if ids.len() < 5 && self.phase == Phase::Safety => self.create_watch(place, stream),
            _ => Ok(()),
        }
    }

    fn close_stream(&mut self, stream: u64) -> Result<(), Violation> {
        let Some(open) = self.streams.remove(&stream) else { return Ok(()) };
        self.note(open.site, "stream closed", [stream, 0, 0]);
        let watcher = &mut self.watchers[open.watcher];
        watcher.stream = None;
        watcher.resumes_at = open.check.reached + 1;
        self.counts.add_many("events watched", open.check.events);
        self.give(open.site, Input::Watch(WatchCall::Close { stream: StreamId(stream) }))
    }

    /// The streams of a life that has ended are broken.
    pub(super) fn drop_streams(&mut self, id: u64) {
        let broken: Vec<u64> =
            self.streams.iter().filter(|(_, open)| open.site == id).map(|(stream, _)| *stream).collect();
        for stream in broken {
            let Some(open) = self.streams.remove(&stream) else { continue };
            let watcher = &mut self.watchers[open.watcher];
            watcher.stream = None;
            watcher.resumes_at = if open.check.reached > 0 { open.check.reached + 1 } else { 0 };
            self.counts.add_many("events watched", open.check.events);
        }
    }

    pub(super) fn are_watches_at_head(&self) -> Result<(), String> {
        self.streams.iter().try_for_each(|(stream, open)| {
            let at_head = open.check.at_head(&self.oracle.events);
            at_head.map_err(|story| format!("stream {stream}: {story}"))
        })
    }
}
