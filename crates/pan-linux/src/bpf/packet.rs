//! The part of a program that finds its way into a packet: to the UDP datagrams of one port, over either IP.

use super::{Asm, Condition, Reg, Width};

/// `TC_ACT_UNSPEC` of linux/pkt_cls.h: not refused here; later filters are asked.
pub(crate) const GO_ON: i32 = -1;
/// `TC_ACT_SHOT`.
pub(crate) const DROP: i32 = 2;

/// Numbers in linux/bpf.h.
const SKB_LOAD_BYTES_RELATIVE: i32 = 68;
const START_AT_NETWORK_HEADER: i32 = 1;

/// Offset of `protocol` in `struct __sk_buff`.
const SKB_PROTOCOL: i16 = 16;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: i32 = 17;
const IPV4_HEADER: i16 = 20;
const IPV6_HEADER: i16 = 40;
/// The part of an IPv4 header that says that a packet is not the first fragment of a datagram.
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Where on the stack [`udp_port`] leaves the IP header, whose first four bits tell which it is.
pub(crate) const HEADER_AT: i16 = -48;
const PORT_AT: i16 = -8;

/// Goes to the label "go on" with what is no UDP to that port; after it, `R8` has the offset of the UDP header from the
/// network header. Expects the context in `R6`, and a label "drop" for packets that are shorter than their headers.
///
/// The packets it is for are never longer than the fabric allows, so there are no fragments of them; a later fragment
/// is worth nothing to its receiver without the first.
pub(crate) fn udp_port(asm: &mut Asm, port: u16) {
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
    asm.load(Width::Half, Reg::R1, Reg::Frame, PORT_AT).jump_if(Reg::R1, Condition::NotEqual, network_order(port), "go on");
}

/// Copies bytes of the packet, from the offset in `R2` on, to the stack. A packet too short for its own
/// headers goes to "drop".
pub(crate) fn load_bytes(asm: &mut Asm, to: i16, length: i16) {
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
