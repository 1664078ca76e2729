//! A file as storage.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use pan_linux::fuse::{Answer, Extent, Operation};

/// Where the bytes are.
pub trait Backend: Send {
    /// Takes over one operation. While it does not return, no further request is taken.
    fn perform(&mut self, operation: Operation, answer: Answer);
}

/// Works in the thread that took the request.
pub struct OnFile(File);

/// Hands everything to threads of its own, which answer in whatever order they come to it.
pub struct OnThreads(Vec<Sender<(Operation, Answer)>>);

/// Does what it is asked, and says nothing of it from a certain write on: what a server looks like that is about to crash.
pub struct Mute {
    file: OnFile,
    writes: usize,
    kept: Vec<Answer>,
    /// How many it says nothing of.
    silent: Arc<AtomicUsize>,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl OnFile {
    pub fn open(path: &Path) -> Self {
        Self(File::options().read(true).write(true).open(path).unwrap())
    }

    fn work(&self, operation: &Operation) -> io::Result<()> {
        match operation {
            Operation::Read(_) => Ok(()),
            Operation::Write(offset, data) => self.0.write_all_at(data, *offset),
            Operation::Flush => self.0.sync_data(),
            Operation::Discard(extent) => self.allocate(libc::FALLOC_FL_PUNCH_HOLE, extent),
            Operation::Zero(extent) => self.allocate(libc::FALLOC_FL_ZERO_RANGE, extent),
        }
    }

    #[allow(unsafe_code)]
    fn allocate(&self, mode: libc::c_int, extent: &Extent) -> io::Result<()> {
        let [offset, bytes] = [extent.offset, extent.bytes].map(|number| i64::try_from(number).unwrap());
        // SAFETY: a system call on numbers.
        match unsafe { libc::fallocate(self.0.as_raw_fd(), mode | libc::FALLOC_FL_KEEP_SIZE, offset, bytes) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Backend for OnFile {
    fn perform(&mut self, operation: Operation, answer: Answer) {
        if let Operation::Read(extent) = operation {
            return BUFFER.with_borrow_mut(|buffer| {
                let bytes = usize::try_from(extent.bytes).unwrap();
                buffer.resize(buffer.len().max(bytes), 0);
                match self.0.read_exact_at(&mut buffer[..bytes], extent.offset) {
                    Ok(()) => answer.data(&[&buffer[..bytes]]),
                    Err(_) => answer.fail(libc::EIO),
                }
            });
        }
        match self.work(&operation) {
            Ok(()) => answer.done(),
            Err(_) => answer.fail(libc::EIO),
        }
    }
}

impl OnThreads {
    pub fn open(path: &Path, count: usize) -> Self {
        let senders = (0..count).map(|_| {
            let mut file = OnFile::open(path);
            let (sender, work) = channel::<(Operation, Answer)>();
            thread::spawn(move || work.into_iter().for_each(|(operation, answer)| file.perform(operation, answer)));
            sender
        });
        Self(senders.collect())
    }
}

impl Backend for OnThreads {
    fn perform(&mut self, operation: Operation, answer: Answer) {
        self.0.rotate_left(1);
        self.0[0].send((operation, answer)).unwrap();
    }
}

impl Mute {
    pub fn open(path: &Path, writes: usize, silent: Arc<AtomicUsize>) -> Self {
        Self { file: OnFile::open(path), writes, kept: Vec::new(), silent }
    }
}

impl Backend for Mute {
    fn perform(&mut self, operation: Operation, answer: Answer) {
        if let Operation::Write(..) = operation {
            if self.writes == 0 {
                self.file.work(&operation).unwrap();
                self.kept.push(answer);
                self.silent.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.writes -= 1;
        }
        self.file.perform(operation, answer);
    }
}
