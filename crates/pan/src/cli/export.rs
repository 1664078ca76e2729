//! `pan volume export`: serves a snapshot on a socket of this machine by NBD, read from the storage hosts through the API.

use super::failure::Failure;
use super::session::Session;
use super::volume::named;
use clap::Args;
use pan_api::ApiError;
use pan_api::client::Client;
use pan_api::volume::{MAP_MAX, READ_MAX, SnapshotMap, SnapshotState, Volume};
use pan_model::Code;
use pan_nbd::{Access, BlockSizes, Connections, Durability, ErrorCode, Export, ExportName, Extents, Listing, Medium, Span, State, Stretch};
use pan_nbd_serve::{Buffer, Exports, Limits, Read, Storage, Wish, Zeroing, bind, serve};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

/// What snapshots are read in: blocks with a checksum each.
const BLOCK: u64 = 4096;
/// Reads under way at the same time.
const READS_MAX: usize = 4;

/// Serve a snapshot on a socket of this machine, to be read by whatever speaks NBD.
///
/// With `qemu-img`, `nbdcopy`, `nbd-client`, `guestfish` and others: nbd+unix:///?socket=PATH. It serves until it is interrupted.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// VOLUME@NAME.
    #[arg(value_name = "VOLUME@NAME")]
    pub snapshot: String,
    /// Where; the socket is made for its owner alone.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// From that one of its copies, counted from 0, and no other: to compare them.
    #[arg(long, value_name = "N")]
    pub copy: Option<u64>,
}

/// A snapshot that is read through the API.
struct Snapshot {
    client: Client,
    path: String,
    copy: String,
    size: u64,
    /// Clients ask for hundreds of pieces at the same time, which makes nothing faster past a few.
    at_once: Semaphore,
}

impl Snapshot {
    fn page(&self, what: &str, at: u64, length: u64) -> String {
        format!("{}/{what}?at={at}&length={length}{}", self.path, self.copy)
    }

    async fn fill(&self, from: u64, into: &mut [u8]) -> Result<(), ApiError> {
        // It is never closed.
        let _turn = self.at_once.acquire().await;
        let (mut at, end) = (from / BLOCK * BLOCK, from + into.len() as u64);
        while at < end {
            let length = READ_MAX.min(end.next_multiple_of(BLOCK) - at);
            let bytes = self.client.whole(&self.page("data", at, length)).await?;
            if bytes.len() as u64 != length {
                return Err(ApiError::new(Code::Internal, format!("{} bytes came for {length}", bytes.len())));
            }
            let (first, last) = (at.max(from), (at + length).min(end));
            into[index(first - from)..index(last - from)].copy_from_slice(&bytes[index(first - at)..index(last - at)]);
            at += length;
        }
        Ok(())
    }
}

/// Within a buffer that is there.
fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("less than a buffer that is in memory")
}

fn failure(error: &ApiError) -> pan_nbd::Failure {
    tracing::warn!(%error, "a part of the snapshot cannot be read");
    pan_nbd::Failure::new(ErrorCode::Io, error.to_string())
}

fn read_only() -> pan_nbd::Failure {
    pan_nbd::Failure::new(ErrorCode::NotPermitted, "a snapshot does not change")
}

/// Where data is within a span, as stretches from its beginning on.
fn stretches(span: Span, until: u64, map: &SnapshotMap) -> Vec<Stretch> {
    let mut all = Vec::new();
    let mut at = span.offset;
    let mut push = |length: u64, state| {
        if length > 0 {
            all.push(Stretch { length: u32::try_from(length).expect("within a span of 32 bits"), state });
        }
    };
    for (from, length) in &map.data {
        let (from, to) = ((*from).max(at), (from + length).min(until));
        if from < to {
            push(from - at, State::Hole);
            push(to - from, State::Data);
            at = to;
        }
    }
    push(until.saturating_sub(at), State::Hole);
    all
}

impl Storage for Snapshot {
    async fn read(&self, span: Span, mut into: Buffer) -> Result<Read, pan_nbd::Failure> {
        self.fill(span.offset, &mut into).await.map_err(|error| failure(&error))?;
        Ok(Read { data: into, pieces: Vec::new() })
    }

