//! The bytes of replies: heads here, data where it was read.

use std::ops::Range;

use super::request::{Extents, Piece, Span, State, Stretch};
use super::ticket::Cookie;
use crate::failure::Failure;
use crate::numbers::{BASE_ALLOCATION_ID, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunk, state};

/// Enough for a sentence; the specification allows 4,096.
const MESSAGE_MAX: usize = 1024;

/// Eight bytes each. A client asks again from where the answer ended, which costs it less than waiting for a long one.
const STRETCHES_MAX: usize = 1024;

/// Which replies were negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Simple,
    Structured,
}

/// What goes out for one request: heads, each perhaps followed by a part of the data that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    heads: Vec<u8>,
    /// After how much of the heads which part of the data stands, in order.
    cuts: Vec<(usize, Range<usize>)>,
}

impl Reply {
    /// Everything in order: `data` is the buffer that was read, empty for all else.
    ///
    /// # Panics
    /// `data` is shorter than the request.
    pub fn slices<'a>(&'a self, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut from = 0;
        let cuts = self.cuts.iter().flat_map(move |(at, range)| {
            let head = &self.heads[std::mem::replace(&mut from, *at)..*at];
            [head, &data[range.clone()]]
        });
        let last = self.cuts.last().map_or(0, |(at, _)| *at);
        cuts.chain([&self.heads[last..]]).filter(|slice| !slice.is_empty())
    }

    /// How many bytes it has, with its data.
    #[must_use]
    pub fn length(&self) -> usize {
        self.heads.len() + self.cuts.iter().map(|(_, range)| range.len()).sum::<usize>()
    }

    fn of(heads: Vec<u8>) -> Self {
        Self { heads, cuts: Vec::new() }
    }

    pub(super) fn done(form: Form, cookie: Cookie) -> Self {
        match form {
            Form::Simple => Self::of(simple(0, cookie)),
            Form::Structured => Self::of(structured(chunk::DONE, chunk::NONE, cookie, 0)),
        }
    }

    pub(super) fn failed(form: Form, cookie: Cookie, failure: &Failure) -> Self {
        let code = failure.code.number();
        if form == Form::Simple {
            return Self::of(simple(code, cookie));
        }
        let message = &failure.message[..failure.message.floor_char_boundary(MESSAGE_MAX)];
        let message_length = u16::try_from(message.len()).expect("cut to 1,024 bytes");
        let (kind, place) = match failure.at {
            Some(at) => (chunk::ERROR_OFFSET, Some(at.to_be_bytes())),
            None => (chunk::ERROR, None),
        };
        let place = place.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        let length = 6 + u32::from(message_length) + if place.is_empty() { 0 } else { 8 };
        let mut heads = structured(chunk::DONE, kind, cookie, length);
        heads.extend(code.to_be_bytes());
        heads.extend(message_length.to_be_bytes());
        heads.extend(message.as_bytes());
        heads.extend(place);
        Self::of(heads)
    }

    pub(super) fn simple_data(cookie: Cookie, span: Span) -> Self {
        let heads = simple(0, cookie);
        let cuts = vec![(heads.len(), 0..span.bytes())];
        Self { heads, cuts }
    }

    /// A chunk for each piece; the last one is the end, for nothing can fail any more.
    pub(super) fn pieces(cookie: Cookie, span: Span, pieces: &[Piece]) -> Self {
        let (mut heads, mut cuts, mut from) = (Vec::with_capacity(32 * pieces.len()), Vec::with_capacity(pieces.len()), 0_u32);
        for (at, piece) in pieces.iter().enumerate() {
            let done = if at + 1 == pieces.len() { chunk::DONE } else { 0 };
            let offset = (span.offset + u64::from(from)).to_be_bytes();
            match *piece {
                Piece::Data(length) => {
                    heads.extend(structured_head(done, chunk::OFFSET_DATA, cookie, 8 + length));
                    heads.extend(offset);
                    let start = usize::try_from(from).expect("this runs on machines of 64 bits");
                    cuts.push((heads.len(), start..start + usize::try_from(length).expect("this runs on machines of 64 bits")));
                    from += length;
                }
                Piece::Hole(length) => {
                    heads.extend(structured_head(done, chunk::OFFSET_HOLE, cookie, 12));
                    heads.extend(offset);
                    heads.extend(length.to_be_bytes());
                    from += length;
                }
            }
        }
        Self { heads, cuts }
    }

    pub(super) fn stretches(cookie: Cookie, span: Span, extents: Extents, stretches: &[Stretch]) -> Self {
        let mut told = merged(span, stretches);
        told.truncate(match extents {
            Extents::One => 1,
            Extents::Many => STRETCHES_MAX,
        });
        let count = u32::try_from(told.len()).expect("cut to 1,024");
        let mut heads = structured(chunk::DONE, chunk::BLOCK_STATUS, cookie, 4 + 8 * count);
        heads.extend(BASE_ALLOCATION_ID.to_be_bytes());
        for stretch in told {
            heads.extend(stretch.length.to_be_bytes());
            heads.extend(flags(stretch.state).to_be_bytes());
        }
        Self::of(heads)
    }
}

/// Neighbours of one state as one, and nothing beyond the span; never empty, since one stretch at least has to be told.
fn merged(span: Span, stretches: &[Stretch]) -> Vec<Stretch> {
    let (mut told, mut left) = (Vec::<Stretch>::new(), span.length);
    for stretch in stretches {
        let length = stretch.length.min(left);
        left -= length;
        match told.last_mut() {
            _ if length == 0 => {}
            Some(last) if last.state == stretch.state => last.length += length,
            _ => told.push(Stretch { length, state: stretch.state }),
        }
    }
    if told.is_empty() {
        // "A server may always safely report a status of 0 for any block."
        told.push(Stretch { length: span.length, state: State::Data });
    }
    told
}

fn flags(of: State) -> u32 {
    match of {
        State::Data => 0,
        State::Zeroes => state::ZERO,
        State::Hole => state::HOLE | state::ZERO,
    }
}

fn simple(error: u32, cookie: Cookie) -> Vec<u8> {
    let mut head = Vec::with_capacity(16);
    head.extend(SIMPLE_REPLY_MAGIC.to_be_bytes());
    head.extend(error.to_be_bytes());
    head.extend(cookie.0.to_be_bytes());
    head
}

fn structured(flags: u16, kind: u16, cookie: Cookie, length: u32) -> Vec<u8> {
    structured_head(flags, kind, cookie, length).to_vec()
}

fn structured_head(flags: u16, kind: u16, cookie: Cookie, length: u32) -> [u8; 20] {
    let mut head = [0; 20];
    head[..4].copy_from_slice(&STRUCTURED_REPLY_MAGIC.to_be_bytes());
    head[4..6].copy_from_slice(&flags.to_be_bytes());
    head[6..8].copy_from_slice(&kind.to_be_bytes());
    head[8..16].copy_from_slice(&cookie.0.to_be_bytes());
    head[16..].copy_from_slice(&length.to_be_bytes());
    head
}
