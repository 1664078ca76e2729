//! The program: what the kernel runs on every packet that comes in by a fabric.

use crate::bpf::{Asm, Condition, DROP, GO_ON, HEADER_AT, HashMap, Instruction, Reg, SharedCells, Width, load_bytes, udp_port};
use crate::overlay::VXLAN_PORT;

/// Network (four bytes, the last one zero), Ethernet address, two zeros.
pub(super) const KEY_BYTES: usize = 12;
/// The host's address as an IPv6 one, and the epoch.
pub(super) const VALUE_BYTES: usize = 24;
/// By network and Ethernet address. The Ethernet address of zeros stands for "this network is known here".
pub(super) type Map = HashMap<KEY_BYTES, VALUE_BYTES>;

/// Counters: the cells [`STALE`], [`UNKNOWN`] and [`FOREIGN`].
pub(super) type Cells = SharedCells<3>;
/// Frames from a host that has the server no more, or not yet.
pub(super) const STALE: usize = 0;
/// Frames of a known network under an address that nobody has, and broken ones.
pub(super) const UNKNOWN: usize = 1;
/// Frames of a network that is not known here. They are left to the kernel, which has nobody to give them to unless somebody else
/// uses VXLAN here.
pub(super) const FOREIGN: usize = 2;

/// `bpf_map_lookup_elem` of linux/bpf.h.
const MAP_LOOKUP: i32 = 1;
/// UDP header before the VXLAN header; that and the inner destination before the inner source.
const UDP_BYTES: i32 = 8;
const INNER_BYTES: i16 = 20;
/// On the stack, below what [`udp_port`] uses: VXLAN header with the two inner addresses, and the key.
const INNER_AT: i16 = -72;
const KEY_AT: i16 = -104;

/// Assembles it over the maps with these descriptors.
pub(super) fn assemble(origins: i32, cells: i32) -> Vec<Instruction> {
    let mut asm = Asm::default();
    asm.copy(Reg::R6, Reg::R1).map_value(Reg::R7, cells, 0);
    udp_port(&mut asm, VXLAN_PORT);
    asm.copy(Reg::R2, Reg::R8).add(Reg::R2, UDP_BYTES);
    load_bytes(&mut asm, INNER_AT, INNER_BYTES);
    // RFC 7348: three bytes of network identifier and a reserved one.
    asm.load(Width::Word, Reg::R1, Reg::Frame, INNER_AT + 4).and(Reg::R1, i32::from_ne_bytes([0xff, 0xff, 0xff, 0]));
    asm.store(Width::Word, Reg::Frame, KEY_AT, Reg::R1);
    for half in [0, 2, 4] {
        asm.load(Width::Half, Reg::R1, Reg::Frame, INNER_AT + 14 + half).store(Width::Half, Reg::Frame, KEY_AT + 4 + half, Reg::R1);
    }
    asm.set(Reg::R1, 0).store(Width::Half, Reg::Frame, KEY_AT + 10, Reg::R1);
    look_up(&mut asm, origins);
    asm.jump_if(Reg::R0, Condition::Equal, 0, "nobody's");
    compare(&mut asm);
    asm.label("nobody's").set(Reg::R1, 0).store(Width::Word, Reg::Frame, KEY_AT + 4, Reg::R1).store(
        Width::Half,
        Reg::Frame,
        KEY_AT + 8,
        Reg::R1,
    );
    look_up(&mut asm, origins);
    // Not a partition network of this host: whoever else uses VXLAN here is left alone.
    asm.jump_if(Reg::R0, Condition::Equal, 0, "foreign").label("drop");
    drop_and_count(&mut asm, UNKNOWN);
    asm.label("stale");
    drop_and_count(&mut asm, STALE);
    asm.label("foreign");
    count(&mut asm, FOREIGN);
    asm.label("go on").set(Reg::R0, GO_ON).exit();
    asm.finish()
}

fn look_up(asm: &mut Asm, origins: i32) {
    asm.map(Reg::R1, origins).copy(Reg::R2, Reg::Frame).add(Reg::R2, i32::from(KEY_AT)).call(MAP_LOOKUP);
}

/// The outer source against the address that `R0` points to. IPv4 is compared as `::ffff:a.b.c.d`.
fn compare(asm: &mut Asm) {
    asm.load(Width::Byte, Reg::R1, Reg::Frame, HEADER_AT)
        .and(Reg::R1, 0xf0)
        .jump_if(Reg::R1, Condition::Equal, 0x40, "from ipv4")
        .load(Width::Double, Reg::R1, Reg::Frame, HEADER_AT + 8)
        .load(Width::Double, Reg::R2, Reg::R0, 0)
        .jump_if_register(Reg::R1, Condition::NotEqual, Reg::R2, "stale")
        .load(Width::Double, Reg::R1, Reg::Frame, HEADER_AT + 16)
        .load(Width::Double, Reg::R2, Reg::R0, 8)
        .jump_if_register(Reg::R1, Condition::NotEqual, Reg::R2, "stale")
        .jump("go on")
        .label("from ipv4")
        .load(Width::Double, Reg::R2, Reg::R0, 0)
        .jump_if(Reg::R2, Condition::NotEqual, 0, "stale")
        .load(Width::Half, Reg::R2, Reg::R0, 8)
        .jump_if(Reg::R2, Condition::NotEqual, 0, "stale")
        .load(Width::Half, Reg::R2, Reg::R0, 10)
        .jump_if(Reg::R2, Condition::NotEqual, 0xffff, "stale")
        .load(Width::Word, Reg::R1, Reg::Frame, HEADER_AT + 12)
        .load(Width::Word, Reg::R2, Reg::R0, 12)
        .jump_if_register(Reg::R1, Condition::NotEqual, Reg::R2, "stale")
        .jump("go on");
}

fn drop_and_count(asm: &mut Asm, cell: usize) {
    count(asm, cell);
    asm.set(Reg::R0, DROP).exit();
}

fn count(asm: &mut Asm, cell: usize) {
    asm.set(Reg::R1, 1).add_to_memory(Reg::R7, 8 * cell as i16, Reg::R1);
}

#[cfg(test)]
#[path = "code_tests.rs"]
mod tests;
