//! Bytes to datagrams. Nothing but version and length is looked at before the hash is right.

use std::time::Duration;

use pan_model::{Admission, Epoch, HostName};

use super::encode::{ASKED_MAX, HEAD_BYTES, MAGIC, STOOD_MAX, VERSION, kind, verdict_byte, vote_byte};
use super::words::{
    Ack, Ask, Heard, LeaderBeat, Message, Nonce, PreVoteAsk, PreVoteSay, Refused, Revoke, Revoked, StandIn, Stood, Verdict, Vote,
};
use crate::frame::{BootId, KeyRing, MAC_BYTES, Reader, Short, fabric_from};
use crate::term::Term;

/// A datagram is none of these, or not of this PAN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("not a datagram between hosts: wrong magic number")]
    BadMagic,
    #[error("datagram of format version {found}; this release knows {known}")]
    Version { found: u16, known: u16 },
    #[error("datagram of {found} bytes where it should have {expected}")]
    Length { found: usize, expected: usize },
    #[error("datagram whose hash is wrong")]
    BadMac,
    #[error("datagram of kind {kind}, which has no place here")]
    Kind { kind: u8 },
    #[error("datagram with {what} that has no meaning")]
    Malformed { what: &'static str },
}

/// What a datagram says it is; nothing about it is proved yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A heartbeat: [`crate::Frame::decode`].
    Heartbeat,
    /// An acknowledgement: [`decode_ack`].
    Ack,
    /// A message between controllers and lessors: [`decode`].
    Message,
}

/// Which reader a datagram is for, where several share a socket; `None` if none.
#[must_use]
pub fn family(datagram: &[u8]) -> Option<Family> {
    let (magic, _) = datagram.split_first_chunk::<4>()?;
    match (*magic, datagram.get(HEAD_BYTES)) {
        (magic, Some(_)) if magic == *b"PNLB" => Some(Family::Heartbeat),
        (MAGIC, Some(&kind::ACK)) => Some(Family::Ack),
        (MAGIC, Some(_)) => Some(Family::Message),
        _ => None,
    }
}

/// Reads an acknowledgement with this host's own keys.
///
/// # Errors
/// [`WireError`]; the datagram is then to be dropped and counted.
pub fn decode_ack(datagram: &[u8], keys: &KeyRing) -> Result<Ack, WireError> {
    let (kind, lessor, mut reader) = open(datagram, keys)?;
    if kind != kind::ACK {
        return Err(WireError::Kind { kind });
    }
    let term = Term(reader.u64()?);
    let boot = BootId(reader.u64()?);
    let sequence = reader.u64()?;
    let admission = Admission(reader.u64()?);
    let fabric = fabric_from(reader.u8()?).ok_or(WireError::Malformed { what: "a fabric" })?;
    let byte = reader.u8()?;
    let known = [Verdict::Granted, Verdict::Revoked, Verdict::NotReady].into_iter().find(|known| verdict_byte(*known) == byte);
    let verdict = known.ok_or(WireError::Malformed { what: "a verdict" })?;
    end(&reader)?;
    Ok(Ack { lessor, term, boot, sequence, fabric, admission, verdict })
}

/// Reads with this host's own keys who answers for which units.
///
/// # Errors
/// [`WireError`]; the datagram is then to be dropped and counted.
pub fn decode_stand_in(datagram: &[u8], keys: &KeyRing) -> Result<StandIn, WireError> {
    let (kind, director, mut reader) = open(datagram, keys)?;
    if kind != kind::STAND_IN {
        return Err(WireError::Kind { kind });
    }
    let (boot, sequence, count) = (BootId(reader.u64()?), reader.u64()?, reader.u8()?);
    if usize::from(count) > STOOD_MAX {
        return Err(WireError::Malformed { what: "a count" });
    }
    let mut stood = || {
        let (vni, epoch, here) = (reader.u32()?, Epoch(reader.u64()?), reader.u8()?);
        let here = [false, true].into_iter().find(|known| u8::from(*known) == here).ok_or(WireError::Malformed { what: "a flag" })?;
        Ok::<_, WireError>(Stood { vni, epoch, here })
    };
    let units = (0..count).map(|_| stood()).collect::<Result<_, _>>()?;
    end(&reader)?;
    Ok(StandIn { director, boot, sequence, units })
}

