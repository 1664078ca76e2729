//! What partitions used: counted once, whoever tells it, however often, and in whatever order.

use super::*;
use pan_api::usage::{Counters, Instance, Metered, Usage};
use pan_controller::core::usage;
use pan_model::Epoch;

const HOUR: i64 = 3_600_000_000;

fn metered(name: &str, epoch: u64, cpu_seconds: u64, ended: bool) -> Metered {
    let instance = Instance { key: server(name), epoch: Epoch(epoch), incarnation: 1 };
    let used = Counters {
        cpu_micros: cpu_seconds * 1_000_000,
        memory_kib_seconds: cpu_seconds << 20,
        received: 3 * cpu_seconds,
        sent: cpu_seconds,
    };
    Metered { instance, cluster: "web".parse().unwrap(), began: 1_000_000_000, used, ended }
}

impl Pan {
    fn used() -> Self {
        let mut pan = Self::new();
        pan.apply(&web(1)).unwrap();
        pan.rounds(2);
        pan
    }

    fn tells(&mut self, host_name: &str, boot: u64, all: &[Metered]) {
        usage::heard(&mut self.world, self.now, &host(host_name), boot, all.to_vec());
    }

    /// Lets time pass, and what is due be counted.
    fn counts(&mut self, seconds: i64) {
        self.pass(seconds * 1000);
        usage::advance(&mut self.world, self.now);
    }

    fn rows(&self) -> Vec<Usage> {
        self.world.usage.get(&"p".parse().unwrap()).map(|book| book.rows(&"p".parse().unwrap(), 0, i64::MAX)).unwrap_or_default()
    }

    fn cpu(&self) -> f64 {
        self.rows().iter().map(|row| row.cpu_seconds).sum()
    }

    /// What another controller has that reads the store.
    fn follows(&mut self) {
        let mut stored: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, book) in &self.world.usage {
            for day in 0..3 {
                for cluster in [None, Some("web".parse().unwrap())] {
                    let page = usage::PageKey { cluster, day };
                    if book.page(&page).is_some() {
                        let (key, value) = persist::write_of(&self.world, &Dirty::Usage(name.clone(), page));
                        stored.push((key, value.unwrap()));
                    }
                }
            }
        }
        let before = self.world.usage.clone();
        self.world.usage.clear();
        for (key, value) in &stored {
            persist::load_one(&mut self.world, key, value).unwrap();
        }
        assert_eq!(self.world.usage, before, "what is stored is all there is");
        standing::lead(&mut self.world, self.now);
    }
}

