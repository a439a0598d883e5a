//! Changes that become visible, and durable, together.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::Table;

/// Puts and deletes that a backend applies as one.
///
/// Within a batch the last write to a key wins, in the order in which the operations were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
}

/// One change of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets `key` to `value`, whether or not it was there.
    Put {
        /// The table that is changed.
        table: Table,
        /// The key.
        key: Bytes,
        /// Its new value, which may be empty.
        value: Bytes,
    },
    /// Removes `key`; nothing happens if it is not there.
    Delete {
        /// The table that is changed.
        table: Table,
        /// The key.
        key: Bytes,
    },
}

impl Batch {
    /// A batch without operations.
    #[must_use]
    pub const fn new() -> Self {
        Self { ops: Vec::new(), bytes: 0 }
    }

    /// Adds: `key` of `table` is `value`.
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.push(Op::Put { table, key: key.into(), value: value.into() });
    }

    /// Adds: `key` of `table` is gone.
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.push(Op::Delete { table, key: key.into() });
    }

    /// Adds all operations of `later` behind its own.
    pub fn append(&mut self, mut later: Self) {
        self.bytes += later.bytes;
        self.ops.append(&mut later.ops);
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many operations were added; overwritten ones count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Bytes of all keys and values that were added; overwritten ones count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The operations in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Op> {
        self.ops.iter()
    }

    /// What the batch amounts to: by table and key, at most one operation a key, the last one.
    ///
    /// This is the order in which a tree takes many keys at the least cost.
    #[must_use]
    pub fn in_key_order(&self) -> Vec<&Op> {
        let mut ops: Vec<&Op> = self.ops.iter().collect();
        let rising = ops.windows(2).all(|pair| pair[0].place() < pair[1].place());
        if !rising {
            // Reversed before a stable sort, so that of equal keys the last written comes first and is kept.
            ops.reverse();
            ops.sort_by(|a, b| a.place().cmp(&b.place()));
            ops.dedup_by(|next, kept| next.place() == kept.place());
        }
        ops
    }

    fn push(&mut self, op: Op) {
        self.bytes += op.bytes();
        self.ops.push(op);
    }
}

impl Op {
    /// The table that is changed.
    #[must_use]
    pub fn table(&self) -> Table {
        match self {
            Self::Put { table, .. } | Self::Delete { table, .. } => *table,
        }
    }

    /// The key that is changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    fn place(&self) -> (Table, &Bytes) {
        (self.table(), self.key())
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_write_to_a_key_wins_and_keys_come_out_in_order() {
        let mut batch = Batch::new();
        batch.put(Table::Meta, "b", "1");
        batch.put(Table::Key, "z", "2");
        batch.put(Table::Key, "a", "3");
        batch.delete(Table::Meta, "b");
        batch.delete(Table::Key, "a");
        batch.put(Table::Key, "a", "4");
        assert_eq!((batch.len(), batch.bytes()), (6, 10));

        let mut expected = Batch::new();
        expected.put(Table::Key, "a", "4");
        expected.put(Table::Key, "z", "2");
        expected.delete(Table::Meta, "b");
        assert_eq!(batch.in_key_order(), expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_that_rises_already_is_left_as_it_is() {
        let mut batch = Batch::new();
        batch.put(Table::Key, "a", "");
        batch.put(Table::Key, "b", "");
        batch.put(Table::Lease, "a", "");
        assert_eq!(batch.in_key_order(), batch.iter().collect::<Vec<_>>());
    }

    #[test]
    fn appending_keeps_the_order_and_adds_the_sizes() {
        let mut first = Batch::new();
        first.put(Table::Key, "a", "1");
        let mut later = Batch::new();
        later.put(Table::Key, "a", "22");
        first.append(later);
        assert_eq!((first.len(), first.bytes()), (2, 5));
        let Op::Put { value, .. } = first.in_key_order()[0] else { panic!("a put went in") };
        assert_eq!(&value[..], b"22");
    }
}
