//! Watches: each broken guarantee is named.

use super::world::{World, all};
use super::{breaks, holds};
use crate::history::{Message, Request, Told, Wish};

/// A busy store and a watch for everything, which is falsified.
fn falsified(falsify: impl FnOnce(&mut World, usize)) -> World {
    let mut world = World::busy();
    let watch = world.watch(all());
    holds(&world);
    falsify(&mut world, watch);
    world
}

fn progress(world: &mut World, stream: usize, at: usize, revision: i64) {
    let told = Told { at: world.time, revision, what: Message::Progress };
    world.history.streams[stream].told.insert(at, told);
}

#[test]
fn the_replay_passes_in_any_portions_of_whole_revisions() {
    let world = falsified(|world, watch| {
        let end = world.revision();
        progress(world, watch, 3, 4);
        let told = &mut world.history.streams[watch].told;
        let second = told.remove(1);
        let (Message::Events { events: first, .. }, Message::Events { events, .. }) =
            (&mut told[0].what, second.what)
        else {
            panic!("these are events")
        };
        first.extend(events);
        told[0].revision = 3;
        let last = told.len();
        progress(world, watch, last, end);
    });
    holds(&world);
}

#[test]
fn a_dropped_event_is_found() {
    breaks(&falsified(|world, watch| drop(world.history.streams[watch].told.remove(3))), "reliable");
    breaks(&falsified(|world, watch| drop(world.history.streams[watch].told.remove(0))), "resumable");
}

#[test]
fn an_event_below_the_start_is_found() {
    breaks(&falsified(|world, watch| world.history.streams[watch].wish.start = 3), "resumable");
}

#[test]
fn a_repeated_event_is_found() {
    let world = falsified(|world, watch| {
        let again = world.history.streams[watch].told[2].clone();
        world.history.streams[watch].told.insert(4, again);
    });
    breaks(&world, "unique");
}

#[test]
fn events_out_of_order_are_found() {
    // Within a revision, and of two.
    breaks(&falsified(|world, watch| world.events(watch, 2).reverse()), "ordered");
    let world = falsified(|world, watch| {
        let wish = Wish { start: 4, ..all() };
        world.history.streams[watch].wish = wish;
        let told = &mut world.history.streams[watch].told;
        told.drain(..2);
        told.swap(2, 3);
    });
    breaks(&world, "reliable");
    let world = falsified(|world, watch| {
        // The later one is all that is asked for below, so that nothing is missed when the earlier one comes.
        let told = &mut world.history.streams[watch].told;
        let early = told[1].clone();
        let (Message::Events { events, .. }, Message::Events { events: earlier, .. }) =
            (&mut told[2].what, early.what)
        else {
            panic!("these are events")
        };
        events.extend(earlier.into_iter().map(|mut event| {
            event.record.key.push('!');
            event
        }));
    });
    breaks(&world, "ordered");
}

#[test]
fn a_divided_revision_is_found() {
    let divide = |fragment: bool| {
        falsified(move |world, watch| {
            let told = &mut world.history.streams[watch].told;
            let mut rest = told[2].clone();
            let (Message::Events { events: first, fragment: more }, Message::Events { events: second, .. }) =
                (&mut told[2].what, &mut rest.what)
            else {
                panic!("these are events")
            };
            *second = first.split_off(1);
            *more = fragment;
            told.insert(3, rest);
        })
    };
    holds(&divide(true));
    breaks(&divide(false), "atomic");
    // The rest never comes.
    let world = falsified(|world, watch| drop(world.events(watch, 2).split_off(1)));
    breaks(&world, "atomic");
}

#[test]
fn a_notification_that_lies_is_found() {
    // Ahead of events, behind events, falling, and of a revision that does not exist.
    breaks(&falsified(|world, watch| progress(world, watch, 2, 5)), "bookmarkable");
    breaks(&falsified(|world, watch| progress(world, watch, 4, 2)), "bookmarkable");
    let world = falsified(|world, watch| {
        let end = world.revision();
        let last = world.history.streams[watch].told.len();
        progress(world, watch, last, end + 1);
    });
    breaks(&world, "bookmarkable");
    // Right by itself, but an event of that revision follows.
    let world = falsified(|world, watch| {
        world.history.streams[watch].wish = Wish { key: "zzz".into(), end: String::new(), ..all() };
        let event = world.events(watch, 2)[0].clone();
        let told = &mut world.history.streams[watch].told;
        told.clear();
        progress(world, watch, 0, 5);
        let mut event = event;
        event.record.key = "zzz".into();
        let what = Message::Events { events: vec![event], fragment: false };
        world.history.streams[watch].told.push(Told { at: world.time, revision: 5, what });
    });
    breaks(&world, "bookmarkable");
}

#[test]
fn an_event_that_was_not_asked_for_is_found() {
    breaks(&falsified(|world, watch| world.history.streams[watch].wish.end = "b".into()), "filter");
    breaks(&falsified(|world, watch| world.history.streams[watch].wish.no_delete = true), "filter");
}

#[test]
fn wrong_contents_are_found() {
    breaks(&falsified(|world, watch| world.events(watch, 0)[0].record.created -= 1), "created");
    breaks(&falsified(|world, watch| world.events(watch, 0)[0].record.value = "wrong".into()), "created");
    breaks(&falsified(|world, watch| world.events(watch, 2)[0].previous = None), "previous");
    let world = falsified(|world, watch| {
        let wrong = world.events(watch, 0)[0].record.clone();
        world.events(watch, 1)[0].previous = Some(wrong);
    });
    breaks(&world, "previous");
}

#[test]
fn an_event_that_never_happened_is_found() {
    let world = falsified(|world, watch| world.events(watch, 0)[0].record.key = "never".into());
    breaks(&world, "reliable");
}

#[test]
fn what_was_before_may_be_compacted() {
    let mut world = World::busy();
    world.call(Request::Compact { revision: 5 });
    let watch = world.watch(all());
    world.events(watch, 2)[0].previous = None;
    holds(&world);
    let later = world.events(watch, 7).iter().position(|event| event.previous.is_some());
    if let Some(later) = later {
        world.events(watch, 7)[later].previous = None;
        breaks(&world, "previous");
    }
}

#[test]
fn a_compaction_ends_only_watches_that_need_what_is_gone() {
    let ended = |told: usize, compacted: i64| {
        let mut world = World::busy();
        world.call(Request::Compact { revision: 5 });
        let watch = world.watch(all());
        world.history.streams[watch].told.truncate(told);
        let what = Message::Compacted(compacted);
        world.history.streams[watch].told.push(Told { at: world.time, revision: 9, what });
        world
    };
    holds(&ended(2, 5));
    breaks(&ended(2, 6), "reliable");
    breaks(&ended(3, 5), "reliable");
}
