//! The tables of header fields: the one of RFC 7541, appendix A, and the one that a connection fills.

use std::collections::VecDeque;

use bytes::Bytes;

/// What a field costs beside its bytes.
pub(super) const FIELD_OVERHEAD: usize = 32;

/// The table's size until somebody says otherwise, and at most: nothing else is ever announced.
pub(super) const TABLE_BYTES_MAX: usize = 4096;

pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The fields that a connection's blocks refer back to; the newest is the first.
#[derive(Debug)]
pub(super) struct DynamicTable {
    fields: VecDeque<(Bytes, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

impl DynamicTable {
    pub(super) fn new() -> Self {
        Self { fields: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_MAX }
    }

    /// The field of an index of both tables.
    pub(super) fn get(&self, index: usize) -> Option<(Bytes, Bytes)> {
        let position = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(position) {
            return Some((Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes())));
        }
        self.fields.get(position - STATIC.len()).cloned()
    }

    /// Puts a field to the front; a field larger than the table empties it.
    pub(super) fn insert(&mut self, name: Bytes, value: Bytes) {
        let cost = name.len() + value.len() + FIELD_OVERHEAD;
        self.shrink_to(self.bytes_max.saturating_sub(cost));
        if cost <= self.bytes_max {
            self.bytes += cost;
            self.fields.push_front((name, value));
        }
    }

    /// Changes the size; `None` if it is larger than was announced.
    pub(super) fn resize(&mut self, bytes_max: usize) -> Option<()> {
        if bytes_max > TABLE_BYTES_MAX {
            return None;
        }
        self.bytes_max = bytes_max;
        self.shrink_to(bytes_max);
        Some(())
    }

    fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some((name, value)) = self.fields.pop_back() else { return };
            self.bytes -= name.len() + value.len() + FIELD_OVERHEAD;
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
