//! Slow links. A host's fabric ports are taken off the lab's bridges and joined to them again through a relay:
//!
//! ```text
//! host fa ══ n1-fa ─ bridge n1-fa-b ─ TAP n1-fa-h ── relay ── TAP n1-fa-w ─ bridge fa ══ the others
//! ```
//!
//! The host's own interface is not touched, so it sees no loss of carrier. Bridges hand whole frames to a TAP, so the
//! relay need not know of offloads. The TAPs go with the relay; then the link is silent until it is delayed anew or not.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use pan_linux::process::{PidFd, open_log, pass_listen_fds, start_time};

use crate::boot::DEATH_WAIT;
use crate::config::home;
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::{LabHost, LabName};
use crate::network;
use crate::relay::READY;
use crate::state::{HostState, InitProcess};

/// The longest delay: what a relay would have to keep has bounds, and so has what a fault can mean.
const LONGEST: Duration = Duration::from_secs(10);
/// A relay starts in some milliseconds; a machine under load takes longer.
const READY_WAIT: Duration = Duration::from_secs(20);
/// Putting out what it keeps takes a relay less.
const GOODBYE: Duration = Duration::from_secs(3);

impl Lab {
    /// Makes the way to and from a host's fabrics longer: every answer takes `round_trip` more than before, half of it each way.
    /// Zero takes it back. Frames keep their order; those under way when it is changed arrive early.
    pub fn delay(&self, host: LabHost, round_trip: Duration) -> Result<(), LabError> {
        if host.address().is_none() {
            return Err(LabError::NotOnFabric(host));
        }
        if round_trip > LONGEST {
            let problem = format!("{} ms: expected at most {}", round_trip.as_millis(), LONGEST.as_millis());
            return Err(LabError::Spec { field: "delay", problem });
        }
        self.change(|state| {
            let entry = state.host_mut(host)?;
            entry.delay = round_trip;
            match entry.running() {
                Some(_) => apply(self.name(), self.data(), entry),
                None => Ok(()),
            }
        })
    }
}

/// Makes the links of a running host as long as its state says.
pub(crate) fn apply(name: &LabName, data: &Path, entry: &mut HostState) -> Result<(), LabError> {
    stop(entry)?;
    network::leave_detour(name, entry.name)?;
    if entry.delay.is_zero() {
        return Ok(());
    }
    let ports = network::build_detour(name, entry.name)?;
    let host = entry.name;
    let log = home(data, host).join("log").join("relay.log");
    let log = open_log(&log).map_err(LabError::file("open", &log))?;
    let failed = |source| LabError::kernel(format!("start the relay of host {host}"))(source);
    let mut command = Command::new(data.join("bin").join("pan"));
    command.args(["lab-relay", "--name", name.as_str(), "--each-way-us", &(entry.delay / 2).as_micros().to_string()]);
    command.env("PAN_LAB", name.as_str()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).current_dir("/");
    pass_listen_fds(&mut command, &ports.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>());
    let mut child = command.spawn().map_err(failed)?;
    let pid = child.id().cast_signed();
    entry.relay = start_time(pid).map(|start| InitProcess { pid, start });
    let mut said = child.stdout.take().expect("stdout is piped");
    // It lives longer than this command; where it does not, somebody has to reap it.
    std::thread::spawn(move || child.wait());
    if !says_ready(&mut said) {
        stop(entry)?;
        return Err(failed(std::io::Error::other(format!("it did not become ready; see relay.log of host {host}"))));
    }
    network::take_detour(name, host)
}

fn says_ready(from: &mut (impl Read + AsFd)) -> bool {
    let wait = PollTimeout::try_from(READY_WAIT).unwrap_or(PollTimeout::MAX);
    let heard = poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], wait);
    let mut word = [0; READY.len()];
    heard.is_ok_and(|ready| ready > 0) && from.read_exact(&mut word).is_ok() && word == READY
}

/// Ends a host's relay; it puts out what it keeps.
pub(crate) fn stop(entry: &mut HostState) -> Result<(), LabError> {
    let Some(relay) = entry.relay.take().filter(|relay| relay.is_running()) else {
        return Ok(());
    };
    let Ok(process) = PidFd::open(relay.pid) else {
        return Ok(());
    };
    let step = || format!("end the relay of host {}", entry.name);
    process.kill(Signal::SIGTERM).map_err(LabError::kernel(step()))?;
    if process.wait(GOODBYE).map_err(LabError::kernel(step()))? {
        return Ok(());
    }
    process.kill(Signal::SIGKILL).map_err(LabError::kernel(step()))?;
    process.wait(DEATH_WAIT).map(|_| ()).map_err(LabError::kernel(step()))
}
