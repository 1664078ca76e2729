//! A role that stood still and was started again is told of once, whoever leads.

use super::{Pan, report_of};
use pan_api::report::{Report, Restarted};
use pan_controller::core::hosts;
use pan_model::host::Role;

fn report(pan: &mut Pan, at: i64) {
    pan.step += 1;
    let restarted = Some(Restarted { at, silent_ms: 12_345 });
    let report = Report { restarted, ..report_of("s1", Role::Storage, 1, pan.step) };
    hosts::report(&mut pan.world, pan.now, report).unwrap();
}

fn told(pan: &Pan) -> Vec<&str> {
    let events = pan.world.events.get(&None).into_iter().flatten();
    events.filter(|event| event.reason == "RoleRestarted").map(|event| event.message.as_str()).collect()
}

#[test]
fn each_restart_is_told_once() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.rounds(2);
    pan.step += 1_000_000;
    for _ in 0..3 {
        report(&mut pan, 1_000_000);
    }
    let words =
        "role storage of host s1 was started again at 1970-01-01T00:00:01.000000Z: the process before it gave no sign of life for 12 s";
    assert!(matches!(told(&pan).as_slice(), [only] if only.starts_with(words)), "{:?}", told(&pan));
    // The next leader knows the events, and hears the report for the first time.
    pan.world.seen.hosts.clear();
    report(&mut pan, 1_000_000);
    assert_eq!(told(&pan).len(), 1);
    report(&mut pan, 2_000_000);
    assert_eq!(told(&pan).len(), 2, "another time");
}
