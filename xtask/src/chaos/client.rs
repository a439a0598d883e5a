//! Clients: each asks one thing at a time and notes what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use etched_model::history::{Answer, Body, Call, Outcome, Request};
use etched_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::cluster::Addresses;
use super::generate::Generator;
use super::journal::Journal;
use super::network::Node;
use super::plant::Plant;
use super::wire;
use crate::random::Random;

/// What all clients and watches share.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) addresses: Arc<Addresses>,
    pub(super) journal: Arc<Journal>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) plant: Option<Plant>,
}

impl Surroundings {
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Connects to an address, within a second.
pub(super) async fn connect(url: &str) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned()).ok()?;
    tokio::time::timeout(Duration::from_secs(1), endpoint.connect()).await.ok()?.ok()
}

/// Asks until the run is over, with a mean time between requests.
pub(super) async fn run(around: Surroundings, client: u32, seed: u64, between: Duration) {
    let mut random = Random::new(seed.rotate_left(17) ^ u64::from(client));
    let mut generator = Generator::new(client, seed);
    let members = around.addresses.proxied.len();
    let mut member = usize::try_from(client).unwrap_or(0) % members;
    while !around.is_over() {
        let Some(channel) = connect(&around.addresses.proxied[member]).await else {
            pause(&mut random, Duration::from_millis(100)).await;
            member = if random.one_in(3) { (member + 1) % members } else { member };
            continue;
        };
        // A connection is given up when it is not certain that it still works.
        while !around.is_over() {
            pause(&mut random, between).await;
            let request = generator.next(around.journal.now());
            let patience = Duration::from_millis(if random.one_in(8) { 8_000 } else { 1_500 });
            let call = ask(&around, client, member, channel.clone(), request, patience).await;
            generator.learn(&call);
            let is_lost = call.outcome == Outcome::Unknown;
            around.journal.call(call);
            if is_lost {
                member = if random.one_in(3) { (member + 1) % members } else { member };
                break;
            }
        }
    }
}

/// Waits for a random time with this mean.
async fn pause(random: &mut Random, mean: Duration) {
    let micros = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX / 2);
    tokio::time::sleep(Duration::from_micros(random.below(2 * micros + 1))).await;
}

/// Sends a request and waits for its answer.
pub(super) async fn ask(
    around: &Surroundings,
    client: u32,
    member: Node,
    channel: Channel,
    request: Request,
    patience: Duration,
) -> Call {
    ask_with(around, client, member, channel, request, None, patience).await
}

/// As [`ask`]; a put may send a longer value than the history shows.
pub(super) async fn ask_with(
    around: &Surroundings,
    client: u32,
    member: Node,
    channel: Channel,
    request: Request,
    value: Option<Bytes>,
    patience: Duration,
) -> Call {
    let boot = around.addresses.boot(member);
    let invoked = around.journal.now();
    let outcome = match tokio::time::timeout(patience, send(channel, &request, value, around.plant)).await {
        Ok(Ok(answer)) => Outcome::Answered(answer),
        Ok(Err(status)) => wire::failure(&status),
        Err(_) => Outcome::Unknown,
    };
    let returned = around.journal.now();
    let boot = (around.addresses.boot(member) == boot).then_some(boot);
    let member = u32::try_from(member).expect("few members");
    Call { client, member, boot, invoked, returned, request, outcome }
}

async fn send(
    channel: Channel,
    request: &Request,
    value: Option<Bytes>,
    plant: Option<Plant>,
) -> Result<Answer, Status> {
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(1 << 30);
    let mut leases = LeaseClient::new(channel);
    let (header, body) = match request {
        Request::Range(range) => {
            let mut request = wire::range(range);
            request.serializable |= plant == Some(Plant::StaleReads);
            let answer = kv.range(request).await?.into_inner();
            let body = wire::range_body(&answer);
            (answer.header, body)
        }
        Request::Put(put) => {
            let value = value.unwrap_or_else(|| Bytes::copy_from_slice(put.value.as_bytes()));
            let request = wire::put(put, value);
            if plant == Some(Plant::RepeatedWrites) && put.value.ends_with("77") {
                kv.put(request.clone()).await?;
            }
            let answer = kv.put(request).await?.into_inner();
            let body = wire::put_body(&answer);
            (answer.header, body)
        }
        Request::Delete(delete) => {
            let answer = kv.delete_range(wire::delete(delete)).await?.into_inner();
            let body = wire::delete_body(&answer);
            (answer.header, body)
        }
        Request::Txn(txn) => {
            let answer = kv.txn(wire::txn(txn)).await?.into_inner();
            let body = wire::txn_body(&answer);
            (answer.header, body)
        }
        Request::Grant { lease, ttl } => {
            let answer =
                leases.lease_grant(pb::LeaseGrantRequest { ttl: *ttl, id: *lease }).await?.into_inner();
            (answer.header, Body::Life { ttl: answer.ttl })
        }
        Request::Revoke { lease } => {
            let answer = leases.lease_revoke(pb::LeaseRevokeRequest { id: *lease }).await?.into_inner();
            (answer.header, Body::Done)
        }
        Request::KeepAlive { lease } => keep_alive(&mut leases, *lease).await?,
        Request::Compact { revision } => {
            let request = pb::CompactionRequest { revision: *revision, physical: false };
            (kv.compact(request).await?.into_inner().header, Body::Done)
        }
    };
    Ok(Answer { revision: wire::revision(header.as_ref()), body })
}

async fn keep_alive(
    leases: &mut LeaseClient<Channel>,
    lease: i64,
) -> Result<(Option<pb::ResponseHeader>, Body), Status> {
    // The stream stays open until the answer is there.
    let (requests, outgoing) = tokio::sync::mpsc::channel(1);
    requests.try_send(pb::LeaseKeepAliveRequest { id: lease }).expect("the channel is empty");
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut answers = leases.lease_keep_alive(outgoing).await?.into_inner();
    let answer = answers.message().await?.ok_or_else(|| Status::unavailable("the stream ended"))?;
    drop(requests);
    Ok((answer.header, Body::Life { ttl: answer.ttl }))
}
