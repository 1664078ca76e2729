//! A body in chunks (RFC 9112, 7.1), followed byte by byte where sizes and ends are, and skipped where data is.

use super::head::{Refusal, is_token};

/// A line of a chunk's size with its extensions, or of a trailer, is at most so long; nobody uses either for more.
const LINE_MAX: usize = 4096;

/// All trailers together.
const TRAILERS_MAX: usize = 16 << 10;

/// A size of more digits does not fit into 64 bits.
const DIGITS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Within the line of a size.
    Size,
    /// So many bytes of data are to come.
    Data(u64),
    /// The CR LF after data, of which one byte may have come.
    DataEnd,
    /// Within trailers.
    Trailer,
    Over,
}

/// Where a body in chunks is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    line: Vec<u8>,
    trailers: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { state: State::Size, line: Vec::new(), trailers: 0 }
    }
}

impl Chunks {
    /// Whether the body has ended.
    pub fn over(&self) -> bool {
        self.state == State::Over
    }

    /// Takes bytes, at least one, and at most to the end of the body or of a line. Says how many.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        if let State::Data(left) = &mut self.state {
            let used = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= used as u64;
            if *left == 0 {
                self.state = State::DataEnd;
            }
            return Ok(used);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(bytes.len(), |end| end + 1);
        if self.line.len() + used > LINE_MAX {
            return Err(Refusal::Chunk);
        }
        self.line.extend_from_slice(&bytes[..used]);
        if self.state == State::DataEnd && !b"\r\n".starts_with(&self.line) {
            return Err(Refusal::Chunk);
        }
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.state = self.next(line.strip_suffix(b"\r\n").ok_or(Refusal::BareLf)?)?;
        }
        Ok(used)
    }

    fn next(&mut self, line: &[u8]) -> Result<State, Refusal> {
        if line.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            return Err(Refusal::Chunk);
        }
        match self.state {
            State::Size => match size(line)? {
                0 => Ok(State::Trailer),
                length => Ok(State::Data(length)),
            },
            State::DataEnd => Ok(State::Size),
            State::Trailer if line.is_empty() => Ok(State::Over),
            State::Trailer => {
                self.trailers += line.len();
                let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
                let good = !name.is_empty() && name.len() < line.len() && name.iter().all(|byte| is_token(*byte));
                if good && self.trailers <= TRAILERS_MAX { Ok(State::Trailer) } else { Err(Refusal::Chunk) }
            }
            State::Data(_) | State::Over => unreachable!("neither has lines"),
        }
    }
}

/// `1*HEXDIG [ chunk-ext ]`, without the white space before `;` that 7.1.1 speaks of as bad.
fn size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Refusal::Chunk);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Refusal::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| Refusal::Chunk)
}
