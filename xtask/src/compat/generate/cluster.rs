//! Requests about members: of one voter and learners that nobody ever starts, so that the cluster always has its quorum.

use etched_proto::etcdserverpb as pb;
use pb::downgrade_request::DowngradeAction;

use super::{Generator, View};
use crate::compat::accepted;
use crate::compat::request::Request;

/// The only member of both servers, which share their identity.
const SELF: u64 = 0x8e9e_05c5_2164_694d;

impl Generator {
    pub(super) fn cluster(&mut self, view: &View) -> Request {
        let id = self.member_id(view);
        match self.random.below(20) {
            0..=5 => Request::MemberAdd(self.member_add()),
            6..=8 => Request::MemberUpdate(accepted::usable(pb::MemberUpdateRequest {
                id,
                peer_ur_ls: self.peer_urls(),
            })),
            9..=12 => Request::MemberRemove(pb::MemberRemoveRequest { id }),
            13 | 14 => Request::MemberPromote(pb::MemberPromoteRequest { id }),
            15 | 16 => Request::MoveLeader(pb::MoveLeaderRequest { target_id: id }),
            _ => Request::Downgrade(pb::DowngradeRequest {
                action: DowngradeAction::Validate.into(),
                version: self.version(),
            }),
        }
    }

    fn member_id(&mut self, view: &View) -> u64 {
        match self.random.below(8) {
            0 => *self.random.pick(&[0, 1, u64::MAX]),
            1 => SELF,
            _ if view.members.is_empty() => SELF,
            2 | 3 => *self.random.pick(&view.members),
            _ => view.members.last().copied().unwrap_or(SELF),
        }
    }

    /// A further voter would take the quorum away, so one is added only with what is refused.
    fn member_add(&mut self) -> pb::MemberAddRequest {
        if self.random.one_in(4) {
            let refused: &[&str] = self.random.pick::<&[&str]>(&[
                &[],
                &["nonsense"],
                &["http://a"],
                &["http://127.0.0.1:1/path"],
            ]);
            let peer_ur_ls = refused.iter().map(|&url| url.to_owned()).collect();
            return pb::MemberAddRequest { peer_ur_ls, is_learner: self.random.one_in(2) };
        }
        pb::MemberAddRequest { peer_ur_ls: self.peer_urls(), is_learner: true }
    }

    /// Mostly an address that no member ever had: the id of a member is drawn from its addresses and the second.
    fn peer_urls(&mut self) -> Vec<String> {
        match self.random.below(10) {
            0 => vec!["http://127.1.0.1:1".to_owned()],
            1 => vec!["ftp://127.1.0.1:1".to_owned()],
            2 => Vec::new(),
            3 => vec![self.address(), self.address()],
            _ => vec![self.address()],
        }
    }

    fn address(&mut self) -> String {
        self.addresses += 1;
        let [_, _, high, low] = self.addresses.to_be_bytes();
        format!("http://127.2.{high}.{low}:1")
    }

    fn version(&mut self) -> String {
        let versions: [&str; 9] = ["3.6.0", "3.6", "3.7.0", "3.5.0", "3.8.0", "2.0.0", "", "x", "3.6.0-rc.1"];
        (*self.random.pick::<&str>(&versions)).to_owned()
    }
}
