//! Entries and stored records, byte for byte as etcd writes them. See `docs/formats/entries.md`.
//!
//! An entry is an `InternalRaftRequest`: a header with the caller's ticket in field 100, and one operation in the field
//! that names it.
//!
//! Reading is strict. An unknown field or operation is written by a newer version, which must not be misunderstood: the
//! member stops instead. Nothing that stands in an entry panics.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::alarms::{AlarmKind, AlarmMember};
use crate::command::{AlarmRequest, Command, Header, V2Command};
use wire::{Backward, Field, Fields};

mod auth;
mod kv;
mod old;
mod raftpb;
mod v2;
mod wire;

/// The field of the header in `InternalRaftRequest`.
const HEADER: u32 = 100;

/// The operation of etcd up to 3.5, which later versions do not know.
const V2: u32 = 2;
const RANGE: u32 = 3;
const PUT: u32 = 4;
const DELETE_RANGE: u32 = 5;
const TXN: u32 = 6;
const COMPACTION: u32 = 7;
const LEASE_GRANT: u32 = 8;
const LEASE_REVOKE: u32 = 9;
const ALARM: u32 = 10;
const LEASE_CHECKPOINT: u32 = 11;
const CLUSTER_VERSION_SET: u32 = 1300;
const MEMBER_ATTRIBUTES_SET: u32 = 1301;
const DOWNGRADE_SET: u32 = 1302;
const DOWNGRADE_VERSION_TEST: u32 = 9900;

/// The names of the records in the tables `meta` and `cluster`.
pub(crate) const CONSISTENT_INDEX: &str = "consistent_index";
pub(crate) const TERM: &str = "term";
pub(crate) const CONF_STATE: &str = "confState";
pub(crate) const STORAGE_VERSION: &str = "storageVersion";
pub(crate) const CLUSTER_VERSION: &str = "clusterVersion";
pub(crate) const DOWNGRADE: &str = "downgrade";
/// The value of every record in table `members_removed`.
pub(crate) const REMOVED: &str = "removed";

/// Why an entry cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are no protobuf message of the expected form.
    #[error("the bytes are no valid message")]
    Malformed,
    /// A field, or its type, is not known to this version.
    #[error("field {field} of {message} is unknown")]
    UnknownField {
        /// The message it stands in.
        message: &'static str,
        /// Its number.
        field: u32,
    },
    /// The entry names no operation.
    #[error("the entry has no operation")]
    NoOperation,
    /// The entry, or an operation of a transaction, names more than one.
    #[error("there is more than one operation where one is expected")]
    SeveralOperations,
    /// The entry is a write to keys of the v2 API.
    #[error("the entry is a write of the v2 API")]
    V2Write,
    /// Transactions are nested deeper than any checked request.
    #[error("transactions are nested too deeply")]
    TooDeep,
}

/// The entry for a command.
pub fn encode(header: &Header, command: &Command) -> Bytes {
    let mut writer = Backward::with_capacity(capacity(header, command));
    if let Command::V2(_) = command {
        let mark = writer.open();
        writer.bytes(1, v2::MARKER.as_bytes());
        writer.close(DOWNGRADE_VERSION_TEST, mark);
    }
    let number = field_number(command);
    if number < HEADER {
        write_header(&mut writer, header);
    }
    let mark = writer.open();
    match command {
        Command::Put(put) => kv::write_put(&mut writer, put),
        Command::DeleteRange(delete) => kv::write_delete(&mut writer, delete),
        Command::Txn(txn) => kv::write_txn(&mut writer, txn),
        Command::Range(range) => kv::write_range(&mut writer, range),
        Command::Compact(compact) => kv::write_compact(&mut writer, compact),
        Command::LeaseGrant { id, ttl } => {
            writer.i64(2, *id);
            writer.i64(1, *ttl);
        }
        Command::LeaseRevoke { id } => writer.i64(1, *id),
        Command::LeaseCheckpoint(notes) => {
            for (id, remaining) in notes.iter().rev() {
                let note = writer.open();
                writer.i64(2, *remaining);
                writer.i64(1, *id);
                writer.close(1, note);
            }
        }
        Command::Alarm(request) => {
            writer.i32(3, request.alarm);
            writer.u64(2, request.member_id);
            writer.i32(1, request.action);
        }
        Command::ClusterVersionSet { version } | Command::DowngradeVersionTest { version } => {
            writer.bytes(1, version.as_bytes());
        }
        Command::MemberAttributes { member_id, name, client_urls } => {
            let attributes = writer.open();
            for url in client_urls.iter().rev() {
                writer.bytes_present(2, url.as_bytes());
            }
            writer.bytes(1, name.as_bytes());
            writer.close(2, attributes);
            writer.u64(1, *member_id);
        }
        Command::DowngradeSet { enabled, version } => {
            writer.bytes(2, version.as_bytes());
            writer.bool(1, *enabled);
        }
        Command::Auth(operation) => auth::write(&mut writer, operation),
        Command::V2(command) => v2::write(&mut writer, command),
    }
    writer.close(number, mark);
    if number > HEADER {
        write_header(&mut writer, header);
    }
    writer.finish()
}

