//! The role's loop: follow the desired state, look after it once a second, report.

use crate::director::Director;
use crate::error::{Error, Trouble, line};
use pan_api::WIRE_VERSION;
use pan_api::desired::Desired;
use pan_api::hostlink::{HostLink, boot_id};
use pan_api::report::{Hello, Report};
use pan_linux::datagram::boot_clock;
use pan_model::Generation;
use pan_model::host::Role;
use pan_model::host_config::HostConfig;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often connections are counted, reports sent, routes compared with the kernel and failed parts tried again.
const EVERY: Duration = Duration::from_secs(1);

/// Runs the director role of this host until the future is dropped. What it put in the kernel stays.
///
/// # Errors
/// [`Error`]: the role cannot start. Later troubles are reported and tried again.
pub async fn run(config: HostConfig) -> Result<(), Error> {
    let interface = config.director.as_ref().ok_or(Error::NoDirector)?.interface.clone();
    let link = HostLink::start(&config, Role::Director, Hello::of(&config)).await?;
    let boot = boot_id(&config.run_dir).map_err(|source| Error::Boot { path: config.run_dir.clone(), source })?;
    let mut desired = link.desired.clone();
    let made = blocking({
        let config = config.clone();
        move || Director::new(&config, &interface)
    });
    let mut director = made.await?;
    let (reports, latest) = watch::channel(None);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(deliver(link, latest));

    // The kept state of an earlier life counts as news.
    desired.mark_changed();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut applied = Generation::default();
    let mut problems = Vec::new();
    loop {
        let wanted = tokio::select! {
            changed = desired.changed() => {
                changed.expect("the link lives in a task of this function");
                desired.borrow_and_update().clone()
            }
            _ = every.tick() => desired.borrow().clone(),
        };
        let whole = !problems.is_empty() || wanted.as_ref().is_some_and(|wanted| wanted.generation != applied);
        let round = blocking(move || {
            let outcome = round(&mut director, wanted.as_deref(), whole);
            (director, outcome)
        });
        let (back, outcome) = round.await;
        director = back;
        if let Some(generation) = outcome.tried.filter(|_| outcome.problems.is_empty()) {
            applied = generation;
        }
        if outcome.problems != problems {
            for problem in &outcome.problems {
                tracing::warn!("{problem}");
            }
            problems = outcome.problems;
        }
        reports.send_replace(Some(Report {
            version: WIRE_VERSION,
            host: config.name.clone(),
            role: Role::Director,
            boot,
            sequence: boot_clock(),
            applied,
            admission: pan_model::Admission::NONE,
            wants_admission: false,
            servers: Vec::new(),
            connections: outcome.connections,
            problems: problems.clone(),
        }));
    }
}

/// What one round of the loop found.
struct Outcome {
    /// The generation that was applied or kept in force, as far as there are no problems.
    tried: Option<Generation>,
    problems: Vec<String>,
    connections: Vec<pan_api::report::ConnectionCount>,
}

/// Applies the `whole` of what is wanted, or only looks after what may drift untold.
fn round(director: &mut Director, wanted: Option<&Desired>, whole: bool) -> Outcome {
    let look_after = |wanted| if whole { director.apply(wanted) } else { director.refresh(wanted) };
    let mut troubles = wanted.map_or_else(Vec::new, look_after);
    troubles.extend(director.tick());
    let (connections, uncounted) = director.connections();
    troubles.extend(uncounted);
    let problems = troubles.iter().map(|trouble: &Trouble| line(trouble)).collect();
    Outcome { tried: wanted.map(|wanted| wanted.generation), problems, connections }
}

/// Sends the newest report whenever there is one; those that came while one was under way are skipped.
async fn deliver(link: HostLink, mut latest: watch::Receiver<Option<Report>>) {
    while latest.changed().await.is_ok() {
        let report = latest.borrow_and_update().clone();
        if let Some(report) = report
            && let Err(error) = link.report(report).await
        {
            tracing::debug!("no controller took the report: {error}");
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
