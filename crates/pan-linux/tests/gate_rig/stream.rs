//! A sender that never rests, and when its packets were sent and received.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pan_linux::datagram::BeatSocket;
use pan_linux::realtime::since_boot;

use super::ms;
use crate::net_rig::Space;

/// Between two packets.
const EVERY: Duration = Duration::from_micros(20);

/// Between two looks for arrivals.
const LOOK: Duration = Duration::from_micros(500);

/// One packet that arrived, in times of the boot clock.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// Just before it was handed to the kernel.
    pub sent: Duration,
    /// By the kernel's receive timestamp.
    pub received: Duration,
}

/// Sends from one server to another while `body` runs and 100 ms longer; what arrived, in order.
pub fn between(from: &Space, to: &Space, address: SocketAddr, body: impl FnOnce()) -> Vec<Arrival> {
    let receiver = to.netns.run(|| BeatSocket::bind(address).unwrap()).unwrap();
    let sender = from.netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    sender.connect(address).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut next = since_boot();
            while !over.load(Ordering::Relaxed) {
                let now = since_boot();
                if now < next {
                    std::hint::spin_loop();
                    continue;
                }
                next = now + EVERY;
                // A full queue is no reason to stop.
                let _ = sender.send(&(now.as_nanos() as u64).to_ne_bytes());
            }
        });
        let over = &over;
        let receiving = scope.spawn(move || {
            let mut arrivals = Vec::new();
            let mut buffer = [0; 8];
            loop {
                let last = over.load(Ordering::Relaxed);
                while let Some(arrived) = receiver.receive(&mut buffer).unwrap() {
                    let sent = Duration::from_nanos(u64::from_ne_bytes(buffer));
                    arrivals.push(Arrival { sent, received: Duration::from_nanos(arrived.at) });
                }
                if last {
                    return arrivals;
                }
                super::wait_until(since_boot() + LOOK);
            }
        });
        body();
        super::wait_until(since_boot() + ms(100));
        over.store(true, Ordering::Relaxed);
        sending.join().unwrap();
        receiving.join().unwrap()
    })
}
