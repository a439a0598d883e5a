//! The end of a run: is the cluster served, settled and equal.

use etched_key_range::KeyRange;
use etched_replica::Request;
use etched_state_machine::{Range, RangeQuery};

use super::{Site, World, told};
use crate::oracle::Violation;

impl World {
    /// Sites that are members and not removed.
    fn living(&self) -> impl Iterator<Item = &Site> {
        self.sites.values().filter(|site| !site.is_removed)
    }

    /// Whether all members run and know the same leader.
    pub(super) fn is_served(&self) -> bool {
        let mut leaders = self.living().map(|site| site.node.as_ref().map_or(0, |node| node.member.leader()));
        let Some(first) = leaders.next() else { return false };
        first != 0 && leaders.all(|leader| leader == first)
    }

    /// Whether all members have applied all that is committed.
    pub(super) fn is_settled(&self) -> bool {
        let committed = self.oracle.log.last();
        self.living()
            .all(|site| site.node.as_ref().is_some_and(|node| node.member.report().raft_applied == committed))
    }

    /// Whether all requests are answered that have to be: who changes the membership waits as long as he likes, as in
    /// etcd, and a change that was lost is never answered.
    pub(super) fn is_answered(&self) -> bool {
        let may_wait = |request: &Request| {
            matches!(
                request,
                Request::MemberAdd { .. } | Request::MemberRemove { .. } | Request::MemberPromote { .. }
            )
        };
        self.pending.values().all(|pending| may_wait(&pending.asked.request))
    }

    /// Reads everything on each member, and asks each for its hash.
    pub(super) fn compare_members(&mut self, step_max: Option<u64>) -> Result<(), Violation> {
        let ids: Vec<u64> = self.living().map(|site| site.id).collect();
        for id in ids {
            let query = RangeQuery::new(KeyRange::all());
            let range = Range { query: query.clone(), serializable: true, unknown_sort: None };
            self.submit(None, id, Request::Range(range))?;
            let range = Range { query, serializable: false, unknown_sort: None };
            self.submit(None, id, Request::Range(range))?;
            self.submit(None, id, Request::HashKv { revision: 0 })?;
        }
        self.await_that(20, "the last requests are answered", step_max, |world| {
            told(world.is_answered(), "no")
        })?;
        self.counts.add_many("hashes of two members compared", self.oracle.hashes_compared);
        Ok(())
    }
}
