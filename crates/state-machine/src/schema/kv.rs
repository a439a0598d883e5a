//! The messages of keys and values inside an entry.

use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_mvcc::{RangeQuery, SortOrder, SortTarget};

use super::DecodeError;
use super::wire::{Backward, Field};
use crate::command::txn::DEPTH_MAX;
use crate::command::{Compact, Compare, CompareTarget, DeleteRange, Put, Range, Txn, TxnOp};

pub(super) fn write_put(writer: &mut Backward, put: &Put) {
    writer.bool(6, put.ignore_lease);
    writer.bool(5, put.ignore_value);
    writer.bool(4, put.prev_kv);
    writer.i64(3, put.lease);
    writer.bytes(2, &put.value);
    writer.bytes(1, &put.key);
}

pub(super) fn read_put(field: Field<'_>) -> Result<Put, DecodeError> {
    let mut put = Put::default();
    let mut fields = field.fields("PutRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => put.key = field.bytes()?,
            2 => put.value = field.bytes()?,
            3 => put.lease = field.i64()?,
            4 => put.prev_kv = field.bool()?,
            5 => put.ignore_value = field.bool()?,
            6 => put.ignore_lease = field.bool()?,
            _ => return field.unknown(),
        }
    }
    Ok(put)
}

pub(super) fn write_delete(writer: &mut Backward, delete: &DeleteRange) {
    let (key, range_end) = delete.range.to_wire();
    writer.bool(3, delete.prev_kv);
    writer.bytes(2, &range_end);
    writer.bytes(1, &key);
}

pub(super) fn read_delete(field: Field<'_>) -> Result<DeleteRange, DecodeError> {
    let (mut key, mut range_end, mut prev_kv) = (Bytes::new(), Bytes::new(), false);
    let mut fields = field.fields("DeleteRangeRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => key = field.bytes()?,
            2 => range_end = field.bytes()?,
            3 => prev_kv = field.bool()?,
            _ => return field.unknown(),
        }
    }
    Ok(DeleteRange { range: KeyRange::from_wire(key, range_end), prev_kv })
}

pub(super) fn write_range(writer: &mut Backward, range: &Range) {
    let query = &range.query;
    let (key, range_end) = query.range.to_wire();
    let (order, target) = range.wire_sort();
    writer.i64(13, query.create_revision_max);
    writer.i64(12, query.create_revision_min);
    writer.i64(11, query.mod_revision_max);
    writer.i64(10, query.mod_revision_min);
    writer.bool(9, query.count_only);
    writer.bool(8, query.keys_only);
    writer.bool(7, range.serializable);
    writer.i32(6, target);
    writer.i32(5, order);
    writer.i64(4, query.revision);
    writer.i64(3, query.limit);
    writer.bytes(2, &range_end);
    writer.bytes(1, &key);
}

pub(super) fn read_range(field: Field<'_>) -> Result<Range, DecodeError> {
    let (mut key, mut range_end) = (Bytes::new(), Bytes::new());
    let (mut order, mut target, mut serializable) = (0, 0, false);
    let mut query = RangeQuery::new(KeyRange::single(Bytes::new()));
    let mut fields = field.fields("RangeRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => key = field.bytes()?,
            2 => range_end = field.bytes()?,
            3 => query.limit = field.i64()?,
            4 => query.revision = field.i64()?,
            5 => order = field.i32()?,
            6 => target = field.i32()?,
            7 => serializable = field.bool()?,
            8 => query.keys_only = field.bool()?,
            9 => query.count_only = field.bool()?,
            10 => query.mod_revision_min = field.i64()?,
            11 => query.mod_revision_max = field.i64()?,
            12 => query.create_revision_min = field.i64()?,
            13 => query.create_revision_max = field.i64()?,
            _ => return field.unknown(),
        }
    }
    query.range = KeyRange::from_wire(key, range_end);
    Ok(Range::from_wire(query, serializable, order, target))
}

pub(super) fn write_compact(writer: &mut Backward, compact: &Compact) {
    writer.bool(2, compact.physical);
    writer.i64(1, compact.revision);
}

pub(super) fn read_compact(field: Field<'_>) -> Result<Compact, DecodeError> {
    let mut compact = Compact::default();
    let mut fields = field.fields("CompactionRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => compact.revision = field.i64()?,
            2 => compact.physical = field.bool()?,
            _ => return field.unknown(),
        }
    }
    Ok(compact)
}

pub(super) fn write_txn(writer: &mut Backward, txn: &Txn) {
    write_ops(writer, 3, &txn.failure);
    write_ops(writer, 2, &txn.success);
    for compare in txn.compares.iter().rev() {
        let mark = writer.open();
        write_compare(writer, compare);
        writer.close(1, mark);
    }
}

pub(super) fn read_txn(field: Field<'_>) -> Result<Txn, DecodeError> {
    read_nested_txn(field, DEPTH_MAX)
}

