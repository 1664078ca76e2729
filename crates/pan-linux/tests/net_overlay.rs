//! Two fabrics, hosts with multipath routes, and partition networks over them, on the real kernel.
#![allow(clippy::unwrap_used)]

mod net_rig;

use std::net::IpAddr;

use net_rig::{Host, Wire, fabric_address, hops, host_address, ip, may_run, net, until};
use pan_linux::guard::{Guard, GuardedPort, Refusal};
use pan_linux::overlay::{LocalPort, NetworkSpec, Overlay, RemoteEntry};
use pan_linux::rtnl::{Hop, Mac, Protocol, Route};

const MTU: u32 = 1430;
const S1: Mac = [2, 0x50, 0, 0, 0, 1];
const S2: Mac = [2, 0x50, 0, 0, 0, 2];
const S3: Mac = [2, 0x50, 0, 0, 0, 3];

fn addresses(mac: Mac) -> Vec<IpAddr> {
    let last = mac[5];
    vec![ip(&format!("10.0.0.{last}")), ip(&format!("fd00::{last}"))]
}

fn local(mac: Mac, port: &str) -> LocalPort {
    LocalPort { mac, addresses: addresses(mac), port: port.to_owned(), epoch: 1 }
}

fn remote(mac: Mac, host: &Host, epoch: u64) -> RemoteEntry {
    RemoteEntry { mac, addresses: addresses(mac), host: host.address(), epoch }
}

fn network(remote: Vec<RemoteEntry>, local: Vec<LocalPort>) -> [NetworkSpec; 1] {
    [NetworkSpec { vni: 100, mtu: MTU, remote, local }]
}

fn both_hosts(v6: bool) -> (Wire, Host, Host) {
    let wire = Wire::new();
    let mut h1 = Host::new(&wire, 1, v6);
    let mut h2 = Host::new(&wire, 2, v6);
    for host in [&mut h1, &mut h2] {
        let spec = host.underlay_spec(2, true, true);
        assert_eq!(host.underlay.apply(&spec).unwrap(), 1);
        assert_eq!(host.underlay.apply(&spec).unwrap(), 0);
    }
    (wire, h1, h2)
}

#[test]
fn servers_talk_move_and_survive_a_cut_fabric() {
    if !may_run("servers_talk_move_and_survive_a_cut_fabric") {
        return;
    }
    for v6 in [false, true] {
        talk_move_and_cut(v6);
    }
}

fn talk_move_and_cut(v6: bool) {
    let (wire, mut h1, mut h2) = both_hosts(v6);
    h1.space.reaches(&h2.address().to_string());
    let s1 = h1.server("v1", S1, &["10.0.0.1/24", "fd00::1/64"], MTU);
    let s2 = h2.server("v2", S2, &["10.0.0.2/24", "fd00::2/64"], MTU);
    let on_h1 = network(vec![remote(S2, &h2, 1)], vec![local(S1, "v1")]);
    let on_h2 = network(vec![remote(S1, &h1, 1)], vec![local(S2, "v2")]);
    assert!(h1.overlay.apply(&on_h1).unwrap().changed > 0);
    assert!(h2.overlay.apply(&on_h2).unwrap().changed > 0);
    assert_eq!(h1.overlay.apply(&on_h1).unwrap().changed, 0);
    s1.reaches("10.0.0.2");
    s1.reaches("fd00::2");
    assert!(s1.output(&["ping", "-c1", "-M", "do", "-s", "1402", "10.0.0.2"]).contains("1 received"));

    // Addresses nobody has get no answer.
    s1.does_not_reach("10.0.0.9");
    s1.does_not_reach("fd00::9");

    // Fabric A is cut at host 2, and every host is told.
    wire.cable(2, 'a', false);
    for host in [&mut h1, &mut h2] {
        let spec = host.underlay_spec(2, false, true);
        host.underlay.apply(&spec).unwrap();
    }
    for _ in 0..5 {
        assert!(s1.ping("10.0.0.2", "1") && s1.ping("fd00::2", "1"));
    }
    // Nothing is left of host 2 by what is known: the last route stays.
    let spec = h1.underlay_spec(2, false, false);
    assert_eq!(h1.underlay.apply(&spec).unwrap(), 0);
    assert!(s1.ping("10.0.0.2", "1"));
    wire.cable(2, 'a', true);
    wire.cable(2, 'b', false);
    for host in [&mut h1, &mut h2] {
        let spec = host.underlay_spec(2, true, false);
        host.underlay.apply(&spec).unwrap();
    }
    s1.reaches("10.0.0.2");
    wire.cable(2, 'b', true);
    for host in [&mut h1, &mut h2] {
        let spec = host.underlay_spec(2, true, true);
        host.underlay.apply(&spec).unwrap();
    }
    s1.reaches("10.0.0.2");

    // Server 1 moves to host 2, keeping MAC and addresses, and back.
    drop(s1);
    let s1 = h2.server("v1", S1, &["10.0.0.1/24", "fd00::1/64"], MTU);
    let all_on_h2 = network(vec![], vec![local(S1, "v1"), local(S2, "v2")]);
    h2.overlay.apply(&all_on_h2).unwrap();
    s1.reaches("10.0.0.2");
    s1.reaches("fd00::2");
    s2.reaches("fd00::1");
    drop(s1);
    let s1 = h1.server("v1b", S1, &["10.0.0.1/24", "fd00::1/64"], MTU);
    let back = network(vec![remote(S2, &h2, 1)], vec![local(S1, "v1b")]);
    h1.overlay.apply(&back).unwrap();
    h2.overlay.apply(&network(vec![remote(S1, &h1, 3)], vec![local(S2, "v2")])).unwrap();
    s1.reaches("10.0.0.2");
    s2.reaches("fd00::1");
}

