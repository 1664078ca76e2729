//! Waiting for the end of a container's first process, and saying how it ended.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use pan_linux::oci::ExitRecord;
use pan_linux::process::{PidFd, start_time};
use tokio::io::unix::AsyncFd;

use super::record::Container;

/// The shim writes the record right after the end; one that was killed writes none.
const RECORD_WAIT: Duration = Duration::from_secs(1);
const RECORD_POLL: Duration = Duration::from_millis(2);

/// A handle on a container's first process.
#[derive(Debug)]
pub(crate) enum Watch {
    /// It is dead.
    Dead,
    /// It was alive; readable once it is dead.
    Alive(AsyncFd<Handle>),
}

/// [`PidFd`] in the form the runtime's poller wants.
#[derive(Debug)]
pub(crate) struct Handle(PidFd);

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    /// Opens a handle. Must be called within the asynchronous runtime.
    pub(crate) fn open(container: &Container) -> std::io::Result<Self> {
        let Ok(handle) = PidFd::open(container.pid) else { return Ok(Self::Dead) };
        // Looked at after opening: if it is the same process now, the handle is on it.
        if start_time(container.pid) != Some(container.start) {
            return Ok(Self::Dead);
        }
        Ok(Self::Alive(AsyncFd::with_interest(Handle(handle), tokio::io::Interest::READABLE)?))
    }

    /// Completes when the process is dead. May be called again and again.
    pub(crate) async fn dead(&self) {
        if let Self::Alive(handle) = self
            && let Err(error) = handle.readable().await
        {
            // Only when the runtime shuts down, and then nobody must take the server for dead.
            tracing::debug!(%error, "no longer watching a server");
            std::future::pending::<()>().await;
        }
    }
}

/// How a container ended, in words, from the record its shim leaves.
pub(crate) async fn words(exit_file: &Path) -> String {
    let deadline = tokio::time::Instant::now() + RECORD_WAIT;
    loop {
        match ExitRecord::read(exit_file) {
            Ok(Some(ExitRecord { code: Some(code), .. })) => return format!("exited with status {code}"),
            Ok(Some(ExitRecord { signal: Some(signal), .. })) => return format!("killed by signal {signal}"),
            Ok(_) if tokio::time::Instant::now() < deadline => tokio::time::sleep(RECORD_POLL).await,
            Ok(_) => return "ended; its status is not known".into(),
            Err(error) => return format!("ended; its status cannot be read: {error}"),
        }
    }
}
