//! Stopping a container's first process by a signal.

use std::fs;

use nix::sys::signal::Signal;
use pan_linux::process::{PidFd, start_time};
use pan_model::ServerKey;
use pan_model::cluster::StopSignal;

use super::group;
use crate::names;
use crate::server::record::Container;

/// Asks a container to stop. A first process of a PID namespace is immune to signals it has no handler
/// for, pid_namespaces(7); one that would have died of the signal anywhere else is killed by it here too.
pub(crate) fn ask(container: &Container, signal: StopSignal) -> std::io::Result<()> {
    let signal = number(signal);
    let deaf =
        is_deadly(signal) && fs::read_to_string(format!("/proc/{}/status", container.pid)).is_ok_and(|status| is_deaf(&status, signal));
    send(container, if deaf { Signal::SIGKILL } else { signal })
}

/// Kills a server's container: its first process, with which all others die, and those as well, for until it has its turn among thousands that
/// is long.
pub(crate) fn kill(key: &ServerKey, container: &Container) -> std::io::Result<()> {
    send(container, Signal::SIGKILL)?;
    if start_time(container.pid) == Some(container.start) { group::kill(&names::id(key)).map_err(std::io::Error::other) } else { Ok(()) }
}

fn send(container: &Container, signal: Signal) -> std::io::Result<()> {
    let Ok(process) = PidFd::open(container.pid) else { return Ok(()) };
    if start_time(container.pid) == Some(container.start) { process.kill(signal) } else { Ok(()) }
}

const fn number(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::SIGTERM,
        StopSignal::Quit => Signal::SIGQUIT,
        StopSignal::Int => Signal::SIGINT,
        StopSignal::Hup => Signal::SIGHUP,
        StopSignal::Usr1 => Signal::SIGUSR1,
        StopSignal::Usr2 => Signal::SIGUSR2,
        StopSignal::Kill => Signal::SIGKILL,
        StopSignal::Winch => Signal::SIGWINCH,
    }
}

/// Whether the signal ends a process that does nothing about it, signal(7).
fn is_deadly(signal: Signal) -> bool {
    signal != Signal::SIGWINCH
}

/// Whether the process neither handles, ignores nor blocks the signal, by its proc_pid_status(5).
fn is_deaf(status: &str, signal: Signal) -> bool {
    let bit = 1_u64 << (signal as i32 - 1);
    let has = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).map(|mask| mask & bit != 0)
    };
    [has("SigCgt:"), has("SigIgn:"), has("SigBlk:")] == [Some(false); 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deafness_is_read_off_the_masks() {
        let status =
            |blocked: &str, ignored: &str, caught: &str| format!("Name:\tx\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n");
        let (none, term) = ("0000000000000000", "0000000000004000");
        assert!(is_deaf(&status(none, none, none), Signal::SIGTERM));
        assert!(!is_deaf(&status(term, none, none), Signal::SIGTERM));
        assert!(!is_deaf(&status(none, term, none), Signal::SIGTERM));
        assert!(!is_deaf(&status(none, none, term), Signal::SIGTERM));
        assert!(is_deaf(&status(none, none, term), Signal::SIGQUIT));
        assert!(!is_deaf("", Signal::SIGTERM));
    }
}
