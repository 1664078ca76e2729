//! The engine. A call takes the path of its name: `write` → `journal` or `units` → `maps`; `read`; `flush`; and
//! `checkpoint`, which carries home what the journal holds. `open` is what a crash left, made good.

mod absence;
mod catalog;
mod checkpoint;
mod flush;
mod journal;
mod maps;
pub(crate) mod marks;
mod open;
mod pool;
mod read;
mod replay;
mod scrub;
mod snapshot;
mod state;
mod units;
mod write;

pub use catalog::{Fence, NewVolume, SnapshotInfo, VolumeInfo};
pub use marks::ABSENT_MAX;
pub use pool::{Layout, Pool, Usage};
pub use read::Stretch;
pub use scrub::{Rot, ScrubAt, Scrubbed};
pub use state::Condition;
pub use write::{Durability, Write};
