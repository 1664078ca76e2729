//! The programs, run by the kernel on given frames.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::{Cells, DEADLINE, DROP, DROPPED, Drops, GO_ON, VXLAN_PORT, assemble};
use crate::bpf::{BpfError, Program};
use crate::realtime::since_boot;

const TIMED_RUNS: u32 = 1_000_000;

fn load(drops: Drops) -> Option<(Cells, Program)> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: loading BPF programs needs root");
        return None;
    }
    let cells = Cells::create("pan_gate_test").unwrap();
    let program = Program::load("pan_gate_test", &assemble(drops, cells.descriptor())).unwrap();
    Some((cells, program))
}

fn ethernet(kind: u16, packet: &[u8]) -> Vec<u8> {
    [&[2; 12], &kind.to_be_bytes()[..], packet].concat()
}

/// An IPv4 packet with so many 32-bit words of options.
fn ipv4(protocol: u8, options: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 20 + 4 * usize::from(options)];
    header[0] = 0x45 + options;
    header[6..8].copy_from_slice(&fragment.to_be_bytes());
    header[9] = protocol;
    ethernet(0x0800, &[header, payload.to_vec()].concat())
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 40];
    header[0] = 0x60;
    header[6] = next;
    ethernet(0x86dd, &[header, payload.to_vec()].concat())
}

/// Ports and 30 bytes more.
fn ports(to: u16) -> Vec<u8> {
    [&7777u16.to_be_bytes()[..], &to.to_be_bytes(), &[0; 30]].concat()
}

fn frames() -> Vec<(&'static str, Vec<u8>, bool)> {
    let vxlan = ports(VXLAN_PORT);
    vec![
        ("VXLAN over IPv4", ipv4(17, 0, 0x4000, &vxlan), true),
        ("VXLAN over IPv4 with options", ipv4(17, 3, 0, &vxlan), true),
        ("first fragment of VXLAN", ipv4(17, 0, 0x2000, &vxlan), true),
        ("VXLAN over IPv6", ipv6(17, &vxlan), true),
        ("UDP without its ports", ipv4(17, 0, 0, &[]), true),
        ("later fragment", ipv4(17, 0, 0x2010, &vxlan), false),
        ("a heartbeat", ipv4(17, 0, 0, &ports(7071)), false),
        ("a heartbeat over IPv6", ipv6(17, &ports(7071)), false),
        ("TCP to that port", ipv4(6, 0, 0, &vxlan), false),
        ("TCP over IPv6 to that port", ipv6(6, &vxlan), false),
        ("ARP", ethernet(0x0806, &[0; 46]), false),
    ]
}

#[test]
fn a_shut_gate_drops_what_it_is_for() -> Result<(), BpfError> {
    for drops in [Drops::Everything, Drops::Vxlan] {
        let Some((cells, program)) = load(drops) else { return Ok(()) };
        let verdict = |frame: &[u8]| Ok::<_, BpfError>(program.run(frame, 1)?.0.cast_signed());
        for (what, frame, is_vxlan) in frames() {
            let expected = if is_vxlan || drops == Drops::Everything { DROP } else { GO_ON };
            let counted = cells.cells()[DROPPED].load(SeqCst);
            assert_eq!(verdict(&frame)?, expected, "{what}, shut, {drops:?}");
            assert_eq!(cells.cells()[DROPPED].load(SeqCst) - counted, u64::from(expected == DROP), "{what}");

            let open_until = since_boot() + Duration::from_secs(60);
            cells.cells()[DEADLINE].store(open_until.as_nanos() as u64, SeqCst);
            assert_eq!(verdict(&frame)?, GO_ON, "{what}, open, {drops:?}");
            // The deadline itself is too late.
            cells.cells()[DEADLINE].store(since_boot().as_nanos() as u64, SeqCst);
            assert_eq!(verdict(&frame)?, expected, "{what}, expired, {drops:?}");
            cells.cells()[DEADLINE].store(0, SeqCst);
        }
    }
    Ok(())
}

#[test]
fn it_costs_little() -> Result<(), BpfError> {
    for drops in [Drops::Everything, Drops::Vxlan] {
        let Some((cells, program)) = load(drops) else { return Ok(()) };
        let frame = ipv4(17, 0, 0, &ports(VXLAN_PORT));
        let (_, shut) = program.run(&frame, TIMED_RUNS)?;
        cells.cells()[DEADLINE].store(u64::MAX, SeqCst);
        let (_, open) = program.run(&frame, TIMED_RUNS)?;
        let length = assemble(drops, 0).len();
        println!("{drops:?}: {length} instructions, {open} ns open, {shut} ns shut");
        assert!(open < 2_000, "one packet takes {open} ns");
    }
    Ok(())
}
