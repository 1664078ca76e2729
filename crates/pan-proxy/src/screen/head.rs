//! The lines of a head: what each may look like, and what they say of the body.

use crate::target::is_target;
use pan_model::proxy::is_authority;
use std::fmt;

/// Why a client's bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A line that ends with LF alone.
    BareLf,
    /// CR that no LF follows.
    BareCr,
    /// A control character.
    Control,
    /// The request line is not method, target and version, with a space between each.
    RequestLine,
    /// The target is neither a path nor a whole address, nor `*` with OPTIONS.
    Target,
    /// A version other than 1.0 and 1.1.
    Version,
    /// A header line that begins with a space or tab.
    Folded,
    /// A header's name is empty or has characters that no name has, such as a space before the colon.
    HeaderName,
    /// A header line without a colon.
    NoColon,
    /// `Content-Length` is not a number, or comes twice.
    Length,
    /// `Transfer-Encoding` is not `chunked` alone, or HTTP/1.0 uses it.
    Transfer,
    /// Both.
    LengthAndTransfer,
    /// HTTP/1.1 without `Host`, or two, or one that is no host.
    Host,
    /// A chunk's size, its end, or the last chunk's trailers are not what they should be.
    Chunk,
    /// The head is longer than the service allows.
    HeadTooLarge,
    /// It has more lines than the service allows.
    TooManyHeaders,
    /// It did not end in time.
    Slow,
    /// Bytes of another protocol before that was agreed upon.
    EarlyBytes,
}

impl Refusal {
    /// The status that says it.
    #[must_use]
    pub fn status(self) -> hyper::StatusCode {
        match self {
            Self::HeadTooLarge | Self::TooManyHeaders => hyper::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Slow => hyper::StatusCode::REQUEST_TIMEOUT,
            Self::Version => hyper::StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::BareLf
            | Self::BareCr
            | Self::Control
            | Self::RequestLine
            | Self::Target
            | Self::Folded
            | Self::HeaderName
            | Self::NoColon
            | Self::Length
            | Self::Transfer
            | Self::LengthAndTransfer
            | Self::Host
            | Self::Chunk
            | Self::EarlyBytes => hyper::StatusCode::BAD_REQUEST,
        }
    }
}

impl Refusal {
    /// What is wrong.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::BareLf => "a line ends with LF alone: expected CR LF",
            Self::BareCr => "CR without LF after it",
            Self::Control => "a control character in the head",
            Self::RequestLine => "the request line is not METHOD TARGET HTTP/1.1",
            Self::Target => "the request's target is neither a path nor http:// or https:// with a host",
            Self::Version => "not HTTP/1.0 or HTTP/1.1",
            Self::Folded => "a header line begins with a space: a value over several lines is obsolete",
            Self::HeaderName => "a header's name is empty or has a character that no name has",
            Self::NoColon => "a header line has no colon",
            Self::Length => "Content-Length is not one number",
            Self::Transfer => "Transfer-Encoding is not chunked alone, in HTTP/1.1",
            Self::LengthAndTransfer => "Content-Length and Transfer-Encoding both",
            Self::Host => "expected one Host header, with a host and perhaps a port",
            Self::Chunk => "a chunk is not as RFC 9112 has it",
            Self::HeadTooLarge => "the head is longer than this service allows",
            Self::TooManyHeaders => "more header lines than this service allows",
            Self::Slow => "the head did not end in time",
            Self::EarlyBytes => "bytes after a request to upgrade, before its answer",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.sentence())
    }
}

/// What a head says of what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// No body.
    Bodiless,
    /// A body of so many bytes.
    Length(u64),
    /// A body in chunks.
    Chunked,
    /// No body, and perhaps another protocol.
    Upgrade,
}

/// A head so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    /// The part of a line that came without its end.
    part: Vec<u8>,
    /// Bytes of lines that are complete.
    taken: usize,
    headers: usize,
    /// Whether the request line was read, and whether it says HTTP/1.1.
    version: Option<Version>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    hosts: u32,
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Ten,
    Eleven,
}

