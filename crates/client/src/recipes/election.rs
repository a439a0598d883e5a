//! Elections: one session holds the office and says something about itself, the others watch.

use std::collections::VecDeque;

use bytes::Bytes;
use etched_proto::etcdserverpb::ResponseHeader;
use etched_proto::mvccpb::KeyValue;
use etched_proto::mvccpb::event::EventType;

use super::Session;
use super::place::{Place, first_of, prefix_of};
use crate::{Client, Error, Keys, Put, Watch, WatchNotice, WatchOptions};

/// A named office of the cluster.
///
/// ```no_run
/// # async fn example(client: etched_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use etched_client::{Election, Session};
///
/// let session = Session::new(&client, 10).await?;
/// let mut leadership = Election::new(&session, "offices/scheduler").campaign("10.0.0.1:80").await?;
/// leadership.proclaim("10.0.0.1:8080").await?;
/// session.over().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Election {
    session: Session,
    name: String,
}

/// The office, held; made by [`Election::campaign`]. Dropping it resigns in the background.
#[derive(Debug)]
#[must_use = "the office is given up when this is dropped"]
pub struct Leadership {
    place: Place,
}

/// Who holds an office.
#[derive(Clone, Debug, PartialEq)]
pub struct Leader {
    /// The header of the answer that told it.
    pub header: ResponseHeader,
    /// The holder's key, with what the holder says as its value.
    pub kv: KeyValue,
}

/// Why something about an election failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElectionError {
    /// The office was lost.
    #[error("election: not leader")]
    NotLeader,
    /// Nobody holds the office.
    #[error("election: no leader")]
    NoLeader,
    /// The session ended while it stood in line.
    #[error("election: session is expired")]
    SessionExpired,
    /// A request failed.
    #[error(transparent)]
    Request(#[from] Error),
}

impl Election {
    /// The office of this name, for a session.
    pub fn new(session: &Session, name: impl Into<String>) -> Self {
        Self { session: session.clone(), name: name.into() }
    }

    /// Waits for the office. Dropping the future withdraws.
    ///
    /// # Errors
    ///
    /// [`ElectionError::SessionExpired`] if the session ends meanwhile.
    pub async fn campaign(&self, value: impl Into<Bytes>) -> Result<Leadership, ElectionError> {
        let value = value.into();
        let place = Place::take(&self.session, &self.name, value.clone()).await?;
        let waits = !place.is_first;
        let says_other = place.earlier_value.as_ref().is_some_and(|earlier| *earlier != value);
        let mut leadership = Leadership { place };
        if says_other {
            leadership.proclaim(value).await?;
        }
        if waits && !leadership.place.turn().await? {
            return Err(ElectionError::SessionExpired);
        }
        Ok(leadership)
    }

    /// Who holds the office.
    ///
    /// # Errors
    ///
    /// [`ElectionError::NoLeader`] if nobody does.
    pub async fn leader(&self) -> Result<Leader, ElectionError> {
        leader_of(self.session.client(), &prefix_of(&self.name)).await?.ok_or(ElectionError::NoLeader)
    }

    /// Who holds the office, now and from now on.
    pub fn observe(&self) -> Observer {
        Observer::new(self.session.client(), &self.name)
    }
}

async fn leader_of(client: &Client, prefix: &str) -> Result<Option<Leader>, Error> {
    let response = client.get(first_of(prefix)).await?;
    let header = response.header.unwrap_or_default();
    Ok(response.kvs.into_iter().next().map(|kv| Leader { header, kv }))
}

impl Leadership {
    /// The holder's key.
    pub fn key(&self) -> &str {
        &self.place.key
    }

    /// The revision at which the key was created: greater than that of every earlier holder.
    pub fn revision(&self) -> i64 {
        self.place.revision
    }

    /// The header of the last answer about the office.
    pub fn header(&self) -> &ResponseHeader {
        &self.place.header
    }

