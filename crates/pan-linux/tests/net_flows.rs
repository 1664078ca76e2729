//! Tracked connections and announcements on the real kernel.
#![allow(clippy::unwrap_used)]

mod net_rig;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};

use net_rig::{Space, ip, may_run, net, until};
use pan_linux::rtnl::{Hop, Route};
use pan_linux::{arp, conntrack, nft, sysctl};

/// A client and two servers, each on a cable of its own to a director.
struct Site {
    client: Space,
    director: Space,
    servers: [Space; 2],
}

const SERVERS: [(&str, &str); 2] = [("10.1.1.2", "fd01:1::2"), ("10.1.2.2", "fd01:2::2")];

fn cable(director: &Space, other: &Space, number: u8) {
    let name = format!("d{number}");
    let (rtnl, far) = (director.rtnl(), other.rtnl());
    rtnl.add_veth_to(&name, "eth0", &other.netns).unwrap();
    rtnl.set_up(&name).unwrap();
    far.set_up("eth0").unwrap();
    let here = [format!("10.1.{number}.1/24"), format!("fd01:{number}::1/64")];
    let there = [format!("10.1.{number}.2/24"), format!("fd01:{number}::2/64")];
    for (here, there) in here.iter().zip(&there) {
        rtnl.replace_addr(&name, net(here)).unwrap();
        far.replace_addr("eth0", net(there)).unwrap();
    }
    for (dst, via) in [("0.0.0.0/0", &here[0]), ("::/0", &here[1])] {
        let hop = Hop { via: Some(net(via).addr()), dev: "eth0".to_owned() };
        let route = Route { dst: net(dst), src: None, hops: vec![hop], mtu: None, rto_min: None };
        far.replace_route(&route).unwrap();
    }
}

impl Site {
    fn new() -> Site {
        let director = Space::new("dir");
        let site = Site { client: Space::new("client"), servers: [Space::new("srv1"), Space::new("srv2")], director };
        for (number, other) in [(0, &site.client), (1, &site.servers[0]), (2, &site.servers[1])] {
            cable(&site.director, other, number);
        }
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            sysctl::set(Some(&site.director.netns), key, "1").unwrap();
        }
        let rules = "\
table inet l4 {
  chain in {
    type nat hook prerouting priority -100;
    ip daddr 198.18.0.1 dnat ip to 10.1.1.2
    ip daddr 198.18.0.2 dnat ip to 10.1.2.2
    ip6 daddr fd18::1 dnat ip6 to fd01:1::2
  }
}
";
        nft::load(Some(&site.director.netns), rules).unwrap();
        site
    }

    fn connect(&self, address: &str) -> TcpStream {
        let to = (ip(address), 80);
        let mut stream = self.client.netns.run(|| TcpStream::connect(to)).unwrap().unwrap();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream
    }

    fn count(&self) -> HashMap<IpAddr, u64> {
        conntrack::count_by_reply_src(&self.director.netns).unwrap()
    }
}

fn forget(director: &Space, server: IpAddr) -> conntrack::Result<u64> {
    conntrack::delete_by_reply_src(&director.netns, &[server].into())
}

/// Answers one byte on every connection, and keeps it open until the client closes it.
fn serve(space: &Space) {
    let listener = space.netns.run(|| TcpListener::bind("[::]:80")).unwrap().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    stream.write_all(&byte).unwrap();
                }
            });
        }
    });
}

#[test]
fn flows_are_counted_and_deleted_by_server() {
    if !may_run("flows_are_counted_and_deleted_by_server") {
        return;
    }
    let site = Site::new();
    site.servers.iter().for_each(serve);
    assert_eq!(site.count(), HashMap::new());
    let [one, two] = SERVERS.map(|(v4, v6)| (ip(v4), ip(v6)));
    assert_eq!(forget(&site.director, one.0).unwrap(), 0);

    let mut open: Vec<TcpStream> = (0..3).map(|_| site.connect("198.18.0.1")).collect();
    open.push(site.connect("198.18.0.2"));
    open.push(site.connect("fd18::1"));
    let direct = site.connect("10.1.1.2");
    let all = HashMap::from([(one.0, 3), (two.0, 1), (one.1, 1)]);
    assert_eq!(site.count(), all, "a connection without NAT is not counted");

    drop(open.remove(0));
    until("a closed connection counts no more", || site.count().get(&one.0) == Some(&2));

    // Three by NAT (one of them closing), and the direct one.
    assert_eq!(forget(&site.director, one.0).unwrap(), 4);
    assert_eq!(site.count(), HashMap::from([(two.0, 1), (one.1, 1)]));
    assert_eq!(forget(&site.director, one.1).unwrap(), 1);
    assert_eq!(site.count(), HashMap::from([(two.0, 1)]));
    drop(direct);
}

