//! What servers may not send: told once, to the partition without its host, to the PAN with it.

use super::{Pan, host, report_of, server, web};
use pan_api::report::{RefusedFrames, RefusedPackets, RefusedWhy, Report};
use pan_controller::core::hosts;
use pan_model::Admission;
use pan_model::host::Role;

/// What `from` says to have refused of `web-1`.
fn report(pan: &mut Pan, from: &str, why: RefusedWhy, frames: u64) {
    let refused = (frames > 0).then(|| RefusedFrames { key: server("web-1"), why, frames }).into_iter().collect();
    send(pan, from, Role::Node, refused, Vec::new());
}

fn send(pan: &mut Pan, from: &str, role: Role, refused: Vec<RefusedFrames>, beyond: Vec<RefusedPackets>) {
    pan.step += 1;
    let report = Report {
        admission: Admission::FIRST,
        servers: pan.world.seen.servers.values().filter(|seen| seen.node == host(from)).map(|seen| seen.report.clone()).collect(),
        refused,
        beyond,
        ..report_of(from, role, 1, pan.step)
    };
    hosts::report(&mut pan.world, pan.now, report).unwrap();
    pan.settle();
}

/// The events of the partition and of the PAN.
fn told(pan: &Pan) -> [Vec<String>; 2] {
    [Some("p".parse().unwrap()), None].map(|place| {
        let events = pan.world.events.get(&place).into_iter().flatten().filter(|event| event.reason == "FramesRefused");
        events.map(|event| format!("{} {}: {}", event.kind, event.object, event.message)).collect()
    })
}

#[test]
fn a_storm_is_told_at_once_and_then_every_five_minutes() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let node = pan.node_of("web-1").unwrap();
    let other = if node == "n1" { "n2" } else { "n1" };
    report(&mut pan, &node, RefusedWhy::Arp, 0);
    assert_eq!(told(&pan), [vec![], vec![]] as [Vec<String>; 2]);

    report(&mut pan, &node, RefusedWhy::Arp, 3);
    let [partition, provider] = told(&pan);
    assert_eq!(
        partition,
        ["server web-1: what it sent and may not send was dropped, 3 frames: 3 of ARP in the name of another"],
        "and nothing of where it is"
    );
    assert_eq!(provider, [format!("host {node}: host {node} dropped what servers may not send, 3 frames: 3 of p/web-1")]);

    for frames in 4..100 {
        report(&mut pan, &node, RefusedWhy::Arp, frames);
    }
    report(&mut pan, other, RefusedWhy::Arp, 500);
    report(&mut pan, other, RefusedWhy::Arp, 900);
    assert_eq!(told(&pan).map(|told| told.len()), [1, 1], "no storm of events, and nobody speaks for another's servers");

    pan.pass(300_000);
    report(&mut pan, &node, RefusedWhy::Arp, 99);
    let [partition, provider] = told(&pan);
    assert!(partition[1].contains("dropped, 96 frames"), "{partition:?}");
    assert!(provider[1].contains("send, 96 frames"), "{provider:?}");

    // The agent was started again, and it goes on.
    pan.pass(300_000);
    report(&mut pan, &node, RefusedWhy::Ethernet, 2);
    assert!(told(&pan)[0][2].contains("dropped, 2 frames"), "{:?}", told(&pan));
}

#[test]
fn what_was_begun_by_others_than_those_allowed_is_the_partitions_own_matter() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let node = pan.node_of("web-1").unwrap();
    report(&mut pan, &node, RefusedWhy::Uninvited, 0);
    report(&mut pan, &node, RefusedWhy::Uninvited, 4);
    let events: Vec<_> = pan.world.events.values().flatten().filter(|event| event.reason == "CallersRefused").collect();
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.kind.as_str(), event.object.as_str()), ("server", "web-1"));
    assert_eq!(event.message, "what was begun by others than `allow` of its cluster names was dropped, 4 frames");
    assert_eq!(told(&pan), [vec![], vec![]] as [Vec<String>; 2]);
}

#[test]
fn a_controller_that_was_restarted_tells_nothing_again() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let node = pan.node_of("web-1").unwrap();
    pan.world.seen.hosts.get_mut(&host(&node)).unwrap().refused = Default::default();
    report(&mut pan, &node, RefusedWhy::Address, 70);
    assert_eq!(told(&pan), [vec![], vec![]] as [Vec<String>; 2]);
    report(&mut pan, &node, RefusedWhy::Address, 71);
    assert!(told(&pan)[0][0].contains("dropped, 1 frame:"), "{:?}", told(&pan));
}

#[test]
fn what_a_gateway_refused_is_told_of_the_server_whose_address_it_is() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let addresses = pan.world.servers[&server("web-2")].addresses.clone();
    let beyond = |from, packets| RefusedPackets { partition: "p".parse().unwrap(), from, packets };
    let nobody = "10.0.0.250".parse().unwrap();
    send(&mut pan, "d1", Role::Director, Vec::new(), vec![beyond(nobody, 9)]);
    send(&mut pan, "d1", Role::Director, Vec::new(), addresses.iter().map(|from| beyond(*from, 4)).chain([beyond(nobody, 10)]).collect());
    let all = 4 * addresses.len();
    let [partition, provider] = told(&pan);
    assert_eq!(partition, [format!("server web-2: what it sent and may not send was dropped, {all} frames: {all} for beyond its network")]);
    assert_eq!(provider, [format!("host d1: host d1 dropped what servers may not send, {all} frames: {all} of p/web-2")]);
}
