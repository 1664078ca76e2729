//! `pan bench volume`: what a volume of a PAN can take, with one copy and with two, and what a chain of well-known programs can on
//! the same disk in the same run.
//!
//! fio writes and reads a file on the file system of the volume, on the node, where the server has it too. The peer is `nbdkit file`,
//! qemu-storage-daemon's FUSE export of that, and a loop device with direct I/O: from the kernel to a process and back, as a head does it, with
//! neither network nor checksums nor a second copy.

mod chain;
mod fio;
mod jobs;
mod run;

pub use run::{VolumeOptions, volume};
