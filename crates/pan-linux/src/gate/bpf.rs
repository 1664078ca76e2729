//! The BPF kind: a deadline in memory that this process, others and the programs share.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::code::{Cells, DEADLINE, DROPPED, Drops, assemble};
use super::{Hook, Renewal, Result};
use crate::bpf::{BpfError, Program, ensure_bpffs};
use crate::realtime::since_boot;
use crate::rtnl::{self, BpfFilter, Rtnl};

/// Layout 1: the deadline, then the count of drops.
const LEASE_PIN: &str = "lease_1";
const PORT_PROGRAM: &str = "pan_gate";
/// Its name begins with the other's.
const FABRIC_PROGRAM: &str = "pan_gate_vxlan";

#[derive(Debug)]
pub(super) struct BpfGate {
    shared: Cells,
    everything: Program,
    vxlan: Program,
}

impl BpfGate {
    /// Finds the pins in the folder, or makes them. The caller has locked the folder.
    pub(super) fn open(dir: &Path) -> Result<BpfGate> {
        ensure_bpffs(dir)?;
        let lease = dir.join(LEASE_PIN);
        let shared = match Cells::open(&lease)? {
            Some(shared) => shared,
            None => {
                // Programs without their map would check a deadline that nobody can move.
                clear(dir)?;
                let shared = Cells::create(PORT_PROGRAM)?;
                shared.pin(&lease)?;
                shared
            }
        };
        let everything = program(dir, PORT_PROGRAM, Drops::Everything, &shared)?;
        let vxlan = program(dir, FABRIC_PROGRAM, Drops::Vxlan, &shared)?;
        Ok(BpfGate { shared, everything, vxlan })
    }

    pub(super) fn renew(&self, until: Duration) -> Renewal {
        let (now, until) = (nanos(since_boot()), nanos(until));
        // Compare and exchange: a gate that somebody shuts in between stays shut.
        let moved = self.shared.cells()[DEADLINE].fetch_update(SeqCst, SeqCst, |current| (current > now).then(|| current.max(until)));
        match moved {
            Ok(_) => Renewal::Renewed,
            Err(_) => Renewal::Expired,
        }
    }

    pub(super) fn reopen(&self, until: Duration) {
        self.shared.cells()[DEADLINE].fetch_max(nanos(until), SeqCst);
    }

    pub(super) fn shut(&self) {
        self.shared.cells()[DEADLINE].store(0, SeqCst);
    }

    pub(super) fn deadline(&self) -> Duration {
        Duration::from_nanos(self.shared.cells()[DEADLINE].load(SeqCst))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.shared.cells()[DROPPED].load(SeqCst)
    }

    pub(super) fn attach(&self, rtnl: &Rtnl, device: &str, hook: Hook) -> rtnl::Result<()> {
        let (name, program) = self.program(hook);
        rtnl.set_bpf_filter(device, hook.direction(), BpfFilter { descriptor: program.descriptor(), name })
    }

    /// Only if it is this very program, over this very map.
    pub(super) fn is_attached(&self, rtnl: &Rtnl, device: &str, hook: Hook) -> rtnl::Result<bool> {
        let (_, program) = self.program(hook);
        Ok(rtnl.bpf_filter(device, hook.direction())? == Some(program.id()))
    }

    pub(super) fn detach(&self, rtnl: &Rtnl, device: &str, hook: Hook) -> rtnl::Result<()> {
        rtnl.del_bpf_filter(device, hook.direction())
    }

    fn program(&self, hook: Hook) -> (&'static str, &Program) {
        match hook {
            Hook::ServerPort | Hook::OverlayDevice => (PORT_PROGRAM, &self.everything),
            Hook::Fabric => (FABRIC_PROGRAM, &self.vxlan),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn program(dir: &Path, name: &'static str, drops: Drops, shared: &Cells) -> Result<Program> {
    let map = shared.descriptor();
    Ok(Program::pinned(dir, name, &assemble(drops, 0), || assemble(drops, map))?)
}

/// Removes pinned programs. The kernel may have files of its own there, which cannot be removed.
fn clear(dir: &Path) -> Result<()> {
    let failed = |source: io::Error| BpfError::Call { what: format!("remove stale pins from {}", dir.display()), source };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(PORT_PROGRAM) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
