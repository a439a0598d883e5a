//! The live feed: who is sent what, in which portions, and who falls out of it.

use super::*;

#[test]
fn each_watcher_is_sent_what_is_in_its_range() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("a", ""));
    desk.create(1, watch("b", "d"));
    desk.create(1, watch("b", "\0"));
    desk.take();
    desk.publish(&[&["a"], &["c", "e"], &["f"]], 0);
    expect(
        &desk.take(),
        "1: events 0 @8: a6
         1: events 1 @8: c7
         1: events 2 @8: c7 e7 f8",
    );
}

#[test]
fn filters_leave_nothing_of_a_response_that_holds_only_what_is_not_wanted() {
    let mut desk = Desk::new(HubOptions::default());
    for (no_put, no_delete) in [(true, false), (false, true), (true, true)] {
        desk.create(1, Create { filters: Filters { no_put, no_delete }, ..watch("a", "") });
    }
    desk.take();
    desk.publish(&[&["a"]], 0);
    expect(&desk.take(), "1: events 1 @6: a6");
    desk.publish(&[&["-a"]], 0);
    expect(&desk.take(), "1: events 0 @7: -a7");
    desk.publish(&[&["a"], &["-a"]], 0);
    expect(&desk.take(), "1: events 1 @9: a8\n1: events 0 @9: -a9");
}

#[test]
fn the_value_before_is_sent_to_those_who_asked_for_it() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("a", ""));
    assert_eq!(desk.hub.interest(b"a"), Interest::Event);
    desk.create(1, Create { prev_kv: true, ..watch("a", "b") });
    assert_eq!(desk.hub.interest(b"a"), Interest::WithPrevious);
    assert_eq!((desk.hub.interest(b"b"), desk.hub.is_watched(b"b")), (Interest::None, false));
    desk.take();
    desk.publish(&[&["a"]], 0);
    expect(&desk.take(), "1: events 0 @6: a6\n1: events 1 @6: a6'");
    let event = Event { with_prev: None, ..event(7, "a", 0) };
    desk.hub.publish(7, &[event]);
    expect(&desk.take(), "1: events 0 @7: a7\n1: events 1 @7: a7");
    desk.hub.cancel(StreamId(1), 1);
    assert!(!desk.hub.wants_previous(b"a"));
}

#[test]
fn events_below_a_future_start_are_not_sent() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(8));
    desk.create(1, watch_from(6));
    desk.create(1, watch_from(i64::MAX - 2));
    desk.take();
    desk.publish(&[&["a"], &["b"], &["c"], &["d"]], 0);
    expect(&desk.take(), "1: events 0 @9: c8 d9\n1: events 1 @9: a6 b7 c8 d9");
}

#[test]
fn receivers_share_the_events() {
    let mut desk = Desk::new(HubOptions::default());
    desk.hub.open(StreamId(2), 0, 0);
    desk.create(1, watch("a", ""));
    desk.create(2, watch("a", ""));
    desk.create(1, watch_from(7));
    desk.take();
    desk.publish(&[&["a"], &["a"]], 0);
    let deliveries = desk.deliveries();
    assert_eq!(deliveries[0].response.events.as_ptr(), deliveries[1].response.events.as_ptr());
    assert_eq!(deliveries[2].response.events[..], deliveries[0].response.events[1..]);
}

#[test]
fn watchers_of_one_group_that_start_apart_are_sent_different_events() {
    let mut desk = Desk::new(HubOptions::default());
    for start in [6, 7, 8] {
        desk.create(1, watch_from(start));
    }
    desk.take();
    desk.publish(&[&["a"], &["b"], &["c"]], 0);
    expect(
        &desk.take(),
        "1: events 0 @8: a6 b7 c8
         1: events 1 @8: b7 c8
         1: events 2 @8: c8",
    );
}

#[test]
fn large_responses_come_in_fragments_to_those_who_take_them() {
    // A response has 32 bytes besides its events, which have 10 each; a fragment has two more.
    for (fragment_bytes, fragments) in [
        (63, "1: events 0 @6: a6 b6 c6\n"),
        (62, "1: events 0 @6+: a6 b6\n1: events 0 @6: c6\n"),
        (55, "1: events 0 @6+: a6 b6\n1: events 0 @6: c6\n"),
        (54, "1: events 0 @6+: a6\n1: events 0 @6+: b6\n1: events 0 @6: c6\n"),
        (1, "1: events 0 @6+: a6\n1: events 0 @6+: b6\n1: events 0 @6: c6\n"),
    ] {
        let mut desk = Desk::new(HubOptions { fragment_bytes, ..HubOptions::default() });
        desk.create(1, Create { fragment: true, watch_id: 0, ..watch("", "\0") });
        desk.create(1, watch("", "\0"));
        desk.deliveries();
        desk.publish(&[&["a", "b", "c"]], 6);
        let deliveries = desk.deliveries();
        let whole = "1: events 1 @6: a6 b6 c6\n";
        assert_eq!(text(&deliveries), fragments.to_owned() + whole, "{fragment_bytes}");
    }
}

