//! Random requests to the store and to a naive model of it: the same answers, and the same store again from its
//! records.
#![expect(clippy::unwrap_used, reason = "tests stop at what they did not expect")]

mod model;

use std::collections::BTreeMap;

use etched_v2store::{Compared, Depth, EVENTS_MAX, Error, Request, Store, Watched, What, Written};
use model::Model;
use proptest::prelude::*;

/// Few names, so that requests meet each other.
fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "_c", "a-"]);
    prop::collection::vec(name, 0..4).prop_map(|names| format!("/1/{}", names.join("/")))
}

fn written() -> impl Strategy<Value = Written> {
    let value = prop::sample::select(vec!["", "x", "y"]);
    let expires = prop::option::weighted(0.3, 1_i64..20);
    (value, prop::bool::weighted(0.2), expires, prop::bool::weighted(0.1)).prop_map(
        |(value, is_dir, expires, is_refresh)| Written {
            value: value.to_owned(),
            is_dir,
            expires_ns: expires.map_or(0, at),
            is_refresh,
        },
    )
}

/// A second of the test's time.
fn at(second: i64) -> i64 {
    (1_000_000_000 + second) * 1_000_000_000
}

fn what() -> impl Strategy<Value = What> {
    let compared = || {
        let value = prop::sample::select(vec!["", "x", "y"]);
        (value, 0_u64..12).prop_map(|(value, index)| Compared { value: value.to_owned(), index })
    };
    prop_oneof![
        4 => written().prop_map(What::Set),
        2 => written().prop_map(What::Create),
        1 => written().prop_map(What::CreateInOrder),
        2 => written().prop_map(What::Update),
        2 => (compared(), written()).prop_map(|(compared, written)| What::CompareAndSwap(compared, written)),
        2 => (any::<bool>(), any::<bool>())
            .prop_map(|(is_dir, is_recursive)| What::Delete { is_dir, is_recursive }),
        1 => compared().prop_map(What::CompareAndDelete),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Change(Request),
    Expire(i64),
    Read(String, Depth),
    Watch(Watched, u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let second = || (0_i64..20).prop_map(at);
    prop_oneof![
        12 => (path(), what(), second()).prop_map(|(path, what, now_ns)| Step::Change(Request { path, what, now_ns })),
        1 => second().prop_map(Step::Expire),
        3 => (path(), any::<bool>())
            .prop_map(|(path, all)| Step::Read(path, if all { Depth::All } else { Depth::One })),
        2 => (path(), any::<bool>(), 0_u64..40)
            .prop_map(|(path, is_recursive, since)| Step::Watch(Watched { path: etched_v2store::clean(&path), is_recursive }, since)),
        1 => Just(Step::Restart),
    ]
}

/// A store and its records, as a member keeps them.
#[derive(Default)]
struct Kept {
    store: Store,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Kept {
    fn keep(&mut self) {
        for record in self.store.take_records() {
            match record.value {
                Some(value) => self.records.insert(record.key.to_vec(), value.to_vec()),
                None => self.records.remove(&record.key[..]),
            };
        }
    }

    fn restored(&self) -> Store {
        Store::restore(self.records.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap()
    }
}

fn refusal(error: &Error) -> String {
    format!("{} {} [{}]", error.code.number(), error.cause, error.index)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_store_answers_like_the_model(steps in prop::collection::vec(step(), 1..80)) {
        let mut kept = Kept::default();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Change(request) => {
                    let answer = kept.store.apply(&request).map(|reply| reply.event.to_json("/1"));
                    let expected = model.apply(&request);
                    prop_assert_eq!(answer.map_err(|error| refusal(&error)), expected, "{:?}", request);
                }
                Step::Expire(until_ns) => {
                    let events: Vec<String> =
                        kept.store.expire(until_ns).iter().map(|event| event.to_json("/1")).collect();
                    prop_assert_eq!(events, model.expire(until_ns));
                }
                Step::Read(path, depth) => {
                    let answer = kept.store.read(&path, depth, at(0)).map(|reply| reply.event.to_json("/1"));
                    let expected = model.read(&path, depth == Depth::All, at(0));
                    prop_assert_eq!(answer.map_err(|error| refusal(&error)), expected, "{}", path);
                }
                Step::Watch(watched, since) => {
                    let begun = kept.store.begin_watch(&watched, since).unwrap();
                    let index = begun.event.map(|event| event.index());
                    prop_assert_eq!(index, model.watch(&watched.path, watched.is_recursive, since), "{:?}", watched);
                }
                Step::Restart => {
                    kept.keep();
                    kept.store = kept.restored();
                }
            }
            prop_assert_eq!(kept.store.index(), model.index);
        }
    }

    #[test]
    fn damaged_records_are_refused_and_never_panic(
        steps in prop::collection::vec((path(), what()), 1..20),
        place in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut kept = Kept::default();
        for (path, what) in steps {
            let _ = kept.store.apply(&Request { path, what, now_ns: at(0) });
        }
        kept.keep();
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = kept.records.into_iter().collect();
        if !records.is_empty() {
            let place = place.index(records.len());
            let (key, value) = &mut records[place];
            let byte = byte.index(key.len() + value.len());
            if byte < key.len() { key[byte] ^= flip } else { value[byte - key.len()] ^= flip }
            let _ = Store::restore(records.iter().map(|(key, value)| (&key[..], &value[..])));
        }
    }
}

#[test]
fn a_restored_store_has_its_last_events_and_no_more() {
    let mut kept = Kept::default();
    for number in 0..EVENTS_MAX + 10 {
        let written = Written { value: number.to_string(), ..Written::default() };
        let request = Request { path: "/1/a".into(), what: What::Set(written), now_ns: 0 };
        kept.store.apply(&request).unwrap();
        kept.keep();
    }
    let restored = kept.restored();
    let watched = Watched { path: "/1/a".into(), is_recursive: false };
    for since in [13, 14, 500, restored.index(), 0] {
        assert_eq!(restored.begin_watch(&watched, since), kept.store.begin_watch(&watched, since), "{since}");
    }
    assert_eq!(restored.stats(), kept.store.stats());
    assert_eq!(kept.records.len(), EVENTS_MAX + 2);
}
