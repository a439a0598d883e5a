//! Answers to requests, and progress.

use super::*;

#[test]
fn a_watcher_is_announced_with_the_current_revision() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("a", ""));
    desk.create(1, watch("a", ""));
    expect(&desk.take(), "1: created 0 @5\n1: created 1 @5");
}

#[test]
fn a_negative_start_counts_as_compacted() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(-1));
    desk.create(1, watch("a", ""));
    expect(
        &desk.take(),
        "1: refused @5: etcdserver: mvcc: required revision has been compacted
         1: created 0 @5",
    );
}

#[test]
fn a_range_without_keys_is_refused() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("b", "a"));
    desk.create(1, watch("b", "b"));
    expect(
        &desk.take(),
        "1: refused @5: mvcc: watcher range is empty
         1: refused @5: mvcc: watcher range is empty",
    );
}

#[test]
fn an_empty_key_stands_for_the_first_that_can_exist() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("", ""));
    desk.create(1, watch("", "b"));
    desk.take();
    desk.publish(&[&["\0"], &["a"], &["b"]], 0);
    expect(&desk.take(), "1: events 0 @8: \x006\n1: events 1 @8: \x006 a7");
}

#[test]
fn ids_that_are_not_brought_skip_those_in_use_and_are_never_given_again() {
    let mut desk = Desk::new(HubOptions::default());
    let with_id = |watch_id| Create { watch_id, ..watch("a", "") };
    desk.create(1, with_id(1));
    desk.create(1, with_id(-3));
    desk.create(1, with_id(0));
    desk.create(1, with_id(0));
    desk.hub.cancel(StreamId(1), 2);
    desk.create(1, with_id(0));
    desk.create(1, with_id(2));
    expect(
        &desk.take(),
        "1: created 1 @5
         1: created -3 @5
         1: created 0 @5
         1: created 2 @5
         1: canceled 2 @5
         1: created 3 @5
         1: created 2 @5",
    );
}

#[test]
fn an_id_in_use_is_refused_and_its_watcher_goes_on() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, Create { watch_id: 4, ..watch("a", "") });
    desk.create(1, Create { watch_id: 4, ..watch("b", "") });
    desk.publish(&[&["a", "b"]], 0);
    expect(
        &desk.take(),
        "1: created 4 @5
         1: refused @5: mvcc: duplicate watch ID provided on the WatchStream
         1: events 4 @6: a6",
    );
}

#[test]
fn ids_belong_to_their_stream() {
    let mut desk = Desk::new(HubOptions::default());
    desk.hub.open(StreamId(2), 0, 0);
    desk.create(1, watch("a", ""));
    desk.create(2, watch("a", ""));
    desk.hub.cancel(StreamId(2), 0);
    desk.publish(&[&["a"]], 0);
    expect(
        &desk.take(),
        "1: created 0 @5
         2: created 0 @5
         2: canceled 0 @5
         1: events 0 @6: a6",
    );
}

#[test]
fn what_another_has_refused_is_answered_in_its_turn() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("a", ""));
    desk.hub.refuse(StreamId(1), "permission denied".into());
    desk.hub.refuse(StreamId(9), "nobody hears this".into());
    expect(&desk.take(), "1: created 0 @5\n1: refused @5: permission denied");
}

#[test]
fn cancelling_is_confirmed_once_and_no_events_follow() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("a", ""));
    desk.publish(&[&["a"]], 0);
    desk.hub.cancel(StreamId(1), 0);
    desk.hub.cancel(StreamId(1), 0);
    desk.hub.cancel(StreamId(1), 7);
    desk.publish(&[&["a"]], 0);
    expect(
        &desk.take(),
        "1: created 0 @5
         1: events 0 @6: a6
         1: canceled 0 @6",
    );
}

#[test]
fn requests_on_a_closed_stream_are_ignored_and_its_deliveries_are_dropped() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("a", ""));
    desk.create(1, watch_from(2));
    desk.hub.close(StreamId(1));
    desk.hub.open(StreamId(2), 0, 0);
    desk.create(1, watch("a", ""));
    desk.hub.cancel(StreamId(1), 0);
    desk.hub.request_progress(StreamId(1));
    desk.hub.on_consumed(StreamId(1), 100);
    desk.hub.close(StreamId(1));
    assert!(desk.hub.poll_history().is_none());
    expect(&desk.take(), "");
    desk.hub.close(StreamId(2));
    assert_empty(&desk.hub);
}

