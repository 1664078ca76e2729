//! Frames and keep-alives on a stream, and silence.

use super::limits::{KEEP_ALIVE, KEEP_ALIVE_EVERY};
use pan_replica::wire::{Payload, REPLY_HEAD, REQUEST_HEAD, WireError};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// A payload up to this size is sent together with its head: one record of TLS, one packet where it can be.
const TOGETHER_MAX: usize = 16 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    #[error("nothing was heard of it")]
    Silent,
    #[error("it was closed")]
    Closed,
    #[error("it broke: {0}")]
    Broken(#[from] io::Error),
    #[error("it does not speak the protocol: {0}")]
    Wire(#[from] WireError),
    #[error("it asked for what its capability does not allow")]
    Beyond,
    #[error("another head is obeyed")]
    Fenced,
    #[error("the pool is not served any more")]
    Unserved,
}

/// What comes in.
pub(super) struct Incoming<R> {
    pub read: R,
    pub silence: Duration,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// The head of the next frame.
    pub(super) async fn head(&mut self) -> Result<[u8; REQUEST_HEAD], Gone> {
        let mut head = [0; REQUEST_HEAD];
        loop {
            self.fill(&mut head[..2]).await?;
            if head[..2] != KEEP_ALIVE {
                break;
            }
        }
        self.fill(&mut head[2..]).await?;
        Ok(head)
    }

    /// Fills all of it; whoever sends a long payload must not be silent within it either.
    pub(super) async fn fill(&mut self, into: &mut [u8]) -> Result<(), Gone> {
        let mut at = 0;
        while at < into.len() {
            match timeout(self.silence, self.read.read(&mut into[at..])).await {
                Err(_) => return Err(Gone::Silent),
                Ok(Ok(0)) => return Err(Gone::Closed),
                Ok(read) => at += read?,
            }
        }
        Ok(())
    }
}

/// A reply, and its part of what may be in flight.
pub(super) struct Outgoing {
    pub head: [u8; REPLY_HEAD],
    pub payload: Payload<Vec<u8>>,
    pub weight: Vec<OwnedSemaphorePermit>,
}

/// Sends replies as they come, and a keep-alive whenever there is none for a while. Ends when nobody is left to send any.
pub(super) async fn send(
    mut write: impl AsyncWrite + Unpin,
    mut replies: UnboundedReceiver<Outgoing>,
    silence: Duration,
) -> Result<(), Gone> {
    let mut together = Vec::new();
    loop {
        match timeout(KEEP_ALIVE_EVERY, replies.recv()).await {
            Err(_) => put(&mut write, &KEEP_ALIVE, silence).await?,
            Ok(None) => return Ok(()),
            Ok(Some(Outgoing { head, payload, weight })) => {
                let bytes = payload.bytes();
                together.clear();
                together.extend_from_slice(&head);
                if bytes.len() <= TOGETHER_MAX {
                    together.extend_from_slice(bytes);
                    put(&mut write, &together, silence).await?;
                } else {
                    put(&mut write, &together, silence).await?;
                    put(&mut write, bytes, silence).await?;
                }
                drop(weight);
            }
        }
        if replies.is_empty() {
            timeout(silence, write.flush()).await.map_err(|_| Gone::Silent)??;
        }
    }
}

/// Writes all of it; a peer that takes nothing is as good as silent.
async fn put(write: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], silence: Duration) -> Result<(), Gone> {
    while !bytes.is_empty() {
        let written = timeout(silence, write.write(bytes)).await.map_err(|_| Gone::Silent)??;
        if written == 0 {
            return Err(Gone::Closed);
        }
        bytes = &bytes[written..];
    }
    Ok(())
}
