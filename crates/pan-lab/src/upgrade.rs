//! Upgrading a host in place: another program under the same path, and roles that start from it. What goes on without a gap,
//! the heartbeats, is the business of the program.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config;
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::LabHost;

/// Whether a program can be run here at all, and is of the kind that hosts run.
fn tells_its_version(program: &Path) -> Result<(), String> {
    let said = Command::new(program).arg("--version").stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let first = String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned();
    if said.status.success() && first.starts_with("pan ") { Ok(()) } else { Err(format!("`--version` of it says {first:?}")) }
}

impl Lab {
    /// Puts a copy of `exe`, of this program if it is none, in the place of the host's program and ends its roles in good order; its init starts them again.
    /// Not its beat process, which is replaced when a role finds it to be of another build. Returns the roles.
    ///
    /// # Errors
    /// The host is off, or the program cannot be copied, or is none: then nothing is changed.
    pub fn upgrade(&self, host: LabHost, exe: Option<&Path>) -> Result<Vec<String>, LabError> {
        let own = || std::env::current_exe().map_err(LabError::kernel("find this program"));
        let exe = exe.map_or_else(own, |exe| Ok(exe.to_owned()))?;
        let init = self.state()?.host(host)?.require_running()?;
        let program = config::home(self.data(), host).join("bin").join("pan");
        let fresh = program.with_extension("new");
        // A copy, not a link: builds are told apart by their file. By renaming, since the old one is being run.
        fs::copy(&exe, &fresh).map_err(LabError::file("copy to", &fresh))?;
        if let Err(problem) = tells_its_version(&fresh) {
            let _ = fs::remove_file(&fresh);
            return Err(LabError::Spec { field: "exe", problem: format!("{} is no program `pan`: {problem}", exe.display()) });
        }
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

    /// Which of some roles do not run the program that the host has now, because they are gone or still run an older one.
    ///
    /// # Errors
    /// The host is off, or its program cannot be found.
    pub fn outdated(&self, host: LabHost, roles: &[&str]) -> Result<Vec<String>, LabError> {
        let init = self.state()?.host(host)?.require_running()?;
        let program = config::home(self.data(), host).join("bin").join("pan");
        let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
        let newest = file(&program).map_err(LabError::file("find", &program))?;
        let running = self.roles(host, init.pid)?;
        let is_new = |role: &str| {
            // The link leads to the file it was started from, whatever lies under its path by now.
            let mut of_it = running.iter().filter(|(_, name)| name == role).peekable();
            of_it.peek().is_some() && of_it.all(|(pid, _)| file(Path::new(&format!("/proc/{pid}/exe"))).is_ok_and(|file| file == newest))
        };
        Ok(roles.iter().filter(|role| !is_new(role)).map(|role| (*role).to_owned()).collect())
    }
}