#[test]
fn progress_is_told_when_all_watchers_of_the_stream_are_at_the_head() {
    let mut desk = Desk::new(HubOptions::default());
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "");
    desk.create(1, watch("a", ""));
    desk.publish(&[&["a"], &["b"]], 0);
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "1: created 0 @5\n1: events 0 @7: a6\n1: told -1 @7");

    desk.create(1, watch_from(2));
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "1: created 1 @7");
    desk.read_history();
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "1: events 1 @7: a2 b3 a4 b5 a6 b7\n1: told -1 @7");
}

#[test]
fn progress_is_not_told_before_a_watcher_starts() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(7));
    desk.publish(&[&["a"]], 0);
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "1: created 0 @5");
    desk.publish(&[&["a"]], 0);
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "1: events 0 @7: a7\n1: told -1 @7");
}

#[test]
fn a_watcher_that_compaction_ended_does_not_keep_progress_from_the_others() {
    let mut desk = Desk::new(HubOptions::default());
    desk.compact(4);
    desk.create(1, watch_from(2));
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "1: created 0 @5\n1: compacted 0 @0 to 4");
    desk.create(1, watch("a", ""));
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "1: created 1 @5\n1: told -1 @5");
}

#[test]
fn a_full_stream_is_told_nothing() {
    let mut desk = Desk::new(options(60));
    desk.create(1, Create { progress_notify: true, ..watch("a", "") });
    desk.create(1, watch("a", ""));
    assert!(desk.hub.is_full(StreamId(1)) && !desk.hub.is_full(StreamId(9)));
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "1: created 0 @5\n1: created 1 @5");
    desk.hub.request_progress(StreamId(1));
    expect(&desk.take(), "1: told -1 @5");
}

#[test]
fn at_each_tick_quiet_watchers_are_told_the_revision() {
    let mut desk = Desk::new(HubOptions::default());
    desk.hub.open(StreamId(2), 50, 100);
    let told = |create| Create { progress_notify: true, ..create };
    desk.create(2, told(watch("a", "")));
    desk.create(2, told(watch("b", "")));
    desk.create(2, watch("a", ""));
    desk.create(2, told(watch_from(8)));
    desk.take();
    assert_eq!(desk.hub.next_tick(), Some(150));
    desk.publish(&[&["b"]], 0);
    desk.take();
    desk.hub.on_tick(149);
    expect(&desk.take(), "");
    desk.hub.on_tick(150);
    expect(&desk.take(), "2: told 0 @6");
    desk.publish(&[&["c"], &["c"]], 0);
    desk.take();
    desk.hub.on_tick(1_000);
    expect(&desk.take(), "2: told 0 @8\n2: told 1 @8");
    assert_eq!(desk.hub.next_tick(), Some(1_100));
    desk.hub.on_tick(1_100);
    expect(&desk.take(), "2: told 0 @8\n2: told 1 @8\n2: told 3 @8");
    desk.hub.close(StreamId(2));
    assert_eq!(desk.hub.next_tick(), None);
}

#[test]
fn a_tick_does_not_speak_for_a_watcher_that_is_behind() {
    let mut desk = Desk::new(HubOptions::default());
    desk.hub.open(StreamId(2), 0, 100);
    desk.create(2, Create { progress_notify: true, ..watch_from(2) });
    desk.take();
    desk.hub.on_tick(100);
    expect(&desk.take(), "");
    desk.read_history();
    desk.hub.on_tick(200);
    expect(&desk.take(), "2: events 0 @5: a2 b3 a4 b5");
    desk.hub.on_tick(300);
    expect(&desk.take(), "2: told 0 @5");
}

#[test]
fn a_million_watchers_later_nothing_is_left() {
    let mut desk = Desk::new(HubOptions::default());
    for n in 0..1_000 {
        for _ in 0..100 {
            let start_revision = [0, 2, 90][n % 3];
            let range_end = if n % 2 == 0 { "" } else { "b" };
            desk.create(1, Create { start_revision, ..watch("a", range_end) });
        }
        for id in 0..100 {
            desk.hub.cancel(StreamId(1), i64::try_from(n).unwrap() * 100 + id);
        }
        desk.take();
    }
    let Counters { watchers, slow_watchers, pending_events, .. } = desk.hub.counters();
    assert_eq!((watchers, slow_watchers, pending_events), (0, 0, 0));
    assert!(desk.hub.hungry.len() <= 1);
    desk.hub.close(StreamId(1));
    assert_empty(&desk.hub);
}
