//! What is said of a cluster's protection, and when.

use super::*;

fn told(pan: &Pan) -> Vec<&str> {
    let of_protection = |reason: &&str| ["Protected", "ProtectionLost"].contains(reason);
    let all = &pan.world.events[&Some("p".parse().unwrap())];
    all.iter().map(|event| event.reason.as_str()).filter(of_protection).collect()
}

fn scale(pan: &mut Pan, servers: u32) {
    pan.ask(Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers }).unwrap();
}

fn shown(pan: &Pan) -> bool {
    pan_controller::views::view(&pan.world, 1).clusters.values().all(|cluster| cluster.protected)
}

#[test]
fn a_scale_down_takes_no_protection_away() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    assert!(shown(&pan));
    let before = told(&pan).len();
    scale(&mut pan, 2);
    let mut leaving = 0;
    for _ in 0..5 {
        pan.rounds(1);
        leaving += pan.world.servers.values().filter(|server| server.is_leaving()).count();
        assert!(shown(&pan), "what leaves needs no protection");
    }
    assert!(leaving > 0, "it was seen on its way out");
    assert_eq!(pan.world.servers.len(), 2);
    assert_eq!(told(&pan).len(), before, "{:?}", told(&pan));
}

#[test]
fn protection_lost_is_told_once_and_taken_back_when_it_holds_again() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let before = told(&pan).len();
    let lost: &'static str = NODES.into_iter().find(|node| pan.node_of("web-1").as_deref() == Some(node)).unwrap();
    pan.cut(lost);
    pan.rounds(4);
    assert!(!shown(&pan), "three on three nodes have nowhere to go");
    assert_eq!(told(&pan)[before..], ["ProtectionLost"]);
    scale(&mut pan, 2);
    pan.rounds(5);
    assert!(shown(&pan));
    assert_eq!(told(&pan)[before..], ["ProtectionLost", "Protected"]);
}
