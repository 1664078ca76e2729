//! Requests of the kernel: bytes in, a request out. Pure; bytes that are no request are an error, whatever they are.

use super::abi;

/// Longest name of a file that is looked up; the one file's own is shorter.
const NAME_MAX: usize = 255;

/// A request as the kernel sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its number, to be given back with the reply exactly as it is.
    pub unique: u64,
    /// What it is about: the folder or the file.
    pub node: u64,
    /// What is asked.
    pub call: Call<'a>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call<'a> {
    /// The beginning of everything.
    Init(Offer),
    /// Is there a file of this name?
    Lookup(&'a [u8]),
    /// Size and kind.
    GetAttributes,
    /// Change them; `Some` is a new size.
    SetAttributes(Option<u64>),
    /// Open the file.
    Open,
    /// Read.
    Read {
        /// From where.
        offset: u64,
        /// How many bytes.
        bytes: u32,
    },
    /// Write.
    Write {
        /// To where.
        offset: u64,
        /// What; the end of the request.
        data: &'a [u8],
    },
    /// All that was written must be durable.
    Sync,
    /// fallocate(2).
    Allocate {
        /// From where.
        offset: u64,
        /// How many bytes.
        bytes: u64,
        /// The flags of fallocate(2).
        mode: u32,
    },
    /// statfs(2).
    Statistics,
    /// The file was closed.
    Release,
    /// Wants no reply: the kernel has forgotten a node, or would like an earlier request to end.
    Note,
    /// The end of everything.
    Destroy,
    /// Something that this file has no answer for.
    Other(u32),
}

/// What the kernel offers when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Its protocol version.
    pub major: u32,
    /// Its minor one.
    pub minor: u32,
    /// Both words of its flags.
    pub flags: u64,
    /// What it would read ahead, in bytes.
    pub readahead_max: u32,
}

/// Bytes that are no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not even a header, so that there is nothing to answer to.
    #[error("{0} bytes, which is no request")]
    Headless(usize),
    /// The length in the header is not the number of bytes that came.
    #[error("request {unique} is said to have {said} bytes and has {found}")]
    Length {
        /// Its number.
        unique: u64,
        /// The header's.
        said: u32,
        /// The real one.
        found: usize,
    },
    /// What belongs to the operation is cut off or makes no sense.
    #[error("request {unique} for operation {operation} is malformed")]
    Body {
        /// Its number.
        unique: u64,
        /// The operation.
        operation: u32,
    },
}

impl BadRequest {
    /// The number of the request that can be refused, if the bytes had one.
    pub fn unique(&self) -> Option<u64> {
        match self {
            Self::Headless(_) => None,
            Self::Length { unique, .. } | Self::Body { unique, .. } => Some(*unique),
        }
    }
}

impl<'a> Request<'a> {
    /// Reads one request, which is all of `bytes`.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BadRequest> {
        let (Some(said), Some(operation), Some(unique), Some(node)) =
            (u32_at(bytes, 0), u32_at(bytes, 4), u64_at(bytes, 8), u64_at(bytes, 16))
        else {
            return Err(BadRequest::Headless(bytes.len()));
        };
        let body = bytes.get(abi::IN_HEADER..).ok_or(BadRequest::Headless(bytes.len()))?;
        if said as usize != bytes.len() {
            return Err(BadRequest::Length { unique, said, found: bytes.len() });
        }
        let call = call(operation, body).ok_or(BadRequest::Body { unique, operation })?;
        Ok(Self { unique, node, call })
    }

    /// Whether a server before this one had it and has not answered.
    pub fn resent(&self) -> bool {
        self.unique & abi::UNIQUE_RESEND != 0
    }
}

fn call(operation: u32, body: &[u8]) -> Option<Call<'_>> {
    Some(match operation {
        abi::INIT => Call::Init(offer(body)?),
        abi::LOOKUP => Call::Lookup(name(body)?),
        abi::GETATTR => Call::GetAttributes,
        abi::SETATTR => {
            let (valid, size) = (u32_at(body, 0)?, u64_at(body, 16)?);
            Call::SetAttributes((valid & abi::FATTR_SIZE != 0).then_some(size))
        }
        abi::OPEN => Call::Open,
        abi::READ => Call::Read { offset: u64_at(body, 8)?, bytes: u32_at(body, 16)? },
        abi::WRITE => {
            let (offset, bytes) = (u64_at(body, 8)?, u32_at(body, 16)?);
            let data = body.get(abi::WRITE_IN..)?;
            (data.len() == bytes as usize).then_some(Call::Write { offset, data })?
        }
        abi::FSYNC => Call::Sync,
        abi::FALLOCATE => Call::Allocate { offset: u64_at(body, 8)?, bytes: u64_at(body, 16)?, mode: u32_at(body, 24)? },
        abi::STATFS => Call::Statistics,
        abi::RELEASE => Call::Release,
        abi::FORGET | abi::BATCH_FORGET | abi::INTERRUPT => Call::Note,
        abi::DESTROY => Call::Destroy,
        other => Call::Other(other),
    })
}

/// `struct fuse_init_in`; kernels before 7.36 end it after the first word of flags.
fn offer(body: &[u8]) -> Option<Offer> {
    let low = u64::from(u32_at(body, 12)?);
    let high = if low & abi::offer::INIT_EXT == 0 { 0 } else { u64::from(u32_at(body, 16)?) };
    Some(Offer { major: u32_at(body, 0)?, minor: u32_at(body, 4)?, readahead_max: u32_at(body, 8)?, flags: low | (high << 32) })
}

/// A name ends with a zero byte, which is the last one.
fn name(body: &[u8]) -> Option<&[u8]> {
    let (end, name) = body.split_last()?;
    (*end == 0 && name.len() <= NAME_MAX && !name.contains(&0)).then_some(name)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
