//! Faults. Each acts from outside the programs under test, and each call returns when it acts.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pan_linux::process;
use pan_model::host::Fabric;
use serde::{Deserialize, Serialize};

use crate::boot;
use crate::delay;
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::LabHost;
use crate::network;

/// Which way a link is cut, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The host hears nothing.
    In,
    /// The host is not heard.
    Out,
    /// Neither.
    Both,
}

/// What is cut of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Nothing.
    #[default]
    None,
    /// What the host would hear.
    In,
    /// What the host says.
    Out,
    /// Both ways.
    Both,
}

impl Cut {
    fn and(self, direction: Direction) -> Self {
        match (self, direction) {
            (Self::None | Self::In, Direction::In) => Self::In,
            (Self::None | Self::Out, Direction::Out) => Self::Out,
            (_, Direction::Both)
            | (Self::Both, Direction::In | Direction::Out)
            | (Self::In, Direction::Out)
            | (Self::Out, Direction::In) => Self::Both,
        }
    }
}

impl Lab {
    /// Cuts a host off one fabric, or both if none is named, silently: neither side loses its carrier.
    /// Cuts add up until [`Lab::heal`].
    pub fn cut(&self, host: LabHost, fabric: Option<Fabric>, direction: Direction) -> Result<(), LabError> {
        self.change(|state| {
            if host.address().is_none() {
                return Err(LabError::NotOnFabric(host));
            }
            let entry = state.host_mut(host)?;
            if fabric != Some(Fabric::B) {
                entry.cut_a = entry.cut_a.and(direction);
            }
            if fabric != Some(Fabric::A) {
                entry.cut_b = entry.cut_b.and(direction);
            }
            network::apply_cuts(state)
        })
    }

    /// Takes back cuts, delay and freeze of a host; not a power cut, and nothing of its disk.
    pub fn heal(&self, host: LabHost) -> Result<(), LabError> {
        self.change(|state| {
            let entry = state.host_mut(host)?;
            (entry.cut_a, entry.cut_b) = (Cut::None, Cut::None);
            let running = entry.running().is_some();
            if !std::mem::take(&mut entry.delay).is_zero() && running {
                delay::apply(self.name(), self.data(), entry)?;
            }
            network::apply_cuts(state)?;
            if running { self.set_frozen(host, Frozen::No) } else { Ok(()) }
        })
    }

    /// Cuts a host's power. Its links go silent first, then all its processes are gone; its disk stays.
    pub fn kill(&self, host: LabHost) -> Result<(), LabError> {
        self.change(|state| {
            let entry = state.host_mut(host)?;
            let init = entry.require_running()?;
            boot::power_off(self.name(), self.data(), host, init)?;
            entry.init = None;
            delay::stop(entry)?;
            Ok(())
        })
    }

    /// Kills one role of a host (`controller`, `node`, `director`, `beat`) with SIGKILL; the host's
    /// init starts it again. Returns its pid.
    pub fn kill_role(&self, host: LabHost, role: &str) -> Result<i32, LabError> {
        let pid = self.role_pid(host, role)?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(LabError::kernel(format!("kill {role} of {host}")))?;
        Ok(pid)
    }

    /// The pid of a role of a host.
    pub fn role_pid(&self, host: LabHost, role: &str) -> Result<i32, LabError> {
        let init = self.state()?.host(host)?.require_running()?;
        let roles = self.roles(host, init.pid)?;
        let found = roles.iter().find(|(_, name)| name == role);
        let Some((pid, _)) = found else {
            let running: Vec<&str> = roles.iter().map(|(_, name)| name.as_str()).collect();
            return Err(LabError::NoSuchRole {
                host,
                role: role.to_owned(),
                running: if running.is_empty() { "none".to_owned() } else { running.join(", ") },
            });
        };
        Ok(*pid)
    }

    /// The roles of a host: its init's children, by the first word of their command line. A role that
    /// is a script has its interpreter and path before that.
    pub(crate) fn roles(&self, host: LabHost, init: i32) -> Result<Vec<(i32, String)>, LabError> {
        let pids = boot::host_group(self.name(), host)?.procs();
        let children = pids.into_iter().filter(|pid| process::parent(*pid) == Some(init));
        Ok(children
            .filter_map(|pid| {
                let words = process::command_line(pid);
                let at = words.iter().position(|word| word == "--config")?;
                Some((pid, words.get(at.checked_sub(1)?)?.clone()))
            })
            .collect())
    }

    /// Stops every process of a host where it stands; its sockets stay open and its kernel goes on.
    pub fn freeze(&self, host: LabHost) -> Result<(), LabError> {
        self.state()?.host(host)?.require_running()?;
        self.set_frozen(host, Frozen::Yes)
    }

    /// Lets a frozen host run on.
    pub fn thaw(&self, host: LabHost) -> Result<(), LabError> {
        self.state()?.host(host)?.require_running()?;
        self.set_frozen(host, Frozen::No)
    }

    fn set_frozen(&self, host: LabHost, wanted: Frozen) -> Result<(), LabError> {
        let group = boot::host_group(self.name(), host)?;
        let done = match wanted {
            Frozen::Yes => group.freeze(),
            Frozen::No => group.thaw(),
        };
        done.map_err(LabError::kernel(format!("freeze or thaw host {host}")))
    }
}

#[derive(Clone, Copy)]
enum Frozen {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_add_up() {
        assert_eq!(Cut::None.and(Direction::In), Cut::In);
        assert_eq!(Cut::In.and(Direction::In), Cut::In);
        assert_eq!(Cut::In.and(Direction::Out), Cut::Both);
        assert_eq!(Cut::Both.and(Direction::Out), Cut::Both);
        assert_eq!(Cut::None.and(Direction::Both), Cut::Both);
    }
}
