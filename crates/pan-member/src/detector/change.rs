//! What the detector is told and what it says.

use std::fmt;
use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, HostName};

use crate::frame::{BootId, Frame};
use crate::tick::Tick;

/// A heartbeat, as far as the detector is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Beat<'a> {
    pub host: &'a HostName,
    pub fabric: Fabric,
    pub boot: BootId,
    pub sequence: u64,
    /// Under which it was let in.
    pub admission: Admission,
    /// How long the host's agent has given no sign of life.
    pub agent_age: Duration,
    /// How late the host says its own loop was.
    pub lag: Duration,
    /// After how long it says it beats again; `None`: it does not say.
    pub period: Option<Duration>,
    /// When the kernel received it, on the boot clock.
    pub received: Tick,
}

impl<'a> Beat<'a> {
    /// The heartbeat of a decoded frame.
    #[must_use]
    pub fn of(frame: &'a Frame, received: Tick) -> Self {
        let Frame { host, fabric, boot, sequence, admission, agent_age, lag, period, .. } = frame;
        let (fabric, boot, sequence, admission) = (*fabric, *boot, *sequence, *admission);
        Self { host, fabric, boot, sequence, admission, agent_age: *agent_age, lag: *lag, period: *period, received }
    }
}

/// Something the detector came to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The host is heard, for the first time or again. Its boot may differ from the one last seen.
    Alive {
        /// Which.
        host: HostName,
        /// Of which boot.
        boot: BootId,
        /// How late it was with its own heartbeats, by its own word.
        lag: Duration,
    },
    /// Silent on both fabrics for a few periods. Reversible: prepare, decide nothing.
    Suspect { host: HostName, silent_for: Duration },
    /// Silent on both fabrics for too long. `last_heard` is `None` for a host never heard at all.
    Dead { host: HostName, last_heard: Option<Tick> },
    /// The host is heard with a new boot: whatever ran in the `previous` one is gone.
    Rebooted { host: HostName, boot: BootId, previous: BootId },
    /// Heard on this fabric. Said once for every fabric of a host that came alive.
    FabricUp { host: HostName, fabric: Fabric },
    /// Silent on this fabric, heard on the other.
    FabricDown { host: HostName, fabric: Fabric, silent_for: Duration },
    /// The host beats, but its agent gives no sign of life.
    AgentDown { host: HostName, silent_for: Duration },
    /// The agent gives signs of life again.
    AgentUp { host: HostName },
    /// More hosts fell silent together than `limit`: rather our network than they. No death is said for now.
    Brake { hosts: Vec<HostName>, limit: usize },
    /// The brake is off: enough hosts are heard again, or those that are left had their time.
    BrakeReleased { still_silent: Vec<HostName> },
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive { host, .. } => write!(out, "{host} alive"),
            Self::Suspect { host, silent_for } => {
                write!(out, "{host} suspect, silent for {silent_for:?}")
            }
            Self::Dead { host, last_heard: Some(tick) } => write!(out, "{host} dead, last heard at {tick}"),
            Self::Dead { host, last_heard: None } => write!(out, "{host} dead, never heard"),
            Self::Rebooted { host, .. } => write!(out, "{host} rebooted"),
            Self::FabricUp { host, fabric } => write!(out, "{host} fabric {fabric} up"),
            Self::FabricDown { host, fabric, silent_for } => {
                write!(out, "{host} fabric {fabric} down, silent for {silent_for:?}")
            }
            Self::AgentDown { host, silent_for } => {
                write!(out, "{host} agent down, silent for {silent_for:?}")
            }
            Self::AgentUp { host } => write!(out, "{host} agent up"),
            Self::Brake { hosts, limit } => {
                write!(out, "brake: {} silent, limit {limit}", Names(hosts))
            }
            Self::BrakeReleased { still_silent } if still_silent.is_empty() => {
                write!(out, "brake released")
            }
            Self::BrakeReleased { still_silent } => {
                write!(out, "brake released, still silent: {}", Names(still_silent))
            }
        }
    }
}

struct Names<'a>(&'a [HostName]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, name) in self.0.iter().enumerate() {
            write!(out, "{}{name}", if number == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// Heartbeats that were dropped, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// A sequence number not above the last one of that boot on that fabric.
    pub replayed: u64,
    /// From a boot that had already been followed by another, or that is not known while the present one is heard.
    pub retired_boots: u64,
    /// From a host the detector was not told of.
    pub unknown_hosts: u64,
}
