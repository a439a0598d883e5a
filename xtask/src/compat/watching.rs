//! Watch streams on both sides, and what came on them.
//!
//! How many events share one response is timing, so events are kept per watch, as a sequence.
//! What must hold for each response by itself (a revision is not torn, a revision in a header was not passed before)
//! is checked when it comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use etched_proto::etcdserverpb as pb;
use etched_proto::mvccpb::Event;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tonic::transport::Channel;

use super::normal::{Leases, flatten_header, rename_kvs};
use super::side::Bearer;

/// How long an expected response may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Manual progress is not answered while a watcher is behind; it is asked for again after so long.
const PROGRESS_RETRY: Duration = Duration::from_millis(50);
/// After so long without an answer there is none.
const PROGRESS_PATIENCE: Duration = Duration::from_millis(1500);
/// The answer to a create request with a negative start revision, which every stream gives at once.
const BARRIER_REASON: &str = "etcdserver: mvcc: required revision has been compacted";

/// What happened to one watch, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Event(Event),
    /// Cancelled because what it wanted is compacted.
    Compacted {
        compact_revision: i64,
        header: Option<pb::ResponseHeader>,
        reason: String,
    },
}

/// What came on a stream since the last comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Received {
    /// Answers to requests, in order.
    pub(super) controls: Vec<pb::WatchResponse>,
    pub(super) watches: BTreeMap<i64, Vec<Item>>,
    pub(super) ended: Option<(tonic::Code, String)>,
    /// Broken promises within this side alone.
    pub(super) broken: Vec<String>,
}

/// The state behind a stream's reader.
#[derive(Debug, Default)]
struct Inbox {
    received: Received,
    barriers: usize,
    progress: Vec<i64>,
    /// Of each watch: the newest revision that a header told, and whether its response was a fragment.
    newest: BTreeMap<i64, (i64, bool)>,
}

