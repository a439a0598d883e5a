//! What waits for a stream to another member, and the answer's body that takes it from there.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use etched_replica::raft::{Message, MessageKind};
use tokio::time::{Instant, Sleep, sleep};

use super::codec::{Encoder, StreamKind};
use super::dial::STALL_MILLIS;
use super::remote::Peer;

/// Messages that wait for one stream; when there are more, the newest are dropped and the member is reported as not
/// reachable. As in etcd.
pub(super) const OUTBOX_MESSAGES_MAX: usize = 4096;
/// Bytes that are encoded at a time.
const FRAME_BYTES: usize = 1 << 20;
/// A stream on which nothing was sent for so long gets a sign of life; three fit into the reader's patience.
const BEAT_AFTER: Duration = Duration::from_millis(STALL_MILLIS / 3);

/// The queue of one stream to one member.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    /// The stream that takes from the queue; without one nothing is queued.
    stream: Option<u64>,
    streams_begun: u64,
    waker: Option<Waker>,
    is_closed: bool,
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Put {
    /// It waits for the stream.
    Queued,
    /// There is no stream.
    NoStream(Message),
    /// Too many wait already.
    Full(Message),
}

/// What a stream has to do.
#[derive(Debug, PartialEq, Eq)]
enum Take {
    /// Messages were taken.
    Taken,
    /// Nothing waits; the waker is kept.
    Empty,
    /// Another stream has taken its place, or the member is not spoken with any more.
    Over,
}

impl Outbox {
    /// Queues a message; [`Self::wake`] is due afterwards.
    pub(super) fn put(&self, message: Message) -> Put {
        let mut state = self.lock();
        if state.stream.is_none() {
            return Put::NoStream(message);
        }
        if state.queue.len() >= OUTBOX_MESSAGES_MAX {
            return Put::Full(message);
        }
        state.queue.push_back(message);
        Put::Queued
    }

