//! The datagrams beside the heartbeat: acknowledgements, and what controllers and lessors say to each other.
//!
//! ```text
//!  0 magic "PNLM"   4 version u16   6 length u16   8 kind u8   9 the sender's name   then by kind:
//!  1 ack          term, boot, sequence, admission, fabric u8, verdict u8
//!  2 revoke       term, nonce, through, host name
//!  4 refused      term, nonce, term asked with
//!  5 ask          term, nonce, count u8, host names
//!  6 heard        term, nonce, count u8, ages us in the order asked
//!  7 leader beat  term, sequence
//!  8 pre-vote ask term, nonce
//!  9 pre-vote say term, nonce, age of the last leader beat us, vote u8
//! 11 stand-in     boot, sequence, count u8, and of each unit: network u32, epoch, here u8
//! 10 revoked      term, nonce, through, time that a gate may be open yet us, age of the last heartbeat us, host name
//!                                                              at the end 32 bytes: keyed BLAKE3 of all before
//! ```
//! Numbers are u64 and big-endian where nothing else is said; a name is its length in one byte, then its bytes.
//! Acknowledgements and stand-ins use the key of the host they go to, everything else the key between controllers and
//! lessors. Ages are cut off, never rounded up: an age that is too small makes somebody wait, one that is too
//! large would let somebody start too early. The time that a gate may be open yet is rounded up. Kind 3 was a revoked with an
//! age instead. No datagram is larger than [`MESSAGE_BYTES_MAX`].
//!
//! # Replays
//!
//! | datagram | an old one that comes again |
//! |---|---|
//! | ack | counts for the heartbeat it names, once per lessor, and that heartbeat's lease ends when it did |
//! | revoke | repeats what was said: revocations only grow, and one of an earlier term is refused |
//! | revoked, refused, heard, pre-vote say | its nonce is of no request that is waiting, and it is dropped |
//! | ask | costs an answer, and one of an earlier term is refused |
//! | leader beat | its (term, sequence) is not above the last one, and it is dropped |
//! | pre-vote ask | costs an answer, which binds nobody |
//! | stand-in | its (boot, sequence) is not above what the unit's was, and it is dropped ([`crate::standin`]) |
//!
//! Nonces count up from a random number that each process draws, so that they never come again.

mod decode;
mod encode;
mod words;

#[cfg(test)]
mod tests;

pub use self::decode::{Family, WireError, decode, decode_ack, decode_stand_in, family};
pub use self::encode::{ACK_BYTES_MAX, ASKED_MAX, MESSAGE_BYTES_MAX, STOOD_MAX, VERSION, encode, encode_ack, encode_stand_in};
pub use self::words::{
    Ack, Ask, Heard, LeaderBeat, Message, Nonce, PreVoteAsk, PreVoteSay, Refused, Revoke, Revoked, StandIn, Stood, Verdict, Vote,
};
