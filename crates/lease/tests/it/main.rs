//! The leases and the clock against the reference, under random commands, leaders and times.

use etched_backend::{Backend, Batch, Durability, MemoryBackend};
use etched_lease::{LeaseClock, Leases, Renewal};
use etched_model::lease::{LeaseModel, ModelRenewal};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;
const RETRY: u64 = 3 * SECOND;

#[derive(Clone, Debug)]
enum Step {
    Grant { id: i64, ttl: i64 },
    Revoke { id: i64 },
    Attach { id: i64, key: u8 },
    Detach { id: i64, key: u8 },
    Renew { id: i64 },
    Promote { extend: u64 },
    Demote,
    Wait { ns: u64 },
    Expire { max: usize },
    Checkpoint,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || -2i64..6;
    prop_oneof![
        4 => (id(), prop_oneof![1i64..20, 300i64..2_000]).prop_map(|(id, ttl)| Step::Grant { id, ttl }),
        1 => id().prop_map(|id| Step::Revoke { id }),
        3 => (id(), 0u8..4).prop_map(|(id, key)| Step::Attach { id, key }),
        1 => (id(), 0u8..4).prop_map(|(id, key)| Step::Detach { id, key }),
        5 => id().prop_map(|id| Step::Renew { id }),
        1 => (0..3 * SECOND).prop_map(|extend| Step::Promote { extend }),
        1 => Just(Step::Demote),
        6 => prop_oneof![0..SECOND, 0..20 * SECOND, 0..400 * SECOND].prop_map(|ns| Step::Wait { ns }),
        4 => (0usize..4).prop_map(|max| Step::Expire { max }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

/// Both sides, and what is needed to judge the clock.
struct Run {
    now: u64,
    leases: Leases,
    clock: LeaseClock,
    model: LeaseModel,
    backend: MemoryBackend,
    batch: Batch,
    named_at: BTreeMap<i64, u64>,
}

impl Run {
    fn new() -> Self {
        Self {
            now: 0,
            leases: Leases::new(),
            clock: LeaseClock::default(),
            model: LeaseModel::new(),
            backend: MemoryBackend::new(),
            batch: Batch::new(),
            named_at: BTreeMap::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Grant { id, ttl } => {
                let granted = self.leases.grant(id, ttl, &mut self.batch).is_ok();
                assert_eq!(granted, self.model.grant(id, ttl, self.now));
                if granted {
                    self.clock.on_granted(id, ttl, self.now);
                }
            }
            Step::Revoke { id } => self.revoke(id),
            Step::Attach { id, key } => {
                let key = vec![key];
                assert_eq!(self.leases.attach(id, key.clone().into()), self.model.attach(id, &key));
            }
            Step::Detach { id, key } => {
                self.leases.detach(id, &[key]);
                self.model.detach(id, &[key]);
            }
            Step::Renew { id } => self.renew(id),
            Step::Promote { extend } => {
                self.clock.promote(self.now, extend, &self.leases);
                self.model.promote(self.now, extend);
                self.named_at.clear();
            }
            Step::Demote => self.demote(),
            Step::Wait { ns } => self.now += ns,
            Step::Expire { max } => self.expire(max),
            Step::Checkpoint => self.checkpoint(),
            Step::Restart => self.restart(),
        }
        self.compare();
    }

    fn revoke(&mut self, id: i64) {
        let keys = self.leases.revoke(id, &mut self.batch).ok();
        self.clock.on_revoked(id);
        self.named_at.remove(&id);
        assert_eq!(keys.map(|keys| keys.iter().map(|key| key.to_vec()).collect()), self.model.revoke(id));
    }

    fn renew(&mut self, id: i64) {
        let renewal = match self.clock.renew(id, &self.leases, self.now) {
            Renewal::Renewed { ttl, clear_checkpoint } => {
                ModelRenewal::Renewed { ttl, had_checkpoint: clear_checkpoint }
            }
            Renewal::Expired => ModelRenewal::Expired,
            Renewal::NotFound => ModelRenewal::NotFound,
            Renewal::NotPrimary => ModelRenewal::NotPrimary,
        };
        assert_eq!(renewal, self.model.renew(id, self.now));
        if let ModelRenewal::Renewed { had_checkpoint: true, .. } = renewal {
            self.leases.checkpoint(id, 0, &mut self.batch);
            self.model.checkpoint(id, 0);
        }
    }

    fn demote(&mut self) {
        self.clock.demote();
        self.model.demote();
        self.named_at.clear();
    }

    /// Exactly those are named which have run out and were not named within the retry time.
    fn expire(&mut self, max: usize) {
        let named = self.clock.poll_expired(self.now, max);
        let mut due = self.model.expired(self.now);
        due.retain(|id| self.named_at.get(id).is_none_or(|named_at| named_at + RETRY <= self.now));
        assert_eq!(named.len(), due.len().min(max));
        if named.len() < due.len() {
            assert!(self.clock.next_deadline().is_some_and(|deadline| deadline <= self.now));
        }
        for id in named {
            assert!(due.contains(&id), "{id} was named and is not due");
            self.named_at.insert(id, self.now);
        }
    }

    /// A checkpoint says what remains, and is made for leases that had more than five minutes left.
    fn checkpoint(&mut self) {
        for (id, seconds) in self.clock.poll_checkpoints(self.now) {
            let left = self.model.remaining(id, self.now).expect("the lease exists and a clock runs");
            assert!(left > 0);
            assert_eq!(i128::from(seconds), (left + i128::from(SECOND) - 1) / i128::from(SECOND));
            let seconds = seconds.min(self.model.leases()[&id].ttl);
            self.leases.checkpoint(id, seconds, &mut self.batch);
            self.model.checkpoint(id, seconds);
        }
    }

    /// The process starts again from what is stored; the keys tell their leases.
    fn restart(&mut self) {
        self.backend
            .commit(&std::mem::take(&mut self.batch), Durability::Synced)
            .expect("memory does not fail");
        let mut restored = Leases::restore(&self.backend.view().expect("memory does not fail"))
            .expect("all records are leases");
        for (id, lease) in self.model.leases() {
            for key in &lease.keys {
                assert!(restored.attach(*id, key.clone().into()));
            }
        }
        assert_eq!(restored, self.leases);
        self.leases = restored;
        self.clock = LeaseClock::default();
        self.demote();
    }

    fn compare(&self) {
        assert_eq!(self.leases.len(), self.model.leases().len());
        for ((id, lease), (model_id, model)) in self.leases.iter().zip(self.model.leases()) {
            assert_eq!((id, lease.ttl(), lease.remaining()), (*model_id, model.ttl, model.remaining));
            assert!(lease.keys().map(|key| key.as_ref()).eq(model.keys.iter().map(Vec::as_slice)));
            let remaining = self.clock.remaining_ns(id, self.now).map(i128::from);
            assert_eq!(remaining, self.model.remaining(id, self.now));
        }
        let remaining: Vec<_> =
            self.clock.by_remaining().iter().map(|id| self.model.remaining(*id, self.now)).collect();
        assert!(remaining.is_sorted());
        let first = self.model.leases().values().filter_map(|lease| lease.expires_at).min();
        let unnamed = self.named_at.is_empty();
        if let (Some(first), true) = (first, unnamed) {
            assert!(self.clock.next_deadline().is_some_and(|deadline| i128::from(deadline) <= first));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn leases_and_clock_do_what_the_reference_does(steps in prop::collection::vec(step(), 1..120)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
        }
    }
}
