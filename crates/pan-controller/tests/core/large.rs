//! What a round costs with many hosts. A measurement, so it is asked for:
//! `cargo test --release -p pan-controller --test core -- --ignored --nocapture a_round_of_2000_hosts`.

use super::{Pan, host, report_of, role_of};
use pan_controller::core::hosts::{self, LifeChange};
use pan_controller::core::roster::Rosters;
use pan_controller::core::{orders, published, settle};
use pan_controller::views;
use pan_model::Generation;
use pan_model::host::{Fabric, Link};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const HOSTS: usize = 2000;
const ROUNDS: usize = 200;

/// 2,000 nodes that live, and nothing on them.
fn large() -> Pan {
    let mut pan = Pan::new();
    for at in 0..HOSTS {
        let name = format!("n{:04}", at + 100);
        let mut hello = super::hello_of(&pan, "n1");
        hello.host = host(&name);
        let address = |net: u8| format!("10.{net}.{}.{}", 1 + at / 250, 1 + at % 250).parse().unwrap();
        (hello.address, hello.a, hello.b) = (address(200), address(201), address(202));
        hosts::hello(&mut pan.world, pan.now, &hello).unwrap();
        pan.life(LifeChange::Alive(host(&name), Duration::ZERO));
        for fabric in Fabric::BOTH {
            pan.life(LifeChange::Fabric(host(&name), fabric, Link::Up));
        }
        hosts::report(&mut pan.world, pan.now, report_of(&name, role_of(&name), 1, 1)).unwrap();
    }
    pan
}

#[test]
#[ignore = "a measurement"]
fn a_round_of_2000_hosts() {
    let mut pan = large();
    let (mut rosters, mut latest) = (Rosters::default(), BTreeMap::new());
    let mut spent = [const { Vec::new() }; 4];
    for step in 0..ROUNDS as u64 {
        let mut laps = [Instant::now(); 5];
        settle::settle(&mut pan.world, pan.now);
        laps[1] = Instant::now();
        let all = orders::all_like(&pan.world, &mut rosters);
        laps[2] = Instant::now();
        for (name, desired) in all {
            if latest.get(&name) != Some(&desired) {
                published::to(&mut pan.world, latest.get(&name), &desired, Generation { term: 1, step });
                latest.insert(name, desired);
            }
        }
        published::note(&mut pan.world, pan.now);
        laps[3] = Instant::now();
        drop(std::hint::black_box(views::view(&pan.world, step)));
        laps[4] = Instant::now();
        for (at, one) in spent.iter_mut().enumerate() {
            one.push(laps[at + 1] - laps[at]);
        }
        pan.pass(1);
    }
    for (what, one) in ["settled", "ordered", "compared", "shown"].into_iter().zip(spent) {
        say(what, one);
    }
}

fn say(what: &str, mut spent: Vec<Duration>) {
    spent.sort_unstable();
    println!("{what}: p50 {:?}, p90 {:?}, worst {:?}", spent[spent.len() / 2], spent[spent.len() * 9 / 10], spent[spent.len() - 1]);
}

#[test]
#[ignore = "a measurement"]
fn a_death_among_2000_hosts() {
    let mut pan = large();
    settle::settle(&mut pan.world, pan.now);
    let mut spent = [const { Vec::new() }; 3];
    for at in 0..20 {
        let name = host(&format!("n{:04}", at * 50 + 100));
        let changes = [
            LifeChange::Suspect(name.clone(), 150_000),
            LifeChange::Dead(name.clone(), 270_000),
            LifeChange::Fenced(name.clone(), pan.world.hosts[&name].admission),
        ];
        for (change, spent) in changes.into_iter().zip(&mut spent) {
            pan.pass(100);
            let begun = Instant::now();
            pan.life(change);
            settle::settle(&mut pan.world, pan.now);
            spent.push(begun.elapsed());
        }
        assert!(pan.world.seen.life(&name) == pan_controller::core::seen::Life::Dead);
    }
    for (what, one) in ["suspected", "silent for too long", "fenced"].into_iter().zip(spent) {
        say(what, one);
    }
}
