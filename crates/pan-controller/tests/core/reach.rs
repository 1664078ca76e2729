//! Hosts that are heard and do not report: nothing is given to them, and what waits there does not wait for long.

use super::*;
use pan_controller::core::record::EndingPhase;
use pan_controller::core::seen::Life;

impl Pan {
    /// Its heartbeats go on.
    fn mute(&mut self, name: &str) {
        self.alive.retain(|other| *other != name);
    }

    fn unmute(&mut self, name: &'static str) {
        self.alive.push(name);
    }

    pub(super) fn messages(&self, reason: &str) -> Vec<String> {
        self.world.events[&None].iter().filter(|event| event.reason == reason).map(|event| event.message.clone()).collect()
    }

    fn node_of_web_1(&self) -> &'static str {
        let name = self.node_of("web-1").unwrap();
        NODES.into_iter().find(|node| *node == name).unwrap()
    }

    fn state_of(&self, node: &str) -> pan_plan::NodeState {
        pan_controller::core::place::snapshot(&self.world).nodes[&host(node)].state
    }
}

#[test]
fn a_node_that_does_not_report_is_given_nothing_and_keeps_what_runs() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(3);
    let node = pan.node_of_web_1();
    pan.mute(node);
    pan.rounds(6);
    assert_eq!((pan.state_of(node), pan.messages("HostOutOfReach").len()), (pan_plan::NodeState::Up, 0), "it may report any moment");
    pan.rounds(60);
    assert_eq!((pan.state_of(node), pan.messages("HostOutOfReach").len()), (pan_plan::NodeState::Away, 1), "told once");
    assert!(pan.messages("HostOutOfReach")[0].contains("port 7443"), "{:?}", pan.messages("HostOutOfReach"));
    assert_eq!((pan.node_of("web-1").unwrap().as_str(), pan.messages("NodeLost").len()), (node, 0), "nothing waits for it");
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let elsewhere = ["web-2", "web-3"].map(|server| pan.node_of(server).unwrap());
    assert!(elsewhere.iter().all(|other| other != node), "{elsewhere:?}");
    let refused = pan.ask(Request::Failover { key: server("web-2"), to: Some(host(node)) }).unwrap_err();
    assert!(refused.message.contains("out of reach"), "{}", refused.message);
    pan.unmute(node);
    pan.rounds(2);
    assert_eq!((pan.state_of(node), pan.messages("HostInReach").len()), (pan_plan::NodeState::Up, 1));
    assert_eq!(pan.node_of("web-1").unwrap(), node);
}

#[test]
fn a_server_that_waits_for_such_a_node_is_started_elsewhere() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    drop(pan.publish());
    let node = pan.node_of_web_1();
    pan.mute(node);
    pan.rounds(10);
    assert_eq!((pan.node_of("web-1").unwrap(), pan.messages("NodeLost").len()), (node.to_owned(), 0));
    pan.rounds(8);
    assert_eq!((pan.messages("NodeLost").len(), pan.messages("HostDead").len()), (1, 1), "{:?}", pan.messages("HostOutOfReach"));
    assert_ne!(pan.node_of("web-1").unwrap(), node);
    let dead = &pan.messages("HostDead")[0];
    assert!(dead.contains("has not reported, though heard, for 10000 ms") && !dead.contains("silent"), "{dead}");
    let steps: Vec<String> =
        pan.world.timelines.view()["p/web-1"].iter().flat_map(|one| one.steps.iter().map(|step| step.reason.clone())).collect();
    assert!(steps.iter().all(|reason| !reason.contains("silent")), "{steps:?}");
    assert_eq!(pan.world.seen.life(&host(node)), Life::Dead);
    pan.rounds(30);
    assert_eq!(pan.messages("NodeLost").len(), 1);
}