/// The command of an entry. Its keys and values share the entry's buffer.
///
/// # Errors
///
/// If the entry is not of a form that this version knows.
pub fn decode(entry: &Bytes) -> Result<(Header, Command), DecodeError> {
    if old::is_request(entry) {
        return old::decode(entry);
    }
    let mut header = Header::default();
    let mut operation = None;
    let mut v2: Option<V2Command> = None;
    let mut fields = Fields::new("InternalRaftRequest", entry);
    let mut id = 0;
    while let Some(field) = fields.next()? {
        match field.number {
            // Where versions before 3.0 kept the ticket.
            1 => id = field.u64()?,
            HEADER => read_header(&mut header, field)?,
            V2 if v2.is_some() => return Err(DecodeError::SeveralOperations),
            V2 => v2 = Some(v2::read(field)?),
            _ if operation.is_some() => return Err(DecodeError::SeveralOperations),
            _ => operation = Some(read_operation(field)?),
        }
    }
    if header.request_id == 0 {
        header.request_id = id;
    }
    let command = match (v2, operation) {
        // The marker is there for etcd.
        (Some(v2), None | Some(Command::DowngradeVersionTest { .. })) => Command::V2(v2),
        (Some(_), Some(_)) => return Err(DecodeError::SeveralOperations),
        (None, operation) => operation.ok_or(DecodeError::NoOperation)?,
    };
    Ok((header, command))
}

/// The key of an alarm's record: an `AlarmMember`.
pub(crate) fn encode_alarm(alarm: AlarmMember) -> Bytes {
    let mut writer = Backward::with_capacity(16);
    writer.i32(2, alarm.kind.to_wire());
    writer.u64(1, alarm.member_id);
    writer.finish()
}

pub(crate) fn decode_alarm(key: &Bytes) -> Option<AlarmMember> {
    let mut member_id = 0;
    let mut kind = None;
    let mut fields = Fields::new("AlarmMember", key);
    while let Some(field) = fields.next().ok()? {
        match field.number {
            1 => member_id = field.u64().ok()?,
            2 => kind = Some(AlarmKind::from_wire(field.i32().ok()?)?),
            _ => return None,
        }
    }
    Some(AlarmMember { kind: kind?, member_id })
}

/// Numbers in table `meta` are eight bytes, the highest first.
pub(crate) fn encode_u64(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

pub(crate) fn decode_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The value inside an encoded `KeyValue`; none if the record is no such message.
pub(crate) fn value_of_record(record: &Bytes) -> Option<Bytes> {
    let mut value = Bytes::new();
    let mut fields = Fields::new("KeyValue", record);
    while let Some(field) = fields.next().ok()? {
        if field.number == 5 {
            value = field.bytes().ok()?;
        }
    }
    Some(value)
}

/// The size of most entries, so that they are written without growing.
fn capacity(header: &Header, command: &Command) -> usize {
    let body = match command {
        Command::Put(put) => put.key.len() + put.value.len(),
        Command::V2(V2Command::Change(request)) => request.path.len() + 128,
        Command::V2(_) => 128,
        Command::Txn(_) => 448,
        Command::Auth(_) => 192,
        Command::DeleteRange(_)
        | Command::Range(_)
        | Command::Compact(_)
        | Command::LeaseGrant { .. }
        | Command::LeaseRevoke { .. }
        | Command::LeaseCheckpoint(_)
        | Command::Alarm(_)
        | Command::ClusterVersionSet { .. }
        | Command::MemberAttributes { .. }
        | Command::DowngradeSet { .. }
        | Command::DowngradeVersionTest { .. } => 64,
    };
    body + header.username.len() + 64
}

/// The number of the command's field in `InternalRaftRequest`.
pub(crate) fn field_number(command: &Command) -> u32 {
    match command {
        Command::Range(_) => RANGE,
        Command::Put(_) => PUT,
        Command::DeleteRange(_) => DELETE_RANGE,
        Command::Txn(_) => TXN,
        Command::Compact(_) => COMPACTION,
        Command::LeaseGrant { .. } => LEASE_GRANT,
        Command::LeaseRevoke { .. } => LEASE_REVOKE,
        Command::Alarm(_) => ALARM,
        Command::LeaseCheckpoint(_) => LEASE_CHECKPOINT,
        Command::ClusterVersionSet { .. } => CLUSTER_VERSION_SET,
        Command::MemberAttributes { .. } => MEMBER_ATTRIBUTES_SET,
        Command::DowngradeSet { .. } => DOWNGRADE_SET,
        Command::DowngradeVersionTest { .. } => DOWNGRADE_VERSION_TEST,
        Command::Auth(operation) => auth::field_number(operation),
        Command::V2(_) => V2,
    }
}

fn write_header(writer: &mut Backward, header: &Header) {
    let mark = writer.open();
    writer.u64(3, header.auth_revision);
    writer.bytes(2, header.username.as_bytes());
    writer.u64(1, header.request_id);
    writer.close(HEADER, mark);
}

fn read_header(header: &mut Header, field: Field<'_>) -> Result<(), DecodeError> {
    let mut fields = field.fields("RequestHeader")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => header.request_id = field.u64()?,
            2 => header.username = field.string()?,
            3 => header.auth_revision = field.u64()?,
            _ => return field.unknown(),
        }
    }
    Ok(())
}

