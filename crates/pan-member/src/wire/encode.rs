//! Datagrams to bytes.

use std::time::Duration;

use pan_model::HostName;

use super::words::{Ack, Message, StandIn, Verdict, Vote};
use crate::frame::{Key, MAC_BYTES, NAME_BYTES_MAX, Writer, fabric_byte};

/// The version this release sends and reads.
pub const VERSION: u16 = 1;

/// Largest datagram: fits a 1,500-byte packet whatever carries it, and a buffer of this size takes every one.
pub const MESSAGE_BYTES_MAX: usize = 1400;

/// Hosts in one [`super::Ask`]: as many as fit with the longest names.
pub const ASKED_MAX: usize = (MESSAGE_BYTES_MAX - PREFIX_BYTES_MAX - MAC_BYTES - 17) / (NAME_BYTES_MAX + 1);

/// Units in one [`StandIn`].
pub const STOOD_MAX: usize = (MESSAGE_BYTES_MAX - PREFIX_BYTES_MAX - MAC_BYTES - 17) / 13;

/// Largest acknowledgement.
pub const ACK_BYTES_MAX: usize = PREFIX_BYTES_MAX + 34 + MAC_BYTES;

pub(super) const MAGIC: [u8; 4] = *b"PNLM";
/// Magic number, version and length.
pub(super) const HEAD_BYTES: usize = 8;
const PREFIX_BYTES_MAX: usize = HEAD_BYTES + 1 + 1 + NAME_BYTES_MAX;

/// The byte that tells what a datagram is.
pub(super) mod kind {
    pub(in crate::wire) const ACK: u8 = 1;
    pub(in crate::wire) const REVOKE: u8 = 2;
    pub(in crate::wire) const REVOKED: u8 = 10;
    pub(in crate::wire) const REFUSED: u8 = 4;
    pub(in crate::wire) const ASK: u8 = 5;
    pub(in crate::wire) const HEARD: u8 = 6;
    pub(in crate::wire) const LEADER_BEAT: u8 = 7;
    pub(in crate::wire) const PRE_VOTE_ASK: u8 = 8;
    pub(in crate::wire) const PRE_VOTE_SAY: u8 = 9;
    pub(in crate::wire) const STAND_IN: u8 = 11;
}

/// Writes an acknowledgement into `out`, with the key of the host it goes to, and returns its length.
/// Allocates nothing.
///
/// # Panics
/// `out` must hold [`ACK_BYTES_MAX`] bytes.
#[must_use = "the rest of the buffer is not part of the datagram"]
pub fn encode_ack(ack: &Ack, key: &Key, out: &mut [u8]) -> usize {
    let mut writer = begin(kind::ACK, &ack.lessor, out);
    [ack.term.0, ack.boot.0, ack.sequence, ack.admission.0].into_iter().for_each(|number| writer.u64(number));
    writer.put(&[fabric_byte(ack.fabric), verdict_byte(ack.verdict)]);
    let signed = writer.at();
    seal(key, out, signed)
}

/// Writes into `out`, with the key of the host it goes to, who answers for which units, and returns its length. Allocates nothing.
///
/// # Panics
/// `out` must hold [`MESSAGE_BYTES_MAX`] bytes, and at most [`STOOD_MAX`] units are listed.
#[must_use = "the rest of the buffer is not part of the datagram"]
pub fn encode_stand_in(said: &StandIn, key: &Key, out: &mut [u8]) -> usize {
    assert!(said.units.len() <= STOOD_MAX, "{} units in one datagram; at most {STOOD_MAX}", said.units.len());
    let mut writer = begin(kind::STAND_IN, &said.director, out);
    [said.boot.0, said.sequence].into_iter().for_each(|number| writer.u64(number));
    writer.u8(u8::try_from(said.units.len()).expect("STOOD_MAX fits"));
    for unit in &said.units {
        writer.u32(unit.vni);
        writer.u64(unit.epoch.0);
        writer.u8(u8::from(unit.here));
    }
    let signed = writer.at();
    seal(key, out, signed)
}

