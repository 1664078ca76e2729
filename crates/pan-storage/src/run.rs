//! The role's loop: follow the desired state, look after it once a second, report.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pan_api::WIRE_VERSION;
use pan_api::beatcount::BeatCounts;
use pan_api::desired::Desired;
use pan_api::hostlink::{HostLink, boot_id};
use pan_api::hostmetrics;
use pan_api::report::{Hello, Report, StorageOffer};
use pan_api::volume::PoolReport;
use pan_linux::datagram::boot_clock;
use pan_linux::room;
use pan_model::host::Role;
use pan_model::host_config::{HostConfig, STORAGE_METRICS_PORT, StorageConfig};
use pan_model::{Admission, ByteSize, Generation};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::close;
use crate::error::Error;
use crate::export;
use crate::keep::{self, Keeper, Open, Seen};
use crate::mark::Boot;
use crate::metrics::{self, Counts};
use crate::routes::Routes;
use crate::server::Server;

/// How often routes are compared with the kernel, and reports sent: interfaces go down and come back untold, and take
/// their routes along.
const EVERY: Duration = Duration::from_secs(1);

/// Runs the storage role of this host until it is told to stop; then it closes its pool, for which it takes 5 s at most.
///
/// # Errors
/// [`Error`]: the role cannot start. Later troubles are reported and tried again.
pub async fn run(config: HostConfig, told_to_stop: impl Future<Output = ()>) -> Result<(), Error> {
    let counts = Arc::new(Counts::default());
    let (counted, run_dir) = (counts.clone(), config.run_dir.clone());
    let render: hostmetrics::Render = Arc::new(move || metrics::render(&counted, BeatCounts::read(&run_dir).as_ref()));
    let (keeps, open) = watch::channel(None);
    let exported = export::pages(open.clone());
    let last = open.clone();
    let server = Server::new(&config, open, counts.clone())?;
    let stopped = async {
        told_to_stop.await;
        // As long as there is somebody who keeps it open.
        last.borrow().clone()
    };
    let vault = tokio::select! {
        ended = follow(&config, &counts, keeps) => return ended,
        () = server.serve(&config) => return Ok(()),
        ended = hostmetrics::serve(&config, STORAGE_METRICS_PORT, counts.connections_refused.clone(), render, exported) => return Ok(ended?),
        vault = stopped => vault,
    };
    if let Some(vault) = vault {
        close::close(vault).await;
    }
    Ok(())
}

async fn follow(config: &HostConfig, counts: &Arc<Counts>, keeps: watch::Sender<Open>) -> Result<(), Error> {
    let hello = Hello { storage: Some(offer(config)?), ..Hello::of(config) };
    let link = HostLink::start(config, Role::Storage, hello).await?;
    let boot = boot_id(&config.run_dir).map_err(|source| Error::Boot { path: config.run_dir.clone(), source })?;
    let mut routes = Routes::new(config)?;
    let keeper = Keeper::new(config, Boot::now(boot), keeps);
    let (seen, mut sees) = watch::channel(Seen::default());
    let mut keeping = JoinSet::new();
    keeping.spawn(keep(keeper, link.desired.clone(), seen, counts.clone()));
    let mut desired = link.desired.clone();
    // The kept state of an earlier life counts as news.
    desired.mark_changed();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut applied, mut problems) = (Generation::default(), Vec::new());
    loop {
        let wanted = tokio::select! {
            changed = desired.changed() => {
                changed.expect("the link lives in this function");
                desired.borrow_and_update().clone()
            }
            _ = every.tick() => desired.borrow().clone(),
            Ok(()) = sees.changed() => desired.borrow().clone(),
            Some(Err(ended)) = keeping.join_next() => std::panic::resume_unwind(ended.into_panic()),
        };
        let kept = sees.borrow_and_update().clone();
        if let Some(wanted) = wanted {
            let generation = wanted.generation;
            let (trouble, warning);
            (routes, trouble, warning) = blocking(move || {
                let (trouble, warning) = (routes.apply(&wanted), routes.warning(&wanted));
                (routes, trouble, warning)
            })
            .await;
            counts.rounds.one();
            if trouble.is_none() && kept.applied >= generation {
                applied = generation;
            }
            let found: Vec<String> = trouble.into_iter().chain(warning).chain(kept.problems).collect();
            counts.problems.store(found.len() as u64, Ordering::Relaxed);
            if found != problems {
                found.iter().for_each(|problem| tracing::warn!("{problem}"));
                problems = found;
            }
        }
        link.report(Report {
            version: WIRE_VERSION,
            usage: Vec::new(),
            host: config.name.clone(),
            role: Role::Storage,
            boot,
            sequence: boot_clock(),
            applied,
            blank: None,
            restarted: None,
            admission: Admission::default(),
            wants_admission: false,
            refused: Vec::new(),
            beyond: Vec::new(),
            ways: Vec::new(),
            gate: None,
            servers: Vec::new(),
            connections: Vec::new(),
            problems: problems.clone(),
            pool: kept.pool.map(|pool| PoolReport { refused: counts.refused.get(), strangers: counts.turned_away.strangers(), ..pool }),
            replicas: kept.replicas,
        });
    }
}

/// Looks after the pool, each time something else is wanted and once a second, and tells what it sees.
async fn keep(mut keeper: Keeper, mut desired: watch::Receiver<Option<Arc<Desired>>>, seen: watch::Sender<Seen>, counts: Arc<Counts>) {
    desired.mark_changed();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = desired.changed() => if changed.is_err() { return },
            _ = every.tick() => {}
        }
        let wanted = desired.borrow_and_update().clone();
        let now;
        (keeper, now) = blocking(move || {
            let now = keeper.step(wanted.as_deref());
            (keeper, now)
        })
        .await;
        counts.rotten.store(keeper.rotten(), Ordering::Relaxed);
        seen.send_if_modified(|last| std::mem::replace(last, now.clone()) != now);
    }
}

/// What the host offers: what it is configured to, or what the file system holds.
fn offer(config: &HostConfig) -> Result<StorageOffer, Error> {
    let StorageConfig { capacity, labels, .. } = config.storage.clone().unwrap_or_default();
    let folder = keep::folder(config);
    let all = || std::fs::create_dir_all(&folder).and_then(|()| room::of(&folder)).map(|room| ByteSize(room.all));
    let capacity = capacity.map_or_else(all, Ok).map_err(|source| Error::Folder { path: folder.clone(), source })?;
    Ok(StorageOffer { capacity, labels })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down: this task goes with it.
            Err(_) => std::future::pending().await,
        },
    }
}
