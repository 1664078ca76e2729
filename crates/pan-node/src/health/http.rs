//! The smallest HTTP client that can tell a status: GET in HTTP/1.0 (RFC 1945), of the answer only the first line.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A status line is some twenty bytes; whoever sends this much without a line end speaks no HTTP.
const LINE_BYTES_MAX: usize = 1024;

/// Asks for `path` and returns the status.
pub(super) async fn status<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, host: &str, path: &str) -> io::Result<u16> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: pan-health\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(256);
    while !answer.contains(&b'\n') {
        if answer.len() >= LINE_BYTES_MAX {
            return Err(invalid("an answer without a first line"));
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(invalid("an answer that ends within its first line"));
        }
    }
    parse(&answer).ok_or_else(|| invalid("an answer that is not HTTP"))
}

fn parse(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    words.next()?.starts_with("HTTP/").then_some(())?;
    let code = words.next()?;
    (code.len() == 3).then(|| code.parse().ok())?
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(answer: &str) -> Option<u16> {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(answer.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let found = status(ours, "10.0.0.10", "/").await.ok();
        let mut asked = String::new();
        theirs.read_to_string(&mut asked).await.unwrap();
        assert!(asked.starts_with("GET / HTTP/1.0\r\nHost: 10.0.0.10\r\n"), "{asked}");
        found
    }

    #[tokio::test]
    async fn reads_a_status_and_nothing_else() {
        assert_eq!(check("HTTP/1.1 200 OK\r\n").await, Some(200));
        assert_eq!(check("HTTP/1.0 503\r\nX: y\r\n").await, Some(503));
        for bad in ["", "HTTP/1.1 200", "SSH-2.0-x\r\n", "HTTP/1.1 20\r\n", "HTTP/1.1 abc\r\n", &"x".repeat(2000)] {
            assert_eq!(check(bad).await, None, "{bad:?}");
        }
    }
}
