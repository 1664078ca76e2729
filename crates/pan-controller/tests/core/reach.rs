//! Hosts that are heard and do not report: nothing is given to them, and what waits there does not wait for long.

use super::*;
use pan_controller::core::seen::Life;

impl Pan {
    /// Its heartbeats go on.
    fn mute(&mut self, name: &str) {
        self.alive.retain(|other| *other != name);
    }

    fn unmute(&mut self, name: &'static str) {
        self.alive.push(name);
    }

    fn messages(&self, reason: &str) -> Vec<String> {
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
    pan.rounds(20);
    // An operator asks for a new start, which the node does not hear of; and another controller leads that never heard of the server.
    pan.ask(Request::Restart(server("web-1"))).unwrap();
    pan.rounds(20);
    pan.world.seen.servers.clear();
    pan_controller::core::standing::lead(&mut pan.world, pan.now);
    pan.rounds(60);
    assert_eq!((pan.messages("HostOutOfReach").len(), pan.messages("NodeLost").len()), (2, 0));
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
