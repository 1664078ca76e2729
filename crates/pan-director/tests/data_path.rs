//! Connections through real directors: spread, drain, death, restart of the agent, takeover; IPv4 and IPv6.
#![allow(clippy::unwrap_used)]

mod rig;

use pan_model::service::BackendState::{self, Down, Draining, Suspect, Up};
use rig::{Connection, DEADLINE, Rig, until};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

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

#[test]
fn a_partition_is_a_closed_world() {
    if !may_run() {
        return;
    }
    let rig = serving(&[Up]);
    assert!(!rig.world_is_open(Duration::from_millis(300)));
}
