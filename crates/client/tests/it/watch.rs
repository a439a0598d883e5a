//! Watches: no gap and no repetition, whatever happens.

use etched_client::proto::mvccpb::Event;
use etched_client::{Client, Error, ErrorKind, Keys, Put, Watch, WatchNotice, WatchOptions};

use crate::etcd::{Etcd, options};
use crate::proxy::Proxy;

/// The next events, past all progress.
async fn events(watch: &mut Watch) -> Result<Vec<Event>, Error> {
    loop {
        match watch.next().await.expect("the watch goes on")? {
            WatchNotice::Events { events, .. } => return Ok(events),
            WatchNotice::Progress { .. } => {}
        }
    }
}

/// The revisions of the next `count` events.
async fn revisions(watch: &mut Watch, count: usize) -> Vec<i64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.extend(events(watch).await.unwrap().iter().map(|event| event.kv.as_ref().unwrap().mod_revision));
    }
    assert_eq!(seen.len(), count);
    seen
}

/// Writes `count` revisions and returns the last one. Puts of unknown outcome are written again.
async fn write(client: &Client, count: usize) -> i64 {
    let mut revision = 0;
    for n in 0..count {
        loop {
            match client.put(Put::new(format!("k{n}"), vec![b'v'; 100])).await {
                Ok(answer) => break revision = answer.header.unwrap().revision,
                Err(Error::OutcomeUnknown { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    revision
}

#[tokio::test]
async fn a_watch_survives_the_death_of_its_server() {
    let mut etcd = Etcd::start().await;
    let client = etcd.client().await;
    let mut watch = client.watch(WatchOptions::new(Keys::prefix("k")).prev_kv()).await.unwrap();
    let first = watch.header().revision + 1;
    let writer = tokio::spawn({
        let client = client.clone();
        async move { write(&client, 600).await }
    });
    let mut seen = revisions(&mut watch, 100).await;
    etcd.kill().await;
    etcd.restart();
    let last = writer.await.unwrap();
    while seen.last() != Some(&last) {
        seen.extend(
            events(&mut watch).await.unwrap().iter().map(|event| event.kv.as_ref().unwrap().mod_revision),
        );
    }
    assert_eq!(seen, (first..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_watch_survives_connections_that_are_cut_everywhere() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::start(etcd.port()).await;
    let client = Client::connect([proxy.endpoint()], options()).await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..3 {
        watches.push(client.watch(WatchOptions::new(Keys::prefix("k")).start_revision(2)).await.unwrap());
    }
    let last = write(&etcd.client().await, 1000).await;
    for watch in &mut watches {
        assert_eq!(revisions(watch, 1000).await, (2..=last).collect::<Vec<_>>());
    }
    assert!(proxy.cuts() > 10, "{} cuts", proxy.cuts());
}

#[tokio::test]
async fn a_watch_of_the_past_that_is_compacted_ends_with_the_compacted_revision() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let last = write(&client, 10).await;
    client.compact(last).await.unwrap();
    let mut watch = client.watch(WatchOptions::new(Keys::all()).start_revision(2)).await.unwrap();
    match watch.next().await {
        Some(Err(Error::Compacted { compact_revision })) => assert_eq!(compact_revision, last),
        other => panic!("{other:?}"),
    }
    assert!(watch.next().await.is_none());
    let mut watch = client.watch(WatchOptions::new(Keys::all()).start_revision(last)).await.unwrap();
    assert_eq!(revisions(&mut watch, 1).await, [last]);
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody_and_misses_nothing() {
    let etcd = Etcd::start().await;
    let mut options = options();
    options.watch_queue_bytes = 4096;
    let client = etcd.client_with(options).await;
    let mut slow = client.watch(Keys::prefix("k")).await.unwrap();
    let mut fast = client.watch(Keys::prefix("k")).await.unwrap();
    let first = slow.header().revision + 1;
    let reader = tokio::spawn(async move { revisions(&mut fast, 500).await });
    write(&client, 500).await;
    let expected: Vec<_> = (first..first + 500).collect();
    assert_eq!(reader.await.unwrap(), expected);
    assert_eq!(revisions(&mut slow, 500).await, expected);
    // It is at the head again.
    let next = client.put(Put::new("k", "")).await.unwrap().header.unwrap().revision;
    assert_eq!(revisions(&mut slow, 1).await, [next]);
}

#[tokio::test]
async fn a_slow_reader_that_a_compaction_overtakes_learns_it() {
    let etcd = Etcd::start().await;
    let mut options = options();
    options.watch_queue_bytes = 4096;
    let client = etcd.client_with(options).await;
    let mut slow = client.watch(Keys::prefix("k")).await.unwrap();
    let mut fast = client.watch(Keys::prefix("k")).await.unwrap();
    let first = slow.header().revision + 1;
    let reader = tokio::spawn(async move { revisions(&mut fast, 500).await });
    let last = write(&client, 500).await;
    reader.await.unwrap();
    client.compact(last).await.unwrap();
    let mut expected = first;
    let error = loop {
        match events(&mut slow).await {
            Ok(events) => {
                for event in events {
                    assert_eq!(event.kv.unwrap().mod_revision, expected);
                    expected += 1;
                }
            }
            Err(error) => break error,
        }
    };
    assert!(expected < last, "the queue is small");
    assert!(matches!(error, Error::Compacted { compact_revision } if compact_revision == last), "{error:?}");
}

#[tokio::test]
async fn large_revisions_are_put_together_from_fragments() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let mut watch = client.watch(WatchOptions::new(Keys::prefix("k")).prev_kv()).await.unwrap();
    for n in 0..4 {
        client.put(Put::new(format!("k{n}"), vec![b'v'; 1_000_000])).await.unwrap();
    }
    assert_eq!(revisions(&mut watch, 4).await, [2, 3, 4, 5]);
    client.delete(Keys::prefix("k")).await.unwrap();
    let deleted = events(&mut watch).await.unwrap();
    assert_eq!(deleted.len(), 4, "one revision comes at once");
    assert!(deleted.iter().all(|event| event.prev_kv.as_ref().unwrap().value.len() == 1_000_000));
}

#[tokio::test]
async fn many_watches_share_a_stream_and_progress_is_told() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let mut watches = Vec::new();
    for n in 0..200 {
        watches.push(client.watch(format!("k{n}")).await.unwrap());
    }
    let last = write(&client, 200).await;
    for (n, watch) in watches.iter_mut().enumerate() {
        let event = events(watch).await.unwrap().remove(0);
        assert_eq!(event.kv.unwrap().key, format!("k{n}"));
    }
    watches[7].request_progress();
    match watches[7].next().await.unwrap().unwrap() {
        WatchNotice::Progress { header } => assert_eq!(header.revision, last),
        other @ WatchNotice::Events { .. } => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn filters_are_applied_and_empty_ranges_refused() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let mut deletions = client.watch(WatchOptions::new("k").no_put()).await.unwrap();
    let mut puts = client.watch(WatchOptions::new("k").no_delete()).await.unwrap();
    client.put(Put::new("k", "1")).await.unwrap();
    client.delete("k").await.unwrap();
    client.put(Put::new("k", "2")).await.unwrap();
    assert_eq!(revisions(&mut deletions, 1).await, [3]);
    assert_eq!(revisions(&mut puts, 2).await, [2, 4]);
    let refused = client.watch(Keys::between("b", "a")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WatchRangeEmpty);
}
