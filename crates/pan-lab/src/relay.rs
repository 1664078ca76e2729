//! The program behind a delayed link: takes frames from one port, keeps them for a while, and puts them out at another.
//!
//! One process per host carries both of its fabrics, both ways. It keeps the order of each way, and loses frames only
//! where a way holds more than [`QUEUE_BYTES_MAX`], as any line of limited length.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::time::TimeSpec;
use pan_linux::process::take_listen_fds;

use crate::boot;
use crate::error::LabError;
use crate::name::LabName;

/// What one way holds at most: half a second of a gigabit per second.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Frames taken from one port before the others and the clock are looked at again.
const BATCH_MAX: usize = 64;
/// No frame of an interface is longer.
const FRAME_BYTES_MAX: usize = 65_536;

/// Ports in pairs, in the order in which the relay is given their descriptors.
pub(crate) const PORTS: usize = 4;
/// What the relay says when it carries frames.
pub(crate) const READY: &[u8] = b"ready\n";

/// Relays between the ports this process was started with (descriptors 3 and 4, 5 and 6), keeping each frame for `each_way`,
/// until SIGTERM; then what is kept is put out at once, in order. It joins the control group of the lab first, so that it
/// lives no longer than that.
///
/// Call it before anything starts a thread.
///
/// # Errors
/// The ports are missing or gone.
pub fn run(lab: &LabName, each_way: Duration) -> Result<(), LabError> {
    let failed = |action: &'static str| LabError::kernel::<io::Error>(action);
    // A terminal's Ctrl-C is meant for the command that started it.
    let _ = nix::unistd::setsid();
    let group = relay_group(lab)?;
    group.create().and_then(|()| group.join_self()).map_err(LabError::kernel("join the laboratory's control group"))?;
    let ports = take_listen_fds().map_err(failed("take over the ports"))?;
    let found = ports.len();
    let ports: [OwnedFd; PORTS] =
        ports.try_into().map_err(|_| failed("find the ports")(io::Error::other(format!("{found} instead of {PORTS}"))))?;
    let mut terminate = SigSet::empty();
    terminate.add(Signal::SIGTERM);
    let listen = || terminate.thread_block().and_then(|()| SignalFd::new(&terminate));
    let terminated = listen().map_err(|error| failed("listen for signals")(error.into()))?;
    let mut out = io::stdout();
    out.write_all(READY).and_then(|()| out.flush()).map_err(failed("say that it is ready"))?;
    carry(&ports, &terminated, each_way).map_err(failed("relay frames"))
}

/// The control group of a lab's relays.
pub(crate) fn relay_group(lab: &LabName) -> Result<pan_linux::cgroup::CgroupTree, LabError> {
    Ok(boot::lab_group(lab)?.child("relays"))
}

/// One way through the relay.
struct Way<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    kept: VecDeque<(Instant, Box<[u8]>)>,
    bytes: usize,
    lost: u64,
}

fn carry(ports: &[OwnedFd; PORTS], terminated: &SignalFd, each_way: Duration) -> io::Result<()> {
    let way = |from: usize, to: usize| Way { from: &ports[from], to: &ports[to], kept: VecDeque::new(), bytes: 0, lost: 0 };
    let mut ways = [way(0, 1), way(1, 0), way(2, 3), way(3, 2)];
    let mut frame = vec![0; FRAME_BYTES_MAX];
    loop {
        let now = Instant::now();
        ways.iter_mut().for_each(|way| way.put_out(now));
        let next = ways.iter().filter_map(|way| way.kept.front()).map(|(due, _)| *due).min();
        let wait = next.map(|due| TimeSpec::from_duration(due.saturating_duration_since(Instant::now())));
        let mut polled = vec![PollFd::new(terminated.as_fd(), PollFlags::POLLIN)];
        polled.extend(ways.iter().map(|way| PollFd::new(way.from.as_fd(), PollFlags::POLLIN)));
        match ppoll(&mut polled, wait, None) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|one| one.any().unwrap_or(false)).collect();
        if ready[0] {
            ways.iter_mut().for_each(Way::put_out_all);
            return Ok(());
        }
        for (way, _) in ways.iter_mut().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            way.take(&mut frame, each_way)?;
        }
    }
}

impl Way<'_> {
    fn take(&mut self, buffer: &mut [u8], each_way: Duration) -> io::Result<()> {
        for _ in 0..BATCH_MAX {
            let length = match nix::unistd::read(self.from, buffer) {
                Ok(length) => length,
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if self.bytes + length > QUEUE_BYTES_MAX {
                self.lost += 1;
                // Each power of two: a full line says so, and does not fill the disk with it.
                if self.lost.is_power_of_two() {
                    eprintln!("pan relay: a way is full, {} frames lost so far", self.lost);
                }
                continue;
            }
            self.bytes += length;
            self.kept.push_back((Instant::now() + each_way, buffer[..length].into()));
        }
        Ok(())
    }

    fn put_out(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|(due, _)| *due <= now) {
            self.put_out_first();
        }
    }

    fn put_out_all(&mut self) {
        while !self.kept.is_empty() {
            self.put_out_first();
        }
    }

    fn put_out_first(&mut self) {
        if let Some((_, frame)) = self.kept.pop_front() {
            self.bytes -= frame.len();
            // A port that takes nothing, because it is down, loses what comes: as a line does.
            let _ = nix::unistd::write(self.to, &frame);
        }
    }
}