#[test]
fn what_runs_on_such_a_node_is_no_reason_to_fence_it() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(3);
    let node = pan.node_of_web_1();
    pan.mute(node);
    // An operator asks for a new start, which the node does not hear of; and another controller leads that never heard of the server.
    pan.ask(Request::Restart(server("web-1"))).unwrap();
    pan.rounds(40);
    assert_eq!(pan.world.servers[&server("web-1")].incarnation, 2);
    pan.world.seen.servers.clear();
    pan_controller::core::standing::lead(&mut pan.world, pan.now);
    pan.rounds(60);
    assert_eq!((pan.messages("HostOutOfReach").len(), pan.messages("NodeLost").len()), (1, 0), "it is known who does not report");
    assert_eq!(pan.node_of("web-1").unwrap(), node);
}

#[test]
fn a_controller_that_hears_nobodys_reports_gives_nobody_up() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    drop(pan.publish());
    NODES.iter().for_each(|node| pan.mute(node));
    pan.rounds(60);
    assert!(pan.messages("NodeLost").is_empty());
    // One that begins to lead has waited for nobody.
    pan.world.seen.hosts.values_mut().for_each(|seen| seen.quiet_from = None);
    pan_controller::core::standing::lead(&mut pan.world, pan.now);
    assert!(NODES.iter().all(|node| pan.state_of(node) == pan_plan::NodeState::Up));
}

#[test]
fn a_host_that_falls_silent_again_and_again_is_told_of() {
    let mut pan = Pan::new();
    let falter = |pan: &mut Pan, times: usize, pause: i64| {
        for _ in 0..times {
            pan.life(LifeChange::Suspect(host("n1"), 60_000));
            pan.life(LifeChange::Suspect(host("n1"), 80_000));
            pan.life(LifeChange::Alive(host("n1"), Duration::ZERO));
            pan.pass(pause);
        }
        pan.messages("HostUnsteady").len()
    };
    assert_eq!(falter(&mut pan, 20, 8_000), 0, "now and then is not again and again");
    pan.pass(60_000);
    assert_eq!(falter(&mut pan, 4, 1_000), 0);
    assert_eq!(falter(&mut pan, 1, 1_000), 1);
    assert_eq!(falter(&mut pan, 4, 1_000), 1, "told once for each five");
    assert_eq!(falter(&mut pan, 1, 1_000), 2);
    assert!(pan.messages("HostUnsteady")[0].contains("pan node drain n1"));
}

fn web_2(pan: &Pan) -> &'static str {
    let name = pan.node_of("web-2").unwrap();
    NODES.into_iter().find(|node| *node == name).unwrap()
}

/// Three servers run, and the node of web-2 is out of reach.
fn with_web_2_out_of_reach() -> (Pan, &'static str) {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let node = web_2(&pan);
    pan.mute(node);
    pan.rounds(12);
    assert_eq!(pan.messages("HostOutOfReach").len(), 1);
    (pan, node)
}

/// What might make one forget that a host does not report: another leader, and silence for less than a death.
fn shaken(pan: &mut Pan, node: &'static str) {
    pan_controller::core::standing::lead(&mut pan.world, pan.now);
    pan.rounds(3);
    pan.life(LifeChange::Suspect(host(node), 60_000));
    pan.rounds(2);
    pan.life(LifeChange::Alive(host(node), Duration::ZERO));
    pan.rounds(3);
}

fn told_to_the_partition(pan: &Pan, reason: &str) -> Vec<String> {
    let events = &pan.world.events[&Some("p".parse().unwrap())];
    events.iter().filter(|event| event.reason == reason).map(|event| event.message.clone()).collect()
}

