//! What a lab looks like right now, read from the kernel as far as possible.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pan_linux::netns::Netns;
use pan_model::{ByteSize, Cpu};
use serde::Serialize;

use crate::boot;
use crate::disk::Disk;
use crate::error::LabError;
use crate::fault::Cut;
use crate::lab::{Lab, registered};
use crate::name::{HostKind, LabHost, LabName};
use crate::state::HostState;

/// Whether a host is powered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Its init runs.
    On,
    /// It does not.
    Off,
}

/// A host's two fabric links: `up`, `down` (no power), or what is cut: `in`, `out`, `both`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Links {
    /// Fabric A; none for the client.
    pub a: Option<&'static str>,
    /// Fabric B; none for the client.
    pub b: Option<&'static str>,
}

/// One host of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostView {
    /// Its name.
    pub name: LabHost,
    /// `controller`, `node`, `storage`, `director` or `outside`.
    pub role: &'static str,
    /// Powered or not.
    pub power: Power,
    /// Whether all its processes are stopped.
    pub frozen: bool,
    /// Its fabric links.
    pub links: Links,
    /// What each round trip over them takes longer, in milliseconds.
    #[serde(rename = "delayMs")]
    pub delay_ms: u64,
    /// Its disk.
    pub disk: Disk,
    /// The folder that is its disk.
    pub data: PathBuf,
    /// All its processes, those of its servers included, as the machine numbers them.
    pub pids: Vec<i32>,
    /// The name of its network namespace, for `ip netns exec`; none while it is off.
    pub netns: Option<String>,
}

/// What a lab was asked to be, as far as it can be asked for from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// How many nodes.
    pub nodes: usize,
    /// How many storage hosts.
    pub storage: usize,
    /// How many directors.
    pub directors: usize,
    /// How many controllers.
    pub controllers: usize,
    /// Timing profile.
    pub profile: String,
    /// Processor time each node offers.
    pub node_cpu: Cpu,
    /// Memory each node offers.
    pub node_memory: ByteSize,
    /// Labels per node.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Lab {
    /// What it was asked to be.
    ///
    /// # Errors
    /// Its state cannot be read.
    pub fn shape(&self) -> Result<Shape, LabError> {
        let state = self.state()?;
        let count = |kind: HostKind| state.hosts.iter().filter(|host| host.name.kind() == kind).count();
        Ok(Shape {
            nodes: count(HostKind::Node),
            storage: count(HostKind::Storage),
            directors: count(HostKind::Director),
            controllers: count(HostKind::Controller),
            profile: state.profile,
            node_cpu: state.node_cpu,
            node_memory: state.node_memory,
            labels: state.labels,
        })
    }

    /// All hosts, in the order in which they were made.
    pub fn hosts(&self) -> Result<Vec<HostView>, LabError> {
        let state = self.state()?;
        state.hosts.iter().map(|host| self.view(host)).collect()
    }

    fn view(&self, host: &HostState) -> Result<HostView, LabError> {
        let on = host.running().is_some();
        let group = boot::host_group(self.name(), host.name)?;
        let netns = self.name().host_netns(host.name);
        let link = |cut: Cut| match (host.name.address(), on, cut) {
            (None, _, _) => None,
            (Some(_), false, _) => Some("down"),
            (Some(_), true, Cut::None) => Some("up"),
            (Some(_), true, Cut::In) => Some("in"),
            (Some(_), true, Cut::Out) => Some("out"),
            (Some(_), true, Cut::Both) => Some("both"),
        };
        Ok(HostView {
            name: host.name,
            role: host.name.kind().as_str(),
            power: if on { Power::On } else { Power::Off },
            frozen: on && group.is_frozen(),
            links: Links { a: link(host.cut_a), b: link(host.cut_b) },
            delay_ms: u64::try_from(host.delay.as_millis()).expect("delays have a bound"),
            disk: host.disk,
            data: crate::config::home(self.data(), host.name),
            pids: group.procs(),
            netns: Netns::exists(&netns).then_some(netns),
        })
    }
}

/// The names of all labs on this machine.
pub fn labs() -> Vec<LabName> {
    registered()
}
