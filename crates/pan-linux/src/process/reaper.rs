//! The loop every init needs: wait for signals, reap everything.
//!
//! Signals coalesce, so one SIGCHLD may stand for many deaths: each wake-up reaps until nothing is left.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called exit with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What woke the reaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A child (or an orphan that was handed to us) was reaped.
    Exited {
        /// Its pid.
        pid: i32,
        /// How it ended.
        exit: Exit,
    },
    /// One of the signals asked for arrived.
    Signal(Signal),
}

/// Collects dead children and chosen signals. SIGCHLD and those signals are blocked in the calling
/// thread from [`Reaper::new`] on; create it before any other thread starts, and start children
/// through [`super::clear_signal_mask`].
#[derive(Debug)]
pub struct Reaper {
    fd: SignalFd,
}

impl Reaper {
    /// Blocks SIGCHLD and `signals` and listens for them.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        for signal in signals {
            mask.add(*signal);
        }
        mask.thread_block()?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd })
    }

    /// Waits until something happens, at most `timeout`, and returns all of it; empty on a timeout.
    pub fn wait(&self, timeout: Duration) -> io::Result<Vec<Seen>> {
        let mut seen = Vec::new();
        reap(&mut seen)?;
        if !seen.is_empty() {
            return Ok(seen);
        }
        let step = u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(step)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(info) = self.fd.read_signal()? {
            let number = i32::try_from(info.ssi_signo).expect("signal numbers are small");
            match Signal::try_from(number)? {
                Signal::SIGCHLD => {}
                signal => seen.push(Seen::Signal(signal)),
            }
        }
        reap(&mut seen)?;
        Ok(seen)
    }
}

fn reap(seen: &mut Vec<Seen>) -> io::Result<()> {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => seen.push(Seen::Exited { pid: pid.as_raw(), exit: Exit::Code(code) }),
            Ok(WaitStatus::Signaled(pid, signal, _)) => seen.push(Seen::Exited { pid: pid.as_raw(), exit: Exit::Signal(signal as i32) }),
            Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return Ok(()),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reaps everything until `stop` says so about something it saw, or until `timeout`. True if `stop` did.
pub fn reap_until(reaper: &Reaper, timeout: Duration, mut stop: impl FnMut(&Seen) -> bool) -> io::Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut done = false;
        for seen in reaper.wait(left)? {
            done |= stop(&seen);
        }
        if done || left.is_zero() {
            return Ok(done);
        }
    }
}
