//! The handshake's I/O: one option after the other, as the protocol has it.

use std::io;
use std::sync::Arc;

use pan_nbd::{Catalog, Ended, ExportIndex, Handshake, HandshakeStep, Transmission};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::input::Input;
use super::serve_one::{Outcome, SessionError};
use crate::server::Wish;

/// What the handshake led to.
pub(super) enum Negotiated {
    Over(Outcome),
    Chosen { export: ExportIndex, transmission: Transmission },
}

pub(super) async fn negotiate(
    stream: &UnixStream,
    input: &mut Input,
    catalog: Arc<Catalog>,
    wish: &mut watch::Receiver<Wish>,
) -> Result<Negotiated, SessionError> {
    let (mut handshake, greeting) = Handshake::begin(catalog);
    send(stream, &greeting).await?;
    let mut ending = *wish.borrow_and_update() == Wish::End;
    loop {
        if ending {
            handshake.shut_down();
        }
        let mut unread = input.unread();
        let step = handshake.advance(&mut unread);
        let left = unread.len();
        input.consume_to(left);
        match step {
            HandshakeStep::Send(bytes) => send(stream, &bytes).await?,
            HandshakeStep::Begin { bytes, export, transmission } => {
                send(stream, &bytes).await?;
                return Ok(Negotiated::Chosen { export, transmission });
            }
            HandshakeStep::End { bytes, ended } => {
                // The client may be gone already, which is as good.
                let sent = send(stream, &bytes).await;
                return match ended {
                    Ended::Left => Ok(Negotiated::Over(Outcome::Left)),
                    _ => sent.and(Err(SessionError::Protocol(ended))),
                };
            }
            HandshakeStep::Need => tokio::select! {
                // An idle client learns of the end with its next option, or by the connection's end.
                changed = wish.changed(), if !ending => ending = changed.is_err() || *wish.borrow_and_update() == Wish::End,
                arrived = receive(stream, input) => match arrived? {
                    0 if input.is_empty() => return Ok(Negotiated::Over(Outcome::HungUp)),
                    0 => return Err(SessionError::Torn),
                    _ => {}
                },
            },
        }
    }
}

async fn receive(stream: &UnixStream, input: &mut Input) -> Result<usize, SessionError> {
    loop {
        stream.readable().await.map_err(SessionError::Read)?;
        match stream.try_read(input.space()) {
            Ok(bytes) => {
                input.grew(bytes);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(SessionError::Read(error)),
        }
    }
}

async fn send(stream: &UnixStream, mut bytes: &[u8]) -> Result<(), SessionError> {
    while !bytes.is_empty() {
        stream.writable().await.map_err(SessionError::Write)?;
        match stream.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(SessionError::Write(error)),
        }
    }
    Ok(())
}
