//! Takes client flags and options off the input, bounds them, and has them answered.

use std::sync::Arc;

use super::answer::Answer;
use super::context::Selected;
use super::options::{self, Outcome};
use crate::catalog::{Catalog, ExportIndex};
use crate::cursor::Cursor;
use crate::failure::Ended;
use crate::numbers::{IHAVEOPT, INIT_PASSWD, hello, rep};
use crate::transmission::Transmission;

/// Magic, option and length.
const OPTION_HEAD: usize = 16;

/// As much data as an option may have: a name and some fifteen queries of the longest kind. Real clients send less than 200.
const OPTION_MAX: u32 = (64 << 10) - 16;

/// The caller never has to hold more unconsumed input than this, during the handshake and after.
pub const INPUT_MAX: usize = 64 << 10;

/// A client may ask about every export several times, and still comes to an end.
const OPTIONS_MAX: u32 = 1024;

const CLIENT_FLAGS: u32 = (hello::FIXED_NEWSTYLE | hello::NO_ZEROES) as u32;

/// What came of the input.
#[derive(Debug)]
pub enum HandshakeStep {
    /// The input is the beginning of something; the rest has to come.
    Need,
    /// To be sent; the handshake goes on.
    Send(Vec<u8>),
    /// To be sent, and then the transmission begins; what is left of the input is its.
    Begin { bytes: Vec<u8>, export: ExportIndex, transmission: Transmission },
    /// To be sent, if anything, before the connection is closed.
    End { bytes: Vec<u8>, ended: Ended },
}

#[derive(Debug)]
enum Phase {
    ClientFlags,
    Options,
    Over,
}

/// A connection until its client has chosen.
#[derive(Debug)]
pub struct Handshake {
    phase: Phase,
    catalog: Arc<Catalog>,
    agreed: Agreed,
    options_seen: u32,
}

/// What server and client have agreed on so far.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    pub fixed: bool,
    /// The client does not want the 124 zeroes at the end.
    pub no_zeroes: bool,
    pub structured: bool,
    pub context: Selected,
    /// Of which export the client knows the block sizes.
    pub blocks_told: Option<ExportIndex>,
    pub shutting_down: bool,
}

impl Handshake {
    /// The handshake, and what the server says before it has heard anything.
    #[must_use]
    pub fn begin(catalog: Arc<Catalog>) -> (Self, Vec<u8>) {
        let mut greeting = INIT_PASSWD.to_be_bytes().to_vec();
        greeting.extend(IHAVEOPT.to_be_bytes());
        greeting.extend((hello::FIXED_NEWSTYLE | hello::NO_ZEROES).to_be_bytes());
        let own = Self { phase: Phase::ClientFlags, catalog, agreed: Agreed::default(), options_seen: 0 };
        (own, greeting)
    }

    /// The server is ending: from now on options are answered with `NBD_REP_ERR_SHUTDOWN`.
    pub fn shut_down(&mut self) {
        self.agreed.shutting_down = true;
    }

    /// Takes one message off the front of the input. To be called until it says `Need`.
    pub fn advance(&mut self, input: &mut &[u8]) -> HandshakeStep {
        loop {
            let step = match self.phase {
                Phase::ClientFlags => self.client_flags(input),
                Phase::Options => self.option(input),
                Phase::Over => return HandshakeStep::Need,
            };
            match step {
                None => return HandshakeStep::Need,
                Some(Outcome::Quiet) => {}
                Some(Outcome::Send(bytes)) => return HandshakeStep::Send(bytes),
                Some(Outcome::Begin { bytes, export, transmission }) => {
                    self.phase = Phase::Over;
                    return HandshakeStep::Begin { bytes, export, transmission };
                }
                Some(Outcome::End { bytes, ended }) => {
                    self.phase = Phase::Over;
                    return HandshakeStep::End { bytes, ended };
                }
            }
        }
    }

    fn client_flags(&mut self, input: &mut &[u8]) -> Option<Outcome> {
        let mut cursor = Cursor(input);
        let found = cursor.u32()?;
        *input = cursor.0;
        if found & !CLIENT_FLAGS != 0 {
            return Some(Outcome::end(Ended::ClientFlags { found, known: CLIENT_FLAGS }));
        }
        self.agreed.fixed = found & u32::from(hello::FIXED_NEWSTYLE) != 0;
        self.agreed.no_zeroes = found & u32::from(hello::NO_ZEROES) != 0;
        self.phase = Phase::Options;
        Some(Outcome::Quiet)
    }

    fn option(&mut self, input: &mut &[u8]) -> Option<Outcome> {
        let (head, rest) = input.split_at_checked(OPTION_HEAD)?;
        let mut head = Cursor(head);
        let (magic, option, length) = (head.u64()?, head.u32()?, head.u32()?);
        if magic != IHAVEOPT {
            return Some(Outcome::end(Ended::Magic { expected: "an option", found: magic }));
        }
        if length > OPTION_MAX {
            let ended = Ended::OptionLength { found: length, max: OPTION_MAX };
            return Some(Outcome::End { bytes: Answer::to(option).error(rep::ERR_TOO_BIG, &ended.to_string()), ended });
        }
        let mut rest = Cursor(rest);
        let data = rest.take(length)?;
        *input = rest.0;
        self.options_seen += 1;
        if self.options_seen > OPTIONS_MAX {
            return Some(Outcome::end(Ended::OptionCount { max: OPTIONS_MAX }));
        }
        Some(options::answer(&mut self.agreed, &self.catalog, option, data))
    }
}
