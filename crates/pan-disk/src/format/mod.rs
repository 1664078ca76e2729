//! What lies on the disk, as functions from and to bytes. All numbers are little-endian. Nothing here allocates by what
//! it reads beyond the bytes that it was given.

pub(crate) mod codec;
pub(crate) mod page;
pub(crate) mod record;
pub(crate) mod root;
pub mod superblock;

pub use codec::VERSION;
