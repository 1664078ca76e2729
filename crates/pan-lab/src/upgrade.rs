//! Upgrading a host in place: another program under the same path, and roles that start from it. What goes on without a gap,
//! the heartbeats, is the business of the program.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config;
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::LabHost;

impl Lab {
    /// Puts a copy of `exe`, of this program if it is none, in the place of the host's program and ends its roles in good order; its init starts them again.
    /// Not its beat process, which is replaced when a role finds it to be of another build. Returns the roles.
    ///
    /// # Errors
    /// The host is off, or the program cannot be copied.
    pub fn upgrade(&self, host: LabHost, exe: Option<&Path>) -> Result<Vec<String>, LabError> {
        let own = || std::env::current_exe().map_err(LabError::kernel("find this program"));
        let exe = exe.map_or_else(own, |exe| Ok(exe.to_owned()))?;
        let init = self.state()?.host(host)?.require_running()?;
        let program = config::home(self.data(), host).join("bin").join("pan");
        let fresh = program.with_extension("new");
        // A copy, not a link: builds are told apart by their file. By renaming, since the old one is being run.
        fs::copy(&exe, &fresh).map_err(LabError::file("copy to", &fresh))?;
        fs::rename(&fresh, &program).map_err(LabError::file("replace", &program))?;
        let mut upgraded = Vec::new();
        for (pid, role) in self.roles(host, init.pid)? {
            if role != "beat" {
                kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(LabError::kernel(format!("end {role} of {host}")))?;
                upgraded.push(role);
            }
        }
        Ok(upgraded)
    }
}
