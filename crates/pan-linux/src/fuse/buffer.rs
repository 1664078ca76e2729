//! Memory for requests. All of it is in memory before the kernel writes into it: a server that is killed while a page of its
//! buffer is being fetched would let the kernel fail the request with an error instead of keeping it for the next server.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard};

use super::abi;

const PAGE: usize = 4096;
/// What stands before the data of a write. It ends where the second page begins, so that the data has whole pages.
const BEFORE_DATA: usize = abi::IN_HEADER + abi::WRITE_IN;
const START: usize = PAGE - BEFORE_DATA;
/// Data of at most this many bytes is copied, so that a queue of small writes does not hold a large buffer each. Copying it
/// takes a microsecond.
const SMALL: usize = 16 << 10;

/// Page-aligned memory.
struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns its memory and hands out references by the usual rules only.
unsafe impl Send for Pages {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for Pages {}

impl Pages {
    fn new(bytes: usize) -> Self {
        let layout = Self::layout(bytes);
        // SAFETY: the layout is not empty; `bytes` is a positive constant or a size of that order.
        let raw = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(raw) else { handle_alloc_error(layout) };
        let mut pages = Self { start, bytes };
        for page in pages.whole_mut().chunks_mut(PAGE) {
            // SAFETY: a write to the chunk's own first byte; volatile, so that it is really made.
            unsafe { page.as_mut_ptr().write_volatile(0) };
        }
        pages
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes.next_multiple_of(PAGE).max(PAGE), PAGE).expect("buffers are far smaller than memory")
    }

    fn whole(&self) -> &[u8] {
        // SAFETY: the memory is ours, initialised, and `bytes` long.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    fn whole_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout and is freed once.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) };
    }
}

/// The buffers of one server.
pub(super) struct Pool {
    free: Mutex<Free>,
    large: usize,
}

struct Free {
    large: Vec<Pages>,
    small: Vec<Pages>,
}

impl Pool {
    /// With `count` buffers for requests with up to `request_max` bytes of data.
    pub(super) fn new(count: usize, request_max: usize) -> Arc<Self> {
        let large = PAGE + request_max;
        let free = Free { large: (0..count).map(|_| Pages::new(large)).collect(), small: Vec::new() };
        Arc::new(Self { free: Mutex::new(free), large })
    }

    /// A buffer to read a request into, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Room> {
        let pages = self.lock().large.pop()?;
        Some(Room { pages: Some(pages), pool: Arc::clone(self) })
    }

    /// Whether one is free.
    pub(super) fn has_room(&self) -> bool {
        !self.lock().large.is_empty()
    }

    fn small(&self) -> Pages {
        let free = self.lock().small.pop();
        free.unwrap_or_else(|| Pages::new(SMALL))
    }

    fn give_back(&self, pages: Pages) {
        let mut free = self.lock();
        if pages.bytes == self.large {
            free.large.push(pages);
        } else {
            // As many as requests can wait, and no more.
            free.small.push(pages);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        // Whoever panicked with it has left a list of buffers, which is all it ever is.
        self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A buffer that a request is read into.
pub(super) struct Room {
    pages: Option<Pages>,
    pool: Arc<Pool>,
}

impl Room {
    /// Where the kernel writes a request.
    pub(super) fn target(&mut self) -> &mut [u8] {
        &mut self.pages.as_mut().expect("a room has its pages until it is dropped").whole_mut()[START..]
    }

    /// The request of so many bytes that is in it.
    pub(super) fn request(&self, bytes: usize) -> &[u8] {
        &self.pages.as_ref().expect("a room has its pages until it is dropped").whole()[START..START + bytes]
    }

    /// The data of the write that is in it, and a room for the next request if there is one left of it.
    pub(super) fn into_payload(mut self, bytes: usize) -> (Payload, Option<Self>) {
        let pool = Arc::clone(&self.pool);
        if bytes <= SMALL {
            let mut pages = pool.small();
            pages.whole_mut()[..bytes].copy_from_slice(&self.target()[BEFORE_DATA..BEFORE_DATA + bytes]);
            return (Payload { pages: Some(pages), start: 0, bytes, pool }, Some(self));
        }
        let pages = self.pages.take();
        (Payload { pages, start: PAGE, bytes, pool }, None)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            self.pool.give_back(pages);
        }
    }
}

/// The data of a write. Begins at a page's beginning, so that it can be written with O_DIRECT. Its memory is used again when
/// it is dropped.
pub struct Payload {
    pages: Option<Pages>,
    start: usize,
    bytes: usize,
    pool: Arc<Pool>,
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.pages.as_ref().expect("a payload has its pages until it is dropped").whole()[self.start..self.start + self.bytes]
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Payload({} bytes)", self.bytes)
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            self.pool.give_back(pages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &Arc<Pool>, bytes: usize) -> Room {
        let mut room = pool.take().unwrap();
        for (index, byte) in room.target()[BEFORE_DATA..BEFORE_DATA + bytes].iter_mut().enumerate() {
            *byte = u8::try_from(index % 251).unwrap();
        }
        room
    }

    #[test]
    fn data_keeps_its_pages_and_small_data_leaves_the_room() {
        let pool = Pool::new(1, 1 << 20);
        for bytes in [1, SMALL, SMALL + 1, 1 << 20] {
            let (payload, rest) = filled(&pool, bytes).into_payload(bytes);
            assert_eq!(rest.is_some(), bytes <= SMALL, "{bytes}");
            assert_eq!(payload.as_ptr().align_offset(PAGE), 0);
            assert!(payload.iter().enumerate().all(|(index, byte)| usize::from(*byte) == index % 251));
            assert_eq!(payload.len(), bytes);
        }
        assert_eq!(pool.lock().large.len(), 1);
        assert_eq!(pool.lock().small.len(), 1);
    }

    #[test]
    fn whoever_finds_no_buffer_waits_for_one() {
        let pool = Pool::new(1, 1 << 20);
        let (payload, _) = filled(&pool, 1 << 20).into_payload(1 << 20);
        assert!(pool.take().is_none() && !pool.has_room());
        drop(payload);
        assert!(pool.has_room() && pool.take().is_some());
    }
}
