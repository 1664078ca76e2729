//! A FUSE connection by its number, and the way to end one that nobody answers. It never looks into the file system
//! itself, which would wait with everybody else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::error::FuseError;
use super::session::FSTYPE;
use crate::mount;

/// Where the kernel shows its FUSE connections, once fusectl is mounted there.
const CONTROL: &str = "/sys/fs/fuse/connections";

/// A connection. Numbers are given anew once it has ended and everything that used it is gone, so keep one no longer than
/// what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection(u32);

/// The end of one certain connection, whatever its number is given to later.
#[derive(Debug)]
pub struct ConnectionEnd {
    file: File,
    connection: Connection,
}

impl ConnectionEnd {
    /// Ends it, if it has not ended yet.
    ///
    /// # Errors
    /// The kernel does not let this process.
    pub fn abort(&self) -> Result<(), FuseError> {
        (&self.file).write_all(b"1").map_err(self.connection.failed("end"))
    }
}

/// What became of something that was only to take so long.
#[derive(Debug, PartialEq, Eq)]
pub enum InTime<T> {
    /// It ended by itself.
    Yes(T),
    /// The connection was ended, and with it what waited for it.
    Aborted(T),
}

impl Connection {
    /// With a number kept from earlier.
    pub fn of(number: u32) -> Self {
        Self(number)
    }

    /// The one whose file system is mounted at a folder, in the caller's mount namespace. `None` if there is none.
    ///
    /// # Errors
    /// The mounts cannot be listed.
    pub fn at(folder: &Path) -> Result<Option<Self>, FuseError> {
        let mounts = mount::mounts()?;
        let found = mounts.iter().rfind(|entry| entry.fstype == FSTYPE && entry.target == folder);
        Ok(found.map(|entry| Self(entry.device.1)))
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether it is there, served or not.
    ///
    /// # Errors
    /// The kernel's list cannot be seen.
    pub fn exists(self) -> Result<bool, FuseError> {
        self.control("look for")?;
        Ok(self.file("").exists())
    }

    /// How many requests wait for an answer, or for a server to take them.
    ///
    /// # Errors
    /// It does not exist, or the kernel's list cannot be seen.
    pub fn waiting(self) -> Result<u32, FuseError> {
        self.control("look at")?;
        let text = fs::read_to_string(self.file("waiting")).map_err(self.failed("look at"))?;
        text.trim().parse().map_err(|_| self.failed("look at")(ErrorKind::InvalidData.into()))
    }

    /// A handle to end it with later. `None` if it has ended already.
    ///
    /// # Errors
    /// The kernel does not let this process.
    pub fn end(self) -> Result<Option<ConnectionEnd>, FuseError> {
        self.control("end")?;
        match OpenOptions::new().write(true).open(self.file("abort")) {
            Ok(file) => Ok(Some(ConnectionEnd { file, connection: self })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("end")(error)),
        }
    }

    /// Ends it: everything that waits or comes fails, and whoever serves it is told. That it has ended already is fine.
    ///
    /// # Errors
    /// The kernel does not let this process.
    pub fn abort(self) -> Result<(), FuseError> {
        self.end()?.map_or(Ok(()), |end| end.abort())
    }

    /// Does something that uses the file system, and ends the connection if that takes longer than `limit`: what waits in
    /// the kernel for a server that does not answer cannot be ended otherwise.
    pub fn within<T>(self, limit: Duration, work: impl FnOnce() -> T) -> InTime<T> {
        let (done, waits) = channel::<()>();
        thread::scope(|scope| {
            let watch = scope.spawn(move || {
                let late = waits.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
                late && self.abort().is_ok()
            });
            let result = work();
            drop(done);
            if watch.join().unwrap_or(false) { InTime::Aborted(result) } else { InTime::Yes(result) }
        })
    }

    fn file(self, name: &str) -> PathBuf {
        Path::new(CONTROL).join(self.0.to_string()).join(name)
    }

    /// Sees to it that the kernel's list is there: a new mount of sysfs comes without.
    fn control(self, action: &'static str) -> Result<(), FuseError> {
        let control = Path::new(CONTROL);
        let mounted =
            mount::mounts()?.iter().rfind(|entry| control.starts_with(&entry.target)).is_some_and(|entry| entry.fstype == "fusectl");
        if mounted {
            return Ok(());
        }
        match mount::kernel_fs("fusectl", control, None) {
            Err(mount::MountError::Mount { source, .. }) if source.raw_os_error() != Some(libc::EBUSY) => Err(self.failed(action)(source)),
            // Somebody was faster.
            _ => Ok(()),
        }
    }

    fn failed(self, action: &'static str) -> impl FnOnce(io::Error) -> FuseError {
        move |source| FuseError::Control { action, number: self.0, source }
    }
}
