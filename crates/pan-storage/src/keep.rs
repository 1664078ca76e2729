//! The pool of a storage host and its replicas: opened, made on the first start, followed, looked after.
//!
//! It blocks. What the disk does wrong is told, and tried again later; it never ends the role.

use crate::files::{Files, FilesError};
use crate::mark::{self, Boot, MarkError};
use crate::scrub::{self, Rot};
use crate::vault::{Loss, Untaken, Vault};
use pan_api::desired::Desired;
use pan_api::volume::{PoolReport, ReplicaOrder, ReplicaReport, ReplicaWant, SnapshotOrder, SnapshotReport, SnapshotWant};
use pan_disk::{Condition, DiskError, Layout, Pool};
use pan_linux::room;
use pan_model::host_config::HostConfig;
use pan_model::mirror::Fill;
use pan_model::{ByteSize, Generation, Lineage, SnapshotId, VolumeEpoch};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Before a pool that could not be opened, or failed, is tried again: connections to it have ended by then.
const AGAIN: Duration = Duration::from_secs(5);

/// A disk with less room than this is full, whether it has refused something yet or not: one write of a head has up to 8 MiB.
const FREE_MIN: u64 = 8 << 20;

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error("draw a random number: {0}")]
    Random(#[source] std::io::Error),
    #[error("there is no pool in {} any more: mount its disk; if it is lost, remove {} to begin with an empty one", folder.display(), mark.display())]
    Vanished { folder: PathBuf, mark: PathBuf },
}

/// What is seen of pool and replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The newest desired state that was followed to its end.
    pub applied: Generation,
    pub pool: Option<PoolReport>,
    pub replicas: Vec<ReplicaReport>,
    pub problems: Vec<String>,
}

/// The vault that is open, for those who serve it.
pub(crate) type Open = Option<Arc<Vault<Files>>>;

/// Keeps one pool.
pub(crate) struct Keeper {
    folder: PathBuf,
    state_dir: PathBuf,
    capacity: Option<ByteSize>,
    boot: Boot,
    open: watch::Sender<Open>,
    scrub: Option<scrub::Scrub>,
    rot: Rot,
    trouble: Option<String>,
    again: Option<Instant>,
    /// The disk failed in this life, and its replicas may lack what was not flushed.
    lost: bool,
    /// Snapshots that were taken here without a head, and for which epoch.
    taken: BTreeMap<SnapshotId, VolumeEpoch>,
    /// Those that are wanted and could not be taken, and why.
    untaken: BTreeMap<SnapshotId, String>,
}

impl Keeper {
    pub(crate) fn new(config: &HostConfig, boot: Boot, open: watch::Sender<Open>) -> Self {
        Self {
            folder: folder(config),
            state_dir: config.state_dir.clone(),
            capacity: config.storage.as_ref().and_then(|storage| storage.capacity),
            boot,
            open,
            scrub: None,
            rot: Rot::default(),
            trouble: None,
            again: None,
            lost: false,
            taken: BTreeMap::new(),
            untaken: BTreeMap::new(),
        }
    }

    /// Does what is wanted, and says what is.
    pub(crate) fn step(&mut self, desired: Option<&Desired>) -> Seen {
        self.look_after();
        let vault = self.open.borrow().clone();
        let mut problems: Vec<String> = self.trouble.clone().into_iter().collect();
        let mut applied = Generation::default();
        if let (Some(vault), Some(desired)) = (&vault, desired) {
            let mut failed: Vec<String> = desired.replicas.iter().filter_map(|order| follow(vault, order)).collect();
            self.untaken.clear();
            failed.extend(desired.snapshots.iter().filter_map(|order| self.follow_snapshot(vault, order)));
            if failed.is_empty() {
                applied = desired.generation;
            }
            problems.extend(failed);
        }
        Seen { applied, pool: self.pool(vault.as_deref()), replicas: vault.map_or_else(Vec::new, |vault| self.replicas(&vault)), problems }
    }

    /// Follows an order; says what went wrong, for people.
    fn follow_snapshot(&mut self, vault: &Vault<Files>, order: &SnapshotOrder) -> Option<String> {
        let SnapshotOrder { snapshot, want } = *order;
        let there = vault.pool().snapshots().iter().any(|info| info.snapshot == snapshot);
        match want {
            SnapshotWant::Discard if !there => None,
            SnapshotWant::Discard => {
                self.taken.remove(&snapshot);
                vault.pool().delete_snapshot(snapshot).err().map(|error| format!("snapshot {snapshot}: {error}"))
            }
            SnapshotWant::Take { writer, .. } if self.taken.get(&snapshot) == Some(&writer.epoch) => None,
            SnapshotWant::Take { volume, writer, lineage } => {
                let taken = vault.replica(volume).map(|kept| vault.take(&kept, snapshot, writer, lineage));
                match taken {
                    Some(Ok(())) => drop(self.taken.insert(snapshot, writer.epoch)),
                    // It is ordered again, or not any more.
                    None | Some(Err(Untaken::Deposed)) => {}
                    Some(Err(untaken)) => drop(self.untaken.insert(snapshot, untaken.to_string())),
                }
                None
            }
        }
    }

