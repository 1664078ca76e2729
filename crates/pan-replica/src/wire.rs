//! Requests and replies as frames on a stream: a head of fixed length, and a payload whose length it tells.
//!
//! Little-endian. Both parts carry a CRC-32C (RFC 3720, appendix B.4): TLS keeps strangers out, this keeps out what a host's own memory or a
//! program's own mistake does to a block between two checks. Payloads are not copied here: heads are sent beside them.

use crate::geometry::Span;
use crate::message::{Answer, Ask, Content, DIRTY_MAX, Dialect, Fault, Fenced, Part, ROTTEN_MAX, Reply, Request, Sequence};
use pan_model::mirror::{Member, Since, Writer};
use pan_model::{Lineage, Session, SnapshotId, VolumeEpoch, VolumeId};

/// Of everything below.
pub const VERSION: u8 = 1;
/// Bytes of a request's head.
pub const REQUEST_HEAD: usize = 104;
/// Bytes of a reply's head.
pub const REPLY_HEAD: usize = 56;
/// Most bytes of a payload: the largest write that the kernel hands on is 1 MiB.
pub const PAYLOAD_MAX: usize = 4 << 20;
/// Most runs of extents in a list; replicas note no more of them.
pub const RUNS_MAX: usize = PAYLOAD_MAX / RUN;

const MAGIC: [u8; 2] = *b"pR";
/// A run of extents: the first, and how many.
const RUN: usize = 16;

/// Why bytes are no frame. The stream is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It begins with something else.
    #[error("no frame of the mirror protocol")]
    Magic,
    /// Another version.
    #[error("version {found} of the mirror protocol; this program speaks {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// What arrived is not what was sent.
    #[error("a frame was damaged on its way")]
    Checksum,
    /// Longer than anything this protocol sends.
    #[error("a payload of {found} bytes: at most {PAYLOAD_MAX} are possible")]
    Length {
        /// The length.
        found: usize,
    },
    /// A value that means nothing.
    #[error("a frame without a meaning: {0}")]
    Meaning(&'static str),
}

/// What travels beside the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<D> {
    /// Nothing.
    None,
    /// A client's bytes.
    Data(D),
    /// A list.
    List(Vec<u8>),
}

impl<D: AsRef<[u8]>> Payload<D> {
    /// The bytes to send behind the head.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Data(data) => data.as_ref(),
            Self::List(list) => list,
        }
    }
}

/// What a head of a frame tells about the payload behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Its length, at most [`PAYLOAD_MAX`].
    pub length: usize,
    checksum: u32,
}

impl Behind {
    fn check(self, payload: &[u8]) -> Result<(), WireError> {
        let whole = payload.len() == self.length && crc32c::crc32c(payload) == self.checksum;
        if whole { Ok(()) } else { Err(WireError::Checksum) }
    }
}

/// Where things lie in a request's head; in a reply's the same up to the sequence.
mod at {
    pub const VERSION: usize = 2;
    pub const KIND: usize = 3;
    pub const FLAGS: usize = 4;
    pub const CONTENT: usize = 5;
    pub const MEMBER: usize = 8;
    pub const LENGTH: usize = 12;
    pub const SEQUENCE: usize = 16;
    pub const SETTLED: usize = 24;
    pub const VOLUME: usize = 32;
    pub const LINEAGE: usize = 40;
    pub const EPOCH: usize = 48;
    pub const SESSION: usize = 56;
    pub const START: usize = 64;
    pub const SPAN: usize = 72;
    pub const SINCE: usize = 80;
    pub const ADOPTS: usize = 88;
    pub const CHECKSUM: usize = 96;
    pub const HEAD: usize = 100;
    pub mod reply {
        pub const EPOCH: usize = 24;
        pub const FLUSHED: usize = 32;
        pub const CHECKSUM: usize = 48;
        pub const HEAD: usize = 52;
    }
}

