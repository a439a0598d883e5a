//! Refusals of the v2 API: a code, a text and a status each, as its clients know them.

use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;

use crate::json::push_text;

/// What is wrong, by the numbers that clients match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Code {
    /// There is nothing at the path.
    KeyNotFound = 100,
    /// What the key holds is not what the request compares it with.
    CompareFailed = 101,
    /// A directory stands where a value is needed.
    NotAFile = 102,
    /// The cluster is full.
    NoMorePeers = 103,
    /// A value stands where a directory is needed.
    NotADirectory = 104,
    /// There is something at the path already.
    KeyExists = 105,
    /// The key is one of the store's own.
    KeyReserved = 106,
    /// The root, and the directories of namespaces, cannot be changed.
    RootReadOnly = 107,
    /// The directory has children.
    DirectoryNotEmpty = 108,
    /// A member has that address already.
    PeerAddressExists = 109,
    /// The caller may not do this.
    Unauthorized = 110,
    /// A value is missing.
    ValueRequired = 200,
    /// The value to compare with is empty.
    PrevValueRequired = 201,
    /// The time to live is no number.
    TtlNotANumber = 202,
    /// An index is no number.
    IndexNotANumber = 203,
    /// A value or a time to live is missing.
    ValueOrTtlRequired = 204,
    /// A timeout is no number.
    TimeoutNotANumber = 205,
    /// A name is missing.
    NameRequired = 206,
    /// An index or a value is missing.
    IndexOrValueRequired = 207,
    /// Index and value exclude each other.
    IndexValueExclusive = 208,
    /// A parameter is malformed.
    InvalidField = 209,
    /// The form is malformed.
    InvalidForm = 210,
    /// A refresh must not have a value.
    RefreshValue = 211,
    /// A refresh must have a time to live.
    RefreshTtlRequired = 212,
    /// The request could not be replicated.
    RaftInternal = 300,
    /// There is no leader.
    LeaderElection = 301,
    /// The store was replaced under the watcher.
    WatcherCleared = 400,
    /// The history does not reach back so far.
    EventIndexCleared = 401,
    /// Of an older version's standby mode.
    StandbyInternal = 402,
    /// Of an older version's standby mode.
    InvalidActiveSize = 403,
    /// Of an older version's standby mode.
    InvalidRemoveDelay = 404,
    /// Of clients.
    ClientInternal = 500,
}

/// Why a request of the v2 API is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {} ({cause}) [{index}]", .code.number(), .code.message())]
pub struct Error {
    /// What is wrong.
    pub code: Code,
    /// Where, or with what; a path of the store's own, with the namespace in front.
    pub cause: String,
    /// The store's index at the time; 0 if the store was not asked.
    pub index: u64,
}

impl Code {
    /// The number that clients match on.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The text that goes with the number.
    pub const fn message(self) -> &'static str {
        match self {
            Self::KeyNotFound => "Key not found",
            Self::CompareFailed => "Compare failed",
            Self::NotAFile => "Not a file",
            Self::NoMorePeers => "Reached the max number of peers in the cluster",
            Self::NotADirectory => "Not a directory",
            Self::KeyExists => "Key already exists",
            Self::KeyReserved => "The prefix of given key is a keyword in etcd",
            Self::RootReadOnly => "Root is read only",
            Self::DirectoryNotEmpty => "Directory not empty",
            Self::PeerAddressExists => "Peer address has existed",
            Self::Unauthorized => "The request requires user authentication",
            Self::ValueRequired => "Value is Required in POST form",
            Self::PrevValueRequired => "PrevValue is Required in POST form",
            Self::TtlNotANumber => "The given TTL in POST form is not a number",
            Self::IndexNotANumber => "The given index in POST form is not a number",
            Self::ValueOrTtlRequired => "Value or TTL is required in POST form",
            Self::TimeoutNotANumber => "The given timeout in POST form is not a number",
            Self::NameRequired => "Name is required in POST form",
            Self::IndexOrValueRequired => "Index or value is required",
            Self::IndexValueExclusive => "Index and value cannot both be specified",
            Self::InvalidField => "Invalid field",
            Self::InvalidForm => "Invalid POST form",
            Self::RefreshValue => "Value provided on refresh",
            Self::RefreshTtlRequired => "A TTL must be provided on refresh",
            Self::RaftInternal => "Raft Internal Error",
            Self::LeaderElection => "During Leader Election",
            Self::WatcherCleared => "watcher is cleared due to etcd recovery",
            Self::EventIndexCleared => "The event in requested index is outdated and cleared",
            Self::StandbyInternal => "Standby Internal Error",
            Self::InvalidActiveSize => "Invalid active size",
            Self::InvalidRemoveDelay => "Standby remove delay",
            Self::ClientInternal => "Client Internal Error",
        }
    }

    /// The HTTP status that it is sent with.
    pub const fn status(self) -> u16 {
        match self {
            Self::KeyNotFound => 404,
            Self::NotAFile | Self::DirectoryNotEmpty => 403,
            Self::CompareFailed | Self::KeyExists => 412,
            Self::Unauthorized => 401,
            Self::RaftInternal | Self::LeaderElection => 500,
            Self::NoMorePeers
            | Self::NotADirectory
            | Self::KeyReserved
            | Self::RootReadOnly
            | Self::PeerAddressExists
            | Self::ValueRequired
            | Self::PrevValueRequired
            | Self::TtlNotANumber
            | Self::IndexNotANumber
            | Self::ValueOrTtlRequired
            | Self::TimeoutNotANumber
            | Self::NameRequired
            | Self::IndexOrValueRequired
            | Self::IndexValueExclusive
            | Self::InvalidField
            | Self::InvalidForm
            | Self::RefreshValue
            | Self::RefreshTtlRequired
            | Self::WatcherCleared
            | Self::EventIndexCleared
            | Self::StandbyInternal
            | Self::InvalidActiveSize
            | Self::InvalidRemoveDelay
            | Self::ClientInternal => 400,
        }
    }
}

impl Error {
    /// A refusal of a store at `index`.
    pub fn new(code: Code, cause: impl Into<String>, index: u64) -> Self {
        Self { code, cause: cause.into(), index }
    }

    /// The body that clients get, without the line's end; `namespace` is taken from the front of the cause.
    pub fn to_json(&self, namespace: &str) -> String {
        let mut json =
            format!("{{\"errorCode\":{},\"message\":\"{}\"", self.code.number(), self.code.message());
        let cause = self.cause.strip_prefix(namespace).unwrap_or(&self.cause);
        if !cause.is_empty() {
            json.push_str(",\"cause\":");
            push_text(&mut json, cause);
        }
        write!(json, ",\"index\":{}}}", self.index).expect("a string takes any text");
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_names_the_cause_without_the_namespace() {
        let error = Error::new(Code::KeyNotFound, "/1/a<b", 7);
        assert_eq!(
            error.to_json("/1"),
            r#"{"errorCode":100,"message":"Key not found","cause":"/a\u003cb","index":7}"#
        );
        assert_eq!(
            Error::new(Code::KeyNotFound, "/1", 7).to_json("/1"),
            r#"{"errorCode":100,"message":"Key not found","index":7}"#
        );
    }
}
