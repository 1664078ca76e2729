//! What the kernel asks for, as operations of the core: long ones in parts, one after the other.

use bytes::Bytes;
use pan_linux::fuse::{Answer, Extent, Operation};
use pan_replica::{Content, EXTENT, Fault, Op, OpId, Span, Trouble};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of one part of a discard, or of zeros: half of the extents that may be under way, so that others get a turn between.
const PART: u64 = 64 * EXTENT;

/// An operation with the place for its answer.
pub(super) type Asked = (Operation, Answer);

/// What was asked for and is not answered.
#[derive(Default)]
pub(super) struct Pending {
    next: u64,
    all: BTreeMap<OpId, Part>,
}

struct Part {
    answer: Answer,
    rest: VecDeque<Op<Bytes>>,
}

impl Pending {
    /// The first part of an operation.
    pub fn begin(&mut self, (operation, answer): Asked) -> (OpId, Op<Bytes>) {
        let mut parts = parts(operation);
        let first = parts.pop_front().unwrap_or(Op::Flush);
        (self.keep(answer, parts), first)
    }

    /// A number for an operation that nobody but the head itself waits for.
    pub fn own(&mut self) -> OpId {
        self.next += 1;
        OpId(self.next)
    }

    /// A part is done: the next one, if all went well and there is one. Otherwise the operation is answered.
    pub fn done(&mut self, op: OpId, outcome: Result<Option<Bytes>, Trouble>) -> Option<(OpId, Op<Bytes>)> {
        let Part { answer, mut rest } = self.all.remove(&op)?;
        match outcome {
            Err(trouble) => answer.fail(errno(trouble)),
            Ok(Some(data)) => answer.data(&[&data]),
            Ok(None) => match rest.pop_front() {
                Some(next) => return Some((self.keep(answer, rest), next)),
                None => answer.done(),
            },
        }
        None
    }

    /// Leaves everything to whoever follows.
    pub fn leave(&mut self) {
        for (_, part) in std::mem::take(&mut self.all) {
            part.answer.leave();
        }
    }

    fn keep(&mut self, answer: Answer, rest: VecDeque<Op<Bytes>>) -> OpId {
        let op = self.own();
        self.all.insert(op, Part { answer, rest });
        op
    }
}

fn parts(operation: Operation) -> VecDeque<Op<Bytes>> {
    let span = |extent: Extent| Span { at: extent.offset, length: extent.bytes };
    let write = |content: Content<Bytes>| move |span| Op::Write { span, content: content.clone(), durable: false };
    match operation {
        Operation::Read(extent) => [Op::Read { span: span(extent), prefer: None }].into(),
        Operation::Write(at, data) => {
            let span = Span { at, length: data.len() as u64 };
            [Op::Write { span, content: Content::Data(Bytes::from_owner(data)), durable: false }].into()
        }
        Operation::Flush => [Op::Flush].into(),
        Operation::Discard(extent) => pieces(span(extent)).map(write(Content::Hole)).collect(),
        Operation::Zero(extent) => pieces(span(extent)).map(write(Content::Zeros)).collect(),
    }
}

/// A span cut at multiples of [`PART`].
fn pieces(span: Span) -> impl Iterator<Item = Span> {
    let first = span.at / PART;
    let last = if span.length == 0 { first } else { span.end().div_ceil(PART) };
    (first..last).map(move |number| {
        let (at, end) = ((number * PART).max(span.at), ((number + 1) * PART).min(span.end()));
        Span { at, length: end - at }
    })
}

const fn errno(trouble: Trouble) -> i32 {
    match trouble {
        Trouble::Failed(Fault::NoSpace) => nix::libc::ENOSPC,
        Trouble::Outside | Trouble::Failed(Fault::Io | Fault::Rotten) | Trouble::Over => nix::libc::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_discard_is_cut_at_the_same_places_whatever_it_begins_with() {
        let cut = |at, length| pieces(Span { at, length }).map(|span| (span.at, span.length)).collect::<Vec<_>>();
        assert_eq!(cut(0, PART), [(0, PART)]);
        assert_eq!(cut(4096, PART), [(4096, PART - 4096), (PART, 4096)]);
        assert_eq!(cut(PART - 4096, 8192), [(PART - 4096, 4096), (PART, 4096)]);
        assert_eq!(cut(5, 0), []);
        let whole: u64 = cut(4096, 1 << 34).iter().map(|(_, length)| length).sum();
        assert_eq!(whole, 1 << 34);
    }
}
