//! Ctrl-C and its like, noted for a program that has something to take back before it ends.
//!
//! The first one is told and noted, a later one ends the process at once. Everything happens in the handler itself, so
//! that it is said and done whatever the program waits for: only what signal-safety(7) allows.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::time::{ClockId, clock_gettime};

/// What asks a program to end.
const ASKING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// What comes so soon after the first is the same one again, in milliseconds: timeout(1) and shells tell a process and its whole group.
const SAME: i64 = 300;

/// What is said on standard error; whole lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// At the first signal.
    pub noted: String,
    /// At the one that ends the process.
    pub ended: String,
}

static WORDS: OnceLock<Words> = OnceLock::new();
/// Who watches: a child that has not run its program yet has the handler as well.
static WATCHER: AtomicI32 = AtomicI32::new(0);
static NOTED: AtomicI32 = AtomicI32::new(0);
static NOTED_AT: AtomicI64 = AtomicI64::new(0);

/// Notes signals from now on, but for those that whoever started this process has it ignore. Once in the life of a process.
///
/// # Errors
/// It was called before, or the kernel refuses.
pub fn watch(words: Words) -> io::Result<()> {
    WORDS.set(words).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
    WATCHER.store(nix::unistd::getpid().as_raw(), Ordering::SeqCst);
    for signal in ASKING {
        let noting = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler makes only calls that are safe in one.
        let before = unsafe { sigaction(signal, &noting)? };
        if before.handler() == SigHandler::SigIgn {
            // SAFETY: restores what was there.
            unsafe { sigaction(signal, &before)? };
        }
    }
    Ok(())
}

/// The first signal that was noted.
pub fn asked() -> Option<Signal> {
    Signal::try_from(NOTED.load(Ordering::SeqCst)).ok()
}

/// Lets signals end the process as they do by default again. What was noted until then is the answer.
///
/// # Errors
/// The kernel refuses.
pub fn unwatch() -> io::Result<Option<Signal>> {
    let noting = SigHandler::Handler(note);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in ASKING {
        // SAFETY: no handler is involved.
        let before = unsafe { sigaction(signal, &default)? };
        if before.handler() != noting {
            // SAFETY: restores what was there.
            unsafe { sigaction(signal, &before)? };
        }
    }
    Ok(asked())
}

extern "C" fn note(signal: libc::c_int) {
    if nix::unistd::getpid().as_raw() != WATCHER.load(Ordering::SeqCst) {
        return;
    }
    let errno = Errno::last_raw();
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000);
    let words = WORDS.get();
    if NOTED.load(Ordering::SeqCst) == 0 {
        NOTED_AT.store(now, Ordering::SeqCst);
    }
    match NOTED.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => say(words.map_or("", |words| &words.noted)),
        Err(_) if now - NOTED_AT.load(Ordering::SeqCst) < SAME || signal == libc::SIGHUP => {}
        Err(_) => {
            say(words.map_or("", |words| &words.ended));
            // SAFETY: ends this process only.
            unsafe { libc::_exit(128 + signal) };
        }
    }
    Errno::set_raw(errno);
}

fn say(words: &str) {
    // SAFETY: the descriptor is a number, the buffer is valid for its length.
    unsafe { libc::write(libc::STDERR_FILENO, words.as_ptr().cast(), words.len()) };
}
