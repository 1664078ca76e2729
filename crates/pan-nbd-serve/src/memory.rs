//! Storage in memory, thin: only what was written takes space. For examples, for tests of what is served elsewhere, and to
//! measure what serving itself costs.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::sync::{PoisonError, RwLock};

use pan_nbd::{Allocation, Durability, Extents, Failure, Piece, Span, State, Stretch};

use crate::buffer::Buffer;
use crate::storage::{Read, Storage, Zeroing};

const PAGE: u64 = 64 << 10;

type Page = Box<[u8]>;

/// A part of a request that lies in one page.
#[derive(Debug, Clone, Copy)]
struct Part {
    page: u64,
    /// Within the page.
    start: usize,
    length: usize,
}

/// Pages of 64 KiB, made when they are written.
#[derive(Debug, Default)]
pub struct Memory(RwLock<BTreeMap<u64, Page>>);

impl Memory {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn read_now(&self, span: Span, mut into: Buffer) -> Read {
        let pages = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (mut pieces, mut at) = (Vec::new(), 0);
        for part in parts(span) {
            let target = &mut into[at..at + part.length];
            at += part.length;
            match pages.get(&part.page) {
                Some(page) => target.copy_from_slice(&page[part.start..][..part.length]),
                None => target.fill(0),
            }
            push(&mut pieces, pages.contains_key(&part.page), u32::try_from(part.length).expect("within a page"));
        }
        Read { data: into, pieces }
    }

    fn write_now(&self, span: Span, data: &[u8]) {
        let mut pages = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut rest = data;
        for part in parts(span) {
            let (now, later) = rest.split_at(part.length);
            rest = later;
            let page = pages.entry(part.page).or_insert_with(empty);
            page[part.start..][..part.length].copy_from_slice(now);
        }
    }

    fn zero_now(&self, span: Span, allocation: Allocation) {
        let mut pages = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for part in parts(span) {
            let whole = part.length == empty().len();
            match allocation {
                Allocation::MayDiscard if whole => drop(pages.remove(&part.page)),
                Allocation::MayDiscard => {
                    if let Some(page) = pages.get_mut(&part.page) {
                        page[part.start..][..part.length].fill(0);
                    }
                }
                Allocation::MustKeep => pages.entry(part.page).or_insert_with(empty)[part.start..][..part.length].fill(0),
            }
        }
    }

    fn status_now(&self, span: Span) -> Vec<Stretch> {
        let pages = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let state = |part: &Part| if pages.contains_key(&part.page) { State::Data } else { State::Hole };
        let stretch = |part: Part| Stretch { length: u32::try_from(part.length).expect("within a page"), state: state(&part) };
        parts(span).map(stretch).collect()
    }
}

fn empty() -> Page {
    vec![0; usize::try_from(PAGE).expect("64 KiB")].into_boxed_slice()
}

fn push(pieces: &mut Vec<Piece>, data: bool, length: u32) {
    match (pieces.last_mut(), data) {
        (Some(Piece::Data(before)), true) | (Some(Piece::Hole(before)), false) => *before += length,
        (_, true) => pieces.push(Piece::Data(length)),
        (_, false) => pieces.push(Piece::Hole(length)),
    }
}

fn parts(span: Span) -> impl Iterator<Item = Part> {
    (span.offset / PAGE..span.end().div_ceil(PAGE)).map(move |page| {
        let start = span.offset.max(page * PAGE);
        let end = span.end().min((page + 1) * PAGE);
        let small = |number| usize::try_from(number).expect("within a page");
        Part { page, start: small(start - page * PAGE), length: small(end - start) }
    })
}

impl Storage for Memory {
    fn read(&self, span: Span, into: Buffer) -> impl Future<Output = Result<Read, Failure>> + Send {
        ready(Ok(self.read_now(span, into)))
    }

    fn write(&self, span: Span, data: Buffer, _durability: Durability) -> impl Future<Output = Result<(), Failure>> + Send {
        self.write_now(span, &data);
        ready(Ok(()))
    }

    fn flush(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }

    fn trim(&self, span: Span, _durability: Durability) -> impl Future<Output = Result<(), Failure>> + Send {
        self.zero_now(span, Allocation::MayDiscard);
        ready(Ok(()))
    }

    fn zero(&self, span: Span, how: Zeroing) -> impl Future<Output = Result<(), Failure>> + Send {
        self.zero_now(span, how.allocation);
        ready(Ok(()))
    }

    fn status(&self, span: Span, _extents: Extents) -> impl Future<Output = Result<Vec<Stretch>, Failure>> + Send {
        ready(Ok(self.status_now(span)))
    }
}
