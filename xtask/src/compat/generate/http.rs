//! Requests to the JSON gateway, with Lock and Election: valid ones, and bodies that a mutation may have spoilt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::http::Request;
use super::{Generator, LEASES};

/// Paths and methods that nobody posts to.
const ODD: [(&str, &str); 14] = [
    ("GET", "/v3/kv/range"),
    ("PUT", "/v3/kv/range"),
    ("HEAD", "/v3/kv/range"),
    ("OPTIONS", "/v3/kv/range"),
    ("POST", "/v3/nothing"),
    ("POST", "/v3/kv/range/"),
    ("POST", "/v3/kv//range"),
    ("GET", "/v3"),
    ("GET", "/v3/../version"),
    ("POST", "/v3alpha/kv/range"),
    ("GET", "/version"),
    ("GET", "/livez?verbose"),
    ("POST", "/health"),
    ("GET", "/nothing"),
];

/// Paths with bodies that are never anything else.
const PLAIN: [(&str, &str); 5] = [
    ("/v3/cluster/member/list", "{}"),
    ("/v3/auth/status", "{}"),
    ("/v3/auth/authenticate", "{\"name\":\"a\",\"password\":\"b\"}"),
    ("/v3/cluster/member/remove", "{\"ID\":\"1\"}"),
    ("/v3/maintenance/transfer-leadership", "{\"targetID\":1}"),
];

/// What mutations put into a body.
const SPOILERS: &[u8] = b"{}[]\",:0129.-+eE\\utnaA=_/ \n\x01\xff";

impl Generator {
    pub(super) fn http(&mut self) -> Request {
        let (path, body) = match self.random.below(20) {
            0..=4 => return self.spoilt(),
            5 => {
                let (method, path) = *self.random.pick(&ODD);
                return Request { method, path, headers: Vec::new(), body: b"{}".to_vec() };
            }
            6..=8 => ("/v3/kv/range", self.json_range()),
            9 | 10 => ("/v3/kv/put", self.json_put()),
            11 => ("/v3beta/kv/deleterange", format!("{{\"key\":\"{}\",\"prev_kv\":true}}", self.json_key())),
            12 => ("/v3/kv/txn", self.json_txn()),
            13 => self.json_lease(),
            14 | 15 => self.json_lock(),
            16 | 17 => self.json_election(),
            18 => return self.json_stream(),
            _ => {
                let (path, body) = *self.random.pick(&PLAIN);
                (path, body.to_owned())
            }
        };
        Request { method: "POST", path, headers: self.json_headers(), body: body.into_bytes() }
    }

    fn json_headers(&mut self) -> Vec<String> {
        let lines =
            ["Authorization: x", "Grpc-Timeout: 1x", "Grpc-Timeout: 9S", "Grpc-Metadata-hasleader: true"];
        if self.random.one_in(6) { vec![(*self.random.pick(&lines)).to_owned()] } else { Vec::new() }
    }

    fn json_key(&mut self) -> String {
        STANDARD.encode(*self.random.pick(&["a", "b", "c", "d", "json", "\u{fb}\u{ff}?", ""]))
    }

