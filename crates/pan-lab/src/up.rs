//! Bringing a lab up.

use std::fs;
use std::net::TcpListener;

use crate::boot;
use crate::config;
use crate::down::{remove_data, sweep, take_back};
use crate::error::LabError;
use crate::lab::{Lab, data_of, is_half_made, register};
use crate::lock::LabLock;
use crate::machine;
use crate::name::HostKind;
use crate::network;
use crate::pki::{Secrets, private_dir};
use crate::sockets::{self, Port};
use crate::spec::LabSpec;
use crate::state::{LabState, NewState, Phase};

/// Whose the hosts' disks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disks {
    /// They were made with the lab.
    New,
    /// An earlier lab's of that name and place.
    Earlier,
}

/// How a lab came to be up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was made.
    Made(Disks),
    /// It was there.
    Found,
}

impl Lab {
    /// [`Lab::bring_up`], for those who do not care who brought it up.
    pub fn up(spec: LabSpec, progress: &mut dyn FnMut(&str)) -> Result<Self, LabError> {
        Self::bring_up(spec, &|| false, progress).map(|(lab, _)| lab)
    }

    /// Brings a lab up: networks, keys, hosts; telling each step to `progress`, and asking `stop` at each whether to go on.
    /// A running lab of that name is left as it is. Data of an earlier lab of that name and place is its hosts' disks.
    ///
    /// Returns when every host's init runs; roles may still be starting. After a failure nothing of
    /// it is left in the kernel; its data stays for a look at the logs.
    ///
    /// # Errors
    /// A step failed, or it was stopped ([`LabError::Interrupted`]): then its data is gone as well, but for an earlier lab's.
    pub fn bring_up(spec: LabSpec, stop: &dyn Fn() -> bool, progress: &mut dyn FnMut(&str)) -> Result<(Self, Origin), LabError> {
        if !nix::unistd::Uid::effective().is_root() {
            return Err(LabError::NotRoot);
        }
        spec.check()?;
        let lock = LabLock::unless(&spec.name, stop)?;
        if let Ok(running) = Self::load(&spec.name) {
            progress(&format!("laboratory {} is running already", spec.name));
            return Ok((running, Origin::Found));
        }
        check_data(&spec)?;
        clear_earlier(&spec, progress)?;
        let disks = if spec.data.join("pki").exists() { Disks::Earlier } else { Disks::New };
        let failed = match build(&spec, stop, progress) {
            Ok(state) => return Ok((Self::of(&state, &spec.data), Origin::Made(disks))),
            // A program that a step ran may have been told to end as well.
            Err(_) if stop() => {
                let interrupted = take_back(&spec.name, &spec.data, disks);
                lock.remove();
                return Err(interrupted);
            }
            Err(failed) => failed,
        };
        progress("it failed; taking away what was made so far");
        for left in sweep(&spec.name, &spec.data) {
            progress(&format!("left behind: {left}"));
        }
        // Without a single log there is nothing to look at.
        if disks == Disks::New && !spec.data.join("hosts").exists() {
            let _ = remove_data(&spec.data);
        }
        Err(failed)
    }

    /// Takes back what [`Lab::bring_up`] made: all of it, but for an earlier lab's data. What became of it is the answer, a
    /// [`LabError::Interrupted`]; of a lab that somebody took down meanwhile nothing is left to take back.
    ///
    /// # Errors
    /// Another process works on it, and does not end.
    pub fn take_back(self, disks: Disks) -> Result<LabError, LabError> {
        let lock = LabLock::of(&self.name)?;
        if !self.stands() {
            return Ok(LabError::nothing_made(&self.name));
        }
        let became = take_back(&self.name, &self.data, disks);
        lock.remove();
        Ok(became)
    }
}

/// Removes from the kernel what is left of earlier labs of that name, wherever their data lies.
fn clear_earlier(spec: &LabSpec, progress: &mut dyn FnMut(&str)) -> Result<(), LabError> {
    let name = &spec.name;
    let before = data_of(name);
    if LabState::load(name, &before).ok().flatten().is_some_and(|state| is_half_made(&state).unwrap_or(false)) {
        progress(&format!("taking away what an earlier `pan up` of {name} left half made; its data stays in {}", before.display()));
    }
    progress(&format!("preparing laboratory {name} in {}", spec.data.display()));
    let mut left = if before == spec.data { Vec::new() } else { sweep(name, &before) };
    left.extend(sweep(name, &spec.data));
    if left.is_empty() { Ok(()) } else { Err(LabError::Leftover { name: name.clone(), left }) }
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

fn build(spec: &LabSpec, stop: &dyn Fn() -> bool, progress: &mut dyn FnMut(&str)) -> Result<LabState, LabError> {
    let (name, data) = (&spec.name, &spec.data);
    let go_on = || if stop() { Err(LabError::nothing_made(name)) } else { Ok(()) };
    private_dir(data)?;
    register(name, data)?;
    let secrets = Secrets::ensure(data)?;
    config::keep_program(data, &spec.exe)?;
    let (state, listeners) = first_state(spec)?;
    let mut state = state;
    state.save(data)?;

    go_on()?;
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
        go_on()?;
        config::write_home(data, &state, &secrets, *host)?;
    }
    for host in hosts {
        go_on()?;
        progress(&format!("booting {host} ({})", host.kind().as_str()));
        let socket = listeners.get(usize::from(host.ordinal()) - 1).filter(|_| host.kind() == HostKind::Controller);
        boot::power_on(data, &mut state, host, socket)?;
        state.save(data)?;
    }
    network::apply_cuts(&state)?;
    go_on()?;
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
