//! What the kernel wants of whoever has the bytes.

use super::buffer::Payload;
use super::file::Extent;

/// What storage is asked to do. Stretches lie within the file.
#[derive(Debug)]
pub enum Operation {
    /// Read all of it.
    Read(Extent),
    /// Write it all.
    Write(u64, Payload),
    /// Everything whose answer was given must be durable.
    Flush,
    /// The stretch is not needed any more and reads as zeros from now on.
    Discard(Extent),
    /// The stretch reads as zeros from now on, and keeps its place.
    Zero(Extent),
}
