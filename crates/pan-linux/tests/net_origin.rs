//! A host that has lost a server, and sends for it all the same, is not heard by those who know, on the real kernel.
#![allow(clippy::unwrap_used)]

mod gate_rig;
mod net_rig;

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use gate_rig::Folder;
use net_rig::{Host, Space, Wire, ip, until};
use pan_linux::origin::{Dropped, Origins};
use pan_linux::overlay::{LocalPort, NetworkSpec, Overlay, RemoteEntry};
use pan_linux::rtnl::Mac;

const MTU: u32 = 1430;
const CLIENT: Mac = [2, 0x50, 0, 0, 0, 1];
const SERVER: Mac = [2, 0x50, 0, 0, 0, 2];
const STRANGER: Mac = [2, 0x50, 0, 0, 0, 3];

fn addresses(mac: Mac) -> Vec<IpAddr> {
    vec![ip(&format!("10.0.0.{}", mac[5])), ip(&format!("fd00::{}", mac[5]))]
}

fn remote(mac: Mac, host: &Host, epoch: u64) -> RemoteEntry {
    RemoteEntry { mac, addresses: addresses(mac), host: host.address(), epoch }
}

fn network(remote: Vec<RemoteEntry>, local: &[(Mac, &str, u64)]) -> [NetworkSpec; 1] {
    let port = |(mac, port, epoch): &(Mac, &str, u64)| LocalPort {
        mac: *mac,
        addresses: addresses(*mac),
        port: (*port).to_owned(),
        epoch: *epoch,
    };
    [NetworkSpec { vni: 100, mtu: MTU, remote, local: local.iter().map(port).collect() }]
}

fn server(host: &Host, port: &str, mac: Mac) -> Space {
    host.server(port, mac, &[&format!("10.0.0.{}/24", mac[5]), &format!("fd00::{}/64", mac[5])], MTU)
}

fn hosts<const N: usize>(wire: &Wire, v6: bool) -> [Host; N] {
    std::array::from_fn(|at| {
        let mut host = Host::new(wire, at as u8 + 1, v6);
        let spec = host.underlay_spec(N as u8, true, true);
        host.underlay.apply(&spec).unwrap();
        host
    })
}

/// The host's map, attached; its overlay keeps it from now on.
fn check_origins(host: &mut Host, folder: &Folder) -> Arc<Origins> {
    let origins = Arc::new(Origins::open(&folder.path, &host.space.netns).unwrap());
    for fabric in ["fa", "fb"] {
        origins.ensure_attached(fabric).unwrap();
        assert!(!origins.ensure_attached(fabric).unwrap());
    }
    host.overlay = Overlay::new(host.space.rtnl(), host.address()).unwrap().with_origins(Some(origins.clone()));
    origins
}

/// A socket of a server that hears everybody, and words from one server to it.
struct Ear {
    socket: UdpSocket,
}

impl Ear {
    fn of(space: &Space, address: &str) -> Self {
        let socket = space.netns.run(|| UdpSocket::bind(address).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { socket }
    }

    fn hears(&self, from: &Space, word: &str) -> bool {
        let to = self.socket.local_addr().unwrap();
        let unspecified = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        from.netns.run(|| UdpSocket::bind(unspecified).unwrap().send_to(word.as_bytes(), to).unwrap()).unwrap();
        let mut buffer = [0; 64];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            if &buffer[..length] == word.as_bytes() {
                return true;
            }
        }
        false
    }
}

#[test]
fn the_frames_of_a_stale_owner_reach_nobody_and_the_movers_do() {
    let Some(folder) = Folder::new("the_frames_of_a_stale_owner_reach_nobody_and_the_movers_do") else { return };
    for v6 in [false, true] {
        stale_owner(&folder.other("origins"), v6);
    }
}

