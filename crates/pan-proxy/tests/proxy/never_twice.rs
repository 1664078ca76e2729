//! A POST is never sent twice: a server resets its connection after every number of bytes that there can be, and a
//! ledger says who saw what.

use super::rig::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What servers saw of a request: how many of them a byte, and all of it.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    touched: usize,
    whole: usize,
}

/// By the number that a request has in its path: the first bytes, so that one is known by little of it.
type Ledger = Arc<Mutex<BTreeMap<usize, Entry>>>;

const BODY: &str = "a body that has some length, so that there is something to break off within, wherever that may be; \
    and some more of it, so that it is most of what is sent; and more still, because a request that is \
    short is soon sent, and what is soon sent is seldom broken off; which is enough.";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Where the server is to reset: after so many bytes of a POST, counted on into its answer.
type Position = Arc<AtomicUsize>;

/// The number of the request that is under way; one at a time.
type Current = Arc<AtomicUsize>;

async fn serve(mut stream: TcpStream, ledger: Ledger, position: Position, current: Current) {
    let mut bytes = Vec::new();
    loop {
        // GET is answered, which leaves the connection as one that is kept.
        bytes.clear();
        let reset_at = position.load(Ordering::SeqCst);
        loop {
            if bytes.starts_with(b"GET ") && bytes.ends_with(b"\r\n\r\n") {
                break;
            }
            let post = !bytes.starts_with(b"G");
            if post && bytes.len() == reset_at && (!bytes.is_empty() || stream.readable().await.is_ok()) {
                // With nothing read it is not known yet whether a GET comes.
                let mut first = [0];
                if !bytes.is_empty() || matches!(stream.peek(&mut first).await, Ok(1)) && first != *b"G" {
                    return reset(stream);
                }
            }
            if post && bytes.ends_with(BODY.as_bytes()) {
                break;
            }
            match stream.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(_) => return,
            }
            if bytes.len() == 1 && bytes[0] == b'P' {
                ledger.lock().unwrap().entry(current.load(Ordering::SeqCst)).or_default().touched += 1;
            }
        }
        if bytes.starts_with(b"P") {
            ledger.lock().unwrap().entry(current.load(Ordering::SeqCst)).or_default().whole += 1;
            let part = reset_at.saturating_sub(bytes.len());
            if part < ANSWER.len() {
                let _ = stream.write_all(&ANSWER[..part]).await;
                return reset(stream);
            }
        }
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}

async fn server(ledger: &Ledger, position: usize, current: &Current) -> (Raw, Position) {
    let position = Arc::new(AtomicUsize::new(position));
    let (ledger, at, current) = (Arc::clone(ledger), Arc::clone(&position), Arc::clone(current));
    let raw = Raw::start(move |stream| serve(stream, Arc::clone(&ledger), Arc::clone(&at), Arc::clone(&current))).await;
    (raw, position)
}

/// Resets at every position, on connections that were kept or are new; says how the requests ended, by status.
async fn every_position(kept: bool) -> BTreeMap<(u16, Option<String>), usize> {
    let ledger = Ledger::default();
    let current = Current::default();
    let (bad, position) = server(&ledger, 0, &current).await;
    let (good, _) = server(&ledger, usize::MAX, &current).await;
    let running = run(&spec(&[bad.address, good.address], "", r#", "balance": {"policy": "first"}"#));
    let mut ends = BTreeMap::new();
    let mut last = 0;
    // The head that the server gets is longer than the client's; the end is found when a whole answer comes.
    for at in 0.. {
        position.store(at, Ordering::SeqCst);
        current.store(at, Ordering::SeqCst);
        // Leaves a kept connection, and the server's good name: five failures in a row would eject it.
        assert_eq!(status(&get(running.address, "/").await), 200);
        if !kept {
            // The document as it is: but a server that was down meanwhile has only new connections.
            let up = spec(&[bad.address, good.address], "", r#", "balance": {"policy": "first"}"#);
            let mut down = up.clone();
            down.services[0].clusters[0].servers[0].state = pan_model::service::BackendState::Down;
            running.proxy.apply(&down).unwrap();
            running.proxy.apply(&up).unwrap();
        }
        let request = format!("POST /{at} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
        let answer = talk(running.address, request).await;
        let seen = ledger.lock().unwrap().get(&at).copied().unwrap_or_default();
        assert!(seen.touched <= 1 && seen.whole <= 1, "sent twice, reset at {at}: {seen:?}: {answer}");
        let outcome = header(&answer, "pan-outcome").map(str::to_owned);
        match (status(&answer), outcome.as_deref()) {
            (200, None) => assert_eq!(seen.whole, 1, "reset at {at}"),
            (502, Some("unknown")) => {}
            (502 | 503, Some("not-sent")) => assert_eq!(seen.touched, 0, "reset at {at}"),
            other => panic!("{other:?}, reset at {at}: {answer}"),
        }
        *ends.entry((status(&answer), outcome)).or_default() += 1;
        last = at;
        if seen.whole == 1 && answer.ends_with("\r\n\r\nok") {
            break;
        }
    }
    assert!(last > 300, "{last} positions");
    ends
}

#[tokio::test]
async fn resets_at_every_byte_of_a_new_connection() {
    let ends = every_position(false).await;
    assert!(ends[&(502, Some("unknown".to_owned()))] > 300, "{ends:?}");
    assert!(ends[&(200, None)] >= 1, "{ends:?}");
}

#[tokio::test]
async fn resets_at_every_byte_of_a_kept_connection() {
    let ends = every_position(true).await;
    assert!(ends[&(502, Some("unknown".to_owned()))] > 300, "{ends:?}");
    assert!(ends[&(200, None)] >= 1, "{ends:?}");
}
