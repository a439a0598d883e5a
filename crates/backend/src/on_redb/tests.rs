//! The suite, what is refused, damage, and a disk that fails.

use std::error::Error;

use etched_disk::{Faults, SimDisk};

use super::*;

mod power_loss;

const PATH: &str = "/data/db";

pub(super) fn path() -> &'static Path {
    Path::new(PATH)
}

fn sim_disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("/data")).unwrap();
    disk
}

fn created(disk: &SimDisk) -> RedbBackend {
    RedbBackend::create(disk, path(), RedbOptions::default()).unwrap()
}

fn opened(disk: &SimDisk) -> Result<RedbBackend, OpenError> {
    RedbBackend::open(disk, path(), RedbOptions::default())
}

fn put(backend: &RedbBackend, key: &'static str, value: &'static str, durability: Durability) {
    let mut batch = Batch::new();
    batch.put(Table::Key, key, value);
    backend.commit(&batch, durability).unwrap();
}

fn get(backend: &RedbBackend, key: &str) -> Result<Option<Bytes>, BackendError> {
    backend.view().unwrap().get(Table::Key, key.as_bytes())
}

#[cfg(feature = "conformance")]
#[test]
fn it_conforms() {
    crate::conformance::run(&mut || created(&sim_disk()));
}

#[test]
fn what_was_synced_is_there_after_the_process_died() {
    let disk = sim_disk();
    let backend = created(&disk);
    put(&backend, "a", "1", Durability::Buffered);
    put(&backend, "b", "2", Durability::Synced);
    put(&backend, "c", "3", Durability::Buffered);
    let sizes = backend.sizes().unwrap();

    let backend = opened(&disk.killed_image()).unwrap();
    assert_eq!(get(&backend, "a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(get(&backend, "b").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(get(&backend, "c").unwrap(), None);
    assert!(backend.sizes().unwrap().in_use_bytes < sizes.in_use_bytes);
    put(&backend, "d", "4", Durability::Synced);
}

#[test]
fn what_is_in_use_is_known_without_a_walk_and_survives() {
    let disk = sim_disk();
    let backend = created(&disk);
    let empty = backend.sizes().unwrap().in_use_bytes;
    put(&backend, "key", "value", Durability::Synced);
    let one = backend.sizes().unwrap().in_use_bytes;
    assert_eq!(one - empty, 3 + 5 + 4 + 8);
    put(&backend, "key", "valu", Durability::Synced);
    assert_eq!(one - backend.sizes().unwrap().in_use_bytes, 1);
    drop(backend);
    let backend = opened(&disk).unwrap();
    assert_eq!(one - backend.sizes().unwrap().in_use_bytes, 1);
    let mut batch = Batch::new();
    batch.delete(Table::Key, "key");
    batch.delete(Table::Key, "never there");
    backend.commit(&batch, Durability::Buffered).unwrap();
    assert_eq!(backend.sizes().unwrap().in_use_bytes, empty);
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_is() {
    let check = |bytes: &[u8], expected: fn(&OpenError) -> bool| {
        let disk = sim_disk();
        disk.put_contents(path(), bytes);
        let error = opened(&disk).unwrap_err();
        assert!(expected(&error), "{error:?}");
        assert_eq!(disk.contents(path()).as_deref(), Some(bytes));
        assert!(matches!(
            RedbBackend::create(&disk, path(), RedbOptions::default()),
            Err(CreateError::Exists(_))
        ));
    };
    check(b"", |error| matches!(error, OpenError::Empty(_)));
    check(b"hello", |error| matches!(error, OpenError::Foreign { .. }));
    check(&[0; 8192], |error| matches!(error, OpenError::Foreign { .. }));
    let mut bbolt = [0; 8192];
    bbolt[16..20].copy_from_slice(&[0xed, 0xda, 0x0c, 0xed]);
    check(&bbolt, |error| matches!(error, OpenError::Etcd(_)));
    check(b"redb\x1A\x0A\xA9\x0D\x0A", |error| matches!(error, OpenError::Damaged { .. }));

    let error = opened(&sim_disk()).unwrap_err();
    assert!(matches!(error, OpenError::NotFound(_)), "{error:?}");
}

#[test]
fn a_redb_file_of_another_program_is_refused_and_left_as_it_is() {
    let disk = sim_disk();
    let file = Arc::new(File::direct(disk.create(path()).unwrap()).unwrap());
    let database = Database::builder().create_with_backend(file::Storage(file)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(definition(Table::Key)).unwrap();
    transaction.commit().unwrap();
    // Not closed: a repair is due, and none may be made here.
    let disk = disk.killed_image();
    let before = disk.contents(path());
    let error = opened(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    assert_eq!(disk.contents(path()), before);
}

/// Makes a file one of another format, as far as its own record and its tables tell.
fn set_format(backend: &RedbBackend, format: u32) {
    let transaction = begin_write(&backend.shared.database, Durability::Synced).unwrap();
    let mut stored = Vec::new();
    record::seal(record::INFO_TABLE, record::FORMAT_KEY, &format.to_le_bytes(), &mut stored);
    transaction.open_table(INFO).unwrap().insert(record::FORMAT_KEY, &stored[..]).unwrap();
    for table in Table::ALL.into_iter().filter(|table| open::since(*table) > format.max(1)) {
        transaction.delete_table(definition(table)).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn another_format_is_refused() {
    for format in [0, 4, u32::MAX] {
        let disk = sim_disk();
        let backend = created(&disk);
        set_format(&backend, format);
        drop(backend);
        let error = opened(&disk).unwrap_err();
        assert!(matches!(error, OpenError::Format { found, .. } if found == format), "{error:?}");
    }
}

#[test]
fn a_file_of_an_older_format_gets_its_missing_tables() {
    for format in [1, 2] {
        a_file_of_format_gets_its_missing_tables(format);
    }
}

fn a_file_of_format_gets_its_missing_tables(format: u32) {
    let disk = sim_disk();
    let backend = created(&disk);
    put(&backend, "key", "value", Durability::Synced);
    set_format(&backend, format);
    let in_use = backend.sizes().unwrap().in_use_bytes;
    drop(backend);
    for _ in 0..2 {
        let backend = opened(&disk).unwrap();
        let view = backend.view().unwrap();
        assert_eq!((view.count(Table::Catalog).unwrap(), view.count(Table::Key).unwrap()), (0, 1));
        assert_eq!(view.count(Table::V2).unwrap(), 0);
        assert_eq!(view.get(Table::Key, b"key").unwrap().as_deref(), Some(&b"value"[..]));
        assert_eq!(backend.sizes().unwrap().in_use_bytes, in_use);
    }
    let backend = opened(&disk).unwrap();
    let mut batch = Batch::new();
    batch.put(Table::Catalog, "block", "rows");
    backend.commit(&batch, Durability::Synced).unwrap();
    drop(backend);
    let view = opened(&disk).unwrap().view().unwrap();
    assert_eq!(view.get(Table::Catalog, b"block").unwrap().as_deref(), Some(&b"rows"[..]));
}

#[test]
fn a_file_in_use_is_refused_until_its_last_handle_is_gone() {
    let disk = sim_disk();
    let backend = created(&disk);
    let view = backend.view().unwrap();
    assert!(matches!(opened(&disk), Err(OpenError::InUse(_))));
    drop(backend);
    assert!(matches!(opened(&disk), Err(OpenError::InUse(_))));
    drop(view);
    opened(&disk).unwrap();
}

/// Where `bytes` stand in the file.
fn find(disk: &SimDisk, bytes: &[u8]) -> u64 {
    let contents = disk.contents(path()).unwrap();
    contents.windows(bytes.len()).rposition(|window| window == bytes).unwrap() as u64
}

#[test]
fn a_damaged_value_is_an_error_and_never_an_answer() {
    let disk = sim_disk();
    let backend = created(&disk);
    put(&backend, "sound", "good", Durability::Synced);
    put(&backend, "hurt", "a value that will be hurt", Durability::Synced);
    drop(backend);
    let offset = find(&disk, b"a value that will be hurt");
    disk.flip_bits(path(), offset + 3, 0x10);

    let backend = opened(&disk).unwrap();
    let damaged = BackendError::Damaged {
        table: Table::Key,
        key: Bytes::from_static(b"hurt"),
        why: "its checksum is wrong",
    };
    assert_eq!(get(&backend, "hurt"), Err(damaged.clone()));
    let mut visited = Vec::new();
    let scan =
        backend.view().unwrap().scan(Table::Key, (Bound::Unbounded, Bound::Unbounded), &mut |key, _| {
            visited.push(key.to_vec());
            ControlFlow::Continue(())
        });
    assert_eq!((scan, visited.len()), (Err(damaged), 0));
    assert_eq!(get(&backend, "sound").unwrap().as_deref(), Some(&b"good"[..]));

    let scrub = backend.scrub(ScrubCursor::start(), 100).unwrap();
    assert_eq!(scrub.damaged, [(Table::Key, Bytes::from_static(b"hurt"))]);
    assert_eq!((scrub.checked, scrub.next), (2, None));

    let everything = RedbOptions { integrity: Integrity::Everything, ..RedbOptions::default() };
    drop(backend);
    let before = disk.contents(path());
    let error = RedbBackend::open(&disk, path(), everything).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(disk.contents(path()), before);
}

#[test]
fn a_scrub_in_small_steps_sees_each_record_once() {
    let disk = sim_disk();
    let backend = created(&disk);
    let mut batch = Batch::new();
    for number in 0..25_u8 {
        batch.put(if number % 3 == 0 { Table::Lease } else { Table::Key }, vec![number], "");
    }
    backend.commit(&batch, Durability::Synced).unwrap();
    let (mut checked, mut steps, mut next) = (0, 0, Some(ScrubCursor::start()));
    while let Some(cursor) = next {
        let scrub = backend.scrub(cursor, 4).unwrap();
        assert!(scrub.damaged.is_empty() && scrub.checked <= 4);
        (checked, steps, next) = (checked + scrub.checked, steps + 1, scrub.next);
    }
    assert_eq!((checked, steps), (25, 7));
}

#[test]
fn after_a_failed_sync_everything_fails_for_ever() {
    let disk = sim_disk();
    let backend = created(&disk);
    put(&backend, "a", "1", Durability::Synced);
    let view = backend.view().unwrap();
    disk.set_faults(Faults { sync_fails_at: Some(1), ..Faults::default() });
    let mut batch = Batch::new();
    batch.put(Table::Key, "b", "2");
    let error = backend.commit(&batch, Durability::Synced).unwrap_err();
    assert!(matches!(error, BackendError::Storage(_)), "{error:?}");
    disk.set_faults(Faults::default());
    for _ in 0..2 {
        let poisoned = |error: BackendError| assert!(matches!(error, BackendError::Poisoned(_)), "{error:?}");
        poisoned(backend.commit(&batch, Durability::Buffered).unwrap_err());
        poisoned(backend.commit(&Batch::new(), Durability::Synced).unwrap_err());
        poisoned(backend.view().unwrap_err());
        poisoned(backend.sizes().unwrap_err());
        poisoned(view.get(Table::Key, b"a").unwrap_err());
    }
    drop((view, backend));
    let backend = opened(&disk).unwrap();
    assert_eq!(get(&backend, "a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_full_disk_fails_and_loses_nothing_that_was_synced() {
    let disk = sim_disk();
    let backend = created(&disk);
    put(&backend, "a", "1", Durability::Synced);
    disk.set_faults(Faults { growth_bytes_max: Some(1 << 20), ..Faults::default() });
    let mut batch = Batch::new();
    batch.put(Table::Key, "b", vec![7; 16 << 20]);
    assert!(matches!(backend.commit(&batch, Durability::Synced), Err(BackendError::Storage(_))));
    disk.set_faults(Faults::default());
    drop(backend);
    let backend = opened(&disk).unwrap();
    assert_eq!(get(&backend, "a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(get(&backend, "b").unwrap(), None);
}

#[test]
fn any_damage_to_the_head_is_refused_or_harmless() {
    let disk = sim_disk();
    let backend = created(&disk);
    put(&backend, "a", "1", Durability::Synced);
    drop(backend);
    let (mut refused, mut harmless) = (0, 0);
    for offset in 0..320 {
        let disk = disk.killed_image();
        disk.flip_bits(path(), offset, 0x04);
        let before = disk.contents(path());
        match opened(&disk) {
            Ok(backend) => {
                assert_eq!(get(&backend, "a").unwrap().as_deref(), Some(&b"1"[..]), "offset {offset}");
                harmless += 1;
            }
            Err(error) => {
                assert!(error.source().is_none_or(|source| !source.to_string().is_empty()));
                assert_eq!(disk.contents(path()), before, "offset {offset}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 20 && harmless > 20, "{refused} refused, {harmless} harmless");
}