#[test]
fn routes_of_gone_peers_are_removed_also_after_a_restart() {
    if !may_run("routes_of_gone_peers_are_removed_also_after_a_restart") {
        return;
    }
    let wire = Wire::new();
    let mut host = Host::new(&wire, 1, false);
    let three = host.underlay_spec(3, true, true);
    assert_eq!(host.underlay.apply(&three).unwrap(), 2);
    let rtnl = host.space.rtnl();
    let routes = rtnl.routes(Protocol::Fabric).unwrap();
    let way = |fabric| format!("f{fabric} {}", fabric_address(2, fabric, false));
    assert_eq!(hops(&routes[0]), [way('a'), way('b')]);

    let mut restarted = pan_linux::underlay::Underlay::new(host.space.rtnl()).unwrap();
    let two = host.underlay_spec(2, true, true);
    assert_eq!(restarted.apply(&two).unwrap(), 1);
    assert_eq!(rtnl.routes(Protocol::Fabric).unwrap().len(), 1);

    // A route the kernel dropped by itself comes back.
    rtnl.set_down("fb").unwrap();
    restarted.apply(&two).unwrap();
    rtnl.set_down("fa").unwrap();
    rtnl.set_up("fb").unwrap();
    restarted.apply(&two).unwrap();
    let routes = rtnl.routes(Protocol::Fabric).unwrap();
    assert_eq!(hops(&routes[0]), [way('b')]);
    assert_eq!(routes[0].dst.addr(), host_address(2, false));
}

#[test]
fn servers_of_one_host_talk_and_the_host_stays_out_of_reach() {
    if !may_run("servers_of_one_host_talk_and_the_host_stays_out_of_reach") {
        return;
    }
    let wire = Wire::new();
    let mut host = Host::new(&wire, 1, false);
    let spec = host.underlay_spec(1, true, true);
    host.underlay.apply(&spec).unwrap();
    let s1 = host.server("v1", S1, &["10.0.0.1/24", "fd00::1/64"], MTU);
    let s2 = host.server("v2", S2, &["10.0.0.2/24", "fd00::2/64"], MTU);
    host.overlay.apply(&network(vec![], vec![local(S1, "v1"), local(S2, "v2")])).unwrap();
    s1.reaches("10.0.0.2");
    s1.reaches("fd00::2");

    // Aim at the bridge itself: no address of the host answers, even where the host could route the
    // answer, nor does it answer ARP.
    let host_rtnl = host.space.rtnl();
    let links = host_rtnl.links().unwrap();
    let bridge = links.iter().find(|link| link.name == "pb100").unwrap();
    for (address, back) in [("10.0.0.77", "10.0.0.0/24"), ("fd00::77", "fd00::/64")] {
        host_rtnl.replace_addr("lo", ip(address).into()).unwrap();
        let hop = Hop { via: None, dev: "pb100".to_owned() };
        let route = Route { dst: net(back), src: Some(ip(address)), hops: vec![hop], mtu: None, rto_min: None };
        host_rtnl.replace_route(&route).unwrap();
        s1.does_not_reach(address);
        s1.rtnl().replace_neigh("eth0", ip(address), bridge.mac.unwrap()).unwrap();
        s1.does_not_reach(address);
    }

    host.overlay.apply(&network(vec![], vec![local(S1, "v1")])).unwrap();
    s1.does_not_reach("10.0.0.2");
    drop(s2);
}

