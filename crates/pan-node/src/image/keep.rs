//! [`Images`]: who waits for which image, and whose turn it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pan_model::host_config::{HostConfig, ImagesConfig};
use pan_model::image::Image;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;

use super::error::ImageError;
use super::http::Asker;
use super::job::{Job, blocking};
use super::rules::Rules;
use super::store::{Ready, Store};
use super::sweep;
use crate::apply::hidden::Hidden;
use crate::error::chain;
use crate::paths::Paths;

/// Images that are unpacked at the same time, of whichever partitions: that is work for processor and disk, with an end that does not
/// depend on anybody else.
const UNPACKING_MAX: usize = 2;
/// Images of one partition that are on their way at the same time. Others of the same partition wait; other partitions do not.
const PARTITION_MAX: usize = 1;
/// Partitions whose images are on their way at the same time: each is a connection and a buffer, and one that is stuck is a partition's
/// only one.
const FETCHING_MAX: usize = 64;
/// Images of one partition that wait for those.
const WAITING_MAX: usize = 64;
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
    pub unpacking: Arc<Semaphore>,
    fetching: Semaphore,
    /// What an agent left that was killed, until it is taken away.
    leftover: Mutex<Vec<PathBuf>>,
    rules: Rules,
    stall: Duration,
    jobs: Mutex<Jobs>,
}

type Outcome = Option<Result<Ready, String>>;

#[derive(Default)]
struct Jobs {
    running: BTreeMap<(u32, Image), watch::Receiver<Outcome>>,
    turns: BTreeMap<u32, Arc<Semaphore>>,
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
        let inner = Inner {
            config: config.node.as_ref().map(|node| node.images.clone()).unwrap_or_default(),
            store,
            hidden,
            unpacking: Arc::new(Semaphore::new(UNPACKING_MAX)),
            fetching: Semaphore::new(FETCHING_MAX),
            leftover: Mutex::new(leftover),
            rules: Rules::of(config),
            stall: STALL_MAX,
            jobs: Mutex::default(),
        };
        Self(Arc::new(inner))
    }

    /// The image of a server of the partition with that network, brought here if need be; `None` for one that needs no bringing. The
    /// time that takes is bounded by the configuration. Dropping the call leaves the work to others who wait for the same.
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
            Ok(None) | Err(_) => Err(failed(&ImageError::Disk)),
        }
    }

    /// The job about that image, begun if there is none.
    fn join(&self, vni: u32, image: &Image) -> Result<watch::Receiver<Outcome>, ImageError> {
        let key = (vni, image.clone());
        let mut jobs = self.0.lock();
        if let Some(running) = jobs.running.get(&key) {
            return Ok(running.clone());
        }
        if jobs.running.keys().filter(|(other, _)| *other == vni).count() >= WAITING_MAX {
            return Err(ImageError::Busy);
        }
        let (told, outcome) = watch::channel(None);
        jobs.running.insert(key.clone(), outcome.clone());
        let turns = jobs.turns.entry(vni).or_insert_with(|| Arc::new(Semaphore::new(PARTITION_MAX))).clone();
        drop(jobs);
        let inner = self.0.clone();
        tokio::spawn(async move {
            let ends = Ends { inner: inner.clone(), key: key.clone() };
            let patience = inner.config.patience.0;
            let until = Instant::now() + patience;
            let work = async {
                let turn = turns.acquire_owned().await.map_err(|_| ImageError::Busy)?;
                let _fetching = inner.fetching.acquire().await.map_err(|_| ImageError::Busy)?;
                // Whoever wanted it may have changed their mind while it waited.
                if told.is_closed() {
                    return Err(ImageError::Busy);
                }
                Job { inner: inner.clone(), vni: key.0, image: key.1.clone(), until, _turn: Arc::new(turn) }.run().await
            };
            let done = tokio::time::timeout(patience, work).await.unwrap_or(Err(ImageError::TooLong(patience)));
            // Whoever asks from now on is not told of this one.
            drop(ends);
            let image = &key.1;
            told.send_replace(Some(done.map_err(|error| format!("image {image}: {}", pan_image::shown(chain(&error).as_bytes())))));
        });
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

/// A job that ended, however it did.
struct Ends {
    inner: Arc<Inner>,
    key: (u32, Image),
}

impl Drop for Ends {
    fn drop(&mut self) {
        let mut jobs = self.inner.lock();
        jobs.running.remove(&self.key);
        // A partition that waits for nothing needs no turns. What still winds up holds its own.
        if !jobs.running.keys().any(|(vni, _)| *vni == self.key.0) {
            jobs.turns.remove(&self.key.0);
        }
    }
}

#[cfg(test)]
mod tests;
