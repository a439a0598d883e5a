//! The rules of the replicated part.

use super::*;
use alloc::format;
use alloc::vec;
use etched_backend::{Backend, Durability, MemoryBackend, Op};

fn granted(ids: &[i64]) -> Leases {
    let mut leases = Leases::new();
    for &id in ids {
        leases.grant(id, 60, &mut Batch::new()).unwrap();
    }
    leases
}

fn restored(batch: &Batch) -> Result<Leases, RestoreError> {
    let backend = MemoryBackend::new();
    backend.commit(batch, Durability::Synced).unwrap();
    Leases::restore(&backend.view().unwrap())
}

fn keys(leases: &Leases, id: i64) -> Vec<&[u8]> {
    leases.get(id).unwrap().keys().map(|key| key.as_ref()).collect()
}

#[test]
fn an_id_can_be_negative_but_not_taken_or_zero() {
    let mut leases = granted(&[-5]);
    let mut batch = Batch::new();
    assert_eq!(leases.grant(-5, 60, &mut batch), Err(GrantError::Exists));
    assert_eq!(leases.grant(0, 60, &mut batch), Err(GrantError::ZeroId));
    assert_eq!(leases.grant(1, TTL_MAX + 1, &mut batch), Err(GrantError::TtlTooLarge));
    assert!(batch.is_empty());
    assert_eq!(leases.grant(1, TTL_MAX, &mut batch), Ok(()));
    assert_eq!(leases.iter().map(|(id, _)| id).collect::<Vec<_>>(), [-5, 1]);
}

#[test]
fn revoking_returns_the_keys_in_order_and_forgets_the_lease() {
    let mut leases = granted(&[1]);
    for key in ["b", "c", "a", "b"] {
        assert!(leases.attach(1, key.into()));
    }
    leases.detach(1, b"c");
    let mut batch = Batch::new();
    assert_eq!(leases.revoke(1, &mut batch), Ok(vec!["a".into(), "b".into()]));
    assert!(!leases.contains(1));
    let key = Bytes::copy_from_slice(&1i64.to_be_bytes());
    assert_eq!(batch.iter().collect::<Vec<_>>(), [&Op::Delete { table: Table::Lease, key }]);
    assert_eq!(leases.revoke(1, &mut batch), Err(NotFound));
    assert_eq!(batch.len(), 1);
}

#[test]
fn unknown_leases_hold_no_keys() {
    let mut leases = granted(&[1]);
    assert!(!leases.attach(2, "a".into()));
    leases.detach(2, b"a");
    leases.detach(1, b"a");
    assert_eq!(keys(&leases, 1), [b""; 0]);
}

#[test]
fn attachments_survive_in_every_size() {
    let mut leases = granted(&[1]);
    let key = |n: u32| Bytes::from(format!("{n:03}"));
    for n in (0..200).rev() {
        leases.attach(1, key(n));
    }
    assert!(keys(&leases, 1).is_sorted());
    for n in 0..200 {
        assert_eq!(leases.get(1).unwrap().keys().count(), 200 - n as usize);
        leases.detach(1, &key(n));
    }
    assert_eq!(keys(&leases, 1), [b""; 0]);
    leases.attach(1, "x".into());
    assert_eq!(keys(&leases, 1), [b"x"]);
}

#[test]
fn a_checkpoint_is_noted_until_it_is_cleared() {
    let mut leases = granted(&[1]);
    let mut batch = Batch::new();
    let life = |leases: &Leases| leases.get(1).map(|lease| (lease.remaining(), lease.life()));
    leases.checkpoint(1, 20, &mut batch);
    assert_eq!(life(&leases), Some((20, 20)));
    leases.checkpoint(1, 20, &mut batch);
    leases.checkpoint(2, 20, &mut batch);
    assert_eq!(batch.len(), 1, "what changes nothing is not stored");
    leases.checkpoint(1, 0, &mut batch);
    assert_eq!(life(&leases), Some((0, 60)));
    assert_eq!(batch.len(), 2);
}

#[test]
fn a_checkpoint_cannot_give_more_than_was_granted() {
    let mut leases = granted(&[1]);
    for (proposed, noted) in [(61, 60), (i64::MAX, 60), (-1, 0), (i64::MIN, 0)] {
        leases.checkpoint(1, proposed, &mut Batch::new());
        assert_eq!(leases.get(1).unwrap().remaining(), noted);
    }
}

#[test]
fn what_was_stored_is_restored_without_attachments() {
    let mut batch = Batch::new();
    let mut leases = Leases::new();
    for id in [1, -1, i64::MAX, i64::MIN] {
        leases.grant(id, 60, &mut batch).unwrap();
    }
    leases.revoke(1, &mut batch).unwrap();
    leases.checkpoint(-1, 7, &mut batch);
    assert_eq!(restored(&batch).unwrap(), leases);
    leases.attach(-1, "a".into());
    assert_ne!(restored(&batch).unwrap(), leases);
}

#[test]
fn damaged_records_are_refused() {
    let good = schema::encode(&schema::LeaseRecord { id: 1, ttl: 60, remaining: 0 });
    for (key, value) in [
        (vec![1], good.clone()),
        (schema::key(2), good),
        (schema::key(1), vec![0xff]),
        (schema::key(1), vec![]),
        (schema::key(0), vec![]),
    ] {
        let mut batch = Batch::new();
        batch.put(Table::Lease, key, value);
        assert!(matches!(restored(&batch), Err(RestoreError::Damaged { .. })));
    }
}
