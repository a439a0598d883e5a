//! One other member: its queues, its tasks and what is known of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use etched_replica::raft::{Message, MessageKind};
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::codec::StreamKind;
use super::dial::Dialer;
use super::outbox::{Outbox, Put};
use super::picker::Picker;
use super::status::Status;
use super::{PeerIdentity, PeerSink, pipeline, probe, reader};
use crate::flags::Url;
use crate::logging::Value;
use crate::metrics::{Metrics, PeerNumbers};

/// What all parts of a transport share.
pub(super) struct Shared {
    pub(super) identity: PeerIdentity,
    /// The headers of every request.
    pub(super) headers: HeaderMap,
    pub(super) sink: Arc<dyn PeerSink>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) dialer: Dialer,
    /// Where tasks run.
    pub(super) runtime: tokio::runtime::Handle,
    /// Whether it was told that this member was removed.
    pub(super) was_removed: AtomicBool,
}

impl Shared {
    /// Another member says that this one was removed.
    pub(super) fn on_removed(&self) {
        if !self.was_removed.swap(true, Ordering::Relaxed) {
            crate::log!(
                Error, "the member has been permanently removed from the cluster",
                "local-member-id" => Value::hex(self.identity.member_id),
            );
            self.sink.on_removed();
        }
    }
}

/// How a member is spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kinship {
    /// By streams in both directions.
    Member,
    /// By posts alone: it is not known (yet) as a member, but it is answered.
    Stranger,
}

/// One other member.
pub(super) struct Peer {
    pub(super) id: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) picker: Picker,
    pub(super) status: Status,
    pub(super) numbers: Arc<PeerNumbers>,
    appends: Outbox,
    others: Outbox,
    posts: mpsc::Sender<Message>,
    readers: Mutex<Vec<AbortHandle>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Peer {
    /// Begins to speak with a member.
    pub(super) fn start(shared: &Arc<Shared>, id: u64, urls: Vec<Url>, kinship: Kinship) -> Arc<Self> {
        let numbers = shared.metrics.peers.of(id);
        let (posts, queue) = mpsc::channel(pipeline::POSTS_MAX);
        let peer = Arc::new(Self {
            id,
            shared: Arc::clone(shared),
            picker: Picker::new(urls),
            status: Status::new(id, Arc::clone(&shared.sink), Arc::clone(&numbers)),
            numbers,
            appends: Outbox::default(),
            others: Outbox::default(),
            posts,
            readers: Mutex::default(),
            tasks: Mutex::default(),
        });
        peer.log_started(kinship);
        peer.keep(pipeline::spawn(&peer, queue));
        match kinship {
            Kinship::Member => {
                peer.start_readers();
                peer.keep(vec![shared.runtime.spawn(probe::run(Arc::clone(&peer))).abort_handle()]);
            }
            Kinship::Stranger => {
                peer.appends.close();
                peer.others.close();
            }
        }
        peer
    }

    /// Uses other URLs from now on.
    pub(super) fn update(&self, urls: Vec<Url>) -> bool {
        self.picker.update(urls)
    }

    /// Opens both streams anew.
    pub(super) fn start_readers(self: &Arc<Self>) {
        let spawn = |kind| self.shared.runtime.spawn(reader::run(Arc::clone(self), kind)).abort_handle();
        let new = StreamKind::BOTH.map(spawn).to_vec();
        let old = std::mem::replace(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner), new);
        old.iter().for_each(AbortHandle::abort);
    }

    fn keep(&self, new: Vec<AbortHandle>) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
    }

    /// Closes all connections with the member.
    pub(super) fn stop(&self) {
        let id = || Value::hex(self.id);
        crate::log!(Info, "stopping remote peer", "remote-peer-id" => id());
        self.appends.close();
        self.others.close();
        for tasks in [&self.readers, &self.tasks] {
            let tasks = std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner));
            tasks.iter().for_each(AbortHandle::abort);
        }
        self.status.close();
        crate::log!(Info, "stopped remote peer", "remote-peer-id" => id());
    }

    pub(super) fn outbox(&self, kind: StreamKind) -> &Outbox {
        match kind {
            StreamKind::Append => &self.appends,
            StreamKind::Message => &self.others,
        }
    }

    /// Queues a message for the stream that fits best; [`Self::wake`] is due afterwards.
    pub(super) fn send(&self, message: Message) {
        let put = if message.kind() == MessageKind::Append {
            match self.appends.put(message) {
                Put::NoStream(message) => self.others.put(message),
                put @ (Put::Queued | Put::Full(_)) => put,
            }
        } else {
            self.others.put(message)
        };
        let dropped = match put {
            Put::Queued => return,
            Put::Full(message) => message,
            Put::NoStream(message) => match self.posts.try_send(message) {
                Ok(()) => return,
                Err(error) => error.into_inner(),
            },
        };
        self.numbers.sent_failures.increment();
        self.shared.sink.on_unreachable(self.id);
        crate::log!(
            Warn, "dropped internal Raft message since sending buffer is full",
            "message-type" => format!("{:?}", dropped.kind()),
            "local-member-id" => Value::hex(self.shared.identity.member_id),
            "from" => Value::hex(dropped.from()),
            "remote-peer-id" => Value::hex(self.id),
            "remote-peer-active" => self.status.is_active(),
        );
    }

    /// Wakes the streams for which something waits.
    pub(super) fn wake(&self) {
        self.others.wake();
        self.appends.wake();
    }

    /// The member opened a stream to this one.
    pub(super) fn on_writer_begun(&self, kind: StreamKind, had_stream: bool) {
        self.status.activate();
        let local = || Value::hex(self.shared.identity.member_id);
        if had_stream {
            crate::log!(
                Warn, "closed TCP streaming connection with remote peer",
                "stream-writer-type" => kind.name(),
                "local-member-id" => local(),
                "remote-peer-id" => Value::hex(self.id),
            );
        }
        crate::log!(
            Info, "established TCP streaming connection with remote peer",
            "stream-writer-type" => kind.name(),
            "local-member-id" => local(),
            "remote-peer-id" => Value::hex(self.id),
        );
    }

    /// The present stream ended that the member had opened.
    pub(super) fn on_writer_lost(&self, kind: StreamKind) {
        crate::log!(
            Warn, "lost TCP streaming connection with remote peer",
            "stream-writer-type" => kind.name(),
            "local-member-id" => Value::hex(self.shared.identity.member_id),
            "remote-peer-id" => Value::hex(self.id),
        );
        self.numbers.sent_failures.increment();
        self.status.deactivate("write", kind.name(), "connection closed");
        self.shared.sink.on_unreachable(self.id);
    }

    fn log_started(&self, kinship: Kinship) {
        let what = match kinship {
            Kinship::Member => "started remote peer",
            Kinship::Stranger => "started HTTP pipelining with remote peer",
        };
        crate::log!(Info, what, "remote-peer-id" => Value::hex(self.id));
    }
}