fn write_ops(writer: &mut Backward, number: u32, ops: &[TxnOp]) {
    for op in ops.iter().rev() {
        let outer = writer.open();
        let inner = writer.open();
        let kind = match op {
            TxnOp::Range(range) => {
                write_range(writer, range);
                Some(1)
            }
            TxnOp::Put(put) => {
                write_put(writer, put);
                Some(2)
            }
            TxnOp::DeleteRange(delete) => {
                write_delete(writer, delete);
                Some(3)
            }
            TxnOp::Txn(txn) => {
                write_txn(writer, txn);
                Some(4)
            }
            TxnOp::Absent => None,
        };
        if let Some(kind) = kind {
            writer.close(kind, inner);
        }
        writer.close(number, outer);
    }
}

/// `depth` is how many transactions may be nested from here, this one included.
fn read_nested_txn(field: Field<'_>, depth: usize) -> Result<Txn, DecodeError> {
    let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
    let mut txn = Txn::default();
    let mut fields = field.fields("TxnRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => txn.compares.push(read_compare(field)?),
            2 => txn.success.push(read_op(field, depth)?),
            3 => txn.failure.push(read_op(field, depth)?),
            _ => return field.unknown(),
        }
    }
    Ok(txn)
}

fn read_op(field: Field<'_>, depth: usize) -> Result<TxnOp, DecodeError> {
    let mut fields = field.fields("RequestOp")?;
    let Some(field) = fields.next()? else { return Ok(TxnOp::Absent) };
    let op = match field.number {
        1 => TxnOp::Range(read_range(field)?),
        2 => TxnOp::Put(read_put(field)?),
        3 => TxnOp::DeleteRange(read_delete(field)?),
        4 => TxnOp::Txn(read_nested_txn(field, depth)?),
        _ => return field.unknown(),
    };
    if fields.next()?.is_some() { Err(DecodeError::SeveralOperations) } else { Ok(op) }
}

fn write_compare(writer: &mut Backward, compare: &Compare) {
    let (key, range_end) = compare.range.to_wire();
    // Go writes the member of a oneof after all other fields, whatever its number.
    let target = match &compare.target {
        CompareTarget::Version(given) => {
            writer.u64_present(4, given.cast_unsigned());
            0
        }
        CompareTarget::CreateRevision(given) => {
            writer.u64_present(5, given.cast_unsigned());
            1
        }
        CompareTarget::ModRevision(given) => {
            writer.u64_present(6, given.cast_unsigned());
            2
        }
        CompareTarget::Value(given) => {
            writer.bytes_present(7, given);
            3
        }
        CompareTarget::Lease(given) => {
            writer.u64_present(8, given.cast_unsigned());
            4
        }
        CompareTarget::Unknown(target) => *target,
    };
    writer.bytes(64, &range_end);
    writer.bytes(3, &key);
    writer.i32(2, target);
    writer.i32(1, compare.result);
}

fn read_compare(field: Field<'_>) -> Result<Compare, DecodeError> {
    let (mut key, mut range_end) = (Bytes::new(), Bytes::new());
    let (mut result, mut target) = (0, 0);
    // The number of the given value's field, which says what kind it is of, with the value.
    let (mut kind, mut number, mut value) = (0, 0, Bytes::new());
    let mut fields = field.fields("Compare")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => result = field.i32()?,
            2 => target = field.i32()?,
            3 => key = field.bytes()?,
            4 | 5 | 6 | 8 => (kind, number) = (field.number, field.i64()?),
            7 => (kind, value) = (field.number, field.bytes()?),
            64 => range_end = field.bytes()?,
            _ => return field.unknown(),
        }
    }
    let number_of = |field| if kind == field { number } else { 0 };
    let target = match target {
        0 => CompareTarget::Version(number_of(4)),
        1 => CompareTarget::CreateRevision(number_of(5)),
        2 => CompareTarget::ModRevision(number_of(6)),
        3 => CompareTarget::Value(if kind == 7 { value } else { Bytes::new() }),
        4 => CompareTarget::Lease(number_of(8)),
        unknown => CompareTarget::Unknown(unknown),
    };
    Ok(Compare { range: KeyRange::from_wire(key, range_end), result, target })
}

impl Range {
    /// A range whose sort order and target are the numbers of the wire.
    pub fn from_wire(mut query: RangeQuery, serializable: bool, order: i32, target: i32) -> Self {
        let known_order = match order {
            0 => Some(SortOrder::None),
            1 => Some(SortOrder::Ascend),
            2 => Some(SortOrder::Descend),
            _ => None,
        };
        let known_target = match target {
            0 => Some(SortTarget::Key),
            1 => Some(SortTarget::Version),
            2 => Some(SortTarget::Create),
            3 => Some(SortTarget::Mod),
            4 => Some(SortTarget::Value),
            _ => None,
        };
        let unknown_sort = match (known_order, known_target) {
            (Some(order), Some(target)) => {
                (query.order, query.target) = (order, target);
                None
            }
            (None, _) | (_, None) => Some((order, target)),
        };
        Self { query, serializable, unknown_sort }
    }

    /// The sort order and target as the numbers of the wire.
    pub fn wire_sort(&self) -> (i32, i32) {
        if let Some(sort) = self.unknown_sort {
            return sort;
        }
        let order = match self.query.order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
        };
        let target = match self.query.target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        };
        (order, target)
    }
}
