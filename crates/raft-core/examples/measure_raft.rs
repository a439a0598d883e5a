//! Prints what an entry costs, from proposal to application, without a disk or a network.
//!
//! `cargo run --release -p etched-raft-core --example measure_raft`

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints times")]

use std::collections::VecDeque;
use std::error::Error;
use std::time::Instant;

use bytes::Bytes;
use etched_raft_core::{ConfState, Config, Effect, Message, RaftCore, Restored, SnapshotMeta};

const ENTRIES: usize = 500_000;
const PAYLOAD_BYTES: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    for members in [1, 3] {
        for batch in [1, 10, 100, 1000] {
            let mut cluster = Cluster::new(members)?;
            let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
            let rounds = if batch == 1 { ENTRIES / 5 } else { ENTRIES / batch };
            let start = Instant::now();
            for _ in 0..rounds {
                cluster.members[0].propose(vec![payload.clone(); batch])?;
                cluster.run();
                let applied = cluster.members[0].status().applied;
                cluster.members.iter_mut().for_each(|member| member.compact(applied.saturating_sub(10_000)));
            }
            let micros = start.elapsed().as_secs_f64() * 1e6 / (rounds * batch) as f64;
            let messages = cluster.messages as f64 / (rounds * batch) as f64;
            println!(
                "{members} members, {PAYLOAD_BYTES} B, batches of {batch}: {micros:.2} us and {messages:.2} messages an entry"
            );
        }
    }
    Ok(())
}

struct Cluster {
    members: Vec<RaftCore>,
    wire: VecDeque<Message>,
    messages: usize,
}

impl Cluster {
    fn new(members: u64) -> Result<Self, Box<dyn Error>> {
        let build = |id| {
            let snapshot =
                SnapshotMeta { conf_state: ConfState::of_voters(1..=members), ..SnapshotMeta::default() };
            RaftCore::new(Config::new(id), Restored { snapshot, ..Restored::default() })
        };
        let members = (1..=members).map(build).collect::<Result<Vec<_>, _>>()?;
        let mut cluster = Self { members, wire: VecDeque::new(), messages: 0 };
        cluster.members[0].campaign();
        cluster.run();
        cluster.messages = 0;
        Ok(cluster)
    }

    /// Does everything until nothing is left, with messages through their bytes.
    fn run(&mut self) {
        loop {
            for member in &mut self.members {
                while let Some(effect) = member.poll() {
                    match effect {
                        Effect::Persist { ticket, .. } => member.on_persisted(ticket),
                        Effect::Apply(entries) => {
                            member.on_applied(entries.last().map_or(0, |entry| entry.index))
                        }
                        Effect::Send(messages) => self.wire.extend(messages),
                        Effect::ReadReady { .. }
                        | Effect::ReadLost(_)
                        | Effect::Role { .. }
                        | Effect::Snapshot(_) => {}
                    }
                }
            }
            if self.wire.is_empty() {
                return;
            }
            for message in self.wire.drain(..) {
                self.messages += 1;
                let message = Message::decode(&message.encode()).expect("an encoded message is sound");
                let to = usize::try_from(message.to() - 1).expect("ids are small");
                self.members[to].step(message).expect("a sound member's message is taken");
            }
        }
    }
}
