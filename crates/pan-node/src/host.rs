//! What every server's task needs of the host.

use std::path::PathBuf;

use pan_linux::oci::Runtime;
use pan_linux::rtnl::Rtnl;
use pan_model::host_config::HostConfig;
use tokio::sync::Semaphore;

use crate::apply::hidden::Hidden;
use crate::network::Network;
use crate::paths::Paths;
use crate::server::deaths::Deaths;

/// Starts that may be under way at the same time: more only makes each slower on few processors.
const STARTS_MAX: usize = 4;

/// The host as its servers' tasks see it.
#[derive(Debug)]
pub(crate) struct Host {
    pub paths: Paths,
    pub runtime: Runtime,
    /// The program that becomes a shim when told to.
    pub exe: PathBuf,
    pub rtnl: Rtnl,
    pub network: Network,
    pub starts: Semaphore,
    pub hidden: Hidden,
    pub deaths: Deaths,
}

impl Host {
    pub(crate) fn new(config: &HostConfig, exe: PathBuf, rtnl: Rtnl, network: Network, deaths: Deaths) -> Self {
        let paths = Paths::of(config);
        Self {
            runtime: Runtime { root: paths.runtime(), ..Runtime::default() },
            paths,
            exe,
            rtnl,
            network,
            starts: Semaphore::new(STARTS_MAX),
            hidden: Hidden::of(config),
            deaths,
        }
    }
}