    /// Wakes the stream if something waits.
    pub(super) fn wake(&self) {
        let waker = {
            let mut state = self.lock();
            if state.queue.is_empty() { None } else { state.waker.take() }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Makes room for a new stream, which takes the place of the one before; `None` if none is wanted any more.
    /// Says also whether there was one before.
    fn attach(&self) -> Option<(u64, bool)> {
        let mut state = self.lock();
        if state.is_closed {
            return None;
        }
        let had_stream = state.stream.is_some();
        state.streams_begun += 1;
        let stream = state.streams_begun;
        state.stream = Some(stream);
        // What waited for the old stream may be half of what it sent: Raft sends again.
        state.queue.clear();
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Some((stream, had_stream))
    }

    /// The stream has ended; whether it was the present one.
    fn detach(&self, stream: u64) -> bool {
        let mut state = self.lock();
        if state.stream != Some(stream) {
            return false;
        }
        state.stream = None;
        state.queue.clear();
        state.waker = None;
        true
    }

    /// Ends the stream, and takes no other.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.stream = None;
        state.queue.clear();
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves all that waits into an empty queue of the stream.
    fn take(&self, stream: u64, into: &mut VecDeque<Message>, waker: &Waker) -> Take {
        debug_assert!(into.is_empty());
        let mut state = self.lock();
        if state.stream != Some(stream) {
            return Take::Over;
        }
        if state.queue.is_empty() {
            if !state.waker.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
                state.waker = Some(waker.clone());
            }
            return Take::Empty;
        }
        std::mem::swap(&mut state.queue, into);
        Take::Taken
    }

    /// Whether a stream takes from the queue.
    #[cfg(test)]
    pub(super) fn has_stream(&self) -> bool {
        self.lock().stream.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The endless body of the answer that is one stream.
///
/// All messages of a turn are encoded when the connection is ready for them, and become one write.
pub(super) struct StreamBody {
    peer: Arc<Peer>,
    kind: StreamKind,
    stream: u64,
    encoder: Encoder,
    /// Taken out of the outbox, and not yet encoded.
    taken: VecDeque<Message>,
    beat: Pin<Box<Sleep>>,
    has_sent: bool,
}

impl StreamBody {
    /// Begins a stream; `None` if the member is not spoken with any more.
    pub(super) fn begin(peer: &Arc<Peer>, kind: StreamKind) -> Option<Self> {
        let (stream, had_stream) = peer.outbox(kind).attach()?;
        peer.on_writer_begun(kind, had_stream);
        Some(Self {
            peer: Arc::clone(peer),
            kind,
            stream,
            encoder: Encoder::new(kind),
            taken: VecDeque::new(),
            beat: Box::pin(sleep(BEAT_AFTER)),
            has_sent: false,
        })
    }

    /// The next bytes of the stream; `None` when it is over.
    pub(super) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.taken.is_empty() {
            match self.peer.outbox(self.kind).take(self.stream, &mut self.taken, context.waker()) {
                Take::Taken => {}
                Take::Over => return Poll::Ready(None),
                Take::Empty => return self.poll_beat(context).map(Some),
            }
        }
        let mut out = BytesMut::new();
        let mut bytes = 0;
        while out.len() < FRAME_BYTES
            && let Some(message) = self.taken.pop_front()
        {
            bytes += self.encoder.encode(&message, &mut out);
            if message.kind() == MessageKind::Append {
                self.peer.numbers.appends_sent.increment();
            }
        }
        self.has_sent = true;
        self.peer.numbers.sent_bytes.add(bytes as u64);
        Poll::Ready(Some(out.freeze()))
    }

    fn poll_beat(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            ready!(self.beat.as_mut().poll(context));
            self.beat.as_mut().reset(Instant::now() + BEAT_AFTER);
            if !std::mem::take(&mut self.has_sent) {
                let mut out = BytesMut::new();
                let bytes = self.encoder.encode_beat(&mut out);
                self.peer.numbers.sent_bytes.add(bytes as u64);
                return Poll::Ready(out.freeze());
            }
        }
    }
}

impl Drop for StreamBody {
    /// The connection is gone, or was given up.
    fn drop(&mut self) {
        if self.peer.outbox(self.kind).detach(self.stream) {
            self.peer.on_writer_lost(self.kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::tests::heartbeat;

    #[test]
    fn without_a_stream_nothing_waits() {
        let outbox = Outbox::default();
        assert!(matches!(outbox.put(heartbeat(1, 2)), Put::NoStream(_)));
        let (stream, had_stream) = outbox.attach().unwrap();
        assert!(!had_stream);
        assert!(matches!(outbox.put(heartbeat(1, 2)), Put::Queued));
        let mut taken = VecDeque::new();
        assert_eq!(outbox.take(stream, &mut taken, Waker::noop()), Take::Taken);
        assert_eq!(taken.len(), 1);
        assert!(outbox.detach(stream));
        assert!(matches!(outbox.put(heartbeat(1, 2)), Put::NoStream(_)));
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let outbox = Outbox::default();
        let (stream, _) = outbox.attach().unwrap();
        for _ in 0..OUTBOX_MESSAGES_MAX {
            assert!(matches!(outbox.put(heartbeat(1, 2)), Put::Queued));
        }
        assert!(matches!(outbox.put(heartbeat(1, 2)), Put::Full(_)));
        let mut taken = VecDeque::new();
        assert_eq!(outbox.take(stream, &mut taken, Waker::noop()), Take::Taken);
        assert!(matches!(outbox.put(heartbeat(1, 2)), Put::Queued));
    }

    #[test]
    fn a_new_stream_ends_the_one_before() {
        let outbox = Outbox::default();
        let (first, _) = outbox.attach().unwrap();
        assert!(matches!(outbox.put(heartbeat(1, 2)), Put::Queued));
        let (second, had_stream) = outbox.attach().unwrap();
        assert!(had_stream);
        let mut taken = VecDeque::new();
        assert_eq!(outbox.take(first, &mut taken, Waker::noop()), Take::Over);
        assert_eq!(outbox.take(second, &mut taken, Waker::noop()), Take::Empty);
        assert!(!outbox.detach(first), "the end of the old one does not concern the new one");
        outbox.close();
        assert_eq!(outbox.take(second, &mut taken, Waker::noop()), Take::Over);
        assert!(outbox.attach().is_none());
    }
}
