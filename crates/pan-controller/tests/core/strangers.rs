//! Who was turned away at replicas: told to the PAN once, then every five minutes, and to no partition.

use super::{Pan, report_of};
use pan_api::report::Report;
use pan_api::volume::PoolReport;
use pan_controller::core::hosts;
use pan_model::host::Role;
use pan_model::{Admission, ByteSize};

fn report(pan: &mut Pan, strangers: u64) {
    pan.step += 1;
    let (capacity, free) = (ByteSize(1 << 40), ByteSize(1 << 40));
    let report = Report {
        admission: Admission::FIRST,
        pool: Some(PoolReport { capacity, free, full: false, closed: false, trouble: None, snapshots: Vec::new(), refused: 0, strangers }),
        ..report_of("s1", Role::Storage, 1, pan.step)
    };
    hosts::report(&mut pan.world, pan.now, report).unwrap();
}

fn told(pan: &Pan) -> Vec<String> {
    assert!(pan.world.events.iter().all(|(place, events)| place.is_none() || !events.iter().any(|event| event.reason == "AttachRefused")));
    let events = pan.world.events.get(&None).into_iter().flatten().filter(|event| event.reason == "AttachRefused");
    events.map(|event| event.message.clone()).collect()
}

#[test]
fn a_storm_of_strangers_is_an_event_in_five_minutes() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.rounds(2);
    pan.step += 1_000_000;
    report(&mut pan, 7);
    // What was counted before this controller heard of it was told by another one; its own begins at zero.
    let before = told(&pan).len();
    report(&mut pan, 8);
    for count in 9..5_000 {
        report(&mut pan, count);
    }
    assert!(told(&pan).len() <= before + 1);
    pan.pass(300_000);
    report(&mut pan, 5_000);
    let all = told(&pan);
    assert!(all.last().unwrap().starts_with("storage host s1 turned away 4"), "{all:?}");
    let events = all.len();
    pan.pass(300_000);
    report(&mut pan, 5_000);
    assert_eq!(told(&pan).len(), events, "nobody came");
    report(&mut pan, 1);
    let all = told(&pan);
    assert!(all.len() == events + 1 && all.last().unwrap().contains("turned away 1 connection to"), "a role that began anew: {all:?}");
}
