//! Reading all keys of a cluster, and then every change of them, without a gap between.

use crate::proto::{SortOrder, SortTarget};
use crate::{Client, Error, Get, Keys, Watch, WatchOptions};
use etched_proto::etcdserverpb::RangeResponse;

/// How many keys a page of the beginning has at most.
const PAGE_KEYS_MAX: i64 = 1000;

/// All keys with a prefix as of one revision, page by page, and the changes after it.
///
/// ```no_run
/// # async fn example(client: etched_client::Client) -> Result<(), etched_client::Error> {
/// use etched_client::{Mirror, WatchNotice};
///
/// let mut mirror = Mirror::new(&client, "jobs/");
/// while let Some(page) = mirror.next_page().await? {
///     println!("{} keys", page.kvs.len());
/// }
/// let mut changes = mirror.changes().await?;
/// while let Some(notice) = changes.next().await {
///     if let WatchNotice::Events { events, .. } = notice? {
///         println!("{} changes", events.len());
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Mirror {
    client: Client,
    keys: Keys,
    /// 0 until the first page was read.
    revision: i64,
    /// Where the next page begins.
    next: Option<Keys>,
}

impl Mirror {
    /// A mirror of all keys with a prefix, as of now.
    pub fn new(client: &Client, prefix: impl Into<bytes::Bytes>) -> Self {
        let keys = Keys::prefix(prefix);
        Self { client: client.clone(), keys: keys.clone(), revision: 0, next: Some(keys) }
    }

    /// A mirror that begins with the changes of a revision, and has no pages.
    pub fn changes_since(client: &Client, prefix: impl Into<bytes::Bytes>, revision: i64) -> Self {
        let keys = Keys::prefix(prefix);
        Self { client: client.clone(), keys, revision: (revision - 1).max(0), next: None }
    }

    /// The next page of keys, all of one revision; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Compacted`](crate::ErrorKind::Compacted) if a compaction overtakes it; begin anew then.
    pub async fn next_page(&mut self) -> Result<Option<RangeResponse>, Error> {
        let Some(keys) = self.next.take() else { return Ok(None) };
        let get = Get::new(keys.clone()).limit(PAGE_KEYS_MAX).sort(SortTarget::Key, SortOrder::Ascend);
        let page = match self.client.get(get.revision(self.revision)).await {
            Ok(page) => page,
            Err(error) => {
                self.next = Some(keys);
                return Err(error);
            }
        };
        if self.revision == 0 {
            self.revision = page.header.unwrap_or_default().revision;
        }
        if let Some(last) = page.kvs.last().filter(|_| page.more) {
            let after = [&last.key[..], b"\0"].concat();
            self.next = Some(Keys::between(after, self.keys.range_end.clone()));
        }
        Ok(Some(page))
    }

    /// Every change after the pages, once and in order.
    ///
    /// # Errors
    ///
    /// As [`Client::watch`]; the watch itself ends with [`Error::Compacted`] if it is too late.
    pub async fn changes(&self) -> Result<Watch, Error> {
        let options = WatchOptions::new(self.keys.clone()).start_revision(self.revision + 1);
        self.client.watch(options).await
    }
}
