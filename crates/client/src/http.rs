//! The pages that members serve beside gRPC: `/metrics`, `/health`, `/version`.

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::within;
use crate::{Client, Error};

/// A page is no larger than this, in bytes.
const PAGE_BYTES_MAX: u64 = 64 << 20;

impl Client {
    /// Fetches a page of the first endpoint that can be reached, as a browser would.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] and [`Error::Timeout`] as every read; [`Error::Protocol`] if there is no such page.
    pub async fn http_get(&self, path: &str) -> Result<Bytes, Error> {
        let pool = &self.shared.pool;
        let fetch = async {
            let (mut wire, authority) = pool.wire().await?;
            // HTTP/1.0, because its answers end with the connection and need no further parsing.
            let request = format!("GET {path} HTTP/1.0\r\nhost: {authority}\r\n\r\n");
            let mut answer = Vec::new();
            wire.write_all(request.as_bytes()).await?;
            wire.take(PAGE_BYTES_MAX).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        match within(self.deadline(), fetch).await {
            None => Err(Error::Timeout),
            Some(Err(cause)) => Err(Error::Unreachable { cause: Some(std::sync::Arc::new(cause)) }),
            Some(Ok(answer)) => body(&Bytes::from(answer)),
        }
    }
}

/// The body of an answer that says that all went well.
fn body(answer: &Bytes) -> Result<Bytes, Error> {
    const END_OF_HEAD: &[u8] = b"\r\n\r\n";
    let head = answer.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD);
    let Some(head) = head else {
        return Err(Error::Protocol { what: "the answer is no HTTP" });
    };
    let mut words = answer[..head].split(|byte| *byte == b' ');
    let is_http = words.next().is_some_and(|version| version.starts_with(b"HTTP/1."));
    let status = words.next().map(<[u8]>::trim_ascii);
    if is_http && status == Some(b"200") {
        Ok(answer.slice(head + END_OF_HEAD.len()..))
    } else {
        Err(Error::Protocol { what: "the member does not serve this page" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_page_follows_its_head() {
        let page = |text: &'static str| body(&Bytes::from_static(text.as_bytes()));
        assert_eq!(page("HTTP/1.0 200 OK\r\na: b\r\n\r\nx\r\n\r\ny").unwrap(), "x\r\n\r\ny");
        assert!(page("HTTP/1.1 404 Not Found\r\n\r\nx").is_err());
        assert!(page("HTTP/1.0 200 OK\r\n").is_err());
        assert!(page("").is_err());
        assert!(page("SSH 200 \r\n\r\n").is_err());
    }
}
