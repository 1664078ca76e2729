//! Where a gate is attached, and of which kind it is.

use std::fmt;
use std::time::Duration;

use crate::rtnl::Direction;

/// A place in the packet path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// What comes in by a server's port on the host, of any protocol. Two servers of one host are thereby
    /// shut off from each other too.
    ServerPort,
    /// What goes out by an overlay device, of any protocol: whatever way it takes afterwards.
    OverlayDevice,
    /// VXLAN packets that go out by a fabric's interface; nothing else is touched. A frame can wait for
    /// seconds behind the overlay device, in the kernel's queue for a neighbour whose address it does not
    /// know; here it has left that.
    Fabric,
}

impl Hook {
    /// All there are.
    pub const ALL: [Hook; 3] = [Hook::ServerPort, Hook::OverlayDevice, Hook::Fabric];

    pub(super) fn direction(self) -> Direction {
        match self {
            Hook::ServerPort => Direction::In,
            Hook::OverlayDevice | Hook::Fabric => Direction::Out,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::ServerPort => "input of a server's port",
            Hook::OverlayDevice => "output of an overlay device",
            Hook::Fabric => "VXLAN output of a fabric",
        })
    }
}

/// What the check is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GateKind {
    /// A BPF program at `clsact`, and an absolute deadline in a map.
    Bpf,
    /// A set of nftables with one element that times out.
    NftSet,
}

impl GateKind {
    /// The longest time from the moment a lease of the given length was last known to be granted until the
    /// gate is shut, whatever happens to its holder. Declaring a host dead must take longer.
    ///
    /// An nftables element is given the time that is *left*. A holder stopped between working that out and
    /// the kernel's commit commits later than it thinks; the commit is refused once the former element is
    /// gone, at most one lease later, so the new one ends at most two leases after the grant.
    pub fn open_after_grant_max(self, lease: Duration) -> Duration {
        match self {
            GateKind::Bpf => lease,
            GateKind::NftSet => lease * 2,
        }
    }
}

impl fmt::Display for GateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GateKind::Bpf => "bpf",
            GateKind::NftSet => "nft-set",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_may_stay_open_for_two_leases() {
        let lease = Duration::from_millis(240);
        assert_eq!(GateKind::Bpf.open_after_grant_max(lease), lease);
        assert_eq!(GateKind::NftSet.open_after_grant_max(lease), Duration::from_millis(480));
    }
}
