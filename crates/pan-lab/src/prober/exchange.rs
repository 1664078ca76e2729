//! One probe on the wire: a connection from a given port, `GET / HTTP/1.0`, the answer to its end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::sample::Outcome;

/// Whoever answers more does not answer this question.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// What is kept of the answer's first line.
const LINE_BYTES_MAX: usize = 200;

/// A socket with a source port of its own. Taken ports are passed over.
///
/// # Errors
/// No port is free, or the process has no free descriptor.
pub(super) fn socket(target: SocketAddr, ports: &mut Ports) -> io::Result<(TcpSocket, u16)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..Ports::COUNT {
        let port = ports.next();
        let (socket, any): (_, IpAddr) = match target {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
        };
        match socket.bind(SocketAddr::new(any, port)) {
            Ok(()) => return Ok((socket, port)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Source ports in turn: none comes again before all others were used, so that no probe meets what a
/// director or a server remembers of an earlier one.
#[derive(Debug)]
pub(super) struct Ports(u16);

impl Ports {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 50_000;

    /// Begins anywhere: probers that follow each other should not begin at the same port.
    pub(super) fn starting(seed: u64) -> Self {
        let offset = u16::try_from(seed % u64::from(Self::COUNT)).expect("less than COUNT");
        Self(offset)
    }

    fn next(&mut self) -> u16 {
        self.0 = (self.0 + 1) % Self::COUNT;
        Self::FIRST + self.0
    }
}

/// Asks, and tells what became of it with the first line of the answer's body.
pub(super) async fn exchange(socket: TcpSocket, target: SocketAddr, limit: Duration) -> (Outcome, String) {
    match timeout(limit, ask(socket, target)).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(error)) => (outcome(&error), String::new()),
        Err(_) => (Outcome::Timeout, String::new()),
    }
}

async fn ask(socket: TcpSocket, target: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = socket.connect(target).await?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {target}\r\nUser-Agent: pan-prober\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    while stream.read_buf(&mut answer).await? > 0 {
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(answer)
}

fn outcome(error: &io::Error) -> Outcome {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable => Outcome::Refused,
        Kind::TimedOut => Outcome::Timeout,
        Kind::InvalidData => Outcome::Bad,
        _ => Outcome::Reset,
    }
}

fn judge(answer: &[u8]) -> (Outcome, String) {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return (Outcome::Bad, String::new());
    };
    let status = head.split_whitespace().nth(1);
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = length.is_none_or(|length| answer.len() >= head.len() + 4 + length);
    let line: String = body.lines().next().unwrap_or_default().chars().take(LINE_BYTES_MAX).collect();
    let good = head.starts_with("HTTP/") && status == Some("200") && whole;
    (if good { Outcome::Ok } else { Outcome::Bad }, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, wanted: Outcome, line: &str) {
        assert_eq!(judge(answer.as_bytes()), (wanted, line.to_owned()), "{answer:?}");
    }

    #[test]
    fn only_a_whole_answer_is_good() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nweb-1 x\n", Outcome::Ok, "web-1 x");
        check("HTTP/1.0 200 OK\r\n\r\nweb-1 x\nmore", Outcome::Ok, "web-1 x");
        check("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nweb-1 x\n", Outcome::Bad, "web-1 x");
        check("HTTP/1.1 503 Down\r\n\r\nsorry", Outcome::Bad, "sorry");
        check("HTTP/1.1 200 OK\r\n", Outcome::Bad, "");
        check("", Outcome::Bad, "");
    }

    #[test]
    fn ports_do_not_come_again_soon() {
        let mut ports = Ports::starting(u64::MAX);
        let all: std::collections::BTreeSet<u16> = (0..Ports::COUNT).map(|_| ports.next()).collect();
        assert_eq!(all.len(), usize::from(Ports::COUNT));
        assert_eq!((all.first(), all.last()), (Some(&10_000), Some(&59_999)));
    }
}
