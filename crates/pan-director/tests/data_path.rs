//! Connections through real directors: spread, drain, death, restart of the agent, takeover; IPv4 and IPv6.
#![allow(clippy::unwrap_used)]

mod rig;

use pan_model::service::BackendState::{self, Down, Draining, Suspect, Up};
use rig::{Connection, DEADLINE, Rig, until};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

const PUBLIC: [&str; 2] = ["198.18.0.10", "fd18::10"];

fn may_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIP: directors need root");
    }
    root
}

/// Opens `number` connections to each public address, in turn.
fn open(rig: &Rig, number: usize) -> Vec<Connection> {
    PUBLIC.iter().cycle().take(2 * number).map(|public| rig.connect(public, DEADLINE).unwrap()).collect()
}

fn by_server(connections: &[Connection]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for connection in connections {
        *counts.entry(connection.server.clone()).or_insert(0) += 1;
    }
    counts
}

fn all_answer(connections: &mut [Connection]) {
    for connection in connections {
        assert_eq!(connection.ask().unwrap(), connection.server);
    }
}

/// A rig whose service answers.
fn serving(servers: &[BackendState]) -> Rig {
    let mut rig = Rig::new(servers.len() as u32);
    rig.set(1, servers);
    for public in PUBLIC {
        until("the service answers", || rig.connect(public, Duration::from_secs(1)).is_ok());
    }
    rig
}

#[test]
fn connections_are_spread_and_outlive_every_change_of_the_tables() {
    if !may_run() {
        return;
    }
    let mut rig = serving(&[Up, Up]);
    let mut first = open(&rig, 40);
    let counts = by_server(&first);
    assert!(counts["web-1"] >= 15 && counts["web-2"] >= 15, "{counts:?}");

    for state in [Suspect, Draining] {
        rig.set(1, &[Up, state]);
        assert_eq!(by_server(&open(&rig, 20)), BTreeMap::from([("web-1".to_owned(), 40)]), "web-2 is {state:?}");
        all_answer(&mut first);
    }
    let live = |name: &str| rig.first.connections().into_iter().find(|(server, _)| server == name).unwrap().1;
    assert!(live("web-2") >= counts["web-2"] as u64);

    rig.first.restart();
    rig.set(1, &[Up, Up]);
    all_answer(&mut first);
    assert_eq!(by_server(&open(&rig, 40)).len(), 2);

    rig.set(1, &[Up, Down]);
    assert_eq!(by_server(&open(&rig, 20)), BTreeMap::from([("web-1".to_owned(), 40)]));
    for connection in &mut first {
        match connection.server.as_str() {
            "web-1" => assert_eq!(connection.ask().unwrap(), "web-1"),
            _ => assert_eq!(connection.ask().unwrap_err().kind(), ErrorKind::ConnectionReset, "a dead server's client is told"),
        }
    }
}

