//! A place in line: a key of a session below a name.

use bytes::Bytes;
use etched_proto::etcdserverpb::response_op::Response;
use etched_proto::etcdserverpb::{RangeResponse, ResponseHeader, TxnResponse};
use etched_proto::mvccpb::KeyValue;
use etched_proto::mvccpb::event::EventType;

use super::Session;
use crate::proto::{SortOrder, SortTarget};
use crate::{Client, Compare, Delete, Error, ErrorKind, Get, Keys, Put, Txn, WatchNotice, WatchOptions};

/// How often taking a place is tried while its outcome stays unknown; it does not matter which attempt did it.
const ATTEMPTS_MAX: usize = 3;

/// A place in line. Dropping it gives it up in the background, if taking it has created its key.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) session: Session,
    pub(super) key: String,
    /// The revision at which the key was created.
    pub(super) revision: i64,
    pub(super) header: ResponseHeader,
    /// What the key held before, if it was there already.
    pub(super) earlier_value: Option<Bytes>,
    /// Whether nobody stands before.
    pub(super) is_first: bool,
    /// Whether taking it has created its key, which is to be deleted then.
    pub(super) owed: bool,
    prefix: String,
}

/// What all keys of a name begin with.
pub(super) fn prefix_of(name: &str) -> String {
    format!("{name}/")
}

/// The oldest key of a name, which has the lock or the office.
pub(super) fn first_of(prefix: &str) -> Get {
    Get::new(Keys::prefix(prefix.to_owned())).sort(SortTarget::Create, SortOrder::Ascend).limit(1)
}

impl Place {
    /// Takes a place, or finds the one that the session has already.
    ///
    /// It runs to its end even if the caller does not wait for it, so that a key that was put is also given up.
    pub(super) async fn take(session: &Session, name: &str, value: Bytes) -> Result<Self, Error> {
        let (session, prefix) = (session.clone(), prefix_of(name));
        let taken = tokio::spawn(async move { Self::put(session, prefix, value).await });
        taken.await.map_err(|_| Error::Protocol { what: "the task that takes a place ended" })?
    }

    async fn put(session: Session, prefix: String, value: Bytes) -> Result<Self, Error> {
        let lease = session.lease();
        let key = format!("{prefix}{lease:x}");
        let txn = Txn::new()
            .when([Compare::create_revision(key.clone()).equal_to(0)])
            .then([Put::new(key.clone(), value).lease(lease).into(), first_of(&prefix).into()])
            .or_else([Get::new(key.clone()).into(), first_of(&prefix).into()]);
        let mut attempt = 1;
        let response = loop {
            match session.client().txn(txn.clone()).await {
                Err(Error::OutcomeUnknown { .. }) if attempt < ATTEMPTS_MAX => attempt += 1,
                other => break other?,
            }
        };
        let header = response.header.unwrap_or_default();
        let own = if response.succeeded { None } else { first_kv(&response, 0) };
        let revision = own.map_or(header.revision, |kv| kv.create_revision);
        let is_first = first_kv(&response, 1).is_none_or(|first| first.create_revision == revision);
        let earlier_value = own.map(|kv| kv.value.clone());
        let owed = response.succeeded || attempt > 1;
        Ok(Self { session, key, revision, header, earlier_value, is_first, prefix, owed })
    }

    fn client(&self) -> &Client {
        self.session.client()
    }

    /// Waits until nobody stands before, or the session is over; false then.
    pub(super) async fn turn(&self) -> Result<bool, Error> {
        tokio::select! {
            waited = self.wait() => waited.map(|()| true),
            () = self.session.over() => Ok(false),
        }
    }

    async fn wait(&self) -> Result<(), Error> {
        loop {
            let before = Get::new(Keys::prefix(self.prefix.clone()))
                .sort(SortTarget::Create, SortOrder::Descend)
                .limit(1)
                .create_revision_max(self.revision - 1);
            let response = self.client().get(before).await?;
            let Some(next) = response.kvs.into_iter().next() else { return Ok(()) };
            let revision = response.header.unwrap_or_default().revision;
            match self.wait_for_deletion(next.key, revision + 1).await {
                // Then nobody knows when it went: look again.
                Err(error) if error.kind() == ErrorKind::Compacted => {}
                other => other?,
            }
        }
    }

    async fn wait_for_deletion(&self, key: Bytes, revision: i64) -> Result<(), Error> {
        let mut watch = self.client().watch(WatchOptions::new(key).start_revision(revision)).await?;
        while let Some(notice) = watch.next().await {
            if let WatchNotice::Events { events, .. } = notice?
                && events.iter().any(|event| event.r#type() == EventType::Delete)
            {
                return Ok(());
            }
        }
        Err(Error::Protocol { what: "a watch ended without a reason" })
    }

    /// Whether the place is still there, and the newest header with it.
    pub(super) async fn confirm(&mut self) -> Result<bool, Error> {
        let response: RangeResponse = self.client().get(self.key.clone()).await?;
        self.header = response.header.unwrap_or_default();
        Ok(response.kvs.first().is_some_and(|kv| kv.create_revision == self.revision))
    }

    /// A transaction that does nothing unless the place is still there.
    pub(super) fn while_there(&self) -> Txn {
        Txn::new().when([Compare::create_revision(self.key.clone()).equal_to(self.revision)])
    }

    /// Gives the place up. It is no error if it is gone already.
    pub(super) async fn leave(&mut self) -> Result<ResponseHeader, Error> {
        let txn = self.while_there().then([Delete::new(self.key.clone()).into()]);
        let response = self.client().txn(txn).await?;
        self.owed = false;
        Ok(response.header.unwrap_or_default())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without a runtime there is nobody to do it, and the lease will.
        if self.owed
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let client = self.client().clone();
            let txn = self.while_there().then([Delete::new(self.key.clone()).into()]);
            runtime.spawn(async move { client.txn(txn).await });
        }
    }
}

/// The first key-value that a read within a transaction found.
fn first_kv(response: &TxnResponse, place: usize) -> Option<&KeyValue> {
    match response.responses.get(place).and_then(|op| op.response.as_ref()) {
        Some(Response::ResponseRange(range)) => range.kvs.first(),
        Some(Response::ResponsePut(_) | Response::ResponseDeleteRange(_) | Response::ResponseTxn(_))
        | None => None,
    }
}
