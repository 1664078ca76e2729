//! Services across partitions through real directors: two partitions with the same addresses, of which one uses the other's service.
#![allow(clippy::unwrap_used)]

mod rig;

use pan_model::service::BackendState::{Down, Draining, Up};
use rig::shop::{IMPORT, STANDS, Shop};
use rig::{Connection, DEADLINE, Rig, until};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

/// How long what should not come is waited for.
const LIMIT: Duration = Duration::from_millis(300);

fn may_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIP: directors need root");
    }
    root
}

fn answers(shop: &Shop) {
    for to in IMPORT {
        until(&format!("{to} answers"), || shop.connect(to, Duration::from_secs(1)).is_ok());
    }
}

fn open(shop: &Shop, number: usize) -> Vec<Connection> {
    IMPORT.iter().cycle().take(2 * number).map(|to| shop.connect(to, DEADLINE).unwrap()).collect()
}

fn servers(connections: &[Connection]) -> BTreeSet<&str> {
    connections.iter().map(|connection| connection.server.as_str()).collect()
}

#[test]
fn a_partition_uses_the_service_of_another_and_nothing_else_of_it() {
    if !may_run() {
        return;
    }
    let mut rig = Rig::new(2);
    let shop = rig.shop();
    // The importer's director, and another one that owns the service's own unit.
    rig.import(2, &[Up, Up], (1, 1), Some(2));
    answers(&shop);
    let mut connections = open(&shop, 20);
    assert_eq!(servers(&connections), BTreeSet::from(["web-1", "web-2"]));
    for (connection, stands) in connections.iter_mut().zip(STANDS.iter().cycle()) {
        assert_eq!(connection.seen_from().to_string(), *stands, "one address, whoever is behind it");
    }
    assert_eq!(rig.first.ways(), [2]);
    assert_eq!(rig.looks_well(&rig.first, 2, &[Up, Up], (1, 1), Some(2)), [""; 0]);
    // Its packets do not tell where they were on the way, and not where they ended.
    shop.hops(1);
    answers(&shop);
    shop.hops(64);
    // Another port of it; and back, from where nobody was asked.
    for (to, stands) in IMPORT.into_iter().zip(STANDS) {
        assert_eq!(shop.connect_port(to, 81, LIMIT), ErrorKind::TimedOut);
        assert!(!rig.comes_back(stands, rig::PORT, LIMIT) && !rig.comes_back(stands, 8080, LIMIT));
    }
    assert!(!rig.reaches_the_pair(LIMIT));
    // Its agent starts anew.
    rig.first.restart();
    rig.import(2, &[Up, Up], (1, 1), Some(2));
    connections.iter_mut().for_each(|connection| assert_eq!(connection.ask().unwrap(), connection.server));
    // A server that dies is no longer sent to, and the others go on.
    rig.import(2, &[Up, Down], (1, 1), Some(2));
    assert_eq!(servers(&open(&shop, 10)), BTreeSet::from(["web-1"]));
    rig.import(2, &[Draining, Up], (1, 1), Some(2));
    assert_eq!(servers(&open(&shop, 10)), BTreeSet::from(["web-2"]));
    let first = connections.iter_mut().filter(|connection| connection.server == "web-1");
    first.for_each(|connection| assert_eq!(connection.ask().unwrap(), "web-1"));
}

#[test]
fn an_import_that_cannot_be_made_is_nobody_elses_trouble() {
    if !may_run() {
        return;
    }
    let mut rig = Rig::new(2);
    let shop = rig.shop();
    let troubles = rig.import_nowhere(&[Up, Up]);
    assert!(troubles.units.is_empty() && !troubles.imports.is_empty(), "{troubles:?}");
    assert!(rig.first.ways().is_empty());
    // Once it can be made, it is.
    rig.import(1, &[Up, Up], (1, 1), Some(2));
    answers(&shop);
}

#[test]
fn without_a_way_nobody_answers_and_what_there_was_has_ended() {
    if !may_run() {
        return;
    }
    let mut rig = Rig::new(1);
    let shop = rig.shop();
    rig.import(1, &[Up], (1, 1), None);
    let silent = |shop: &Shop| IMPORT.iter().all(|to| shop.connect_port(to, rig::PORT, LIMIT) == ErrorKind::TimedOut);
    assert!(silent(&shop), "waiting");
    rig.import(1, &[Down], (1, 1), Some(2));
    assert!(silent(&shop), "with a way and no server it looks the same");
    rig.import(1, &[Up], (1, 1), Some(2));
    answers(&shop);
    let mut connections = open(&shop, 3);
    rig.import(1, &[Up], (1, 1), None);
    assert!(silent(&shop));
    assert!(connections.iter_mut().all(|connection| !connection.is_answered_within(LIMIT)), "tracked connections end with the word");
    assert_eq!(rig.first.ways(), [0; 0]);
    // Another consent, of which the director hears in one go with the end of the former.
    rig.import(1, &[Up], (1, 1), Some(3));
    answers(&shop);
    let mut connections = open(&shop, 3);
    rig.import(1, &[Up], (1, 1), Some(4));
    answers(&shop);
    assert!(connections.iter_mut().all(|connection| !connection.is_answered_within(LIMIT)), "the former consent's");
    // The same, while its agent was away.
    let mut connections = open(&shop, 3);
    rig.first.restart();
    rig.import(1, &[Up], (1, 1), Some(5));
    answers(&shop);
    assert!(connections.iter_mut().all(|connection| !connection.is_answered_within(LIMIT)), "the former consent's");
}

#[test]
fn an_import_moves_with_its_partitions_unit() {
    if !may_run() {
        return;
    }
    let mut rig = Rig::new(2);
    let shop = rig.shop();
    rig.import(1, &[Up, Up], (1, 1), Some(2));
    answers(&shop);
    let mut connections = open(&shop, 10);
    rig.import(1, &[Up, Up], (2, 2), Some(2));
    answers(&shop);
    assert_eq!((rig.first.ways(), rig.second.ways()), (vec![], vec![2]));
    assert!(rig.first.names().iter().all(|name| !name.starts_with("pani-") && !name.starts_with("panx-")), "nothing is left");
    // Ports that only one client uses are kept, so the same server is found again.
    connections.iter_mut().for_each(|connection| assert_eq!(connection.ask().unwrap(), connection.server));
}

#[test]
fn what_is_changed_by_hand_is_put_right() {
    if !may_run() {
        return;
    }
    let mut rig = Rig::new(1);
    let shop = rig.shop();
    rig.import(1, &[Up], (1, 1), Some(2));
    answers(&shop);
    for (place, command) in [
        ("pani-1", "nft flush ruleset"),
        ("panx-2", "nft flush ruleset"),
        ("pani-1", "ip link del out"),
        ("panx-2", "ip link del in"),
        ("panx-2", "ip addr flush dev out"),
        ("pani-1", "ip link set in down"),
    ] {
        rig.first.by_hand_in(place, command);
        let troubles = rig.looks_well(&rig.first, 1, &[Up], (1, 1), Some(2)).join("; ");
        assert!(troubles.contains("somebody changed the namespace"), "{place} {command}: {troubles:?}");
        assert_eq!(rig.looks_well(&rig.first, 1, &[Up], (1, 1), Some(2)), [""; 0], "after {command} in {place}");
        answers(&shop);
    }
}
