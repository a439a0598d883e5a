//! Streamed ranges: their pieces make up the answer of a plain range.

use super::*;

/// A member with these keys, all of revision 3, that pages as a store does.
fn serve_keys(keys: &'static [&'static str], value_bytes: usize) -> Served {
    serve(
        FakeApi::new(move |request| {
            let Request::Range(range) = request else { panic!("{request:?}") };
            let value = "v".repeat(value_bytes);
            let found: Vec<_> =
                keys.iter().filter(|key| range.query.range.contains(key.as_bytes())).collect();
            let limit =
                usize::try_from(range.query.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
            let records = if range.query.count_only { 0 } else { limit };
            Some(Ok(Answer::Range(RangeOutput {
                records: found.iter().take(records).map(|key| record(key, &value, 3)).collect(),
                more: !range.query.count_only && found.len() > limit,
                count: found.len() as i64,
                revision: 30,
            })))
        }),
        "",
    )
}

const KEYS: &[&str] = &[
    "k00", "k01", "k02", "k03", "k04", "k05", "k06", "k07", "k08", "k09", "k10", "k11", "k12", "k13", "k14",
    "k15", "k16", "k17", "k18", "k19", "k20", "k21", "k22", "k23", "k24", "k25", "k26", "k27", "k28", "k29",
    "k30", "k31",
];

async fn pieces(served: &Served, request: pb::RangeRequest) -> Vec<pb::RangeResponse> {
    let mut client = KvClient::new(served.channel().await);
    let stream = client.range_stream(request).await.unwrap().into_inner();
    stream.map(|piece| piece.unwrap().range_response.unwrap()).collect().await
}

#[tokio::test]
async fn the_pieces_of_a_streamed_range_make_up_its_answer() {
    let served = serve_keys(KEYS, 1);
    let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    for (limit, sizes, more) in [
        (0, vec![10, 20, 2], false),
        (25, vec![10, 15], true),
        (32, vec![10, 20, 2], false),
        (7, vec![7], true),
        (-1, vec![32], false),
    ] {
        let got = pieces(&served, pb::RangeRequest { limit, ..all.clone() }).await;
        assert_eq!(got.iter().map(|piece| piece.kvs.len()).collect::<Vec<_>>(), sizes, "{limit}");
        let (last, before) = got.split_last().unwrap();
        assert!(before.iter().all(|piece| piece.header.is_none() && piece.count == 0 && !piece.more));
        assert_eq!((last.header, last.count, last.more), (header(30), 32, more), "{limit}");
        let keys: Vec<_> = got.iter().flat_map(|piece| &piece.kvs).map(|kv| kv.key.clone()).collect();
        let wanted: Vec<_> =
            KEYS.iter().take(keys.len()).map(|key| Bytes::from_static(key.as_bytes())).collect();
        assert_eq!(keys, wanted, "{limit}");
    }
    {
        let requests = served.api.requests.lock().unwrap();
        let ranges: Vec<_> = requests
            .iter()
            .map(|request| match request {
                Request::Range(range) => (range.serializable, range.query.revision),
                other => panic!("{other:?}"),
            })
            .take(3)
            .collect();
        assert_eq!(ranges, [(false, 0), (true, 30), (true, 30)], "pinned after the first piece");
    }
    let counted = pieces(&served, pb::RangeRequest { count_only: true, ..all.clone() }).await;
    assert_eq!(counted, [pb::RangeResponse { header: header(30), count: 32, ..Default::default() }]);
    let none = pieces(&served, pb::RangeRequest { key: "x".into(), ..Default::default() }).await;
    assert_eq!(none, [pb::RangeResponse { header: header(30), ..Default::default() }]);
    let mut client = KvClient::new(served.channel().await);
    let error = client.range_stream(pb::RangeRequest { sort_order: 2, ..all }).await.unwrap_err();
    assert_eq!(error.message(), "RangeStream does not support custom sort orders");
    served.stop().await;
}

#[tokio::test]
async fn large_records_come_in_smaller_pieces() {
    let served = serve_keys(KEYS, 400_000);
    let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let mut client = KvClient::new(served.channel().await).max_decoding_message_size(1 << 30);
    let stream = client.range_stream(all).await.unwrap().into_inner();
    let sizes: Vec<_> = stream.map(|piece| piece.unwrap().range_response.unwrap().kvs.len()).collect().await;
    assert_eq!(sizes, [10, 5, 5, 5, 5, 2]);
    served.stop().await;
}