fn read_operation(field: Field<'_>) -> Result<Command, DecodeError> {
    Ok(match field.number {
        RANGE => Command::Range(kv::read_range(field)?),
        PUT => Command::Put(kv::read_put(field)?),
        DELETE_RANGE => Command::DeleteRange(kv::read_delete(field)?),
        TXN => Command::Txn(kv::read_txn(field)?),
        COMPACTION => Command::Compact(kv::read_compact(field)?),
        LEASE_GRANT => {
            let (ttl, id) = read_pair(field, "LeaseGrantRequest")?;
            Command::LeaseGrant { id, ttl }
        }
        LEASE_REVOKE => Command::LeaseRevoke { id: read_lease_revoke(field)? },
        ALARM => Command::Alarm(read_alarm(field)?),
        LEASE_CHECKPOINT => Command::LeaseCheckpoint(read_checkpoints(field)?),
        CLUSTER_VERSION_SET => {
            Command::ClusterVersionSet { version: read_text(field, "ClusterVersionSetRequest")? }
        }
        MEMBER_ATTRIBUTES_SET => read_member_attributes(field)?,
        DOWNGRADE_SET => read_downgrade(field)?,
        DOWNGRADE_VERSION_TEST => {
            Command::DowngradeVersionTest { version: read_text(field, "DowngradeVersionTestRequest")? }
        }
        _ => match auth::read(field)? {
            Some(operation) => Command::Auth(operation),
            None => return field.unknown(),
        },
    })
}

/// A message of two numbers, 1 and 2.
fn read_pair(field: Field<'_>, message: &'static str) -> Result<(i64, i64), DecodeError> {
    let mut pair = (0, 0);
    let mut fields = field.fields(message)?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => pair.0 = field.i64()?,
            2 => pair.1 = field.i64()?,
            _ => return field.unknown(),
        }
    }
    Ok(pair)
}

fn read_lease_revoke(field: Field<'_>) -> Result<i64, DecodeError> {
    let mut id = 0;
    let mut fields = field.fields("LeaseRevokeRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => id = field.i64()?,
            _ => return field.unknown(),
        }
    }
    Ok(id)
}

fn read_checkpoints(field: Field<'_>) -> Result<Vec<(i64, i64)>, DecodeError> {
    let mut notes = Vec::new();
    let mut fields = field.fields("LeaseCheckpointRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => notes.push(read_pair(field, "LeaseCheckpoint")?),
            _ => return field.unknown(),
        }
    }
    Ok(notes)
}

fn read_alarm(field: Field<'_>) -> Result<AlarmRequest, DecodeError> {
    let mut request = AlarmRequest::default();
    let mut fields = field.fields("AlarmRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => request.action = field.i32()?,
            2 => request.member_id = field.u64()?,
            3 => request.alarm = field.i32()?,
            _ => return field.unknown(),
        }
    }
    Ok(request)
}

/// A message of one text, 1.
fn read_text(field: Field<'_>, message: &'static str) -> Result<alloc::string::String, DecodeError> {
    let mut text = Default::default();
    let mut fields = field.fields(message)?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => text = field.string()?,
            _ => return field.unknown(),
        }
    }
    Ok(text)
}

fn read_member_attributes(field: Field<'_>) -> Result<Command, DecodeError> {
    let (mut member_id, mut name, mut client_urls) = Default::default();
    let mut fields = field.fields("ClusterMemberAttrSetRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => member_id = field.u64()?,
            2 => {
                let mut attributes = field.fields("Attributes")?;
                while let Some(field) = attributes.next()? {
                    match field.number {
                        1 => name = field.string()?,
                        2 => Vec::push(&mut client_urls, field.string()?),
                        _ => return field.unknown(),
                    }
                }
            }
            _ => return field.unknown(),
        }
    }
    Ok(Command::MemberAttributes { member_id, name, client_urls })
}

fn read_downgrade(field: Field<'_>) -> Result<Command, DecodeError> {
    let (mut enabled, mut version) = Default::default();
    let mut fields = field.fields("DowngradeInfoSetRequest")?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => enabled = field.bool()?,
            2 => version = field.string()?,
            _ => return field.unknown(),
        }
    }
    Ok(Command::DowngradeSet { enabled, version })
}

#[cfg(test)]
mod tests;
