//! Keeping partition networks away from the host's own network stack.
//!
//! A bridge hands frames to the host that are for its own Ethernet address, for everybody or for a
//! multicast group. Unless these are dropped, a server reaches any address of the host by aiming at
//! the bridge, the host answers its ARP questions, and believes its router advertisements. The answers
//! of neighbour suppression are made before that point and go on.

use std::fmt::Write;

use super::spec::{OverlayError, bridge_name};
use crate::netns::Netns;
use crate::nft::{self, Family, Nft};

const TABLE: &str = "netdev pan_overlay";
const TABLE_NAME: &str = "pan_overlay";

/// Whether the rule of a network is there: anybody can flush rules.
pub(super) fn is_closed(nft: &mut Nft, vni: u32) -> Result<bool, OverlayError> {
    nft.has_chain(Family::Netdev, TABLE_NAME, &bridge_name(vni)).map_err(|source| OverlayError::Look { source })
}

/// Drops what the bridges of these networks hand to the host. The bridges must be there.
pub(super) fn close(ns: &Netns, networks: impl IntoIterator<Item = u32>) -> Result<(), OverlayError> {
    let mut script = format!("add table {TABLE}\n");
    for vni in networks {
        script.push_str(&add_chain(vni));
    }
    load(ns, &script)
}

/// Removes the rule of a network, before its bridge goes.
pub(super) fn forget(ns: &Netns, vni: u32) -> Result<(), OverlayError> {
    let mut script = format!("add table {TABLE}\n");
    // Deleting what is not there is an error, adding what is there is not.
    script.push_str(&add_chain(vni));
    writeln!(script, "delete chain {TABLE} {}", bridge_name(vni)).expect("a string takes all");
    load(ns, &script)
}

fn add_chain(vni: u32) -> String {
    let bridge = bridge_name(vni);
    format!(
        "add chain {TABLE} {bridge} {{ \
         type filter hook ingress device {bridge} priority 0; policy drop; }}\n"
    )
}

fn load(ns: &Netns, script: &str) -> Result<(), OverlayError> {
    nft::load(Some(ns), script).map_err(|source| OverlayError::Closed { source })
}
