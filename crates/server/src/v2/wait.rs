//! Waiting for changes: the head of the answer goes out at once, the events as they come.
//!
//! Each wait is a request of its own to the member, which holds it until there is an event.
//! A stream is a sequence of waits, each from the index after the last event: what happens in between is found in the
//! history, and a client so slow that the history does not reach back to it is cut off.
//! When the client goes away, the member is told to forget the wait.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use etched_replica::{V2Answer, V2Call};
use etched_state_machine::v2store::{Begun, Error, Event, KEYS, Watched};
use http::Response;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;

use super::keys::Stamp;
use super::{CLUSTER_ID, JSON, Told, V2, unexpected};
use crate::api::{Answer, ApiError, Credentials, Request, Token};
use crate::front::Link;

/// Events on their way to one client; what comes later waits in the history.
const EVENTS_ON_THE_WAY: usize = 16;

/// One client that waits.
struct Waiting {
    link: Arc<Link>,
    watched: Watched,
    events: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
}

impl V2 {
    /// Begins to wait. Only when it is certain that the history reaches back so far does an answer begin.
    pub(super) async fn watch(
        &self,
        watched: Watched,
        since: u64,
        is_stream: bool,
    ) -> Result<Result<Response<Body>, Error>, ApiError> {
        let call = V2Call::Watch { watched: watched.clone(), since };
        let Told { answer, raft_index, raft_term } = self.ask_v2(call).await?;
        let V2Answer::Begun(begun) = answer else { return Err(unexpected()) };
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => return Ok(Err(error)),
        };
        let (events, receiver) = mpsc::channel(EVENTS_ON_THE_WAY);
        let mut response = Response::new(Body::new(StreamBody::new(ReceiverStream::new(receiver))));
        Stamp { etcd_index: begun.index, raft_index, raft_term }.put(&mut response);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(CLUSTER_ID, self.cluster_id());
        let since = if since == 0 { begun.index + 1 } else { since };
        let waiting = Waiting { link: Arc::clone(&self.link), watched, events };
        tokio::spawn(waiting.run(begun.event, since, is_stream));
        Ok(Ok(response))
    }
}

impl Waiting {
    async fn run(self, first: Option<Event>, mut since: u64, is_stream: bool) {
        let mut found = first;
        loop {
            let event = match found.take() {
                Some(event) => event,
                None => match self.next(since).await {
                    Some(event) => event,
                    None => return,
                },
            };
            since = event.index() + 1;
            let line = Bytes::from(format!("{}\n", event.to_json(KEYS)));
            let is_gone = self.events.send(Ok(Frame::data(line))).await.is_err();
            if is_gone || !is_stream {
                return;
            }
        }
    }

    /// The next event; none if the client is gone, the server stops, or the history does not reach back.
    async fn next(&self, since: u64) -> Option<Event> {
        let call = V2Call::Wait { watched: self.watched.clone(), since };
        let call = self.link.start(Credentials::Anonymous, Request::V2(call)).ok()?;
        let unforgotten = Forget { link: Some(&self.link), token: call.token() };
        let completion = tokio::select! {
            completion = call => completion,
            () = self.events.closed() => return None,
            () = self.link.stopped() => return None,
        };
        unforgotten.disarm();
        let Ok(Answer::V2 { answer, .. }) = completion.result else { return None };
        let V2Answer::Begun(Ok(Begun { event, .. })) = *answer else { return None };
        event
    }
}

/// Tells the member that nobody waits any more, when it is dropped.
struct Forget<'a> {
    link: Option<&'a Link>,
    token: Token,
}

impl Forget<'_> {
    fn disarm(mut self) {
        self.link = None;
    }
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.link {
            // Nobody looks at the answer. If there are too many requests, the wait ends with its event.
            let forget = Request::V2(V2Call::Forget { token: self.token.0 });
            drop(link.start(Credentials::Anonymous, forget));
        }
    }
}
