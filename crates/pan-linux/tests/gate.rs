//! The gate on the real kernel: what it lets pass, when it shuts, and that no stopped holder opens it.
#![allow(clippy::unwrap_used)]

mod gate_rig;
mod net_rig;

use std::net::SocketAddr;
use std::time::Duration;

use gate_rig::holder::{self, AFTER, BEFORE, Holder, Order, Resume};
use gate_rig::refusal::without_bpf;
use gate_rig::{Folder, KINDS, Loop, ms, stream, wait_until};
use net_rig::{Host, Space, Wire, ip, until};
use pan_linux::gate::{Gate, GateKind, Hook, Renewal, probe};
use pan_linux::mount::{self, Busy};
use pan_linux::overlay::{LocalPort, NetworkSpec, RemoteEntry, vxlan_name};
use pan_linux::realtime::since_boot;
use pan_linux::rtnl::Mac;

const MTU: u32 = 1430;
const VNI: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);
/// Stops of one renewal that are tried, evenly spread: each costs a lease.
const STOPS_MAX: u64 = 80;

fn mac(last: u8) -> Mac {
    [2, 0x50, 0, 0, 0, last]
}

fn local(last: u8, port: &str) -> LocalPort {
    LocalPort { mac: mac(last), addresses: vec![ip(&format!("10.0.0.{last}")), ip(&format!("fd00::{last}"))], port: port.into(), epoch: 1 }
}

fn remote(last: u8, host: &Host) -> RemoteEntry {
    let LocalPort { mac, addresses, .. } = local(last, "");
    RemoteEntry { mac, addresses, host: host.address(), epoch: 1 }
}

/// Host 1 with servers 1 and 2 and a gate, host 2 with server 3 and none.
struct Rig {
    wire: Wire,
    h1: Host,
    _h2: Host,
    servers: [Space; 3],
}

impl Rig {
    /// `gated` is called when there are ports and no packet has passed.
    fn new(gated: impl FnOnce(&Host)) -> Rig {
        let wire = Wire::new();
        let (mut h1, mut h2) = (Host::new(&wire, 1, false), Host::new(&wire, 2, false));
        let server = |host: &Host, last: u8, port: &str| {
            host.server(port, mac(last), &[&format!("10.0.0.{last}/24"), &format!("fd00::{last}/64")], MTU)
        };
        let servers = [server(&h1, 1, "v1"), server(&h1, 2, "v2"), server(&h2, 3, "v3")];
        gated(&h1);
        let network = |remote, local| [NetworkSpec { vni: VNI, mtu: MTU, remote, local }];
        let on_h1 = network(vec![remote(3, &h2)], vec![local(1, "v1"), local(2, "v2")]);
        let on_h2 = network(vec![remote(1, &h1), remote(2, &h1)], vec![local(3, "v3")]);
        for (host, network) in [(&mut h1, on_h1), (&mut h2, on_h2)] {
            let spec = host.underlay_spec(2, true, true);
            host.underlay.apply(&spec).unwrap();
            host.overlay.apply(&network).unwrap();
        }
        Rig { wire, h1, _h2: h2, servers }
    }

