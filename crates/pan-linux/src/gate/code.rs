//! The programs: what the kernel runs on every packet.
//!
//! Open, both take seven instructions. Shut, one drops everything and the other only VXLAN, so that a
//! host whose lease is over can still be heard on its fabrics.

use crate::bpf::{Asm, Condition, Reg, SharedCells, Width};
use crate::overlay::VXLAN_PORT;

/// What programs and processes share: the cells [`DEADLINE`] and [`DROPPED`].
pub(super) type Cells = SharedCells<2>;
/// Nanoseconds of the boot clock.
pub(super) const DEADLINE: usize = 0;
/// Packets dropped by this host's gate.
pub(super) const DROPPED: usize = 1;

/// Numbers of helpers and verdicts in linux/bpf.h and linux/pkt_cls.h.
const KTIME_GET_BOOT_NS: i32 = 125;
const SKB_LOAD_BYTES_RELATIVE: i32 = 68;
const START_AT_NETWORK_HEADER: i32 = 1;
/// `TC_ACT_UNSPEC`: not refused here; later filters are asked.
pub(super) const GO_ON: i32 = -1;
/// `TC_ACT_SHOT`.
pub(super) const DROP: i32 = 2;

/// Offset of `protocol` in `struct __sk_buff`.
const SKB_PROTOCOL: i16 = 16;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: i32 = 17;
const IPV4_HEADER: i16 = 20;
const IPV6_HEADER: i16 = 40;
/// The part of an IPv4 header that says that a packet is not the first fragment of a datagram.
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Where on the stack a header and a port are put.
const HEADER_AT: i16 = -48;
const PORT_AT: i16 = -8;

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
        leave_others(&mut asm);
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

/// Lets go on what is no UDP to the VXLAN port. The outer packets are never longer than the fabric allows,
/// so there are no fragments of them; a later fragment is worth nothing to its receiver without the first.
fn leave_others(asm: &mut Asm) {
    asm.load(Width::Word, Reg::R1, Reg::R6, SKB_PROTOCOL)
        .jump_if(Reg::R1, Condition::Equal, network_order(IPV4), "ipv4")
        .jump_if(Reg::R1, Condition::NotEqual, network_order(IPV6), "go on")
        .set(Reg::R2, 0);
    load_bytes(asm, HEADER_AT, IPV6_HEADER);
    asm.load(Width::Byte, Reg::R1, Reg::Frame, HEADER_AT + 6)
        .jump_if(Reg::R1, Condition::NotEqual, UDP, "go on")
        .set(Reg::R8, i32::from(IPV6_HEADER))
        .jump("port")
        .label("ipv4")
        .set(Reg::R2, 0);
    load_bytes(asm, HEADER_AT, IPV4_HEADER);
    asm.load(Width::Byte, Reg::R1, Reg::Frame, HEADER_AT + 9)
        .jump_if(Reg::R1, Condition::NotEqual, UDP, "go on")
        .load(Width::Half, Reg::R1, Reg::Frame, HEADER_AT + 6)
        .jump_if(Reg::R1, Condition::AnyBit, network_order(FRAGMENT_OFFSET), "go on")
        .load(Width::Byte, Reg::R8, Reg::Frame, HEADER_AT)
        .and(Reg::R8, 0x0f)
        .shift_left(Reg::R8, 2)
        .label("port")
        .copy(Reg::R2, Reg::R8)
        .add(Reg::R2, 2);
    load_bytes(asm, PORT_AT, 2);
    asm.load(Width::Half, Reg::R1, Reg::Frame, PORT_AT).jump_if(Reg::R1, Condition::NotEqual, network_order(VXLAN_PORT), "go on");
}

/// Copies bytes of the packet, from the offset in `R2` on, to the stack. A packet too short for its own
/// headers is dropped.
fn load_bytes(asm: &mut Asm, to: i16, length: i16) {
    asm.copy(Reg::R1, Reg::R6)
        .copy(Reg::R3, Reg::Frame)
        .add(Reg::R3, i32::from(to))
        .set(Reg::R4, i32::from(length))
        .set(Reg::R5, START_AT_NETWORK_HEADER)
        .call(SKB_LOAD_BYTES_RELATIVE)
        .jump_if(Reg::R0, Condition::NotEqual, 0, "drop");
}

/// The number that two bytes of a packet read as on this machine.
fn network_order(value: u16) -> i32 {
    i32::from(value.to_be())
}

#[cfg(test)]
#[path = "code_tests.rs"]
mod tests;
