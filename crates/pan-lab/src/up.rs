//! Bringing a lab up.

use std::fs;
use std::net::TcpListener;

use crate::boot;
use crate::config;
use crate::down::{remove_data, sweep};
use crate::error::LabError;
use crate::lab::{Lab, register};
use crate::lock::LabLock;
use crate::machine;
use crate::name::HostKind;
use crate::network;
use crate::pki::{Secrets, private_dir};
use crate::sockets::{self, Port};
use crate::spec::LabSpec;
use crate::state::{LabState, NewState, Phase};

/// How a lab came to be up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was made.
    Made,
    /// It was there.
    Found,
}

impl Lab {
    /// [`Lab::bring_up`], for those who do not care who brought it up.
    pub fn up(spec: LabSpec, progress: &mut dyn FnMut(&str)) -> Result<Self, LabError> {
        Self::bring_up(spec, progress).map(|(lab, _)| lab)
    }

    /// Brings a lab up: networks, keys, hosts; telling each step to `progress`. A running lab of that
    /// name is left as it is. Data of an earlier lab of that name and place is its hosts' disks.
    ///
    /// Returns when every host's init runs; roles may still be starting. After a failure nothing of
    /// it is left in the kernel; its data stays for a look at the logs.
    pub fn bring_up(spec: LabSpec, progress: &mut dyn FnMut(&str)) -> Result<(Self, Origin), LabError> {
        if !nix::unistd::Uid::effective().is_root() {
            return Err(LabError::NotRoot);
        }
        spec.check()?;
        let _lock = LabLock::of(&spec.name)?;
        if let Ok(running) = Self::load(&spec.name) {
            progress(&format!("laboratory {} is running already", spec.name));
            return Ok((running, Origin::Found));
        }
        check_data(&spec)?;
        progress(&format!("preparing laboratory {} in {}", spec.name, spec.data.display()));
        let left = sweep(&spec.name, &spec.data);
        if !left.is_empty() {
            return Err(LabError::Leftover { name: spec.name, left });
        }
        let fresh = !spec.data.exists();
        match build(&spec, progress) {
            Ok(state) => Ok((Self::of(&state, &spec.data), Origin::Made)),
            Err(error) => {
                progress("it failed; taking away what was made so far");
                for left in sweep(&spec.name, &spec.data) {
                    progress(&format!("left behind: {left}"));
                }
                // Without a single log there is nothing to look at.
                if fresh && !spec.data.join("hosts").exists() {
                    let _ = remove_data(&spec.data);
                }
                Err(error)
            }
        }
    }
}

/// A folder with somebody else's files in it must not become a lab's.
fn check_data(spec: &LabSpec) -> Result<(), LabError> {
    let Ok(mut entries) = fs::read_dir(&spec.data) else {
        return Ok(());
    };
    if entries.next().is_none() || spec.data.join("pki").is_dir() {
        return Ok(());
    }
    Err(LabError::NotOurs(spec.data.clone()))
}

fn build(spec: &LabSpec, progress: &mut dyn FnMut(&str)) -> Result<LabState, LabError> {
    let (name, data) = (&spec.name, &spec.data);
    private_dir(data)?;
    register(name, data)?;
    let secrets = Secrets::ensure(data)?;
    config::keep_program(data, &spec.exe)?;
    let (state, listeners) = first_state(spec)?;
    let mut state = state;
    state.save(data)?;

    progress("building networks: fabrics A and B, management, outside");
    let group = boot::lab_group(name)?;
    group.create().map_err(LabError::kernel("make the laboratory's control group"))?;
    if spec.nodes > 0 {
        boot::require_controllers(&group)?;
    }
    let _ = group.allow_realtime(boot::LAB_REALTIME, boot::REALTIME_PERIOD);
    network::build(name)?;
    if spec.machine_link {
        let link = machine::connect(name)?;
        progress(&format!("linking this machine to the outside network as {}", link.network));
        state.machine_link = Some(link);
        state.save(data)?;
    }
    let hosts: Vec<_> = state.hosts.iter().map(|host| host.name).collect();
    for host in &hosts {
        config::write_home(data, &state, &secrets, *host)?;
    }
    for host in hosts {
        progress(&format!("booting {host} ({})", host.kind().as_str()));
        let socket = listeners.get(usize::from(host.ordinal()) - 1).filter(|_| host.kind() == HostKind::Controller);
        boot::power_on(data, &mut state, host, socket)?;
        state.save(data)?;
    }
    network::apply_cuts(&state)?;
    state.phase = Phase::Up;
    state.save(data)?;
    Ok(state)
}

fn first_state(spec: &LabSpec) -> Result<(LabState, Vec<TcpListener>), LabError> {
    let port = if spec.machine_link { Port::NearWellKnown } else { Port::Any };
    let listeners = (0..spec.controllers).map(|_| sockets::listen(port)).collect::<Result<Vec<_>, _>>()?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(|source| LabError::Listen { port: 0, source });
    let api = listeners.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    let state = LabState::new(NewState {
        name: spec.name.clone(),
        profile: spec.profile.clone(),
        node_cpu: spec.node_cpu,
        node_memory: spec.node_memory,
        labels: spec.labels.clone(),
        in_the_clear: spec.in_the_clear.clone(),
        gate: spec.gate,
        api,
        hosts: spec.hosts()?,
    });
    Ok((state, listeners))
}
