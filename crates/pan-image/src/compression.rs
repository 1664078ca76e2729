//! What layers are packed in.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Unpacks what is read.
///
/// # Errors
/// The bytes do not begin as they should. Later ones that are wrong are errors of the reader.
pub fn unpack<'a>(compression: Compression, from: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(MultiGzDecoder::new(from)),
        // Refuses windows above its own bound of 100 MiB.
        Compression::Zstd => Box::new(StreamingDecoder::new(from).map_err(io::Error::other)?),
    })
}
