//! Power on and power off of one host.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use pan_linux::cgroup::{CGROUP_ROOT, CgroupTree, Layout};
use pan_linux::hostns::{self, HostNsSpec};
use pan_linux::netns::NETNS_DIR;
use pan_linux::process::PidFd;

use crate::config::{OF_THE_LAB, STATE_DIR, home};
use crate::delay;
use crate::disk::{self, Disk};
use crate::error::LabError;
use crate::name::{HostKind, LabHost, LabName};
use crate::network;
use crate::state::{InitProcess, LabState};

/// A killed host with hundreds of containers is gone in well under a second; on a machine that is
/// overloaded or has a hanging disk it takes longer.
pub(crate) const DEATH_WAIT: Duration = Duration::from_secs(30);
/// Control groups outlive their last process by moments.
pub(crate) const GROUP_WAIT: Duration = Duration::from_secs(10);

/// Processors' time that real-time processes may have, per period: a heartbeat takes microseconds, and the period is
/// short so that one that used up its share waits for less than a suspicion.
pub(crate) const REALTIME_PERIOD: Duration = Duration::from_millis(100);
/// For each host.
const HOST_REALTIME: Duration = Duration::from_millis(3);
/// For all hosts of a laboratory: the kernel checks that the shares add up, and two laboratories fit a machine.
pub(crate) const LAB_REALTIME: Duration = Duration::from_millis(40);

/// The control group of the whole lab.
pub(crate) fn lab_group(name: &LabName) -> Result<CgroupTree, LabError> {
    let layout = Layout::detect(Path::new(CGROUP_ROOT)).map_err(LabError::kernel("find control groups"))?;
    Ok(CgroupTree::new(layout, name.cgroup()))
}

/// What servers' limits are made of.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Refuses a machine on which no server could be limited: what is promised to one would be taken by another.
pub(crate) fn require_controllers(group: &CgroupTree) -> Result<(), LabError> {
    let found = group.controllers();
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|one| !found.contains(*one)).collect();
    let root = group.layout().root().to_path_buf();
    if missing.is_empty() { Ok(()) } else { Err(LabError::Controllers { missing: missing.join(", "), root }) }
}

/// The control group of a host.
pub(crate) fn host_group(name: &LabName, host: LabHost) -> Result<CgroupTree, LabError> {
    Ok(lab_group(name)?.child(&host.to_string()))
}

/// Boots a host whose home is written, with its disk and its links as its state says. A controller gets the API's socket.
pub(crate) fn power_on(data: &Path, state: &mut LabState, host: LabHost, listener: Option<&TcpListener>) -> Result<(), LabError> {
    let name = state.name.clone();
    let entry = state.host_mut(host)?;
    delay::stop(entry)?;
    clear(&name, data, host)?;
    network::plug(&name, host)?;
    let init = start(&name, data, host, listener)?;
    entry.init = Some(init);
    disk::turn(data, host, init, Disk::Ok, entry.disk)?;
    if entry.delay.is_zero() { Ok(()) } else { delay::apply(&name, data, entry) }
}

fn start(name: &LabName, data: &Path, host: LabHost, listener: Option<&TcpListener>) -> Result<InitProcess, LabError> {
    let home = home(data, host);
    let at = |path: &str| Path::new(STATE_DIR).join(path).display().to_string();
    let mut init = vec![at("bin/pan"), "host-init".to_owned()];
    match host.kind() {
        HostKind::Outside => {}
        HostKind::Etcd => init.extend(["--etcd".to_owned(), at("etc/host.yaml")]),
        HostKind::Controller | HostKind::Node | HostKind::Storage | HostKind::Director => {
            init.extend(["--config".to_owned(), at("etc/host.yaml")]);
        }
    }
    let group = host_group(name, host)?;
    group.create().map_err(LabError::kernel(format!("make the control group of host {host}")))?;
    // Best effort: without it heartbeats are late on a busy machine, and the beat process says so in its log.
    let _ = group.allow_realtime(HOST_REALTIME, REALTIME_PERIOD);
    let disk = disk::attach(data, host)?;
    let folders = OF_THE_LAB.map(|folder| (home.join(folder), Path::new(STATE_DIR).join(folder)));
    let handle = hostns::start(&HostNsSpec {
        hostname: host.to_string(),
        netns: Path::new(NETNS_DIR).join(name.host_netns(host)),
        cgroup: name.cgroup().join(host.to_string()),
        init,
        env: environment(name),
        listen_fds: listener.iter().map(|socket| socket.as_raw_fd()).collect(),
        log: home.join("log").join("init.log"),
        disks: vec![(disk.path().to_path_buf(), STATE_DIR.into())],
        binds: folders.to_vec(),
    });
    Ok(handle.map_err(LabError::kernel(format!("boot host {host}")))?.into())
}

/// The environment of everything in a lab: its name, and what makes programs findable and talkative.
fn environment(name: &LabName) -> Vec<(String, String)> {
    let mut env = vec![
        ("PAN_LAB".to_owned(), name.to_string()),
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
    ];
    for key in ["RUST_LOG", "RUST_BACKTRACE", "LANG", "TZ"] {
        if let Ok(value) = std::env::var(key) {
            env.push((key.to_owned(), value));
        }
    }
    env
}

/// Cuts a host's power: silence first, then death, then nothing of it is left but its disk.
pub(crate) fn power_off(name: &LabName, data: &Path, host: LabHost, init: InitProcess) -> Result<(), LabError> {
    network::ports_down(name, host)?;
    if init.is_running()
        && let Ok(process) = PidFd::open(init.pid)
    {
        let step = || format!("kill host {host}");
        process.kill(Signal::SIGKILL).map_err(LabError::kernel(step()))?;
        process.wait(DEATH_WAIT).map_err(LabError::kernel(step()))?;
    }
    clear(name, data, host)
}

/// Removes everything of a host but its home; nothing there is fine.
pub(crate) fn clear(name: &LabName, data: &Path, host: LabHost) -> Result<(), LabError> {
    let step = || format!("clear away host {host}");
    let group = host_group(name, host)?;
    group.kill_all(DEATH_WAIT).map_err(LabError::kernel(step()))?;
    group.remove_recursive(GROUP_WAIT).map_err(LabError::kernel(step()))?;
    network::unplug(name, host)?;
    disk::wait_idle(data, host)
}
