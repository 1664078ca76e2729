//! [`Images`]: who waits for which image, and whose turn it is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pan_model::host_config::{HostConfig, ImagesConfig};
use pan_model::image::Image;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;

use super::disk::Disk;
use super::error::ImageError;
use super::http::Asker;
use super::job::{Job, Turns, blocking};
use super::jobs::{Begun, Jobs, Key, Outcome};
use super::patience::Patience;
use super::rules::Rules;
use super::store::{Ready, Store};
use super::sweep;
use crate::apply::hidden::Hidden;
use crate::error::chain;
use crate::paths::Paths;

/// Images that are unpacked at the same time, of whichever partitions: that is work for processor and disk, with an end that does not
/// depend on anybody else.
const UNPACKING_MAX: usize = 2;
/// Partitions whose images are on their way at the same time: each is a connection and a buffer, and one that is stuck is a partition's
/// only one.
const FETCHING_MAX: usize = 64;
/// How long may a registry send nothing.
const STALL_MAX: Duration = Duration::from_secs(15);

/// The images of servers on this host.
#[derive(Clone)]
pub(crate) struct Images(Arc<Inner>);

/// What jobs share.
pub(super) struct Inner {
    pub config: ImagesConfig,
    pub store: Store,
    pub hidden: Hidden,
    pub disk: Arc<Disk>,
    pub unpacking: Arc<Semaphore>,
    fetching: Arc<Semaphore>,
    /// What an agent left that was killed, until it is taken away.
    leftover: Mutex<Vec<PathBuf>>,
    rules: Rules,
    stall: Duration,
    jobs: Mutex<Jobs>,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Images {
    /// Those that are kept here.
    pub(crate) fn open(config: &HostConfig, paths: Paths, hidden: Hidden) -> Self {
        let store = Store::new(paths);
        let leftover = sweep::leftover(&store).unwrap_or_else(|error| {
            tracing::warn!(%error, "half made images stay behind");
            Vec::new()
        });
        let config_of_images = config.node.as_ref().map(|node| node.images.clone()).unwrap_or_default();
        let inner = Inner {
            disk: Disk::new(store.folder(), config_of_images.free_min.0),
            config: config_of_images,
            store,
            hidden,
            unpacking: Arc::new(Semaphore::new(UNPACKING_MAX)),
            fetching: Arc::new(Semaphore::new(FETCHING_MAX)),
            leftover: Mutex::new(leftover),
            rules: Rules::of(config),
            stall: STALL_MAX,
            jobs: Mutex::default(),
        };
        Self(Arc::new(inner))
    }

    /// The image of a server of the partition with that network, brought here if need be; `None` for one that needs no bringing. The
    /// time that takes is bounded by the configuration. Dropping the call leaves the work to others who wait for the same; what nobody waits
    /// for is not begun.
    ///
    /// # Errors
    /// For the owner of the partition.
    pub(crate) async fn ready(&self, vni: u32, image: &Image) -> Result<Option<Ready>, String> {
        if !image.has_command() {
            return Ok(None);
        }
        let (inner, wanted) = (self.0.clone(), image.clone());
        let failed = |error: &ImageError| format!("image {image}: {}", pan_image::shown(chain(error).as_bytes()));
        let known = blocking(move || Ok(inner.store.known(vni, &wanted))).await.map_err(|error| failed(&error))?;
        if known.is_some() {
            return Ok(known);
        }
        let mut outcome = self.join(vni, image).map_err(|error| failed(&error))?;
        let outcome = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        match outcome {
            Ok(Some(done)) => done.map(Some),
            Ok(None) | Err(_) => Err(failed(&ImageError::Lost)),
        }
    }

    /// The job about that image, begun if there is none.
    fn join(&self, vni: u32, image: &Image) -> Result<watch::Receiver<Outcome>, ImageError> {
        let key = (vni, image.clone());
        let (outcome, begun) = self.0.lock().join(&key)?;
        if let Some(Begun { told, turns }) = begun {
            tokio::spawn(Running { inner: self.0.clone(), key, told }.run(turns));
        }
        Ok(outcome)
    }

    /// Takes away what was left half made, and from time to time what nobody uses, for ever.
    pub(crate) async fn sweep(self) {
        let since = SystemTime::now();
        let inner = self.0.clone();
        let tidied = tokio::task::spawn_blocking(move || sweep::unfinished(&inner.take_leftover())).await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(%error, "half made images stay behind");
        }
        loop {
            tokio::time::sleep(sweep::EVERY).await;
            let inner = self.0.clone();
            let swept = tokio::task::spawn_blocking(move || sweep::unused(&inner.store, inner.config.keep.0, since)).await;
            if let Ok(Err(error)) = swept {
                tracing::warn!(%error, "images that nobody uses stay behind");
            }
        }
    }
}

impl Inner {
    /// Whoever asks registries. Certificates are read anew each time: they change on a host that lives long.
    pub(super) fn asker(&self) -> Asker {
        let pem = std::fs::read_to_string(&self.config.authorities).ok().filter(|pem| !pem.is_empty());
        let config = pem.and_then(|pem| pan_api::tls::client_config(&pem, None).ok());
        Asker { rules: self.rules.clone(), tls: config.map(TlsConnector::from), stall: self.stall }
    }

    fn take_leftover(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.leftover.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that is in the list of jobs. It leaves that when it ends, however it does.
struct Running {
    inner: Arc<Inner>,
    key: Key,
    told: watch::Sender<Outcome>,
}

impl Running {
    async fn run(self, turns: Arc<Semaphore>) {
        let done = self.work(turns).await;
        let (told, image) = (self.told.clone(), self.key.1.clone());
        // Whoever asks from now on is not told of this one.
        drop(self);
        told.send_replace(Some(done.map_err(|error| format!("image {image}: {}", pan_image::shown(chain(&error).as_bytes())))));
    }

    async fn work(&self, turns: Arc<Semaphore>) -> Result<Ready, ImageError> {
        let mut patience = Patience::waiting(self.inner.config.patience.0, Instant::now());
        let fetching = self.inner.fetching.clone();
        let both = async {
            let partition = turns.acquire_owned().await.expect("the semaphore is never closed");
            let fetching = fetching.acquire_owned().await.expect("the semaphore is never closed");
            Ok(Arc::new(Turns { _partition: partition, _fetching: fetching }))
        };
        let turns = tokio::select! {
            turns = patience.within(both) => turns?,
            () = self.unwanted() => return Err(ImageError::Unwanted),
        };
        patience.works(Instant::now());
        let (vni, image) = self.key.clone();
        Job { inner: self.inner.clone(), vni, image, patience, _turns: turns }.run().await
    }

    /// Until nobody waits for it; from then on nobody can.
    async fn unwanted(&self) {
        loop {
            self.told.closed().await;
            if self.inner.lock().end_unwanted(&self.key, &self.told) {
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.inner.lock().end(&self.key, &self.told);
    }
}

#[cfg(test)]
mod tests;
