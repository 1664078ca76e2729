//! What can be done to a host. Pure words.

use std::fmt;
use std::time::Duration;

use pan_model::host::Fabric;

use crate::fault::Direction;
use crate::name::{HostKind, LabHost};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Its power is cut; it boots with its old disk.
    Power,
    /// All its processes stand still; they go on.
    Freeze,
    /// Its links are cut, silently.
    Cut {
        /// Which; both if none is named.
        fabric: Option<Fabric>,
        /// Which way.
        direction: Direction,
    },
    /// One of its roles is killed; its init starts it again.
    Role(&'static str),
    /// Its disk is full.
    DiskFull,
}

impl FaultKind {
    /// Whether the others must take the host for dead if it lasts.
    pub(super) const fn silences(self) -> bool {
        match self {
            Self::Power | Self::Freeze => true,
            // One that hears nothing gets no acknowledgement, so its lease ends as well.
            Self::Cut { fabric, .. } => fabric.is_none(),
            Self::Role(_) | Self::DiskFull => false,
        }
    }
}

/// The roles of a host that can be killed.
pub(super) const fn roles(kind: HostKind) -> &'static [&'static str] {
    match kind {
        HostKind::Controller => &["controller", "beat"],
        HostKind::Node => &["node", "beat"],
        HostKind::Storage => &["storage", "beat"],
        HostKind::Director => &["director", "beat"],
        HostKind::Etcd => &["etcd"],
        HostKind::Outside => &[],
    }
}

/// A fault of a host that begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Whose.
    pub host: LabHost,
    /// What.
    pub kind: FaultKind,
    /// When, from the beginning of its part of the schedule.
    pub at: Duration,
    /// For how long; zero for a role, which its init starts again.
    pub length: Duration,
}

impl Fault {
    /// When it is repaired.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.at + self.length
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power => f.pad("power cut"),
            Self::Freeze => f.pad("frozen"),
            Self::Cut { fabric, direction } => {
                let fabric = match fabric {
                    None => "both fabrics",
                    Some(Fabric::A) => "fabric a",
                    Some(Fabric::B) => "fabric b",
                };
                let way = match direction {
                    Direction::Both => "",
                    Direction::In => ", hears nothing",
                    Direction::Out => ", is not heard",
                };
                f.pad(&format!("cut off {fabric}{way}"))
            }
            Self::Role(role) => f.pad(&format!("{role} killed")),
            Self::DiskFull => f.pad("disk full"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7} ms  {:<4} {}", self.at.as_millis(), self.host, self.kind)?;
        if self.length.is_zero() { Ok(()) } else { write!(f, " for {} ms", self.length.as_millis()) }
    }
}