    /// Bytes that scrubbing found to be bad.
    pub(crate) fn rotten(&self) -> u64 {
        self.rot.total()
    }

    /// Opens the pool, or gives one up that failed.
    fn look_after(&mut self) {
        let open = self.open.borrow().clone();
        match open {
            Some(vault) => {
                if let Condition::Failed(text) = vault.pool().condition() {
                    self.give_up(&vault, text);
                } else if vault.pool().condition() == Condition::Full && self.again.is_none_or(|at| at <= Instant::now()) {
                    self.again = Some(Instant::now() + AGAIN);
                    // What can be given back is; if that fails the pool's condition says why.
                    let tidied = vault.pool().tidy();
                    tidied.unwrap_or_else(|error| tracing::warn!(%error, "the disk is full, and nothing could be given back"));
                } else if vault.replicas().iter().all(|kept| !kept.is_lossy()) {
                    self.note_that_nothing_is_lost();
                }
            }
            None if self.again.is_some_and(|at| at > Instant::now()) => {}
            None => match self.open_pool() {
                Ok(vault) => {
                    let vault = Arc::new(vault);
                    upkeep(vault.clone());
                    self.scrub = Some(scrub::start(vault.clone(), self.rot.clone()));
                    (self.trouble, self.again) = (None, None);
                    self.open.send_replace(Some(vault));
                }
                Err(error) => {
                    self.trouble = Some(format!("the pool in {} cannot be used: {error}", self.folder.display()));
                    self.again = Some(Instant::now() + AGAIN);
                }
            },
        }
    }

    fn give_up(&mut self, vault: &Vault<Files>, text: String) {
        // Whatever was not on the disk is not known any more, for this process and the next.
        self.lost = true;
        let unmarked = mark::may_have_lost(&self.state_dir, &self.folder).err().map(|error| format!("; {error}")).unwrap_or_default();
        self.trouble = Some(format!("the disk under {} failed: {text}{unmarked}", self.folder.display()));
        self.again = Some(Instant::now() + AGAIN);
        self.scrub = None;
        vault.pool().stop_upkeep();
        self.open.send_replace(None);
    }

    fn note_that_nothing_is_lost(&mut self) {
        match mark::lost_nothing(&self.state_dir, &self.folder, &self.boot) {
            Ok(()) => (self.lost, self.trouble) = (false, None),
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    fn open_pool(&self) -> Result<Vault<Files>, KeepError> {
        let kept = !self.lost && mark::was_kept_by(&self.state_dir, &self.folder, &self.boot);
        let loss = if kept { Loss::None } else { Loss::Possible };
        let pool = match Pool::open(Files::open(&self.folder)?) {
            Err(DiskError::NoPool) => self.make_pool()?,
            opened => opened?,
        };
        mark::made(&self.state_dir, &self.folder)?;
        Ok(Vault::over(pool, loss)?)
    }

    /// Only where there never was one: a disk that is not mounted must not be taken for an empty one.
    fn make_pool(&self) -> Result<Pool<Files>, KeepError> {
        if let Some(mark) = mark::was_made(&self.state_dir, &self.folder) {
            return Err(KeepError::Vanished { folder: self.folder.clone(), mark });
        }
        let mut salt = [0; 8];
        std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut salt)).map_err(KeepError::Random)?;
        let layout = Layout { salt: u64::from_le_bytes(salt), half_bytes: Layout::HALF_BYTES };
        Ok(Pool::format(Files::open(&self.folder)?, layout)?)
    }

