//! The numbers of the FUSE protocol that are used here. Source of all of them: linux/fuse.h, version 7.43.
//!
//! Everything is in the byte order of the machine: both ends are on it.

/// The protocol's major version; another one is another protocol.
pub(super) const MAJOR: u32 = 7;
/// The newest minor version whose layouts are known here.
pub(super) const MINOR: u32 = 43;
/// The oldest one served: with it came requests of more than 128 KiB (`FUSE_MAX_PAGES`, Linux 4.20).
pub(super) const MINOR_MIN: u32 = 28;

/// `struct fuse_in_header`, before every request.
pub(super) const IN_HEADER: usize = 40;
/// `struct fuse_out_header`, before every reply.
pub(super) const OUT_HEADER: usize = 16;
/// `struct fuse_write_in`, between a write's header and its data.
pub(super) const WRITE_IN: usize = 40;
/// `struct fuse_init_out`.
pub(super) const INIT_OUT: usize = 64;

/// The folder that is mounted: `FUSE_ROOT_ID`.
pub(super) const ROOT_NODE: u64 = 1;
/// Set in the number of a request that was sent before, to a server that has not answered it: `FUSE_UNIQUE_RESEND`.
pub(super) const UNIQUE_RESEND: u64 = 1 << 63;

pub(super) const LOOKUP: u32 = 1;
pub(super) const FORGET: u32 = 2;
pub(super) const GETATTR: u32 = 3;
pub(super) const SETATTR: u32 = 4;
pub(super) const OPEN: u32 = 14;
pub(super) const READ: u32 = 15;
pub(super) const WRITE: u32 = 16;
pub(super) const STATFS: u32 = 17;
pub(super) const RELEASE: u32 = 18;
pub(super) const FSYNC: u32 = 20;
pub(super) const INIT: u32 = 26;
pub(super) const INTERRUPT: u32 = 36;
pub(super) const DESTROY: u32 = 38;
pub(super) const BATCH_FORGET: u32 = 42;
pub(super) const FALLOCATE: u32 = 43;

/// Codes of notifications, which stand where a reply has its error.
pub(super) const NOTIFY_INVAL_INODE: i32 = 2;
pub(super) const NOTIFY_RESEND: i32 = 7;

/// What the kernel offers in INIT and the reply takes up. The upper half travels in a field of its own, `flags2`.
pub(super) mod offer {
    /// Several reads of one file at a time.
    pub const ASYNC_READ: u64 = 1 << 0;
    /// Writes of more than a page.
    pub const BIG_WRITES: u64 = 1 << 5;
    /// Direct I/O that was submitted asynchronously stays so: the loop driver does not wait for each request.
    pub const ASYNC_DIO: u64 = 1 << 15;
    /// `max_pages` counts.
    pub const MAX_PAGES: u64 = 1 << 22;
    /// `flags2` counts.
    pub const INIT_EXT: u64 = 1 << 30;
    /// `NOTIFY_RESEND` is understood.
    pub const HAS_RESEND: u64 = 1 << 39;
    /// `request_timeout` counts.
    pub const REQUEST_TIMEOUT: u64 = 1 << 42;
}

/// Flags of an opened file: no page cache, no FLUSH at its end, several writers at a time.
pub(super) const FOPEN_DIRECT_IO: u32 = 1 << 0;
pub(super) const FOPEN_NOFLUSH: u32 = 1 << 5;
pub(super) const FOPEN_PARALLEL_DIRECT_WRITES: u32 = 1 << 6;

/// `fuse_setattr_in.valid`: the size is to be set.
pub(super) const FATTR_SIZE: u32 = 1 << 3;