#[test]
fn what_cannot_begin_there_is_refused_with_what_to_do() {
    let (mut pan, node) = with_web_2_out_of_reach();
    let key = || server("web-2");
    let asked = [
        drain(node),
        Request::Stop(key()),
        Request::Restart(key()),
        Request::Failover { key: key(), to: None },
        Request::Migrate { key: key(), to: None },
        Request::DrainDomain("rack=r1".parse().unwrap()),
    ];
    pan.ask(Request::Label { node: host(node), labels: BTreeMap::from([("rack".into(), Some("r1".into()))]) }).unwrap();
    for request in asked {
        let shown = format!("{request:?}");
        let in_drain = matches!(request, Request::Drain { .. } | Request::DrainDomain(_));
        let of_a_user = operate::request(&mut pan.world, pan.now, Some(&"p".parse().unwrap()), request.clone());
        let error = pan.ask(request).unwrap_err();
        assert_eq!(error.code, Code::State, "{shown}: {error:?}");
        // Silent for twelve rounds, the first of which began right after a report.
        for part in [format!("host {node} is heard"), "since 1970-01-01T00:".into(), "port 7443".into(), "switch it off".into()] {
            assert!(error.message.contains(&part), "{shown}: {part:?} in {}", error.message);
        }
        if !in_drain {
            let text = of_a_user.unwrap_err().message;
            let hidden = [node, "host", "node", "port", "switch"];
            assert!(text.contains("p/web-2") && hidden.iter().all(|word| !text.contains(word)), "{shown}: {text}");
        }
    }
    pan.rounds(5);
    assert_eq!(pan.backend("web-2"), BackendState::Up, "nothing was taken from it");
    assert!(pan.world.servers.values().all(|server| server.ending.is_none()));
    // One that has nothing to be told of is put aside all the same.
    let free = NODES.into_iter().find(|node| pan.world.servers.values().all(|server| server.node != Some(host(node)))).unwrap();
    pan.mute(free);
    pan.rounds(12);
    pan.ask(drain(free)).unwrap();
}

#[test]
fn an_end_that_cannot_begin_takes_nothing_out_of_its_service() {
    let (mut pan, node) = with_web_2_out_of_reach();
    pan.ask(Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers: 1 }).unwrap();
    pan.rounds(60);
    assert!(!pan.world.servers.contains_key(&server("web-3")), "the other one is gone, and did not wait for it");
    assert_eq!(pan.backend("web-2"), BackendState::Up);
    let view = pan_controller::views::view(&pan.world, 1);
    assert_eq!(view.servers[&server("web-2")].state, pan_model::server::ServerState::Running);
    assert!(view.servers[&server("web-2")].message.is_some());
    let told = told_to_the_partition(&pan, "EndingHeld");
    assert_eq!((told.len(), pan.messages("EndingHeld").len()), (1, 1), "{told:?}");
    assert!(!told[0].contains(node) && pan.messages("EndingHeld")[0].contains(node), "{told:?}");
    shaken(&mut pan, node);
    assert_eq!(pan.world.servers[&server("web-2")].ending.as_ref().map(|ending| ending.phase), Some(EndingPhase::Draining));
    assert_eq!(pan.backend("web-2"), BackendState::Up);
    pan.unmute(node);
    pan.rounds(6);
    assert!(!pan.world.servers.contains_key(&server("web-2")), "and then it ends");
}

#[test]
fn a_drain_begun_before_is_taken_back_whole() {
    // Connections are web-1's, so that its end is only begun; web-2's stop may have been heard.
    for (name, phase) in [("web-1", EndingPhase::Draining), ("web-2", EndingPhase::Stopping)] {
        let mut pan = Pan::new();
        pan.apply(&web(3)).unwrap();
        pan.rounds(3);
        let at = pan.node_of(name).unwrap();
        let node = NODES.into_iter().find(|node| *node == at).unwrap();
        pan.connections = 5;
        pan.ask(drain(node)).unwrap();
        pan.mute(node);
        pan.rounds(60);
        let before = pan.world.servers[&server(name)].clone();
        let expected = if phase == EndingPhase::Draining { BackendState::Up } else { BackendState::Draining };
        assert_eq!((before.ending.map(|ending| ending.phase), pan.backend(name)), (Some(phase), expected), "{name}");
        pan.ask(Request::Uncordon(host(node))).unwrap();
        pan.rounds(2);
        let after = &pan.world.servers[&server(name)];
        assert_eq!((after.ending.as_ref(), after.incarnation, after.epoch), (None, before.incarnation, before.epoch), "{name}");
        assert_eq!(pan.backend(name), BackendState::Up, "{name}");
        pan.unmute(node);
        pan.rounds(5);
        assert_eq!((pan.node_of(name).unwrap().as_str(), pan.backend(name)), (node, BackendState::Up), "{name}");
    }
}

