//! Requests and answers of HTTP/1.1, by hand: one connection, one request after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) target: String,
    /// A body and its type.
    pub(crate) body: Option<(&'static str, String)>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// A connection that is kept.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.target)?;
        match &self.body {
            Some((_, body)) => write!(formatter, " {body:?}"),
            None => Ok(()),
        }
    }
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Answer> {
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.target, self.address);
        let body = request.body.as_ref().map_or("", |(_, body)| body.as_str());
        if let Some((kind, _)) = &request.body {
            text += &format!("Content-Type: {kind}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.stream.get_mut().write_all(text.as_bytes())?;
        self.read(request).with_context(|| format!("the answer to {request}"))
    }

    fn read(&mut self, request: &Request) -> Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).context("a status line")?;
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').context("a header")?;
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let body = if request.method == "HEAD" || status == 204 { Vec::new() } else { self.body(&headers)? };
        Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn body(&mut self, headers: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            loop {
                let length = usize::from_str_radix(self.line()?.trim(), 16).context("a chunk's length")?;
                self.exactly(length, &mut body)?;
                ensure!(self.line()?.is_empty(), "a chunk has an end");
                if length == 0 {
                    return Ok(body);
                }
            }
        }
        let length = headers.get("content-length").map_or(Ok(0), |length| length.parse())?;
        self.exactly(length, &mut body)?;
        Ok(body)
    }

    fn exactly(&mut self, length: usize, body: &mut Vec<u8>) -> Result<()> {
        let start = body.len();
        body.resize(start + length, 0);
        Ok(self.stream.read_exact(&mut body[start..])?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection has ended");
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl Answer {
    /// Without what two servers cannot have in common.
    pub(crate) fn normal(&self) -> Self {
        const KEPT: [&str; 4] = ["content-type", "x-etcd-index", "allow", "x-etcd-cluster-id"];
        let mut headers: BTreeMap<String, String> = self
            .headers
            .iter()
            .filter(|(name, _)| KEPT.contains(&name.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        for name in ["x-raft-index", "x-raft-term", "x-etcd-cluster-id"] {
            if self.headers.contains_key(name) {
                headers.insert(name.to_owned(), "present".to_owned());
            }
        }
        Self { status: self.status, headers, body: normal_body(&self.body) }
    }
}

/// Points of time are replaced, and listings sorted: etcd gives them in the order of a hash map.
fn normal_body(body: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(body) else { return body.to_owned() };
    let is_canonical = value.to_string().len() <= body.len();
    normal_value(&mut value);
    let end = if body.ends_with('\n') { "\\n" } else { "" };
    format!("{value}{end}{}", if is_canonical { "" } else { " (with spaces)" })
}

fn normal_value(value: &mut serde_json::Value) {
    if let serde_json::Value::Object(fields) = value {
        for (name, field) in fields.iter_mut() {
            match name.as_str() {
                "expiration" | "startTime" | "uptime" => *field = "a time".into(),
                // The two are asked at different times, and their times to live are far apart.
                "ttl" => *field = (field.as_i64().unwrap_or_default() + 25).div_euclid(50).into(),
                "nodes" => {
                    if let Some(nodes) = field.as_array_mut() {
                        nodes.sort_by_key(|node| node["key"].as_str().unwrap_or_default().to_owned());
                    }
                    normal_value(field);
                }
                _ => normal_value(field),
            }
        }
    } else if let serde_json::Value::Array(items) = value {
        items.iter_mut().for_each(normal_value);
    }
}
