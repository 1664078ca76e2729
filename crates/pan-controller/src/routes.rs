//! Routes to the other hosts, kept by the controller itself on a host that has no agent to do it.

use crate::handle::Handle;
use pan_linux::rtnl::Rtnl;
use pan_linux::underlay::{Peer, Underlay, UnderlaySpec};
use pan_model::host_config::HostConfig;
use std::time::Duration;

/// Pause before a failed change is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Fabric interfaces go down and come back untold, and take their routes along; so the routes are compared
/// with the kernel this often.
const EVERY: Duration = Duration::from_secs(1);

/// Follows this host's own desired state and turns its peers into routes, for ever.
pub async fn keep(handle: Handle, config: HostConfig) {
    let mut underlay = None;
    loop {
        let Some(mut desired) = handle.desired(&config.name) else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        loop {
            let current = desired.borrow_and_update().clone();
            let peers = current.peers.iter().map(|peer| Peer { address: peer.address, a: peer.a, b: peer.b }).collect();
            let spec = UnderlaySpec {
                local: config.address,
                dev_a: config.fabrics.a.interface.clone(),
                dev_b: config.fabrics.b.interface.clone(),
                peers,
            };
            let before = underlay.take();
            let done = tokio::task::spawn_blocking(move || apply(before, &spec)).await;
            match done {
                Ok(Ok(kept)) => underlay = Some(kept),
                Ok(Err(error)) => {
                    tracing::warn!(error, "routes to other hosts could not be set; trying again");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(_) => return,
            }
            if let Ok(Err(_)) = tokio::time::timeout(EVERY, desired.changed()).await {
                break;
            }
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
