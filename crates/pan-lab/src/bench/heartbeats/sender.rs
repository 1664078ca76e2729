//! The thread that beats for all simulated hosts, each at its own moment of the period, over both fabrics.
//!
//! It shares the machine with the controller that is measured. How late it was tells what of a silence was its own.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pan_linux::realtime::{since_boot, sleep_until};
use pan_linux::volley::send_all;
use pan_member::frame::{FRAME_BYTES_MAX, Key};
use pan_member::{Admission, BootId, Frame, GateState, LeaseState, Load, Permille, Term};
use pan_model::ByteSize;
use pan_model::host::{Fabric, Role};

use super::crowd::Simulated;
use super::now_micros;

/// Hosts whose moments fall into the same of these beat together, with one call a fabric.
const SLOT: Duration = Duration::from_millis(1);

/// Before all ordinary programs, as each real host's beat process is on its own machine.
const PRIORITY: i32 = 1;

/// What it counts, for others to read.
#[derive(Default)]
pub(super) struct Sent {
    /// Datagrams.
    pub(super) frames: AtomicU64,
    /// The most by which hosts beat later than due, in microseconds, since somebody set it to zero.
    pub(super) late_max: AtomicU64,
}

/// What is beaten for and how.
pub(super) struct Beating<'a> {
    pub(super) crowd: &'a [Simulated],
    /// Connected to the controller, on fabric A and B.
    pub(super) sockets: &'a [UdpSocket; 2],
    pub(super) period: Duration,
    /// Whether the period is another than the profile's shortest, so that heartbeats say it.
    pub(super) said: Option<Duration>,
    pub(super) sent: &'a Sent,
}

/// Beats until `stop` becomes true.
///
/// # Errors
/// The kernel refuses to send or to sleep.
pub(super) fn beat(beating: &Beating<'_>, stop: &AtomicBool) -> io::Result<()> {
    // Without the right to it, lateness shows what it costs.
    let _ = pan_linux::realtime::schedule_fifo(PRIORITY);
    let mut frames: Vec<Frame> = beating.crowd.iter().map(|host| frame(host, beating.said)).collect();
    let slots = (beating.period.as_micros() / SLOT.as_micros()).max(1) as usize;
    let mut of_slot = vec![Vec::new(); slots];
    for number in 0..frames.len() {
        of_slot[number * slots / frames.len()].push(number);
    }
    let mut datagrams = [(); 2].map(|()| Vec::new());
    let (begun, mut lag) = (since_boot(), Lag::default());
    for round in 0_u32.. {
        for (slot, numbers) in of_slot.iter().enumerate() {
            let due = begun + beating.period * round + SLOT * slot as u32;
            sleep_until(due)?;
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let now = since_boot();
            beating.sent.late_max.fetch_max(micros(now.saturating_sub(due)), Ordering::Relaxed);
            let lag = lag.seen(now, now.saturating_sub(due));
            volley(beating, numbers, &mut frames, lag, &mut datagrams)?;
        }
    }
    Ok(())
}

fn volley(
    beating: &Beating<'_>,
    numbers: &[usize],
    frames: &mut [Frame],
    lag: Duration,
    datagrams: &mut [Vec<(usize, [u8; FRAME_BYTES_MAX])>; 2],
) -> io::Result<()> {
    datagrams.iter_mut().for_each(Vec::clear);
    let wall = now_micros();
    for number in numbers {
        let (host, frame) = (&beating.crowd[*number], &mut frames[*number]);
        let Some(key) = host.key.get().filter(|_| !host.silent.load(Ordering::Acquire)) else { continue };
        (frame.sequence, frame.lag) = (frame.sequence + 1, lag);
        for (fabric, datagrams) in Fabric::BOTH.into_iter().zip(datagrams.iter_mut()) {
            frame.fabric = fabric;
            datagrams.push(encoded(frame, key));
        }
        // Before it is sent: what is measured from here is rather too long than too short.
        host.last_sent.store(wall, Ordering::Release);
    }
    for (socket, datagrams) in beating.sockets.iter().zip(datagrams.iter()) {
        let taken = send_all(socket, datagrams.iter().map(|(length, bytes)| &bytes[..*length]))?;
        beating.sent.frames.fetch_add(taken as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn encoded(frame: &Frame, key: &Key) -> (usize, [u8; FRAME_BYTES_MAX]) {
    let mut bytes = [0; FRAME_BYTES_MAX];
    (frame.encode(key, &mut bytes), bytes)
}

/// How late the loop was at worst lately, as a real host's heartbeats say it.
#[derive(Default)]
struct Lag {
    worst: Duration,
    forget_at: Duration,
}

impl Lag {
    fn seen(&mut self, now: Duration, late: Duration) -> Duration {
        if now >= self.forget_at {
            (self.worst, self.forget_at) = (Duration::ZERO, now + Duration::from_secs(1));
        }
        self.worst = self.worst.max(late);
        self.worst
    }
}

fn frame(host: &Simulated, period: Option<Duration>) -> Frame {
    let now = since_boot();
    Frame {
        host: host.name.clone(),
        roles: [Role::Node].into_iter().collect(),
        fabric: Fabric::A,
        boot: BootId(u64::from_be_bytes(*b"simulate") ^ micros(now)),
        sequence: micros(now),
        // What every host has that joins for the first time.
        admission: Admission::FIRST,
        term: Term::default(),
        agent_age: Duration::ZERO,
        acknowledged: [None; 2],
        lag: Duration::ZERO,
        load: Load { cpu: Permille(100), memory: ByteSize(1 << 30), pressure: None },
        lease: LeaseState::Held,
        gate: GateState::Present(pan_member::Gate::Absolute),
        lease_length: Some(pan_member::Profile::Lan.timing(2000).lease),
        period,
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::crowd::crowd;
    use super::*;

    #[test]
    fn every_host_is_heard_on_both_fabrics_until_it_is_silenced() {
        let receivers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let sockets = receivers.each_ref().map(|receiver| {
            receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(receiver.local_addr().unwrap()).unwrap();
            socket
        });
        let crowd = crowd(3);
        for (number, host) in crowd.iter().enumerate() {
            host.key.set([u8::try_from(number).unwrap(); 32]).unwrap();
        }
        crowd[1].silent.store(true, Ordering::Release);
        let (sent, stop) = (Sent::default(), AtomicBool::new(false));
        let period = Duration::from_millis(35);
        let beating = Beating { crowd: &crowd, sockets: &sockets, period, said: Some(period), sent: &sent };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| beat(&beating, &stop));
            for (receiver, fabric) in receivers.iter().zip(Fabric::BOTH) {
                for expected in ["sim1", "sim3", "sim1", "sim3"] {
                    let mut bytes = [0; FRAME_BYTES_MAX];
                    let length = receiver.recv(&mut bytes).unwrap();
                    let number = |name: &str| name.trim_start_matches("sim").parse::<u8>().unwrap() - 1;
                    let frame = Frame::decode(&bytes[..length], |name| Some([number(name); 32])).unwrap();
                    assert_eq!((frame.host.as_str(), frame.fabric, frame.period), (expected, fabric, Some(period)));
                }
            }
            stop.store(true, Ordering::Relaxed);
            thread.join().unwrap().unwrap();
        });
        assert_eq!(crowd[1].last_sent.load(Ordering::Acquire), 0);
        assert!(crowd[2].last_sent.load(Ordering::Acquire) > 0 && sent.frames.load(Ordering::Relaxed) >= 8);
    }
}
