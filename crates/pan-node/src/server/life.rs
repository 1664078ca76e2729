//! What is here of a server, as its task knows it.

use pan_member::Tick;

use super::exit::Watch;
use super::record::{Bound, Container, Record, Stage};
use super::task::Wanted;
use crate::apply::Rootfs;
use crate::decide::{self, Binding, Here, Why};
use crate::health::{Health, Target};
use crate::host::Host;
use crate::names;

/// What is here of a server.
#[derive(Debug)]
pub(crate) enum Life {
    /// Nothing.
    Nothing,
    /// All of it but a program that runs and a place in the network.
    Warm(Warm),
    /// Volumes that are here or on their way, and no process.
    Attaching(Attaching),
    /// A container that runs.
    Running(Running),
    /// A container that was asked to stop.
    Stopping(Stopping),
    /// Network and files, no process.
    Ended(Ended),
    /// Network and files, no process, and no hope.
    Failed(Failed),
    /// What removal left.
    Leftover(Leftover),
}

#[derive(Debug)]
pub(crate) struct Warm {
    /// Its order has no epoch yet.
    pub bound: Bound,
    /// PAN_INSTANCE.
    pub instance: String,
    /// When it was ready, on the wall clock.
    pub ready: i64,
    /// The root file system, if there is no container yet: one with volumes is made when those are mounted.
    pub rootfs: Option<Rootfs>,
}

#[derive(Debug)]
pub(crate) struct Attaching {
    pub bound: Bound,
    /// A root file system that was made ahead.
    pub rootfs: Option<Rootfs>,
    /// What it still waits for.
    pub waits: Option<String>,
    /// Why it did not run before.
    pub complaint: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Running {
    pub bound: Bound,
    pub container: Container,
    pub watch: Watch,
    pub health: Health,
    /// When the next check is due.
    pub check_at: Tick,
    /// What the last failed check said, while it matters.
    pub complaint: Option<String>,
    /// Which volume was lost, and why.
    pub lost: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Stopping {
    pub bound: Bound,
    pub container: Container,
    pub watch: Watch,
    pub why: Why,
    /// What was wrong with it, if it is stopped for that.
    pub complaint: Option<String>,
    pub kill_at: Tick,
    /// Whether it was killed. Who is still there waits in the kernel for a volume.
    pub killed: bool,
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub bound: Bound,
    pub at: Tick,
    pub message: String,
}

#[derive(Debug)]
pub(crate) struct Failed {
    pub bound: Bound,
    pub message: String,
}

#[derive(Debug)]
pub(crate) struct Leftover {
    pub bound: Bound,
    pub at: Tick,
    pub message: String,
}

impl Life {
    /// What decisions need to know of it.
    pub(crate) fn here(&self, wanted: &Wanted) -> Here {
        match self {
            Self::Nothing => Here::Nothing,
            Self::Warm(warm) => Here::Warm { fits: fits(&warm.bound, wanted) },
            Self::Attaching(attaching) => Here::Attaching { binding: binding(&attaching.bound), ready: attaching.waits.is_none() },
            Self::Running(running) => Here::Running {
                binding: binding(&running.bound),
                lost: running.lost.is_some(),
                hopeless: running.health.hopeless_at(running.bound.order.health.as_ref()),
            },
            Self::Stopping(stopping) => Here::Stopping { kill_at: stopping.kill_at },
            Self::Ended(ended) => Here::Ended { binding: binding(&ended.bound), at: ended.at },
            Self::Failed(failed) => Here::Failed { binding: binding(&failed.bound) },
            Self::Leftover(left) => Here::Leftover { at: left.at },
        }
    }

    pub(crate) fn bound(&self) -> Option<&Bound> {
        match self {
            Self::Nothing => None,
            Self::Warm(Warm { bound, .. })
            | Self::Attaching(Attaching { bound, .. })
            | Self::Running(Running { bound, .. })
            | Self::Stopping(Stopping { bound, .. })
            | Self::Ended(Ended { bound, .. })
            | Self::Failed(Failed { bound, .. })
            | Self::Leftover(Leftover { bound, .. }) => Some(bound),
        }
    }

    /// The same, of one whose order may change while it is here.
    pub(crate) fn bound_mut(&mut self) -> Option<&mut Bound> {
        match self {
            Self::Nothing | Self::Warm(_) | Self::Leftover(_) => None,
            Self::Attaching(Attaching { bound, .. })
            | Self::Running(Running { bound, .. })
            | Self::Stopping(Stopping { bound, .. })
            | Self::Ended(Ended { bound, .. })
            | Self::Failed(Failed { bound, .. }) => Some(bound),
        }
    }

    /// What the disk should say about it; `None` where there should be no record.
    pub(crate) fn record(&self) -> Option<Record> {
        let bound = self.bound()?.clone();
        let stage = match self {
            Self::Nothing => return None,
            Self::Warm(_) => Stage::Warm,
            Self::Attaching(_) => Stage::Attaching,
            Self::Running(Running { container, health, .. }) => Stage::Running { container: container.clone(), health: *health },
            Self::Stopping(Stopping { container, why, complaint, kill_at, .. }) => {
                Stage::Stopping { container: container.clone(), why: *why, complaint: complaint.clone(), kill_at: kill_at.0 }
            }
            Self::Ended(Ended { at, message, .. }) => Stage::Ended { at: at.0, message: message.clone() },
            Self::Failed(Failed { message, .. }) => Stage::Failed { message: message.clone() },
            Self::Leftover(_) => Stage::Releasing,
        };
        Some(Record::new(bound, stage))
    }
}

/// Whether what was made ready is what is wanted now.
fn fits(made: &Bound, wanted: &Wanted) -> bool {
    match wanted {
        Wanted::Warm(order, cable) | Wanted::Order(order, cable) => {
            cable.as_ref() == Some(&made.cable) && decide::serves(&made.order, order)
        }
        Wanted::Unknown | Wanted::Gone => false,
    }
}

pub(crate) fn binding(bound: &Bound) -> Binding {
    Binding { epoch: bound.order.epoch, incarnation: bound.order.incarnation, ends: bound.ends, ends_max: bound.order.restart_attempts }
}

/// What a health check of this server is aimed at.
pub(crate) fn target(bound: &Bound, host: &Host) -> Target {
    let order = &bound.order;
    let localhost = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    Target {
        netns: names::netns(&order.key),
        address: order.addresses.first().copied().unwrap_or(localhost),
        container: host.container(&order.key),
    }
}
