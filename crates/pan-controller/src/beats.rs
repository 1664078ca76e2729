//! The heartbeat receiver: one thread, a socket per fabric, and the detector. It tells the loop what it noticed.

use crate::core::hosts::LifeChange;
use crate::handle::Message;
use pan_linux::datagram::{self, BeatSocket};
use pan_member::frame::{FRAME_BYTES_MAX, host_key};
use pan_member::{Beat, Change, Detector, Frame, Tick};
use pan_model::host::Link;
use pan_model::{HostName, host_config};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// Longest sleep: hosts added meanwhile are noticed within it.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// Datagrams read of one socket before hosts are judged: far more than a round of a large PAN, so that only a flood is cut.
const ROUND_MAX: usize = 20_000;

/// What the receiver needs.
pub struct Receive {
    /// This host's addresses on the fabrics.
    pub fabrics: [std::net::IpAddr; 2],
    /// The key from which every host's is derived.
    pub pan_key: [u8; 32],
    /// The detector, knowing every host that the store knows.
    pub detector: Detector,
    /// The hosts that the detector knows.
    pub known: Vec<HostName>,
    /// The most failures that any cluster is protected against; so many at once are no stampede.
    pub protected_failures: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    /// Hosts that joined later.
    pub joined: Receiver<HostName>,
    /// The loop.
    pub inbox: tokio::sync::mpsc::Sender<Message>,
}

/// Receives until the loop is gone.
///
/// # Errors
/// When a fabric's address cannot be bound.
pub fn run(mut receive: Receive) -> std::io::Result<()> {
    let sockets = receive
        .fabrics
        .iter()
        .map(|address| BeatSocket::bind(SocketAddr::new(*address, host_config::BEAT_PORT)))
        .collect::<std::io::Result<Vec<_>>>()?;
    let mut keys: BTreeMap<HostName, [u8; 32]> =
        receive.known.iter().map(|host| (host.clone(), host_key(&receive.pan_key, host))).collect();
    let mut dropped = 0_u64;
    loop {
        let now = Tick(datagram::boot_clock());
        let sleep = receive.detector.next_deadline().since(now).min(SLEEP_MAX);
        datagram::wait(&sockets, sleep)?;
        loop {
            match receive.joined.try_recv() {
                Ok(host) => {
                    keys.insert(host.clone(), host_key(&receive.pan_key, &host));
                    receive.detector.add_host(host, Tick(datagram::boot_clock()));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        let mut changes = Vec::new();
        for socket in &sockets {
            let mut buffer = [0; FRAME_BYTES_MAX + 1];
            for _ in 0..ROUND_MAX {
                let Some((length, received)) = socket.receive(&mut buffer)? else { break };
                match decode(&buffer[..length], &receive.pan_key, &keys) {
                    Ok(frame) => changes.extend(receive.detector.on_beat(&Beat::of(&frame, Tick(received)))),
                    Err(error) => {
                        dropped += 1;
                        if dropped.is_power_of_two() {
                            tracing::warn!(dropped, %error, "a datagram that is no heartbeat of this PAN was dropped");
                        }
                    }
                }
            }
        }
        receive.detector.set_protected_failures(receive.protected_failures.load(std::sync::atomic::Ordering::Relaxed));
        let now = Tick(datagram::boot_clock());
        changes.extend(receive.detector.tick(now));
        let changes: Vec<LifeChange> = changes.into_iter().filter_map(|change| translate(change, now)).collect();
        if !changes.is_empty() && receive.inbox.blocking_send(Message::Liveness(changes)).is_err() {
            return Ok(());
        }
    }
}

fn decode(bytes: &[u8], pan_key: &[u8; 32], keys: &BTreeMap<HostName, [u8; 32]>) -> Result<Frame, pan_member::FrameError> {
    Frame::decode(bytes, |name| {
        let name = HostName::new(name).ok()?;
        // Only hosts that joined have a key kept: a forged name costs a derivation, not memory.
        Some(keys.get(&name).copied().unwrap_or_else(|| host_key(pan_key, &name)))
    })
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn translate(change: Change, now: Tick) -> Option<LifeChange> {
    Some(match change {
        Change::Alive { host, .. } => LifeChange::Alive(host),
        Change::Suspect { host, silent_for } => LifeChange::Suspect(host, micros(silent_for)),
        Change::Dead { host, last_heard } => LifeChange::Dead(host, last_heard.map_or(0, |heard| micros(now.since(heard)))),
        Change::Rebooted { host, .. } => LifeChange::Rebooted(host),
        Change::FabricUp { host, fabric } => LifeChange::Fabric(host, fabric, Link::Up),
        Change::FabricDown { host, fabric, .. } => LifeChange::Fabric(host, fabric, Link::Down),
        Change::AgentDown { host, .. } => LifeChange::Agent(host, false),
        Change::AgentUp { host } => LifeChange::Agent(host, true),
        Change::Brake { hosts, .. } => LifeChange::Brake(hosts),
        Change::BrakeReleased { .. } => return None,
    })
}
