//! Who is dead besides those that are silent: nodes that are heard and off the network; and what controllers that follow make of it.

use super::*;
use pan_controller::core::seen::{LeaseSeen, Life};

fn says(state: pan_member::LeaseState, admission: u64) -> LeaseSeen {
    let gate = pan_member::GateState::Present(pan_member::profile::Gate::Relative);
    let lan = Duration::from_millis(240);
    LeaseSeen { state, admission: Admission(admission), gate, length: Some(lan), expected: lan }
}

const HELD: pan_member::LeaseState = pan_member::LeaseState::Held;
const EXPIRED: pan_member::LeaseState = pan_member::LeaseState::Expired;

impl Pan {
    fn lease(&mut self, node: &str, state: pan_member::LeaseState, admission: u64) {
        self.life(LifeChange::Lease(host(node), says(state, admission)));
    }

    /// A server, its node, and all nodes with leases.
    fn leased() -> (Self, String) {
        let mut pan = Self::new();
        NODES.iter().for_each(|node| pan.lease(node, HELD, 1));
        pan.apply(&web(1)).unwrap();
        pan.rounds(3);
        let node = pan.node_of("web-1").unwrap();
        (pan, node)
    }

    fn happened(&self, reason: &str) -> usize {
        self.world.events[&None].iter().filter(|event| event.reason == reason).count()
    }
}

#[test]
fn a_node_that_is_heard_without_a_lease_is_fenced_and_its_servers_are_moved() {
    let (mut pan, node) = Pan::leased();
    pan.lease(&node, EXPIRED, 1);
    pan.pass(6_000);
    pan.rounds(2);
    assert_eq!((pan.node_of("web-1").unwrap(), pan.happened("NodeDark")), (node.clone(), 0), "it may be renewed any moment");
    pan.pass(5_000);
    pan.rounds(2);
    assert_ne!(pan.node_of("web-1").unwrap(), node);
    assert_eq!((pan.happened("NodeDark"), pan.happened("HostDead")), (1, 1));
    let text = &pan.world.events[&None].iter().find(|event| event.reason == "HostDead").unwrap().message;
    assert!(text.contains("without a lease, though heard"), "{text}");
    // Nobody listens to its number any more, so it falls silent; that is no second death.
    pan.life(LifeChange::Suspect(host(&node), 70_000));
    pan.rounds(2);
    assert_eq!((pan.world.seen.life(&host(&node)), pan.happened("HostDead")), (Life::Dead, 1));
    // Under its next number it takes part again, and gets nothing until it has a lease.
    pan.lease(&node, pan_member::LeaseState::None, 2);
    assert_eq!(pan.world.seen.life(&host(&node)), Life::Alive);
    let state = |pan: &Pan| pan_controller::core::place::snapshot(&pan.world).nodes[&host(&node)].state;
    assert_eq!(state(&pan), pan_plan::NodeState::Away);
    pan.pass(60_000);
    pan.rounds(2);
    assert_eq!(pan.happened("NodeDark"), 1, "it has nothing that could be moved");
    pan.lease(&node, HELD, 2);
    assert_eq!(state(&pan), pan_plan::NodeState::Up);
}

#[test]
fn a_lease_that_is_renewed_in_time_moves_nothing() {
    let (mut pan, node) = Pan::leased();
    pan.lease(&node, EXPIRED, 1);
    pan.pass(11_000);
    settle::settle(&mut pan.world, pan.now);
    assert!(pan.world.effects.contains(&Effect::Fence(host(&node), Admission(1))));
    pan.world.effects.clear();
    pan.lease(&node, HELD, 1);
    assert_eq!(pan.world.effects, [Effect::Unfence(host(&node))]);
    pan.world.effects.clear();
    pan.rounds(3);
    assert_eq!((pan.node_of("web-1").unwrap(), pan.happened("HostDead")), (node, 0));
}

