//! What a simulated power loss keeps and loses.

use super::*;

const DIR: &str = "/d";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn disk_with_file(name: &str, bytes: &[u8]) -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new(DIR)).unwrap();
    let file = disk.create(&path(name)).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    (disk, file)
}

#[test]
fn the_simulated_disk_conforms() {
    crate::conformance::run(&SimDisk::new(3), Path::new("/root"));
}

#[test]
fn what_was_synced_survives_every_crash() {
    let (disk, file) = disk_with_file("f", &[1; 3_000]);
    file.write_at(&[2; 100], 5_000).unwrap();
    for seed in 0..100 {
        let after = disk.crash_image(seed).contents(&path("f")).unwrap();
        assert!(after[..3_000].iter().all(|byte| *byte == 1));
    }
}

#[test]
fn an_unsynced_write_is_kept_lost_or_torn_at_sectors() {
    let (disk, file) = disk_with_file("f", &[1; 4_096]);
    file.write_at(&[2; 1_000], 100).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let after = disk.crash_image(seed).contents(&path("f")).unwrap();
        let new: Vec<bool> = [100..512, 512..1_024, 1_024..1_100]
            .into_iter()
            .map(|range| {
                let piece = &after[range];
                assert!(piece.iter().all(|byte| *byte == piece[0]), "a sector is whole");
                piece[0] == 2
            })
            .collect();
        assert!(after[1_100..].iter().all(|byte| *byte == 1));
        seen.insert(new);
    }
    assert_eq!(seen.len(), 8, "each combination is seen");
}

#[test]
fn a_name_survives_only_with_its_directory_synced() {
    let (disk, _file) = disk_with_file("a", b"a");
    disk.rename(&path("a"), &path("b")).unwrap();
    let new = disk.create(&path("c")).unwrap();
    new.write_at(b"c", 0).unwrap();
    new.sync_data().unwrap();
    let synced = disk.synced_image();
    assert!(synced.contents(&path("a")).is_some() && synced.contents(&path("c")).is_none());
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let after = disk.crash_image(seed);
        let exists = |name| after.contents(&path(name)).is_some();
        seen.insert((exists("a"), exists("b"), exists("c")));
    }
    let prefixes = [(true, false, false), (false, true, false), (false, true, true)];
    assert_eq!(seen, BTreeSet::from(prefixes));
}

#[test]
fn after_the_planned_operation_the_power_is_off() {
    let (disk, file) = disk_with_file("f", b"old");
    disk.set_faults(Faults { crash_at: Some(2), ..Faults::default() });
    file.write_at(b"new", 0).unwrap();
    assert!(file.sync_data().is_err());
    assert!(disk.is_crashed());
    assert!(file.read_at(&mut [0; 3], 0).is_err() && disk.list(Path::new(DIR)).is_err());
    let seen: BTreeSet<Vec<u8>> =
        (0..50).map(|seed| disk.crash_image(seed).contents(&path("f")).unwrap()).collect();
    assert_eq!(seen, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
}

#[test]
fn a_sync_after_a_failed_sync_saves_nothing() {
    let (disk, file) = disk_with_file("f", &[1; 8_192]);
    file.write_at(&[2; 8_192], 0).unwrap();
    disk.set_faults(Faults { sync_fails_at: Some(1), ..Faults::default() });
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(disk.contents(&path("f")).unwrap(), [2; 8_192], "the cache still shows it");
    let after = disk.synced_image().contents(&path("f")).unwrap();
    assert!(after.contains(&1) && after.contains(&2));
}

#[test]
fn a_full_disk_takes_no_more_growth_but_overwrites() {
    let (disk, file) = disk_with_file("f", &[1; 1_024]);
    disk.set_faults(Faults { growth_bytes_max: Some(1_100), ..Faults::default() });
    let error = file.write_at(&[2; 4_096], 1_024).unwrap_err();
    assert!(error.is_full());
    assert_eq!(file.len().unwrap(), 2_048, "done in part, up to a sector");
    file.write_at(&[3; 2_048], 0).unwrap();
    assert!(file.set_len(1 << 20).unwrap_err().is_full());
    disk.set_faults(Faults::default());
    file.set_len(1 << 20).unwrap();
}

#[test]
fn planned_reads_and_writes_fail_once() {
    let (disk, file) = disk_with_file("f", b"abc");
    disk.set_faults(Faults { read_fails_at: Some(2), write_fails_at: Some(1), ..Faults::default() });
    assert!(file.write_at(b"x", 0).is_err());
    file.write_at(b"y", 0).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0).unwrap();
    assert_eq!(&byte, b"y");
    assert!(file.read_at(&mut byte, 0).is_err());
    file.read_exact_at(&mut byte, 0).unwrap();
}

#[test]
fn damage_hits_the_disk_and_the_reader() {
    let (disk, _file) = disk_with_file("f", &[0xff; 2_000]);
    disk.flip_bits(&path("f"), 3, 0x10);
    disk.zero_sector(&path("f"), 1);
    disk.truncate(&path("f"), 1_500);
    for image in [disk.clone(), disk.synced_image()] {
        let bytes = image.contents(&path("f")).unwrap();
        assert_eq!(
            (bytes.len(), bytes[3], bytes[511], bytes[512], bytes[1_024]),
            (1_500, 0xef, 0xff, 0, 0xff)
        );
    }
}

#[test]
fn a_killed_process_loses_locks_but_no_bytes() {
    let (disk, file) = disk_with_file("f", b"abc");
    let _lock = disk.lock(Path::new(DIR)).unwrap();
    file.write_at(b"xyz", 0).unwrap();
    let after = disk.killed_image();
    assert_eq!(after.contents(&path("f")).unwrap(), b"xyz");
    drop(after.lock(Path::new(DIR)).unwrap());
    assert_eq!(after.synced_image().contents(&path("f")).unwrap(), b"abc", "it is still unsynced");
}

#[test]
fn a_file_that_lost_its_name_unsynced_can_come_back_after_a_kill() {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.create(&path("f")).unwrap().write_at(b"abc", 0).unwrap();
    disk.remove(&path("f")).unwrap();
    let killed = disk.killed_image();
    assert!(killed.contents(&path("f")).is_none());
    let back = (0..50).filter(|seed| killed.crash_image(*seed).contents(&path("f")).is_some()).count();
    assert!(back > 0 && back < 50);
}

#[test]
fn equal_seeds_give_equal_crashes() {
    let (disk, file) = disk_with_file("f", &[1; 100_000]);
    file.write_at(&[2; 90_000], 5_000).unwrap();
    let image = |seed| disk.crash_image(seed).contents(&path("f")).unwrap();
    assert_eq!(image(9), image(9));
    assert!((0..20).any(|seed| image(seed) != image(9)));
}

#[test]
fn poor_media_tear_a_sector_at_a_byte() {
    let disk = SimDisk::new(3);
    disk.set_tear(Tear::Bytes);
    disk.create_dir(Path::new("/d")).unwrap();
    let file = disk.create(Path::new("/d/f")).unwrap();
    file.write_at(&[1; 512], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(&[2; 512], 0).unwrap();
    let mut changes_seen = BTreeSet::new();
    for seed in 0..200 {
        let content = disk.crash_image(seed).contents(Path::new("/d/f")).unwrap();
        let borders = content.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(borders <= 1, "one place at most");
        changes_seen.insert((content[0], content[511]));
    }
    assert_eq!(changes_seen.into_iter().collect::<Vec<_>>(), [(1, 1), (1, 2), (2, 1), (2, 2)]);
}
