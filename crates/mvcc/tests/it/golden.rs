//! Hashes that etcd's own tests expect.

use etched_backend::MemoryBackend;
use etched_mvcc::RangeError;

use crate::world::World;

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

#[rustfmt::skip]
const AT_THE_END: [Golden; 19] = [
    (1913897190, -1, 73), (224860069, 73, 145), (1565167519, 145, 217), (1566261620, 217, 289),
    (2037173024, 289, 361), (691659396, 361, 433), (2713730748, 433, 505), (3919322507, 505, 577),
    (769967540, 577, 649), (2909194793, 649, 721), (1576921157, 721, 793), (4067701532, 793, 865),
    (2226384237, 865, 937), (2923408134, 937, 1009), (2680329256, 1009, 1081), (1546717673, 1081, 1153),
    (2713657846, 1153, 1225), (1046575299, 1225, 1297), (2017735779, 1297, 2508),
];

fn pick(turn: i64) -> &'static str {
    match turn {
        turn if turn % 142 == 30 => "zenek",
        turn if turn % 71 == 30 => "xavery",
        turn => ["alice", "bob", "celine", "dominik", "eve", "frederica", "gorge"]
            [usize::try_from(turn % 7).unwrap()],
    }
}

/// Puts and compacts as etcd's test does; `revision_of` says which revision is hashed after the puts from a turn.
fn hashes(revision_of: impl Fn(i64, i64) -> i64) -> Vec<Golden> {
    let mut world = World::new(MemoryBackend::new(), 10_000);
    let mut hashes = Vec::new();
    let put_many = |world: &mut World<MemoryBackend>, from: i64, more: i64| {
        (from..=from + more).for_each(|turn| world.put(pick(turn), &turn.to_string()));
    };
    let mut from = 0;
    while from < 1210 {
        put_many(&mut world, from, 71);
        let hash = world.hash(revision_of(from, 71)).unwrap();
        world.compact(hash.hash_revision);
        world.finish_compactions();
        assert_eq!(world.hash(hash.hash_revision), Ok(hash), "compaction makes the same hash");
        hashes.push((hash.hash, hash.compact_revision, hash.hash_revision));
        from += 71;
    }
    put_many(&mut world, from, 1210);
    let hash = world.hash(revision_of(from, 1210)).unwrap();
    hashes.push((hash.hash, hash.compact_revision, hash.hash_revision));
    hashes
}

#[test]
fn hashes_in_the_middle_of_history_are_those_of_etcd() {
    assert_eq!(hashes(|from, more| from + more / 2), IN_THE_MIDDLE);
}

#[test]
fn hashes_at_the_end_of_history_are_those_of_etcd() {
    assert_eq!(hashes(|_, _| 0), AT_THE_END);
}

#[test]
fn with_deletions_compaction_makes_the_hash_that_was_there_before_it() {
    let mut world = World::new(MemoryBackend::new(), 0);
    for turn in 0..1210 {
        match turn {
            turn if turn % 67 == 0 => world.delete(pick(turn + 83), ""),
            turn => world.put(pick(turn), &turn.to_string()),
        }
        if turn % 72 == 71 {
            let revision = world.store.revision() - turn % 2;
            let before = world.hash(revision).unwrap();
            world.compact(revision);
            world.finish_compactions();
            assert_eq!(world.hash(revision), Ok(before));
        }
    }
}

#[test]
fn the_hash_at_a_negative_revision_is_that_of_nothing() {
    let mut world = World::new(MemoryBackend::new(), 0);
    world.put("a", "1");
    let nothing = world.hash(-5).unwrap();
    assert_eq!(
        (nothing.hash, nothing.compact_revision, nothing.hash_revision),
        (crc32c::crc32c(b"key"), -1, -5)
    );
    assert_eq!(world.hash(4), Err(RangeError::FutureRevision));
    world.put("a", "2");
    world.compact(3);
    assert_eq!(world.hash(2), Err(RangeError::Compacted));
    assert_eq!(world.hash(-5).unwrap().compact_revision, 3);
}
