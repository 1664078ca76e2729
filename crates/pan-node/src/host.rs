//! What every server's task needs of the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pan_api::report::GateReport;
use pan_linux::cgroup::{CGROUP_ROOT, Layout};
use pan_linux::oci::{Runtime, Swap};
use pan_linux::realtime::since_boot;
use pan_linux::rtnl::Rtnl;
use pan_member::BootId;
use pan_model::ServerKey;
use pan_model::host_config::HostConfig;
use tokio::sync::Semaphore;

use crate::apply::hidden::Hidden;
use crate::image::Images;
use crate::metrics::Counts;
use crate::names;
use crate::network::{Checks, Network};
use crate::paths::Paths;
use crate::server::deaths::Deaths;
use crate::server::exec::Container;
use crate::usage::Meter;
use crate::users::UserSpaces;
use crate::volume::Volumes;

/// Starts that may be under way at the same time: more only makes each slower on few processors.
const STARTS_MAX: usize = 4;

/// The host as its servers' tasks see it.
#[derive(Debug)]
pub(crate) struct Host {
    pub config: HostConfig,
    pub paths: Paths,
    pub runtime: Runtime,
    /// The program that becomes a shim when told to.
    pub exe: PathBuf,
    pub rtnl: Rtnl,
    pub network: Arc<Network>,
    pub starts: Semaphore,
    pub hidden: Hidden,
    pub deaths: Deaths,
    /// What the servers' ports are behind.
    pub checks: Checks,
    pub counts: Counts,
    pub volumes: Volumes,
    pub images: Images,
    pub users: UserSpaces,
    pub swap: Swap,
    pub meter: Meter,
}

/// What of it is made before anything else.
#[derive(Debug)]
pub(crate) struct Parts {
    pub rtnl: Rtnl,
    pub network: Arc<Network>,
    pub deaths: Deaths,
    pub checks: Checks,
    pub users: UserSpaces,
}

impl Host {
    pub(crate) fn new(config: &HostConfig, boot: BootId, exe: PathBuf, parts: Parts) -> Self {
        let Parts { rtnl, network, deaths, checks, users } = parts;
        let paths = Paths::of(config);
        Self {
            meter: Meter::open_at(paths.usage()),
            volumes: Volumes::new(paths.volumes(), boot.0),
            images: Images::open(config, paths.clone(), Hidden::of(config)),
            runtime: Runtime { root: paths.runtime(), ..Runtime::default() },
            paths,
            config: config.clone(),
            exe,
            rtnl,
            network,
            starts: Semaphore::new(STARTS_MAX),
            hidden: Hidden::of(config),
            deaths,
            checks,
            counts: Counts::default(),
            users,
            swap: swap(),
        }
    }

    /// The container of a server that runs, for programs to be run in.
    pub(crate) fn container(&self, key: &ServerKey) -> Container {
        let id = names::id(key);
        let folder = self.paths.server(&id).run;
        Container { id, folder, root: self.users.root_of(&key.partition), runtime: self.runtime.clone() }
    }

    /// The gate as it is now. One that cannot be read is told as shut.
    pub(crate) fn gate_report(&self) -> Option<GateReport> {
        let gate = self.checks.gate.as_ref()?;
        let left = gate.deadline().unwrap_or_default().saturating_sub(since_boot());
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Some(GateReport { bpf_refused: gate.bpf_refused().map(str::to_owned), left_ms })
    }

    /// Whether the gate is open at this moment; where nobody grants leases it always is.
    pub(crate) fn is_leased(&self) -> bool {
        self.gate_report().is_none_or(|gate| gate.left_ms > 0)
    }
}

/// A host whose control groups cannot be found starts no container, and says why then.
fn swap() -> Swap {
    match Layout::detect(Path::new(CGROUP_ROOT)) {
        Ok(layout) if layout.counts_swap() => Swap::Counted,
        Ok(_) | Err(_) => Swap::NotCounted,
    }
}
