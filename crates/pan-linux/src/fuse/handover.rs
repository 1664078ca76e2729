//! Passing a session from one process to another, over a local socket: one message with the terms and the descriptor.
//! Which process keeps, which serves and when is the callers' to say.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::error::FuseError;
use super::session::Session;
use super::terms::Terms;
use crate::seqpacket::{Connection, Received};

/// Longer than any message of this or a near version.
const MESSAGE_MAX: usize = 256;

/// Sends a session; the sender keeps its own handle.
///
/// # Errors
/// The other end is gone.
pub fn give(to: &Connection, session: &Session) -> Result<(), FuseError> {
    let sent = to.send(&session.terms().encode(), &[session.as_fd()]);
    sent.map_err(|source| FuseError::Handover { action: "hand over", source })
}

/// Waits for a session.
///
/// # Errors
/// The other end is gone, nothing came in time, or what came is no session of a version known here.
pub fn take(from: &Connection, at_most: Duration) -> Result<Session, FuseError> {
    receive(from, at_most).map_err(|source| FuseError::Handover { action: "take over", source })
}

fn receive(from: &Connection, at_most: Duration) -> io::Result<Session> {
    let deadline = Instant::now() + at_most;
    let mut buffer = [0; MESSAGE_MAX];
    loop {
        match from.receive(&mut buffer)? {
            Received::Message(bytes, mut descriptors) => {
                let terms = Terms::decode(&buffer[..bytes]);
                return match (terms, descriptors.pop(), descriptors.is_empty()) {
                    (Some(terms), Some(device), true) => Ok(Session::inherited(File::from(device), terms)),
                    _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a session of a version known here")),
                };
            }
            Received::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Received::Nothing => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                from.wait(left)?;
            }
        }
    }
}
