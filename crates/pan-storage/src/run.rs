//! The role's loop: follow the desired state, look after it once a second, report.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pan_api::WIRE_VERSION;
use pan_api::beatcount::BeatCounts;
use pan_api::hostlink::{HostLink, boot_id};
use pan_api::hostmetrics;
use pan_api::report::{Hello, Report};
use pan_linux::datagram::boot_clock;
use pan_model::host::Role;
use pan_model::host_config::{HostConfig, STORAGE_METRICS_PORT};
use pan_model::{Admission, Generation};
use tokio::time::MissedTickBehavior;

use crate::error::Error;
use crate::metrics::{self, Counts};
use crate::routes::Routes;

/// How often routes are compared with the kernel, and reports sent: interfaces go down and come back untold, and take
/// their routes along.
const EVERY: Duration = Duration::from_secs(1);

/// Runs the storage role of this host until the future is dropped.
///
/// # Errors
/// [`Error`]: the role cannot start. Later troubles are reported and tried again.
pub async fn run(config: HostConfig) -> Result<(), Error> {
    let counts = Arc::new(Counts::default());
    let (counted, run_dir) = (counts.clone(), config.run_dir.clone());
    let render: hostmetrics::Render = Arc::new(move || metrics::render(&counted, BeatCounts::read(&run_dir).as_ref()));
    tokio::select! {
        ended = follow(&config, &counts) => ended,
        ended = hostmetrics::serve(&config, STORAGE_METRICS_PORT, render) => Ok(ended?),
    }
}

async fn follow(config: &HostConfig, counts: &Counts) -> Result<(), Error> {
    let link = HostLink::start(config, Role::Storage, Hello::of(config)).await?;
    let boot = boot_id(&config.run_dir).map_err(|source| Error::Boot { path: config.run_dir.clone(), source })?;
    let mut routes = Routes::new(config)?;
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
        };
        if let Some(wanted) = wanted {
            let generation = wanted.generation;
            let trouble;
            (routes, trouble) = blocking(move || {
                let trouble = routes.apply(&wanted);
                (routes, trouble)
            })
            .await;
            counts.rounds.one();
            counts.problems.store(u64::from(trouble.is_some()), Ordering::Relaxed);
            if trouble.is_none() {
                applied = generation;
            }
            let found: Vec<String> = trouble.into_iter().collect();
            if found != problems {
                found.iter().for_each(|problem| tracing::warn!("{problem}"));
                problems = found;
            }
        }
        link.report(Report {
            version: WIRE_VERSION,
            host: config.name.clone(),
            role: Role::Storage,
            boot,
            sequence: boot_clock(),
            applied,
            admission: Admission::default(),
            wants_admission: false,
            gate: None,
            servers: Vec::new(),
            connections: Vec::new(),
            problems: problems.clone(),
            pool: None,
            replicas: Vec::new(),
        });
    }
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
