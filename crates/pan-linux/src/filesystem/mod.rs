//! File systems on the block devices of volumes: made on first use, and only on a device that is really empty; checked when
//! they say they need it; mounted so that an error stops the writing; enlarged while in use.
//!
//! `contents` looks at bytes and decides; the rest runs the programs of e2fsprogs and xfsprogs. It must not know volumes.

mod contents;
mod error;
mod grow;
mod make;
mod mount;
mod stopped;
mod tool;

pub use contents::{Contents, Kind};
pub use error::FilesystemError;
pub use grow::{Place, grow};
pub use make::{Made, ensure};
pub use mount::{MountSpec, mount};
pub use stopped::has_stopped;
