//! Requests by HTTP/1.1, as scripts with `curl` send them, and what is compared of the answers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Whole lines, without their ends.
    pub(super) headers: Vec<String>,
    pub(super) body: Vec<u8>,
}

/// What is compared of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    status: String,
    /// Those that do not tell of time, length or framing.
    headers: Vec<String>,
    body: String,
}

/// Headers that tell only of time, length and framing.
const IGNORED: [&str; 4] = ["date", "content-length", "transfer-encoding", "connection"];

/// Sends a request and reads its whole answer.
///
/// # Errors
/// If there is no answer.
pub(super) async fn ask(address: std::net::SocketAddr, request: &Request) -> Result<Answer> {
    parse(&exchange(address, request).await?)
}

/// Sends a request and reads the body of its answer.
///
/// # Errors
/// If there is no answer.
pub(super) async fn text(address: std::net::SocketAddr, request: &Request) -> Result<String> {
    let answer = exchange(address, request).await?;
    let (_, body) = taken_apart(&answer)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn exchange(address: std::net::SocketAddr, request: &Request) -> Result<Vec<u8>> {
    let Request { method, path, headers, body } = request;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    headers.iter().for_each(|header| head.push_str(&format!("{header}\r\n")));
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    tokio::time::timeout(PATIENCE, asking).await.context("no answer in time")?
}

/// The head of an answer, and its body without chunks.
fn taken_apart(answer: &[u8]) -> Result<(String, Vec<u8>)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("an answer without a head")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = &answer[end + 4..];
    let body = if is_chunked { dechunked(body) } else { body.to_vec() };
    Ok((head, body))
}

fn parse(answer: &[u8]) -> Result<Answer> {
    let (head, body) = taken_apart(answer)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default().to_owned();
    let is_compared = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !IGNORED.contains(&name.as_str())
    };
    let mut headers: Vec<String> = lines.filter(is_compared).map(str::to_ascii_lowercase).collect();
    headers.sort();
    Ok(Answer { status, headers, body: comparable(&String::from_utf8_lossy(&body)) })
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        let size =
            std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(chunk) = size.and_then(|size| rest.get(end + 2..end + 2 + size)) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + chunk.len()..).unwrap_or_default();
    }
    body
}

/// Takes out what two correct servers may differ in, and what only ours adds to errors.
fn comparable(body: &str) -> String {
    let mut text = masked(body, "\"raft_term\":\"", 0);
    text = masked(&text, "\"TTL\":\"", 0);
    // Ids of leases that servers drew are long.
    text = masked(&text, "\"lease\":\"", 15);
    text = with_keys_sorted(&text);
    text.lines().map(without_older_names).collect::<Vec<_>>().join("\n")
}

/// Replaces the digits behind a marker if there are that many.
fn masked(text: &str, marker: &str, digits_min: usize) -> String {
    let mut parts = text.split(marker);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        out.push_str(marker);
        out.push_str(if digits > digits_min { "N" } else { &part[..digits] });
        out.push_str(&part[digits..]);
    }
    out
}

/// The keys of a lease come out of a hash map in etcd.
fn with_keys_sorted(text: &str) -> String {
    const MARKER: &str = "\"keys\":[";
    let Some((before, list, after)) = text
        .split_once(MARKER)
        .and_then(|(before, rest)| rest.split_once(']').map(|(list, after)| (before, list, after)))
    else {
        return text.to_owned();
    };
    let mut keys: Vec<&str> = list.split(',').collect();
    keys.sort_unstable();
    format!("{before}{MARKER}{}]{after}", keys.join(","))
}

fn without_older_names(line: &str) -> String {
    let line = match line.strip_prefix("{\"error\":\"") {
        Some(_) => match line.find("\"code\":") {
            Some(code) => format!("{{{}", &line[code..]),
            None => line.to_owned(),
        },
        None => line.to_owned(),
    };
    match line.find(",\"grpc_code\":") {
        Some(start) => format!("{}}}}}", &line[..start]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_older_generation_do_not_count() {
        let etcd = "{\"code\":5,\"message\":\"a \\\"code\\\" b\"}";
        let ours = "{\"error\":\"a \\\"code\\\" b\",\"code\":5,\"message\":\"a \\\"code\\\" b\"}";
        assert_eq!(comparable(ours), etcd);
        let ours = "{\"error\":{\"code\":4,\"message\":\"m\",\"grpc_code\":4,\"http_code\":504,\"http_status\":\"x\"}}";
        assert_eq!(comparable(ours), "{\"error\":{\"code\":4,\"message\":\"m\"}}");
        assert_ne!(
            comparable("{\"code\":5,\"message\":\"x\"}"),
            comparable("{\"code\":6,\"message\":\"x\"}")
        );
    }

    #[test]
    fn the_order_of_a_leases_keys_does_not_count() {
        let answer = |keys: &str| comparable(&format!("{{\"ID\":\"7\",\"keys\":[{keys}]}}"));
        assert_eq!(answer("\"b\",\"a\""), answer("\"a\",\"b\""));
        assert_ne!(answer("\"b\",\"a\""), answer("\"a\",\"c\""));
    }

    #[test]
    fn chunks_are_put_together_and_framing_does_not_count() {
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nDate: now\r\nX: y\r\n\r\nabc";
        assert_eq!(parse(chunked).unwrap(), parse(whole).unwrap());
    }
}
