//! Gates in folders and namespaces of their own, packets against them, and a holder in another process.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used)]

pub mod holder;
pub mod refusal;
pub mod stream;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use pan_linux::gate::{Gate, GateKind, Hook};
use pan_linux::mount::{self, Busy};
use pan_linux::netns::Netns;
use pan_linux::realtime::since_boot;

use crate::net_rig::{DEADLINE, Space, may_run};

pub const KINDS: [GateKind; 2] = [GateKind::Bpf, GateKind::NftSet];

pub fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A folder for a gate. Mounts of this test's thread are its own, so that a test that is killed leaves none.
pub struct Folder {
    _outer: tempfile::TempDir,
    pub path: PathBuf,
}

impl Folder {
    /// None, said aloud, without root.
    pub fn new(test: &str) -> Option<Folder> {
        if !may_run(test) {
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount::make_private(Path::new("/")).unwrap();
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("gate");
        Some(Folder { _outer: outer, path })
    }

    pub fn gate(&self, kind: GateKind, netns: &Netns) -> Gate {
        Gate::open_as(kind, &self.path, netns).unwrap()
    }

    pub fn other(&self, name: &str) -> Folder {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join(name);
        Folder { _outer: outer, path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = mount::unmount(&self.path, Busy::Detach);
    }
}

/// A namespace whose loopback interface has the gate, and a packet to send against it.
pub struct Loop {
    pub space: Space,
    receiver: UdpSocket,
    sender: UdpSocket,
}

impl Loop {
    pub fn new() -> Loop {
        let space = Space::new("loop");
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (receiver, sender) = space.netns.run(|| (bind(), bind())).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        Loop { space, receiver, sender }
    }

    pub fn gate(&self, folder: &Folder, kind: GateKind) -> Gate {
        let gate = folder.gate(kind, &self.space.netns);
        gate.attach("lo", Hook::ServerPort).unwrap();
        gate
    }

    /// Sends one packet and waits for what becomes of it: true if it passed, false if it was counted.
    pub fn passes(&self, gate: &Gate) -> bool {
        let before = gate.dropped().unwrap();
        self.sender.send(b"x").unwrap();
        self.receiver.set_read_timeout(Some(ms(1))).unwrap();
        let give_up = since_boot() + DEADLINE;
        loop {
            match self.receiver.recv(&mut [0; 8]) {
                Ok(_) => return true,
                Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
            }
            if gate.dropped().unwrap() > before {
                return false;
            }
            assert!(since_boot() < give_up, "a packet vanished uncounted");
        }
    }
}

/// Waits until the boot clock shows that.
pub fn wait_until(time: Duration) {
    pan_linux::realtime::sleep_until(time).unwrap();
}
