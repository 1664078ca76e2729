//! What clients ask for, past all checks: within the export, aligned, allowed.

use super::ticket::{ReadTicket, StatusTicket, Ticket};

/// A range of the export, in bytes. Never empty, never beyond the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub offset: u64,
    pub length: u32,
}

impl Span {
    /// Where it ends, exclusive.
    #[must_use]
    pub fn end(self) -> u64 {
        self.offset + u64::from(self.length)
    }

    /// The length as that of a buffer.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.length).expect("this runs on machines of 64 bits")
    }
}

/// Whether the reply to a change may be sent before the change is on stable storage (`NBD_CMD_FLAG_FUA`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Cached,
    Stable,
}

/// Whether zeroes may be written by giving the space back (without `NBD_CMD_FLAG_NO_HOLE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    MayDiscard,
    MustKeep,
}

/// Whether zeroes are only wanted if they cost less than writing them (`NBD_CMD_FLAG_FAST_ZERO`); if not, the answer is
/// [`crate::ErrorCode::NotSupported`], without having changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Any,
    FastOnly,
}

/// How many stretches are wanted (`NBD_CMD_FLAG_REQ_ONE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extents {
    One,
    Many,
}

/// One request. A `Write` is followed by its payload: [`super::Transmission::payload_left`] bytes of it.
#[derive(Debug)]
pub enum Request {
    Read {
        span: Span,
        ticket: ReadTicket,
    },
    Write {
        span: Span,
        durability: Durability,
        ticket: Ticket,
    },
    /// Everything acknowledged before has to be on stable storage before this is answered.
    Flush {
        ticket: Ticket,
    },
    /// The contents are no longer needed.
    Trim {
        span: Span,
        durability: Durability,
        ticket: Ticket,
    },
    Zero {
        span: Span,
        durability: Durability,
        allocation: Allocation,
        pace: Pace,
        ticket: Ticket,
    },
    Status {
        span: Span,
        extents: Extents,
        ticket: StatusTicket,
    },
    /// A read of the same is to be expected.
    Cache {
        span: Span,
        ticket: Ticket,
    },
}

/// A part of what was read, by its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    Data(u32),
    /// Zeroes that need not be sent.
    Hole(u32),
}

/// What `base:allocation` says about a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes space, or may.
    Data,
    /// It takes space and reads as zeroes.
    Zeroes,
    /// It takes no space and reads as zeroes.
    Hole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// In bytes.
    pub length: u32,
    pub state: State,
}
