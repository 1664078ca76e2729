//! A connection from its first byte to its last.

use std::io;
use std::time::Duration;

use pan_nbd::Ended;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::input::Input;
use super::negotiate::{Negotiated, negotiate};
use super::pump::Pump;
use crate::limits::Limits;
use crate::server::Wish;
use crate::storage::{Exports, Storage};

/// How a connection ended that nothing went wrong with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client said that it leaves.
    Left,
    /// The client closed the connection, between two messages.
    HungUp,
    /// The server ends, and everything under way was finished.
    Finished,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Left => "the client left",
            Self::HungUp => "the client hung up",
            Self::Finished => "the server ends",
        })
    }
}

/// What went wrong with a connection. All of it was the client's or the system's doing.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("cannot read from the client: {0}")]
    Read(#[source] io::Error),
    #[error("cannot write to the client: {0}")]
    Write(#[source] io::Error),
    #[error("the client closed the connection in the middle of a message")]
    Torn,
    #[error("the client chose nothing within {0:?}")]
    Handshake(Duration),
    #[error("the client read no answer for {0:?}")]
    Unread(Duration),
    #[error(transparent)]
    Protocol(Ended),
}

/// Serves one client until it leaves, misbehaves, or the server ends.
///
/// # Errors
/// [`SessionError`]; the connection is closed then as well.
pub async fn serve_one<S: Storage>(
    stream: UnixStream,
    exports: Exports<S>,
    limits: Limits,
    mut wish: watch::Receiver<Wish>,
) -> Result<Outcome, SessionError> {
    let mut input = Input::new();
    let handshake = negotiate(&stream, &mut input, exports.catalog(), &mut wish);
    let negotiated = tokio::time::timeout(limits.handshake, handshake).await.map_err(|_| SessionError::Handshake(limits.handshake))??;
    match negotiated {
        Negotiated::Over(outcome) => Ok(outcome),
        Negotiated::Chosen { export, transmission } => {
            Pump::new(stream, input, transmission, exports.storage(export), limits).run(wish).await
        }
    }
}
