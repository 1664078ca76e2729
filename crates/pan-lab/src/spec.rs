//! What a lab is asked to be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pan_model::host_config::GateChoice;
use pan_model::{ByteSize, Cpu};

use crate::error::LabError;
use crate::name::{HostKind, LabHost, LabName};

/// Members of etcd, where there are several controllers: any one may be lost.
const ETCD_MEMBERS: u8 = 3;

/// A lab to bring up.
#[derive(Debug, Clone)]
pub struct LabSpec {
    /// Its name.
    pub name: LabName,
    /// Where everything of it lies, absolute. Keys, disks of the hosts, logs.
    pub data: PathBuf,
    /// How many nodes.
    pub nodes: u8,
    /// How many storage hosts.
    pub storage: u8,
    /// How many directors.
    pub directors: u8,
    /// How many controllers.
    pub controllers: u8,
    /// Timing profile: `lan`, `shared` or `wan`.
    pub profile: String,
    /// Processor time each node offers, whatever the machine has.
    pub node_cpu: Cpu,
    /// Memory each node offers.
    pub node_memory: ByteSize,
    /// Labels per node.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Hosts whose volumes go over the fabrics without TLS, and storage hosts that serve them so: for benchmarks.
    pub in_the_clear: BTreeSet<String>,
    /// What the nodes' gates are made of; the best that the kernel allows when absent.
    pub gate: Option<GateChoice>,
    /// Whether the machine gets a link to the outside network, and the API its well-known port.
    pub machine_link: bool,
    /// The `pan` program. The lab keeps a link to it, so a rebuild does not disturb running hosts.
    pub exe: PathBuf,
}

impl LabSpec {
    /// The hosts, in the order in which they start: whoever decides comes first.
    pub(crate) fn hosts(&self) -> Result<Vec<LabHost>, LabError> {
        let mut hosts = Vec::new();
        // A single controller keeps its records in a file of its own.
        let members = if self.controllers > 1 { ETCD_MEMBERS } else { 0 };
        for (kind, count) in [
            (HostKind::Etcd, members),
            (HostKind::Controller, self.controllers),
            (HostKind::Node, self.nodes),
            (HostKind::Storage, self.storage),
            (HostKind::Director, self.directors),
            (HostKind::Outside, 1),
        ] {
            for ordinal in 1..=count {
                hosts.push(LabHost::new(kind, ordinal).ok_or(LabError::TooMany {
                    kind: kind.as_str(),
                    asked: count,
                    most: kind.most(),
                })?);
            }
        }
        Ok(hosts)
    }

    /// Refuses what cannot be built, naming the field.
    pub(crate) fn check(&self) -> Result<(), LabError> {
        let refuse = |field: &'static str, problem: String| Err(LabError::Spec { field, problem });
        if self.controllers > 0 && self.controllers.is_multiple_of(2) {
            return refuse("controllers", format!("{}: expected an odd number, of which a majority can decide", self.controllers));
        }
        if !["lan", "shared", "wan"].contains(&self.profile.as_str()) {
            return refuse("profile", format!("{:?} is none of lan, shared, wan", self.profile));
        }
        if !self.data.is_absolute() || self.data.components().count() < 3 {
            let data = self.data.display();
            return refuse("data", format!("{data}: expected an absolute folder at least two levels deep"));
        }
        let hosts = self.hosts()?;
        for (host, labels) in &self.labels {
            if let Some(problem) = labels.iter().find_map(|(key, value)| pan_model::node::label(key, value).err()) {
                return refuse("label", problem);
            }
            let known = host.parse::<LabHost>().is_ok_and(|one| hosts.contains(&one));
            if !known {
                return refuse("label", format!("there is no host {host} in this lab"));
            }
        }
        Ok(())
    }
}
