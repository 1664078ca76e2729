//! Running a command inside a host: its control groups, then all of its namespaces.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

use super::HostNsError;
use crate::cgroup::{CGROUP_ROOT, Layout, open_procs_of};
use crate::process::{PidFd, clear_signal_mask, is_running, set_pdeathsig};

/// Prepares a command that runs `argv` inside the host whose init is `init_pid`; the program is
/// looked up there. The caller wires its streams and spawns it.
///
/// The spawned child stays outside the host, waits for the real one and ends as it did;
/// killing it kills the real one. Refused for a frozen host, where the spawn would never return.
pub fn enter<S: AsRef<OsStr>>(init_pid: i32, argv: &[S]) -> Result<Command, HostNsError> {
    let (program, arguments) = argv.split_first().ok_or(HostNsError::NoProgram)?;
    let process = PidFd::open(init_pid).map_err(|_| HostNsError::NotRunning(init_pid))?;
    if !is_running(init_pid) {
        return Err(HostNsError::NotRunning(init_pid));
    }
    let layout = Layout::detect(Path::new(CGROUP_ROOT))?;
    if is_frozen(init_pid, &layout) {
        return Err(HostNsError::Frozen(init_pid));
    }
    let groups = open_procs_of(init_pid, &layout)?;
    let mut command = Command::new(program);
    command.args(arguments);
    clear_signal_mask(&mut command);
    // SAFETY: between fork and exec only plain system calls are made, see `cross_over`.
    unsafe {
        command.pre_exec(move || cross_over(&process, &groups));
    }
    Ok(command)
}

/// The freezer of an ancestor counts too, and only `cgroup.events` knows of it.
fn is_frozen(pid: i32, layout: &Layout) -> bool {
    let Some(unified) = layout.unified() else {
        return false;
    };
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let events = path.map(|path| unified.join(path).join("cgroup.events"));
    events.and_then(|file| std::fs::read_to_string(file).ok()).is_some_and(|text| text.lines().any(|line| line == "frozen 1"))
}

fn cross_over(process: &PidFd, groups: &[File]) -> io::Result<()> {
    let all = CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS;
    setns(process, all)?;
    nix::unistd::chdir("/")?;
    // Entering a PID namespace takes effect for children only.
    // SAFETY: the process has one thread; both sides make only plain system calls.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // Only the real one joins. Whatever kills the host's groups leaves the stand-in to reap it, and
            // a host's init cannot end before everything in its PID namespace has been reaped.
            for group in groups {
                nix::unistd::write(group, b"0")?;
            }
            set_pdeathsig(Signal::SIGKILL)
        }
        child => stand_in(child),
    }
}

/// Ends as `child` ends. Lets go of every descriptor first: whoever spawned the command waits for
/// the end of some of them.
fn stand_in(child: libc::pid_t) -> ! {
    let mut status = 0;
    // SAFETY: plain system calls on this process and its only child.
    unsafe {
        libc::close_range(0, u32::MAX, 0);
        while libc::waitpid(child, &raw mut status, 0) < 0 {
            if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                libc::_exit(125);
            }
        }
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(libc::getpid(), signal);
            libc::_exit(128 + signal);
        }
        libc::_exit(libc::WEXITSTATUS(status));
    }
}
