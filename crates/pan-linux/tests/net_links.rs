//! Namespaces, links, addresses, routes, neighbours, settings and rule sets on the real kernel.
#![allow(clippy::unwrap_used)]

mod net_rig;

use std::time::Duration;

use net_rig::{Space, hops, ip, may_run, net};
use pan_linux::netns::{Netns, NetnsError};
use pan_linux::nft::{self, NftError};
use pan_linux::rtnl::{BridgeSpec, FdbEntry, Hop, Neighbour, PortFlags, Protocol, Route, RtnlError, VxlanSpec};
use pan_linux::sysctl;

const MAC: [u8; 6] = [2, 0x50, 0, 0, 0, 1];

#[test]
fn namespaces_come_and_go_by_name() {
    if !may_run("namespaces_come_and_go_by_name") {
        return;
    }
    let name = format!("plt{}-ns", std::process::id());
    let made = Netns::create(&name).unwrap();
    assert!(Netns::exists(&name));
    assert!(Netns::list().unwrap().contains(&name));
    let again = Netns::create(&name);
    assert!(matches!(again, Err(NetnsError::Exists { .. })), "{again:?}");
    let names = made.run(|| nix::net::if_::if_nameindex().unwrap().to_slice().len());
    assert_eq!(names.unwrap(), 1, "a new namespace has lo only");
    assert!(Netns::open(&name).is_ok());
    Netns::remove(&name).unwrap();
    Netns::remove(&name).unwrap();
    assert!(!Netns::exists(&name));
    assert!(Netns::open(&name).is_err());
    assert!(matches!(Netns::create("a/b"), Err(NetnsError::Name { .. })));
}

#[test]
fn links_are_made_changed_moved_and_deleted() {
    if !may_run("links_are_made_changed_moved_and_deleted") {
        return;
    }
    let (one, two) = (Space::new("l1"), Space::new("l2"));
    let rtnl = one.rtnl();
    let bridge = BridgeSpec { mac: MAC, mcast_snooping: false };
    rtnl.add_bridge("br", &bridge).unwrap();
    rtnl.add_veth("v0", "v1").unwrap();
    rtnl.add_veth_to("w0", "w1", &two.netns).unwrap();
    rtnl.add_veth_numbered("z0", 4_711_000, "z1", &two.netns).unwrap();
    let taken = rtnl.add_veth_numbered("y0", 4_711_000, "y1", &two.netns).unwrap_err();
    assert_eq!(taken.errno(), Some(nix::errno::Errno::EEXIST as i32), "{taken}");
    let vxlan = VxlanSpec { vni: 4711, local: ip("10.0.0.1"), port: 4789, mtu: 1430 };
    rtnl.add_vxlan("vx", &vxlan).unwrap();
    rtnl.add_macvlan("mv", "v1", &two.netns, [2, 0, 0, 0, 0, 9]).unwrap();
    rtnl.set_master("v0", "br").unwrap();
    rtnl.set_mtu("v0", 1400).unwrap();
    rtnl.set_mac("v0", [2, 0, 0, 0, 0, 5]).unwrap();
    rtnl.set_addrgen_none("v0").unwrap();
    rtnl.set_up("v0").unwrap();
    let flags = PortFlags { learning: Some(false), neigh_suppress: Some(true), ..PortFlags::default() };
    rtnl.set_bridge_port("v0", &flags).unwrap();

    let links = rtnl.links().unwrap();
    let find = |name: &str| links.iter().find(|link| link.name == name).unwrap();
    assert_eq!(find("br").mac, Some(MAC));
    assert_eq!(find("br").kind.as_deref(), Some("bridge"));
    assert_eq!(find("vx").kind.as_deref(), Some("vxlan"));
    assert_eq!(find("vx").mtu, 1430);
    assert_eq!(find("z0").index, 4_711_000);
    let v0 = find("v0");
    assert_eq!(v0.master, Some(find("br").index));
    assert_eq!((v0.mtu, v0.up, v0.mac), (1400, true, Some([2, 0, 0, 0, 0, 5])));
    assert_eq!(two.rtnl().links().unwrap().len(), 4, "lo, w1, z1, mv");
    assert!(two.output(&["ip", "link", "show", "dev", "z1"]).contains("z1@if4711000"));
    let shown = one.output(&["bridge", "-d", "link", "show", "dev", "v0"]);
    assert!(shown.contains("learning off") && shown.contains("neigh_suppress on"), "{shown}");

    rtnl.unset_master("v0").unwrap();
    rtnl.unset_master("gone").unwrap();
    rtnl.set_down("v0").unwrap();
    rtnl.rename("v0", "x0").unwrap();
    rtnl.set_netns("x0", &two.netns).unwrap();
    assert_eq!(rtnl.link_index("x0").unwrap(), None);
    assert!(two.rtnl().link_index("x0").unwrap().is_some());
    for _ in 0..2 {
        rtnl.delete("vx").unwrap();
    }
    let missing = rtnl.set_up("vx").unwrap_err();
    assert!(matches!(missing, RtnlError::NoDevice { .. }), "{missing}");
    let twice = rtnl.add_bridge("br", &bridge).unwrap_err();
    assert_eq!(twice.errno(), Some(nix::errno::Errno::EEXIST as i32), "{twice}");
}