#[test]
fn without_a_server_clients_wait_and_unknown_ports_are_refused() {
    if !may_run() {
        return;
    }
    let mut rig = serving(&[Up]);
    rig.set(1, &[Down]);
    let limit = Duration::from_millis(300);
    for public in PUBLIC {
        assert_eq!(rig.connect_port(public, rig::PORT, limit).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(rig.connect_port(public, 81, limit).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    // A client that tries while there is none is served once there is one.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| rig.connect(PUBLIC[0], DEADLINE).map(|connection| connection.server));
        std::thread::sleep(Duration::from_millis(100));
        rig.first.apply(&rig::desired(1, true, &[Up]));
        assert_eq!(waiting.join().unwrap().unwrap(), "web-1");
    });
}

#[test]
fn connections_outlive_their_director() {
    if !may_run() {
        return;
    }
    let mut rig = serving(&[Up, Up, Up]);
    let mut connections = open(&rig, 30);
    // One drains: its connections are known only to the former table.
    rig.set(1, &[Up, Draining, Up]);
    // For half of them the server speaks first after the takeover.
    let (waiting, speaking) = connections.split_at_mut(30);
    waiting.iter_mut().for_each(Connection::ask_for_later);
    // Past the servers' delayed acknowledgements: a client that misses one would speak first.
    std::thread::sleep(Duration::from_millis(150));
    rig.first.cut();
    rig.set(2, &[Up, Draining, Up]);
    all_answer(speaking);
    for connection in waiting {
        assert_eq!(connection.hear().unwrap(), connection.server);
    }
    all_answer(&mut connections);
    assert_eq!(by_server(&connections).len(), 3);
    assert!(!by_server(&open(&rig, 20)).contains_key("web-2"));
}

/// It was frozen while another director owned its addresses, and died before this one was told.
#[test]
fn who_owns_again_without_having_heard_of_its_loss_says_so() {
    if !may_run() {
        return;
    }
    let mut rig = serving(&[Up, Up]);
    rig.set(2, &[Up, Up]);
    for public in PUBLIC {
        until("the second answers", || rig.connect(public, Duration::from_secs(1)).is_ok());
    }
    rig.second.cut();
    rig.first_again(3, &[Up, Up]);
    for public in PUBLIC {
        // Told, it takes milliseconds. A neighbour that was told nothing begins to doubt five seconds after the last answer.
        let limit = Duration::from_secs(3);
        let begun = Instant::now();
        until("the first answers", || begun.elapsed() > limit || rig.connect(public, limit / 10).is_ok());
        assert!(begun.elapsed() <= limit, "{public} is still looked for at the second director");
    }
}

/// Its namespaces need no agent: without this they answer beside whoever owns the addresses next.
#[test]
fn a_host_that_is_no_director_any_more_answers_for_nothing() {
    if !may_run() {
        return;
    }
    let rig = serving(&[Up, Up]);
    rig.first.restart();
    assert!(rig.connect(PUBLIC[0], DEADLINE).is_ok(), "without its agent it answers");
    assert_eq!((rig.first.leave(), rig.first.names()), (1, Vec::new()));
    for public in PUBLIC {
        assert!(rig.connect(public, Duration::from_millis(300)).is_err(), "{public}");
    }
    assert_eq!(rig.first.leave(), 0, "a second time there is nothing to do");
}

#[test]
fn a_partition_is_a_closed_world() {
    if !may_run() {
        return;
    }
    let rig = serving(&[Up]);
    assert!(!rig.world_is_open(Duration::from_millis(300)));
}

#[test]
fn a_host_is_node_and_director_at_once() {
    if !may_run() {
        return;
    }
    let mut rig = Rig::with_both_roles_on_one_host(2);
    // Whichever is first finds nothing, the other what the first made.
    rig.set(1, &[Up, Up]);
    for public in PUBLIC {
        until("the service answers", || rig.connect(public, Duration::from_secs(1)).is_ok());
    }
    let mut connections = open(&rig, 20);
    assert_eq!(by_server(&connections).len(), 2);
    // Neither takes away what is the other's, not after a restart either.
    let desired = rig.desired(1, true, &[Up, Up]);
    for _ in 0..3 {
        rig.node_again(1);
        assert_eq!(rig.first.look(&desired), [""; 0]);
        rig.first.restart();
        rig.set(1, &[Up, Up]);
        all_answer(&mut connections);
    }
    // The other director takes over: the gateway leaves the host, the servers stay.
    rig.first.apply(&rig.desired(2, false, &[Up, Up]));
    rig.second.apply(&rig.desired(2, true, &[Up, Up]));
    rig.node_again(2);
    all_answer(&mut connections);
    assert_eq!(by_server(&open(&rig, 20)).len(), 2);
}

/// Clients that met a server which has fallen silent are served by another one at their next try, which TCP makes
/// after a second, once the server is suspected by `suspect`.
fn silent_server(suspect: impl Fn(&mut Rig, bool)) {
    let mut rig = serving(&[Up, Up]);
    let mut answered = open(&rig, 10);
    rig.deafen(2, true);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let connect = |public: &'static str, rig: &Rig| {
            // A thread each: the connection's namespace is entered by a thread.
            let netns = rig.client_netns();
            scope.spawn(move || rig::connect_from(&netns, public, DEADLINE).map(|connection| (connection.server, begun.elapsed())))
        };
        let waiting: Vec<_> = PUBLIC.iter().cycle().take(24).map(|public| connect(public, &rig)).collect();
        until("the silent server is asked", || rig.was_asked(2));
        suspect(&mut rig, true);
        for waiting in waiting {
            let (server, took) = waiting.join().unwrap().unwrap();
            assert_eq!(server, "web-1");
            assert!(took < Duration::from_millis(2500), "{took:?}");
        }
    });
    assert_eq!(by_server(&open(&rig, 10)), BTreeMap::from([("web-1".to_owned(), 20)]));
    rig.deafen(2, false);
    suspect(&mut rig, false);
    all_answer(&mut answered);
    assert_eq!(by_server(&open(&rig, 20)).len(), 2, "it is back");
}

