//! Changes that would leave the cluster without a quorum of members that ever started.
//!
//! Asked before a change is proposed, unless the operator switched it off. It is no part of the apply-time validation:
//! who is connected, which the caller checks besides, differs from member to member.

use super::{Member, MemberChange, Members};
use crate::refusal::Refusal;

impl Member {
    /// Whether it has ever started: it published its name then.
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }
}

impl Members {
    /// Who votes.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.iter().filter(|member| !member.is_learner)
    }

    /// Refuses a change after which too few of the voters have ever started.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotEnoughStarted`].
    pub fn check_started(&self, change: &MemberChange) -> Result<(), Refusal> {
        let voters = self.voters().count();
        let started = self.voters().filter(|member| member.is_started()).count();
        let is_enough = match change {
            MemberChange::Add(member) if member.is_learner => true,
            // Going from one to two members is how clusters grow; the second one cannot have started yet.
            MemberChange::Add(_) => (started == 1 && voters == 1) || started >= majority(voters + 1),
            MemberChange::Promote(_) => started + 1 >= majority(voters + 1),
            MemberChange::Remove(id) => match self.get(*id) {
                Some(member) if !member.is_learner => {
                    started - usize::from(member.is_started()) >= majority(voters - 1)
                }
                Some(_) | None => true,
            },
            MemberChange::Update { .. } => true,
        };
        if is_enough { Ok(()) } else { Err(Refusal::NotEnoughStarted) }
    }
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}
