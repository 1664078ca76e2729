//! The one answer that an operation gets.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::sync::Arc;

use super::reply;

/// What the kernel waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// So many bytes of data.
    Data(u32),
    /// That so many bytes were written.
    Written(u32),
    /// That it is done.
    Done,
}

/// The way to answer one operation, once. Whoever drops it without an answer has it fail with EIO.
#[derive(Debug)]
#[must_use = "an operation that is not answered fails"]
pub struct Answer {
    device: Arc<File>,
    unique: u64,
    wanted: Wanted,
    open: bool,
}

impl Answer {
    pub(super) fn new(device: Arc<File>, unique: u64, wanted: Wanted) -> Self {
        Self { device, unique, wanted, open: true }
    }

    /// Answers a read with its data, which may come in pieces. Data of another length than was asked for fails the read.
    pub fn data(mut self, pieces: &[&[u8]]) {
        let found: usize = pieces.iter().map(|piece| piece.len()).sum();
        let Wanted::Data(bytes) = self.wanted else { return self.close(libc::EIO) };
        if found != bytes as usize {
            return self.close(libc::EIO);
        }
        let header = reply::header(self.unique, 0, bytes);
        let slices: Vec<IoSlice<'_>> = std::iter::once(&header[..]).chain(pieces.iter().copied()).map(IoSlice::new).collect();
        self.send(&slices);
    }

    /// Answers anything but a read.
    pub fn done(mut self) {
        match self.wanted {
            Wanted::Data(_) => self.close(libc::EIO),
            Wanted::Written(bytes) => self.send(&[IoSlice::new(&reply::written(self.unique, bytes))]),
            Wanted::Done => self.close(0),
        }
    }

    /// Refuses, with a number of errno(3).
    pub fn fail(mut self, errno: i32) {
        self.close(errno.abs());
    }

    /// Answers nothing at all: a successor will get the operation.
    pub fn leave(mut self) {
        self.open = false;
    }

    fn close(&mut self, errno: i32) {
        self.send(&[IoSlice::new(&reply::header(self.unique, -errno, 0))]);
    }

    /// The kernel takes a reply whole or not at all. It takes none when the operation is gone: whoever asked was killed, the
    /// connection has ended, or a successor has it. Nobody is left to be told.
    fn send(&mut self, slices: &[IoSlice<'_>]) {
        self.open = false;
        let mut device: &File = &self.device;
        let _ = device.write_vectored(slices);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.open {
            self.close(libc::EIO);
        }
    }
}
