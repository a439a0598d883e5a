//! Users and roles: done by their own crate; here are the answer and what members have to know.

use etched_auth::{Auth, Operation};
use etched_backend::Batch;

use crate::applied::Outcome;
use crate::machine::{Progress, State};
use crate::refusal::Refusal;

pub(crate) fn apply(
    operation: &Operation,
    index: u64,
    state: &mut State,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, Refusal> {
    let was_enabled = state.auth.is_enabled();
    let done = state.auth.apply(operation, index, batch)?;
    let is_enabled = state.auth.is_enabled();
    progress.effects.auth_switched = (is_enabled != was_enabled).then_some(is_enabled);
    progress.effects.token_change = Auth::token_change(operation, &done);
    Ok(Outcome::Auth { revision: state.store.revision(), done })
}