#[test]
fn addresses_routes_and_neighbours_round_trip() {
    if !may_run("addresses_routes_and_neighbours_round_trip") {
        return;
    }
    let space = Space::new("rt");
    let rtnl = space.rtnl();
    for (a, b) in [("a0", "a1"), ("b0", "b1")] {
        rtnl.add_veth(a, b).unwrap();
        rtnl.set_addrgen_none(a).unwrap();
        rtnl.set_up(a).unwrap();
        rtnl.set_up(b).unwrap();
    }
    let addresses = [("a0", net("10.1.0.1/24")), ("b0", net("10.2.0.1/24")), ("a0", net("fd01::1/64")), ("b0", net("fd02::1/64"))];
    for (device, address) in addresses {
        rtnl.replace_addr(device, address).unwrap();
        rtnl.replace_addr(device, address).unwrap();
    }
    assert_eq!(rtnl.addrs("a0").unwrap(), [net("10.1.0.1/24"), net("fd01::1/64")]);
    let shown = space.output(&["ip", "-6", "addr", "show", "dev", "a0"]);
    assert!(!shown.contains("tentative"), "{shown}");

    for (dst, via_a, via_b, src) in [("10.9.0.9/32", "10.1.0.2", "10.2.0.2", "10.1.0.1"), ("fd09::9/128", "fd01::2", "fd02::2", "fd01::1")]
    {
        let way = |via: &str, dev: &str| Hop { via: Some(ip(via)), dev: dev.to_owned() };
        let mut route = Route {
            dst: net(dst),
            src: Some(ip(src)),
            hops: vec![way(via_a, "a0"), way(via_b, "b0")],
            mtu: Some(1400),
            rto_min: Some(Duration::from_millis(20)),
        };
        rtnl.replace_route(&route).unwrap();
        let find = || {
            let routes = rtnl.routes(Protocol::Static).unwrap();
            routes.into_iter().find(|route| route.dst == net(dst))
        };
        assert_eq!(hops(&find().unwrap()), hops(&route));
        assert_eq!(find().unwrap().mtu, Some(1400));
        assert_eq!(find().unwrap().rto_min, route.rto_min);
        assert_eq!(find().unwrap().src, route.src);
        route.hops.pop();
        rtnl.replace_route(&route).unwrap();
        assert_eq!(find().unwrap(), route, "one hop left");
        rtnl.del_route(net(dst)).unwrap();
        rtnl.del_route(net(dst)).unwrap();
        assert_eq!(find(), None);

        let neighbour = Neighbour { address: ip(via_a), mac: MAC };
        rtnl.replace_neigh("a0", neighbour.address, [2; 6]).unwrap();
        rtnl.replace_neigh("a0", neighbour.address, MAC).unwrap();
        assert_eq!(rtnl.neighs("a0").unwrap(), [neighbour]);
        rtnl.del_neigh("a0", neighbour.address).unwrap();
        rtnl.del_neigh("a0", neighbour.address).unwrap();
        assert_eq!(rtnl.neighs("a0").unwrap(), []);
    }
    rtnl.del_addr("a0", net("fd01::1/64")).unwrap();
    rtnl.del_addr("a0", net("fd01::1/64")).unwrap();
    let onlink = Route { dst: net("0.0.0.0/0"), src: None, hops: vec![Hop { via: None, dev: "a0".to_owned() }], mtu: None, rto_min: None };
    rtnl.replace_route(&onlink).unwrap();
    assert_eq!(rtnl.routes(Protocol::Static).unwrap(), [onlink]);
}