#[test]
fn counters_are_counted_once_however_often_they_are_told() {
    let mut pan = Pan::used();
    pan.tells("n1", 7, &[metered("web-1", 5, 10, false)]);
    pan.counts(1);
    assert_eq!(pan.cpu(), 10.0, "the first is written at once");
    for _ in 0..3 {
        pan.tells("n1", 7, &[metered("web-1", 5, 30, false)]);
        pan.counts(20);
    }
    assert_eq!(pan.cpu(), 30.0);
    // Overtaken, or told by an agent that was restarted and knows less.
    pan.tells("n1", 7, &[metered("web-1", 5, 20, false)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 30.0);
    pan.tells("n1", 7, &[metered("web-1", 5, 35, false)]);
    pan.counts(61);
    let rows = pan.rows();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((rows[0].cpu_seconds, rows[0].received_bytes, rows[0].sent_bytes), (35.0, 105, 35));
    assert!((rows[0].memory_gib_hours - 35.0 / 3600.0).abs() < 1e-9);
}

#[test]
fn a_page_is_written_once_a_minute_and_at_the_hours_end() {
    let mut pan = Pan::used();
    pan.tells("n1", 7, &[metered("web-1", 5, 10, false)]);
    pan.counts(1);
    pan.world.dirty.clear();
    for second in 0..50 {
        pan.tells("n1", 7, &[metered("web-1", 5, 11 + second, false)]);
        pan.counts(1);
    }
    assert!(pan.world.dirty.is_empty(), "{:?}", pan.world.dirty);
    let left = HOUR - pan.now.wall % HOUR;
    pan.pass(left / 1000 - 1000);
    pan.tells("n1", 7, &[metered("web-1", 5, 100, false)]);
    pan.counts(1);
    pan.tells("n1", 7, &[metered("web-1", 5, 107, false)]);
    pan.counts(61);
    let hours: Vec<f64> = pan.rows().iter().map(|row| row.cpu_seconds).collect();
    assert_eq!(hours, [100.0, 7.0], "each hour has what was told in it");
}

#[test]
fn another_leader_goes_on_where_the_last_one_wrote() {
    let mut pan = Pan::used();
    pan.tells("n1", 7, &[metered("web-1", 5, 10, false)]);
    pan.counts(1);
    pan.tells("n1", 7, &[metered("web-1", 5, 25, false)]);
    pan.counts(10);
    assert_eq!(pan.cpu(), 10.0);
    pan.follows();
    pan.tells("n1", 7, &[metered("web-1", 5, 26, false)]);
    pan.counts(1);
    assert_eq!(pan.cpu(), 26.0, "nothing twice, and nothing of what was not written is lost");
}

#[test]
fn the_next_day_begins_with_the_marks_of_the_last() {
    let mut pan = Pan::used();
    pan.tells("n1", 7, &[metered("web-1", 5, 10, false)]);
    pan.counts(1);
    pan.counts(24 * 3600);
    pan.tells("n1", 7, &[metered("web-1", 5, 12, false)]);
    pan.counts(61);
    pan.follows();
    pan.tells("n1", 7, &[metered("web-1", 5, 13, false)]);
    pan.counts(61);
    pan.follows();
    pan.tells("n1", 7, &[metered("web-1", 5, 14, false)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 14.0);
    assert_eq!(pan.rows().len(), 2);
    // Ninety days and one later the first is gone.
    pan.counts(90 * 24 * 3600);
    pan.counts(1);
    assert_eq!(pan.rows().len(), 1, "{:?}", pan.rows());
}

#[test]
fn a_failover_and_a_boot_begin_counters_of_their_own() {
    let mut pan = Pan::used();
    pan.tells("n1", 7, &[metered("web-1", 5, 10, false)]);
    pan.counts(1);
    // Elsewhere, under the next epoch; the node that has it no more tells of the last of it later.
    pan.tells("n2", 8, &[metered("web-1", 6, 4, false)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 14.0);
    pan.tells("n1", 7, &[metered("web-1", 5, 11, true)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 15.0);
    // What was told just before a boot is counted, though the node knows it no more.
    pan.tells("n2", 8, &[metered("web-1", 6, 6, false)]);
    pan.tells("n2", 9, &[metered("web-1", 6, 1, false)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 18.0);
}

#[test]
fn what_ended_is_told_until_it_is_written_down() {
    let mut pan = Pan::used();
    pan.tells("n1", 7, &[metered("web-1", 5, 10, false)]);
    pan.counts(1);
    let last = metered("web-1", 5, 12, true);
    pan.tells("n1", 7, std::slice::from_ref(&last));
    pan.counts(10);
    assert!(usage::billed(&pan.world, &host("n1")).is_empty(), "it is not written yet");
    pan.counts(61);
    assert_eq!(usage::billed(&pan.world, &host("n1")), std::slice::from_ref(&last.instance));
    assert_eq!(orders::all(&pan.world)[&host("n1")].billed, std::slice::from_ref(&last.instance));
    pan.tells("n1", 7, &[]);
    assert!(usage::billed(&pan.world, &host("n1")).is_empty());
    // A report that was overtaken comes to the next leader, which never had the newer one.
    pan.follows();
    pan.tells("n1", 7, &[last]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 12.0);
}

#[test]
fn short_lives_are_counted_and_forgotten() {
    let mut pan = Pan::used();
    for life in 0..500 {
        pan.tells("n1", 7, &[metered("web-1", 10 + life, 1, true)]);
        pan.counts(1);
    }
    pan.counts(61);
    assert_eq!(pan.cpu(), 500.0);
    pan.counts(2 * 3600);
    pan.tells("n1", 7, &[metered("web-1", 900, 1, false)]);
    pan.counts(61);
    let (key, value) = persist::write_of(
        &pan.world,
        &Dirty::Usage("p".parse().unwrap(), usage::PageKey { cluster: Some("web".parse().unwrap()), day: 0 }),
    );
    assert_eq!(key, "usage/p/web/000000");
    assert!(value.unwrap().len() < 1500, "marks of the dead go");
    assert_eq!(pan.cpu(), 501.0);
}

#[test]
fn what_comes_back_after_a_week_is_not_counted_from_its_beginning() {
    let mut pan = Pan::used();
    pan.pass(10 * 24 * 3600 * 1000);
    pan.tells("n1", 7, &[metered("web-1", 5, 1000, false)]);
    pan.counts(61);
    pan.tells("n1", 7, &[metered("web-1", 5, 1003, false)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 3.0);
}

#[test]
fn whoever_has_the_name_next_sees_nothing_of_what_was_before() {
    let mut pan = Pan::used();
    let before = pan.world.partitions[&"p".parse().unwrap()].created;
    assert_eq!(before, usage::hour_of(pan.now.wall));
    pan.tells("n1", 7, &[metered("web-1", 5, 10, false)]);
    pan.counts(1);
    pan.ask(Request::Delete { kind: Kind::Partition, partition: None, name: "p".into(), cascade: true }).unwrap();
    pan.rounds(6);
    assert!(!pan.world.partitions.contains_key(&"p".parse().unwrap()));
    assert_eq!(pan.cpu(), 10.0, "it is still to be paid");
    pan.apply(&web(1)).unwrap();
    assert_eq!(pan.world.partitions[&"p".parse().unwrap()].created, usage::hour_of(pan.now.wall) + HOUR);
}

#[test]
fn volumes_are_counted_by_the_clock_and_through_another_leader() {
    let mut pan = Pan::with_storage(&["s1", "s2", "s3"]);
    pan.apply(volumes::DB).unwrap();
    pan.rounds(3);
    let gib = pan.world.volumes.values().next().unwrap().copies;
    let storage = |pan: &Pan| pan.rows().iter().map(|row| row.storage_gib_hours).sum::<f64>();
    let from = storage(&pan);
    pan.counts(1800);
    pan.follows();
    pan.counts(1800);
    let used = storage(&pan) - from;
    assert!((used - f64::from(gib)).abs() < 0.01, "{used} of {gib}: {:?}", pan.rows());
}
