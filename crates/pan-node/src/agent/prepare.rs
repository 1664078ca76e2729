//! What the agent does before anything else: read what an earlier one left, and wipe what belongs to nobody.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pan_linux::gate::Gate;
use pan_linux::netns::Netns;
use pan_linux::origin::Origins;
use pan_linux::rtnl::Rtnl;
use pan_member::BootId;
use pan_model::host_config::HostConfig;
use pan_model::{ServerKey, VolumeId};

use crate::apply::{adopt, start};
use crate::error::{Error, chain};
use crate::head;
use crate::host::{Host, Parts};
use crate::network::{Checks, Network, NetworkError};
use crate::paths::{Paths, origins_dir};
use crate::server::deaths::Deaths;
use crate::server::record::{Record, Stage};
use crate::users::UserSpaces;
use crate::volume::{let_fail, strays, sweep_sessions};

/// The host, and the servers an earlier agent knew.
pub(super) struct Prepared {
    pub host: Arc<Host>,
    pub records: Vec<(ServerKey, Record)>,
    /// Volumes of which something is here, and of no such server.
    pub strays: Vec<VolumeId>,
    /// What could not be ended of servers that are not here, by id, and why.
    pub leftovers: BTreeMap<String, String>,
}

/// Blocks.
pub(super) fn prepare(config: &HostConfig, boot: BootId, exe: PathBuf) -> Result<Prepared, Error> {
    let adopting = |source| Error::Adopt { source };
    let records = adopt::records(&Paths::of(config)).map_err(adopting)?;
    // Their cables are in use; the network's first pass must not cut them off.
    let attached = records.iter().filter(|(_, record)| is_attached(&record.stage));
    let ports = attached.map(|(_, record)| start::port(&record.bound.order, record.bound.cable.vni)).collect();
    let checks = Checks { gate: open_gate(config)?, origins: Origins::open_if_possible(&origins_dir(&config.run_dir)) };
    let network = Network::start(config.clone(), ports, checks.clone())?;
    let rtnl = Rtnl::open().map_err(NetworkError::from)?;
    let deaths = Deaths::start().map_err(|source| Error::Watch { source })?;
    let users = UserSpaces::open(Paths::of(config).users())?;
    let host = Host::new(config, boot, exe, Parts { rtnl, network, deaths, checks, users });
    let known: Vec<ServerKey> = records.iter().map(|(key, _)| key.clone()).collect();
    host.meter.adopt(&known);
    let kept = head::groups().map_err(|source| adopting(source.into()))?;
    let strays = strays(host.volumes.folder(), kept, records.iter().map(|(_, record)| record)).map_err(|source| adopting(source.into()))?;
    let_fail(&host.volumes, &strays);
    let leftovers = adopt::sweep(&host, &known).map_err(adopting)?;
    sweep_sessions(host.volumes.folder(), &config.state_dir);
    Ok(Prepared { host: Arc::new(host), records, strays, leftovers })
}

/// The gate that the beat process holds open. Without lessors nobody renews leases, and a gate would stay shut. With
/// them there is no way around it: heartbeats would claim a gate that the servers do not have.
fn open_gate(config: &HostConfig) -> Result<Option<Arc<Gate>>, Error> {
    if config.lessors.is_empty() {
        return Ok(None);
    }
    let refused = |error: String| Error::Gate(error);
    let netns = Netns::current().map_err(|error| refused(chain(&error)))?;
    let gate = crate::gate::open(config, &netns).map_err(|error| refused(chain(&error)))?;
    Ok(Some(Arc::new(gate)))
}

fn is_attached(stage: &Stage) -> bool {
    match stage {
        Stage::Running { .. } | Stage::Stopping { .. } | Stage::Ended { .. } | Stage::Failed { .. } => true,
        Stage::Preparing { .. } | Stage::Warm | Stage::Attaching | Stage::Releasing => false,
    }
}