    fn pool(&self, vault: Option<&Vault<Files>>) -> Option<PoolReport> {
        let room = room::of(&self.folder);
        let full = vault.is_some_and(|vault| vault.pool().condition() == Condition::Full);
        let full = full || room.as_ref().is_ok_and(|room| room.free < FREE_MIN);
        let closed = vault.is_none();
        let trouble = self.trouble.clone().or_else(|| full.then(|| "the disk is full".to_owned()));
        match room {
            Ok(room) => {
                let capacity = self.capacity.unwrap_or(ByteSize(room.all));
                Some(PoolReport {
                    capacity,
                    free: ByteSize(room.free),
                    full,
                    closed,
                    trouble,
                    snapshots: vault.map_or_else(Vec::new, |vault| self.snapshots(vault)),
                    refused: 0,
                    strangers: 0,
                })
            }
            // Before the folder was made, and after it went.
            Err(_) if trouble.is_none() => None,
            Err(_) => {
                let capacity = self.capacity.unwrap_or(ByteSize(0));
                Some(PoolReport { capacity, free: ByteSize(0), full, closed, trouble, snapshots: Vec::new(), refused: 0, strangers: 0 })
            }
        }
    }

    fn snapshots(&self, vault: &Vault<Files>) -> Vec<SnapshotReport> {
        let there = vault.pool().snapshots();
        let here = there.iter().map(|info| (info.snapshot, None));
        let not = self.untaken.iter().map(|(snapshot, why)| (*snapshot, Some(why.clone())));
        let report = |(snapshot, trouble)| SnapshotReport { snapshot, taken: self.taken.get(&snapshot).copied(), trouble };
        here.chain(not).map(report).collect()
    }

    fn replicas(&self, vault: &Vault<Files>) -> Vec<ReplicaReport> {
        let volumes = vault.pool().volumes();
        let report = |info: pan_disk::VolumeInfo| {
            let kept = vault.replica(info.volume);
            let standing = kept.as_ref().map(|kept| kept.standing()).unwrap_or_default();
            let damaged = kept.is_none() || vault.pool().is_damaged(info.volume);
            let trouble = match (&kept, damaged) {
                (None, _) => Some("what describes it is damaged: it has to be made anew".to_owned()),
                (Some(_), true) => Some("where some of it lies on the disk cannot be read any more: it has to be made anew".to_owned()),
                (Some(_), false) => self.rot.trouble(info.volume),
            };
            // One that is damaged is not counted.
            let used = ByteSize(vault.pool().used(info.volume).unwrap_or(0));
            let size = ByteSize(info.superblock.map_or(0, |superblock| superblock.size));
            ReplicaReport {
                volume: info.volume,
                lineage: standing.lineage,
                epoch: standing.epoch,
                partial: standing.fill == Fill::Partial,
                catching_up: standing.fill == Fill::CatchingUp,
                size,
                used,
                trouble,
                damaged,
            }
        };
        volumes.into_iter().map(report).collect()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(vault) = self.open.borrow().as_ref() {
            vault.pool().stop_upkeep();
        }
        self.open.send_replace(None);
    }
}

/// Where replicas lie.
pub(crate) fn folder(config: &HostConfig) -> PathBuf {
    let configured = config.storage.as_ref().and_then(|storage| storage.folder.clone());
    configured.unwrap_or_else(|| config.state_dir.join("volumes"))
}

/// Follows an order; says what went wrong, for people.
fn follow(vault: &Vault<Files>, order: &ReplicaOrder) -> Option<String> {
    let ReplicaOrder { volume, size, want, from } = *order;
    let there = vault.pool().volumes().iter().any(|info| info.volume == volume);
    let done = match (want, there) {
        (ReplicaWant::Found, false) => match from {
            Some(snapshot) => vault.found_from(snapshot, volume, size, Lineage(1)),
            None => vault.found(volume, size, Lineage(1)),
        },
        (ReplicaWant::Keep, false) => vault.found(volume, size, Lineage(0)),
        // One that is damaged cannot grow, and says so in its report.
        (ReplicaWant::Found | ReplicaWant::Keep, true) if vault.replica(volume).is_none() => Ok(()),
        (ReplicaWant::Found | ReplicaWant::Keep, true) => vault.grow(volume, size),
        (ReplicaWant::Discard, true) => vault.discard(volume),
        (ReplicaWant::Discard, false) => Ok(()),
    };
    done.err().map(|error| format!("replica of volume {volume}: {error}"))
}

/// Carries home what the journal holds, for as long as the pool is used.
fn upkeep(vault: Arc<Vault<Files>>) {
    let carried = std::thread::Builder::new().name("pool-upkeep".into());
    let started = carried.spawn(move || {
        loop {
            match vault.pool().upkeep() {
                Ok(true) => {}
                Ok(false) => return,
                // The pool is given up by whoever looks after it.
                Err(error) => return tracing::warn!(%error, "the pool's upkeep ended"),
            }
        }
    });
    if let Err(error) = started {
        // Whoever writes carries home then, which takes longer.
        tracing::warn!(%error, "no thread for the pool's upkeep");
    }
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