#[test]
fn where_lessors_are_lost_no_node_is_taken_for_lost() {
    let (mut pan, node) = Pan::leased();
    for (number, node) in NODES.iter().enumerate() {
        // Two of four: as many without as with.
        if number < 2 {
            pan.lease(node, EXPIRED, 1);
        }
    }
    pan.lease(&node, EXPIRED, 1);
    if !NODES[..2].contains(&node.as_str()) {
        pan.lease(NODES[0], HELD, 1);
    }
    pan.pass(60_000);
    pan.rounds(3);
    assert_eq!((pan.node_of("web-1").unwrap(), pan.happened("NodeDark")), (node, 0));
}

#[test]
fn who_follows_shows_a_death_and_tells_nothing() {
    let (mut pan, node) = Pan::leased();
    pan.world.leading = false;
    let events = pan.world.events[&None].len();
    pan.life(LifeChange::Suspect(host(&node), 70_000));
    pan.life(LifeChange::Dead(host(&node), 270_000));
    assert_eq!(pan.world.seen.life(&host(&node)), Life::Dead);
    assert_eq!(pan.world.events[&None].len(), events);
    // It leads: nobody knows whether the last leader had it fenced.
    standing::lead(&mut pan.world, pan.now);
    settle::settle(&mut pan.world, pan.now);
    assert!(pan.world.effects.contains(&Effect::Fence(host(&node), Admission(1))));
    pan.life(LifeChange::Fenced(host(&node), Admission(1)));
    pan.rounds(2);
    assert_ne!(pan.node_of("web-1").unwrap(), node);
}

#[test]
fn a_node_that_was_booted_gets_a_number_of_its_own() {
    let (mut pan, node) = Pan::leased();
    pan.life(LifeChange::Rebooted(host(&node)));
    pan.rounds(2);
    assert_eq!(pan.world.hosts[&host(&node)].admission, Admission(2));
    assert_eq!(pan.world.hosts[&host(&node)].revoked, Admission::NONE, "it was not fenced");
    pan.rounds(3);
    assert_eq!(pan.world.hosts[&host(&node)].admission, Admission(2), "once");
}

#[test]
fn a_node_of_another_profile_is_told_of_once_and_when_it_is_right_again() {
    let (mut pan, node) = Pan::leased();
    let wan = LeaseSeen { length: Some(Duration::from_millis(3200)), ..says(HELD, 1) };
    for state in [HELD, EXPIRED, HELD] {
        pan.life(LifeChange::Lease(host(&node), LeaseSeen { state, ..wan }));
    }
    assert_eq!(pan.happened("ProfileDiffers"), 1);
    let text = &pan.world.events[&None].iter().find(|event| event.reason == "ProfileDiffers").unwrap().message;
    assert!(text.contains("for 3200 ms") && text.contains("for 240 ms"), "{text}");
    pan.lease(&node, HELD, 1);
    pan.lease(&node, EXPIRED, 1);
    assert_eq!((pan.happened("ProfileDiffers"), pan.happened("ProfileRight")), (1, 1));
}

#[test]
fn that_most_nodes_have_no_lease_is_told_though_nothing_is_moved() {
    let (mut pan, node) = Pan::leased();
    for name in NODES {
        pan.lease(name, EXPIRED, 1);
    }
    pan.pass(6_000);
    pan.rounds(2);
    assert_eq!(pan.happened("LeasesLost"), 0);
    pan.pass(5_000);
    pan.rounds(20);
    assert_eq!((pan.happened("LeasesLost"), pan.happened("NodeDark"), pan.node_of("web-1").unwrap()), (1, 0, node));
    for name in &NODES[..3] {
        pan.lease(name, HELD, 1);
    }
    pan.rounds(2);
    assert_eq!((pan.happened("LeasesLost"), pan.happened("LeasesBack")), (1, 1));
}

#[test]
fn only_nodes_are_kept_as_spares_for_dying_often() {
    let mut pan = Pan::new();
    for _ in 0..5 {
        for name in ["d1", "n1"] {
            pan.life(LifeChange::Dead(host(name), 300_000));
            pan.rounds(1);
            pan.life(LifeChange::Alive(host(name), Duration::ZERO));
            pan.rounds(1);
        }
    }
    let told: Vec<&str> =
        pan.world.events[&None].iter().filter(|event| event.reason == "Quarantined").map(|event| event.object.as_str()).collect();
    assert!(told.iter().all(|object| *object == "n1"), "{told:?}");
}