    /// A number as a number, as a string, or as something that some take for a number.
    fn json_number(&mut self) -> &'static str {
        self.random.pick::<&str>(&[
            "0",
            "1",
            "\"2\"",
            "3.0",
            "1e1",
            "\"1.5\"",
            "-1",
            "null",
            "true",
            "\"9223372036854775808\"",
        ])
    }

    fn json_range(&mut self) -> String {
        let key = self.json_key();
        let more = match self.random.below(5) {
            0 => format!(",\"limit\":{}", self.json_number()),
            1 => ",\"range_end\":\"AA==\",\"keys_only\":true".to_owned(),
            2 => format!(",\"revision\":{}", self.json_number()),
            3 => format!(
                ",\"sortOrder\":{}",
                self.random.pick::<&str>(&["\"DESCEND\"", "1", "\"X\"", "9", "[]"])
            ),
            _ => ",\"count_only\":true,\"unknown\":{\"a\":[1]}".to_owned(),
        };
        format!("{{\"key\":\"{key}\"{more}}}")
    }

    fn json_put(&mut self) -> String {
        let key = self.json_key();
        let more = match self.random.below(3) {
            0 => format!(",\"lease\":\"{}\"", self.random.pick(&LEASES)),
            1 => ",\"prevKv\":true".to_owned(),
            _ => String::new(),
        };
        format!("{{\"key\":\"{key}\",\"value\":\"{}\"{more}}}", self.json_key())
    }

    fn json_txn(&mut self) -> String {
        let (one, other) = (self.json_key(), self.json_key());
        let target = self.random.pick::<&str>(&[
            "\"VERSION\",\"version\":\"0\"",
            "\"CREATE\"",
            "3,\"value\":\"YQ==\"",
            "\"MOD\",\"mod_revision\":1",
        ]);
        format!(
            "{{\"compare\":[{{\"key\":\"{one}\",\"target\":{target}}}],\"success\":[{{\"request_put\":{{\"key\":\"{one}\"}}}},\
             {{\"requestRange\":{{\"key\":\"{other}\"}}}}],\"failure\":[{{\"request_delete_range\":{{\"key\":\"{other}\"}}}}]}}"
        )
    }

    fn json_lease(&mut self) -> (&'static str, String) {
        let id = self.random.pick(&LEASES);
        let path = self.random.pick::<&str>(&[
            "/v3/lease/timetolive",
            "/v3/kv/lease/timetolive",
            "/v3/lease/keepalive",
        ]);
        (path, format!("{{\"ID\":\"{id}\",\"keys\":true}}"))
    }

    /// Each lease has a name of its own, so that nobody waits.
    fn json_lock(&mut self) -> (&'static str, String) {
        let lease = *self.random.pick(&LEASES);
        let name = format!("lock{}", lease % 7);
        if self.random.one_in(3) {
            let sign = if lease < 0 { "-" } else { "" };
            let key = STANDARD.encode(format!("{name}{lease}/{sign}{:x}", lease.unsigned_abs()));
            return ("/v3/lock/unlock", format!("{{\"key\":\"{key}\"}}"));
        }
        let name = STANDARD.encode(format!("{name}{lease}"));
        ("/v3/lock/lock", format!("{{\"name\":\"{name}\",\"lease\":\"{lease}\"}}"))
    }

    fn json_election(&mut self) -> (&'static str, String) {
        let lease = *self.random.pick(&LEASES);
        let name = STANDARD.encode(format!("vote{lease}"));
        let sign = if lease < 0 { "-" } else { "" };
        let key = STANDARD.encode(format!("vote{lease}/{sign}{:x}", lease.unsigned_abs()));
        let leader = format!(
            "{{\"name\":\"{name}\",\"key\":\"{key}\",\"rev\":\"{}\",\"lease\":\"{lease}\"}}",
            self.random.below(40)
        );
        match self.random.below(6) {
            0..=2 => {
                let value = self.json_key();
                (
                    "/v3/election/campaign",
                    format!("{{\"name\":\"{name}\",\"lease\":\"{lease}\",\"value\":\"{value}\"}}"),
                )
            }
            3 => ("/v3/election/leader", format!("{{\"name\":\"{name}\"}}")),
            4 => ("/v3/election/proclaim", format!("{{\"leader\":{leader},\"value\":\"YQ==\"}}")),
            _ => (
                "/v3/election/resign",
                self.random.pick(&[format!("{{\"leader\":{leader}}}"), "{}".to_owned()]).clone(),
            ),
        }
    }

    /// Streams that end with their requests.
    fn json_stream(&mut self) -> Request {
        let id = self.random.pick(&LEASES);
        let body = if self.random.one_in(2) {
            format!("{{\"ID\":\"{id}\"}} {{\"ID\":1}}\n[]")
        } else {
            String::new()
        };
        let path = "/v3/lease/keepalive";
        Request { method: "POST", path, headers: Vec::new(), body: body.into_bytes() }
    }

    /// A body of which some bytes were replaced, added or cut off.
    fn spoilt(&mut self) -> Request {
        let (path, body) = match self.random.below(3) {
            0 => ("/v3/kv/put", self.json_put()),
            1 => ("/v3/auth/user/get", "{\"name\":\"\\u00e4\\n<&>\"}".to_owned()),
            _ => (
                "/v3/kv/range",
                format!(
                    "{{\"key\":\"{}\",\"limit\":\"5\",\"sort_order\":\"NONE\",\"x\":[null,true,-1.5e3]}}",
                    self.json_key()
                ),
            ),
        };
        let mut body = body.into_bytes();
        for _ in 0..=self.random.below(3) {
            let at = usize::try_from(self.random.below(body.len().max(1) as u64)).unwrap_or_default();
            let byte = *self.random.pick(SPOILERS);
            match self.random.below(4) {
                0 => body.truncate(at),
                1 => body.insert(at, byte),
                2 if at < body.len() => drop(body.remove(at)),
                _ if at < body.len() => body[at] = byte,
                _ => body.push(byte),
            }
        }
        Request { method: "POST", path, headers: Vec::new(), body }
    }
}
