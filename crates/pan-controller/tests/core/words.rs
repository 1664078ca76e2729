//! What a host says, and how much is built on it.

use super::*;
use pan_controller::core::record::EndingPhase;
use std::collections::BTreeSet;

fn gives_up(pan: &mut Pan, name: &str) -> HostName {
    let seen = pan.world.seen.servers.get_mut(&server(name)).unwrap();
    (seen.report.phase, seen.report.restarts) = (Phase::Failed, 3);
    seen.node.clone()
}

/// A node may forget that it gave a server up; that it follows the order to stop it can come only after it was told.
#[test]
fn a_server_that_does_not_stay_up_goes_when_its_node_follows_the_order_to_stop() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(3);
    let before = gives_up(&mut pan, "web-1");
    settle::settle(&mut pan.world, pan.now);
    let waiting = pan.world.servers[&server("web-1")].clone();
    assert_eq!((waiting.node.as_ref(), waiting.ending.map(|ending| ending.phase)), (Some(&before), Some(EndingPhase::Stopping)));
    pan.rounds(3);
    assert_ne!(pan.node_of("web-1").unwrap(), before.as_str());
    assert_eq!((pan.backend("web-1"), pan.world.servers[&server("web-1")].restarts), (BackendState::Up, 3));
}

/// The same where nothing can be told to the node.
#[test]
fn what_a_node_out_of_reach_gave_up_is_not_started_elsewhere() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(3);
    let before = gives_up(&mut pan, "web-1");
    pan.world.seen.hosts.get_mut(&before).unwrap().out_of_reach = true;
    let refused = pan.ask(Request::Start(server("web-1"))).unwrap_err();
    assert!(refused.message.contains("has not reported"), "{refused}");
    settle::settle(&mut pan.world, pan.now);
    assert_eq!(pan.node_of("web-1").unwrap(), before.as_str());
    assert_eq!(pan.world.servers[&server("web-1")].ending, None, "nothing has begun of which nobody was told");
}

#[test]
fn what_comes_late_of_the_boot_before_says_nothing() {
    let mut pan = Pan::new();
    let says = |boot: u64, sequence: u64, problem: &str| Report {
        problems: vec![problem.to_owned()],
        ..report_of("n1", Role::Node, boot, sequence)
    };
    let shown = |pan: &Pan| pan.world.seen.hosts[&host("n1")].problems[&Role::Node].clone();
    hosts::report(&mut pan.world, pan.now, says(1, 900, "one")).unwrap();
    hosts::report(&mut pan.world, pan.now, says(2, 5, "two")).unwrap();
    hosts::report(&mut pan.world, pan.now, says(1, 901, "one, late")).unwrap();
    assert_eq!(shown(&pan), ["two"]);
    hosts::report(&mut pan.world, pan.now, says(2, 6, "two again")).unwrap();
    assert_eq!(shown(&pan), ["two again"]);
    // A number that a host goes back to must not shut it out for good.
    pan.pass(11_000);
    hosts::report(&mut pan.world, pan.now, says(1, 902, "one again")).unwrap();
    assert_eq!(shown(&pan), ["one again"]);
}

/// Without its role it would be believed dead at its first silence, and what runs there started elsewhere.
#[test]
fn a_host_with_servers_stays_a_node() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(3);
    let node = host(&pan.node_of("web-1").unwrap());
    let hello = Hello { roles: vec![Role::Director], node: None, ..hello_of(&pan, node.as_str()) };
    hosts::hello(&mut pan.world, pan.now, &hello).unwrap();
    assert_eq!(pan.world.hosts[&node].roles, [Role::Director, Role::Node]);
    assert!(hosts::is_known(&pan.world, &hello), "whoever follows sees it alike");
    pan.life(LifeChange::Dead(node.clone(), 700_000));
    settle::settle(&mut pan.world, pan.now);
    let fences = std::mem::take(&mut pan.world.effects);
    assert_eq!(fences, [Effect::Fence(node.clone(), Admission::FIRST)]);
    assert_eq!(pan.node_of("web-1").unwrap(), node.as_str());
    pan.life(LifeChange::Fenced(node.clone(), Admission::FIRST));
    settle::settle(&mut pan.world, pan.now);
    assert_ne!(pan.node_of("web-1").unwrap(), node.as_str());
    settle::settle(&mut pan.world, pan.now);
    assert_eq!(pan.world.hosts[&node].roles, [Role::Director], "nothing is there any more");
    assert!(hosts::is_known(&pan.world, &hello), "whoever follows sees it alike");
}

/// Whatever it is when it is removed: lessors may know it by its number.
#[test]
fn a_host_that_comes_back_goes_on_counting() {
    let mut pan = Pan::new();
    pan.world.hosts.get_mut(&host("d1")).unwrap().admission = Admission(7);
    pan.cut("d1");
    pan.rounds(2);
    pan.ask(Request::RemoveHost(host("d1"))).unwrap();
    // With a token, as anybody.
    pan.world.credentials.get_mut(&host("d1")).unwrap().issued += 1;
    pan.join("d1", 4);
    assert_eq!((pan.world.hosts[&host("d1")].admission, pan.world.hosts[&host("d1")].revoked), (Admission(8), Admission(7)));
}

/// Whoever leads no more and does not know it may not say that all is as wanted, or that it cannot be.
#[test]
fn an_answer_that_changes_nothing_needs_a_transaction_too() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(2);
    assert!(pan.world.dirty.is_empty());
    pan.apply(&web(1)).unwrap();
    assert!(pan.world.dirty.is_empty(), "nothing had to be changed");
    standing::answers(&mut pan.world);
    assert_eq!(std::mem::take(&mut pan.world.dirty), BTreeSet::from([Dirty::Pan]));
    pan.world.dirty.insert(Dirty::Host(host("n1")));
    standing::answers(&mut pan.world);
    assert_eq!(pan.world.dirty.len(), 1, "that is committed anyway");
}