fn stale_owner(folder: &Folder, v6: bool) {
    let wire = Wire::new();
    let [mut peer, mut old, mut new] = hosts::<3>(&wire, v6);
    let origins = check_origins(&mut peer, folder);
    let client = server(&peer, "v1", CLIENT);
    let stale = server(&old, "v2", SERVER);
    let before = network(vec![remote(SERVER, &old, 1)], &[(CLIENT, "v1", 1)]);
    peer.overlay.apply(&before).unwrap();
    assert_eq!(peer.overlay.apply(&before).unwrap().changed, 0);
    old.overlay.apply(&network(vec![remote(CLIENT, &peer, 1)], &[(SERVER, "v2", 1)])).unwrap();
    client.reaches("10.0.0.2");
    client.reaches("fd00::2");
    let ears = [Ear::of(&client, "10.0.0.1:7000"), Ear::of(&client, "[fd00::1]:7000")];
    for ear in &ears {
        until("the first owner is heard", || ear.hears(&stale, "before"));
    }
    assert_eq!(origins.dropped(), Dropped::default());

    // It moves; the old host is told nothing, and its server goes on sending.
    let moved = server(&new, "v2", SERVER);
    new.overlay.apply(&network(vec![remote(CLIENT, &peer, 1)], &[(SERVER, "v2", 2)])).unwrap();
    assert!(!ears[0].hears(&moved, "too early"), "the peer does not know of the move yet");
    let after = network(vec![remote(SERVER, &new, 2)], &[(CLIENT, "v1", 1)]);
    peer.overlay.apply(&after).unwrap();
    let counted = origins.dropped();
    for ear in &ears {
        assert!(!ear.hears(&stale, "stale"), "the old owner is heard");
        until("the new owner is heard", || ear.hears(&moved, "moved"));
    }
    assert!(origins.dropped().stale >= counted.stale + 2, "{counted:?} {:?}", origins.dropped());
    assert_eq!(origins.dropped().unknown, counted.unknown);

    // An older map brings nothing back, whoever has it: this keeper, or one that starts anew and knows no epochs.
    peer.overlay.apply(&before).unwrap();
    assert!(!ears[0].hears(&stale, "older map"));
    let again = Arc::new(Origins::open(&folder.path, &peer.space.netns).unwrap());
    assert!(!again.ensure_attached("fa").unwrap() && !again.ensure_attached("fb").unwrap(), "it stayed attached");
    assert_eq!(again.dropped(), origins.dropped());
    peer.overlay = Overlay::new(peer.space.rtnl(), peer.address()).unwrap().with_origins(Some(again));
    until("what is in force stays in force", || ears[0].hears(&moved, "nobody keeps it"));
    peer.overlay.apply(&before).unwrap();
    assert!(!ears[0].hears(&stale, "older map after a restart"));
    peer.overlay.apply(&after).unwrap();
    until("the mover is heard after a restart", || ears[0].hears(&moved, "after a restart"));

    // An address that nobody has.
    let stranger = server(&old, "v3", STRANGER);
    old.overlay.apply(&network(vec![remote(CLIENT, &peer, 1)], &[(SERVER, "v2", 1), (STRANGER, "v3", 1)])).unwrap();
    let unknown = origins.dropped().unknown;
    until("an address nobody has is dropped", || {
        assert!(!ears[0].hears(&stranger, "who?"));
        origins.dropped().unknown > unknown
    });

    // It comes to the peer itself: then no frame for it may come in at all.
    drop(moved);
    let here = server(&peer, "v2", SERVER);
    peer.overlay.apply(&network(vec![], &[(CLIENT, "v1", 1), (SERVER, "v2", 3)])).unwrap();
    until("a server of this host is heard", || ears[0].hears(&here, "here"));
    assert!(!ears[0].hears(&stale, "stale again"));
}

#[test]
fn a_network_that_is_gone_is_nobodys_business() {
    let Some(folder) = Folder::new("a_network_that_is_gone_is_nobodys_business") else { return };
    let wire = Wire::new();
    let [mut peer, mut other] = hosts::<2>(&wire, false);
    let origins = check_origins(&mut peer, &folder);
    let far = server(&other, "v2", SERVER);
    other.overlay.apply(&network(vec![remote(CLIENT, &peer, 1)], &[(SERVER, "v2", 1)])).unwrap();
    let send = || far.netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", "10.0.0.1:7000").unwrap()).unwrap();
    peer.overlay.apply(&network(vec![], &[])).unwrap();
    until("a frame of a known network is dropped", || {
        send();
        origins.dropped().unknown > 0
    });
    peer.overlay.apply(&[]).unwrap();
    let counted = origins.dropped();
    for _ in 0..20 {
        send();
    }
    assert!(other.space.ping(&peer.address().to_string(), "1"), "what was sent before has arrived");
    let now = origins.dropped();
    assert_eq!((now.stale, now.unknown), (counted.stale, counted.unknown));
    assert!(now.foreign >= counted.foreign + 20, "they are counted all the same: {now:?}");
}

/// What the check costs: TCP between two servers on two hosts, with and without it in turn.
#[test]
#[ignore = "a measurement of a minute; see docs/measurements.md"]
fn throughput_with_and_without() {
    const ROUNDS: usize = 8;
    let Some(folder) = Folder::new("throughput_with_and_without") else { return };
    let wire = Wire::new();
    let [mut h1, mut h2] = hosts::<2>(&wire, false);
    let origins = check_origins(&mut h1, &folder);
    let other = folder.other("origins");
    let back = check_origins(&mut h2, &other);
    let (client, far) = (server(&h1, "v1", CLIENT), server(&h2, "v2", SERVER));
    h1.overlay.apply(&network(vec![remote(SERVER, &h2, 1)], &[(CLIENT, "v1", 1)])).unwrap();
    h2.overlay.apply(&network(vec![remote(CLIENT, &h1, 1)], &[(SERVER, "v2", 1)])).unwrap();
    client.reaches("10.0.0.2");
    let mut listener =
        far.netns.run(|| std::process::Command::new("iperf3").args(["-s"]).stdout(std::process::Stdio::null()).spawn().unwrap()).unwrap();
    let measure = || {
        let told = client.output(&["iperf3", "-c", "10.0.0.2", "-t", "3", "-O", "1", "-P", "2", "-J"]);
        let report: serde_json::Value = serde_json::from_str(&told).unwrap();
        report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e9
    };
    let mut all = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS * 2 {
        let with = round % 2 == 1;
        for (host, origins) in [(&h1, &origins), (&h2, &back)] {
            for fabric in ["fa", "fb"] {
                match with {
                    true => drop(origins.ensure_attached(fabric).unwrap()),
                    false => host.space.rtnl().del_bpf_filter(fabric, pan_linux::rtnl::Direction::In).unwrap(),
                }
            }
        }
        all[usize::from(with)].push(measure());
    }
    listener.kill().unwrap();
    listener.wait().unwrap();
    for (what, mut rates) in ["without", "with"].into_iter().zip(all) {
        rates.sort_by(f64::total_cmp);
        println!("{what}: median {:.2} Gbit/s, all {rates:.2?}", (rates[ROUNDS / 2 - 1] + rates[ROUNDS / 2]) / 2.0);
    }
}
