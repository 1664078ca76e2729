//! Where the bytes are.

use super::answer::Answer;
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

/// Storage. It is called from several threads of the server, and may answer in any order, from any thread, before or after
/// it returns. While it does not return, that thread takes no further request.
///
/// After a crash of a server its successor gets what was not answered a second time, also what has been done already: all
/// operations can be repeated. What the crashed one still has on its way must be kept from taking effect later, for it might
/// come after a newer write to the same place.
pub trait Backend: Send + Sync + 'static {
    /// Takes over one operation.
    fn perform(&self, operation: Operation, answer: Answer);
}
