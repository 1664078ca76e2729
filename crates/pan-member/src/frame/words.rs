//! What a heartbeat says.

use std::time::Duration;

use pan_model::host::{Fabric, Role};
use pan_model::{Admission, ByteSize, HostName};

use crate::profile::{Gate, Tenure};
use crate::term::Term;

/// Random number a host draws at each boot of its beat process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u64);

/// Thousandths of the whole host; 1000 is all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Permille(pub u16);

/// The set of a host's roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(pub(super) u8);

impl Roles {
    const fn bit(role: Role) -> u8 {
        match role {
            Role::Controller => 1,
            Role::Node => 2,
            Role::Storage => 4,
            Role::Director => 8,
        }
    }

    /// Whether `role` is among them.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | Self::bit(role)))
    }
}

/// How busy a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Share of its processors in use.
    pub cpu: Permille,
    /// Memory in use.
    pub memory: ByteSize,
    /// Share of time in which some task waited for a processor (PSI); `None` where the kernel does not say.
    pub pressure: Option<Permille>,
}

/// How a host's lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaseState {
    /// Not admitted yet.
    #[default]
    None,
    Held,
    /// Admitted, and not renewed in time: opens again by itself when a majority acknowledges.
    Expired,
    /// Revoked: opens again only under a new admission.
    Fenced,
}

/// Which gate a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GateState {
    /// No gate: the host runs no servers, or its kernel can do neither.
    #[default]
    None,
    Present(Gate),
}

/// One heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub host: HostName,
    pub roles: Roles,
    /// The fabric it was sent over.
    pub fabric: Fabric,
    pub boot: BootId,
    /// Grows with every period within a boot; the copies on both fabrics carry the same number.
    pub sequence: u64,
    /// Under which the host was let in; [`Admission::NONE`] if it was not yet.
    pub admission: Admission,
    /// The highest term of a controller the host has seen.
    pub term: Term,
    /// How long the host's agent has given no sign of life; whole milliseconds travel.
    pub agent_age: Duration,
    /// How long ago the last acknowledgement came in on fabric a and on fabric b; whole milliseconds travel.
    pub acknowledged: [Option<Duration>; 2],
    /// How late the sending loop woke up, at worst within the last second; whole microseconds travel.
    pub lag: Duration,
    pub load: Load,
    pub lease: LeaseState,
    pub gate: GateState,
    /// How long after this one the next is due; `None`: the profile's shortest. Never zero; whole microseconds travel.
    pub period: Option<Duration>,
    /// How long each of its leases lasts, from when the heartbeat that was acknowledged was sent; `None`: not said. At most
    /// [`Tenure::LONGEST`]; whole milliseconds travel, rounded up.
    pub lease_length: Option<Duration>,
}

impl Frame {
    /// How long the sender's gate may stay open by this heartbeat. What it does not say is taken for the longest.
    #[must_use]
    pub fn tenure(&self) -> Tenure {
        let gate = match self.gate {
            GateState::Present(gate) => gate,
            GateState::None => Tenure::LONGEST.gate,
        };
        Tenure { gate, lease: self.lease_length.unwrap_or(Tenure::LONGEST.lease) }
    }
}