/// One open stream to one server. Its reader ends when this is dropped.
pub(super) struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    inbox: Arc<Mutex<Inbox>>,
    reader: tokio::task::JoinHandle<()>,
    barriers_sent: usize,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Stream {
    pub(super) async fn open(channel: Channel, bearer: Bearer) -> Result<Self> {
        let (requests, outgoing) = mpsc::channel(64);
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let mut stream =
            Self { requests, inbox: inbox.clone(), reader: tokio::spawn(async {}), barriers_sent: 0 };
        // Some servers answer the call only with the first response, so the first request is on its way before.
        stream.send_barrier().await?;
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut client = WatchClient::with_interceptor(channel, bearer).max_decoding_message_size(1 << 30);
        let mut incoming = client.watch(outgoing).await?.into_inner();
        stream.reader = tokio::spawn(async move {
            loop {
                let next = incoming.message().await;
                let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
                match next {
                    Ok(Some(response)) => inbox.on_response(response),
                    Ok(None) => inbox.received.ended = Some((tonic::Code::Ok, String::new())),
                    Err(status) => inbox.received.ended = Some((status.code(), status.message().to_owned())),
                }
                if inbox.received.ended.is_some() {
                    return;
                }
            }
        });
        stream.wait_for_barriers().await?;
        Ok(stream)
    }

    /// Sends a request and waits until the server has taken note of it.
    pub(super) async fn send(&mut self, request: pb::WatchRequest) -> Result<()> {
        self.barriers_sent += usize::from(is_barrier(&request));
        self.requests.send(request).await?;
        self.send_barrier().await?;
        self.wait_for_barriers().await
    }

    async fn send_barrier(&mut self) -> Result<()> {
        let create = pb::WatchCreateRequest { key: "a".into(), start_revision: -1, ..Default::default() };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        self.barriers_sent += 1;
        Ok(self.requests.send(request).await?)
    }

    async fn wait_for_barriers(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.look(|inbox| inbox.barriers < self.barriers_sent && inbox.received.ended.is_none()) {
            if Instant::now() > deadline {
                bail!("a watch request with a negative start revision was not answered within {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        Ok(())
    }

    /// Asks for progress until it is told, or for a while; returns the revision.
    pub(super) async fn progress(&self) -> Result<Option<i64>> {
        self.look(|inbox| inbox.progress.clear());
        let begin = Instant::now();
        loop {
            let request = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
            self.requests.send(pb::WatchRequest { request_union: Some(request) }).await?;
            let asked = Instant::now();
            while asked.elapsed() < PROGRESS_RETRY {
                if let Some(revision) = self.look(|inbox| inbox.progress.first().copied()) {
                    return Ok(Some(revision));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if begin.elapsed() > PROGRESS_PATIENCE {
                return Ok(None);
            }
        }
    }

    /// What came since [`Stream::forget`], in a form that is comparable; `leases` renames our drawn leases.
    pub(super) fn received(&self, leases: Option<&Leases>) -> Received {
        let mut received = self.look(|inbox| inbox.received.clone());
        let Some(leases) = leases else { return received };
        for item in received.watches.values_mut().flatten() {
            if let Item::Event(event) = item {
                let name = |id| leases.to_reference(id);
                rename_kvs(event.kv.as_mut_slice(), &name);
                rename_kvs(event.prev_kv.as_mut_slice(), &name);
            }
        }
        received
    }

    /// Drops the first so many items, which were compared.
    pub(super) fn forget(&self, compared: &Received) {
        self.look(|inbox| {
            inbox.received.controls.drain(..compared.controls.len());
            for (id, items) in &compared.watches {
                if let Some(mine) = inbox.received.watches.get_mut(id) {
                    mine.drain(..items.len());
                }
            }
            inbox.received.watches.retain(|_, items| !items.is_empty());
        });
    }

    fn look<T>(&self, visit: impl FnOnce(&mut Inbox) -> T) -> T {
        visit(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_barrier(request: &pb::WatchRequest) -> bool {
    match &request.request_union {
        Some(RequestUnion::CreateRequest(create)) => create.start_revision < 0,
        Some(RequestUnion::CancelRequest(_) | RequestUnion::ProgressRequest(_)) | None => false,
    }
}

impl Inbox {
    fn on_response(&mut self, mut response: pb::WatchResponse) {
        let refused = response.created && response.canceled && response.watch_id == -1;
        if refused && response.cancel_reason == BARRIER_REASON {
            self.barriers += 1;
        }
        let revision = response.header.map_or(0, |header| header.revision);
        self.check_order(&response, revision);
        flatten_header(&mut response.header);
        let id = response.watch_id;
        if response.created || (response.canceled && response.compact_revision == 0) {
            self.received.controls.push(response);
        } else if response.canceled {
            let pb::WatchResponse { compact_revision, header, cancel_reason: reason, .. } = response;
            self.received.watches.entry(id).or_default().push(Item::Compacted {
                compact_revision,
                header,
                reason,
            });
        } else if response.events.is_empty() {
            self.progress.push(revision);
        } else {
            let items = response.events.into_iter().map(Item::Event);
            self.received.watches.entry(id).or_default().extend(items);
        }
    }

    /// Events come in order, a revision whole, and never one that an earlier header promised to be complete.
    fn check_order(&mut self, response: &pb::WatchResponse, revision: i64) {
        let id = response.watch_id;
        if response.created {
            self.newest.remove(&id);
        }
        let (newest, was_fragment) = self.newest.get(&id).copied().unwrap_or_default();
        let mut last = 0;
        for event in &response.events {
            let at = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            if at < last || (at <= newest && !was_fragment) || at > revision {
                let what =
                    format!("watch {id}: event at {at} after {last}, header {revision}, before {newest}");
                self.received.broken.push(what);
            }
            last = at;
        }
        if !response.events.is_empty() {
            self.newest.insert(id, (revision, response.fragment));
        }
    }
}
