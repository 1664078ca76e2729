//! `lab.json`: what a later process must know of a lab that it cannot read from the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use pan_linux::datagram::boot_clock;
use pan_linux::hostns::HostHandle;
use pan_linux::process;
use pan_model::host_config::GateChoice;
use pan_model::{ByteSize, Cpu};
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::LabError;
use crate::fault::Cut;
use crate::name::{LabHost, LabName};

const VERSION: u64 = 3;

/// How far bringing a lab up has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Being made; if nobody works on it, its maker died.
    Starting,
    /// Made.
    Up,
}

/// A host's init, by pid and start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InitProcess {
    pub(crate) pid: i32,
    pub(crate) start: u64,
}

impl From<HostHandle> for InitProcess {
    fn from(handle: HostHandle) -> Self {
        Self { pid: handle.init_pid, start: handle.init_start }
    }
}

impl InitProcess {
    /// True if this very process still runs.
    pub(crate) fn is_running(self) -> bool {
        process::is_running(self.pid) && process::start_time(self.pid) == Some(self.start)
    }
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostState {
    pub(crate) name: LabHost,
    pub(crate) init: Option<InitProcess>,
    #[serde(default)]
    pub(crate) cut_a: Cut,
    #[serde(default)]
    pub(crate) cut_b: Cut,
    #[serde(default)]
    pub(crate) disk: Disk,
    /// What each round trip to it takes longer.
    #[serde(default)]
    pub(crate) delay: Duration,
    /// The process that delays its frames.
    #[serde(default)]
    pub(crate) relay: Option<InitProcess>,
}

/// The machine's link to a lab's outside network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineLink {
    /// The machine's end.
    pub(crate) device: String,
    /// The outside network as the machine sees it.
    pub(crate) network: Ipv4Net,
}

/// Everything in `lab.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct LabState {
    version: u64,
    pub(crate) name: LabName,
    /// When it was made, by the boot clock in nanoseconds: one that was taken down and made again is another.
    pub(crate) made: u64,
    pub(crate) phase: Phase,
    pub(crate) profile: String,
    pub(crate) node_cpu: Cpu,
    pub(crate) node_memory: ByteSize,
    pub(crate) labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Hosts whose volumes go over the fabrics without TLS.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) in_the_clear: BTreeSet<String>,
    /// What the nodes' gates are made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gate: Option<GateChoice>,
    /// Where each controller's API is on the machine, in their order.
    pub(crate) api: Vec<SocketAddr>,
    pub(crate) machine_link: Option<MachineLink>,
    pub(crate) hosts: Vec<HostState>,
}

/// The parts of a new state that do not start empty.
pub(crate) struct NewState {
    pub(crate) name: LabName,
    pub(crate) profile: String,
    pub(crate) node_cpu: Cpu,
    pub(crate) node_memory: ByteSize,
    pub(crate) labels: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) in_the_clear: BTreeSet<String>,
    pub(crate) gate: Option<GateChoice>,
    pub(crate) api: Vec<SocketAddr>,
    pub(crate) hosts: Vec<LabHost>,
}

impl LabState {
    pub(crate) fn new(new: NewState) -> Self {
        Self {
            version: VERSION,
            name: new.name,
            made: boot_clock(),
            phase: Phase::Starting,
            profile: new.profile,
            node_cpu: new.node_cpu,
            node_memory: new.node_memory,
            labels: new.labels,
            in_the_clear: new.in_the_clear,
            gate: new.gate,
            api: new.api,
            machine_link: None,
            hosts: new.hosts.into_iter().map(HostState::off).collect(),
        }
    }

    pub(crate) fn path(data: &Path) -> PathBuf {
        data.join("lab.json")
    }

    /// Reads it; `None` if there is none.
    pub(crate) fn load(name: &LabName, data: &Path) -> Result<Option<Self>, LabError> {
        let path = Self::path(data);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LabError::file("read", &path)(error)),
        };
        let damaged = |source| LabError::State { path: path.clone(), name: name.clone(), source };
        #[derive(Deserialize)]
        struct Head {
            version: u64,
        }
        let head: Head = serde_json::from_str(&text).map_err(damaged)?;
        if head.version != VERSION {
            return Err(LabError::StateVersion { path, found: head.version, known: VERSION });
        }
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// Writes it, all or nothing.
    pub(crate) fn save(&self, data: &Path) -> Result<(), LabError> {
        let text = serde_json::to_string_pretty(self).expect("a state serialises");
        write_private(&Self::path(data), text.as_bytes())
    }

    pub(crate) fn host(&self, name: LabHost) -> Result<&HostState, LabError> {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.ok_or_else(|| self.no_such_host(&name.to_string()))
    }

    pub(crate) fn host_mut(&mut self, name: LabHost) -> Result<&mut HostState, LabError> {
        let missing = self.no_such_host(&name.to_string());
        let found = self.hosts.iter_mut().find(|host| host.name == name);
        found.ok_or(missing)
    }

    /// Finds a host by what a user typed.
    pub(crate) fn parse_host(&self, text: &str) -> Result<LabHost, LabError> {
        let parsed: Result<LabHost, _> = text.parse();
        match parsed {
            Ok(name) => self.host(name).map(|host| host.name),
            Err(_) => Err(self.no_such_host(text)),
        }
    }

    fn no_such_host(&self, text: &str) -> LabError {
        let known: Vec<String> = self.hosts.iter().map(|host| host.name.to_string()).collect();
        LabError::NoSuchHost { lab: self.name.clone(), host: text.to_owned(), known: known.join(", ") }
    }
}

impl HostState {
    /// A host that has never been started.
    pub(crate) fn off(name: LabHost) -> Self {
        Self { name, init: None, cut_a: Cut::None, cut_b: Cut::None, disk: Disk::Ok, delay: Duration::ZERO, relay: None }
    }

    /// Its init, if that runs.
    pub(crate) fn running(&self) -> Option<InitProcess> {
        self.init.filter(|init| init.is_running())
    }

    pub(crate) fn require_running(&self) -> Result<InitProcess, LabError> {
        self.running().ok_or(LabError::PoweredOff(self.name))
    }
}

/// Writes a file only root can read, so that a reader sees the old or the new content, never a mixture.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), LabError> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(content))
        .map_err(LabError::file("write", &fresh))?;
    fs::rename(&fresh, path).map_err(LabError::file("write", path))
}
