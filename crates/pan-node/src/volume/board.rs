//! What the host's volumes have in common: what is told of each in the host's report, and that only one task looks after one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pan_api::volume::VolumeReport;
use pan_model::{ServerKey, VolumeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::place::Place;

/// The host's volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    folder: PathBuf,
    boot: u64,
    /// At most one entry for each volume that is here or was wanted here since the agent began.
    seats: Mutex<BTreeMap<VolumeId, Arc<Semaphore>>>,
    told: Mutex<BTreeMap<VolumeId, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    server: Option<ServerKey>,
    report: Option<VolumeReport>,
    problem: Option<String>,
}

impl Volumes {
    /// Those of a host whose volumes are in `folder`, and whose boot identifier is `boot`.
    pub(crate) fn new(folder: PathBuf, boot: u64) -> Self {
        Self { folder, boot, seats: Mutex::default(), told: Mutex::default() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn place(&self, volume: VolumeId) -> Place {
        Place::new(&self.folder, self.boot, volume)
    }

    /// Waits until nobody else looks after a volume.
    pub(super) async fn seat(&self, volume: VolumeId) -> OwnedSemaphorePermit {
        let seat = lock(&self.seats).entry(volume).or_insert_with(|| Arc::new(Semaphore::new(1))).clone();
        seat.acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Whose a volume is.
    pub(super) fn belongs(&self, volume: VolumeId, server: &ServerKey) {
        lock(&self.told).entry(volume).or_default().server = Some(server.clone());
    }

    pub(super) fn report(&self, volume: VolumeId, report: VolumeReport) {
        lock(&self.told).entry(volume).or_default().report = Some(report);
    }

    pub(super) fn problem(&self, volume: VolumeId, problem: Option<String>) {
        lock(&self.told).entry(volume).or_default().problem = problem;
    }

    pub(super) fn forget(&self, volume: VolumeId) {
        lock(&self.told).remove(&volume);
    }

    /// The volumes of a server, as the host's report has them.
    pub(crate) fn of(&self, server: &ServerKey) -> Vec<VolumeReport> {
        let all = lock(&self.told);
        all.values().filter(|entry| entry.server.as_ref() == Some(server)).filter_map(|entry| entry.report.clone()).collect()
    }

    /// What is wrong and being tried again.
    pub(crate) fn problems(&self) -> Vec<String> {
        lock(&self.told).values().filter_map(|entry| entry.problem.clone()).collect()
    }
}

/// Nothing is done under these locks that could leave half a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
