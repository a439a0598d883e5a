//! Operations on the tree of the v2 API, in the message that etcd had for them up to 3.5.
//!
//! An etcd of 3.6 or later stops at an operation that it does not know.
//! Therefore the entry names a second operation, the marker `DowngradeVersionTest`, which etcd knows and which does
//! nothing: to etcd the whole entry does nothing.

use alloc::format;
use alloc::string::String;

use etched_v2store::{Compared, Request, What, Written};

use super::DecodeError;
use super::wire::{Backward, Field};
use crate::command::v2::V2Command;

/// The version that the marker names: one that every etcd can read a log of.
pub(super) const MARKER: &str = "3.0.0";

/// The fields of the message, all of which etcd always writes but for the two that may be absent.
#[derive(Default)]
struct Fields {
    method: String,
    path: String,
    value: String,
    is_dir: bool,
    prev_value: String,
    prev_index: u64,
    prev_exist: Option<bool>,
    expiration: i64,
    since: u64,
    is_recursive: bool,
    time: i64,
    refresh: Option<bool>,
}

pub(super) fn write(writer: &mut Backward, command: &V2Command) {
    let fields = match command {
        V2Command::Change(request) => Fields::of_request(request),
        V2Command::Auth(change) => Fields {
            method: "AUTH".into(),
            value: serde_json::to_string(change).expect("texts and lists can be written as JSON"),
            ..Fields::default()
        },
        V2Command::Expire { until_ns } => {
            Fields { method: "SYNC".into(), time: *until_ns, ..Fields::default() }
        }
        V2Command::Speaks { member_id } => {
            Fields { method: "MEMBER".into(), path: format!("{member_id:x}"), ..Fields::default() }
        }
        V2Command::Unknown { method } => Fields { method: method.clone(), ..Fields::default() },
    };
    fields.write(writer);
}

pub(super) fn read(field: Field<'_>) -> Result<V2Command, DecodeError> {
    let fields = Fields::read(field)?;
    let unknown = |method: String| V2Command::Unknown { method };
    Ok(match fields.method.as_str() {
        "PUT" | "POST" | "DELETE" => V2Command::Change(fields.into_request()),
        "SYNC" => V2Command::Expire { until_ns: fields.time },
        "AUTH" => {
            serde_json::from_str(&fields.value).map_or_else(|_| unknown(fields.method), V2Command::Auth)
        }
        "MEMBER" => match u64::from_str_radix(&fields.path, 16) {
            Ok(member_id) => V2Command::Speaks { member_id },
            Err(_) => unknown(fields.method),
        },
        _ => unknown(fields.method),
    })
}

impl Fields {
    fn of_request(request: &Request) -> Self {
        let mut fields = Self { path: request.path.clone(), time: request.now_ns, ..Self::default() };
        let compared = match &request.what {
            What::CompareAndSwap(compared, _) | What::CompareAndDelete(compared) => Some(compared),
            What::Set(_)
            | What::Create(_)
            | What::CreateInOrder(_)
            | What::Update(_)
            | What::Delete { .. } => None,
        };
        if let Some(compared) = compared {
            fields.prev_value.clone_from(&compared.value);
            fields.prev_index = compared.index;
        }
        let (method, written) = match &request.what {
            What::Set(written) | What::CompareAndSwap(_, written) => ("PUT", Some(written)),
            What::Create(written) => {
                fields.prev_exist = Some(false);
                ("PUT", Some(written))
            }
            What::Update(written) => {
                fields.prev_exist = Some(true);
                ("PUT", Some(written))
            }
            What::CreateInOrder(written) => ("POST", Some(written)),
            What::Delete { is_dir, is_recursive } => {
                fields.is_dir = *is_dir;
                fields.is_recursive = *is_recursive;
                ("DELETE", None)
            }
            What::CompareAndDelete(_) => ("DELETE", None),
        };
        fields.method = method.into();
        if let Some(written) = written {
            fields.value.clone_from(&written.value);
            fields.is_dir = written.is_dir;
            fields.expiration = written.expires_ns;
            fields.refresh = written.is_refresh.then_some(true);
        }
        fields
    }

