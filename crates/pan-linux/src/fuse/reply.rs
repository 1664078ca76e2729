//! Replies to the kernel, and what it is told unasked: values in, bytes out. Pure.

use super::abi;

/// How long the kernel may keep what it was told about names and attributes, in seconds: they change only when it is
/// told so. A question about them would hang with the server.
const KEPT: u64 = 1 << 32;

/// Bytes of a reply or notification of ours, header included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(Vec<u8>);

/// What is to be said of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub node: u64,
    /// Bytes.
    pub size: u64,
    /// Kind and permissions, as in inode(7).
    pub mode: u32,
    /// What reads and writes should be multiples of.
    pub block: u32,
}

impl Reply {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Nothing but "done".
    pub fn done(unique: u64) -> Self {
        Self::of(unique, 0)
    }

    /// A refusal; `errno` is the positive number.
    pub fn refusal(unique: u64, errno: i32) -> Self {
        Self::of(unique, -errno.abs())
    }

    /// `struct fuse_entry_out`.
    pub(super) fn entry(unique: u64, attributes: &Attributes) -> Self {
        let mut reply = Self::of(unique, 0);
        for word in [attributes.node, 0, KEPT, KEPT, 0] {
            reply.u64(word);
        }
        reply.attributes(attributes);
        reply.closed()
    }

    /// `struct fuse_attr_out`.
    pub(super) fn attributes_of(unique: u64, attributes: &Attributes) -> Self {
        let mut reply = Self::of(unique, 0);
        reply.u64(KEPT);
        reply.u64(0);
        reply.attributes(attributes);
        reply.closed()
    }

    /// `struct fuse_open_out`.
    pub(super) fn opened(unique: u64) -> Self {
        let mut reply = Self::of(unique, 0);
        reply.u64(0);
        reply.u32(abi::FOPEN_DIRECT_IO | abi::FOPEN_NOFLUSH | abi::FOPEN_PARALLEL_DIRECT_WRITES);
        reply.u32(0);
        reply.closed()
    }

    /// `struct fuse_statfs_out`. The loop driver takes the block size for the granularity of discards.
    pub(super) fn statistics(unique: u64, size: u64, block: u32) -> Self {
        let mut reply = Self::of(unique, 0);
        for word in [size / u64::from(block), 0, 0, 1, 0] {
            reply.u64(word);
        }
        for word in [block, 255, block, 0, 0, 0, 0, 0, 0, 0] {
            reply.u32(word);
        }
        reply.closed()
    }

    /// `struct fuse_init_out`; what follows the header was put together by who negotiated.
    pub(super) fn init(unique: u64, terms: &[u8; abi::INIT_OUT]) -> Self {
        let mut reply = Self::of(unique, 0);
        reply.0.extend_from_slice(terms);
        reply.closed()
    }

    /// Unasked: what is pending is to be sent again.
    pub(super) fn resend() -> Self {
        Self::of(0, abi::NOTIFY_RESEND)
    }

    /// Unasked: what is known of a node's attributes is out of date (`struct fuse_notify_inval_inode_out`; a negative
    /// offset spares cached data).
    pub(super) fn attributes_changed(node: u64) -> Self {
        let mut reply = Self::of(0, abi::NOTIFY_INVAL_INODE);
        reply.u64(node);
        reply.u64(u64::MAX);
        reply.u64(0);
        reply.closed()
    }

    fn of(unique: u64, error: i32) -> Self {
        Self(header(unique, error, 0).to_vec())
    }

    fn closed(mut self) -> Self {
        let bytes = u32::try_from(self.0.len()).expect("replies about attributes are short");
        self.0[..4].copy_from_slice(&bytes.to_ne_bytes());
        self
    }

    fn u32(&mut self, word: u32) {
        self.0.extend_from_slice(&word.to_ne_bytes());
    }

    fn u64(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_ne_bytes());
    }

    /// `struct fuse_attr`.
    fn attributes(&mut self, attributes: &Attributes) {
        for word in [attributes.node, attributes.size, attributes.size.div_ceil(512), 0, 0, 0] {
            self.u64(word);
        }
        for word in [0, 0, 0, attributes.mode, 1, 0, 0, 0, attributes.block, 0] {
            self.u32(word);
        }
    }
}

/// `struct fuse_out_header` before `body` bytes.
pub(super) fn header(unique: u64, error: i32, body: u32) -> [u8; abi::OUT_HEADER] {
    let mut header = [0; abi::OUT_HEADER];
    let length = u32::try_from(abi::OUT_HEADER).expect("16 fits") + body;
    header[..4].copy_from_slice(&length.to_ne_bytes());
    header[4..8].copy_from_slice(&error.to_ne_bytes());
    header[8..].copy_from_slice(&unique.to_ne_bytes());
    header
}

/// The whole reply to a write of so many bytes: header and `struct fuse_write_out`.
pub(super) fn written(unique: u64, bytes: u32) -> [u8; abi::OUT_HEADER + 8] {
    let mut reply = [0; abi::OUT_HEADER + 8];
    reply[..abi::OUT_HEADER].copy_from_slice(&header(unique, 0, 8));
    reply[abi::OUT_HEADER..abi::OUT_HEADER + 4].copy_from_slice(&bytes.to_ne_bytes());
    reply
}
