//! Watching keys.
//!
//! All watches of a client share one stream to one member.
//! `machine` knows what to ask for and how to read the answers, without any I/O;
//! `driver` is the task that has the stream; `queue` stands between the driver and the reader of one watch.

mod driver;
mod machine;
mod mailbox;
mod queue;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use etched_proto::etcdserverpb::watch_create_request::FilterType;
use etched_proto::etcdserverpb::{ResponseHeader, WatchCreateRequest};
use etched_proto::mvccpb::Event;
use tokio::sync::oneshot;
use tokio_stream::{Stream, StreamExt};

pub(crate) use self::mailbox::WatchMailbox;
use self::mailbox::{Command, WatchKey};
use self::queue::Queue;
use crate::client::within;
use crate::namespace::Namespace;
use crate::{Client, Error, Keys};

/// What to watch, as [`Client::watch`] takes it.
///
/// ```
/// use etched_client::{Keys, WatchOptions};
///
/// let watched = WatchOptions::new(Keys::prefix("jobs/")).start_revision(42).prev_kv();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct WatchOptions {
    request: WatchCreateRequest,
}

impl WatchOptions {
    /// Watches these keys from now on.
    pub fn new(keys: impl Into<Keys>) -> Self {
        let Keys { key, range_end } = keys.into();
        Self {
            request: WatchCreateRequest { key, range_end, fragment: true, ..WatchCreateRequest::default() },
        }
    }

    /// Begins with the changes of this revision; 0 means with the next change.
    pub fn start_revision(mut self, revision: i64) -> Self {
        self.request.start_revision = revision;
        self
    }

    /// Events carry the key's previous state.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Leaves out puts.
    pub fn no_put(mut self) -> Self {
        self.request.filters.push(FilterType::Noput.into());
        self
    }

    /// Leaves out deletions.
    pub fn no_delete(mut self) -> Self {
        self.request.filters.push(FilterType::Nodelete.into());
        self
    }

    /// Has the server say from time to time how far an idle watch is ([`WatchNotice::Progress`]).
    pub fn progress_notify(mut self) -> Self {
        self.request.progress_notify = true;
        self
    }
}

macro_rules! convert {
    ($($from:ty),*) => {$(
        impl From<$from> for WatchOptions {
            fn from(keys: $from) -> Self {
                Self::new(keys)
            }
        }
    )*};
}

convert!(Keys, &'static str, &'static [u8], String, Vec<u8>, Bytes);

/// What a watch tells its reader.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchNotice {
    /// Changes, in order; all changes of a revision come together.
    Events {
        /// The server's header.
        header: ResponseHeader,
        /// The changes; never empty.
        events: Vec<Event>,
    },
    /// Nothing is missing up to the header's revision.
    Progress {
        /// The server's header.
        header: ResponseHeader,
    },
}

impl WatchNotice {
    /// The server's header.
    pub fn header(&self) -> &ResponseHeader {
        match self {
            Self::Events { header, .. } | Self::Progress { header } => header,
        }
    }
}

/// A watch: every change of its keys, once and in order, whatever becomes of connections and members.
///
/// After a broken connection it goes on with the revision after the last one it delivered.
/// If that revision is compacted meanwhile, the watch ends with [`Error::Compacted`] rather than with a gap.
/// Dropping it ends it.
#[derive(Debug)]
#[must_use = "a watch ends when it is dropped"]
pub struct Watch {
    key: WatchKey,
    header: ResponseHeader,
    queue: Arc<Queue>,
    mailbox: Arc<WatchMailbox>,
    namespace: Namespace,
}

impl Client {
    /// Begins to watch; returns when the server has confirmed it.
    ///
    /// ```no_run
    /// # async fn example(client: etched_client::Client) -> Result<(), etched_client::Error> {
    /// use etched_client::{Keys, WatchNotice};
    ///
    /// let mut watch = client.watch(Keys::prefix("jobs/")).await?;
    /// while let Some(notice) = watch.next().await {
    ///     if let WatchNotice::Events { events, .. } = notice? {
    ///         println!("{} changes", events.len());
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::WatchCanceled`] if the server refuses it, [`Error::Timeout`] if no server confirms it in time.
    pub async fn watch(&self, options: impl Into<WatchOptions>) -> Result<Watch, Error> {
        let mailbox = Arc::clone(&self.shared.watches);
        let queue = Arc::new(Queue::new(self.options.watch_queue_bytes));
        let (reply, confirmed) = oneshot::channel();
        let mut request = options.into().request;
        self.namespace.enter(&mut request.key, &mut request.range_end)?;
        let key = WatchKey(mailbox.new_name());
        // Made first, so that a caller who gives up takes the watch off again.
        let mut watch = Watch {
            key,
            header: ResponseHeader::default(),
            queue: Arc::clone(&queue),
            mailbox: Arc::clone(&mailbox),
            namespace: self.namespace.clone(),
        };
        let is_first = mailbox.push(Command::Create { key, request: Box::new(request), queue, reply });
        if is_first {
            tokio::spawn(driver::run(self.clone(), mailbox));
        }
        match within(self.deadline(), confirmed).await {
            None => Err(Error::Timeout),
            Some(Ok(Ok(header))) => {
                watch.header = header;
                Ok(watch)
            }
            Some(Ok(Err(error))) => Err(error),
            Some(Err(_closed)) => Err(Error::Protocol { what: "the task of the watches ended" }),
        }
    }
}

impl Watch {
    /// The next notice; `None` after the error that ended the watch.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`] and [`Error::WatchCanceled`]; each is the last item.
    pub async fn next(&mut self) -> Option<Result<WatchNotice, Error>> {
        StreamExt::next(self).await
    }

    /// The header with which the server confirmed the watch.
    ///
    /// Its revision is that of the cluster at that moment: a watch "from now on" begins right after it.
    pub fn header(&self) -> &ResponseHeader {
        &self.header
    }

    /// Asks the server to say how far the watch is; the answer is a [`WatchNotice::Progress`].
    ///
    /// Servers stay silent while a watch of the same stream lags behind, so the question is repeated until answered.
    pub fn request_progress(&self) {
        self.mailbox.push(Command::Progress { key: self.key });
    }
}

impl Stream for Watch {
    type Item = Result<WatchNotice, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut taken = self.queue.poll_pop(cx);
        if let Poll::Ready(Some(Ok(WatchNotice::Events { events, .. }))) = &mut taken {
            let kvs = events.iter_mut().flat_map(|event| event.kv.iter_mut().chain(&mut event.prev_kv));
            kvs.for_each(|kv| self.namespace.leave(kv));
        }
        if self.queue.take_room_again() {
            self.mailbox.push(Command::Room { key: self.key });
        }
        taken
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.mailbox.push(Command::Cancel { key: self.key });
    }
}