    /// What etcd did with such a message.
    fn into_request(self) -> Request {
        let compared = Compared { value: self.prev_value, index: self.prev_index };
        let is_compared = !compared.value.is_empty() || compared.index > 0;
        let written = Written {
            value: self.value,
            is_dir: self.is_dir,
            expires_ns: self.expiration,
            is_refresh: self.refresh == Some(true),
        };
        let what = match (self.method.as_str(), self.prev_exist) {
            ("DELETE", _) if is_compared => What::CompareAndDelete(compared),
            ("DELETE", _) => What::Delete { is_dir: self.is_dir, is_recursive: self.is_recursive },
            ("POST", _) => What::CreateInOrder(written),
            (_, Some(false)) => What::Create(written),
            (_, Some(true) | None) if is_compared => What::CompareAndSwap(compared, written),
            (_, Some(true)) => What::Update(written),
            (_, None) => What::Set(written),
        };
        Request { path: self.path, what, now_ns: self.time }
    }

    fn write(&self, writer: &mut Backward) {
        if let Some(refresh) = self.refresh {
            writer.u64_present(17, refresh.into());
        }
        writer.u64_present(16, 0);
        writer.u64_present(15, self.time.cast_unsigned());
        writer.u64_present(14, 0);
        writer.u64_present(13, 0);
        writer.u64_present(12, self.is_recursive.into());
        writer.u64_present(11, self.since);
        writer.u64_present(10, 0);
        writer.u64_present(9, self.expiration.cast_unsigned());
        if let Some(prev_exist) = self.prev_exist {
            writer.u64_present(8, prev_exist.into());
        }
        writer.u64_present(7, self.prev_index);
        writer.bytes_present(6, self.prev_value.as_bytes());
        writer.u64_present(5, self.is_dir.into());
        writer.bytes_present(4, self.value.as_bytes());
        writer.bytes_present(3, self.path.as_bytes());
        writer.bytes_present(2, self.method.as_bytes());
        // The ticket stands in the entry's header.
        writer.u64_present(1, 0);
    }

    fn read(field: Field<'_>) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        let mut fields = field.fields("Request")?;
        while let Some(field) = fields.next()? {
            match field.number {
                2 => read.method = field.string()?,
                3 => read.path = field.string()?,
                4 => read.value = field.string()?,
                5 => read.is_dir = field.bool()?,
                6 => read.prev_value = field.string()?,
                7 => read.prev_index = field.u64()?,
                8 => read.prev_exist = Some(field.bool()?),
                9 => read.expiration = field.i64()?,
                11 => read.since = field.u64()?,
                12 => read.is_recursive = field.bool()?,
                15 => read.time = field.i64()?,
                17 => read.refresh = Some(field.bool()?),
                // Of reads and watches, which do not go through the log, and the ticket.
                1 | 10 | 13 | 14 | 16 => {}
                _ => return field.unknown(),
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use etched_v2store::{AuthChange, User};

    use crate::command::{Command, Header};
    use crate::schema::{decode, encode};

    use super::*;

    fn commands() -> alloc::vec::Vec<V2Command> {
        let written =
            Written { value: "v".into(), is_dir: false, expires_ns: 5_000_000_000, is_refresh: false };
        let compared = Compared { value: "old".into(), index: 7 };
        let request = |what| V2Command::Change(Request { path: "/1/a".into(), what, now_ns: 42 });
        alloc::vec![
            request(What::Set(Written { is_refresh: true, ..written.clone() })),
            request(What::Set(Written { is_dir: true, value: "".into(), ..written.clone() })),
            request(What::Create(written.clone())),
            request(What::CreateInOrder(written.clone())),
            request(What::Update(written.clone())),
            request(What::CompareAndSwap(compared.clone(), written)),
            request(What::Delete { is_dir: true, is_recursive: false }),
            request(What::Delete { is_dir: false, is_recursive: true }),
            request(What::CompareAndDelete(compared)),
            V2Command::Auth(AuthChange::CreateUser(User { user: "u".into(), ..User::default() })),
            V2Command::Auth(AuthChange::Enable),
            V2Command::Auth(AuthChange::DeleteRole("r".into())),
            V2Command::Expire { until_ns: 1 << 60 },
            V2Command::Speaks { member_id: u64::MAX },
            V2Command::Unknown { method: "X".into() },
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        for command in commands() {
            let header = Header { request_id: 9, ..Header::default() };
            let entry = encode(&header, &Command::V2(command.clone()));
            assert_eq!(decode(&entry), Ok((header, Command::V2(command))));
        }
    }

    #[test]
    fn every_entry_has_the_marker_that_does_nothing_at_its_end() {
        for command in commands() {
            let entry = encode(&Header::default(), &Command::V2(command));
            // Field 9900, seven bytes: field 1, a text of five bytes.
            assert!(entry.ends_with(b"\xe2\xea\x04\x07\x0a\x053.0.0"), "{entry:?}");
        }
    }
}
