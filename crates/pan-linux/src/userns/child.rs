//! A child that enters namespaces and stands still in them, so that its parent can take hold of them. A thread cannot do it: user
//! namespaces belong to whole processes.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, pause, pipe2, write};

/// Dropping it ends the process.
pub(super) struct Child(Pid);

impl Child {
    /// Starts one that does `enter`, which may make nothing but system calls: the caller may have other threads.
    pub(super) fn start(enter: impl FnOnce() -> nix::Result<()>) -> io::Result<Self> {
        let parent = getpid();
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: the child makes system calls only and never returns.
        let child = match unsafe { fork() }? {
            ForkResult::Parent { child } => Self(child),
            ForkResult::Child => {
                let done = bound_to(parent).and_then(|()| enter());
                let code = done.err().map_or(0, |error| error as i32);
                let _unheard = write(&writer, &code.to_ne_bytes());
                // SAFETY: closes a descriptor of this process alone, which nothing here uses any more.
                unsafe { libc::close(writer.as_raw_fd()) };
                loop {
                    pause();
                }
            }
        };
        drop(writer);
        let mut code = [0; 4];
        File::from(reader).read_exact(&mut code)?;
        match i32::from_ne_bytes(code) {
            0 => Ok(child),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// A file of its in /proc.
    pub(super) fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.0).into()
    }
}

/// Lets the calling process end with the thread that made it.
fn bound_to(parent: Pid) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It is a child that nobody else waits for, so its number is still its own.
        let _gone = kill(self.0, Signal::SIGKILL);
        while let Err(Errno::EINTR) = waitpid(self.0, None) {}
    }
}
