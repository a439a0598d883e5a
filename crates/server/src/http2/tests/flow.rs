//! Windows in both directions, and who is sent first.

use super::*;

#[test]
fn an_answer_waits_for_the_windows() {
    let mut peer = Peer::with(OPTIONS, &[(SETTING_WINDOW, 10)]);
    peer.send(client().get(1));
    assert!(!peer.connection.respond(1, &[], 25, |_| panic!("it is too early"), &[]));
    peer.answer(1, 25);
    assert_eq!(peer.sent(), ["headers 1", "data 1 10"]);
    peer.send(client().window(1, 10));
    assert_eq!(peer.sent(), ["data 1 10"]);
    peer.send(client().settings(&[(SETTING_WINDOW, 12)]));
    assert_eq!(peer.sent(), ["settings ack", "data 1 2"]);
    peer.send(client().settings(&[(SETTING_WINDOW, 5)]).window(1, 7).window(1, 2));
    assert_eq!(peer.sent(), ["settings ack", "data 1 2"], "a window may be below zero");
    peer.send(client().window(1, 100));
    assert_eq!(peer.sent(), ["data 1 1", "headers 1, end"]);
    assert_eq!(peer.connection.streams(), 0);
}

#[test]
fn the_connections_window_holds_for_all_streams() {
    let mut peer = Peer::with(OPTIONS, &[(SETTING_WINDOW, 1 << 20)]);
    peer.send(client().get(1).get(3));
    peer.answer(1, 60_000);
    peer.answer(3, 10_000);
    let sent: usize = data_of(&peer.sent(), None);
    assert_eq!(sent, 65_535);
    peer.send(client().window(0, 4_465));
    assert_eq!(data_of(&peer.sent(), None), 4_465);
    assert_eq!(peer.connection.streams(), 0);
}

fn data_of(frames: &[String], stream: Option<u32>) -> usize {
    let data = frames.iter().filter_map(|frame| frame.strip_prefix("data "));
    let sizes = data.filter_map(|rest| {
        let mut words = rest.trim_end_matches(", end").split(' ').map(|word| word.parse::<u32>().unwrap());
        let (id, size) = (words.next()?, words.next()?);
        (stream.is_none() || stream == Some(id)).then_some(size as usize)
    });
    sizes.sum()
}

#[test]
fn windows_do_not_overflow() {
    let mut peer = Peer::new();
    peer.send(client().get(1).window(1, 0x7fff_ffff));
    assert_eq!(peer.sent(), ["reset 1 3"]);
    assert!(peer.fault(client().window(0, 0x7fff_ffff)).contains(" 3 "));
    let mut peer = Peer::new();
    peer.send(client().get(1).window(1, 0x7fff_0000));
    assert!(peer.fault(client().settings(&[(SETTING_WINDOW, 0x7fff_ffff)])).contains(" 3 "));
}

#[test]
fn windows_grow_by_something() {
    let mut peer = Peer::new();
    peer.send(client().get(1).window(1, 0));
    assert_eq!(peer.sent(), ["reset 1 1"]);
    assert!(peer.fault(client().window(0, 0)).contains(" 1 "));
}

#[test]
fn what_is_consumed_is_given_back() {
    let mut peer = Peer::new();
    peer.send(client().post(1));
    let piece = vec![0; 16_000];
    for _ in 0..50 {
        assert_eq!(peer.send(client().data(1, &piece, false)), ["1 sends 16000"]);
    }
    let sent = peer.sent();
    assert!(sent.iter().any(|frame| frame.starts_with("window 0 ")), "{sent:?}");
    assert!(sent.iter().any(|frame| frame.starts_with("window 1 ")), "{sent:?}");
}