#[test]
fn a_guarded_port_speaks_for_itself_only() {
    if !may_run("a_guarded_port_speaks_for_itself_only") {
        return;
    }
    let wire = Wire::new();
    let mut host = Host::new(&wire, 1, false);
    let s1 = host.server("v1", S1, &["10.0.0.1/24", "fd00::1/64"], MTU);
    let s2 = host.server("v2", S2, &["10.0.0.2/24", "fd00::2/64"], MTU);
    let ports = [(S1, "v1"), (S2, "v2")].map(|(mac, port)| GuardedPort { port: port.to_owned(), mac, addresses: addresses(mac) });
    let mut guard = Guard::new(&host.space.netns, "v").unwrap();
    assert!(guard.apply(&[]).unwrap());
    assert!(guard.apply(&ports).unwrap());
    assert!(!guard.apply(&ports).unwrap());
    host.overlay.apply(&network(vec![], vec![local(S1, "v1"), local(S2, "v2")])).unwrap();
    s1.reaches("10.0.0.2");
    s1.reaches("fd00::2");

    let far = s2.rtnl();
    for (forged, true_one, target) in [("10.0.0.66/24", "10.0.0.1/24", "10.0.0.2"), ("fd00::66/64", "fd00::1/64", "fd00::2")] {
        let rtnl = s1.rtnl();
        // Let the answer find its way, so that only the guard can stop the question.
        far.replace_neigh("eth0", net(forged).addr(), S1).unwrap();
        rtnl.del_addr("eth0", net(true_one)).unwrap();
        rtnl.replace_addr("eth0", net(forged)).unwrap();
        s1.does_not_reach(target);
        let mut allowed = ports.clone();
        allowed[0].addresses.push(net(forged).addr());
        guard.apply(&allowed).unwrap();
        s1.reaches(target);
        guard.apply(&ports).unwrap();
        s1.does_not_reach(target);
        rtnl.del_addr("eth0", net(forged)).unwrap();
        rtnl.replace_addr("eth0", net(true_one)).unwrap();
        s1.reaches(target);
    }
    // A port that nobody has spoken for is mute.
    guard.apply(&ports[1..]).unwrap();
    s1.does_not_reach("10.0.0.2");
    guard.apply(&ports).unwrap();
    s1.reaches("10.0.0.2");
    // Rules that are gone, or not what they were, are made anew.
    host.space.output(&["nft", "flush", "ruleset"]);
    assert!(!guard.is_in_force().unwrap());
    assert!(guard.apply(&ports).unwrap() && guard.is_in_force().unwrap());
    host.space.output(&["nft", "flush", "set", "bridge", "pan_guard", "v4"]);
    s1.does_not_reach("10.0.0.2");
    assert!(guard.apply(&ports[1..]).unwrap());
    assert!(guard.apply(&ports).unwrap());
    s1.reaches("10.0.0.2");
    s1.rtnl().set_mac("eth0", S3).unwrap();
    s1.does_not_reach("10.0.0.2");
    let refused = guard.refused().unwrap();
    assert!(refused.iter().any(|one| one.port == "v1" && one.why == Refusal::Ethernet && one.frames > 0), "{refused:?}");
    assert!(refused.iter().all(|one| one.port == "v1"), "{refused:?}");
}

