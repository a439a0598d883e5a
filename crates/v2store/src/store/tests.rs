//! Single requests, each with the answer that clients get.

use std::string::{String, ToString};
use std::{format, vec};

use super::*;

const NOW_NS: i64 = 1_700_000_000_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

fn value(value: &str) -> Written {
    Written { value: value.into(), ..Written::default() }
}

fn lasting(value: &str, seconds: i64) -> Written {
    Written { value: value.into(), expires_ns: NOW_NS + seconds * SECOND_NS, ..Written::default() }
}

fn directory() -> Written {
    Written { is_dir: true, ..Written::default() }
}

/// The body of the answer, or code, cause and index of the refusal.
fn ask(store: &mut Store, path: &str, what: What) -> String {
    let path = format!("{KEYS}{path}");
    match store.apply(&Request { path, what, now_ns: NOW_NS }) {
        Ok(reply) => reply.event.to_json(KEYS),
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &Error) -> String {
    format!("{} {} [{}]", error.code.number(), error.cause, error.index)
}

fn read(store: &mut Store, path: &str, depth: Depth) -> String {
    match store.read(&format!("{KEYS}{path}"), depth, NOW_NS) {
        Ok(reply) => reply.event.to_json(KEYS),
        Err(error) => refusal(&error),
    }
}

fn delete(is_dir: bool, is_recursive: bool) -> What {
    What::Delete { is_dir, is_recursive }
}

#[test]
fn a_write_replaces_a_value_and_makes_the_directories_on_the_way() {
    let mut store = Store::default();
    assert_eq!(
        ask(&mut store, "/a/b", What::Set(value("x"))),
        r#"{"action":"set","node":{"key":"/a/b","value":"x","modifiedIndex":4,"createdIndex":4}}"#
    );
    assert_eq!(
        ask(&mut store, "/a/b", What::Set(value("y"))),
        concat!(
            r#"{"action":"set","node":{"key":"/a/b","value":"y","modifiedIndex":5,"createdIndex":5},"#,
            r#""prevNode":{"key":"/a/b","value":"x","modifiedIndex":4,"createdIndex":4}}"#
        )
    );
    assert_eq!(ask(&mut store, "/a", What::Set(value("x"))), "102 /1/a [5]");
    assert_eq!(ask(&mut store, "/a/b/c", What::Set(value("x"))), "104 /1/a/b [5]");
    assert_eq!(ask(&mut store, "/", What::Set(value("x"))), "107 / [5]");
    assert_eq!(
        read(&mut store, "/", Depth::One),
        r#"{"action":"get","node":{"dir":true,"nodes":[{"key":"/a","dir":true,"modifiedIndex":4,"createdIndex":4}]}}"#
    );
}

#[test]
fn creation_and_change_ask_whether_something_is_there() {
    let mut store = Store::default();
    assert_eq!(ask(&mut store, "/a", What::Update(value("x"))), "100 /1/a [3]");
    assert!(ask(&mut store, "/a", What::Create(value("x"))).starts_with(r#"{"action":"create""#));
    assert_eq!(ask(&mut store, "/a", What::Create(value("x"))), "105 /1/a [4]");
    assert_eq!(
        ask(&mut store, "/a", What::Update(value("y"))),
        concat!(
            r#"{"action":"update","node":{"key":"/a","value":"y","modifiedIndex":5,"createdIndex":4},"#,
            r#""prevNode":{"key":"/a","value":"x","modifiedIndex":4,"createdIndex":4}}"#
        )
    );
    ask(&mut store, "/d", What::Set(directory()));
    assert_eq!(ask(&mut store, "/d", What::Update(value("y"))), "102 /1/d [6]");
    assert_eq!(ask(&mut store, "/x/y", What::Update(value("y"))), "100 /1/x [6]");
}

#[test]
fn a_comparison_tells_what_did_not_hold() {
    let mut store = Store::default();
    ask(&mut store, "/a", What::Set(value("four")));
    let compared = |value: &str, index| Compared { value: value.into(), index };
    let mut swap = |compared| ask(&mut store, "/a", What::CompareAndSwap(compared, value("five")));
    assert_eq!(swap(compared("zz", 1)), "101 [zz != four] [1 != 4] [4]");
    assert_eq!(swap(compared("zz", 4)), "101 [zz != four] [4]");
    assert_eq!(swap(compared("four", 1)), "101 [1 != 4] [4]");
    assert!(swap(compared("four", 4)).starts_with(
        r#"{"action":"compareAndSwap","node":{"key":"/a","value":"five","modifiedIndex":5,"createdIndex":4}"#
    ));
    assert_eq!(ask(&mut store, "/b", What::CompareAndDelete(compared("x", 0))), "100 /1/b [5]");
    assert_eq!(ask(&mut store, "/", What::CompareAndDelete(compared("x", 0))), "102 /1 [5]");
    assert_eq!(
        ask(&mut store, "/a", What::CompareAndDelete(compared("five", 0))),
        concat!(
            r#"{"action":"compareAndDelete","node":{"key":"/a","modifiedIndex":6,"createdIndex":4},"#,
            r#""prevNode":{"key":"/a","value":"five","modifiedIndex":5,"createdIndex":4}}"#
        )
    );
}

#[test]
fn keys_in_order_are_named_by_their_index() {
    let mut store = Store::default();
    assert_eq!(
        ask(&mut store, "/queue", What::CreateInOrder(value("x"))),
        concat!(
            r#"{"action":"create","node":{"key":"/queue/00000000000000000004","value":"x","#,
            r#""modifiedIndex":4,"createdIndex":4}}"#
        )
    );
    ask(&mut store, "/queue", What::CreateInOrder(value("y")));
    assert!(read(&mut store, "/queue", Depth::One).contains("00000000000000000005"));
}

#[test]
fn directories_are_deleted_when_they_are_empty_or_with_all_that_is_below() {
    let mut store = Store::default();
    ask(&mut store, "/d/e/f", What::Set(value("x")));
    ask(&mut store, "/d-e", What::Set(value("x")));
    assert_eq!(ask(&mut store, "/d", delete(false, false)), "102 /1/d [5]");
    assert_eq!(ask(&mut store, "/d", delete(true, false)), "108 /1/d [5]");
    assert_eq!(
        ask(&mut store, "/d", delete(false, true)),
        concat!(
            r#"{"action":"delete","node":{"key":"/d","dir":true,"modifiedIndex":6,"createdIndex":4},"#,
            r#""prevNode":{"key":"/d","dir":true,"modifiedIndex":4,"createdIndex":4}}"#
        )
    );
    assert_eq!(read(&mut store, "/d/e/f", Depth::One), "100 /1/d [6]");
    assert!(read(&mut store, "/d-e", Depth::One).contains("\"x\""));
    assert_eq!(ask(&mut store, "/", delete(true, true)), "107 / [6]");
}

#[test]
fn listings_leave_hidden_nodes_out_at_every_level() {
    let mut store = Store::default();
    for path in ["/a/_b", "/a/c", "/a-", "/_h/x", "/a/d/_e", "/a/d/f"] {
        ask(&mut store, path, What::Set(value("x")));
    }
    let listing = read(&mut store, "/", Depth::All);
    for path in ["/a/c", "/a-", "/a/d", "/a/d/f"] {
        assert!(listing.contains(&format!("\"key\":\"{path}\"")), "{path}: {listing}");
    }
    assert!(!listing.contains("/_"), "{listing}");
    assert!(read(&mut store, "/_h", Depth::One).contains("/_h/x"));
}

#[test]
fn nodes_expire_in_the_order_of_their_ends() {
    let mut store = Store::default();
    ask(&mut store, "/late", What::Set(lasting("x", 20)));
    assert!(
        ask(&mut store, "/d/soon", What::Set(lasting("x", 10)))
            .contains(r#""expiration":"2023-11-14T22:13:30Z","ttl":10"#)
    );
    ask(&mut store, "/d", What::Update(lasting("", 15)));
    assert_eq!(store.next_expiry_ns(), Some(NOW_NS + 10 * SECOND_NS));
    assert_eq!(store.expire(NOW_NS + 10 * SECOND_NS - 1), vec![]);
    let events = store.expire(NOW_NS + 15 * SECOND_NS);
    let keys: Vec<&str> = events.iter().map(|event| event.node.key.as_str()).collect();
    assert_eq!(keys, ["/1/d/soon", "/1/d"]);
    assert!(events.iter().all(|event| event.action == Action::Expire));
    // A deadline that was taken back, or given to a node that is gone, is forgotten.
    ask(&mut store, "/late", What::Update(value("x")));
    assert_eq!(store.next_expiry_ns(), None);
    ask(&mut store, "/late", What::Set(lasting("x", 5)));
    ask(&mut store, "/late", delete(false, false));
    assert_eq!((store.next_expiry_ns(), store.expire(i64::MAX)), (None, vec![]));
}

#[test]
fn a_refresh_keeps_the_value_and_is_told_to_nobody() {
    let mut store = Store::default();
    ask(&mut store, "/a", What::Set(lasting("x", 5)));
    let refresh = Written { is_refresh: true, ..lasting("", 9) };
    let watched = Watched { path: "/1/a".into(), is_recursive: false };
    assert!(ask(&mut store, "/a", What::Update(refresh.clone())).contains(r#""value":"x""#));
    assert_eq!(store.begin_watch(&watched, 5).unwrap().event, None);
    assert_eq!(ask(&mut store, "/none", What::Set(refresh)), "100 /1/none [5]");
}

#[test]
fn a_watch_finds_what_happened_since_or_learns_that_it_is_gone() {
    let mut store = Store::default();
    let watched = Watched { path: "/1/a".into(), is_recursive: true };
    assert_eq!(store.begin_watch(&watched, 1).unwrap(), Begun { event: None, index: 3 });
    ask(&mut store, "/a/b", What::Set(value("x")));
    ask(&mut store, "/other", What::Set(value("x")));
    ask(&mut store, "/a", delete(true, true));
    let found =
        |store: &Store, since| store.begin_watch(&watched, since).unwrap().event.map(|event| event.index());
    assert_eq!(
        (found(&store, 1), found(&store, 5), found(&store, 7), found(&store, 0)),
        (Some(4), Some(6), None, None)
    );
    for number in 0..crate::EVENTS_MAX {
        ask(&mut store, "/n", What::Set(value(&number.to_string())));
    }
    let error = store.begin_watch(&watched, 6).unwrap_err();
    assert_eq!(
        refusal(&error),
        format!("401 the requested history has been cleared [7/6] [{}]", store.index())
    );
    assert!(store.begin_watch(&watched, 7).unwrap().event.is_none());
}

#[test]
fn paths_without_bounds_are_refused() {
    let mut store = Store::default();
    let deep = "/a".repeat(crate::PATH_NAMES_MAX);
    assert!(ask(&mut store, &deep, What::Set(value("x"))).starts_with("209"));
    let long = format!("/{}", "a".repeat(crate::PATH_BYTES_MAX));
    assert!(ask(&mut store, &long, What::Set(value("x"))).starts_with("209"));
    let deepest = "/a".repeat(crate::PATH_NAMES_MAX - 1);
    assert!(ask(&mut store, &deepest, What::Set(value("x"))).starts_with("{\"action\":\"set\""));
    assert!(read(&mut store, "/", Depth::All).ends_with("}]}}"));
}