/// Writes a message into `out`, with the key between controllers and lessors, and returns its length.
/// Allocates nothing.
///
/// # Panics
/// `out` must hold [`MESSAGE_BYTES_MAX`] bytes, and lists at most [`ASKED_MAX`] entries.
#[must_use = "the rest of the buffer is not part of the datagram"]
pub fn encode(message: &Message, key: &Key, out: &mut [u8]) -> usize {
    let mut writer = begin(kind_of(message), message.sender(), out);
    let numbers = |writer: &mut Writer<'_>, numbers: &[u64]| numbers.iter().for_each(|number| writer.u64(*number));
    match message {
        Message::Revoke(revoke) => {
            numbers(&mut writer, &[revoke.term.0, revoke.nonce.0, revoke.through.0]);
            name(&mut writer, &revoke.host);
        }
        Message::Revoked(said) => {
            // Never less than it is, unlike an age.
            let open = micros(said.open + Duration::from_nanos(999));
            numbers(&mut writer, &[said.term.0, said.nonce.0, said.through.0, open, micros(said.heard)]);
            name(&mut writer, &said.host);
        }
        Message::Refused(said) => numbers(&mut writer, &[said.term.0, said.nonce.0, said.asked.0]),
        Message::Ask(ask) => {
            numbers(&mut writer, &[ask.term.0, ask.nonce.0]);
            writer.u8(count(ask.hosts.len()));
            ask.hosts.iter().for_each(|host| name(&mut writer, host));
        }
        Message::Heard(said) => {
            numbers(&mut writer, &[said.term.0, said.nonce.0]);
            writer.u8(count(said.ages.len()));
            said.ages.iter().for_each(|age| writer.u64(micros(*age)));
        }
        Message::LeaderBeat(beat) => numbers(&mut writer, &[beat.term.0, beat.sequence]),
        Message::PreVoteAsk(ask) => numbers(&mut writer, &[ask.term.0, ask.nonce.0]),
        Message::PreVoteSay(said) => {
            numbers(&mut writer, &[said.term.0, said.nonce.0, micros(said.silent_for)]);
            writer.u8(vote_byte(said.vote));
        }
    }
    let signed = writer.at();
    seal(key, out, signed)
}

const fn kind_of(message: &Message) -> u8 {
    match message {
        Message::Revoke(_) => kind::REVOKE,
        Message::Revoked(_) => kind::REVOKED,
        Message::Refused(_) => kind::REFUSED,
        Message::Ask(_) => kind::ASK,
        Message::Heard(_) => kind::HEARD,
        Message::LeaderBeat(_) => kind::LEADER_BEAT,
        Message::PreVoteAsk(_) => kind::PRE_VOTE_ASK,
        Message::PreVoteSay(_) => kind::PRE_VOTE_SAY,
    }
}

fn begin<'a>(kind: u8, sender: &HostName, out: &'a mut [u8]) -> Writer<'a> {
    let mut writer = Writer::new(out);
    writer.put(&MAGIC);
    writer.u16(VERSION);
    writer.u16(0);
    writer.u8(kind);
    name(&mut writer, sender);
    writer
}

/// Writes the length and the hash over the first `signed` bytes.
fn seal(key: &Key, out: &mut [u8], signed: usize) -> usize {
    let total = signed + MAC_BYTES;
    let length = u16::try_from(total).expect("at most 1,400");
    out[HEAD_BYTES - 2..HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
    let mac = blake3::keyed_hash(key, &out[..signed]);
    out[signed..total].copy_from_slice(mac.as_bytes());
    total
}

fn name(writer: &mut Writer<'_>, host: &HostName) {
    let bytes = host.as_str().as_bytes();
    assert!(bytes.len() <= NAME_BYTES_MAX, "host names have at most 63 bytes");
    writer.u8(u8::try_from(bytes.len()).expect("at most 63"));
    writer.put(bytes);
}

fn count(entries: usize) -> u8 {
    assert!(entries <= ASKED_MAX, "{entries} hosts in one datagram; at most {ASKED_MAX}");
    u8::try_from(entries).expect("ASKED_MAX fits")
}

fn micros(age: Duration) -> u64 {
    u64::try_from(age.as_micros()).unwrap_or(u64::MAX)
}

pub(super) const fn verdict_byte(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Granted => 0,
        Verdict::Revoked => 1,
        Verdict::NotReady => 2,
    }
}

pub(super) const fn vote_byte(vote: Vote) -> u8 {
    match vote {
        Vote::Yes => 1,
        Vote::No => 0,
    }
}
