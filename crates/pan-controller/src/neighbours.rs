//! Looks whether the kernel of this controller's host has room for all hosts of the PAN, and says when it has not
//! ([`pan_model::neighbours`]).

use crate::metrics::Metrics;
use pan_api::desired::Desired;
use pan_linux::rtnl::{NeighbourLimits, Rtnl};
use pan_model::host_config::HostConfig;
use pan_model::neighbours::{Limits, Room, needed};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks at how many hosts there are; the limits are read less often.
const EVERY: Duration = Duration::from_secs(1);

/// Looks at start and from then on, for as long as there are desired states of this host, which name all others.
pub async fn watch(mut desired: watch::Receiver<Option<Arc<Desired>>>, config: HostConfig, metrics: Arc<Metrics>) {
    let fabric = config.fabrics.a.address.addr();
    let mut room = Room::default();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // Whoever sent them is gone.
        if desired.has_changed().is_err() {
            return;
        }
        let others = desired.borrow_and_update().as_ref().map(|desired| desired.peers.iter().count());
        let Some(others) = others.filter(|others| room.is_due(*others)) else { continue };
        match tokio::task::spawn_blocking(move || limits(fabric)).await {
            Ok(Ok(Some(found))) => {
                metrics.neighbours(needed(others), found.hard);
                if let Some(news) = room.judge(others, fabric, Limits { soft: found.soft, hard: found.hard }) {
                    tracing::warn!("{news}");
                }
            }
            // Nothing depends on it, and it is looked again in a second.
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(error, "how many neighbours the kernel keeps is not known"),
            Err(_) => return,
        }
    }
}

fn limits(fabric: IpAddr) -> Result<Option<NeighbourLimits>, String> {
    let read = Rtnl::open().and_then(|rtnl| rtnl.neighbour_limits(fabric));
    read.map_err(|error| error.to_string())
}
