//! [`Gate`]: the gate of a host, whatever it is made of.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::bpf::BpfGate;
use super::nftset::NftGate;
use super::probe::{Probe, probe};
use super::{GateError, GateKind, Hook, Result};
use crate::netns::Netns;
use crate::realtime::since_boot;
use crate::rtnl::Rtnl;

/// In the gate's folder when it is an nftables one; says why. A BPF gate's folder has its pins instead.
const NFT_MARK: &str = "nft-set";

/// What became of a renewal.
#[must_use = "a lease that is over has to be taken anew"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The gate is open, until the deadline or later.
    Renewed,
    /// The gate had shut by itself, or was shut, and is still: what it held back may have been given to
    /// others meanwhile. [`Gate::reopen`] once that is settled.
    Expired,
}

/// The gate of the host that a network namespace is. Threads may share it.
#[derive(Debug)]
pub struct Gate {
    inner: Inner,
    rtnl: Rtnl,
    refused: Option<String>,
}

#[derive(Debug)]
enum Inner {
    Bpf(BpfGate),
    NftSet(NftGate),
}

impl Gate {
    /// Opens the gate that lives in the folder, as whoever opened it last left it; or makes one, shut, of
    /// the best kind the kernel allows. `dir` is to be emptied by a reboot and the same for every process
    /// of the host, in one mount namespace: a BPF gate mounts its pins there.
    ///
    /// # Errors
    /// The folder cannot be used, the kernel has neither kind, or what it has cannot be set up.
    pub fn open(dir: &Path, netns: &Netns) -> Result<Gate> {
        Self::open_or_make(None, dir, netns)
    }

    /// The same, but what has to be made is of the kind `choice`, if there is one, whatever else the kernel allows. What is there stays
    /// what it is.
    ///
    /// # Errors
    /// As [`Gate::open`].
    pub fn open_or_make(choice: Option<GateKind>, dir: &Path, netns: &Netns) -> Result<Gate> {
        let _lock = lock(dir)?;
        let probe = match (remembered(dir)?, choice) {
            (Some(probe), _) => probe,
            (None, Some(kind)) => Probe { kind, bpf_refused: None },
            (None, None) => probe()?,
        };
        Self::make(probe, dir, netns)
    }

    /// The same with a given kind, for a folder that has no gate yet or one of this kind.
    ///
    /// # Errors
    /// The folder cannot be used, or the kernel refuses that kind.
    pub fn open_as(kind: GateKind, dir: &Path, netns: &Netns) -> Result<Gate> {
        let _lock = lock(dir)?;
        Self::make(Probe { kind, bpf_refused: None }, dir, netns)
    }

    /// What it is made of.
    pub fn kind(&self) -> GateKind {
        match self.inner {
            Inner::Bpf(_) => GateKind::Bpf,
            Inner::NftSet(_) => GateKind::NftSet,
        }
    }

    /// Why it is not a BPF gate, if that was tried.
    pub fn bpf_refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Keeps an open gate open until then: a time of the boot clock, never a span. One earlier than what
    /// is in force changes nothing. Meant for one holder, many times a second.
    ///
    /// # Errors
    /// The set could not be changed; a BPF gate has no errors here.
    pub fn renew(&self, until: Duration) -> Result<Renewal> {
        match &self.inner {
            Inner::Bpf(gate) => Ok(gate.renew(until)),
            Inner::NftSet(gate) => gate.renew(until),
        }
    }

    /// Opens the gate until then, also if it was shut. The caller knows that nothing behind it has been
    /// given to others. Called too late, it opens nothing.
    ///
    /// # Errors
    /// The set could not be changed; a BPF gate has no errors here.
    pub fn reopen(&self, until: Duration) -> Result<()> {
        match &self.inner {
            Inner::Bpf(gate) => {
                gate.reopen(until);
                Ok(())
            }
            Inner::NftSet(gate) => gate.reopen(until),
        }
    }

    /// Shuts it at once.
    ///
    /// # Errors
    /// The set could not be changed; a BPF gate has no errors here.
    pub fn shut(&self) -> Result<()> {
        match &self.inner {
            Inner::Bpf(gate) => {
                gate.shut();
                Ok(())
            }
            Inner::NftSet(gate) => gate.shut(),
        }
    }

    /// When it shuts, or shut: a time of the boot clock; zero if it was shut by hand, never opened, or (for
    /// a set) has timed out. A set tells it to a few milliseconds.
    ///
    /// # Errors
    /// The set could not be read; a BPF gate has no errors here.
    pub fn deadline(&self) -> Result<Duration> {
        match &self.inner {
            Inner::Bpf(gate) => Ok(gate.deadline()),
            Inner::NftSet(gate) => gate.deadline(),
        }
    }

