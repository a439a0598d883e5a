//! Watches: what each is told against what happened, as it is told.

use std::collections::{BTreeMap, VecDeque};

use etched_model::watch::{ModelEvent, ModelResponse, ModelWish, WatchCheck, WatchModel};
use etched_proto::mvccpb;
use etched_proto::mvccpb::event::EventType;
use etched_watch::Response;
use prost::Message as _;

use super::Violation;
use super::store::Store;

/// A watch stream of one client, with what was asked on it.
#[derive(Debug, Default)]
pub(crate) struct StreamCheck {
    /// Watches that were asked for and not yet created, oldest first.
    asked: VecDeque<ModelWish>,
    watches: BTreeMap<i64, WatchCheck>,
    /// How far each watch has come: its last event or promise.
    pub(crate) reached: i64,
    pub(crate) events: u64,
}

/// What a response said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Created(i64),
    Events,
    Progress,
    Canceled,
    Compacted,
}

impl StreamCheck {
    pub(crate) fn ask(&mut self, wish: ModelWish) {
        self.asked.push_back(wish);
    }

    pub(crate) fn watch_ids(&self) -> impl Iterator<Item = i64> {
        self.watches.keys().copied()
    }

    /// A response on the stream.
    pub(crate) fn on_response(
        &mut self,
        events: &WatchModel,
        store: &Store,
        response: &Response,
    ) -> Result<Told, Violation> {
        let broken = |story: String| Violation::new("watches", story);
        if response.created {
            let Some(wish) = self.asked.pop_front() else {
                return Err(broken(format!("nobody asked for {response:?}")));
            };
            if response.canceled {
                return Ok(Told::Canceled);
            }
            self.watches.insert(response.watch_id, WatchCheck::new(events, wish, response.revision));
            return Ok(Told::Created(response.watch_id));
        }
        if response.canceled {
            let check = self.watches.remove(&response.watch_id);
            if response.compact_revision > 0 {
                let Some(mut check) = check else {
                    return Err(broken(format!("there is no watch for {response:?}")));
                };
                check.on_compacted(events, response.compact_revision).map_err(broken)?;
                return Ok(Told::Compacted);
            }
            return Ok(Told::Canceled);
        }
        if response.events.is_empty() {
            for (id, check) in &mut self.watches {
                if response.watch_id == -1 || response.watch_id == *id {
                    check.on_progress(events, response.revision).map_err(broken)?;
                }
            }
            return Ok(Told::Progress);
        }
        let Some(check) = self.watches.get_mut(&response.watch_id) else {
            return Err(broken(format!("there is no watch for {response:?}")));
        };
        let mut told = Vec::new();
        for bytes in response.events.iter() {
            let event = mvccpb::Event::decode(bytes.clone()).map_err(|error| broken(error.to_string()))?;
            told.push(model_event(store, &event).map_err(broken)?);
        }
        self.events += told.len() as u64;
        let response =
            ModelResponse { revision: response.revision, fragment: response.fragment, events: told };
        check.on_events(events, &response).map_err(broken)?;
        self.reached = self.reached.max(response.events.last().map_or(0, |event| event.revision));
        Ok(Told::Events)
    }

    /// Whether every watch has been told everything.
    pub(crate) fn at_head(&self, events: &WatchModel) -> Result<(), String> {
        if let Some(wish) = self.asked.front() {
            return Err(format!("{wish:?} is not created"));
        }
        for (id, check) in &self.watches {
            check.at_head(events).map_err(|story| format!("watch {id}, {:?}: {story}", check.wish()))?;
        }
        Ok(())
    }
}

/// The event as the reference knows it; what the reference's form leaves out is compared here.
fn model_event(store: &Store, event: &mvccpb::Event) -> Result<ModelEvent, String> {
    let kv = event.kv.as_ref().ok_or("an event has a key-value")?;
    let is_put = event.r#type() == EventType::Put;
    if is_put {
        let known = store.get(&kv.key, kv.mod_revision);
        let fits = known.is_some_and(|known| {
            (known.create_revision, known.version, known.lease, known.mod_revision)
                == (kv.create_revision, kv.version, kv.lease, kv.mod_revision)
        });
        if !fits {
            return Err(format!("{kv:?} is not {known:?}"));
        }
    }
    Ok(ModelEvent {
        revision: kv.mod_revision,
        key: kv.key.to_vec(),
        value: is_put.then(|| kv.value.to_vec()),
        created: is_put && kv.version == 1,
        previous: event.prev_kv.as_ref().map(|previous| previous.value.to_vec()),
    })
}
