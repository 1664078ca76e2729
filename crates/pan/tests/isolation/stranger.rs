//! Somebody on fabric A who is no host of the PAN.

use super::frames::{Mac, ip4, udp};
use super::scene::{Program, send};
use pan_lab::harness::TestLab;
use std::net::Ipv4Addr;
use std::process::Command;

/// A network namespace with a cable to the fabric's bridge.
pub struct Stranger {
    netns: String,
    port: String,
    bridge: String,
}

const MAC: Mac = [2, 0x66, 0, 0, 0, 1];
/// Of the fabric's network, and nobody's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 99);

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Stranger {
    pub fn plug(lab: &TestLab) -> Self {
        let name = lab.name().as_str();
        let stranger = Self { netns: format!("pan-{name}-stranger"), port: "stranger-fa".into(), bridge: format!("pan-{name}") };
        ip(&["netns", "add", &stranger.netns]);
        ip(&["-n", &stranger.bridge, "link", "add", &stranger.port, "type", "veth", "peer", "name", "eth0", "netns", &stranger.netns]);
        ip(&["-n", &stranger.bridge, "link", "set", &stranger.port, "master", "fa", "up"]);
        ip(&["-n", &stranger.netns, "link", "set", "eth0", "up"]);
        stranger
    }

    /// Says these datagrams to a host's Ethernet address on the fabric.
    pub fn says(&self, program: &Program, to: (Mac, Ipv4Addr), from: Ipv4Addr, port: u16, all: &[Vec<u8>]) {
        let frames: Vec<Vec<u8>> =
            all.iter().map(|text| [&to.0[..], &MAC, &[8, 0], &ip4(from, to.1, &[], 0, &udp(port, text))].concat()).collect();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns, &program.path(), "send", "eth0"]);
        send(command, &frames);
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["-n", &self.bridge, "link", "del", &self.port]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.netns]).output();
    }
}