#[test]
fn only_unanswered_flows_to_a_port_are_deleted() {
    if !may_run("only_unanswered_flows_to_a_port_are_deleted") {
        return;
    }
    let site = Site::new();
    site.servers.iter().for_each(serve);
    let answered = [site.connect("198.18.0.2"), site.connect("fd18::1")];
    // From now on nothing reaches the servers: what begins stays unanswered.
    for server in &site.servers {
        nft::load(
            Some(&server.netns),
            "table inet deaf {\n chain in {\n type filter hook input priority 0;\n meta l4proto tcp drop\n }\n}\n",
        )
        .unwrap();
    }
    let knock = |address: &str, port: u16| {
        let to = (ip(address), port).into();
        let limit = std::time::Duration::from_millis(50);
        assert!(site.client.netns.run(|| TcpStream::connect_timeout(&to, limit)).unwrap().is_err());
    };
    let [one, two] = SERVERS.map(|(v4, v6)| (ip(v4), ip(v6)));
    let director = &site.director.netns;
    for _ in 0..3 {
        knock("198.18.0.2", 80);
    }
    let both = [(one.1, 80), (two.0, 80)].into();
    knock("fd18::1", 80);
    assert_eq!(conntrack::delete_unreplied(director, &both).unwrap(), 4);
    for _ in 0..3 {
        knock("198.18.0.2", 80);
    }
    knock("198.18.0.2", 81);
    knock("198.18.0.1", 80);
    knock("fd18::1", 80);
    assert_eq!(conntrack::delete_unreplied(director, &[(two.0, 82)].into()).unwrap(), 0);
    assert_eq!(conntrack::delete_unreplied(director, &[(two.1, 80)].into()).unwrap(), 0);
    assert_eq!(conntrack::delete_unreplied(director, &[(two.0, 80)].into()).unwrap(), 3);
    assert_eq!(conntrack::delete_unreplied(director, &[(two.0, 80)].into()).unwrap(), 0);
    assert_eq!(conntrack::delete_unreplied(director, &[(one.1, 80)].into()).unwrap(), 1);
    // What was answered is still there, and so is what began elsewhere.
    assert_eq!(forget(&site.director, two.0).unwrap(), 2);
    assert_eq!(forget(&site.director, one.1).unwrap(), 1);
    assert_eq!(forget(&site.director, one.0).unwrap(), 1);
    drop(answered);
}

#[test]
fn an_announcement_changes_the_neighbours_of_others() {
    if !may_run("an_announcement_changes_the_neighbours_of_others") {
        return;
    }
    let (here, there) = (Space::new("ann1"), Space::new("ann2"));
    let (near, far) = (here.rtnl(), there.rtnl());
    near.add_veth_to("e0", "e0", &there.netns).unwrap();
    for (rtnl, v4, v6) in [(&near, "10.3.0.1/24", "fd03::1/64"), (&far, "10.3.0.2/24", "fd03::2/64")] {
        rtnl.set_up("e0").unwrap();
        rtnl.replace_addr("e0", net(v4)).unwrap();
        rtnl.replace_addr("e0", net(v6)).unwrap();
    }
    let seen = |address: &str| there.output(&["ip", "neigh", "show", address, "dev", "e0"]);
    for (number, address) in [(1, "10.3.0.1"), (2, "fd03::1")] {
        there.reaches(address);
        let mac = [2, 0, 0, 0, 0xaa, number];
        until("the neighbour is told", || {
            arp::announce(&here.netns, "e0", ip(address), mac).unwrap();
            seen(address).contains(&format!("02:00:00:00:aa:0{number}"))
        });
    }
    let refused = arp::announce(&here.netns, "none", ip("10.3.0.1"), [2; 6]).unwrap_err();
    assert!(refused.to_string().contains("10.3.0.1 on none"), "{refused}");
}
