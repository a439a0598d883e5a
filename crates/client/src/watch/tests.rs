//! The machine and the queue, without a network.

use std::task::{Context, Poll, Waker};

use etched_proto::etcdserverpb::watch_request::RequestUnion;
use etched_proto::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};
use etched_proto::mvccpb::{Event, KeyValue};

use super::WatchNotice;
use super::machine::{Machine, Outcome};
use super::mailbox::WatchKey;
use super::queue::{Queue, Room};
use crate::{Error, ErrorKind};

const A: WatchKey = WatchKey(1);
const B: WatchKey = WatchKey(2);

fn request(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { key: "k".into(), start_revision, ..WatchCreateRequest::default() }
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

fn created(watch_id: i64, revision: i64) -> WatchResponse {
    WatchResponse { watch_id, created: true, header: header(revision), ..WatchResponse::default() }
}

fn events(watch_id: i64, revisions: impl IntoIterator<Item = i64>) -> WatchResponse {
    let of = |mod_revision| Event {
        kv: Some(KeyValue { key: "k".into(), mod_revision, ..KeyValue::default() }),
        ..Event::default()
    };
    let events: Vec<_> = revisions.into_iter().map(of).collect();
    let last = events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
    WatchResponse { watch_id, header: header(last), events, ..WatchResponse::default() }
}

fn progress(watch_id: i64, revision: i64) -> WatchResponse {
    WatchResponse { watch_id, header: header(revision), ..WatchResponse::default() }
}

/// All requests, in short.
fn requests(machine: &mut Machine) -> String {
    let mut said = Vec::new();
    while let Some(WatchRequest { request_union }) = machine.poll_request() {
        said.push(match request_union.unwrap() {
            RequestUnion::CreateRequest(create) => {
                format!("create {} from {}", create.watch_id, create.start_revision)
            }
            RequestUnion::CancelRequest(cancel) => format!("cancel {}", cancel.watch_id),
            RequestUnion::ProgressRequest(_) => "progress".to_owned(),
        });
    }
    said.join(", ")
}

/// All outcomes, in short.
fn outcomes(machine: &mut Machine) -> String {
    let mut said = Vec::new();
    while let Some(outcome) = machine.poll_outcome() {
        said.push(match outcome {
            Outcome::Created { key, header } => format!("{} created at {}", key.0, header.revision),
            Outcome::Notice { key, notice: WatchNotice::Events { events, .. } } => {
                let revisions = events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision);
                format!("{} events {:?}", key.0, revisions.collect::<Vec<_>>())
            }
            Outcome::Notice { key, notice: WatchNotice::Progress { header } } => {
                format!("{} progress {}", key.0, header.revision)
            }
            Outcome::Ended { key, error } => format!("{} ended: {error}", key.0),
        });
    }
    said.join(", ")
}

/// A machine with one active watch, created from now on at revision 5.
fn active() -> Machine {
    let mut machine = Machine::default();
    machine.on_connected();
    machine.create(A, request(0));
    assert_eq!(requests(&mut machine), "create 1 from 0");
    machine.on_response(created(1, 5)).unwrap();
    assert_eq!(outcomes(&mut machine), "1 created at 5");
    machine
}

#[test]
fn a_watch_from_now_on_resumes_after_the_revision_of_its_creation() {
    let mut machine = active();
    machine.on_disconnected();
    machine.on_connected();
    assert_eq!(requests(&mut machine), "create 2 from 6");
    machine.on_response(created(2, 9)).unwrap();
    assert_eq!(outcomes(&mut machine), "", "it is confirmed once");
}

#[test]
fn a_watch_resumes_after_the_last_event() {
    let mut machine = active();
    machine.on_response(events(1, [6, 8])).unwrap();
    assert_eq!(outcomes(&mut machine), "1 events [6, 8]");
    machine.on_disconnected();
    machine.on_connected();
    assert_eq!(requests(&mut machine), "create 2 from 9");
}

#[test]
fn a_watch_that_was_not_confirmed_begins_anew() {
    let mut machine = Machine::default();
    machine.create(A, request(0));
    assert_eq!(requests(&mut machine), "", "there is no stream");
    machine.on_connected();
    assert_eq!(requests(&mut machine), "create 1 from 0");
    machine.on_disconnected();
    machine.on_connected();
    assert_eq!(requests(&mut machine), "create 2 from 0");
}

#[test]
fn half_of_a_fragmented_response_does_not_count() {
    let mut machine = active();
    machine.on_response(WatchResponse { fragment: true, ..events(1, [6, 6]) }).unwrap();
    assert_eq!(outcomes(&mut machine), "");
    machine.on_disconnected();
    machine.on_connected();
    assert_eq!(requests(&mut machine), "create 2 from 6");
    machine.on_response(created(2, 7)).unwrap();
    machine.on_response(WatchResponse { fragment: true, ..events(2, [6, 6]) }).unwrap();
    machine.on_response(progress(-1, 7)).unwrap();
    machine.on_response(events(2, [6, 7])).unwrap();
    assert_eq!(outcomes(&mut machine), "1 events [6, 6, 6, 7]");
}

#[test]
fn progress_moves_the_point_of_resumption() {
    let mut machine = active();
    machine.on_response(progress(1, 20)).unwrap();
    assert_eq!(outcomes(&mut machine), "1 progress 20");
    machine.on_disconnected();
    machine.on_connected();
    assert_eq!(requests(&mut machine), "create 2 from 21");
}

#[test]
fn progress_of_the_stream_counts_only_for_watches_that_are_on_it() {
    let mut machine = active();
    machine.create(B, request(7));
    machine.ask_progress(A);
    machine.on_response(progress(-1, 20)).unwrap();
    assert_eq!(outcomes(&mut machine), "1 progress 20");
    machine.on_disconnected();
    requests(&mut machine);
    machine.on_connected();
    assert_eq!(requests(&mut machine), "create 3 from 21, create 4 from 7");
}

