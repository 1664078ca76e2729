//! One way to one controller: its address on one fabric, called from this host's address there.

use crate::ApiError;
use crate::desired::Desired;
use crate::hostclient::{HostClient, HostOptions, Timeouts};
use crate::report::{Hello, Report};
use pan_model::Code;
use pan_model::host_config::HostConfig;
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A controller sends at least a blank line a second; three missed are a dead stream.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Waits between two attempts: short enough to be back before a failover is, long enough at last for a
/// thousand hosts not to keep a starting controller from its work.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Reports come every second, so one that takes longer is worth less than a try on the other fabric.
const REPORT: Timeouts = Timeouts { connect: Duration::from_millis(500), request: Duration::from_secs(1) };
const STREAM: Timeouts = Timeouts { connect: Duration::from_secs(1), request: SILENCE_MAX };

pub(super) struct Path {
    label: String,
    /// Streams and reports have different patience, and a report must not wait behind a stream's start.
    streams: HostClient,
    reports: HostClient,
}

/// Every controller over either fabric.
pub(super) fn all(config: &HostConfig, tls: &Arc<ClientConfig>, port: u16) -> Vec<Path> {
    let mut paths = Vec::new();
    for controller in &config.controllers {
        let fabrics = [("a", controller.a, &config.fabrics.a), ("b", controller.b, &config.fabrics.b)];
        for (fabric, address, own) in fabrics {
            let client = |timeouts| {
                let options = HostOptions { bind: Some(own.address.addr()), timeouts };
                HostClient::new(tls.clone(), SocketAddr::new(address, port), Some(&controller.name), options)
            };
            let label = format!("{} over fabric {fabric}", controller.name);
            paths.push(Path { label, streams: client(STREAM), reports: client(REPORT) });
        }
    }
    paths
}

impl Path {
    pub(super) async fn report(&self, hello: &Hello, report: &Report) -> Result<(), ApiError> {
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
pub(super) async fn follow(paths: Arc<Vec<Path>>, at: usize, hello: Arc<Hello>, offers: mpsc::Sender<Desired>) {
    let path = &paths[at];
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
