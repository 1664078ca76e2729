//! What layers are packed in.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

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

/// Unpacks what is read. Bytes that are wrong are errors of the reader.
pub fn unpack<'a>(compression: Compression, from: impl Read + 'a) -> Box<dyn Read + 'a> {
    match compression {
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(MultiGzDecoder::new(from)),
        Compression::Zstd => Box::new(Zstd { from: BufReader::new(from), frame: FrameDecoder::new(), begun: false }),
    }
}

/// Frames after each other, which are one file, and skippable ones between them, which are nothing. The decoder refuses windows above
/// its own bound of 128 MiB.
struct Zstd<R> {
    from: BufReader<R>,
    frame: FrameDecoder,
    begun: bool,
}

impl<R: Read> Zstd<R> {
    /// Begins the next frame; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        if self.from.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.frame.reset(&mut self.from) {
            Ok(()) => self.begun = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let skipped = io::copy(&mut (&mut self.from).take(length.into()), &mut io::sink())?;
                if skipped < length.into() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(true)
    }
}

/// What the decoder says. If it could not read, that is of the kind of whatever the reader said.
fn failed(error: FrameDecoderError) -> io::Error {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let kind = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).last();
    io::Error::new(kind.unwrap_or(io::ErrorKind::Other), error)
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.begun {
                while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                    self.frame.decode_blocks(&mut self.from, BlockDecodingStrategy::UptoBlocks(1)).map_err(failed)?;
                }
                match self.frame.read(buffer)? {
                    0 if !buffer.is_empty() => self.begun = false,
                    count => return Ok(count),
                }
            }
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn unpacked(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        unpack(compression, bytes).read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn each_way_of_packing_is_undone() {
        let text = "what is packed ".repeat(10_000).into_bytes();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(text.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        assert!(gzip.len() < text.len() / 10 && zstd.len() < text.len() / 10);
        for (compression, packed) in [(Compression::None, &text), (Compression::Gzip, &gzip), (Compression::Zstd, &zstd)] {
            assert_eq!(unpacked(compression, packed).unwrap(), text, "{compression:?}");
        }
        // Members after each other are one file, as pigz and estargz write them.
        assert_eq!(unpacked(Compression::Gzip, &[gzip.clone(), gzip.clone()].concat()).unwrap().len(), 2 * text.len());
        // So are frames, with others between them that say nothing.
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let frames = [&skippable[..], &zstd, &skippable, &zstd].concat();
        assert_eq!(unpacked(Compression::Zstd, &frames).unwrap().len(), 2 * text.len());
        assert!(unpacked(Compression::Zstd, &skippable[..10]).is_err());
        for (compression, packed) in [(Compression::Gzip, &gzip), (Compression::Zstd, &zstd)] {
            assert!(unpacked(compression, &packed[..packed.len() / 2]).is_err(), "{compression:?} cut");
            assert!(unpacked(compression, b"no such thing").is_err(), "{compression:?}");
        }
        // A window of 2^41 bytes (RFC 8878, section 3.1.1.1.2).
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 1, 0, 0];
        assert!(unpacked(Compression::Zstd, &window).is_err());
    }
}
