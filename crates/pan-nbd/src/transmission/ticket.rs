//! The right to answer one request, used up by doing so. A ticket that is dropped leaves its client waiting for ever.

use super::reply::{Form, Reply};
use super::request::{Extents, Piece, Span, Stretch};
use crate::failure::Failure;

/// The client's name for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cookie(pub u64);

/// For requests whose answer is that they are done.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the client waits for it"]
pub struct Ticket {
    pub(super) cookie: Cookie,
    pub(super) form: Form,
}

impl Ticket {
    #[must_use]
    pub fn done(self) -> Reply {
        Reply::done(self.form, self.cookie)
    }

    #[must_use]
    pub fn failed(self, failure: &Failure) -> Reply {
        Reply::failed(self.form, self.cookie, failure)
    }
}

/// For reads.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the client waits for it"]
pub struct ReadTicket {
    pub(super) plain: Ticket,
    pub(super) span: Span,
    /// `NBD_CMD_FLAG_DF`.
    pub(super) unfragmented: bool,
}

impl ReadTicket {
    /// All of it was read, and is to be sent.
    #[must_use]
    pub fn data(self) -> Reply {
        let whole = [Piece::Data(self.span.length)];
        self.pieces(&whole)
    }

    /// All of it was read; what is said to be a hole reads as zeroes in the buffer too, for the client may want all in one.
    ///
    /// # Panics
    /// The pieces are not as long as the request, or one of them is empty.
    #[must_use]
    pub fn pieces(self, pieces: &[Piece]) -> Reply {
        let lengths = pieces.iter().map(|(Piece::Data(length) | Piece::Hole(length))| u64::from(*length));
        assert!(lengths.clone().all(|length| length > 0), "a piece is empty");
        assert_eq!(lengths.sum::<u64>(), u64::from(self.span.length), "the pieces are the whole that was asked for");
        match self.plain.form {
            Form::Structured if !self.unfragmented => Reply::pieces(self.plain.cookie, self.span, pieces),
            Form::Structured => Reply::pieces(self.plain.cookie, self.span, &[Piece::Data(self.span.length)]),
            Form::Simple => Reply::simple_data(self.plain.cookie, self.span),
        }
    }

    #[must_use]
    pub fn failed(self, failure: &Failure) -> Reply {
        self.plain.failed(failure)
    }
}

/// For block status.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the client waits for it"]
pub struct StatusTicket {
    pub(super) plain: Ticket,
    pub(super) span: Span,
    pub(super) extents: Extents,
}

impl StatusTicket {
    /// The stretches from the beginning of the span on. They may end before it does or go beyond it: what is too much is
    /// cut off, and neighbours of one state become one.
    #[must_use]
    pub fn stretches(self, stretches: &[Stretch]) -> Reply {
        Reply::stretches(self.plain.cookie, self.span, self.extents, stretches)
    }

    #[must_use]
    pub fn failed(self, failure: &Failure) -> Reply {
        self.plain.failed(failure)
    }
}
