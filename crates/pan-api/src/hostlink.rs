//! A role's standing connection to the controllers, over both fabrics at once: it presents the host, takes
//! the newest desired state, keeps it for the day no controller answers, and delivers reports.
//!
//! Each controller is called on its address of either fabric, from this host's own address there, so the
//! loss of a fabric costs nothing that has to be noticed first. All controllers hear the reports; only the one
//! that leads has a desired state to give.

mod boot;
mod controllers;
mod intake;
mod keys;
mod path;
mod renew;
mod signs;
#[cfg(test)]
mod tests;

pub use boot::{Kept, boot_id, keep_boot_id, kernel_boot, make_run_dir};
pub use controllers::Controllers;
pub use intake::{Knows, Refused, admit};
pub use signs::{Signs, Start};

use crate::desired::Desired;
use crate::report::{Blank, Hello, Report, Restarted};
use crate::tls::{LiveTls, TlsError};
use intake::Intake;
use pan_model::host::Role;
use pan_model::host_config::{CONTROLLER_PORT, HostConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Offers that wait for the intake: one a stream would be enough, as each holds only the newest.
const OFFERS_MAX: usize = 4;

/// How long it is said that the process before was ended: until somebody leads who hears it, and no longer, so that nobody tells it again
/// when its event is long forgotten.
const RESTART_TOLD: Duration = Duration::from_secs(600);

/// Why the link cannot be set up. That no controller answers is no reason: it is tried again for ever.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The host's certificate cannot be used.
    #[error("use the host's certificate to call the controllers")]
    Tls(#[from] TlsError),
    /// The directory for run-time state cannot be made.
    #[error("make {}", path.display())]
    RunDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no random number to be had.
    #[error("read /dev/urandom")]
    Random(#[source] std::io::Error),
}

/// The link. Its streams end when it is dropped.
pub struct HostLink {
    /// The newest desired state; at first the one kept in `run_dir` by an earlier life of this role, if any.
    pub desired: watch::Receiver<Option<Arc<Desired>>>,
    reports: watch::Sender<Option<Report>>,
    blank: Blank,
    restarted: Option<Restarted>,
    started: Instant,
    _tasks: JoinSet<()>,
}

impl HostLink {
    /// Starts the streams of one role of this host. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`LinkError`]: the certificate or the directory for run-time state cannot be used.
    pub async fn start(config: &HostConfig, role: Role, hello: Hello) -> Result<Self, LinkError> {
        Self::start_at(config, role, hello, CONTROLLER_PORT).await
    }

    async fn start_at(config: &HostConfig, role: Role, hello: Hello, port: u16) -> Result<Self, LinkError> {
        let refused = |source| LinkError::RunDir { path: config.run_dir.clone(), source };
        make_run_dir(&config.run_dir).map_err(refused)?;
        let live = LiveTls::open(&config.tls)?;
        let tls = live.client_config()?;
        let hello = Arc::new(hello);
        let blank = Blank(boot::draw().map_err(LinkError::Random)?);
        let (intake, desired) = Intake::open(config, role, blank).await;
        let (offers, offered) = mpsc::channel(OFFERS_MAX);
        let (reports, newest) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(intake.run(offered));
        let controllers: Vec<_> = path::all(config, &tls, port).into_iter().map(Arc::new).collect();
        tasks.spawn(renew::keep(config.name.clone(), config.tls.clone(), live, controllers.clone()));
        tasks.spawn(keys::keep(config.clone(), controllers.clone()));
        for controller in controllers {
            for at in 0..controller.paths.len() {
                tasks.spawn(path::follow(controller.clone(), at, hello.clone(), offers.clone()));
            }
            tasks.spawn(path::deliver(controller, hello.clone(), newest.clone()));
        }
        let restarted = signs::noted(&config.run_dir, role);
        Ok(Self { desired, reports, blank, restarted, started: Instant::now(), _tasks: tasks })
    }

    /// Delivers a report to every controller, the one that leads and those that follow, so that each knows what runs
    /// the moment it takes over. Does not wait: a controller that is slow or away gets the newest when it can.
    pub fn report(&self, report: Report) {
        // Whoever leads has to have it in the store before this role takes its first desired state.
        let blank = self.desired.borrow().is_none().then_some(self.blank);
        let restarted = self.restarted.filter(|_| self.started.elapsed() < RESTART_TOLD);
        self.reports.send_replace(Some(Report { blank, restarted, ..report }));
    }
}
