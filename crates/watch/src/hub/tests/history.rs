//! Watchers that are behind: catching up, compaction, restored stores.

use super::*;

#[test]
fn a_start_in_the_past_is_caught_up_after_the_announcement() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(3));
    desk.create(1, watch_from(5));
    expect(&desk.settle(), "1: created 0 @5\n1: created 1 @5\n1: events 0 @5: b3 a4 b5\n1: events 1 @5: b5");
}

#[test]
fn a_partial_answer_promises_no_more_than_it_reaches() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(2));
    desk.take();
    let request = desk.hub.poll_history().unwrap();
    desk.answer(&request, 2);
    expect(&desk.take(), "1: events 0 @3: a2 b3");
    expect(&desk.settle(), "1: events 0 @5: a4 b5");
}

#[test]
fn what_is_published_while_history_is_read_is_read_afterwards() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(5));
    desk.take();
    let request = desk.hub.poll_history().unwrap();
    desk.publish(&[&["a"]], 0);
    desk.answer(&request, 9);
    expect(&desk.take(), "1: events 0 @5: b5");
    expect(&desk.settle(), "1: events 0 @6: a6");
    desk.publish(&[&["b"]], 0);
    expect(&desk.take(), "1: events 0 @7: b7");
}

#[test]
fn watchers_that_miss_about_the_same_share_a_request() {
    let mut desk = Desk::new(HubOptions::default());
    desk.hub.open(StreamId(2), 0, 0);
    desk.create(1, watch_from(2));
    desk.create(2, Create { start_revision: 4, ..watch("a", "") });
    desk.create(2, Create { start_revision: 4, prev_kv: true, ..watch("a", "") });
    desk.take();
    let request = desk.hub.poll_history().unwrap();
    assert_eq!((request.from, request.to), (2, 5));
    assert_eq!(request.ranges, [KeyRange::all(), KeyRange::single("a".into())]);
    assert_eq!((request.interest(b"a"), request.interest(b"b")), (Interest::WithPrevious, Interest::Event));
    assert!(desk.hub.poll_history().is_none());
    desk.answer(&request, 9);
    expect(
        &desk.take(),
        "1: events 0 @5: a2 b3 a4 b5
         2: events 0 @5: a4
         2: events 1 @5: a4'",
    );
}

#[test]
fn watchers_far_apart_do_not_wait_for_each_other() {
    let mut desk = Desk::new(HubOptions::default());
    desk.hub.open(StreamId(2), 0, 0);
    desk.publish(&vec![&["c"][..]; 3_000], 0);
    desk.create(1, watch_from(2));
    desk.create(2, watch_from(2_000));
    desk.take();
    let requests: Vec<_> = core::iter::from_fn(|| desk.hub.poll_history()).collect();
    assert_eq!(requests.iter().map(|request| request.from).collect::<Vec<_>>(), [2, 2_000]);
    desk.answer(&requests[1], 1);
    desk.answer(&requests[0], 1);
    expect(&desk.take(), "2: events 0 @2000: c2000\n1: events 0 @2: a2");
}

#[test]
fn what_is_asked_for_is_bounded_by_the_room_and_by_the_limit() {
    for (stream_queue_bytes, history_bytes, bytes_max) in [(1_000, 10_000, 500), (1_000, 300, 300)] {
        let mut desk = Desk::new(HubOptions { history_bytes, ..options(stream_queue_bytes) });
        desk.create(1, watch_from(2));
        desk.take();
        assert_eq!(desk.hub.poll_history().unwrap().bytes_max, bytes_max);
    }
}

#[test]
fn history_leaves_half_of_the_budget_to_the_live_feed() {
    let mut desk = Desk::new(options(1_000));
    desk.publish(&[&["c"], &["c"], &["c"], &["c"]], 200);
    desk.create(1, Create { start_revision: 6, ..watch("c", "") });
    desk.create(1, watch("d", ""));
    desk.take();
    desk.read_history();
    expect(&text(&desk.deliveries()), "1: events 0 @7: c6 c7");
    desk.publish(&[&["d"]], 300);
    expect(&text(&desk.deliveries()), "1: events 1 @10: d10");
    assert_eq!(desk.hub.counters().slow_watchers, 1);
    desk.hub.on_consumed(StreamId(1), usize::MAX);
    expect(&desk.settle(), "1: events 0 @10: c8 c9");
}

#[test]
fn streams_and_watchers_take_turns() {
    let mut desk = Desk::new(options(400));
    desk.publish(&[&["c"], &["c"], &["c"]], 100);
    desk.hub.open(StreamId(2), 0, 0);
    for stream in [1, 1, 2] {
        desk.create(stream, Create { start_revision: 6, ..watch("c", "") });
    }
    desk.take();
    let mut rounds = Vec::new();
    for _ in 0..6 {
        desk.read_history();
        rounds.push(desk.take().replace('\n', ", "));
    }
    assert_eq!(
        rounds,
        [
            "1: events 0 @6: c6, 2: events 0 @6: c6, ",
            "1: events 1 @6: c6, 2: events 0 @7: c7, ",
            "1: events 0 @7: c7, 2: events 0 @8: c8, ",
            "1: events 1 @7: c7, ",
            "1: events 0 @8: c8, ",
            "1: events 1 @8: c8, ",
        ]
    );
}

#[test]
fn a_stream_asks_once_at_a_time_and_goes_on_when_its_reader_is_cancelled() {
    let mut desk = Desk::new(HubOptions::default());
    desk.publish(&vec![&["c"][..]; 3_000], 0);
    desk.create(1, watch_from(2_500));
    desk.create(1, watch_from(2));
    desk.deliveries();
    let first = desk.hub.poll_history().unwrap();
    assert_eq!(first.from, 2_500);
    desk.hub.on_consumed(StreamId(1), 1);
    assert!(desk.hub.poll_history().is_none());
    desk.hub.cancel(StreamId(1), 0);
    let second = desk.hub.poll_history().unwrap();
    assert_eq!(second.from, 2);
    desk.answer(&first, 1);
    desk.answer(&second, 1);
    expect(&desk.take(), "1: canceled 0 @3005\n1: events 1 @2: a2");
}