    async fn write(&self, _: Span, _: Buffer, _: Durability) -> Result<(), pan_nbd::Failure> {
        Err(read_only())
    }

    async fn flush(&self) -> Result<(), pan_nbd::Failure> {
        Ok(())
    }

    async fn trim(&self, _: Span, _: Durability) -> Result<(), pan_nbd::Failure> {
        Err(read_only())
    }

    async fn zero(&self, _: Span, _: Zeroing) -> Result<(), pan_nbd::Failure> {
        Err(read_only())
    }

    async fn status(&self, span: Span, _: Extents) -> Result<Vec<Stretch>, pan_nbd::Failure> {
        let first = span.offset / BLOCK * BLOCK;
        let end = span.end().min(first + MAP_MAX).next_multiple_of(BLOCK).min(self.size);
        let map: SnapshotMap = self.client.get(&self.page("map", first, end - first)).await.map_err(|error| failure(&error))?;
        Ok(stretches(span, end.min(span.end()), &map))
    }
}

/// `pan volume export`.
pub async fn run(args: ExportArgs, session: &Session) -> Result<(), Failure> {
    let (_, name, path) = named(&args.snapshot, session)?;
    let client = session.connect()?;
    let volume: Volume = client.get(&path).await?;
    let found = volume.snapshots.iter().find(|snapshot| snapshot.name == name.name);
    let found = found.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no snapshot {name}")))?;
    if found.state != SnapshotState::Ready {
        return Err(Failure::new(Code::State, format!("snapshot {name} is not there to be read: {:?}", found.state).to_lowercase()));
    }
    let size = found.size;
    let path = format!("{path}/snapshots/{}", name.name);
    let copy = args.copy.map(|copy| format!("&copy={copy}")).unwrap_or_default();
    let storage = Snapshot { client, path, copy, size: size.0, at_once: Semaphore::new(READS_MAX) };
    // Whatever keeps it from being read is told now, and not to the first who reads.
    storage.fill(0, &mut [0; BLOCK as usize]).await?;
    let usage = |error: pan_nbd::CatalogError| Failure::Usage(error.to_string());
    let export = Export {
        name: ExportName::new(name.to_string()).map_err(usage)?,
        description: format!("snapshot {name}"),
        size,
        access: Access::ReadOnly,
        connections: Connections::Many,
        medium: Medium::Solid,
        blocks: BlockSizes::UNTOLD,
    };
    let exports = Exports::new(vec![(export, Arc::new(storage))], Listing::Shown).map_err(usage)?;
    let listener = bind(&args.socket).map_err(|error| Failure::Usage(error.to_string()))?;
    let failed = Failure::local("wait for signals");
    let mut ended = signal(SignalKind::terminate()).map_err(failed)?;
    let (wish, wished) = watch::channel(Wish::Serve);
    session.out.say(&format!("snapshot {name} can be read at nbd+unix:///?socket={} until Ctrl-C", args.socket.display()))?;
    let server = tokio::spawn(serve(listener, exports, Limits::LOCAL, wished));
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::local("wait for Ctrl-C"))?,
        _ = ended.recv() => {}
    }
    // Nobody to be told is nobody who serves.
    let _ = wish.send(Wish::End);
    let _ = server.await;
    std::fs::remove_file(&args.socket).map_err(Failure::local(format!("remove {}", args.socket.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_data_is_a_hole() {
        let map = |data: &[(u64, u64)]| SnapshotMap { data: data.to_vec() };
        let told = |offset, length, until, data: &[(u64, u64)]| -> Vec<(u32, bool)> {
            let all = stretches(Span { offset, length }, until, &map(data));
            all.into_iter().map(|stretch| (stretch.length, stretch.state == State::Data)).collect()
        };
        assert_eq!(told(0, 100, 100, &[]), [(100, false)]);
        assert_eq!(told(0, 100, 100, &[(0, 100)]), [(100, true)]);
        assert_eq!(told(10, 80, 90, &[(0, 20), (30, 10), (85, 50)]), [(10, true), (10, false), (10, true), (45, false), (5, true)]);
    }
}
