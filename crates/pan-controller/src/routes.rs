//! Routes to the other hosts, kept by the controller itself on a host that has no agent to do it.

use pan_api::desired::Desired;
use pan_linux::rtnl::Rtnl;
use pan_linux::underlay::{Peer, Underlay, UnderlaySpec};
use pan_model::host_config::HostConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pause before a failed change is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Fabric interfaces go down and come back untold, and take their routes along; so the routes are compared
/// with the kernel this often.
const EVERY: Duration = Duration::from_secs(1);

/// Follows this host's own desired state and turns its peers into routes, for ever.
pub async fn keep(mut desired: watch::Receiver<Option<Arc<Desired>>>, config: HostConfig) {
    let mut underlay = None;
    loop {
        let current = desired.borrow_and_update().clone();
        if let Some(current) = current {
            let peers = current.peers.iter().map(|peer| Peer { address: peer.address, a: peer.a, b: peer.b }).collect();
            let spec = UnderlaySpec {
                local: config.address,
                dev_a: config.fabrics.a.interface.clone(),
                dev_b: config.fabrics.b.interface.clone(),
                peers,
            };
            let before = underlay.take();
            match tokio::task::spawn_blocking(move || apply(before, &spec)).await {
                Ok(Ok(kept)) => underlay = Some(kept),
                Ok(Err(error)) => {
                    tracing::warn!(error, "routes to other hosts could not be set; trying again");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(_) => return,
            }
        }
        if let Ok(Err(_)) = tokio::time::timeout(EVERY, desired.changed()).await {
            return;
        }
    }
}

fn apply(before: Option<Underlay>, spec: &UnderlaySpec) -> Result<Underlay, String> {
    let mut underlay = match before {
        Some(underlay) => underlay,
        None => Rtnl::open().map_err(|error| error.to_string()).and_then(|rtnl| Underlay::new(rtnl).map_err(|error| error.to_string()))?,
    };
    underlay.apply(spec).map_err(|error| error.to_string())?;
    Ok(underlay)
}
