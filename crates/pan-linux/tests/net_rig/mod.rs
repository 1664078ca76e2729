//! Hosts as network namespaces, joined by two fabrics, for the tests of the network half.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use pan_linux::netns::Netns;
use pan_linux::overlay::Overlay;
use pan_linux::rtnl::{BridgeSpec, Mac, Route, Rtnl};
use pan_linux::underlay::{Peer, Underlay, UnderlaySpec};

/// How long a condition may take to come true.
pub const DEADLINE: Duration = Duration::from_secs(10);

static COUNTER: AtomicU32 = AtomicU32::new(0);

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// False, said aloud, where the kernel would refuse everything.
pub fn may_run(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIP: {test} needs root");
    }
    root
}

/// A named namespace that is removed with its value.
pub struct Space {
    pub name: String,
    pub netns: Netns,
}

impl Space {
    pub fn new(what: &str) -> Space {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("plt{}-{number}-{what}", std::process::id());
        let netns = Netns::create(&name).unwrap();
        let space = Space { name, netns };
        space.rtnl().set_up("lo").unwrap();
        space
    }

    pub fn rtnl(&self) -> Rtnl {
        Rtnl::open_in(&self.netns).unwrap()
    }

    /// One ping; true if it was answered within the time.
    pub fn ping(&self, to: &str, wait: &str) -> bool {
        self.netns
            .run(|| {
                Command::new("ping")
                    .args(["-n", "-c1", "-W", wait, to])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
                    .unwrap()
                    .success()
            })
            .unwrap()
    }

    pub fn reaches(&self, to: &str) {
        until(&format!("{} reaches {to}", self.name), || self.ping(to, "1"));
    }

    pub fn does_not_reach(&self, to: &str) {
        assert!(!self.ping(to, "0.5"), "{} reaches {to}", self.name);
    }

    /// Output of a command run inside.
    pub fn output(&self, command: &[&str]) -> String {
        let output = self.netns.run(|| Command::new(command[0]).args(&command[1..]).output().unwrap()).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Netns::remove(&self.name);
    }
}

/// Waits for a named condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
    }
}

/// Bridges A and B, with the hosts' cables in them.
pub struct Wire {
    pub space: Space,
}

impl Wire {
    pub fn new() -> Wire {
        let space = Space::new("wire");
        let rtnl = space.rtnl();
        for (name, last) in [("fa", 0xa), ("fb", 0xb)] {
            let spec = BridgeSpec { mac: [2, 0, 0, 0, 0xff, last], mcast_snooping: false };
            rtnl.add_bridge(name, &spec).unwrap();
            rtnl.set_up(name).unwrap();
        }
        Wire { space }
    }

    /// Cuts (or heals) one host's cable on the wire's side.
    pub fn cable(&self, host: u8, fabric: char, connected: bool) {
        let name = format!("h{host}{fabric}");
        match connected {
            true => self.space.rtnl().set_up(&name).unwrap(),
            false => self.space.rtnl().set_down(&name).unwrap(),
        }
    }
}

/// A host: namespace, fabric interfaces `fa` and `fb`, underlay and overlay.
pub struct Host {
    pub space: Space,
    pub number: u8,
    pub underlay: Underlay,
    pub overlay: Overlay,
    pub v6: bool,
}

impl Host {
    pub fn new(wire: &Wire, number: u8, v6: bool) -> Host {
        let space = Space::new(&format!("h{number}"));
        let rtnl = space.rtnl();
        let wire_rtnl = wire.space.rtnl();
        for fabric in ['a', 'b'] {
            let outer = format!("h{number}{fabric}");
            let inner = format!("f{fabric}");
            wire_rtnl.add_veth_to(&outer, &inner, &space.netns).unwrap();
            wire_rtnl.set_master(&outer, &inner).unwrap();
            wire_rtnl.set_up(&outer).unwrap();
            rtnl.set_up(&inner).unwrap();
            let prefix = if v6 { 64 } else { 24 };
            let address = IpNet::new(fabric_address(number, fabric, v6), prefix).unwrap();
            rtnl.replace_addr(&inner, address).unwrap();
        }
        Host {
            number,
            underlay: Underlay::new(space.rtnl()).unwrap(),
            overlay: Overlay::new(space.rtnl(), host_address(number, v6)).unwrap(),
            space,
            v6,
        }
    }

    pub fn address(&self) -> IpAddr {
        host_address(self.number, self.v6)
    }

    /// The spec that has every other host up to `hosts` reachable over the given fabrics.
    pub fn underlay_spec(&self, hosts: u8, a: bool, b: bool) -> UnderlaySpec {
        let others = (1..=hosts).filter(|number| *number != self.number);
        UnderlaySpec {
            local: self.address(),
            dev_a: "fa".into(),
            dev_b: "fb".into(),
            peers: others
                .map(|number| Peer {
                    address: host_address(number, self.v6),
                    a: a.then(|| fabric_address(number, 'a', self.v6)),
                    b: b.then(|| fabric_address(number, 'b', self.v6)),
                })
                .collect(),
        }
    }

    /// A server's namespace with its interface; the port on this host is called `port`.
    pub fn server(&self, port: &str, mac: Mac, addresses: &[&str], mtu: u32) -> Space {
        let space = Space::new(&format!("s-{port}"));
        let rtnl = self.space.rtnl();
        rtnl.add_veth_to(port, "eth0", &space.netns).unwrap();
        let inside = space.rtnl();
        inside.set_mac("eth0", mac).unwrap();
        inside.set_mtu("eth0", mtu).unwrap();
        inside.set_up("eth0").unwrap();
        for address in addresses {
            inside.replace_addr("eth0", net(address)).unwrap();
        }
        space
    }
}

pub fn host_address(number: u8, v6: bool) -> IpAddr {
    match v6 {
        false => ip(&format!("10.200.0.{number}")),
        true => ip(&format!("fd10:200::{number}")),
    }
}

pub fn fabric_address(number: u8, fabric: char, v6: bool) -> IpAddr {
    let third = if fabric == 'a' { 201 } else { 202 };
    match v6 {
        false => ip(&format!("10.{third}.0.{number}")),
        true => ip(&format!("fd10:{third}::{number}")),
    }
}

/// The devices and gateways of a route, sorted.
pub fn hops(route: &Route) -> Vec<String> {
    let mut hops: Vec<String> =
        route.hops.iter().map(|hop| format!("{} {}", hop.dev, hop.via.map_or_else(String::new, |v| v.to_string()))).collect();
    hops.sort();
    hops
}
