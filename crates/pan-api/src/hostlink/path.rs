//! One way to one controller: its address on one fabric, called from this host's address there.

use crate::ApiError;
use crate::desired::Desired;
use crate::hostclient::{HostClient, HostOptions, Timeouts};
use crate::report::{Hello, Report};
use pan_model::host_config::{HostConfig, PeerAddress};
use pan_model::{Code, HostName};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// A controller sends at least a blank line a second; three missed are a dead stream.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Waits between two attempts: short enough to be back before a failover is, long enough at last for a
/// thousand hosts not to keep a starting controller from its work.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Reports come every second, so one that takes longer is worth less than a try on the other fabric.
const REPORT: Timeouts = Timeouts { connect: Duration::from_millis(500), request: Duration::from_secs(1) };
const STREAM: Timeouts = Timeouts { connect: Duration::from_secs(1), request: SILENCE_MAX };

/// Every way to one controller.
pub(super) struct Controller {
    name: HostName,
    pub(super) paths: Vec<Path>,
}

pub(super) struct Path {
    label: String,
    /// Streams and reports have different patience, and a report must not wait behind a stream's start.
    streams: HostClient,
    reports: HostClient,
}

/// Every controller over either fabric.
pub(super) fn all(config: &HostConfig, tls: &Arc<ClientConfig>, port: u16) -> Vec<Controller> {
    let of = |controller: &PeerAddress| {
        let fabrics = [("a", controller.a, &config.fabrics.a), ("b", controller.b, &config.fabrics.b)];
        let paths = fabrics.map(|(fabric, address, own)| {
            let client = |timeouts| {
                let options = HostOptions { bind: Some(own.address.addr()), timeouts };
                HostClient::new(tls.clone(), SocketAddr::new(address, port), Some(&controller.name), options)
            };
            let label = format!("{} over fabric {fabric}", controller.name);
            Path { label, streams: client(STREAM), reports: client(REPORT) }
        });
        Controller { name: controller.name.clone(), paths: paths.into() }
    };
    config.controllers.iter().map(of).collect()
}

impl Controller {
    /// Asks it for something, on one way after the other.
    pub(super) async fn ask<A: Serialize + Sync, T: DeserializeOwned>(&self, what: &str, ask: &A) -> Result<T, ApiError> {
        let mut failure = ApiError::new(Code::HostUnreachable, format!("there is no way to controller {}", self.name));
        for path in &self.paths {
            match path.reports.post(what, ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

impl Path {
    async fn report(&self, hello: &Hello, report: &Report) -> Result<(), ApiError> {
        match self.reports.post("/internal/v1/report", report).await {
            // A controller that was just started may know the PAN and not yet this host.
            Err(error) if error.code == Code::NotFound => {
                self.reports.post::<_, ()>("/internal/v1/hello", hello).await?;
                self.reports.post("/internal/v1/report", report).await
            }
            other => other,
        }
    }

    /// Presents the host, then hands on every desired state until the stream breaks.
    async fn stream(&self, hello: &Hello, offers: &mpsc::Sender<Desired>, pause: &mut Duration) -> Result<(), ApiError> {
        self.streams.post::<_, ()>("/internal/v1/hello", hello).await?;
        let path = format!("/internal/v1/desired?host={}", hello.host);
        let mut lines = self.streams.stream::<Desired>(&path).await?.silence_max(SILENCE_MAX);
        while let Some(desired) = lines.next().await {
            let desired = desired?;
            *pause = PAUSE_FIRST;
            if offers.send(desired).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Follows one path for ever.
pub(super) async fn follow(controller: Arc<Controller>, at: usize, hello: Arc<Hello>, offers: mpsc::Sender<Desired>) {
    let path = &controller.paths[at];
    let mut pause = PAUSE_FIRST;
    loop {
        match path.stream(&hello, &offers, &mut pause).await {
            Ok(()) => tracing::debug!("{} ended the stream of desired states", path.label),
            Err(error) => tracing::debug!("no desired states from {}: {error}", path.label),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Delivers the newest report to one controller, over the way that worked last, else over the next. What a newer
/// one overtook is not delivered.
pub(super) async fn deliver(controller: Arc<Controller>, hello: Arc<Hello>, mut reports: watch::Receiver<Option<Report>>) {
    let mut preferred = 0;
    let mut failing = false;
    while reports.changed().await.is_ok() {
        let Some(report) = reports.borrow_and_update().clone() else { continue };
        let mut delivered = false;
        for at in (0..controller.paths.len()).map(|step| (preferred + step) % controller.paths.len()) {
            let path = &controller.paths[at];
            match path.report(&hello, &report).await {
                Ok(()) => {
                    preferred = at;
                    delivered = true;
                    break;
                }
                Err(error) => tracing::debug!("a report was not delivered to {}: {error}", path.label),
            }
        }
        // Its first desired state waits for this one.
        if !delivered && report.blank.is_some() {
            tokio::time::sleep(PAUSE_FIRST).await;
            reports.mark_changed();
        }
        if failing == delivered {
            failing = !delivered;
            match delivered {
                true => tracing::info!("controller {} takes reports again", controller.name),
                false => tracing::warn!("controller {} takes no reports; trying again with the next", controller.name),
            }
        }
    }
}