#[test]
fn a_client_that_ignores_windows_is_ended() {
    let mut peer = Peer::with(Options { stream_window: 100, ..OPTIONS }, &[]);
    peer.send(client().post(1).data(1, &[0; 101], false));
    assert_eq!(peer.sent(), ["reset 1 3"]);
    let mut peer = Peer::new();
    // A client may not assume that bytes for a closed stream come back before it is told so.
    let mut bytes = client().settings(&[]);
    for stream in 0..5 {
        bytes = bytes.post(2 * stream + 1);
        for _ in 0..4 {
            bytes = bytes.data(2 * stream + 1, &[0; 16_000], false);
        }
    }
    // Nobody consumes anything here.
    let mut input = &bytes.0[..];
    while peer.connection.next(&mut input, peer.now).is_some() {}
    assert!(peer.sent().last().unwrap().contains(" 3 "));
}

#[test]
fn data_of_closed_streams_takes_no_room() {
    let mut peer = Peer::new();
    peer.send(client().post(1));
    peer.connection.send_head(1, &[], true);
    for _ in 0..50 {
        peer.send(client().data(1, &[0; 16_000], false));
    }
    assert!(!peer.connection.is_over());
    assert!(peer.sent().iter().any(|frame| frame.starts_with("window 0 ")));
}

#[test]
fn a_stream_that_is_ended_inside_a_frame_gives_back_the_rest() {
    let mut peer = Peer::new();
    for round in 0..50u32 {
        let stream = 2 * round + 1;
        let bytes = client().post(stream).data(stream, &[0; 16_000], true);
        let (first, rest) = bytes.0.split_at(bytes.0.len() - 15_000);
        peer.receive(first);
        peer.connection.reset(stream, ErrorCode::CANCEL);
        assert!(peer.receive(rest).is_empty());
    }
    assert!(!peer.connection.is_over());
}

#[test]
fn small_answers_overtake_large_ones_and_large_ones_go_on() {
    let mut peer = Peer::with(OPTIONS, &[(SETTING_WINDOW, 1 << 30)]);
    peer.send(client().window(0, 1 << 30).get(1).get(3));
    peer.answer(1, 100 << 20);
    peer.answer(3, 100 << 20);
    let mut last = 3;
    let mut bulk = 0;
    for _ in 0..100 {
        for _ in 0..10 {
            last += 2;
            peer.send(client().get(last));
            // What has waited for its window stands in line, too.
            peer.answer(last, 10_000);
        }
        peer.connection.pump();
        let mut slices = [IoSlice::new(&[]); 64];
        let count = peer.connection.slices(&mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        peer.connection.written(bytes.len());
        // All small answers went with this write, and some of the large ones.
        bulk += bytes.len() - 10 * 10_000;
        assert_eq!(peer.connection.streams(), 2);
    }
    assert!(bulk > 10 << 20, "{bulk} bytes of large answers");
}

#[test]
fn large_answers_share_the_connection() {
    let mut peer = Peer::with(OPTIONS, &[(SETTING_WINDOW, 1 << 30)]);
    peer.send(client().window(0, 3 << 20).get(1).get(3).get(5));
    (0..3).for_each(|number| peer.answer(2 * number + 1, 10 << 20));
    let sent = peer.sent();
    let shares = [1, 3, 5].map(|stream| data_of(&sent, Some(stream)));
    assert!(shares.iter().all(|share| share.abs_diff(1 << 20) < 64 << 10), "{shares:?}");
}

#[test]
fn the_output_is_bounded_and_progress_is_told() {
    let mut peer = Peer::with(OPTIONS, &[(SETTING_WINDOW, 1 << 30)]);
    peer.send(client().window(0, 1 << 30).get(1));
    peer.connection.meter(1);
    peer.connection.send_data(1, Box::new(bytes::Bytes::from(vec![0; 10 << 20])));
    peer.connection.pump();
    let waiting = peer.connection.output_len();
    assert!((256 << 10..300 << 10).contains(&waiting), "{waiting}");
    let (stream, sent) = peer.connection.metered().unwrap();
    assert_eq!(stream, 1);
    assert!((256 << 10..300 << 10).contains(&sent), "{sent}");
    assert_eq!(peer.connection.metered(), None);
}