impl Lines {
    /// Whether a byte came.
    pub fn begun(&self) -> bool {
        !self.done && (self.taken > 0 || !self.part.is_empty())
    }

    /// What a complete head says.
    pub fn head(&self) -> Option<Head> {
        if !self.done {
            return None;
        }
        Some(match (self.chunked, self.length, self.upgrade) {
            (true, _, _) => Head::Chunked,
            (false, None | Some(0), true) => Head::Upgrade,
            (false, Some(length), _) => Head::Length(length),
            (false, None, false) => Head::Bodiless,
        })
    }

    /// Takes bytes up to the head's end. Says how many.
    pub fn feed(&mut self, bytes: &[u8], bytes_max: usize, headers_max: usize) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() && !self.done {
            let rest = &bytes[at..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(rest.len(), |end| end + 1);
            if self.taken + self.part.len() + used > bytes_max {
                return Err(Refusal::HeadTooLarge);
            }
            at += used;
            if end.is_none() {
                self.part.extend_from_slice(rest);
                break;
            }
            if self.part.is_empty() {
                self.line(&rest[..used], headers_max)?;
            } else {
                self.part.extend_from_slice(&rest[..used]);
                let line = std::mem::take(&mut self.part);
                self.line(&line, headers_max)?;
            }
        }
        Ok(at)
    }

    /// Takes a line with its end.
    fn line(&mut self, line: &[u8], headers_max: usize) -> Result<(), Refusal> {
        self.taken += line.len();
        let text = line.strip_suffix(b"\r\n").ok_or(Refusal::BareLf)?;
        if let Some(bad) = text.iter().find(|byte| (**byte < b' ' && **byte != b'\t') || **byte == 0x7f) {
            return Err(if *bad == b'\r' { Refusal::BareCr } else { Refusal::Control });
        }
        match self.version {
            None => self.version = Some(request_line(text)?),
            Some(version) if text.is_empty() => self.end(version)?,
            Some(version) => {
                self.headers += 1;
                if self.headers > headers_max {
                    return Err(Refusal::TooManyHeaders);
                }
                self.header(text, version)?;
            }
        }
        Ok(())
    }

    fn header(&mut self, text: &[u8], version: Version) -> Result<(), Refusal> {
        if matches!(text[0], b' ' | b'\t') {
            return Err(Refusal::Folded);
        }
        let colon = text.iter().position(|byte| *byte == b':').ok_or(Refusal::NoColon)?;
        let (name, value) = (&text[..colon], text[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Refusal::HeaderName);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let number = digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten();
            if self.length.replace(number.ok_or(Refusal::Length)?).is_some() {
                return Err(Refusal::Length);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || version == Version::Ten || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Transfer);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            if !is_authority(value) {
                return Err(Refusal::Host);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn end(&mut self, version: Version) -> Result<(), Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(Refusal::LengthAndTransfer);
        }
        if self.hosts > 1 || (version == Version::Eleven && self.hosts == 0) {
            return Err(Refusal::Host);
        }
        self.done = true;
        Ok(())
    }
}

fn request_line(text: &[u8]) -> Result<Version, Refusal> {
    let mut words = text.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next()) else {
        return Err(Refusal::RequestLine);
    };
    let plain = |byte: &u8| byte.is_ascii_graphic();
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) || target.is_empty() || !target.iter().all(plain) {
        return Err(Refusal::RequestLine);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Eleven,
        b"HTTP/1.0" => Version::Ten,
        other if other.starts_with(b"HTTP/") => return Err(Refusal::Version),
        _ => return Err(Refusal::RequestLine),
    };
    if is_target(method, target) { Ok(version) } else { Err(Refusal::Target) }
}

/// `tchar` of RFC 9110, 5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
