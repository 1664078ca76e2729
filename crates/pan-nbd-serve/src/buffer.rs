//! Memory for the data of requests: aligned, so that it can be read and written past the page cache, and used again, so
//! that the kernel need not clear it for each request.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// What direct I/O asks for at most, on disks of today.
const ALIGNMENT: usize = 4096;

/// 4 KiB, twice that, and so on up to 64 MiB, the longest request there can be.
const CLASSES: usize = 15;

/// Buffers that wait to be used again.
#[derive(Debug)]
struct Free {
    classes: [Vec<Vec<u8>>; CLASSES],
    kept: usize,
    kept_max: usize,
}

/// Lends buffers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Mutex<Free>>);

impl Pool {
    /// A pool that keeps at most `kept_max` bytes for later. What it lends is the borrower's to bound.
    #[must_use]
    pub fn new(kept_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Free { classes: [const { Vec::new() }; CLASSES], kept: 0, kept_max })))
    }

    /// How much memory a buffer of `length` bytes takes.
    #[must_use]
    pub fn taken_by(length: usize) -> usize {
        length.next_power_of_two().max(ALIGNMENT)
    }

    /// A buffer of `length` bytes. It holds whatever it held last, for this pool's owner.
    ///
    /// # Panics
    /// More than 64 MiB.
    #[must_use]
    pub fn lend(&self, length: usize) -> Buffer {
        let class = class(Self::taken_by(length));
        assert!(class < CLASSES, "a buffer of {length} bytes for one request");
        let used = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let used = free.classes[class].pop();
            free.kept -= used.as_ref().map_or(0, Vec::len);
            used
        };
        let bytes = used.unwrap_or_else(|| vec![0; Self::taken_by(length) + ALIGNMENT]);
        let start = (ALIGNMENT - bytes.as_ptr().addr() % ALIGNMENT) % ALIGNMENT;
        Buffer { bytes, start, length, pool: self.clone() }
    }
}

fn class(taken: usize) -> usize {
    let doublings = (taken / ALIGNMENT).trailing_zeros();
    usize::try_from(doublings).expect("at most 64")
}

/// Memory lent to one request, aligned to 4 KiB; goes back when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
    pool: Pool,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.kept + bytes.len() <= free.kept_max {
            free.kept += bytes.len();
            free.classes[class(bytes.len() - ALIGNMENT)].push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_used_again_up_to_the_bound() {
        let pool = Pool::new(0);
        for length in [1, 4096, 4097, 65536, 1 << 20, 64 << 20] {
            let buffer = pool.lend(length);
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % ALIGNMENT), (length, 0), "{length}");
        }
        let pool = Pool::new(20 << 10);
        let mut one = pool.lend(100);
        one.fill(7);
        let address = one.as_ptr().addr();
        drop(one);
        let again = pool.lend(4000);
        assert_eq!(again.as_ptr().addr(), address);
        let three: Vec<Buffer> = (0..3).map(|_| pool.lend(1)).collect();
        drop((again, three));
        assert_eq!(pool.0.lock().unwrap().kept, 16 << 10, "two of 4 KiB, each with room to be aligned, and no third");
    }
}
