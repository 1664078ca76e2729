//! Looks at what a client sends by HTTP/1 before anything interprets it, and refuses what two readers could read
//! differently: there a request can be smuggled past whoever reads it the other way (RFC 9112, 11.2). It follows
//! the messages' bounds and decides nothing else.
//!
//! Stricter than RFC 9112 has to be: lines end with CR LF only (2.2 allows a recipient to accept LF), `Content-Length` comes
//! once and without `Transfer-Encoding`, and that is `chunked` alone.

mod chunk;
mod head;

pub use head::{Head, Refusal};

use chunk::Chunks;
use head::Lines;
use pan_model::proxy::Limits;

/// What is passed on of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// So many bytes are good and can be interpreted. Those of an unfinished head are not among them.
    pub good: usize,
    /// What is wrong with the next byte.
    pub refused: Option<Refusal>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Within a head, or before one.
    Head(Lines),
    /// So many bytes of a body are to come.
    Body(u64),
    /// Within a body in chunks.
    Chunks(Chunks),
    /// After a request to upgrade: what comes now belongs to a protocol that is not agreed upon.
    Held,
    /// Whatever comes is none of our business.
    Tunnel,
    /// Nothing more is looked at.
    Over(Refusal),
}

/// The state of one direction of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    state: State,
    bytes_max: usize,
    headers_max: usize,
    heads: u64,
    /// Whether what was refused is a part of a body.
    body_refused: bool,
}

impl Screen {
    /// Of a connection that begins.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let bytes_max = usize::try_from(limits.head.0).unwrap_or(usize::MAX);
        Self { state: State::Head(Lines::default()), bytes_max, headers_max: limits.headers, heads: 0, body_refused: false }
    }

    /// Heads that were complete and good.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head has begun and is not complete.
    #[must_use]
    pub fn within_head(&self) -> bool {
        matches!(&self.state, State::Head(lines) if lines.begun())
    }

    /// Whether the next byte is a head's, the first included.
    #[must_use]
    pub fn before_or_within_head(&self) -> bool {
        matches!(&self.state, State::Head(_))
    }

    /// Whether a message is not read to its end.
    #[must_use]
    pub fn unread(&self) -> bool {
        match &self.state {
            State::Head(lines) => lines.begun(),
            State::Body(_) | State::Chunks(_) | State::Over(_) => true,
            State::Held | State::Tunnel => false,
        }
    }

    /// Whether bytes are to be left where they are until [`Screen::settle`] says what they are.
    #[must_use]
    pub fn held(&self) -> bool {
        self.state == State::Held
    }

    /// Whether what was refused is a part of a body, whose head was passed on.
    #[must_use]
    pub fn body_refused(&self) -> bool {
        self.body_refused
    }

    /// The request to upgrade was answered: by another protocol, or as any other request.
    pub fn settle(&mut self, agreed: Upgrade) {
        if self.state == State::Held {
            self.state = match agreed {
                Upgrade::Agreed => State::Tunnel,
                Upgrade::Declined => State::Head(Lines::default()),
            };
        }
    }

    /// Gives up on a head that does not end.
    pub fn refuse(&mut self, why: Refusal) {
        self.state = State::Over(why);
    }

    /// Takes what came. Bytes of an unfinished head are kept by the caller and not fed again. O(bytes), and a line that
    /// comes in parts is copied once.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        let (mut at, mut good) = (0, 0);
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.step(rest) {
                Ok(used) => at += used,
                Err(why) => {
                    self.body_refused = matches!(self.state, State::Body(_) | State::Chunks(_));
                    self.state = State::Over(why);
                    return Fed { good, refused: Some(why) };
                }
            }
            if !self.within_head() {
                good = at;
            }
        }
        Fed { good, refused: None }
    }

    fn step(&mut self, rest: &[u8]) -> Result<usize, Refusal> {
        match &mut self.state {
            State::Head(lines) => {
                let used = lines.feed(rest, self.bytes_max, self.headers_max)?;
                if let Some(head) = lines.head() {
                    self.heads += 1;
                    self.state = match head {
                        Head::Upgrade => State::Held,
                        Head::Bodiless | Head::Length(0) => State::Head(Lines::default()),
                        Head::Length(length) => State::Body(length),
                        Head::Chunked => State::Chunks(Chunks::default()),
                    };
                }
                Ok(used)
            }
            State::Body(left) => {
                let used = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= used as u64;
                if *left == 0 {
                    self.state = State::Head(Lines::default());
                }
                Ok(used)
            }
            State::Chunks(chunks) => {
                let used = chunks.feed(rest)?;
                if chunks.over() {
                    self.state = State::Head(Lines::default());
                }
                Ok(used)
            }
            State::Held => Err(Refusal::EarlyBytes),
            State::Tunnel => Ok(rest.len()),
            State::Over(why) => Err(*why),
        }
    }
}

/// How a request to upgrade was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// By 101.
    Agreed,
    /// By anything else.
    Declined,
}

#[cfg(test)]
mod tests;
