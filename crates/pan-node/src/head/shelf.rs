//! Memory for what is read from replicas, used again. The process's memory is locked, so that every page it gets from the kernel is
//! made, and paid for, at once.

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is smaller comes from the heap's small change.
const LARGE: usize = 16 << 10;
/// Kept for later, each up to as long as the longest read, which is 1 MiB: more than the kernel reads ahead.
const KEPT_MAX: usize = 16;

/// Buffers that nobody uses now.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf(Arc<Mutex<Vec<Vec<u8>>>>);

impl Shelf {
    /// A buffer of so many bytes. What is in it is of no use.
    pub fn take(&self, length: usize) -> Loan {
        let mut bytes = if length < LARGE { Vec::new() } else { self.lock().pop().unwrap_or_default() };
        if bytes.len() < length {
            bytes.resize(length, 0);
        }
        Loan { bytes, length, shelf: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A list of buffers is all it ever is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer in use. It goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Loan {
    bytes: Vec<u8>,
    length: usize,
    shelf: Shelf,
}

impl Loan {
    /// All of it, to be filled.
    pub fn target(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    /// As what can be shared.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut kept = self.shelf.lock();
        if self.bytes.len() >= LARGE && kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_whatever_their_length_and_so_many_are_kept() {
        let shelf = Shelf::default();
        let mut loan = shelf.take(LARGE);
        loan.target().fill(7);
        let bytes = loan.into_bytes();
        let clone = bytes.clone();
        drop(bytes);
        assert_eq!((clone.len(), shelf.lock().len()), (LARGE, 0), "somebody still has it");
        drop(clone);
        assert_eq!(shelf.lock().len(), 1);
        assert_eq!((shelf.take(100).as_ref().len(), shelf.lock().len()), (100, 1), "small ones are not taken from it");
        let all: Vec<Loan> = (0..2 * KEPT_MAX).map(|count| shelf.take(LARGE + count)).collect();
        assert!(all.iter().enumerate().all(|(count, loan)| loan.as_ref().len() == LARGE + count));
        drop(all);
        assert_eq!(shelf.lock().len(), KEPT_MAX);
    }
}
