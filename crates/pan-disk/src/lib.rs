//! Replicas of volumes on one disk: format, journal, maps, snapshots, checksums. It knows no file and no clock.
//!
//! - [`Pool`] is the engine, and all a storage host calls: one per disk, for all volumes that have a replica there.
//! - [`Medium`] is what it asks of a disk: read, write, sync, punch. Real files implement it in `pan-storage`,
//!   [`faulty`] implements it with a disk that tears, lies, fills up and flips bits, for tests and the simulator.
//! - [`format`] is what lies on the disk, as pure functions from and to bytes.
//!
//! What it promises, each kept by the tests in `tests/`:
//!
//! 1. After a crash, at any moment, every flushed write is there; of any other write each 4 KiB block is the old or the new one.
//! 2. What is read was checked against its checksum. A block that does not match is an error that names the range, never data,
//!    and no crash leaves one behind.
//! 3. What was never written, or was given back, reads as zeros.
//! 4. [`Pool::intents`] holds every extent that may differ from other replicas, [`Pool::missed`] whatever an absent member missed,
//!    for as long as the write itself is there.
//! 5. A disk that fills up or fails answers with an error that says so; nothing that was acknowledged is taken back.
//!
//! What it does not know: epochs are kept and never go back, but who may write, and when, is the caller's.
//! docs/decisions/0016-the-disk-format.md draws the layout and gives the reasons.

mod engine;
mod error;
pub mod faulty;
pub mod format;
mod medium;
mod span;

pub use engine::{
    ABSENT_MAX, Condition, Durability, Fence, Layout, NewVolume, Pool, Rot, ScrubAt, Scrubbed, SnapshotInfo, Stretch, Usage, VolumeInfo,
    Write,
};
pub use error::{DiskError, Result};
pub use format::superblock::{Standing, Superblock};
pub use medium::{Fault, Medium, Name, Side};
pub use pan_model::SnapshotId;
pub use span::{BLOCK, EXTENT, Extent, FlushMark, INTENTS_MAX, Layer, Member, Source, Span, UNIT};
pub(crate) use span::{Place, Seq};
