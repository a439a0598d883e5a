//! Events as the test encodes them: text, so that a failure can be read.

use bytes::Bytes;
use etched_model::watch::ModelEvent;
use etched_watch::{Event, EventKind, Interest};

/// The event, in the forms that are of interest, if the value before is still to be had.
pub(crate) fn event(of: &ModelEvent, interest: Interest, compacted: i64) -> Event {
    let kind = if of.value.is_some() { EventKind::Put { created: of.created } } else { EventKind::Delete };
    let has_previous = interest == Interest::WithPrevious && of.previous.is_some() && of.revision > compacted;
    Event {
        revision: of.revision,
        key: of.key.clone().into(),
        kind,
        bytes: encode(of, false),
        with_prev: has_previous.then(|| encode(of, true)),
    }
}

fn encode(event: &ModelEvent, with_previous: bool) -> Bytes {
    let text = |value: &Option<Vec<u8>>| {
        value.as_ref().map_or("-".into(), |value| String::from_utf8_lossy(value).into_owned())
    };
    let previous = if with_previous { text(&event.previous) } else { "-".into() };
    let key = String::from_utf8_lossy(&event.key);
    format!("{}|{key}|{}|{}|{previous}", event.revision, text(&event.value), u8::from(event.created)).into()
}

pub(crate) fn decode(bytes: &Bytes) -> ModelEvent {
    let text = std::str::from_utf8(bytes).expect("events are text");
    let fields: Vec<&str> = text.split('|').collect();
    let [revision, key, value, created, previous] = fields[..] else { panic!("an event has five fields") };
    let value_of = |field: &str| (field != "-").then(|| field.as_bytes().to_vec());
    ModelEvent {
        revision: revision.parse().expect("a revision is a number"),
        key: key.as_bytes().to_vec(),
        value: value_of(value),
        created: created == "1",
        previous: value_of(previous),
    }
}