    /// True if packets pass now.
    ///
    /// # Errors
    /// Those of [`Gate::deadline`].
    pub fn is_open(&self) -> Result<bool> {
        Ok(self.deadline()? > since_boot())
    }

    /// Packets it has dropped since it was made.
    ///
    /// # Errors
    /// The counter could not be read; a BPF gate has no errors here.
    pub fn dropped(&self) -> Result<u64> {
        match &self.inner {
            Inner::Bpf(gate) => Ok(gate.dropped()),
            Inner::NftSet(gate) => gate.dropped(),
        }
    }

    /// Puts the gate on an interface of the namespace; where it is already, the same again. It stays there
    /// after all processes are gone, until the interface is.
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn attach(&self, device: &str, hook: Hook) -> Result<()> {
        match &self.inner {
            Inner::Bpf(gate) => gate.attach(&self.rtnl, device, hook).map_err(at(device, hook)),
            Inner::NftSet(gate) => gate.attach(&self.rtnl, device, hook),
        }
    }

    /// True if this very gate is on the interface. One that is not there has none.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn is_attached(&self, device: &str, hook: Hook) -> Result<bool> {
        match &self.inner {
            Inner::Bpf(_) if self.rtnl.link_index(device).map_err(at(device, hook))?.is_none() => Ok(false),
            Inner::Bpf(gate) => gate.is_attached(&self.rtnl, device, hook).map_err(at(device, hook)),
            Inner::NftSet(gate) => gate.is_attached(&self.rtnl, device, hook),
        }
    }

    /// [`Gate::attach`] unless [`Gate::is_attached`]; true if it had to be.
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn ensure_attached(&self, device: &str, hook: Hook) -> Result<bool> {
        if self.is_attached(device, hook)? {
            return Ok(false);
        }
        self.attach(device, hook)?;
        Ok(true)
    }

    /// Takes it off an interface that is no longer the PAN's business. None there is fine.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn detach(&self, device: &str, hook: Hook) -> Result<()> {
        match &self.inner {
            Inner::Bpf(gate) => gate.detach(&self.rtnl, device, hook).map_err(at(device, hook)),
            Inner::NftSet(gate) => gate.detach(&self.rtnl, device, hook),
        }
    }

    fn make(probe: Probe, dir: &Path, netns: &Netns) -> Result<Gate> {
        let inner = match probe.kind {
            GateKind::Bpf => Inner::Bpf(BpfGate::open(dir)?),
            GateKind::NftSet => {
                let why = probe.bpf_refused.as_deref().unwrap_or_default();
                fs::write(dir.join(NFT_MARK), why).map_err(folder(dir, "note which kind it is"))?;
                Inner::NftSet(NftGate::open(netns)?)
            }
        };
        Ok(Gate { inner, rtnl: Rtnl::open_in(netns)?, refused: probe.bpf_refused })
    }
}

/// What was found when the gate was made. Both processes of a host must come to the same.
fn remembered(dir: &Path) -> Result<Option<Probe>> {
    match fs::read_to_string(dir.join(NFT_MARK)) {
        Ok(why) => Ok(Some(Probe { kind: GateKind::NftSet, bpf_refused: (!why.is_empty()).then_some(why) })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(crate::bpf::is_bpffs(dir).then_some(Probe { kind: GateKind::Bpf, bpf_refused: None }))
        }
        Err(error) => Err(folder(dir, "read which kind it is")(error)),
    }
}

/// Makes the folder and keeps other processes from making a gate in it at the same time.
fn lock(dir: &Path) -> Result<Flock<fs::File>> {
    fs::create_dir_all(dir).map_err(folder(dir, "make it"))?;
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(folder(dir, "keep others out"))?;
    // Beside it: what is in it is hidden by the mount.
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.with_extension("lock"));
    let file = file.map_err(folder(dir, "open its lock file"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| folder(dir, "lock it")(errno.into()))
}

fn folder(dir: &Path, step: &'static str) -> impl FnOnce(io::Error) -> GateError {
    let dir = dir.to_owned();
    move |source| GateError::Folder { dir, step, source }
}

fn at(device: &str, hook: Hook) -> impl FnOnce(crate::rtnl::RtnlError) -> GateError {
    let device = device.to_owned();
    move |source| GateError::Attach { device, hook, source }
}
