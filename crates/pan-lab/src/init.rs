//! The init of a host: starts its roles, starts them again when they end or stand still, reaps everything else.
//!
//! Roles are separate processes so that one may crash, hang or be upgraded alone; heartbeats in
//! particular come from a process that does nothing else.

mod backoff;
mod silence;
mod supervisor;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use pan_linux::process::{Reaper, Seen, raise_file_limit, reap_until, take_listen_fds};
use pan_model::host::Role;
use pan_model::host_config::{EtcdConfig, HostConfig};

use supervisor::Supervisor;

/// Why a host's init gave up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The configuration cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The configuration is wrong.
    #[error("{} is not a host's configuration: {message}", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// What a host is.
#[derive(Debug, Clone, Copy)]
pub enum Machine<'a> {
    /// One of the PAN, by its configuration.
    Host(&'a Path),
    /// A member of etcd, by its configuration.
    Etcd(&'a Path),
    /// Neither: nothing is to be started.
    Other,
}

/// Runs as pid 1 of a host until SIGTERM: one child `EXE ROLE --config FILE` per role and one for the
/// heartbeats, their output appended to `stateDir/log/ROLE.log`. Sockets this process was started with
/// go to the controller. On a machine that is no host it only reaps.
///
/// Call it before anything starts a thread.
pub fn run(machine: Machine<'_>) -> Result<(), InitError> {
    let failed = |action| move |source| InitError::System { action, source };
    let sockets = take_listen_fds().map_err(failed("take over the sockets"))?;
    let reaper = Reaper::new(&[Signal::SIGTERM, Signal::SIGINT]).map_err(failed("listen for signals"))?;
    raise_file_limit().map_err(failed("raise the limit of open files"))?;
    let (path, commands, logs) = match machine {
        Machine::Host(path) => {
            let host: HostConfig = read(path)?;
            (path, commands(&host.roles), host.state_dir.join("log"))
        }
        Machine::Etcd(path) => {
            let member: EtcdConfig = read(path)?;
            let state = member.data_dir.parent().unwrap_or(Path::new("/"));
            (path, vec!["etcd"], state.join("log"))
        }
        Machine::Other => return idle(&reaper).map_err(failed("wait for children")),
    };
    let exe = std::env::current_exe().map_err(failed("find this program"))?;
    let mut supervisor = Supervisor::new(exe, path, commands, logs, sockets);
    supervisor.run(&reaper).map_err(failed("wait for children"))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, InitError> {
    let text = std::fs::read_to_string(path).map_err(|source| InitError::Read { path: path.to_path_buf(), source })?;
    serde_saphyr::from_str(&text).map_err(|error| InitError::Config { path: path.to_path_buf(), message: error.to_string() })
}

fn idle(reaper: &Reaper) -> io::Result<()> {
    let stop = |seen: &Seen| matches!(seen, Seen::Signal(_));
    while !reap_until(reaper, Duration::from_secs(3600), stop)? {}
    Ok(())
}

/// The commands of a host's roles. Heartbeats first: the host is to be heard of before it is asked
/// for anything.
fn commands(roles: &[Role]) -> Vec<&'static str> {
    let mut all = vec!["beat"];
    all.extend(roles.iter().map(|role| role.as_str()));
    all
}
