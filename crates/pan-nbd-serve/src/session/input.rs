//! What arrived and was not yet understood.

use pan_nbd::INPUT_MAX;

/// Twice what the codec needs at most: a message can be whole while the next ones arrive. Some thirty writes of 4 KiB come
/// in one system call.
const CAPACITY: usize = 2 * INPUT_MAX;

#[derive(Debug)]
pub(super) struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub fn new() -> Self {
        Self { bytes: vec![0; CAPACITY].into_boxed_slice(), start: 0, end: 0 }
    }

    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The front has been understood, all but `left` bytes.
    pub fn consume_to(&mut self, left: usize) {
        self.start = self.end - left;
    }

    /// Where more can be read to; never empty, for the codec leaves less than half of the capacity.
    pub fn space(&mut self) -> &mut [u8] {
        if CAPACITY - self.end < CAPACITY / 2 || self.start == self.end {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes were read into the space.
    pub fn grew(&mut self, bytes: usize) {
        self.end += bytes;
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}
