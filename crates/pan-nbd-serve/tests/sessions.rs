//! Connections by hand: order, bounds, ends, and clients that mean no good.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kit::{Client, Rig, export, head, within};
use pan_model::ByteSize;
use pan_nbd::{Durability, Ended, Extents, Failure, Listing, Span, Stretch};
use pan_nbd_serve::{Buffer, Exports, Limits, Memory, Outcome, Read, SessionError, Storage, Wish, Zeroing, bind, serve_one};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};

const SIZE: u64 = 64 << 20;
const READ: u16 = 0;
const WRITE: u16 = 1;
const LEAVE: u16 = 2;

/// Memory whose reads of odd pages, and whose writes, wait to be let through.
struct Gated {
    memory: Memory,
    gate: Semaphore,
    inside: AtomicUsize,
    inside_most: AtomicUsize,
}

impl Gated {
    fn new(open: usize) -> Arc<Self> {
        let none = || AtomicUsize::new(0);
        Arc::new(Self { memory: Memory::new(), gate: Semaphore::new(open), inside: none(), inside_most: none() })
    }

    async fn pass(&self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.inside_most.fetch_max(inside, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    async fn until_inside(&self, count: usize) {
        within(async {
            while self.inside.load(Ordering::SeqCst) != count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl Storage for Gated {
    async fn read(&self, span: Span, into: Buffer) -> Result<Read, Failure> {
        assert_ne!(span.offset, 13, "a bug in the storage");
        if span.offset / 4096 % 2 == 1 {
            self.pass().await;
        }
        self.memory.read(span, into).await
    }

    async fn write(&self, span: Span, data: Buffer, durability: Durability) -> Result<(), Failure> {
        self.pass().await;
        self.memory.write(span, data, durability).await
    }

    async fn flush(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn trim(&self, span: Span, durability: Durability) -> Result<(), Failure> {
        self.memory.trim(span, durability).await
    }

    async fn zero(&self, span: Span, how: Zeroing) -> Result<(), Failure> {
        self.memory.zero(span, how).await
    }

    async fn status(&self, span: Span, extents: Extents) -> Result<Vec<Stretch>, Failure> {
        self.memory.status(span, extents).await
    }
}

fn gated(storage: &Arc<Gated>, limits: Limits) -> Rig {
    Rig::serve(vec![(export("disk", SIZE), Arc::clone(storage))], limits)
}

#[tokio::test]
async fn answers_come_in_the_order_in_which_they_are_ready() {
    let storage = Gated::new(0);
    let rig = gated(&storage, Limits::LOCAL);
    let mut client = rig.client().await;
    client.request(READ, 1, 4096, 512).await;
    client.request(READ, 2, 0, 512).await;
    assert_eq!(client.reply().await, Some((2, 0)));
    client.data(512).await;
    storage.gate.add_permits(1);
    assert_eq!(client.reply().await, Some((1, 0)));
    client.data(512).await;
    client.request(LEAVE, 0, 0, 0).await;
    assert!(client.is_closed().await);
    assert_eq!(rig.end().await.ended, 1);
}

#[tokio::test]
async fn what_was_asked_before_leaving_is_done() {
    let storage = Gated::new(0);
    let rig = gated(&storage, Limits::LOCAL);
    let mut client = rig.client().await;
    client.request(READ, 1, 4096, 512).await;
    client.request(LEAVE, 0, 0, 0).await;
    storage.until_inside(1).await;
    storage.gate.add_permits(1);
    assert_eq!(client.reply().await, Some((1, 0)));
    client.data(512).await;
    assert!(client.is_closed().await);
    assert_eq!(rig.end().await.ended, 1);
}

/// `requests` reads of `length`, of which the storage must have had `most` at once, all at last answered.
async fn check_bound(limits: Limits, requests: u64, length: u32, most: usize) {
    let storage = Gated::new(0);
    let rig = gated(&storage, limits);
    let mut client = rig.client().await;
    let all: Vec<u8> = (0..requests).flat_map(|cookie| head(READ, cookie, 4096, length)).collect();
    within(client.0.write_all(&all)).await.unwrap();
    storage.until_inside(most).await;
    storage.gate.add_permits(usize::try_from(requests).unwrap());
    let mut answered = BTreeSet::new();
    for _ in 0..requests {
        let (cookie, error) = client.reply().await.unwrap();
        assert_eq!(error, 0);
        client.data(length as usize).await;
        answered.insert(cookie);
    }
    assert_eq!(answered.len() as u64, requests);
    assert_eq!(storage.inside_most.load(Ordering::SeqCst), most, "of {requests} reads of {length}");
    assert_eq!(rig.end().await.failed, 0);
}

#[tokio::test]
async fn requests_and_bytes_under_way_are_bounded() {
    let few = Limits { requests_max: 4, ..Limits::LOCAL };
    check_bound(few, 300, 512, 4).await;
    let small = Limits { bytes_max: ByteSize(64 << 10), ..Limits::LOCAL };
    check_bound(small, 50, 32 << 10, 2).await;
    // Longer than the bound: alone, but it is done.
    check_bound(small, 3, 1 << 20, 1).await;
}

#[tokio::test]
async fn payload_arrives_whole_however_it_is_cut() {
    let storage = Gated::new(Semaphore::MAX_PERMITS);
    let rig = gated(&storage, Limits::LOCAL);
    let mut client = rig.client().await;
    let data: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut bytes = Vec::new();
    for (cookie, (offset, length)) in [(0, 512), (512, 1_000_000), (1_000_512, 1), (1_000_513, 1_999_487)].into_iter().enumerate() {
        bytes.extend(head(WRITE, cookie as u64, offset as u64, length as u32));
        bytes.extend(&data[offset..offset + length]);
    }
    let mut rest = &bytes[..];
    for cut in [1, 27, 28, 29, 500, 4096, 70_000, 131_072, 262_144].into_iter().cycle() {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        within(client.0.write_all(now)).await.unwrap();
        tokio::task::yield_now().await;
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    for _ in 0..4 {
        assert_eq!(client.reply().await.unwrap().1, 0);
    }
    client.request(READ, 9, 0, 3_000_000).await;
    assert_eq!(client.reply().await, Some((9, 0)));
    assert!(client.data(3_000_000).await == data, "other bytes were read than written");
    assert_eq!(rig.end().await.failed, 0);
}

#[tokio::test]
async fn the_end_finishes_what_is_under_way_and_refuses_the_rest() {
    let storage = Gated::new(0);
    let rig = gated(&storage, Limits::LOCAL);
    let (mut client, mut idle) = (rig.client().await, rig.client().await);
    client.request(WRITE, 1, 0, 4).await;
    client.0.write_all(b"data").await.unwrap();
    storage.until_inside(1).await;
    rig.wish_end();
    // The idle one has nothing to wait for.
    assert!(idle.is_closed().await);
    client.request(READ, 2, 0, 4).await;
    assert_eq!(client.reply().await, Some((2, 108)), "ESHUTDOWN");
    storage.gate.add_permits(1);
    assert_eq!(client.reply().await, Some((1, 0)));
    assert!(client.is_closed().await);
    let served = rig.end().await;
    assert_eq!((served.ended, served.failed, served.cut), (2, 0, 0));
}

#[tokio::test]
async fn the_end_waits_only_so_long() {
    let storage = Gated::new(0);
    let rig = gated(&storage, Limits { ending: Duration::from_millis(50), ..Limits::LOCAL });
    let mut client = rig.client().await;
    client.request(READ, 1, 4096, 4).await;
    storage.until_inside(1).await;
    assert_eq!(rig.end().await.cut, 1);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn too_many_connections_are_turned_away() {
    let rig = gated(&Gated::new(0), Limits { sessions_max: 1, ..Limits::LOCAL });
    let one = rig.client().await;
    let mut two = Client(UnixStream::connect(rig.socket()).await.unwrap());
    assert!(two.is_closed().await);
    drop(one);
    let served = rig.end().await;
    assert_eq!((served.refused, served.ended), (1, 1));
}

#[tokio::test]
async fn a_storage_that_panics_takes_one_connection_with_it() {
    let rig = gated(&Gated::new(0), Limits::LOCAL);
    let (mut one, mut other) = (rig.client().await, rig.client().await);
    one.request(READ, 1, 13, 4).await;
    assert!(one.is_closed().await);
    other.request(READ, 1, 0, 4).await;
    assert_eq!(other.reply().await, Some((1, 0)));
    assert_eq!(rig.end().await.failed, 1);
}

/// One connection whose client says `bytes` after its choice and then does what `then` says.
async fn ended(bytes: &[u8], limits: Limits, then: Then) -> Result<Outcome, SessionError> {
    let (near, far) = UnixStream::pair().unwrap();
    let exports = Exports::new(vec![(export("disk", SIZE), Gated::new(0))], Listing::Shown).unwrap();
    let (_keep, wished) = watch::channel(Wish::Serve);
    let session = tokio::spawn(serve_one(far, exports, limits, wished));
    let near = match then {
        Then::NeverChoose => Client(near),
        Then::Close | Then::Stay => Client::choose(near, "disk").await,
    };
    let Client(mut stream) = near;
    // A server that has seen enough reads no more.
    let _ = within(stream.write_all(bytes)).await;
    if then == Then::Close {
        drop(stream.into_std().unwrap());
        return within(session).await.unwrap();
    }
    let result = within(session).await.unwrap();
    drop(stream);
    result
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    Stay,
    NeverChoose,
}

#[tokio::test]
async fn every_bad_end_is_told_apart() {
    let quick = Limits { handshake: Duration::from_millis(50), unread: Duration::from_millis(50), ..Limits::LOCAL };
    assert!(matches!(ended(&[], quick, Then::Close).await, Ok(Outcome::HungUp)));
    assert!(matches!(ended(&head(LEAVE, 0, 0, 0), quick, Then::Stay).await, Ok(Outcome::Left)));
    assert!(matches!(ended(&head(READ, 0, 0, 4)[..20], quick, Then::Close).await, Err(SessionError::Torn)));
    let cut_short = [&head(WRITE, 0, 0, 4)[..], b"dat"].concat();
    assert!(matches!(ended(&cut_short, quick, Then::Close).await, Err(SessionError::Torn)));
    assert!(matches!(ended(&[0x55; 4096], quick, Then::Stay).await, Err(SessionError::Protocol(Ended::Magic { .. }))));
    assert!(matches!(ended(&[0, 0, 0, 0xff], quick, Then::NeverChoose).await, Err(SessionError::Protocol(Ended::ClientFlags { .. }))));
    assert!(matches!(ended(&[0, 0], quick, Then::NeverChoose).await, Err(SessionError::Handshake(_))));
    // A megabyte of answers that nobody reads is more than a socket holds.
    let greedy: Vec<u8> = (0..16).flat_map(|cookie| head(READ, cookie, 0, 1 << 20)).collect();
    assert!(matches!(ended(&greedy, quick, Then::Stay).await, Err(SessionError::Unread(_))));
}

#[tokio::test]
async fn a_socket_is_taken_over_only_from_the_dead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nbd");
    let first = bind(&path).unwrap();
    assert!(bind(&path).unwrap_err().to_string().ends_with("another process does"));
    drop(first);
    let second = bind(&path).unwrap();
    drop(second);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(bind(&path).unwrap_err().to_string().ends_with("it is there and no socket"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
