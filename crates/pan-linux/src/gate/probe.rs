//! Finding out which kind of gate the kernel really has: by making one in namespaces of its own, and
//! sending packets against it.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use super::{Gate, GateError, GateKind, Hook, Result};
use crate::mount;
use crate::netns::Netns;
use crate::realtime::{since_boot, sleep_until};
use crate::rtnl::Rtnl;

/// How long a packet may take from one loopback socket to another, on the busiest machine.
const ARRIVES: Duration = Duration::from_secs(2);
/// Between looks at the counter of drops.
const LOOK: Duration = Duration::from_millis(1);
/// The lease that is left to run out, and how much later that must have had its effect.
const LEASE: Duration = Duration::from_millis(20);
const SHUT_AFTER: Duration = Duration::from_millis(40);

/// The kind of gate to use, and why not a better one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What works here.
    pub kind: GateKind,
    /// What stood in the way of BPF.
    pub bpf_refused: Option<String>,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bpf_refused {
            None => self.kind.fmt(f),
            Some(why) => write!(f, "{} (BPF refused: {why})", self.kind),
        }
    }
}

/// Tries both kinds, the better one first. Takes about 50 ms.
///
/// # Errors
/// Neither works; the error says why not.
pub fn probe() -> Result<Probe> {
    let Err(bpf) = try_out(GateKind::Bpf) else {
        return Ok(Probe { kind: GateKind::Bpf, bpf_refused: None });
    };
    match try_out(GateKind::NftSet) {
        Ok(()) => Ok(Probe { kind: GateKind::NftSet, bpf_refused: Some(bpf) }),
        Err(nft_set) => Err(GateError::Unsupported { bpf, nft_set }),
    }
}

/// On a thread whose network and mounts are its own and go with it.
fn try_out(kind: GateKind) -> std::result::Result<(), String> {
    let worker = thread::Builder::new().name("gate-probe".to_owned()).spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(|errno| format!("make scratch namespaces: {errno}"))?;
        mount::make_private(Path::new("/")).and_then(|()| mount::tmpfs(Path::new("/run"), "mode=755")).map_err(text)?;
        let netns = Netns::current().map_err(text)?;
        Rtnl::open().and_then(|rtnl| rtnl.set_up("lo")).map_err(text)?;
        let gate = Gate::open_as(kind, Path::new("/run/gate"), &netns).map_err(text)?;
        prove(&gate)
    });
    match worker.map_err(text)?.join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn prove(gate: &Gate) -> std::result::Result<(), String> {
    for hook in Hook::ALL {
        gate.attach("lo", hook).map_err(text)?;
    }
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    sender.connect(receiver.local_addr().map_err(text)?).map_err(text)?;
    stops(gate, &sender, &receiver, "new")?;

    gate.reopen(since_boot() + ARRIVES * 2).map_err(text)?;
    sender.send(b"open").map_err(text)?;
    receiver.set_read_timeout(Some(ARRIVES)).map_err(text)?;
    receiver.recv(&mut [0; 8]).map_err(|error| format!("an open gate let no packet pass: {error}"))?;

    gate.shut().map_err(text)?;
    stops(gate, &sender, &receiver, "shut")?;
    // Whoever has another idea of the boot clock (time_namespaces(7)) than the kernel fails here.
    let start = since_boot();
    gate.reopen(start + LEASE).map_err(text)?;
    sleep_until(start + SHUT_AFTER).map_err(text)?;
    stops(gate, &sender, &receiver, "expired")
}

/// Sends a packet and waits until it is counted as dropped.
fn stops(gate: &Gate, sender: &UdpSocket, receiver: &UdpSocket, which: &str) -> std::result::Result<(), String> {
    let before = gate.dropped().map_err(text)?;
    let give_up = since_boot() + ARRIVES;
    sender.send(b"shut").map_err(text)?;
    receiver.set_read_timeout(Some(LOOK)).map_err(text)?;
    while gate.dropped().map_err(text)? == before {
        match receiver.recv(&mut [0; 8]) {
            Ok(_) => return Err(format!("the {which} gate let a packet pass")),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(text(error)),
        }
        if since_boot() > give_up {
            return Err(format!("the {which} gate neither dropped a packet nor let it pass"));
        }
    }
    Ok(())
}

/// An error with all its causes.
fn text(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
