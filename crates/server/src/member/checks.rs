//! Compares the data of the members: before one serves, and now and then on the leader.
//!
//! What follows from the hashes is decided by [`etched_replica::corruption`]; here they are asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etched_replica::corruption::{self, CompactionCheck, Hashed, PeerHashes};
use etched_state_machine::{AlarmRequest, Command};

use crate::api::{Answer, Api, Credentials, Request};
use crate::flags::CheckOptions;
use crate::front::Link;
use crate::log;
use crate::member::handle::MemberHandle;

/// How long another member may take for a hash.
const HASH_TIME_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether a check is due.
const LOOK: Duration = Duration::from_secs(1);

/// `ACTIVATE` and `CORRUPT`, as the wire has them.
const ACTIVATE: i32 = 1;
const CORRUPT: i32 = 2;

/// Other members hold other data than this one at the same revision.
#[derive(Debug, thiserror::Error)]
#[error("{own:x} found data inconsistency with peers")]
pub struct Inconsistent {
    own: u64,
}

/// Asks for hashes, and raises alarms.
pub(crate) struct Checks {
    pub(crate) handle: Arc<MemberHandle>,
    pub(crate) link: Arc<Link>,
    pub(crate) options: CheckOptions,
}

impl Checks {
    /// Before the member serves clients: it must not hold other data than those that answer.
    pub(crate) async fn initially(&self) -> Result<(), Inconsistent> {
        let own_id = self.handle.identity().member_id;
        log!(Info, "starting initial corruption check", "local-member-id" => format!("{own_id:x}"));
        let Some(own) = self.own(0).await else { return Ok(()) };
        let peers = self.peers(own.hash.hash_revision).await;
        let wrong = corruption::check_initially(own, &peers);
        for id in &wrong {
            log!(
                Warn, "found different hash values from remote peer",
                "local-member-id" => format!("{own_id:x}"), "remote-peer-id" => format!("{id:x}"),
                "local-member-revision" => own.hash.hash_revision, "local-member-hash" => u64::from(own.hash.hash)
            );
        }
        if wrong.is_empty() {
            log!(Info, "initial corruption checking passed; no corruption", "local-member-id" => format!("{own_id:x}"));
            Ok(())
        } else {
            Err(Inconsistent { own: own_id })
        }
    }

    /// The checks of the leader, for ever.
    pub(crate) async fn run(self) {
        let mut looks = tokio::time::interval(LOOK);
        let (mut last, mut last_of_compaction) = (Instant::now(), Instant::now());
        let mut verified = 0;
        loop {
            looks.tick().await;
            let is_due = |last: Instant, interval: Option<Duration>| {
                interval.is_some_and(|interval| last.elapsed() >= interval)
            };
            if is_due(last, self.options.interval) {
                last = Instant::now();
                if self.handle.report().is_leader {
                    self.periodically().await;
                }
            }
            if is_due(last_of_compaction, self.options.compaction_interval) {
                last_of_compaction = Instant::now();
                if self.handle.report().is_leader {
                    self.of_compaction(&mut verified).await;
                }
            }
        }
    }

    async fn periodically(&self) {
        let Some(first) = self.own(0).await else { return };
        let peers = self.peers(first.hash.hash_revision).await;
        if self.link.ask(Credentials::Member, Request::Barrier).await.is_err() {
            return;
        }
        let Some(second) = self.own(0).await else { return };
        let own_id = self.handle.identity().member_id;
        if let Some(id) = corruption::check_periodically(own_id, first, &peers, second) {
            self.raise(id).await;
        }
    }

    /// Compares the hashes of the newest compactions, which each member has from its own run of them, until one is
    /// found that all know.
    async fn of_compaction(&self, verified: &mut i64) {
        let own_id = self.handle.identity().member_id;
        let report = self.handle.report();
        let mut checked: i64 = 0;
        for own in corruption::compactions_to_check(&report.compaction_hashes, *verified) {
            checked += 1;
            let peers = self.peers(own.hash_revision).await;
            match corruption::check_compaction(own_id, own, &peers) {
                CompactionCheck::Verified => {
                    *verified = own.hash_revision;
                    break;
                }
                CompactionCheck::Incomplete => {}
                CompactionCheck::Corrupt(members) => {
                    for id in members {
                        self.raise(id).await;
                    }
                    break;
                }
            }
        }
        log!(Info, "finished compaction hash check", "number-of-hashes-checked" => checked);
    }

    async fn raise(&self, member_id: u64) {
        log!(Error, "detected corrupted member", "member-id" => format!("{member_id:x}"));
        let alarm = AlarmRequest { action: ACTIVATE, member_id, alarm: CORRUPT };
        if let Err(error) = self.link.ask(Credentials::Member, Request::Propose(Command::Alarm(alarm))).await
        {
            log!(Error, "the alarm cannot be raised", "error" => error.to_string());
        }
    }

    async fn own(&self, revision: i64) -> Option<Hashed> {
        let answered = self.link.ask(Credentials::Member, Request::HashKv { revision }).await.ok()?;
        let Answer::HashKv(hash) = answered.answer else { return None };
        Some(Hashed { hash, revision: answered.revision })
    }

    async fn peers(&self, revision: i64) -> PeerHashes {
        let own_id = self.handle.identity().member_id;
        let mut hashes = PeerHashes::new();
        for member in self.handle.shown.members().iter().filter(|member| member.id != own_id) {
            let asking = self.handle.client.hash_kv(&member.peer_urls, revision);
            let answered = tokio::time::timeout(HASH_TIME_MAX, asking).await;
            let hashed = match answered {
                Ok(Ok(answer)) => Some(Hashed { hash: answer.hash, revision: answer.revision }),
                Ok(Err(error)) => {
                    log!(
                        Warn, "failed to get hash kv from peer",
                        "remote-peer-id" => format!("{:x}", member.id), "error" => error.to_string()
                    );
                    None
                }
                Err(_) => None,
            };
            hashes.insert(member.id, hashed);
        }
        hashes
    }
}
