//! Two transports on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn messages_go_both_ways_in_order() {
    let (a, b) = pair();
    let messages: Vec<_> = (0..100).map(|index| append(1, 2, index)).collect();
    a.transport.send(messages.clone());
    assert_eq!(b.recorder.take_messages(100), messages);
    b.transport.send(vec![heartbeat(2, 1), heartbeat(2, 3), heartbeat(2, 1)]);
    assert_eq!(a.recorder.take_messages(2), [heartbeat(2, 1), heartbeat(2, 1)], "nobody has the id 3");
}

#[test]
fn a_batch_of_appends_and_heartbeats_arrives_whole() {
    let (a, b) = pair();
    for round in 0..50 {
        a.transport.send(vec![append(1, 2, round), heartbeat(1, 2)]);
    }
    let arrived = b.recorder.take_messages(100);
    let appends: Vec<_> = arrived.iter().filter(|message| message.entries_len() > 0).cloned().collect();
    assert_eq!(appends, (0..50).map(|round| append(1, 2, round)).collect::<Vec<_>>());
}

#[test]
fn what_is_counted_has_the_names_of_etcd() {
    let (a, b) = pair();
    a.transport.send(vec![append(1, 2, 4), heartbeat(1, 2)]);
    b.recorder.take_messages(2);
    let (a, b) = (a.scrape(), b.scrape());
    for (scrape, name, value) in [
        (&a, r#"etcd_network_known_peers{Local="1",Remote="2"}"#, "1"),
        (&a, r#"etcd_network_active_peers{Local="1",Remote="2"}"#, "1"),
        (&b, r#"etcd_network_active_peers{Local="2",Remote="1"}"#, "1"),
    ] {
        assert_eq!(scrape.get(name).map(String::as_str), Some(value), "{name}");
    }
    let bytes = |scrape: &BTreeMap<_, String>, name: &str| scrape[name].parse::<u64>().unwrap();
    let sent = bytes(&a, r#"etcd_network_peer_sent_bytes_total{To="2"}"#);
    let length = append(1, 2, 4).encode().len() + heartbeat(1, 2).encode().len();
    assert!(sent >= length as u64, "{sent} of {length}");
    assert!(bytes(&b, r#"etcd_network_peer_received_bytes_total{From="1"}"#) >= length as u64);
}

#[test]
fn without_streams_messages_are_posted() {
    // The second does not know the first, so it opens no streams; it learns of it by the post, and answers.
    let (a, b) = (Node::new(1), Node::new(2));
    a.transport.set_members(&[b.info()], &BTreeSet::new());
    a.transport.send(vec![heartbeat(1, 2)]);
    assert_eq!(b.recorder.take_messages(1), [heartbeat(1, 2)]);
    b.transport.send(vec![heartbeat(2, 1)]);
    assert_eq!(a.recorder.take_messages(1), [heartbeat(2, 1)]);
}

#[test]
fn a_connection_that_breaks_is_opened_again() {
    let (a, mut b) = pair();
    a.transport.send(vec![append(1, 2, 4)]);
    b.recorder.take_messages(1);
    a.recorder.forget();
    b.stop_listening();
    a.recorder.wait_for(&Event::Active(2, false));
    // Nobody listens there any more, which is told once; that somebody is not there for long says nothing new.
    a.recorder.wait_for(&Event::Gone(2));
    b.listen();
    a.recorder.wait_for(&Event::Active(2, true));
    // Either by a stream or by a post, what is sent now arrives.
    a.transport.send(vec![append(1, 2, 5)]);
    assert_eq!(b.recorder.take_messages(1), [append(1, 2, 5)]);
    b.transport.send(vec![heartbeat(2, 1)]);
    a.recorder.take_messages(1);
    let disconnected = &a.scrape()[r#"etcd_network_disconnected_peers_total{Local="1",Remote="2"}"#];
    assert!(disconnected.parse::<u64>().unwrap() >= 1);
}

#[test]
fn nobody_is_waited_for_who_cannot_be_reached() {
    let a = Node::new(1);
    // A port on which nobody listens.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let b = PeerInfo { id: 2, urls: vec![format!("http://{address}")] };
    a.transport.set_members(&[a.info(), b], &BTreeSet::new());
    a.transport.send((0..200).map(|_| heartbeat(1, 2)).collect());
    a.recorder.wait_for(&Event::Unreachable(2));
    assert!(a.scrape().contains_key(r#"etcd_network_peer_sent_failures_total{To="2"}"#));
}

#[test]
fn the_next_url_is_used_when_one_fails() {
    let (a, b) = (Node::new(1), Node::new(2));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let two = PeerInfo { id: 2, urls: vec![format!("http://{nobody}"), b.url()] };
    a.transport.set_members(&[a.info(), two], &BTreeSet::new());
    b.transport.set_members(&[a.info(), b.info()], &BTreeSet::new());
    a.recorder.wait_for(&Event::Active(2, true));
    b.recorder.wait_for(&Event::Active(1, true));
    b.transport.send(vec![heartbeat(2, 1)]);
    a.recorder.take_messages(1);
}

#[test]
fn changed_urls_are_dialled_anew() {
    let (a, b) = pair();
    // The same member at another address.
    let moved = Node::new(2);
    moved.transport.set_members(&[moved.info()], &BTreeSet::new());
    a.recorder.forget();
    a.transport.set_members(&[moved.info()], &BTreeSet::new());
    // It does not know the first, and says so: the streams are asked for there.
    a.recorder.wait_for(&Event::Active(2, false));
    moved.transport.set_members(&[a.info()], &BTreeSet::new());
    a.recorder.wait_for(&Event::Active(2, true));
    moved.recorder.wait_for(&Event::Active(1, true));
    moved.transport.send(vec![heartbeat(2, 1)]);
    assert_eq!(a.recorder.take_messages(1), [heartbeat(2, 1)]);
    drop(b);
}

#[test]
fn a_removed_member_is_told_so() {
    let (a, b) = pair();
    b.transport.set_members(&[b.info()], &BTreeSet::from([1]));
    a.recorder.wait_for(&Event::Removed);
    b.recorder.wait_for(&Event::Active(1, false));
    assert_eq!(b.scrape()[r#"etcd_network_known_peers{Local="2",Remote="1"}"#], "0");
    assert_eq!(b.scrape()[r#"etcd_network_active_peers{Local="2",Remote="1"}"#], "0");
}

#[test]
fn a_removed_member_is_told_so_by_posts_too() {
    let (a, b) = (Node::new(1), Node::new(2));
    b.transport.set_members(&[b.info()], &BTreeSet::from([1]));
    a.transport.add_stranger(2, &[b.url()]);
    a.transport.send(vec![heartbeat(1, 2)]);
    a.recorder.wait_for(&Event::Removed);
}

#[test]
fn members_of_other_clusters_are_not_spoken_with() {
    let (a, b) = (Node::new(1), Node::of_cluster(2, CLUSTER + 1));
    a.transport.set_members(&[a.info(), b.info()], &BTreeSet::new());
    b.transport.set_members(&[a.info(), b.info()], &BTreeSet::new());
    a.transport.send(vec![heartbeat(1, 2)]);
    a.recorder.wait_for(&Event::Unreachable(2));
    let is_spoken = |event: &Event| matches!(event, Event::Message(_) | Event::Active(_, true));
    assert!(!a.recorder.events.lock().unwrap().iter().any(is_spoken));
    assert!(!b.recorder.events.lock().unwrap().iter().any(is_spoken));
}

#[test]
fn a_message_for_another_member_is_not_taken() {
    let (a, b) = (Node::new(1), Node::new(2));
    // The first takes the address for that of a third member.
    a.transport.add_stranger(3, &[b.url()]);
    a.transport.send(vec![heartbeat(1, 3)]);
    a.recorder.wait_for(&Event::Unreachable(3));
    let events = b.recorder.events.lock().unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::Message(_))), "{events:?}");
    assert!(!a.recorder.events.lock().unwrap().contains(&Event::Removed), "it is not removed by that");
}

/// A member that accepts and then says nothing, as one whose machine hangs.
#[test]
fn a_silent_member_is_noticed() {
    let a = Node::new(1);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    a.transport.set_members(&[PeerInfo { id: 2, urls: vec![url] }], &BTreeSet::new());
    let head = "HTTP/1.1 200 OK\r\nX-Server-Version: 3.7.2\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut silent = Vec::new();
    for _ in 0..3 {
        let (mut stream, _) = socket.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            io::Read::read_exact(&mut stream, &mut byte).unwrap();
            request.extend(byte);
        }
        io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        silent.push(stream);
    }
    a.recorder.wait_for(&Event::Active(2, true));
    a.recorder.wait_for(&Event::Active(2, false));
}

/// A snapshot message from one member to another, with a snapshot at `index`.
fn snapshot(from: u8, to: u8, index: u8) -> Message {
    let metadata = [0x0a, 4, 0x08, 1, 0x08, 2, 0x10, index, 0x18, 1];
    let head = [0x08, 7, 0x10, to, 0x18, from, 0x20, 1, 0x4a, 12, 0x12, 10];
    Message::decode(&Bytes::from([&head[..], &metadata[..]].concat())).unwrap()
}

fn database(chunks: usize) -> Vec<Bytes> {
    let chunk = |number: usize| Bytes::from(vec![u8::try_from(number % 251).unwrap(); 64 << 10]);
    (0..chunks).map(chunk).collect()
}

#[test]
fn a_snapshot_is_received_as_it_was_sent() {
    let (a, b) = pair();
    let chunks = database(128);
    let whole = chunks.concat();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let chunks = chunks.into_iter().map(move |chunk| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(chunk)
    });
    let body = SnapshotBody { bytes: whole.len() as u64, roots: None, chunks: Box::new(chunks) };
    a.transport.send_snapshot(snapshot(1, 2, 9), body);
    a.recorder.wait_for(&Event::SnapshotSent(2, SnapshotDelivery::Done));
    let path = b.dir.path().join("0000000000000009.snap.db");
    b.recorder.wait_for(&Event::Snapshot(snapshot(1, 2, 9), path.clone()));
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(files_in(b.dir.path()), ["0000000000000009.snap.db"]);
    assert_eq!(taken.load(Ordering::Relaxed), 128);
    assert_eq!(a.scrape()[r#"etcd_network_snapshot_send_success{To="2"}"#], "1");
    assert_eq!(a.scrape()[r#"etcd_network_snapshot_send_inflights_total{To="2"}"#], "0");
    assert_eq!(b.scrape()[r#"etcd_network_snapshot_receive_success{From="1"}"#], "1");

    // Another of the same index is taken, and the file stays.
    let body = SnapshotBody { bytes: 3, roots: None, chunks: Box::new([Ok(Bytes::from("new"))].into_iter()) };
    a.recorder.forget();
    a.transport.send_snapshot(snapshot(1, 2, 9), body);
    a.recorder.wait_for(&Event::SnapshotSent(2, SnapshotDelivery::Done));
    assert_eq!(std::fs::read(&path).unwrap().len(), whole.len());
}

#[test]
fn a_snapshot_that_breaks_off_leaves_nothing() {
    let bytes = 16 << 16;
    for (told, last) in
        [(bytes + 1, Some(Err(io::Error::other("the disk is gone")))), (bytes + 1, None), (bytes - 1, None)]
    {
        let (a, b) = pair();
        let chunks = database(16).into_iter().map(Ok).chain(last);
        let body = SnapshotBody { bytes: told, roots: None, chunks: Box::new(chunks) };
        a.transport.send_snapshot(snapshot(1, 2, 9), body);
        a.recorder.wait_for(&Event::SnapshotSent(2, SnapshotDelivery::Failed));
        assert!(a.recorder.events.lock().unwrap().contains(&Event::Unreachable(2)));
        assert_eq!(a.scrape()[r#"etcd_network_snapshot_send_failures{To="2"}"#], "1");
        drop(a);
        let failures = || b.scrape().get(r#"etcd_network_snapshot_receive_failures{From="1"}"#).cloned();
        wait_until("the receiver notices", || failures().as_deref() == Some("1"));
        assert_eq!(files_in(b.dir.path()), [""; 0], "nothing is left");
        let events = b.recorder.events.lock().unwrap();
        assert!(!events.iter().any(|event| matches!(event, Event::Snapshot(..))), "{events:?}");
    }
}

#[test]
fn a_snapshot_with_its_roots_is_read_while_it_comes_in() {
    let (a, b) = pair();
    let roots: Roots = "4096;key=7".parse().unwrap();
    let send = |told: u64| {
        let chunks = Box::new(database(16).into_iter().map(Ok));
        a.transport.send_snapshot(
            snapshot(1, 2, 9),
            SnapshotBody { bytes: told, roots: Some(roots.clone()), chunks },
        );
    };
    let bodies = || b.recorder.bodies.lock().unwrap().clone();
    send(16 << 16);
    a.recorder.wait_for(&Event::SnapshotSent(2, SnapshotDelivery::Done));
    assert_eq!(bodies(), [(snapshot(1, 2, 9), roots.clone(), Ok(database(16).concat()))]);
    assert_eq!(files_in(b.dir.path()), [""; 0], "no file is needed");
    assert_eq!(b.scrape()[r#"etcd_network_snapshot_receive_success{From="1"}"#], "1");
    send((16 << 16) + 1);
    a.recorder.wait_for(&Event::SnapshotSent(2, SnapshotDelivery::Failed));
    wait_until("the receiver notices", || bodies().len() == 2);
    assert_eq!(bodies()[1].2, Err("unexpected EOF".to_owned()));
    let failures = || b.scrape().get(r#"etcd_network_snapshot_receive_failures{From="1"}"#).cloned();
    wait_until("the failure is counted", || failures().as_deref() == Some("1"));
}

#[test]
fn a_snapshot_for_nobody_fails_at_once() {
    let a = Node::new(1);
    let body = SnapshotBody { bytes: 0, roots: None, chunks: Box::new(std::iter::empty()) };
    a.transport.send_snapshot(snapshot(1, 2, 9), body);
    a.recorder.wait_for(&Event::SnapshotSent(2, SnapshotDelivery::Failed));
}

#[test]
fn after_the_end_nothing_is_sent_or_taken() {
    let (a, b) = pair();
    a.transport.stop();
    a.transport.send(vec![heartbeat(1, 2)]);
    a.transport.set_members(&[b.info()], &BTreeSet::new());
    a.transport.stop();
    b.recorder.wait_for(&Event::Active(1, false));
    let events = b.recorder.events.lock().unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::Message(_))), "{events:?}");
}
