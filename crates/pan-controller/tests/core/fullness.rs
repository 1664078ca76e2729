//! Disks of storage hosts fill up and have room again: each is told once, also of a disk on the edge.

use super::{Pan, report_of};
use pan_api::report::Report;
use pan_api::volume::PoolReport;
use pan_controller::core::hosts;
use pan_model::host::Role;
use pan_model::{Admission, ByteSize};

fn report(pan: &mut Pan, full: bool) {
    pan.step += 1;
    let (capacity, free) = (ByteSize(1 << 40), ByteSize(if full { 4096 } else { 1 << 30 }));
    let pool = PoolReport { capacity, free, full, closed: false, trouble: None, snapshots: Vec::new(), refused: 0, strangers: 0 };
    let report = Report { admission: Admission::FIRST, pool: Some(pool), ..report_of("s1", Role::Storage, 1, pan.step) };
    hosts::report(&mut pan.world, pan.now, report).unwrap();
}

fn told(pan: &Pan) -> Vec<String> {
    let events = pan.world.events.get(&None).into_iter().flatten();
    let disks = events.filter(|event| event.reason.starts_with("Disk"));
    disks.map(|event| format!("{} {}", event.reason, event.message.split(['(', ')']).nth(1).unwrap_or_default())).collect()
}

#[test]
fn a_full_disk_is_told_once_and_so_is_its_room() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.rounds(2);
    pan.step += 1_000_000;
    report(&mut pan, false);
    assert!(told(&pan).is_empty(), "{:?}", told(&pan));
    // On the edge: room for one write, and not for the next one.
    for second in 0..300 {
        report(&mut pan, second % 7 != 6);
        pan.pass(1_000);
    }
    assert_eq!(told(&pan), ["DiskFull 4KiB free"]);
    report(&mut pan, false);
    pan.pass(59_000);
    report(&mut pan, false);
    assert_eq!(told(&pan).len(), 1, "it may be full again in a moment");
    pan.pass(1_000);
    for _ in 0..3 {
        report(&mut pan, false);
    }
    assert_eq!(told(&pan), ["DiskFull 4KiB free", "DiskHasRoom 1GiB free"]);
    report(&mut pan, true);
    assert_eq!(told(&pan).len(), 3, "another time");
}
