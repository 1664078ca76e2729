//! The kernel's end of a file system: its mount, the descriptor its requests come from, and what was agreed on.
//!
//! Whoever has a duplicate of the descriptor keeps the file system alive; the kernel ends it when the last one is closed. A
//! process of which a thread waits for the file system does not close it by being killed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use nix::mount::MsFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::connection::Connection;
use super::error::FuseError;
use super::file::FILE_NODE;
use super::reply::Reply;
use super::request::{Call, Request};
use super::terms::Terms;
use crate::mount;

/// The type under which they are listed among the mounts.
pub const FSTYPE: &str = "fuse.panloom";
/// The kernel sends its first request by itself; it takes microseconds, and much longer only if the machine stands still.
const BEGIN_MAX: Duration = Duration::from_secs(5);
/// The kernel refuses to read into less (`FUSE_MIN_READ_BUFFER`).
const FIRST_BUFFER: usize = 8192;

/// What a file system is begun with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSpec {
    /// After how long without an answer the kernel ends the file system by itself, where it can (Linux 6.15; it looks every
    /// 15 s). The last resort: it also works when nobody is left who could.
    pub timeout: Option<Duration>,
}

/// A file system that was begun.
#[derive(Debug)]
pub struct Session {
    device: File,
    terms: Terms,
}

impl Session {
    /// Mounts an empty file system at a folder of the caller's mount namespace and agrees with the kernel on its terms.
    /// Nothing is served yet: whoever looks into the folder waits until a server starts.
    ///
    /// # Errors
    /// [`FuseError`]: no FUSE, no permission, or a kernel that is too old.
    pub fn mount(at: &Path, spec: &SessionSpec) -> Result<(Self, Connection), FuseError> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(FuseError::Device)?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount::raw("panloom", at, Some(FSTYPE), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, Some(&options))?;
        let begun = begin(&device, spec).map_err(|error| match error {
            Begin::Terms(error) => FuseError::Terms(error),
            Begin::Io(source) => FuseError::Begin { at: at.to_path_buf(), source },
        });
        // Mounted, but no good: the descriptor is closed on return, which ends it.
        let terms = begun.inspect_err(|_| drop(mount::unmount(at, mount::Busy::Detach)))?;
        let connection = Connection::at(at)?.ok_or_else(|| FuseError::NotMounted(at.to_path_buf()))?;
        Ok((Self { device, terms }, connection))
    }

    /// A session that another process began.
    pub(super) fn inherited(device: File, terms: Terms) -> Self {
        Self { device, terms }
    }

    /// What was agreed on.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// A second handle on the same, for whoever keeps it while another process serves.
    ///
    /// # Errors
    /// Too many open files.
    pub fn duplicate(&self) -> io::Result<Self> {
        Ok(Self { device: self.device.try_clone()?, terms: self.terms })
    }

    /// Has the kernel send everything again that was read by somebody and not answered.
    ///
    /// # Errors
    /// The kernel cannot, or has ended the file system.
    pub fn resend(&self) -> Result<(), FuseError> {
        if !self.terms.resend {
            return Err(FuseError::NoResend);
        }
        self.notify(&Reply::resend(), "send pending requests again")
    }

    /// Tells the kernel that the file's size is another one now; it asks for it when it next looks.
    ///
    /// # Errors
    /// The kernel has ended the file system.
    pub fn size_changed(&self) -> Result<(), FuseError> {
        match self.notify(&Reply::attributes_changed(FILE_NODE), "look at the size again") {
            // It has not looked at the file yet, or has forgotten it.
            Err(FuseError::Notify { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn notify(&self, notification: &Reply, action: &'static str) -> Result<(), FuseError> {
        let written = (&self.device).write(notification.bytes());
        written.map(drop).map_err(|source| FuseError::Notify { action, source })
    }

    pub(super) fn device(&self) -> &File {
        &self.device
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

enum Begin {
    Terms(super::terms::NoTerms),
    Io(io::Error),
}

impl From<io::Error> for Begin {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the kernel's offer and answers it.
fn begin(device: &File, spec: &SessionSpec) -> Result<Terms, Begin> {
    let at_most = PollTimeout::try_from(BEGIN_MAX).expect("five seconds fit");
    if poll(&mut [PollFd::new(device.as_fd(), PollFlags::POLLIN)], at_most).map_err(io::Error::from)? == 0 {
        return Err(Begin::Io(io::ErrorKind::TimedOut.into()));
    }
    let mut buffer = vec![0; FIRST_BUFFER];
    let mut from = device;
    let length = from.read(&mut buffer)?;
    let request = Request::decode(&buffer[..length]).map_err(io::Error::other)?;
    let Call::Init(offer) = request.call else {
        return Err(Begin::Io(io::Error::other("the first request is not INIT")));
    };
    let agreed = Terms::agree(&offer, spec.timeout);
    let reply = match &agreed {
        Ok(terms) => Reply::init(request.unique, &terms.encode_init(&offer)),
        Err(_) => Reply::refusal(request.unique, libc::EPROTO),
    };
    from.write_all(reply.bytes())?;
    agreed.map_err(Begin::Terms)
}
