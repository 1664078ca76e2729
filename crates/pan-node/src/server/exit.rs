//! Waiting for the end of a container's first process, and saying how it ended.

use std::path::Path;
use std::time::Duration;

use pan_linux::oci::ExitRecord;
use pan_linux::process::{PidFd, start_time};
use tokio::sync::watch;

use super::deaths::Deaths;
use super::record::Container;

/// The shim writes the record right after the end; one that was killed writes none.
pub(crate) const RECORD_WAIT: Duration = Duration::from_secs(1);
pub(crate) const RECORD_POLL: Duration = Duration::from_millis(2);

/// A handle on a container's first process.
#[derive(Debug)]
pub(crate) enum Watch {
    /// It is dead.
    Dead,
    /// It was alive; becomes true once it is dead.
    Alive(watch::Receiver<bool>),
}

impl Watch {
    /// Begins to watch a container.
    pub(crate) fn open(deaths: &Deaths, container: &Container) -> Self {
        let Ok(handle) = PidFd::open(container.pid) else { return Self::Dead };
        // Looked at after opening: if it is the same process now, the handle is on it.
        match start_time(container.pid) {
            Some(start) if start == container.start => Self::Alive(deaths.watch(handle)),
            Some(_) | None => Self::Dead,
        }
    }

    /// Completes when the process is dead. May be called again and again.
    pub(crate) async fn dead(&self) {
        if let Self::Alive(seen) = self
            && seen.clone().wait_for(|dead| *dead).await.is_err()
        {
            // Nobody watches any more, which must not be taken for a death.
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
