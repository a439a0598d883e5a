//! Which keys a request is about.

use bytes::Bytes;

/// One key or a range of keys, in the form of the wire.
///
/// Strings and byte strings convert into the single key that they name.
///
/// ```
/// use etched_client::Keys;
///
/// assert_eq!(Keys::prefix("a/").range_end(), b"a0");
/// assert_eq!(Keys::from("a"), Keys::one("a"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub(crate) key: Bytes,
    pub(crate) range_end: Bytes,
}

/// The end of a range without an end, and the least key there is.
const NUL: &[u8] = b"\0";

impl Keys {
    /// Exactly this key.
    pub fn one(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), range_end: Bytes::new() }
    }

    /// The keys that begin with `prefix`; all keys, if it is empty.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key = prefix.into();
        if key.is_empty() {
            return Self::all();
        }
        let range_end = prefix_end(&key);
        Self { key, range_end }
    }

    /// This key and all greater ones.
    pub fn from_key(key: impl Into<Bytes>) -> Self {
        let key = key.into();
        let key = if key.is_empty() { Bytes::from_static(NUL) } else { key };
        Self { key, range_end: Bytes::from_static(NUL) }
    }

    /// The keys from `start` up to, but without, `end`.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { key: start.into(), range_end: end.into() }
    }

    /// All keys.
    pub fn all() -> Self {
        Self { key: Bytes::from_static(NUL), range_end: Bytes::from_static(NUL) }
    }

    /// The first key of the range.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The end of the range as the wire has it: empty for one key, a single zero byte for no end.
    pub fn range_end(&self) -> &[u8] {
        &self.range_end
    }
}

/// The least key greater than all keys with the prefix; no end if the prefix consists of 0xff bytes.
pub(crate) fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte < 0xff) {
        None => Bytes::from_static(NUL),
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bytes::from(end)
        }
    }
}

macro_rules! convert {
    ($($from:ty),*) => {$(
        impl From<$from> for Keys {
            fn from(key: $from) -> Self {
                Self::one(key)
            }
        }
    )*};
}

convert!(&'static str, &'static [u8], String, Vec<u8>, Bytes);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(Keys::prefix("a").range_end(), b"b");
        assert_eq!(Keys::prefix(&b"a\xff\xff"[..]).range_end(), b"b");
        assert_eq!(Keys::prefix(&b"\xff\xff"[..]).range_end(), b"\0");
        assert_eq!(Keys::prefix(""), Keys::all());
    }

    #[test]
    fn from_the_empty_key_on_is_everything() {
        assert_eq!(Keys::from_key(""), Keys::all());
        assert_eq!(Keys::from_key("k").key(), b"k");
        assert_eq!(Keys::from_key("k").range_end(), b"\0");
    }
}