#[test]
fn a_question_for_progress_is_repeated_until_it_is_answered() {
    let mut machine = active();
    machine.ask_progress(A);
    machine.ask_progress(A);
    assert_eq!(requests(&mut machine), "progress");
    machine.repeat_progress();
    assert_eq!(requests(&mut machine), "progress");
    machine.on_response(progress(-1, 20)).unwrap();
    machine.repeat_progress();
    assert_eq!(requests(&mut machine), "");
}

#[test]
fn a_paused_watch_leaves_the_server_and_comes_back_without_gap_or_repetition() {
    let mut machine = active();
    machine.on_response(events(1, [6])).unwrap();
    machine.pause(A);
    assert_eq!(requests(&mut machine), "cancel 1");
    machine.on_response(events(1, [7])).unwrap();
    machine.on_response(WatchResponse { canceled: true, ..progress(1, 7) }).unwrap();
    machine.on_response(progress(-1, 9)).unwrap();
    assert_eq!(outcomes(&mut machine), "1 events [6]");
    machine.on_disconnected();
    machine.on_connected();
    assert_eq!(requests(&mut machine), "", "it stays off the server while it is paused");
    machine.resume(A);
    assert_eq!(requests(&mut machine), "create 2 from 7");
}

#[test]
fn events_that_were_delivered_are_not_delivered_again() {
    let mut machine = active();
    machine.on_response(events(1, [6, 7])).unwrap();
    machine.on_response(events(1, [6, 7, 8])).unwrap();
    machine.on_response(events(1, [7, 8])).unwrap();
    assert_eq!(outcomes(&mut machine), "1 events [6, 7], 1 events [8]");
}

#[test]
fn a_compacted_watch_ends_and_frees_its_id() {
    let mut machine = active();
    machine.on_response(WatchResponse { canceled: true, compact_revision: 30, ..progress(1, 0) }).unwrap();
    assert_eq!(requests(&mut machine), "cancel 1");
    match machine.poll_outcome() {
        Some(Outcome::Ended { key: A, error: Error::Compacted { compact_revision: 30 } }) => {}
        other => panic!("{other:?}"),
    }
    assert!(machine.is_empty());
}

#[test]
fn a_refusal_without_an_id_belongs_to_the_oldest_creation() {
    let mut machine = Machine::default();
    machine.on_connected();
    machine.create(A, request(0));
    machine.create(B, request(0));
    let reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied".to_owned();
    machine.on_response(WatchResponse { canceled: true, cancel_reason: reason, ..created(-1, 0) }).unwrap();
    match machine.poll_outcome() {
        Some(Outcome::Ended { key: A, error }) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
        other => panic!("{other:?}"),
    }
    machine.on_response(created(2, 3)).unwrap();
    assert_eq!(outcomes(&mut machine), "2 created at 3");
}

#[test]
fn a_watch_cancelled_before_its_creation_was_answered_leaves_no_trace() {
    let mut machine = Machine::default();
    machine.on_connected();
    machine.create(A, request(0));
    machine.create(B, request(0));
    machine.cancel(A);
    assert_eq!(requests(&mut machine), "create 1 from 0, create 2 from 0, cancel 1");
    machine.on_response(created(1, 3)).unwrap();
    machine.on_response(created(2, 3)).unwrap();
    machine.on_response(WatchResponse { canceled: true, ..progress(1, 3) }).unwrap();
    assert_eq!(outcomes(&mut machine), "2 created at 3");
}

#[test]
fn ids_that_a_proxy_chose_are_taken_over() {
    let mut machine = Machine::default();
    machine.on_connected();
    machine.create(A, request(0));
    machine.on_response(created(77, 3)).unwrap();
    machine.on_response(events(77, [4])).unwrap();
    assert_eq!(outcomes(&mut machine), "1 created at 3, 1 events [4]");
    machine.create(B, request(0));
    assert!(machine.on_response(created(77, 4)).is_err(), "two watches cannot share an id");
}

#[test]
fn a_creation_that_nobody_asked_for_breaks_the_protocol() {
    let mut machine = active();
    assert!(machine.on_response(created(9, 3)).is_err());
}

fn pop(queue: &Queue) -> Poll<Option<Result<WatchNotice, Error>>> {
    queue.poll_pop(&Context::from_waker(Waker::noop()))
}

fn notice() -> WatchNotice {
    WatchNotice::Progress { header: ResponseHeader::default() }
}

#[test]
fn a_full_queue_says_so_and_has_room_again_when_half_of_it_is_read() {
    let queue = Queue::new(1000);
    let rooms: Vec<_> = (0..4).map(|_| queue.push(notice())).collect();
    assert_eq!(rooms, [Room::Free, Room::Free, Room::Free, Room::Full]);
    assert!(pop(&queue).is_ready() && !queue.take_room_again());
    assert!(pop(&queue).is_ready() && !queue.take_room_again());
    assert!(pop(&queue).is_ready() && queue.take_room_again());
    assert!(!queue.take_room_again(), "it is said once");
    assert!(pop(&queue).is_ready() && !queue.take_room_again());
    assert!(pop(&queue).is_pending());
}

#[test]
fn the_error_is_the_last_item_of_a_queue() {
    let queue = Queue::new(1000);
    queue.push(notice());
    queue.end(Error::Timeout);
    assert!(matches!(pop(&queue), Poll::Ready(Some(Ok(_)))));
    assert!(matches!(pop(&queue), Poll::Ready(Some(Err(Error::Timeout)))));
    assert!(matches!(pop(&queue), Poll::Ready(None)));
}
