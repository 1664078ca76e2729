//! The program, run by the kernel on given frames.

use std::net::IpAddr;
use std::sync::atomic::Ordering::SeqCst;

use super::{Cells, DROP, FOREIGN, GO_ON, Map, STALE, UNKNOWN, VXLAN_PORT, assemble};
use crate::bpf::Program;
use crate::origin::table::{Origin, Table, Who, changes};
use crate::rtnl::Mac;

const TIMED_RUNS: u32 = 1_000_000;
const S: Mac = [2, 0x50, 0, 0, 0, 1];
const STRANGER: Mac = [2, 0x50, 0, 0, 0, 9];
const NETWORK: u32 = 0x1234;

struct Bench {
    map: Map,
    cells: Cells,
    program: Program,
}

fn bench() -> Option<Bench> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: loading BPF programs needs root");
        return None;
    }
    let (map, cells) = (Map::create("pan_test", 16).unwrap(), Cells::create("pan_test").unwrap());
    let program = Program::load("pan_test", &assemble(map.descriptor(), cells.descriptor())).unwrap();
    Some(Bench { map, cells, program })
}

impl Bench {
    fn put(&self, mac: Mac, host: &str, epoch: u64) {
        let wanted = Table::from([(Who { vni: NETWORK, mac }, Origin { host: host.parse().unwrap(), epoch })]);
        for (who, origin) in changes(&Table::new(), &wanted) {
            self.map.set(&who.bytes(), &origin.bytes()).unwrap();
        }
    }

    fn check(&self, what: &str, frame: &[u8], verdict: i32, counts: [u64; 3]) {
        let seen = || [STALE, UNKNOWN, FOREIGN].map(|cell| self.cells.cells()[cell].load(SeqCst));
        let before = seen();
        let (got, _) = self.program.run(frame, 1).unwrap();
        let after = seen();
        assert_eq!((got.cast_signed(), std::array::from_fn(|cell| after[cell] - before[cell])), (verdict, counts), "{what}");
    }
}

fn vxlan(vni: u32, source: Mac) -> Vec<u8> {
    let header = [[8, 0, 0, 0], (vni << 8 | 0x5a).to_be_bytes()].concat();
    [&header[..], &[0xff; 6], &source, &[8, 0], &[0; 46]].concat()
}

fn outer(from: &str, port: u16, payload: &[u8]) -> Vec<u8> {
    let udp = [&40_000u16.to_be_bytes()[..], &port.to_be_bytes(), &[0; 4], payload].concat();
    let (kind, mut header) = match from.parse().unwrap() {
        IpAddr::V4(from) => {
            let mut header = vec![0x45; 20];
            header[1..12].copy_from_slice(&[0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0]);
            header[12..16].copy_from_slice(&from.octets());
            (0x0800u16, header)
        }
        IpAddr::V6(from) => {
            let mut header = vec![0; 40];
            (header[0], header[6]) = (0x60, 17);
            header[8..24].copy_from_slice(&from.octets());
            (0x86ddu16, header)
        }
    };
    header.extend(udp);
    [&[2; 12], &kind.to_be_bytes()[..], &header].concat()
}

#[test]
fn a_frame_passes_only_from_the_host_that_has_the_server() {
    let Some(bench) = bench() else { return };
    let frame = |from: &str, vni, mac| outer(from, VXLAN_PORT, &vxlan(vni, mac));
    bench.check("no network is known", &frame("10.200.0.2", NETWORK, S), GO_ON, [0, 0, 1]);
    bench.put([0; 6], "::", 0);
    bench.check("an address nobody has", &frame("10.200.0.2", NETWORK, S), DROP, [0, 1, 0]);
    for [owner, other] in [["10.200.0.2", "10.200.0.3"], ["fd10:200::2", "fd10:200::3"]] {
        bench.put(S, owner, 1);
        bench.check("the owner", &frame(owner, NETWORK, S), GO_ON, [0, 0, 0]);
        bench.check("another host", &frame(other, NETWORK, S), DROP, [1, 0, 0]);
        bench.check("another address", &frame(owner, NETWORK, STRANGER), DROP, [0, 1, 0]);
        bench.check("another network", &frame(other, NETWORK + 1, S), GO_ON, [0, 0, 1]);
        bench.check("no VXLAN", &outer(other, 7071, &vxlan(NETWORK, S)), GO_ON, [0, 0, 0]);
        bench.check("a broken frame", &outer(owner, VXLAN_PORT, &vxlan(NETWORK, S)[..16]), DROP, [0, 1, 0]);
        bench.put(S, other, 2);
        bench.check("the former owner", &frame(owner, NETWORK, S), DROP, [1, 0, 0]);
        bench.check("the new owner", &frame(other, NETWORK, S), GO_ON, [0, 0, 0]);
        bench.put(S, "::", 3);
        bench.check("a server of this host", &frame(other, NETWORK, S), DROP, [1, 0, 0]);
    }
    bench.put(S, "10.200.0.2", 4);
    bench.check("the other family", &frame("fd10:200::2", NETWORK, S), DROP, [1, 0, 0]);
    // `::10.200.0.2` is another address than `::ffff:10.200.0.2`.
    bench.put(S, "::10.200.0.2", 5);
    bench.check("the other family", &frame("10.200.0.2", NETWORK, S), DROP, [1, 0, 0]);
}

#[test]
fn it_costs_little() {
    let Some(bench) = bench() else { return };
    bench.put([0; 6], "::", 0);
    bench.put(S, "10.200.0.2", 1);
    let nanos = |from: &str, port| bench.program.run(&outer(from, port, &vxlan(NETWORK, S)), TIMED_RUNS).unwrap().1;
    let (passes, dropped, other) = (nanos("10.200.0.2", VXLAN_PORT), nanos("10.200.0.3", VXLAN_PORT), nanos("10.200.0.2", 7071));
    println!("{} instructions, {passes} ns passing, {dropped} ns dropped, {other} ns no VXLAN", assemble(0, 0).len());
    assert!(passes < 2_000, "one packet takes {passes} ns");
}