#[test]
fn clients_of_a_server_that_the_controller_suspects_are_served_by_another() {
    if may_run() {
        silent_server(|rig, suspected| rig.set(1, &[Up, if suspected { Suspect } else { Up }]));
    }
}

#[test]
fn clients_of_a_server_that_the_director_suspects_are_served_by_another() {
    if may_run() {
        silent_server(|rig, suspected| rig.first.suspect(if suspected { &["n2"] } else { &[] }));
    }
}

#[test]
fn a_suspicion_outlives_changes_of_the_desired_state_and_yields_to_panic() {
    if !may_run() {
        return;
    }
    let mut rig = serving(&[Up, Up, Up]);
    rig.first.suspect(&["n2"]);
    let servers = |rig: &Rig| by_server(&open(rig, 40)).into_keys().collect::<Vec<_>>();
    assert_eq!(servers(&rig), ["web-1", "web-3"]);
    rig.set(1, &[Up, Up, Draining]);
    assert_eq!(servers(&rig), ["web-1"]);
    rig.set(1, &[Up, Up, Up]);
    assert_eq!(servers(&rig), ["web-1", "web-3"]);
    // Two of three: the suspicion says more about this director than about them.
    rig.first.suspect(&["n2", "n3"]);
    assert_eq!(servers(&rig), ["web-1", "web-2", "web-3"]);
    rig.first.suspect(&["n3"]);
    assert_eq!(servers(&rig), ["web-1", "web-2"]);
    rig.first.suspect(&[]);
    assert_eq!(servers(&rig), ["web-1", "web-2", "web-3"]);
}

#[test]
fn what_is_changed_by_hand_is_put_right() {
    if !may_run() {
        return;
    }
    let rig = serving(&[Up, Up]);
    let desired = rig::desired(1, true, &[Up, Up]);
    assert_eq!(rig.first.look(&desired), [""; 0]);
    let mut before = open(&rig, 10);
    for (command, seen) in [
        ("nft flush ruleset", "its rules were changed"),
        ("nft flush table inet pan", "its rules were changed"),
        ("nft delete element inet pan addr4 { 1 }", "its rules were changed"),
        ("nft add table inet other", "its rules were changed"),
        ("ip addr del 10.0.0.1/24 dev in", "address 10.0.0.1/24"),
        ("ip addr del fd00:1::1/64 dev in", "address fd00:1::1/64"),
        ("ip route del 10.0.0.0/24 dev in", "route to 10.0.0.0/24"),
        ("ip -6 route del fd00:1::/64 dev in", "route to fd00:1::/64"),
        ("ip route del default", "route to 0.0.0.0/0"),
        ("ip addr del 198.18.0.10/32 dev out", "address 198.18.0.10"),
        ("ip addr add 10.9.9.9/32 dev out", "address 10.9.9.9"),
        ("ip link set in down", "link in"),
        ("ip link set out down", "link out"),
        ("ip link set in address 02:00:00:00:00:99", "link in"),
        ("ip link del in", "link in"),
        ("ip neigh del 10.0.0.11 dev in", "neighbour 10.0.0.11"),
        ("sysctl -qw net.ipv4.ip_forward=0", "setting net/ipv4/ip_forward"),
    ] {
        rig.first.by_hand(command);
        let troubles = rig.first.look(&desired).join("; ");
        assert!(troubles.contains(&format!("network {}", rig::VNI)) && troubles.contains(seen), "{command}: {troubles:?}");
        assert_eq!(rig.first.look(&desired), [""; 0], "after {command}");
        for public in PUBLIC {
            until(&format!("{public} answers after {command}"), || rig.connect(public, Duration::from_millis(500)).is_ok());
        }
        all_answer(&mut before);
    }
    // A change of elements notices, too, that others were there.
    rig.first.by_hand("nft add element inet pan s-www-down { 9 }");
    let silent = rig.first.suspect_with_troubles(&["n2"]).join("; ");
    assert!(silent.contains("not those that were loaded"), "{silent}");
    assert_eq!(by_server(&open(&rig, 20)).into_keys().collect::<Vec<_>>(), ["web-1"]);
}