#[test]
fn partitions_with_the_same_addresses_stay_apart() {
    if !may_run("partitions_with_the_same_addresses_stay_apart") {
        return;
    }
    let (_wire, mut h1, mut h2) = both_hosts(false);
    let s1 = h1.server("v1", S1, &["10.0.0.1/24"], MTU);
    let t1 = h1.server("w1", S1, &["10.0.0.1/24"], MTU);
    let s2 = h2.server("v2", S2, &["10.0.0.2/24"], MTU);
    let [red_1] = network(vec![remote(S2, &h2, 1)], vec![local(S1, "v1")]);
    let [red_2] = network(vec![remote(S1, &h1, 1)], vec![local(S2, "v2")]);
    let blue_1 = NetworkSpec { vni: 200, remote: vec![remote(S3, &h2, 1)], local: vec![local(S1, "w1")], ..red_1.clone() };
    assert_eq!(h1.overlay.apply(&[red_1, blue_1]).unwrap().networks, 2);
    h2.overlay.apply(&[red_2]).unwrap();
    s1.reaches("10.0.0.2");
    t1.does_not_reach("10.0.0.2");
    drop(s2);
}

#[test]
fn a_restarted_agent_takes_over_and_unlisted_networks_go() {
    if !may_run("a_restarted_agent_takes_over_and_unlisted_networks_go") {
        return;
    }
    let (_wire, mut h1, mut h2) = both_hosts(false);
    let s1 = h1.server("v1", S1, &["10.0.0.1/24", "fd00::1/64"], MTU);
    let s2 = h2.server("v2", S2, &["10.0.0.2/24", "fd00::2/64"], MTU);
    let others = vec![remote(S2, &h2, 1), remote(S3, &h2, 1)];
    let on_h1 = network(others, vec![local(S1, "v1")]);
    h1.overlay.apply(&on_h1).unwrap();
    h2.overlay.apply(&network(vec![remote(S1, &h1, 1)], vec![local(S2, "v2")])).unwrap();
    s1.reaches("10.0.0.2");

    // A new keeper knows nothing, finds S3 in the kernel and removes it when it is no longer listed.
    let mut restarted = Overlay::new(h1.space.rtnl(), h1.address()).unwrap();
    let on_h1 = network(vec![remote(S2, &h2, 1)], vec![local(S1, "v1")]);
    restarted.apply(&on_h1).unwrap();
    assert!(s1.ping("10.0.0.2", "1"), "taking over interrupts nothing");
    let fdb = h1.space.output(&["bridge", "fdb", "show"]);
    assert!(!fdb.contains("02:50:00:00:00:03"), "{fdb}");
    let neighbours = h1.space.output(&["ip", "neigh", "show", "dev", "pb100"]);
    assert!(!neighbours.contains("10.0.0.3"), "{neighbours}");
    assert!(neighbours.contains("10.0.0.2"), "{neighbours}");

    // A port that is not there yet is reported, and attached when it comes.
    let mut specs = on_h1.clone();
    specs[0].local.push(local(S3, "v3"));
    assert_eq!(restarted.apply(&specs).unwrap().missing, ["v3"]);
    let s3 = h1.server("v3", S3, &["10.0.0.3/24"], MTU);
    assert_eq!(restarted.apply(&specs).unwrap().missing, [""; 0]);
    s1.reaches("10.0.0.3");
    drop(s3);

    // A port made anew under its old name is attached anew.
    h1.space.rtnl().delete("v1").unwrap();
    drop(s1);
    let s1 = h1.server("v1", S1, &["10.0.0.1/24", "fd00::1/64"], MTU);
    restarted.apply(&on_h1).unwrap();
    s1.reaches("fd00::2");

    let older = network(vec![remote(S2, &h1, 0)], vec![local(S1, "v1")]);
    assert_eq!(restarted.apply(&older).unwrap().stale, 1);
    assert!(s1.ping("10.0.0.2", "1"), "an older map changes nothing");

    // With a port it stays, without one it goes.
    restarted.apply(&[]).unwrap();
    assert!(h1.space.rtnl().link_index("pb100").unwrap().is_some());
    h1.space.rtnl().delete("v1").unwrap();
    restarted.apply(&[]).unwrap();
    until("the network is gone", || {
        let rtnl = h1.space.rtnl();
        let gone = |name| rtnl.link_index(name).unwrap().is_none();
        gone("pb100") && gone("px100")
    });
    drop(s2);
}