#[test]
fn a_roll_passes_over_what_is_out_of_reach_and_says_so() {
    let (mut pan, node) = with_web_2_out_of_reach();
    pan.apply(&web(3).replace("[sleep, inf]", "[sleep, '9']")).unwrap();
    pan.rounds(60);
    let incarnations = |pan: &Pan| pan.world.servers.values().map(|server| server.incarnation).collect::<Vec<_>>();
    assert_eq!(incarnations(&pan), [2, 1, 2], "the others have what is new");
    assert_eq!(pan.backend("web-2"), BackendState::Up, "it runs on as it was");
    let told = told_to_the_partition(&pan, "RollHeld");
    assert_eq!((told.len(), pan.messages("RollHeld").len()), (1, 1), "{told:?}");
    assert!(told[0].contains("web-2") && !told[0].contains(node) && pan.messages("RollHeld")[0].contains(node), "{told:?}");
    shaken(&mut pan, node);
    assert_eq!((incarnations(&pan), pan.backend("web-2")), (vec![2, 1, 2], BackendState::Up));
    pan.unmute(node);
    pan.rounds(10);
    assert_eq!(incarnations(&pan), [2, 2, 2]);
}

#[test]
fn a_stopped_server_there_is_started_elsewhere_and_a_stop_that_waits_is_taken_back() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let node = web_2(&pan);
    pan.ask(Request::Stop(server("web-2"))).unwrap();
    pan.rounds(5);
    pan.mute(node);
    pan.rounds(12);
    pan.ask(Request::Start(server("web-2"))).unwrap();
    pan.rounds(3);
    assert_ne!(pan.node_of("web-2").unwrap(), node);
    assert_eq!(pan.backend("web-2"), BackendState::Up);

    // Its connections hold the stop up until its node is out of reach.
    let mut pan = Pan::new();
    pan.apply(&web(3).replace("spec:\n  servers", "spec:\n  stop: {grace: 10m}\n  servers")).unwrap();
    pan.rounds(3);
    let node = NODES.into_iter().find(|node| pan.node_of("web-1").unwrap() == *node).unwrap();
    pan.connections = 5;
    pan.ask(Request::Stop(server("web-1"))).unwrap();
    pan.rounds(3);
    assert_eq!(pan.backend("web-1"), BackendState::Draining);
    pan.mute(node);
    pan.rounds(12);
    assert_eq!((pan.backend("web-1"), told_to_the_partition(&pan, "EndingHeld").len()), (BackendState::Up, 1));
    pan.ask(Request::Start(server("web-1"))).unwrap();
    pan.rounds(3);
    let after = &pan.world.servers[&server("web-1")];
    assert_eq!((after.incarnation, after.ending.is_none(), pan.backend("web-1")), (1, true, BackendState::Up));
}

