//! What every [`Disk`] must do, as a suite that each implementation runs.

use crate::{Appender, DirEntryKind, Disk, create_atomically, read, replace};
use std::path::Path;

/// Runs the suite in `root`, an existing directory or one that can be made.
///
/// # Panics
/// If the disk does not conform.
pub fn run(disk: &dyn Disk, root: &Path) {
    disk.create_dir(root).expect("the root can be made");
    directories(disk, &root.join("directories"));
    offsets(disk, &root.join("offsets"));
    lengths(disk, &root.join("lengths"));
    names(disk, &root.join("names"));
    locks(disk, &root.join("locks"));
    whole_files(disk, &root.join("whole"));
    threads(disk, &root.join("threads"));
}

fn directories(disk: &dyn Disk, dir: &Path) {
    let deep = dir.join("a/b");
    disk.create_dir(&deep).expect("parents are made");
    disk.create_dir(&deep).expect("an existing directory is fine");
    assert!(disk.exists(&deep).expect("exists"));
    assert!(!disk.exists(&dir.join("z")).expect("exists"));
    let listed = disk.list(&dir.join("a")).expect("list");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].kind), ("b", DirEntryKind::Directory));
    assert!(disk.list(&dir.join("z")).expect_err("no such directory").is_not_found());
    disk.create(&dir.join("file")).expect("create");
    disk.create_dir(&dir.join("file/below")).expect_err("a file is no parent");
    disk.create(&dir.join("z/file")).expect_err("no parent");
    disk.sync_dir(&deep).expect("sync_dir");
}

fn offsets(disk: &dyn Disk, dir: &Path) {
    disk.create_dir(dir).expect("create_dir");
    let path = dir.join("f");
    assert!(disk.open(&path).expect_err("not there").is_not_found());
    let file = disk.create(&path).expect("create");
    assert!(disk.create(&path).expect_err("taken").is_already_exists());
    assert!(file.is_empty().expect("len"));
    file.write_at(b"world", 10_006).expect("write past the end");
    file.write_at(b"hello", 10_000).expect("write before");
    assert_eq!(file.len().expect("len"), 10_011);
    let mut buffer = [1; 13];
    assert_eq!(file.read_at(&mut buffer, 9_998).expect("read"), 13);
    assert_eq!(&buffer, b"\0\0hello\0world");
    assert_eq!(file.read_at(&mut buffer, 10_009).expect("a short read at the end"), 2);
    assert_eq!(file.read_at(&mut buffer, 99_999).expect("a read past the end"), 0);
    assert!(file.read_exact_at(&mut buffer, 10_009).expect_err("too short").is_unexpected_end());
    file.sync_data().expect("sync");
    let reader = disk.open_read_only(&path).expect("open");
    file.write_at(b"H", 10_000).expect("write");
    reader.read_exact_at(&mut buffer[..5], 10_000).expect("read");
    assert_eq!(&buffer[..5], b"Hello");
    reader.write_at(b"x", 0).expect_err("a read-only handle does not write");
}

fn lengths(disk: &dyn Disk, dir: &Path) {
    disk.create_dir(dir).expect("create_dir");
    let path = dir.join("f");
    let file = disk.create(&path).expect("create");
    file.write_at(&[7; 6_000], 0).expect("write");
    file.set_len(5_000).expect("cut");
    file.set_len(9_000).expect("grow");
    let bytes = read(disk, &path).expect("read");
    assert_eq!(bytes.len(), 9_000);
    assert!(bytes[..5_000].iter().all(|byte| *byte == 7));
    assert!(bytes[5_000..].iter().all(|byte| *byte == 0), "growing gives zeros");
    file.allocate(20_000).expect("allocate");
    assert_eq!(file.len().expect("len"), 20_000);
    file.allocate(10).expect("allocating less changes nothing");
    let bytes = read(disk, &path).expect("read");
    assert_eq!(bytes.len(), 20_000);
    assert!(bytes[..5_000].iter().all(|byte| *byte == 7));
    assert!(bytes[5_000..].iter().all(|byte| *byte == 0));
}

fn names(disk: &dyn Disk, dir: &Path) {
    let other = dir.join("other");
    disk.create_dir(&other).expect("create_dir");
    let (a, b) = (dir.join("a"), dir.join("b"));
    let file = disk.create(&a).expect("create");
    file.write_at(b"a", 0).expect("write");
    disk.create(&b).expect("create");
    disk.rename(&a, &b).expect("rename over");
    assert!(!disk.exists(&a).expect("exists"));
    file.write_at(b"!", 1).expect("the handle follows the name");
    assert_eq!(read(disk, &b).expect("read"), b"a!");
    assert!(disk.rename(&a, &b).expect_err("not there").is_not_found());
    disk.rename(&b, &other.join("b")).expect_err("a rename stays in its directory");
    assert!(disk.remove(&a).expect_err("not there").is_not_found());
    let listed: Vec<String> = disk.list(dir).expect("list").into_iter().map(|entry| entry.name).collect();
    assert_eq!(listed, ["b", "other"]);
    disk.remove(&b).expect("remove");
    let mut buffer = [0; 2];
    file.read_exact_at(&mut buffer, 0).expect("an open file outlives its name");
    assert_eq!(&buffer, b"a!");
    disk.sync_dir(dir).expect("sync_dir");
}

fn locks(disk: &dyn Disk, dir: &Path) {
    disk.create_dir(dir).expect("create_dir");
    let lock = disk.lock(dir).expect("free");
    let refused = disk.lock(dir).expect_err("held");
    assert!(refused.is_in_use());
    drop(lock);
    drop(disk.lock(dir).expect("free again"));
    assert!(!disk.lock(&dir.join("z")).expect_err("not there").is_in_use());
}

fn whole_files(disk: &dyn Disk, dir: &Path) {
    disk.create_dir(dir).expect("create_dir");
    let path = dir.join("f");
    disk.create(&dir.join("f.tmp")).expect("a leftover").write_at(b"leftover", 0).expect("write");
    replace(disk, &path, b"one").expect("replace");
    replace(disk, &path, b"2").expect("replace");
    assert_eq!(read(disk, &path).expect("read"), b"2");
    create_atomically(disk, &path, &mut |file| {
        let mut appender = Appender::new(file, 0);
        appender.append(b"three")?;
        appender.append(b"four")?;
        assert_eq!(appender.offset(), 9);
        Ok(())
    })
    .expect("create_atomically");
    assert_eq!(read(disk, &path).expect("read"), b"threefour");
    assert_eq!(disk.list(dir).expect("list").len(), 1, "no temporary file is left");
}

fn threads(disk: &dyn Disk, dir: &Path) {
    disk.create_dir(dir).expect("create_dir");
    let file = disk.create(&dir.join("f")).expect("create");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let file = &file;
            scope.spawn(move || {
                for round in 0..50u64 {
                    let offset = (round * 4 + u64::from(thread)) * 100;
                    file.write_at(&[thread + 1; 100], offset).expect("write");
                    let mut buffer = [0; 100];
                    file.read_exact_at(&mut buffer, offset).expect("read");
                    assert_eq!(buffer, [thread + 1; 100]);
                    file.sync_data().expect("sync");
                }
            });
        }
    });
    assert_eq!(file.len().expect("len"), 20_000);
}