#[test]
fn a_single_event_is_not_fragmented() {
    let mut desk = Desk::new(HubOptions { fragment_bytes: 1, ..HubOptions::default() });
    desk.create(1, Create { fragment: true, ..watch("a", "") });
    desk.publish(&[&["a"]], 100);
    expect(&desk.take(), "1: created 0 @5\n1: events 0 @6: a6");
}

#[test]
fn who_has_no_room_falls_behind_and_disturbs_nobody() {
    let mut desk = Desk::new(options(400));
    desk.hub.open(StreamId(2), 0, 0);
    desk.create(1, watch("a", ""));
    desk.create(2, watch("a", ""));
    desk.take();
    desk.publish(&[&["a"]], 200);
    let held = desk.deliveries();
    desk.hub.on_consumed(StreamId(2), held[1].bytes);
    desk.publish(&[&["a"]], 200);
    assert_eq!(desk.hub.counters().slow_watchers, 1);
    assert_eq!(desk.hub.interest(b"a"), Interest::Event);
    assert!(desk.hub.poll_history().is_none(), "there is no room yet");
    expect(&desk.take(), "2: events 0 @7: a7");
    desk.hub.on_consumed(StreamId(1), held[0].bytes);
    expect(&desk.settle(), "1: events 0 @7: a7");
    assert_eq!(desk.hub.counters().slow_watchers, 0);
    desk.publish(&[&["a"]], 200);
    expect(&desk.settle(), "2: events 0 @8: a8\n1: events 0 @8: a8");
}

#[test]
fn only_who_listens_makes_events_of_interest() {
    let mut desk = Desk::new(options(100));
    desk.create(1, Create { prev_kv: true, ..watch("a", "") });
    desk.deliveries();
    desk.publish(&[&["a"]], 200);
    assert_eq!(desk.hub.interest(b"a"), Interest::None, "who is behind asks history");
    let request = {
        desk.hub.on_consumed(StreamId(1), usize::MAX);
        desk.hub.poll_history().unwrap()
    };
    assert_eq!((request.from, request.to, request.wants_previous), (6, 6, true));
    assert_eq!((request.interest(b"a"), request.interest(b"b")), (Interest::WithPrevious, Interest::None));
    assert_eq!(request.ranges, [KeyRange::single("a".into())]);
    desk.answer(&request, 9);
    assert_eq!(desk.hub.interest(b"a"), Interest::WithPrevious);
}

#[test]
fn a_revision_that_is_larger_than_the_budget_is_delivered_to_a_drained_stream() {
    let mut desk = Desk::new(options(100));
    desk.create(1, watch("", "\0"));
    desk.take();
    desk.publish(&[&["a", "b"]], 500);
    expect(&desk.take(), "1: events 0 @6: a6 b6");
    desk.publish(&[&["a", "b"], &["c"]], 500);
    expect(&desk.settle(), "1: events 0 @7: a7 b7\n1: events 0 @8: c8");
}

#[test]
fn pending_events_are_those_that_were_not_consumed() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("a", ""));
    desk.take();
    desk.publish(&[&["a"]], 0);
    desk.publish(&[&["a"]], 0);
    assert_eq!(desk.hub.counters().pending_events, 2);
    let deliveries = desk.deliveries();
    desk.hub.on_consumed(StreamId(1), deliveries[0].bytes);
    assert_eq!(desk.hub.counters().pending_events, 1);
    desk.publish(&[&["a"]], 0);
    assert_eq!(desk.hub.counters().pending_events, 2);
    desk.hub.on_consumed(StreamId(1), usize::MAX);
    assert_eq!((desk.hub.counters().pending_events, desk.hub.counters().events), (0, 3));
    desk.publish(&[&["a"]], 0);
    desk.hub.close(StreamId(1));
    assert_eq!(desk.hub.counters().pending_events, 0);
}
