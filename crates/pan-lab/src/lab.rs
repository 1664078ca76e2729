//! A lab as a value: its name and where its data lies. Everything else is read when it is needed, so
//! any number of processes may hold the same lab.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use pan_linux::hostns;

use crate::boot;
use crate::config;
use crate::error::LabError;
use crate::lock::{LabLock, RUN_DIR};
use crate::name::{HostKind, LabHost, LabName};
use crate::network;
use crate::pki::{self, Credentials, Secrets};
use crate::sockets;
use crate::state::{HostState, LabState, Phase};

/// A laboratory that has been brought up.
#[derive(Debug, Clone)]
pub struct Lab {
    pub(crate) name: LabName,
    pub(crate) data: PathBuf,
    /// See [`LabState::made`].
    made: u64,
}

impl Lab {
    /// Where a lab's data lies unless said otherwise.
    pub fn default_data(name: &LabName) -> PathBuf {
        Path::new("/var/lib/pan").join(name.as_str())
    }

    /// Finds a lab that is up (its hosts may all be off).
    ///
    /// # Errors
    /// There is none of that name or only a part of it, or its state is damaged.
    pub fn load(name: &LabName) -> Result<Self, LabError> {
        let data = data_of(name);
        match LabState::load(name, &data)? {
            Some(state) if state.phase == Phase::Up && boot::lab_group(name)?.exists() => Ok(Self::of(&state, &data)),
            Some(state) if state.phase == Phase::Starting && LabLock::is_held(name) => Err(LabError::Unfinished(name.clone())),
            Some(state) if is_half_made(&state)? => Err(LabError::HalfMade(name.clone())),
            _ => Err(LabError::NoSuchLab { name: name.to_string() }),
        }
    }

    pub(crate) fn of(state: &LabState, data: &Path) -> Self {
        Self { name: state.name.clone(), data: data.to_path_buf(), made: state.made }
    }

    /// Whether it is still there, and not taken down meanwhile, nor another of the same name made since.
    pub fn stands(&self) -> bool {
        Self::load(&self.name).is_ok_and(|now| now.made == self.made)
    }

    /// Its name.
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// Where its data lies.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The log of a role (`controller`, `node`, `beat`, …, or `init`) of a host, as a file of the machine.
    pub fn log(&self, host: LabHost, role: &str) -> PathBuf {
        config::home(&self.data, host).join("log").join(format!("{role}.log"))
    }

    /// What a client needs to speak to its API.
    pub fn credentials(&self) -> Result<Credentials, LabError> {
        let state = self.state()?;
        pki::credentials(&self.data, state.api.iter().map(|api| format!("https://{api}")).collect::<Vec<_>>().join(","))
    }

    /// The outside network as this machine reaches it; `None` without a link.
    pub fn reach(&self) -> Result<Option<ipnet::Ipv4Net>, LabError> {
        Ok(self.state()?.machine_link.map(|link| link.network))
    }

    /// Finds a host by what a user typed.
    pub fn host(&self, text: &str) -> Result<LabHost, LabError> {
        self.state()?.parse_host(text)
    }

    /// Prepares a command inside a host; the caller wires its streams and spawns it.
    ///
    /// # Errors
    /// The host is off or frozen.
    pub fn exec<S: AsRef<std::ffi::OsStr>>(&self, host: LabHost, argv: &[S]) -> Result<Command, LabError> {
        let init = self.state()?.host(host)?.require_running()?;
        let mut command = hostns::enter(init.pid, argv).map_err(LabError::kernel(format!("run a command in host {host}")))?;
        command.env("PAN_LAB", self.name.as_str());
        Ok(command)
    }

    /// Boots a host that is off, with its old disk. A controller's API gets its old port.
    pub fn start(&self, host: LabHost) -> Result<(), LabError> {
        self.change(|state| {
            if state.host(host)?.running().is_some() {
                return Err(LabError::PoweredOn(host));
            }
            // Whatever is left of its last run may still hold the API's port.
            boot::clear(&self.name, &self.data, host)?;
            let listener = match host.kind() {
                HostKind::Controller => Some(sockets::listen_again(state.api[usize::from(host.ordinal()) - 1])?),
                _ => None,
            };
            boot::power_on(&self.data, state, host, listener.as_ref())?;
            network::apply_cuts(state)
        })
    }

    /// Adds a node and boots it; it makes itself known to the controller.
    pub fn add_node(&self) -> Result<LabHost, LabError> {
        self.change(|state| {
            let used = |ordinal: u8| {
                let taken = |host: &HostState| host.name.kind() == HostKind::Node && host.name.ordinal() == ordinal;
                state.hosts.iter().any(taken)
            };
            let most = HostKind::Node.most();
            let free = (1..=most).find(|ordinal| !used(*ordinal));
            let host = free.and_then(|ordinal| LabHost::new(HostKind::Node, ordinal)).ok_or(LabError::TooMany {
                kind: "node",
                asked: most + 1,
                most,
            })?;
            state.hosts.push(HostState::off(host));
            let secrets = Secrets::ensure(&self.data)?;
            config::write_home(&self.data, state, &secrets, host)?;
            boot::power_on(&self.data, state, host, None)?;
            Ok(host)
        })
    }

    /// Reads the state without a lock: it is replaced as a whole.
    pub(crate) fn state(&self) -> Result<LabState, LabError> {
        LabState::load(&self.name, &self.data)?.ok_or_else(|| LabError::NoSuchLab { name: self.name.to_string() })
    }

    /// Changes the state under the lab's lock. What `body` changed is kept even if it fails
    /// half-way, because it tells what the kernel is like by then.
    pub(crate) fn change<T>(&self, body: impl FnOnce(&mut LabState) -> Result<T, LabError>) -> Result<T, LabError> {
        let _lock = LabLock::of(&self.name)?;
        let mut state = self.state()?;
        let outcome = body(&mut state);
        let saved = state.save(&self.data);
        let value = outcome?;
        saved?;
        Ok(value)
    }
}

/// Whether something of one that was not finished is in the kernel. If nobody works on it, its maker was killed.
pub(crate) fn is_half_made(state: &LabState) -> Result<bool, LabError> {
    Ok(state.phase == Phase::Starting && boot::lab_group(&state.name)?.exists())
}

fn registry(name: &LabName) -> PathBuf {
    Path::new(RUN_DIR).join(name.as_str())
}

/// Notes where a lab's data lies, so that its name suffices from now on.
pub(crate) fn register(name: &LabName, data: &Path) -> Result<(), LabError> {
    let path = registry(name);
    crate::state::write_private(&path, data.display().to_string().as_bytes())
}

/// Forgets it.
pub(crate) fn unregister(name: &LabName) -> Result<(), LabError> {
    match fs::remove_file(registry(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LabError::file("remove", &registry(name))(error)),
        _ => Ok(()),
    }
}

/// Where a lab's data lies as far as anybody knows.
pub(crate) fn data_of(name: &LabName) -> PathBuf {
    match fs::read_to_string(registry(name)) {
        Ok(text) if text.starts_with('/') => text.trim().into(),
        _ => Lab::default_data(name),
    }
}

/// The names in the registry.
pub(crate) fn registered() -> Vec<LabName> {
    let entries = fs::read_dir(RUN_DIR).into_iter().flatten().flatten();
    let mut names: Vec<LabName> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    names.sort();
    names
}