    /// Frames that have come to a server.
    fn frames(&self, server: usize) -> u64 {
        let table = self.servers[server].netns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()).unwrap();
        let line = table.lines().find_map(|line| line.trim().strip_prefix("eth0:").map(str::to_owned)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

fn attach_ports(gate: &Gate) {
    for port in ["v1", "v2"] {
        assert!(gate.ensure_attached(port, Hook::ServerPort).unwrap());
        assert!(!gate.ensure_attached(port, Hook::ServerPort).unwrap());
        gate.attach(port, Hook::ServerPort).unwrap();
        assert!(gate.is_attached(port, Hook::ServerPort).unwrap());
    }
}

fn attach_outputs(gate: &Gate) {
    for (device, hook) in [(vxlan_name(VNI).as_str(), Hook::OverlayDevice), ("fa", Hook::Fabric), ("fb", Hook::Fabric)] {
        assert!(gate.ensure_attached(device, hook).unwrap(), "{device}");
        assert!(!gate.ensure_attached(device, hook).unwrap(), "{device}");
    }
}

#[test]
fn this_kernel_has_a_gate() {
    if !net_rig::may_run("this_kernel_has_a_gate") {
        return;
    }
    let probe = probe().unwrap();
    println!("gate: {probe}");
    assert_eq!(probe.kind == GateKind::Bpf, probe.bpf_refused.is_none());
}

/// A kernel under a lockdown, or in a container that keeps bpf(2) from everybody.
#[test]
fn where_bpf_is_refused_the_gate_is_of_nftables_and_says_why() {
    let Some(folder) = Folder::new("where_bpf_is_refused_the_gate_is_of_nftables_and_says_why") else { return };
    let looped = Loop::new();
    let space = &looped.space;
    let (probe, gate) = without_bpf(|| (probe().unwrap(), Gate::open(&folder.path, &space.netns).unwrap()));
    let why = probe.bpf_refused.clone().unwrap();
    assert_eq!(probe.kind, GateKind::NftSet);
    assert!(why.contains("EPERM") || why.contains("not permitted"), "{why}");
    assert_eq!(probe.to_string(), format!("nft-set (BPF refused: {why})"));
    // Another process of the host, to which the kernel refuses nothing, comes to the same, and can say why.
    let other = Gate::open(&folder.path, &space.netns).unwrap();
    for gate in [&gate, &other] {
        assert_eq!((gate.kind(), gate.bpf_refused()), (GateKind::NftSet, Some(why.as_str())));
    }
    // It is one gate, and it works.
    gate.attach("lo", Hook::ServerPort).unwrap();
    assert!(other.is_attached("lo", Hook::ServerPort).unwrap());
    assert!(!looped.passes(&gate));
    gate.reopen(since_boot() + MINUTE).unwrap();
    assert!(looped.passes(&gate));
    other.shut().unwrap();
    assert!(!looped.passes(&gate));
}

#[test]
fn a_shut_gate_lets_nothing_pass_between_ports_nor_to_other_hosts() {
    for kind in KINDS {
        let Some(folder) = Folder::new("a_shut_gate_lets_nothing_pass_between_ports_nor_to_other_hosts") else { return };
        let mut gate = None;
        let rig = Rig::new(|host| attach_ports(gate.insert(folder.gate(kind, &host.space.netns))));
        let gate = gate.unwrap();
        attach_outputs(&gate);
        let [s1, s2, _] = &rig.servers;
        assert_eq!((gate.kind(), gate.deadline().unwrap()), (kind, Duration::ZERO));

        let before = [rig.frames(1), rig.frames(2), gate.dropped().unwrap()];
        for address in ["10.0.0.2", "fd00::2", "10.0.0.3", "fd00::3"] {
            s1.does_not_reach(address);
        }
        s2.does_not_reach("10.0.0.1");
        assert_eq!([rig.frames(1), rig.frames(2)], before[..2], "frames passed a shut gate of kind {kind}");
        assert!(gate.dropped().unwrap() >= before[2] + 5, "{kind}");
        // Its host is heard all the same.
        rig.h1.space.reaches("10.200.0.2");

        gate.reopen(since_boot() + MINUTE).unwrap();
        for address in ["10.0.0.2", "fd00::2", "10.0.0.3", "fd00::3"] {
            s1.reaches(address);
        }
        gate.shut().unwrap();
        for address in ["10.0.0.2", "10.0.0.3"] {
            s1.does_not_reach(address);
        }
        gate.detach("v1", Hook::ServerPort).unwrap();
        assert!(!gate.is_attached("v1", Hook::ServerPort).unwrap());
        gate.detach("v1", Hook::ServerPort).unwrap();
        gate.detach("no-such-dev", Hook::ServerPort).unwrap();
        assert!(gate.attach("no-such-dev", Hook::ServerPort).is_err());
        // Its frames pass now, to the other port; the outputs are still shut.
        let before = [rig.frames(1), rig.frames(2)];
        s1.does_not_reach("10.0.0.2");
        s1.does_not_reach("10.0.0.3");
        assert!(rig.frames(1) > before[0]);
        assert_eq!(rig.frames(2), before[1]);
    }
}

#[test]
fn a_frame_that_waited_for_a_neighbour_does_not_leave_after_the_deadline() {
    for kind in KINDS {
        let Some(folder) = Folder::new("a_frame_that_waited_for_a_neighbour_does_not_leave_after_the_deadline") else { return };
        for at_fabrics in [true, false] {
            let mut gate = None;
            let rig = Rig::new(|host| attach_ports(gate.insert(folder.gate(kind, &host.space.netns))));
            let gate = gate.unwrap();
            gate.shut().unwrap();
            gate.attach(&vxlan_name(VNI), Hook::OverlayDevice).unwrap();
            if at_fabrics {
                attach_outputs_of_fabrics(&gate);
            }
            gate.reopen(since_boot() + MINUTE).unwrap();
            rig.servers[0].reaches("10.0.0.3");
            gate.shut().unwrap();
            gate.reopen(since_boot() + ms(300)).unwrap();

            // Host 2 is cut off on both fabrics; nobody answers for its addresses any more.
            for fabric in ['a', 'b'] {
                rig.wire.cable(2, fabric, false);
                rig.h1.space.output(&["ip", "neigh", "flush", "dev", &format!("f{fabric}")]);
            }
            let (arrived, dropped) = (rig.frames(2), gate.dropped().unwrap());
            let sender = rig.servers[0].netns.run(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
            sender.send_to(b"late", "10.0.0.3:9").unwrap();
            assert!(gate.is_open().unwrap());
            wait_until(since_boot() + ms(350));
            assert!(!gate.is_open().unwrap());
            for fabric in ['a', 'b'] {
                rig.wire.cable(2, fabric, true);
            }
            match at_fabrics {
                true => {
                    until("the late frame is dropped", || gate.dropped().unwrap() > dropped);
                    assert_eq!(rig.frames(2), arrived, "{kind}");
                }
                // Why the gate at the fabrics is needed.
                false => until("the late frame arrives", || rig.frames(2) > arrived),
            }
        }
    }
}

fn attach_outputs_of_fabrics(gate: &Gate) {
    for device in ["fa", "fb"] {
        gate.attach(device, Hook::Fabric).unwrap();
    }
}

#[test]
fn it_shuts_by_itself_at_the_deadline() {
    // The sender's clock is read before the kernel's, and a tick may come late on a busy machine.
    for (kind, late_max) in [(GateKind::Bpf, Duration::from_micros(50)), (GateKind::NftSet, ms(30))] {
        let Some(folder) = Folder::new("it_shuts_by_itself_at_the_deadline") else { return };
        let mut gate = None;
        let rig = Rig::new(|host| attach_ports(gate.insert(folder.gate(kind, &host.space.netns))));
        let gate = gate.unwrap();
        attach_outputs(&gate);
        let [s1, s2, s3] = &rig.servers;
        for (way, to, address) in [("same host", s2, "10.0.0.2"), ("other host", s3, "10.0.0.3")] {
            gate.reopen(since_boot() + MINUTE).unwrap();
            s1.reaches(address);
            for run in 1..=5 {
                gate.shut().unwrap();
                let mut deadline = Duration::ZERO;
                let address = SocketAddr::new(ip(address), 7000 + run);
                let arrivals = stream::between(s1, to, address, || {
                    deadline = since_boot() + ms(60);
                    gate.reopen(deadline).unwrap();
                    wait_until(deadline);
                });
                assert!(arrivals.len() > 50, "{} packets arrived", arrivals.len());
                let last = arrivals.iter().max_by_key(|arrival| arrival.sent).unwrap();
                let received = arrivals.iter().map(|arrival| arrival.received).max().unwrap();
                let after = |time: Duration| (time.as_nanos() as f64 - deadline.as_nanos() as f64) / 1000.0;
                println!(
                    "{kind}, {way}, run {run}: {} packets; last sent {:+.1} us, last received {:+.1} us from the deadline",
                    arrivals.len(),
                    after(last.sent),
                    after(received)
                );
                assert!(last.sent <= deadline + late_max, "{kind}: a packet sent {} us late passed", after(last.sent));
                assert!(received <= deadline + late_max + ms(50), "{kind}");
                assert!(!gate.is_open().unwrap());
                assert_eq!(gate.renew(since_boot() + MINUTE).unwrap(), Renewal::Expired);
            }
        }
    }
}

#[test]
fn renewals_only_extend() {
    for kind in KINDS {
        let Some(folder) = Folder::new("renewals_only_extend") else { return };
        let packets = Loop::new();
        let gate = packets.gate(&folder, kind);
        assert!(!packets.passes(&gate));
        assert_eq!(gate.renew(since_boot() + MINUTE).unwrap(), Renewal::Expired);
        assert!(!packets.passes(&gate));

        let (early, late) = (since_boot() + MINUTE, since_boot() + MINUTE * 2);
        gate.reopen(late).unwrap();
        assert_eq!(gate.renew(early).unwrap(), Renewal::Renewed);
        gate.reopen(early).unwrap();
        let near = |time: Duration| time.abs_diff(late) < ms(20);
        assert!(packets.passes(&gate) && near(gate.deadline().unwrap()), "{kind}: {:?}", gate.deadline());
        gate.shut().unwrap();
        gate.shut().unwrap();
        assert!(!packets.passes(&gate) && gate.deadline().unwrap().is_zero());
        // Another opener has the same gate; a deadline in the past opens nothing.
        let other = folder.gate(kind, &packets.space.netns);
        other.reopen(since_boot()).unwrap();
        assert!(!packets.passes(&gate));
        other.reopen(late).unwrap();
        assert!(packets.passes(&gate) && gate.is_open().unwrap());
        // A holder that did not ask for the deadline in force extends it like any other.
        assert_eq!(gate.renew(late + MINUTE).unwrap(), Renewal::Renewed);
        assert!(near(other.deadline().unwrap() - MINUTE));
    }
}

#[test]
fn hosts_of_one_kernel_have_gates_of_their_own() {
    for kind in KINDS {
        let Some(folder) = Folder::new("hosts_of_one_kernel_have_gates_of_their_own") else { return };
        let (one, two) = (Loop::new(), Loop::new());
        let folder_two = folder.other("gate");
        let (gate_one, gate_two) = (one.gate(&folder, kind), two.gate(&folder_two, kind));
        gate_one.reopen(since_boot() + MINUTE).unwrap();
        assert!(one.passes(&gate_one));
        assert!(!two.passes(&gate_two));
        assert_eq!(gate_one.dropped().unwrap(), 0);
    }
}

#[test]
fn lost_pins_make_a_new_gate_which_replaces_the_old_one() {
    let Some(folder) = Folder::new("lost_pins_make_a_new_gate_which_replaces_the_old_one") else { return };
    let packets = Loop::new();
    let old = packets.gate(&folder, GateKind::Bpf);
    old.reopen(since_boot() + MINUTE).unwrap();
    mount::unmount(&folder.path, Busy::Detach).unwrap();
    let new = folder.gate(GateKind::Bpf, &packets.space.netns);
    assert!(!new.is_attached("lo", Hook::ServerPort).unwrap());
    assert!(packets.passes(&old));
    assert!(new.ensure_attached("lo", Hook::ServerPort).unwrap());
    assert!(!packets.passes(&new));
    // The map alone: its programs are of no use.
    std::fs::remove_file(folder.path.join("lease_1")).unwrap();
    let newest = packets.gate(&folder, GateKind::Bpf);
    newest.reopen(since_boot() + MINUTE).unwrap();
    assert!(packets.passes(&newest));
    // The kind is found again without trying.
    let found = Gate::open(&folder.path, &packets.space.netns).unwrap();
    assert_eq!((found.kind(), found.deadline().unwrap()), (GateKind::Bpf, newest.deadline().unwrap()));
}

#[test]
fn flushed_rules_are_missed_and_put_back() {
    let Some(folder) = Folder::new("flushed_rules_are_missed_and_put_back") else { return };
    let packets = Loop::new();
    let gate = packets.gate(&folder, GateKind::NftSet);
    packets.space.output(&["nft", "flush", "ruleset"]);
    assert!(!gate.is_attached("lo", Hook::ServerPort).unwrap());
    assert!(gate.reopen(since_boot() + MINUTE).is_err());
    assert!(gate.ensure_attached("lo", Hook::ServerPort).unwrap());
    assert!(!packets.passes(&gate));
    gate.reopen(since_boot() + MINUTE).unwrap();
    assert!(packets.passes(&gate));
}

#[test]
fn the_holder_dies_and_its_deadline_stays() {
    for kind in KINDS {
        let Some(folder) = Folder::new("the_holder_dies_and_its_deadline_stays") else { return };
        let packets = Loop::new();
        let agent = packets.gate(&folder, kind);
        let mut holder = Holder::start("holder_process", &packets.space, kind, &folder.path);
        agent.reopen(since_boot() + MINUTE).unwrap();
        let deadline = since_boot() + MINUTE * 2;
        holder.order(Order::Renew, deadline);
        assert_eq!(holder.outcome(), Renewal::Renewed);
        holder.kill();
        drop(agent);
        let again = folder.gate(kind, &packets.space.netns);
        assert!(again.deadline().unwrap().abs_diff(deadline) < ms(20), "{kind}");
        assert!(again.is_attached("lo", Hook::ServerPort).unwrap());
        assert!(packets.passes(&again));
    }
}

/// Not a test: the program of [`Holder`].
#[test]
fn holder_process() {
    holder::serve();
}

/// In a BPF gate every instruction could be the one that matters; in a set it is a system call.
const STEPS: [(GateKind, Resume); 2] = [(GateKind::Bpf, Resume::Step), (GateKind::NftSet, Resume::SystemCall)];

#[test]
fn a_holder_stopped_anywhere_in_a_renewal_opens_nothing_later() {
    let Some(folder) = Folder::new("a_holder_stopped_anywhere_in_a_renewal_opens_nothing_later") else { return };
    for (kind, by) in STEPS {
        stop_everywhere(&folder.other("gate"), kind, by, Order::Renew);
    }
}

#[test]
fn a_holder_stopped_anywhere_in_a_reopening_opens_nothing_later() {
    let Some(folder) = Folder::new("a_holder_stopped_anywhere_in_a_reopening_opens_nothing_later") else { return };
    for (kind, by) in STEPS {
        stop_everywhere(&folder.other("gate"), kind, by, Order::Reopen);
    }
}

fn stop_everywhere(folder: &Folder, kind: GateKind, by: Resume, order: Order) {
    let packets = Loop::new();
    let gate = packets.gate(folder, kind);
    let mut holder = Holder::start("holder_process", &packets.space, kind, &folder.path);
    holder.seize();
    let open_before = |until: Duration| match order {
        Order::Renew => gate.reopen(until).unwrap(),
        Order::Reopen => gate.shut().unwrap(),
    };

    // Once to the end, to know how long it is.
    open_before(since_boot() + MINUTE);
    let start = since_boot();
    let (length, _) = step(&mut holder, by, order, since_boot() + MINUTE * 2, u64::MAX);
    let took = since_boot() - start;
    holder.release();
    assert_eq!(holder.outcome(), Renewal::Renewed);
    assert!(packets.passes(&gate));
    gate.shut().unwrap();

    let (mut renewed, mut expired) = (0, 0);
    let stops = (length + 1).min(STOPS_MAX);
    for stop in 0..stops {
        let lease = took * 2 + ms(20);
        open_before(since_boot() + lease);
        let until = since_boot() + lease + ms(10);
        let (_, ended) = step(&mut holder, by, order, until, length * stop / (stops - 1));
        // What is left of a lease in a set counts from its commit, which is not later than now.
        let shut_by = if kind == GateKind::Bpf { until } else { since_boot() + lease + ms(30) };
        wait_until(shut_by + ms(1));
        assert!(!packets.passes(&gate), "{kind}, {order:?}: open while its holder is stopped");
        if !ended {
            assert_eq!(holder.resume(Resume::Run), AFTER);
        }
        assert!(!packets.passes(&gate), "{kind}, {order:?}: opened late by a holder stopped at {stop} of {stops}");
        holder.release();
        match holder.outcome() {
            Renewal::Renewed => renewed += 1,
            Renewal::Expired => expired += 1,
        }
        assert!(!packets.passes(&gate) && gate.deadline().unwrap() <= shut_by, "{kind}, {order:?}");
    }
    println!("{kind}, {order:?}: {length} steps of {by:?}; {stops} stops: {expired} refused");
    assert!(renewed > 0 && (expired > 0 || order == Order::Reopen), "{kind}, {order:?}: {renewed} done, {expired} refused");
}

/// Gives an order and lets the holder go that many steps into it, or to its end: how many it went, and
/// whether that was the end.
fn step(holder: &mut Holder, by: Resume, order: Order, until: Duration, at_most: u64) -> (u64, bool) {
    holder.order(order, until);
    assert_eq!(holder.stopped(), BEFORE);
    for done in 0..at_most {
        if holder.resume(by) == AFTER {
            return (done, true);
        }
    }
    (at_most, false)
}
