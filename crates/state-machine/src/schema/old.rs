//! Entries in the form of the v2 API, an `etcdserverpb.Request`, in which etcd up to 3.5 wrote two facts about the
//! cluster itself.
//!
//! It begins with the fields 1 and 2, as no `InternalRaftRequest` does, so the two cannot be mistaken for each other.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::Deserialize;

use super::DecodeError;
use super::wire::Fields;
use crate::command::{Command, Header};

/// Where the v2 store has the members, and what each calls itself.
const MEMBERS: &str = "/0/members/";
const ATTRIBUTES: &str = "/attributes";
/// Where it has the version of the cluster.
const VERSION: &str = "/0/version";

#[derive(Deserialize)]
struct AttributesFields {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "clientURLs")]
    client_urls: Option<Vec<String>>,
}

/// Whether an entry is of that form.
pub(super) fn is_request(entry: &Bytes) -> bool {
    // Few entries begin with field 1 at all.
    if entry.first() != Some(&0x08) {
        return false;
    }
    let mut fields = Fields::new("Request", entry);
    let mut next = || fields.next().ok().flatten().map(|field| field.number);
    (next(), next()) == (Some(1), Some(2))
}

/// The command of an entry of that form.
pub(super) fn decode(entry: &Bytes) -> Result<(Header, Command), DecodeError> {
    let (mut id, mut method, mut path, mut value) = (0, String::new(), String::new(), Bytes::new());
    let mut fields = Fields::new("Request", entry);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => id = field.u64()?,
            2 => method = field.string()?,
            3 => path = field.string()?,
            4 => value = field.bytes()?,
            // Conditions, times and the like, none of which such a write has.
            5..=17 => {}
            _ => return field.unknown(),
        }
    }
    let header = Header { request_id: id, ..Header::default() };
    let command = match method.as_str() {
        // A reading, and a look at what has expired, which nothing has: both change nothing.
        "GET" | "QGET" | "SYNC" => Command::DowngradeVersionTest { version: String::new() },
        "PUT" => put(&path, &value).ok_or(DecodeError::V2Write)?,
        _ => return Err(DecodeError::V2Write),
    };
    Ok((header, command))
}

fn put(path: &str, value: &[u8]) -> Option<Command> {
    if path == VERSION {
        return Some(Command::ClusterVersionSet { version: core::str::from_utf8(value).ok()?.into() });
    }
    let id = path.strip_prefix(MEMBERS)?.strip_suffix(ATTRIBUTES)?;
    let fields: AttributesFields = serde_json::from_slice(value).ok()?;
    Some(Command::MemberAttributes {
        member_id: u64::from_str_radix(id, 16).ok()?,
        name: fields.name,
        client_urls: fields.client_urls.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::*;
    use crate::schema::wire::Backward;

    fn entry(method: &str, path: &str, value: &str) -> Bytes {
        let mut writer = Backward::with_capacity(64);
        // etcd wrote all fields, set or not.
        for number in (7..=17).rev() {
            writer.u64_present(number, 0);
        }
        writer.bytes_present(6, b"");
        writer.u64_present(5, 0);
        writer.bytes_present(4, value.as_bytes());
        writer.bytes_present(3, path.as_bytes());
        writer.bytes_present(2, method.as_bytes());
        writer.u64_present(1, 77);
        writer.finish()
    }

    #[test]
    fn what_old_versions_wrote_of_the_cluster_is_read() {
        let value = r#"{"name":"m1","clientURLs":["http://a:2379"]}"#;
        let (header, command) =
            decode(&entry("PUT", "/0/members/8e9e05c52164694d/attributes", value)).unwrap();
        assert_eq!(header.request_id, 77);
        assert_eq!(
            command,
            Command::MemberAttributes {
                member_id: 0x8e9e_05c5_2164_694d,
                name: "m1".into(),
                client_urls: alloc::vec!["http://a:2379".into()],
            }
        );
        let (_, command) = decode(&entry("PUT", "/0/version", "3.5.0")).unwrap();
        assert_eq!(command, Command::ClusterVersionSet { version: "3.5.0".into() });
        let (_, command) = decode(&entry("SYNC", "", "")).unwrap();
        assert_eq!(command, Command::DowngradeVersionTest { version: String::new() });
    }

    #[test]
    fn writes_of_users_are_told_apart() {
        for (method, path) in
            [("PUT", "/1/a"), ("DELETE", "/1/a"), ("POST", "/1/a"), ("PUT", "/0/members/x/attributes")]
        {
            assert_eq!(
                decode(&entry(method, path, "{}")).unwrap_err(),
                DecodeError::V2Write,
                "{method} {path}"
            );
        }
    }
}
