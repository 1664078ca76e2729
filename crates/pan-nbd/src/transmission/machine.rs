//! Takes requests and the payload of writes off the input.

use pan_model::ByteSize;

use super::check::{self, Head};
use super::reply::{Form, Reply};
use super::request::Request;
use super::ticket::{Cookie, Ticket};
use crate::catalog::{Access, BlockSizes, Export};
use crate::cursor::Cursor;
use crate::failure::Ended;
use crate::numbers::{REQUEST_MAGIC, cmd};

/// Magic, flags, command, cookie, offset and length.
const REQUEST_HEAD: usize = 28;

/// What the handshake agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub structured: bool,
    /// `base:allocation` was selected, for this export.
    pub context: bool,
}

/// What requests are checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub size: ByteSize,
    pub access: Access,
    pub blocks: BlockSizes,
    pub form: Form,
    pub context: bool,
    pub shutting_down: bool,
}

/// What came of the input.
#[derive(Debug)]
pub enum Step<'a> {
    /// The input is the beginning of something; the rest has to come.
    Need,
    /// To be done and answered. If it is a write, its payload comes next.
    Request(Request),
    /// The next part of the payload of the write that came last.
    Payload(&'a [u8]),
    /// A request that cannot be done, and its answer.
    Refused(Reply),
    /// Nothing more is to be read. What was requested before is to be done and answered all the same.
    End(Ended),
}

#[derive(Debug)]
enum Phase {
    Head,
    /// So many bytes of a payload are to come.
    Payload {
        left: u32,
    },
    /// The same of one that nobody wants. The answer waits for its end: clients look for none before.
    Unwanted {
        left: u32,
        answer: Reply,
    },
    Over,
}

/// A connection to one export.
#[derive(Debug)]
pub struct Transmission {
    facts: Facts,
    phase: Phase,
}

impl Transmission {
    pub(crate) fn new(export: &Export, terms: Terms) -> Self {
        let form = if terms.structured { Form::Structured } else { Form::Simple };
        let Export { size, access, blocks, .. } = *export;
        let facts = Facts { size, access, blocks, form, context: terms.context, shutting_down: false };
        Self { facts, phase: Phase::Head }
    }

    /// The server is ending: whatever is requested from now on is refused. A write that has begun goes on.
    pub fn shut_down(&mut self) {
        self.facts.shutting_down = true;
    }

    /// How much of the latest write's payload has not come yet, in bytes. The caller may read that much from where the
    /// input comes from straight to where it shall be, and say so with [`Self::payload_taken`].
    #[must_use]
    pub fn payload_left(&self) -> u32 {
        match self.phase {
            Phase::Payload { left } => left,
            Phase::Head | Phase::Unwanted { .. } | Phase::Over => 0,
        }
    }

    /// `bytes` of the payload did not come by way of the input.
    ///
    /// # Panics
    /// More than are left.
    pub fn payload_taken(&mut self, bytes: u32) {
        let left = self.payload_left().checked_sub(bytes).expect("no more is taken than is left");
        self.phase = if left == 0 { Phase::Head } else { Phase::Payload { left } };
    }

    /// Takes one thing off the front of the input. To be called until it says `Need`.
    pub fn advance<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        match &mut self.phase {
            Phase::Head => self.head(input),
            Phase::Over => Step::Need,
            Phase::Payload { .. } | Phase::Unwanted { .. } if input.is_empty() => Step::Need,
            Phase::Payload { left } => {
                let (taken, count) = split(input, *left);
                self.payload_taken(count);
                Step::Payload(taken)
            }
            Phase::Unwanted { left, .. } => {
                let (_, count) = split(input, *left);
                *left -= count;
                if *left > 0 {
                    return Step::Need;
                }
                match std::mem::replace(&mut self.phase, Phase::Head) {
                    Phase::Unwanted { answer, .. } => Step::Refused(answer),
                    Phase::Head | Phase::Payload { .. } | Phase::Over => unreachable!("matched above"),
                }
            }
        }
    }

    fn head<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        let Some((magic, head, rest)) = parse(input) else { return Step::Need };
        *input = rest;
        if magic != REQUEST_MAGIC {
            self.phase = Phase::Over;
            return Step::End(Ended::Magic { expected: "a request", found: u64::from(magic) });
        }
        if head.kind == cmd::DISC {
            self.phase = Phase::Over;
            return Step::End(Ended::Left);
        }
        let payload = if head.kind == cmd::WRITE { head.length } else { 0 };
        match check::check(&self.facts, head) {
            Ok(request) => {
                self.phase = if payload > 0 { Phase::Payload { left: payload } } else { Phase::Head };
                Step::Request(request)
            }
            Err(failure) => {
                let answer = Ticket { cookie: head.cookie, form: self.facts.form }.failed(&failure);
                if payload == 0 {
                    return Step::Refused(answer);
                }
                self.phase = Phase::Unwanted { left: payload, answer };
                self.advance(input)
            }
        }
    }
}

fn parse(input: &[u8]) -> Option<(u32, Head, &[u8])> {
    let (head, rest) = input.split_at_checked(REQUEST_HEAD)?;
    let mut head = Cursor(head);
    let magic = head.u32()?;
    let (flags, kind, cookie, offset, length) = (head.u16()?, head.u16()?, head.u64()?, head.u64()?, head.u32()?);
    Some((magic, Head { flags, kind, cookie: Cookie(cookie), offset, length }, rest))
}

/// Takes at most `most` bytes off the front.
fn split<'a>(input: &mut &'a [u8], most: u32) -> (&'a [u8], u32) {
    let count = most.min(u32::try_from(input.len()).unwrap_or(u32::MAX));
    let mut cursor = Cursor(input);
    let taken = cursor.take(count).expect("no more than there is");
    *input = cursor.0;
    (taken, count)
}
