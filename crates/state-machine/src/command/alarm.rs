//! Listing, raising and clearing alarms.

use alloc::vec;
use alloc::vec::Vec;

use etched_backend::Batch;

use super::AlarmRequest;
use crate::alarms::{AlarmKind, AlarmMember};
use crate::applied::Outcome;
use crate::machine::{Progress, State};

const LIST: i32 = 0;
pub(super) const RAISE: i32 = 1;
const CLEAR: i32 = 2;

/// Answers with the alarms listed, raised (new or not) or cleared. Unknown actions and kinds are answered with nothing.
pub(crate) fn apply(
    request: &AlarmRequest,
    state: &mut State,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Outcome {
    let kind = AlarmKind::from_wire(request.alarm);
    let alarm = kind.map(|kind| AlarmMember { kind, member_id: request.member_id });
    let alarms = match (request.action, alarm) {
        (LIST, _) if request.alarm == 0 => state.alarms.list(None),
        (LIST, Some(alarm)) => state.alarms.list(Some(alarm.kind)),
        (RAISE, Some(alarm)) => {
            progress.effects.alarms_changed = state.alarms.raise(alarm, batch);
            vec![alarm]
        }
        (CLEAR, Some(alarm)) => {
            let was = state.alarms.clear(alarm, batch);
            progress.effects.alarms_changed = was;
            if was { vec![alarm] } else { Vec::new() }
        }
        (_, _) => Vec::new(),
    };
    Outcome::Alarm { revision: state.store.revision(), alarms }
}
