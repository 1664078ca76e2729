//! Datagrams to hosts of which some are not there, on the real kernel.
#![allow(clippy::unwrap_used)]

mod net_rig;

use std::net::SocketAddr;

use net_rig::{Space, may_run, net, until};
use pan_linux::datagram::BeatSocket;

/// More than the kernel lets wait for one neighbour: some 270 datagrams of the size of a heartbeat.
const EACH: usize = 400;

/// What waits for the address of a host without power counts as sent by this socket: three such hosts once kept a
/// node's heartbeats from all others, every three seconds again.
#[test]
fn hosts_without_power_keep_nothing_from_the_others() {
    if !may_run("hosts_without_power_keep_nothing_from_the_others") {
        return;
    }
    let (here, there) = (Space::new("here"), Space::new("there"));
    here.rtnl().add_veth_to("f0", "f0", &there.netns).unwrap();
    for (space, address) in [(&here, "10.0.0.1/24"), (&there, "10.0.0.2/24")] {
        space.rtnl().replace_addr("f0", net(address)).unwrap();
        space.rtnl().set_up("f0").unwrap();
    }
    let at = |address: &str| -> SocketAddr { address.parse().unwrap() };
    let sender = here.netns.run(|| BeatSocket::on_device("f0", at("10.0.0.1:0")).unwrap()).unwrap();
    let receiver = there.netns.run(|| BeatSocket::bind(at("10.0.0.2:7000")).unwrap()).unwrap();
    let heard = || receiver.receive(&mut [0; 256]).unwrap().is_some();
    until("the way there is known", || {
        sender.send(&[0; 200], at("10.0.0.2:7000")).unwrap();
        heard()
    });
    until("nothing waits", || !heard());
    for absent in 3..20 {
        for _ in 0..EACH {
            assert!(sender.send(&[0; 200], at(&format!("10.0.0.{absent}:7000"))).unwrap(), "dropped with {} absent", absent - 2);
        }
    }
    assert!(sender.send(&[0; 200], at("10.0.0.2:7000")).unwrap());
    until("it arrives", heard);
}