#[test]
fn forwarding_entries_round_trip_in_one_batch() {
    if !may_run("forwarding_entries_round_trip_in_one_batch") {
        return;
    }
    let space = Space::new("fdb");
    let rtnl = space.rtnl();
    let bridge = BridgeSpec { mac: MAC, mcast_snooping: false };
    let vxlan = VxlanSpec { vni: 1, local: ip("10.0.0.1"), port: 4789, mtu: 1430 };
    rtnl.add_bridge("br", &bridge).unwrap();
    rtnl.add_vxlan("vx", &vxlan).unwrap();
    rtnl.set_master("vx", "br").unwrap();
    let mac = |n: u16| {
        let [high, low] = n.to_be_bytes();
        [2, 0, 0, 1, high, low]
    };
    let mut batch = rtnl.batch();
    for n in 0..500 {
        batch.fdb_replace_self("vx", mac(n), ip("10.0.0.2")).unwrap();
        batch.fdb_replace_master("vx", mac(n)).unwrap();
    }
    batch.commit().unwrap();
    rtnl.fdb_replace_self("vx", mac(7), ip("10.0.0.3")).unwrap();
    let device = rtnl.link_index("vx").unwrap().unwrap();
    let fdb = rtnl.fdb().unwrap();
    assert_eq!(fdb.len(), 1000);
    let moved = FdbEntry::Remote { device, mac: mac(7), dst: ip("10.0.0.3") };
    assert!(fdb.contains(&moved));
    for _ in 0..2 {
        rtnl.fdb_del_self("vx", mac(7)).unwrap();
        rtnl.fdb_del_master("vx", mac(7)).unwrap();
    }
    assert_eq!(rtnl.fdb().unwrap().len(), 998);
}

#[test]
fn settings_and_rule_sets_belong_to_their_namespace() {
    if !may_run("settings_and_rule_sets_belong_to_their_namespace") {
        return;
    }
    let space = Space::new("set");
    let key = "net/ipv4/ip_forward";
    let before = sysctl::get(None, key).unwrap();
    let flipped = if before == "0" { "1" } else { "0" };
    sysctl::set(Some(&space.netns), key, flipped).unwrap();
    assert_eq!(sysctl::get(Some(&space.netns), key).unwrap(), flipped);
    assert_eq!(sysctl::get(None, key).unwrap(), before);
    assert!(sysctl::set(Some(&space.netns), "net/../x", "1").is_err());

    nft::load(Some(&space.netns), "add table inet t\n").unwrap();
    assert!(space.output(&["nft", "list", "tables"]).contains("table inet t"));
    let refused = nft::load(Some(&space.netns), "add table inet u\nfrob x\n").unwrap_err();
    let NftError::Refused { line, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(line.as_ref().unwrap(), &(2, "frob x".to_owned()));
    assert!(!space.output(&["nft", "list", "tables"]).contains("inet u"));
}

#[test]
fn the_limits_of_neighbours_are_told_in_any_namespace() {
    if !may_run("the_limits_of_neighbours_are_told_in_any_namespace") {
        return;
    }
    let space = Space::new("nl");
    for (like, family) in [("10.0.0.1", "ipv4"), ("fd00::1", "ipv6")] {
        let limits = space.rtnl().neighbour_limits(ip(like)).unwrap().unwrap();
        // The machine's own; where the test runs in a namespace they cannot be read so.
        for (name, found) in [("gc_thresh2", limits.soft), ("gc_thresh3", limits.hard)] {
            if let Ok(set) = sysctl::get(None, &format!("net/{family}/neigh/default/{name}")) {
                assert_eq!(set, found.to_string(), "{family} {name}");
            }
        }
        assert!(limits.hard > 0, "{limits:?}");
    }
}
