//! Writers that note what they tried and what they were told.

use bytes::Bytes;
use etched_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::request_op::Request as Op;
use pb::response_op::Response as Done;
use tonic::transport::Channel;

use super::history::{Attempt, Ops};
use crate::random::Random;

/// Keys of one writer. Only it writes them, so the order of its own writes is the keys' order.
const KEYS: u64 = 20;

/// One of several concurrent writers.
pub(super) struct Writer {
    name: String,
    random: Random,
    counter: u64,
}

impl Writer {
    /// `name` sets its keys apart from those of all others.
    pub(super) fn new(name: String, seed: u64) -> Self {
        Self { name, random: Random::new(seed), counter: 0 }
    }

    /// Writes until a write is not answered; returns all that was tried.
    pub(super) async fn run(mut self, channel: Channel) -> (Self, Vec<Attempt>) {
        let mut client = KvClient::new(channel);
        let mut attempts = Vec::new();
        loop {
            let answered = match self.random.below(10) {
                0..=5 => self.put(&mut client, &mut attempts).await,
                6 | 7 => self.delete(&mut client, &mut attempts).await,
                _ => self.txn(&mut client, &mut attempts).await,
            };
            if !answered {
                return (self, attempts);
            }
        }
    }

    fn key(&mut self) -> Bytes {
        format!("{}/{:02}", self.name, self.random.below(KEYS)).into()
    }

    /// A value that is written only once, sometimes a long one.
    fn value(&mut self) -> Bytes {
        self.counter += 1;
        let len = if self.random.one_in(20) { self.random.below(50_000) } else { self.random.below(200) };
        let mut value = format!("{}:{};", self.name, self.counter).into_bytes();
        value.resize(value.len() + usize::try_from(len).expect("a small number"), b'.');
        value.into()
    }

    async fn put(&mut self, client: &mut KvClient<Channel>, attempts: &mut Vec<Attempt>) -> bool {
        let (key, value) = (self.key(), self.value());
        let ops = vec![(key.clone(), Some(value.clone()))];
        let answer = client.put(pb::PutRequest { key, value, ..Default::default() }).await;
        let revision = answer.ok().map(|answer| revision(answer.into_inner().header));
        attempts.push(Attempt { ops, or: None, revision });
        revision.is_some()
    }

    async fn delete(&mut self, client: &mut KvClient<Channel>, attempts: &mut Vec<Attempt>) -> bool {
        let key = self.key();
        let ops = vec![(key.clone(), None)];
        match client.delete_range(pb::DeleteRangeRequest { key, ..Default::default() }).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                if answer.deleted > 0 {
                    attempts.push(Attempt { ops, or: None, revision: Some(revision(answer.header)) });
                }
                true
            }
            Err(_) => {
                attempts.push(Attempt { ops, or: None, revision: None });
                false
            }
        }
    }

    /// Two puts around a deletion, in one revision.
    async fn txn(&mut self, client: &mut KvClient<Channel>, attempts: &mut Vec<Attempt>) -> bool {
        let number = self.random.below(KEYS);
        let keys: Vec<Bytes> =
            (0..3).map(|add| format!("{}/{:02}", self.name, (number + add) % KEYS).into()).collect();
        let values = [self.value(), self.value()];
        let put = |key: &Bytes, value: &Bytes| {
            Op::RequestPut(pb::PutRequest { key: key.clone(), value: value.clone(), ..Default::default() })
        };
        let delete = pb::DeleteRangeRequest { key: keys[1].clone(), ..Default::default() };
        let ops = [put(&keys[0], &values[0]), Op::RequestDeleteRange(delete), put(&keys[2], &values[1])];
        let success = ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
        let with_delete: Ops = vec![
            (keys[0].clone(), Some(values[0].clone())),
            (keys[1].clone(), None),
            (keys[2].clone(), Some(values[1].clone())),
        ];
        let without: Ops = with_delete.iter().filter(|(_, value)| value.is_some()).cloned().collect();
        match client.txn(pb::TxnRequest { success, ..Default::default() }).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let deleted = match answer.responses.get(1).and_then(|op| op.response.as_ref()) {
                    Some(Done::ResponseDeleteRange(delete)) => delete.deleted,
                    _ => 0,
                };
                let ops = if deleted > 0 { with_delete } else { without };
                attempts.push(Attempt { ops, or: None, revision: Some(revision(answer.header)) });
                true
            }
            Err(_) => {
                attempts.push(Attempt { ops: with_delete, or: Some(without), revision: None });
                false
            }
        }
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}