#[test]
fn a_domain_is_emptied_but_for_what_is_out_of_reach_which_it_then_waits_for() {
    // Out of reach before its turn has come, and after.
    for early in [true, false] {
        let mut pan = Pan::new();
        pan.apply(&web(2).replace("  protect: {failures: 1}\n", "")).unwrap();
        pan.rounds(3);
        let mut both = ["web-1", "web-2"].map(|name| NODES.into_iter().find(|node| pan.node_of(name).unwrap() == *node).unwrap());
        both.sort_unstable();
        let [first, late] = both;
        for node in both {
            pan.ask(Request::Label { node: host(node), labels: BTreeMap::from([("rack".into(), Some("r1".into()))]) }).unwrap();
        }
        pan.rounds(1);
        if early {
            pan.connections = 5;
        }
        pan.ask(Request::DrainDomain("rack=r1".parse().unwrap())).unwrap();
        pan.mute(late);
        pan.rounds(if early { 12 } else { 0 });
        pan.connections = 0;
        pan.rounds(60);
        let view = pan_controller::views::view(&pan.world, 1);
        let reason = view.drains[0].reason.clone().unwrap_or_default();
        assert!(reason.contains(&format!("host {late} is heard")), "{:?}", view.drains);
        let on = |pan: &Pan, node: &str| pan.world.servers.values().filter(|server| server.node == Some(host(node))).count();
        assert_eq!((on(&pan, first), on(&pan, late)), (0, 1), "{:?}", view.drains);
        let held = pan.messages("DomainDrainHeld");
        assert_eq!(held.len(), 2, "told once, at each of its nodes: {held:?}");
        pan.unmute(late);
        pan.rounds(20);
        assert_eq!((on(&pan, late), pan.messages("DomainEmpty").len()), (0, 2));
    }
}

#[test]
fn addresses_go_to_directors_that_do_their_work_and_stay_with_one_that_cannot_be_made_to_let_go() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(3);
    let owner = |pan: &Pan| pan.world.partitions[&"p".parse().unwrap()].owner.clone().unwrap();
    let (first, other) = if owner(&pan) == host("d1") { ("d1", "d2") } else { ("d2", "d1") };
    pan.mute(first);
    pan.rounds(60);
    assert_eq!(owner(&pan), host(first), "its kernel goes on answering");
    pan.unmute(first);
    pan.mute(other);
    pan.rounds(60);
    // A host that is no director any more; the only other one does not do its work.
    pan.world.hosts.get_mut(&host(first)).unwrap().roles = vec![Role::Storage];
    pan.rounds(3);
    assert_eq!(owner(&pan), host(first));
    pan.unmute(other);
    pan.rounds(3);
    assert_eq!(owner(&pan), host(other));
}

/// Who is told that it stands in is who gets the addresses.
#[test]
fn every_host_is_told_who_stands_in_and_that_one_gets_the_addresses() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(3);
    let seats = |pan: &Pan, at: &str| pan_controller::core::orders::all(&pan.world)[&host(at)].seats.clone();
    let partition = |pan: &Pan| pan.world.partitions[&"p".parse().unwrap()].clone();
    let before = partition(&pan);
    let (owner, other) = if before.owner == Some(host("d1")) { ("d1", "d2") } else { ("d2", "d1") };
    let node = pan.world.servers.values().find_map(|server| server.node.clone()).unwrap();
    for at in ["d1", "d2", node.as_str()] {
        let [seat] = &seats(&pan, at)[..] else { panic!("{at}: {:?}", seats(&pan, at)) };
        assert_eq!((seat.vni, seat.epoch, &seat.owner), (before.vni, before.owner_epoch, &host(owner)), "{at}");
        assert_eq!(seat.successor, Some(host(other)), "{at}");
    }
    // Nobody that does not do its work, and nobody at all where there is none.
    pan.mute(other);
    pan.rounds(60);
    assert_eq!(seats(&pan, other)[0].successor, None);
    pan.unmute(other);
    pan.rounds(3);
    pan.cut(owner);
    pan.rounds(60);
    let after = partition(&pan);
    assert_eq!(after.owner, Some(host(other)));
    assert!(after.owner_epoch > before.owner_epoch);
    let seat = &seats(&pan, other)[0];
    assert_eq!((&seat.owner, &seat.successor, seat.epoch), (&host(other), &None, after.owner_epoch));
}
