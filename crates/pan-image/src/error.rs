//! Why an image is not taken, in words for the owner of the partition that asked for it.

use std::io;

/// Of a text that others wrote, this much is shown.
const SHOWN_MAX: usize = 500;

/// Why an image is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It asks for more than it may have.
    #[error("it has more than {most} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: u64,
    },
    /// A path of an archive.
    #[error("{path:?} in one of its layers: {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An archive is none.
    #[error("one of its archives is broken: {0}")]
    Archive(&'static str),
    /// A document is none.
    #[error("its {what} is not as it should be: {message}")]
    Document {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// There is no image for this machine among several.
    #[error("it has no variant for {os}/{architecture}")]
    NoPlatform {
        /// The operating system.
        os: &'static str,
        /// The processor, in Go's words.
        architecture: String,
    },
    /// Bytes cannot be had.
    #[error("cannot read one of its archives")]
    Read(#[source] io::Error),
    /// A change cannot be made.
    #[error("cannot make {path:?} of one of its layers")]
    Write {
        /// The path.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

impl Refusal {
    pub(crate) fn path(path: &[u8], reason: &'static str) -> Self {
        Self::Path { path: shown(path), reason }
    }

    pub(crate) fn document(what: &'static str, message: &str) -> Self {
        Self::Document { what, message: shown(message.as_bytes()) }
    }

    /// What a reader said, which may be a refusal that went through it.
    pub(crate) fn read(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Read)
    }

    /// What a sink said of a path; likewise, as it reads contents.
    pub(crate) fn write(path: &std::path::Path, error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(|source| Self::Write { path: shown(path.as_os_str().as_encoded_bytes()), source })
    }
}

/// A text of foreign origin as it may be shown: cut, and without what would move a terminal's cursor.
#[must_use]
pub fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_are_cut_and_tame() {
        assert_eq!(shown(b"a\x1b[31m\nb\xff"), "a?[31m?b\u{fffd}");
        assert_eq!(shown(&[b'x'; 10_000]).len(), SHOWN_MAX);
        let through = io::Error::other(Refusal::TooMuch { what: "files", most: 3 });
        assert_eq!(Refusal::read(through).to_string(), "it has more than 3 files");
    }
}