    /// Says something else.
    ///
    /// # Errors
    ///
    /// [`ElectionError::NotLeader`] if the office was lost.
    pub async fn proclaim(&mut self, value: impl Into<Bytes>) -> Result<(), ElectionError> {
        let lease = self.place.session.lease();
        let put = Put::new(self.place.key.clone(), value).lease(lease);
        let txn = self.place.while_there().then([put.into()]);
        let response = self.place.session.client().txn(txn).await?;
        if !response.succeeded {
            return Err(ElectionError::NotLeader);
        }
        self.place.header = response.header.unwrap_or_default();
        Ok(())
    }

    /// Gives the office up.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost; it is tried once more in the background then.
    pub async fn resign(mut self) -> Result<(), Error> {
        self.place.leave().await.map(drop)
    }
}

/// Tells who holds an office whenever that, or what the holder says, changes; made by [`Election::observe`].
///
/// An office that changes hands faster than it is looked at may skip holders.
#[derive(Debug)]
pub struct Observer {
    client: Client,
    prefix: String,
    state: State,
    ready: VecDeque<Leader>,
}

#[derive(Debug)]
enum State {
    /// It is not known who holds the office.
    Look,
    /// Nobody does.
    Await(Box<Watch>),
    /// Somebody does, and may say something else or go.
    Follow(Box<Watch>),
}

impl Observer {
    /// Observes an office without a session.
    pub fn new(client: &Client, name: &str) -> Self {
        Self { client: client.clone(), prefix: prefix_of(name), state: State::Look, ready: VecDeque::new() }
    }

    /// The next holder, or the next thing that the holder says. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`Client::get`] and [`Client::watch`].
    pub async fn next(&mut self) -> Result<Leader, Error> {
        loop {
            if let Some(leader) = self.ready.pop_front() {
                return Ok(leader);
            }
            match &mut self.state {
                State::Look => self.look().await?,
                State::Await(watch) => {
                    let found = next_events(watch).await?.into_iter().find_map(|(_, kv)| kv);
                    if let Some((header, kv)) = found {
                        let header = ResponseHeader { revision: kv.mod_revision, ..header };
                        // Should nobody wait for the next line, the holder is found again.
                        self.state = State::Look;
                        self.follow(Leader { header, kv }).await?;
                    }
                }
                State::Follow(watch) => {
                    for (is_gone, said) in next_events(watch).await? {
                        if is_gone {
                            self.state = State::Look;
                            break;
                        }
                        self.ready.extend(said.map(|(header, kv)| Leader { header, kv }));
                    }
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let response = self.client.get(first_of(&self.prefix)).await?;
        let header = response.header.unwrap_or_default();
        match response.kvs.into_iter().next() {
            Some(kv) => self.follow(Leader { header, kv }).await,
            None => {
                let keys = Keys::prefix(self.prefix.clone());
                let options = WatchOptions::new(keys).start_revision(header.revision + 1);
                self.state = State::Await(Box::new(self.client.watch(options).await?));
                Ok(())
            }
        }
    }

    async fn follow(&mut self, leader: Leader) -> Result<(), Error> {
        let options = WatchOptions::new(leader.kv.key.clone()).start_revision(leader.header.revision + 1);
        self.state = State::Follow(Box::new(self.client.watch(options).await?));
        self.ready.push_back(leader);
        Ok(())
    }
}

/// An event: whether the key is gone, and what it holds otherwise.
type Said = (bool, Option<(ResponseHeader, KeyValue)>);

async fn next_events(watch: &mut Watch) -> Result<Vec<Said>, Error> {
    match watch.next().await {
        None => Err(Error::Protocol { what: "a watch ended without a reason" }),
        Some(Err(error)) => Err(error),
        Some(Ok(WatchNotice::Progress { .. })) => Ok(Vec::new()),
        Some(Ok(WatchNotice::Events { header, events })) => {
            let said = events.into_iter().map(|event| match event.r#type() {
                EventType::Delete => (true, None),
                EventType::Put => (false, event.kv.map(|kv| (header, kv))),
            });
            Ok(said.collect())
        }
    }
}