/// Reads a message with the keys between controllers and lessors.
///
/// # Errors
/// [`WireError`]; the datagram is then to be dropped and counted.
pub fn decode(datagram: &[u8], keys: &KeyRing) -> Result<Message, WireError> {
    let (kind, sender, mut reader) = open(datagram, keys)?;
    let reader = &mut reader;
    let message = match kind {
        kind::REVOKE | kind::REVOKED => revocation(kind, sender, reader)?,
        kind::REFUSED => {
            let (term, nonce, asked) = (term(reader)?, nonce(reader)?, term(reader)?);
            Message::Refused(Refused { lessor: sender, term, nonce, asked })
        }
        kind::ASK => {
            let (term, nonce) = (term(reader)?, nonce(reader)?);
            let hosts = (0..count(reader)?).map(|_| name(reader)).collect::<Result<_, _>>()?;
            Message::Ask(Ask { leader: sender, term, nonce, hosts })
        }
        kind::HEARD => {
            let (term, nonce) = (term(reader)?, nonce(reader)?);
            let ages = (0..count(reader)?).map(|_| age(reader)).collect::<Result<_, _>>()?;
            Message::Heard(Heard { lessor: sender, term, nonce, ages })
        }
        kind::LEADER_BEAT => {
            let (term, sequence) = (term(reader)?, reader.u64()?);
            Message::LeaderBeat(LeaderBeat { leader: sender, term, sequence })
        }
        kind::PRE_VOTE_ASK => {
            let (term, nonce) = (term(reader)?, nonce(reader)?);
            Message::PreVoteAsk(PreVoteAsk { candidate: sender, term, nonce })
        }
        kind::PRE_VOTE_SAY => {
            let (term, nonce, silent_for) = (term(reader)?, nonce(reader)?, age(reader)?);
            let byte = reader.u8()?;
            let vote = [Vote::Yes, Vote::No].into_iter().find(|known| vote_byte(*known) == byte);
            let vote = vote.ok_or(WireError::Malformed { what: "a vote" })?;
            Message::PreVoteSay(PreVoteSay { voter: sender, term, nonce, silent_for, vote })
        }
        kind => return Err(WireError::Kind { kind }),
    };
    end(reader)?;
    Ok(message)
}

fn revocation(kind: u8, sender: HostName, reader: &mut Reader<'_>) -> Result<Message, WireError> {
    let (term, nonce, through) = (term(reader)?, nonce(reader)?, Admission(reader.u64()?));
    if kind == kind::REVOKE {
        let host = name(reader)?;
        return Ok(Message::Revoke(Revoke { leader: sender, term, nonce, host, through }));
    }
    let (open, heard, host) = (age(reader)?, age(reader)?, name(reader)?);
    Ok(Message::Revoked(Revoked { lessor: sender, term, nonce, host, through, open, heard }))
}

/// Checks everything that all kinds have in common; leaves what stands after the sender's name.
fn open<'a>(datagram: &'a [u8], keys: &KeyRing) -> Result<(u8, HostName, Reader<'a>), WireError> {
    let expected = HEAD_BYTES + 3 + MAC_BYTES;
    let short = |Short| WireError::Length { found: datagram.len(), expected };
    let mut reader = Reader::new(datagram);
    if reader.array().map_err(short)? != MAGIC {
        return Err(WireError::BadMagic);
    }
    let found = reader.u16().map_err(short)?;
    if found != VERSION {
        return Err(WireError::Version { found, known: VERSION });
    }
    let expected = usize::from(reader.u16().map_err(short)?).max(expected);
    if datagram.len() != expected {
        return Err(WireError::Length { found: datagram.len(), expected });
    }
    let (signed, mac) = datagram.split_at(expected - MAC_BYTES);
    let given = blake3::Hash::from_bytes(mac.try_into().expect("split off with this length"));
    if keys.maker(signed, &given).is_none() {
        return Err(WireError::BadMac);
    }
    let mut reader = Reader::new(&signed[HEAD_BYTES..]);
    let kind = reader.u8()?;
    let sender = name(&mut reader)?;
    Ok((kind, sender, reader))
}

/// What is too short or too long although its hash is right was written by a program that is wrong.
impl From<Short> for WireError {
    fn from(_: Short) -> Self {
        Self::Malformed { what: "a length" }
    }
}

fn end(reader: &Reader<'_>) -> Result<(), WireError> {
    if reader.is_empty() { Ok(()) } else { Err(WireError::Malformed { what: "a length" }) }
}

fn term(reader: &mut Reader<'_>) -> Result<Term, WireError> {
    Ok(Term(reader.u64()?))
}

fn nonce(reader: &mut Reader<'_>) -> Result<Nonce, WireError> {
    Ok(Nonce(reader.u64()?))
}

fn age(reader: &mut Reader<'_>) -> Result<Duration, WireError> {
    Ok(Duration::from_micros(reader.u64()?))
}

fn count(reader: &mut Reader<'_>) -> Result<u8, WireError> {
    let count = reader.u8()?;
    if usize::from(count) <= ASKED_MAX { Ok(count) } else { Err(WireError::Malformed { what: "a count" }) }
}

fn name(reader: &mut Reader<'_>) -> Result<HostName, WireError> {
    let length = reader.u8()?;
    let bytes = reader.slice(length.into())?;
    let text = std::str::from_utf8(bytes).map_err(|_| WireError::Malformed { what: "a name" })?;
    HostName::new(text).map_err(|_| WireError::Malformed { what: "a name" })
}