#[test]
fn whose_history_is_gone_is_told_and_its_id_stays_taken() {
    let mut desk = Desk::new(HubOptions::default());
    desk.compact(4);
    desk.create(1, watch_from(3));
    desk.create(1, watch_from(4));
    desk.create(1, Create { watch_id: 7, ..watch_from(1) });
    desk.create(1, Create { watch_id: 7, ..watch("a", "") });
    assert_eq!(desk.hub.counters().watchers, 1);
    desk.hub.cancel(StreamId(1), 7);
    assert_eq!(desk.hub.counters().watchers, 1);
    expect(
        &desk.settle(),
        "1: created 0 @5
         1: compacted 0 @0 to 4
         1: created 1 @5
         1: created 7 @5
         1: compacted 7 @0 to 4
         1: refused @5: mvcc: duplicate watch ID provided on the WatchStream
         1: canceled 7 @5
         1: events 1 @5: a4 b5",
    );
    desk.hub.close(StreamId(1));
    assert_empty(&desk.hub);
}

#[test]
fn compaction_ends_slow_watchers_and_not_those_at_the_head_or_ahead() {
    let mut desk = Desk::new(options(100));
    desk.hub.open(StreamId(2), 0, 0);
    desk.create(1, watch("a", ""));
    desk.create(2, watch("b", ""));
    desk.create(2, watch_from(100));
    desk.deliveries();
    desk.publish(&[&["a"], &["a"]], 60);
    desk.compact(6);
    expect(&text(&desk.deliveries()), "");
    desk.compact(7);
    expect(&text(&desk.deliveries()), "1: compacted 0 @0 to 7");
    assert_eq!(desk.hub.counters().watchers, 2);
}

#[test]
fn a_compaction_told_before_its_changes_ends_only_those_who_miss_them() {
    let mut desk = Desk::new(options(100));
    desk.hub.open(StreamId(2), 0, 0);
    desk.create(1, watch("a", ""));
    desk.create(2, watch("a", ""));
    desk.deliveries();
    desk.hub.on_consumed(StreamId(2), usize::MAX);
    desk.compact(7);
    desk.publish(&[&["a"], &["b"]], 60);
    expect(&text(&desk.deliveries()), "2: events 0 @7: a6\n1: compacted 0 @0 to 7");
}

#[test]
fn compaction_overtakes_a_request() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(2));
    desk.create(1, watch_from(4));
    desk.take();
    let request = desk.hub.poll_history().unwrap();
    desk.compact(3);
    desk.answer(&request, 9);
    expect(&desk.settle(), "1: compacted 0 @0 to 3\n1: events 1 @5: a4 b5");
}

#[test]
fn a_compaction_that_history_tells_of_first_counts_as_well() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(2));
    desk.create(1, watch_from(4));
    desk.take();
    let request = desk.hub.poll_history().unwrap();
    desk.compacted = 4;
    desk.answer(&request, 9);
    expect(&desk.settle(), "1: compacted 0 @0 to 4\n1: events 1 @5: a4 b5");
}

#[test]
fn after_a_snapshot_everybody_reads_what_it_skipped_and_nobody_goes_back() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("", "\0"));
    desk.create(1, watch_from(3));
    desk.create(1, watch_from(7));
    desk.create(1, watch_from(20));
    desk.publish(&[&["c"]], 0);
    desk.settle();
    desk.log.extend([event(7, "d", 0), event(8, "e", 0)]);
    desk.hub.on_restored(8);
    desk.hub.request_progress(StreamId(1));
    assert_eq!(desk.hub.counters().slow_watchers, 3);
    expect(
        &desk.settle(),
        "1: events 0 @8: d7 e8
         1: events 1 @8: d7 e8
         1: events 2 @8: d7 e8",
    );
    desk.hub.on_restored(8);
    desk.publish(&[&["f"]], 0);
    expect(
        &desk.settle(),
        "1: events 0 @9: f9
         1: events 1 @9: f9
         1: events 2 @9: f9",
    );
}

#[test]
fn a_snapshot_that_lost_the_history_ends_those_who_needed_it() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch("", "\0"));
    desk.create(1, watch_from(20));
    desk.take();
    desk.hub.on_restored(30);
    desk.compact(15);
    expect(&desk.settle(), "1: compacted 0 @0 to 15");
}

#[test]
fn answers_for_a_stream_that_closed_are_dropped() {
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(2));
    let request = desk.hub.poll_history().unwrap();
    desk.hub.close(StreamId(1));
    desk.hub.open(StreamId(2), 0, 0);
    desk.create(2, watch_from(4));
    desk.answer(&request, 9);
    expect(&desk.settle(), "2: created 0 @5\n2: events 0 @5: a4 b5");
    desk.hub.close(StreamId(2));
    assert_empty(&desk.hub);
}

#[test]
fn a_watch_of_the_far_future_survives_a_snapshot() {
    // etcd issue 9775.
    let mut desk = Desk::new(HubOptions::default());
    desk.create(1, watch_from(i64::MAX - 2));
    desk.create(1, watch_from(7));
    desk.settle();
    desk.log.push(event(6, "c", 0));
    desk.hub.on_restored(6);
    expect(&desk.settle(), "");
    desk.publish(&[&["d"]], 0);
    expect(&desk.settle(), "1: events 1 @7: d7");
    assert_eq!(desk.hub.counters().watchers, 2);
}
