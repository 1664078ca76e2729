//! Numbers to bytes and back.

/// The version of everything in this folder. A change raises it, and the fixtures of earlier ones are still read.
///
/// 2 keeps the epoch of the last flush, whether a replica is partial, and which absence a member is away for.
pub const VERSION: u32 = 2;

/// Whether this program reads a version.
pub const fn is_read(version: u32) -> bool {
    version == 1 || version == VERSION
}

/// Writes numbers one after another.
#[derive(Debug, Default)]
pub struct Encoder(pub Vec<u8>);

impl Encoder {
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// How many of something follow.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("everything that is counted here has a bound far below 2^32"))
    }
}

/// Reads numbers one after another; `None` where there are not enough bytes.
#[derive(Debug)]
pub struct Decoder<'a>(pub &'a [u8]);

impl<'a> Decoder<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a count and that many things. Each takes at least a byte, so no count makes it allocate more than it was given.
    pub fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()? as usize;
        if count > self.0.len() {
            return None;
        }
        (0..count).map(|_| one(self)).collect()
    }

    /// `Some` if nothing is left.
    pub fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// CRC-32C (Castagnoli, RFC 3720): of every block, page, record and superblock.
pub fn sum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The same, going on from an earlier one.
pub fn sum_on(earlier: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(earlier, bytes)
}

/// The checksums of whole blocks.
pub fn sums(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(crate::BLOCK as usize).map(sum).collect()
}