#[test]
fn two_keepers_on_one_host_leave_each_others_ports_alone() {
    if !may_run("two_keepers_on_one_host_leave_each_others_ports_alone") {
        return;
    }
    let wire = Wire::new();
    let host = Host::new(&wire, 1, false);
    let keeper = |own| Overlay::owning(host.space.rtnl(), host.address(), own).unwrap();
    let (mut first, mut second) = (keeper("v"), keeper("w"));
    let s1 = host.server("v1", S1, &["10.0.0.1/24", "fd00::1/64"], MTU);
    let s2 = host.server("w2", S2, &["10.0.0.2/24", "fd00::2/64"], MTU);
    let elsewhere = RemoteEntry { mac: S3, addresses: addresses(S3), host: ip("10.200.0.3"), epoch: 1 };
    let of_first = network(vec![remote(S2, &host, 1), elsewhere.clone()], vec![local(S1, "v1")]);
    let of_second = network(vec![remote(S1, &host, 1), elsewhere.clone()], vec![local(S2, "w2")]);
    first.apply(&of_first).unwrap();
    second.apply(&of_second).unwrap();
    s1.reaches("10.0.0.2");
    s2.reaches("fd00::1");
    // Neither does a new life of one, which knows nothing, nor the next round of the other.
    for own in ["v", "w"] {
        let spec = if own == "v" { &of_first } else { &of_second };
        keeper(own).apply(spec).unwrap();
        assert_eq!(first.apply(&of_first).unwrap().changed, 0);
        assert_eq!(second.apply(&of_second).unwrap().changed, 0);
        assert!(s1.ping("10.0.0.2", "1") && s2.ping("fd00::1", "1"));
    }
    let remote_entries = || host.space.output(&["bridge", "fdb", "show", "dev", "px100"]).matches("02:50:00:00:00:03").count();
    assert_eq!(remote_entries(), 2, "both lines of the one elsewhere");

    // One gives up its port; the other's stays, and so does the network.
    second.apply(&network(vec![remote(S1, &host, 1), elsewhere], vec![])).unwrap();
    s1.does_not_reach("10.0.0.2");
    second.apply(&[]).unwrap();
    assert!(host.space.rtnl().link_index("pb100").unwrap().is_some());
    second.apply(&of_second).unwrap();
    s1.reaches("10.0.0.2");
    // What was deleted by hand, or by a keeper that was late, comes back.
    for command in [
        &["bridge", "fdb", "del", "02:50:00:00:00:03", "dev", "px100", "self"][..],
        &["bridge", "fdb", "del", "02:50:00:00:00:02", "dev", "w2", "master"],
    ] {
        host.space.output(command);
    }
    until("lost entries are made again", || {
        first.apply(&of_first).unwrap();
        second.apply(&of_second).unwrap();
        remote_entries() == 2 && s1.ping("10.0.0.2", "0.2")
    });
    // So does the rule that keeps servers from the host.
    let closed = || host.space.output(&["nft", "list", "ruleset"]).contains("chain pb100");
    host.space.output(&["nft", "flush", "ruleset"]);
    assert!(!closed());
    second.apply(&of_second).unwrap();
    assert!(closed());
}

#[test]
fn two_hundred_servers_are_set_up_at_once() {
    if !may_run("two_hundred_servers_are_set_up_at_once") {
        return;
    }
    let (_wire, mut h1, h2) = both_hosts(false);
    let entries = |host: IpAddr, epoch| -> Vec<RemoteEntry> {
        (1..=200u8)
            .map(|n| RemoteEntry {
                mac: [2, 0x50, 0, 0, 1, n],
                addresses: vec![ip(&format!("10.0.1.{n}")), ip(&format!("fd00::1:{n}"))],
                host,
                epoch,
            })
            .collect()
    };
    h1.overlay.apply(&network(vec![], vec![])).unwrap();
    let first = network(entries(h2.address(), 1), vec![]);
    let start = std::time::Instant::now();
    assert_eq!(h1.overlay.apply(&first).unwrap().changed, 800);
    let set_up = start.elapsed();
    let moved = network(entries(ip("10.200.0.3"), 2), vec![]);
    let start = std::time::Instant::now();
    assert_eq!(h1.overlay.apply(&moved).unwrap().changed, 400);
    println!("200 servers: set up in {set_up:?}, moved in {:?}", start.elapsed());
    let fdb = h1.space.output(&["bridge", "fdb", "show", "dev", "px100"]);
    assert_eq!(fdb.matches("dst 10.200.0.3").count(), 200, "{fdb}");
}
