//! The programs: what the kernel runs on every packet.
//!
//! Open, both take seven instructions. Shut, one drops everything and the other only VXLAN, so that a
//! host whose lease is over can still be heard on its fabrics.

use crate::bpf::{Asm, Condition, DROP, GO_ON, Reg, SharedCells, Width, udp_port};
use crate::overlay::VXLAN_PORT;

/// What programs and processes share: the cells [`DEADLINE`] and [`DROPPED`].
pub(super) type Cells = SharedCells<2>;
/// Nanoseconds of the boot clock.
pub(super) const DEADLINE: usize = 0;
/// Packets dropped by this host's gate.
pub(super) const DROPPED: usize = 1;

/// Number of the helper in linux/bpf.h.
const KTIME_GET_BOOT_NS: i32 = 125;

/// Which packets a shut gate drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drops {
    Everything,
    Vxlan,
}

/// Assembles a program over the map with this descriptor.
pub(super) fn assemble(drops: Drops, map: i32) -> Vec<crate::bpf::Instruction> {
    let mut asm = Asm::default();
    asm.copy(Reg::R6, Reg::R1)
        .call(KTIME_GET_BOOT_NS)
        .map_value(Reg::R7, map, 0)
        .load(Width::Double, Reg::R1, Reg::R7, 8 * DEADLINE as i16)
        .jump_if_register(Reg::R0, Condition::Below, Reg::R1, "go on");
    if drops == Drops::Vxlan {
        udp_port(&mut asm, VXLAN_PORT);
    }
    asm.label("drop")
        .set(Reg::R1, 1)
        .add_to_memory(Reg::R7, 8 * DROPPED as i16, Reg::R1)
        .set(Reg::R0, DROP)
        .exit()
        .label("go on")
        .set(Reg::R0, GO_ON)
        .exit();
    asm.finish()
}

#[cfg(test)]
#[path = "code_tests.rs"]
mod tests;