mod flag {
    pub const RECONCILED: u8 = 1;
    pub const COPY: u8 = 1 << 1;
    pub const DURABLE: u8 = 1 << 2;
    pub const WHOLE: u8 = 1 << 3;
    pub const JOINER: u8 = 1 << 4;
    pub const ADOPTS: u8 = 1 << 5;
    /// Flags that a release does not know it does not look at.
    pub const DIALECT: u8 = 1 << 6;
    /// Behind a fence is who is out. A release that does not know that does not look at what is behind.
    pub const OUT: u8 = 1 << 7;
    pub const KNOWN: u8 = 1;
    pub const LOSSY: u8 = 1 << 1;
    pub const BLANK: u8 = 1 << 2;
}

mod kind {
    pub const FENCE: u8 = 1;
    pub const READ: u8 = 2;
    pub const WRITE: u8 = 3;
    pub const FLUSH: u8 = 4;
    pub const MISS: u8 = 5;
    pub const FORGET: u8 = 6;
    pub const MISSED: u8 = 7;
    pub const SNAPSHOT: u8 = 8;
    pub const FENCED: u8 = 1;
    pub const DATA: u8 = 2;
    pub const DONE: u8 = 3;
    pub const LIST: u8 = 4;
    pub const REFUSED: u8 = 5;
    pub const STRANGE: u8 = 6;
    pub const FAILED: u8 = 7;
    pub const HOLE: u8 = 8;
    pub const ROTTEN: u8 = 9;
}

/// A head being written.
struct Out<const N: usize>([u8; N]);

impl<const N: usize> Out<N> {
    fn new(kind: u8, flags: u8) -> Self {
        let mut out = Self([0; N]);
        out.0[..2].copy_from_slice(&MAGIC);
        (out.0[at::VERSION], out.0[at::KIND], out.0[at::FLAGS]) = (VERSION, kind, flags);
        out
    }

    fn long(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn word(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn seal(mut self, payload: &[u8], (checksum, head): (usize, usize)) -> [u8; N] {
        self.word(at::LENGTH, u32::try_from(payload.len()).expect("payloads are bounded"));
        self.word(checksum, crc32c::crc32c(payload));
        self.word(head, crc32c::crc32c(&self.0[..head]));
        self.0
    }
}

/// A head being read.
struct In<'a>(&'a [u8]);

impl In<'_> {
    fn open(&self, (checksum, head): (usize, usize)) -> Result<Behind, WireError> {
        if self.0[..2] != MAGIC {
            return Err(WireError::Magic);
        }
        if self.0[at::VERSION] != VERSION {
            return Err(WireError::Version { found: self.0[at::VERSION] });
        }
        if crc32c::crc32c(&self.0[..head]) != self.word(head) {
            return Err(WireError::Checksum);
        }
        let length = self.word(at::LENGTH) as usize;
        if length > PAYLOAD_MAX {
            return Err(WireError::Length { found: length });
        }
        Ok(Behind { length, checksum: self.word(checksum) })
    }

