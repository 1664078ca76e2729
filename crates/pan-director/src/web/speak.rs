//! What is said to a proxy on its control socket, and how long that may take: whoever answers may have been taken over by a stranger.

use pan_linux::local::connect_at_once;
use pan_model::ServerName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Weak};
use std::time::{Duration, Instant};

/// How long an answer takes at most: a document of thousands of routes is compiled in a fraction of it.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is read: counts of ten thousand servers.
const LINE_MAX: usize = 8 << 20;

/// Where the requests are asked for that a partition's servers have: of the proxy, and of those that end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    pub(super) control: Option<PathBuf>,
    pub(super) leaving: Vec<Weak<Mutex<UnixStream>>>,
}

impl Lines {
    /// Requests that servers have now. Blocks. One that is not there any more has none.
    ///
    /// # Errors
    /// One is there and does not say.
    pub(crate) fn requests(&self) -> io::Result<BTreeMap<ServerName, u64>> {
        let mut all = match self.control.as_deref().map_or_else(|| Ok(Counts::default()), counts) {
            Ok(counts) => sum(counts),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        for stream in self.leaving.iter().filter_map(Weak::upgrade) {
            let mut stream = stream.lock().expect("nobody panics who holds it");
            match speak(&mut stream, &json!("counts"), ANSWER_MAX) {
                Ok(counts) => add(&mut all, sum(counts)),
                // It has just ended.
                Err(error) if is_end(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// What a proxy answers of its requests.
#[derive(Default, Deserialize)]
pub(super) struct Counts {
    counts: Vec<ServiceCounts>,
}

#[derive(Deserialize)]
struct ServiceCounts {
    servers: Vec<ServerCount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerCount {
    server: ServerName,
    in_flight: u64,
}

/// What a proxy has counted.
pub(super) fn counts(control: &Path) -> io::Result<Counts> {
    converse(control, &json!("counts"), ANSWER_MAX)
}

fn sum(answer: Counts) -> BTreeMap<ServerName, u64> {
    let mut all = BTreeMap::new();
    let servers = answer.counts.into_iter().flat_map(|service| service.servers);
    servers.for_each(|one| add(&mut all, BTreeMap::from([(one.server, one.in_flight)])));
    all
}

fn add(all: &mut BTreeMap<ServerName, u64>, more: BTreeMap<ServerName, u64>) {
    for (server, count) in more {
        let sum: &mut u64 = all.entry(server).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// Asks one question of whoever serves a socket.
pub(super) fn converse<T: DeserializeOwned>(control: &Path, question: &Value, limit: Duration) -> io::Result<T> {
    speak(&mut connect_at_once(control)?, question, limit)
}

/// Asks one question (`pan_proxy::serve::control::Ask`; this crate does not know that one) and reads the answer, all within `limit`.
pub(super) fn speak<T: DeserializeOwned>(stream: &mut UnixStream, question: &Value, limit: Duration) -> io::Result<T> {
    let deadline = Instant::now() + limit;
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(Some(left)) }
    };
    let mut text = serde_json::to_vec(question)?;
    text.push(b'\n');
    let mut rest = &text[..];
    while !rest.is_empty() {
        stream.set_write_timeout(left()?)?;
        rest = &rest[stream.write(rest)?..];
    }
    let (mut answer, mut part) = (Vec::new(), [0; 16 << 10]);
    let length = loop {
        stream.set_read_timeout(left()?)?;
        let count = stream.read(&mut part)?;
        let end = part[..count].iter().position(|byte| *byte == b'\n');
        answer.extend_from_slice(&part[..end.unwrap_or(count)]);
        if end.is_some() || count == 0 || answer.len() > LINE_MAX {
            break answer.len();
        }
    };
    match length {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without an answer")),
        length if length > LINE_MAX => Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no end")),
        _ => Ok(serde_json::from_slice(&answer)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{answering, serve};
    use std::sync::Arc;

    const NOTHING: &str = r#"{"counts": []}"#;
    const SOME: &str = r#"{"counts": [{"servers": [{"server": "web-1", "inFlight": 2}, {"server": "web-2", "inFlight": 0}]},
        {"servers": [{"server": "web-1", "inFlight": 18446744073709551615}]}]}"#;

    fn counted(lines: &Lines) -> Vec<(String, u64)> {
        lines.requests().unwrap().into_iter().map(|(server, count)| (server.to_string(), count)).collect()
    }

    #[test]
    fn requests_are_those_of_the_proxy_and_of_those_that_end() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        serve(theirs, r#"{"counts": [{"servers": [{"server": "web-2", "inFlight": 3}]}]}"#);
        let leaving = Arc::new(Mutex::new(ours));
        let lines = Lines { control: Some(answering(folder.path(), SOME)), leaving: vec![Arc::downgrade(&leaving)] };
        assert_eq!(counted(&lines), [("web-1".to_owned(), u64::MAX), ("web-2".to_owned(), 3)]);
        drop(leaving);
        assert_eq!(counted(&lines), [("web-1".to_owned(), u64::MAX), ("web-2".to_owned(), 0)]);
    }

    #[test]
    fn one_that_has_gone_has_none_and_one_that_talks_nonsense_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(counted(&Lines { control: Some(folder.path().join("none")), leaving: Vec::new() }), []);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let gone = Arc::new(Mutex::new(ours));
        let lines = Lines { control: Some(answering(folder.path(), NOTHING)), leaving: vec![Arc::downgrade(&gone)] };
        assert_eq!(counted(&lines), []);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        serve(theirs, "nonsense");
        assert!(speak::<Counts>(&mut ours, &json!("counts"), ANSWER_MAX).is_err());
    }

    #[test]
    fn one_that_drips_or_never_ends_its_answer_is_not_listened_to_for_longer_than_that() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let dripping = std::thread::spawn(move || while theirs.write_all(b" ").is_ok() {});
        let began = Instant::now();
        let error = speak::<Counts>(&mut ours, &json!("counts"), Duration::from_millis(300)).err().unwrap();
        assert!(matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
        drop(ours);
        dripping.join().unwrap();
    }
}
