//! etcd's golden hashes, and answers that were worked out by hand.

use super::*;

/// Hash, compact revision, hash revision.
type Golden = (u32, i64, i64);

#[rustfmt::skip]
const IN_THE_MIDDLE: [Golden; 19] = [
    (4082599214, -1, 35), (2279933401, 35, 106), (3284231217, 106, 177), (126286495, 177, 248),
    (900108730, 248, 319), (2475485232, 319, 390), (1226296507, 390, 461), (2503661030, 461, 532),
    (4155130747, 532, 603), (106915399, 603, 674), (406914006, 674, 745), (1882211381, 745, 816),
    (806177088, 816, 887), (664311366, 887, 958), (1496914449, 958, 1029), (2434525091, 1029, 1100),
    (3988652253, 1100, 1171), (1122462288, 1171, 1242), (724436716, 1242, 1883),
];

fn pick_key(turn: i64) -> &'static str {
    match turn {
        turn if turn % 142 == 30 => "zenek",
        turn if turn % 71 == 30 => "xavery",
        turn => ["alice", "bob", "celine", "dominik", "eve", "frederica", "gorge"]
            [usize::try_from(turn % 7).unwrap()],
    }
}

fn put_many(kv: &mut Kv, from: i64, more: i64) {
    for turn in from..=from + more {
        kv.txn(&[Write::put(pick_key(turn), turn.to_string(), 0)]);
    }
}

#[test]
fn hashes_are_those_of_etcd() {
    let mut kv = Kv::new();
    let mut from = 0;
    let mut hashes = Vec::new();
    while from < 1210 {
        put_many(&mut kv, from, 71);
        hashes.push(kv.hash(from + 35).unwrap());
        kv.compact(from + 35).unwrap();
        kv.finish_compaction();
        assert_eq!(kv.hash(from + 35).unwrap().hash, hashes.last().unwrap().hash);
        from += 71;
    }
    put_many(&mut kv, from, 1210);
    hashes.push(kv.hash(from + 605).unwrap());
    let hashes: Vec<Golden> =
        hashes.iter().map(|hash| (hash.hash, hash.compact_revision, hash.hash_revision)).collect();
    assert_eq!(hashes, IN_THE_MIDDLE);
}

#[test]
fn a_deletion_at_the_compaction_stays_and_one_below_goes() {
    let mut kv = Kv::new();
    kv.txn(&[Write::put("a", "1", 0)]);
    kv.txn(&[Write::delete("a", "")]);
    kv.txn(&[Write::put("b", "1", 0)]);
    kv.compact(3).unwrap();
    assert_eq!(kv.finish_compaction(), 1);
    assert_eq!(kv.history(3, 4).unwrap().len(), 2);
    assert_eq!(kv.history(2, 4), Err(Refused::Compacted));
    kv.compact(4).unwrap();
    assert_eq!(kv.finish_compaction(), 1);
    assert_eq!(kv.stored.iter().collect::<Vec<_>>(), [&(4, 0)]);
}

#[test]
fn an_answer_without_an_order_is_cut_before_it_is_sorted() {
    let mut kv = Kv::new();
    for (key, value) in [("a", "3"), ("b", "2"), ("c", "1")] {
        kv.txn(&[Write::put(key, value, 7)]);
    }
    let query =
        Query { key: vec![b'a'], range_end: vec![0], limit: 1, target: Target::Value, ..Query::default() };
    let keys = |query: &Query| -> Vec<Vec<u8>> {
        kv.range(query).unwrap().records.into_iter().map(|record| record.key).collect()
    };
    assert_eq!(keys(&query), [b"b"]);
    assert_eq!(keys(&Query { order: Order::Ascend, ..query.clone() }), [b"c"]);
    let leases = |query: &Query| kv.range(query).unwrap().records[0].lease;
    assert_eq!(leases(&Query { keys_only: true, ..query.clone() }), 7);
    assert_eq!(leases(&Query { keys_only: true, target: Target::Mod, ..query }), 0);
}