    fn byte(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn has(&self, flag: u8) -> bool {
        self.byte(at::FLAGS) & flag != 0
    }
}

fn flags(all: &[(bool, u8)]) -> u8 {
    all.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum()
}

/// A request as a frame.
///
/// # Errors
/// [`WireError::Length`]: its payload is longer than any.
pub fn request<D: AsRef<[u8]>>(volume: VolumeId, request: Request<D>) -> Result<([u8; REQUEST_HEAD], Payload<D>), WireError> {
    let Request { writer, lineage, sequence, settled, reconciled, ask } = request;
    let (kind, flags) = kind_and_flags(&ask, reconciled);
    let mut out = Out::<REQUEST_HEAD>::new(kind, flags);
    for (at, value) in [
        (at::SEQUENCE, sequence.0),
        (at::SETTLED, settled.0),
        (at::VOLUME, volume.0),
        (at::LINEAGE, lineage.0),
        (at::EPOCH, writer.epoch.0),
        (at::SESSION, writer.session.0),
    ] {
        out.long(at, value);
    }
    let payload = match ask {
        Ask::Fence { part, out: absent, .. } => {
            if let Part::Member { adopts } = part {
                out.long(at::ADOPTS, adopts.unwrap_or_default().0);
            }
            absent.filter(lists::may_be_named).map_or(Payload::None, |absent| Payload::List(lists::write_absent(&absent)))
        }
        Ask::Flush { .. } => Payload::None,
        Ask::Snapshot { snapshot } => {
            out.long(at::START, snapshot.0);
            Payload::None
        }
        Ask::Read { span, .. } => {
            place(&mut out, span);
            Payload::None
        }
        Ask::Write { span, content, .. } => {
            place(&mut out, span);
            let (content, payload) = match content {
                Content::Data(data) => (1, Payload::Data(data)),
                Content::Zeros => (2, Payload::None),
                Content::Hole => (3, Payload::None),
            };
            out.0[at::CONTENT] = content;
            payload
        }
        Ask::Miss { member, since, extents } => {
            absence(&mut out, member, since);
            Payload::List(lists::write(&extents).ok_or(WireError::Length { found: extents.ranges().len() })?)
        }
        Ask::Missed { member, since } => {
            absence(&mut out, member, since);
            Payload::None
        }
        Ask::Forget { member } => {
            absence(&mut out, member, Since::NEVER);
            Payload::None
        }
    };
    let length = payload.bytes().len();
    if length > PAYLOAD_MAX {
        return Err(WireError::Length { found: length });
    }
    Ok((out.seal(payload.bytes(), (at::CHECKSUM, at::HEAD)), payload))
}

fn kind_and_flags<D>(ask: &Ask<D>, reconciled: bool) -> (u8, u8) {
    let rec = (reconciled, flag::RECONCILED);
    match ask {
        Ask::Fence { part, dialect, out } => {
            let said = (out.as_ref().is_some_and(lists::may_be_named), flag::OUT);
            (kind::FENCE, flags(&[rec, (*dialect == Dialect::Second, flag::DIALECT), said, wanted_as(part)]))
        }
        Ask::Read { copy, .. } => (kind::READ, flags(&[rec, (*copy, flag::COPY)])),
        Ask::Write { durable, copy, .. } => (kind::WRITE, flags(&[rec, (*copy, flag::COPY), (*durable, flag::DURABLE)])),
        Ask::Flush { whole } => (kind::FLUSH, flags(&[rec, (*whole, flag::WHOLE)])),
        Ask::Snapshot { .. } => (kind::SNAPSHOT, flags(&[rec])),
        Ask::Miss { .. } => (kind::MISS, flags(&[rec])),
        Ask::Forget { .. } => (kind::FORGET, flags(&[rec])),
        Ask::Missed { .. } => (kind::MISSED, flags(&[rec])),
    }
}

const fn wanted_as(part: &Part) -> (bool, u8) {
    match part {
        Part::Member { adopts } => (adopts.is_some(), flag::ADOPTS),
        Part::Joiner => (true, flag::JOINER),
    }
}

fn place<const N: usize>(out: &mut Out<N>, span: Span) {
    out.long(at::START, span.at);
    out.long(at::SPAN, span.length);
}

fn absence<const N: usize>(out: &mut Out<N>, member: Member, since: Since) {
    out.word(at::MEMBER, member.0);
    out.long(at::SINCE, since.0);
}

/// What a request's head says about what is behind it.
///
/// # Errors
/// [`WireError`].
pub fn request_behind(head: &[u8; REQUEST_HEAD]) -> Result<Behind, WireError> {
    In(head).open((at::CHECKSUM, at::HEAD))
}

/// A request out of its head and what was behind it. `most`: extents of the volume.
///
/// # Errors
/// [`WireError`].
pub fn read_request<D: AsRef<[u8]>>(head: &[u8; REQUEST_HEAD], payload: D, most: u64) -> Result<(VolumeId, Request<D>), WireError> {
    let input = In(head);
    input.open((at::CHECKSUM, at::HEAD))?.check(payload.as_ref())?;
    let span = Span { at: input.long(at::START), length: input.long(at::SPAN) };
    let (member, since) = (Member(input.word(at::MEMBER)), Since(input.long(at::SINCE)));
    let copy = input.has(flag::COPY);
    let ask = match input.byte(at::KIND) {
        kind::FENCE => {
            let adopts = input.has(flag::ADOPTS).then(|| Lineage(input.long(at::ADOPTS)));
            let part = if input.has(flag::JOINER) { Part::Joiner } else { Part::Member { adopts } };
            let dialect = if input.has(flag::DIALECT) { Dialect::Second } else { Dialect::First };
            let out = input.has(flag::OUT).then(|| lists::read_absent(payload.as_ref())).transpose()?;
            Ask::Fence { part, dialect, out }
        }
        kind::READ if span.length > PAYLOAD_MAX as u64 => return Err(WireError::Meaning("more is to be read than a frame holds")),
        kind::READ => Ask::Read { span, copy },
        kind::WRITE => {
            let length = payload.as_ref().len() as u64;
            let content = match input.byte(at::CONTENT) {
                1 if length == span.length => Content::Data(payload),
                2 if length == 0 => Content::Zeros,
                3 if length == 0 => Content::Hole,
                _ => return Err(WireError::Meaning("what is to be written has another length than its place")),
            };
            Ask::Write { span, content, durable: input.has(flag::DURABLE), copy }
        }
        kind::FLUSH => Ask::Flush { whole: input.has(flag::WHOLE) },
        kind::SNAPSHOT => Ask::Snapshot { snapshot: SnapshotId(input.long(at::START)) },
        kind::MISS => Ask::Miss { member, since, extents: lists::read(payload.as_ref(), most)? },
        kind::FORGET => Ask::Forget { member },
        kind::MISSED => Ask::Missed { member, since },
        _ => return Err(WireError::Meaning("an unknown request")),
    };
    let request = Request {
        writer: Writer { epoch: VolumeEpoch(input.long(at::EPOCH)), session: Session(input.long(at::SESSION)) },
        lineage: Lineage(input.long(at::LINEAGE)),
        sequence: Sequence(input.long(at::SEQUENCE)),
        settled: Sequence(input.long(at::SETTLED)),
        reconciled: input.has(flag::RECONCILED),
        ask,
    };
    Ok((VolumeId(input.long(at::VOLUME)), request))
}

/// A reply as a frame. A list that is too long is none: then everything counts.
///
/// # Errors
/// [`WireError::Length`]: what was read is longer than any frame, or more is dirty than a log of dirty extents holds.
pub fn reply<D: AsRef<[u8]>>(reply: Reply<D>) -> Result<([u8; REPLY_HEAD], Payload<D>), WireError> {
    let Reply { sequence, answer } = reply;
    let (mut epoch, mut flushed, mut fault) = (VolumeEpoch(0), (VolumeEpoch(0), Sequence(0)), 0);
    let (kind, flags, payload) = match answer {
        Answer::Fenced(fenced) => {
            flushed = fenced.flushed;
            let length = fenced.dirty.len();
            let dirty = lists::write_few(&fenced.dirty, DIRTY_MAX).ok_or(WireError::Length { found: length })?;
            (kind::FENCED, flags(&[(fenced.lossy, flag::LOSSY), (fenced.blank, flag::BLANK)]), Payload::List(dirty))
        }
        Answer::Read(data) => (kind::DATA, 0, Payload::Data(data)),
        Answer::Hole => (kind::HOLE, 0, Payload::None),
        Answer::Rotten(extents) => {
            let length = extents.len();
            (kind::ROTTEN, 0, Payload::List(lists::write_few(&extents, ROTTEN_MAX).ok_or(WireError::Length { found: length })?))
        }
        Answer::Done => (kind::DONE, 0, Payload::None),
        Answer::Missed(missed) => {
            let known = missed.and_then(|extents| lists::write(&extents));
            (kind::LIST, flags(&[(known.is_some(), flag::KNOWN)]), Payload::List(known.unwrap_or_default()))
        }
        Answer::Refused { epoch: found } => {
            epoch = found;
            (kind::REFUSED, 0, Payload::None)
        }
        Answer::Strange => (kind::STRANGE, 0, Payload::None),
        Answer::Failed(found) => {
            fault = match found {
                Fault::NoSpace => 1,
                Fault::Io => 2,
                Fault::Rotten => 3,
            };
            (kind::FAILED, 0, Payload::None)
        }
    };
    let length = payload.bytes().len();
    if length > PAYLOAD_MAX {
        return Err(WireError::Length { found: length });
    }
    let mut out = Out::<REPLY_HEAD>::new(kind, flags);
    out.0[at::CONTENT] = fault;
    out.long(at::SEQUENCE, sequence.0);
    out.long(at::reply::EPOCH, epoch.0);
    out.long(at::reply::FLUSHED, flushed.0.0);
    out.long(at::reply::FLUSHED + 8, flushed.1.0);
    Ok((out.seal(payload.bytes(), (at::reply::CHECKSUM, at::reply::HEAD)), payload))
}

/// What a reply's head says about what is behind it.
///
/// # Errors
/// [`WireError`].
pub fn reply_behind(head: &[u8; REPLY_HEAD]) -> Result<Behind, WireError> {
    In(head).open((at::reply::CHECKSUM, at::reply::HEAD))
}

/// A reply out of its head and what was behind it. `most`: extents of the volume.
///
/// # Errors
/// [`WireError`].
pub fn read_reply<D: AsRef<[u8]>>(head: &[u8; REPLY_HEAD], payload: D, most: u64) -> Result<Reply<D>, WireError> {
    let input = In(head);
    input.open((at::reply::CHECKSUM, at::reply::HEAD))?.check(payload.as_ref())?;
    let epoch = VolumeEpoch(input.long(at::reply::EPOCH));
    let answer = match input.byte(at::KIND) {
        kind::FENCED => Answer::Fenced(Fenced {
            flushed: (VolumeEpoch(input.long(at::reply::FLUSHED)), Sequence(input.long(at::reply::FLUSHED + 8))),
            dirty: lists::read_few(payload.as_ref(), most, DIRTY_MAX)?,
            lossy: input.has(flag::LOSSY),
            blank: input.has(flag::BLANK),
        }),
        kind::DATA => Answer::Read(payload),
        kind::HOLE => Answer::Hole,
        kind::ROTTEN => Answer::Rotten(lists::read_few(payload.as_ref(), most, ROTTEN_MAX)?),
        kind::DONE => Answer::Done,
        kind::LIST if input.has(flag::KNOWN) => Answer::Missed(Some(lists::read(payload.as_ref(), most)?)),
        kind::LIST => Answer::Missed(None),
        kind::REFUSED => Answer::Refused { epoch },
        kind::STRANGE => Answer::Strange,
        kind::FAILED => Answer::Failed(match input.byte(at::CONTENT) {
            1 => Fault::NoSpace,
            2 => Fault::Io,
            3 => Fault::Rotten,
            _ => return Err(WireError::Meaning("an unknown fault")),
        }),
        _ => return Err(WireError::Meaning("an unknown answer")),
    };
    Ok(Reply { sequence: Sequence(input.long(at::SEQUENCE)), answer })
}

mod awaited;
pub mod line;
mod lists;
#[cfg(test)]
mod tests;

pub use awaited::{Awaited, answer_max};
