//! What partitions used: counted once, whoever tells it, however often, and in whatever order.

use super::*;
use pan_api::usage::{Counters, Instance, Metered, Usage};
use pan_controller::core::record::ServerRecord;
use pan_controller::core::usage::{self, Of, PageKey};
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

    /// A server is where it is told to be, and of which cluster.
    fn serve(&mut self, name: &str, cluster: &str, node: &str, epoch: u64) {
        let record = self.world.servers.values().next().unwrap().clone();
        let (node, bound_at) = (Some(host(node)), self.now.wall);
        let record = ServerRecord { cluster: cluster.parse().unwrap(), node, bound_at, epoch: Epoch(epoch), incarnation: 1, ..record };
        self.world.servers.insert(server(name), record);
    }

    /// The node has the server, and says what it used.
    fn runs(&mut self, node: &str, boot: u64, metered: Metered) {
        self.serve("web-1", "web", node, metered.instance.epoch.0);
        self.tells(node, boot, &[metered]);
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

    fn pages(&self) -> Vec<PageKey> {
        let mut found = Vec::new();
        for dirty in &self.world.dirty {
            found.extend(match dirty {
                Dirty::Usage(_, page) => Some(page.clone()),
                _ => None,
            });
        }
        found
    }

    /// What another controller has that reads the store.
    fn follows(&mut self) {
        let stored: Vec<(String, Vec<u8>)> = self
            .world
            .dirty
            .iter()
            .filter(|dirty| matches!(dirty, Dirty::Usage(..)))
            .filter_map(|dirty| {
                let (key, value) = persist::write_of(&self.world, dirty);
                Some((key, value?))
            })
            .collect();
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
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
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
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
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
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
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
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
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
    // When ninety later days have been written to, the first is gone.
    for day in 0..90 {
        assert_eq!(pan.rows().len(), 2 + day, "{day}");
        pan.counts(24 * 3600);
        pan.tells("n1", 7, &[metered("web-1", 5, 15 + day as u64, false)]);
        pan.counts(61);
    }
    pan.counts(24 * 3600);
    assert_eq!((pan.rows().len(), pan.cpu()), (91, 104.0 - 10.0));
}

#[test]
fn a_failover_and_a_boot_begin_counters_of_their_own() {
    let mut pan = Pan::used();
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
    pan.counts(1);
    // Elsewhere, under the next epoch; the node that has it no more tells of the last of it later.
    pan.runs("n2", 8, metered("web-1", 6, 4, false));
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
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
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
        pan.runs("n1", 7, metered("web-1", 10 + life, 1, true));
        pan.counts(1);
    }
    pan.counts(61);
    assert_eq!(pan.cpu(), 500.0);
    pan.counts(2 * 3600);
    pan.runs("n1", 7, metered("web-1", 900, 1, false));
    pan.counts(61);
    let (key, value) =
        persist::write_of(&pan.world, &Dirty::Usage("p".parse().unwrap(), PageKey { of: Of::Cluster("web".parse().unwrap()), day: 0 }));
    assert_eq!(key, "usage/p/web/000000");
    assert!(value.unwrap().len() < 1500, "marks of the dead go");
    assert_eq!(pan.cpu(), 501.0);
}

#[test]
fn what_comes_back_after_a_week_is_not_counted_from_its_beginning() {
    let mut pan = Pan::used();
    pan.serve("web-1", "web", "n1", 5);
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
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
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

#[test]
fn a_node_tells_of_its_own_servers_only() {
    let mut pan = Pan::used();
    pan.serve("web-1", "web", "n1", 5);
    let elsewhere = metered("web-1", 5, 10, true);
    let earlier = metered("web-1", 4, 10, false);
    let mut of_another = metered("web-1", 5, 10, false);
    of_another.cluster = "db".parse().unwrap();
    pan.tells("n2", 8, std::slice::from_ref(&elsewhere));
    pan.tells("n1", 7, &[earlier, of_another, metered("web-2", 5, 10, false)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 0.0);
    assert_eq!(usage::billed(&pan.world, &host("n2")), [elsewhere.instance], "it need not tell it again");
    // Whoever is counted once is listened to when it has moved on, by whoever leads.
    pan.tells("n1", 7, &[metered("web-1", 5, 10, false)]);
    pan.counts(61);
    pan.serve("web-1", "web", "n2", 6);
    pan.world.seen.meter = usage::Meter::default();
    pan.tells("n1", 7, &[metered("web-1", 5, 12, true)]);
    pan.tells("n2", 7, &[metered("web-1", 5, 500, true)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 12.0);
}

#[test]
fn no_more_is_counted_than_a_node_can_do() {
    let mut pan = Pan::used();
    let mut lie = metered("web-1", 5, 0, false);
    lie.used = Counters { cpu_micros: u64::MAX, memory_kib_seconds: u64::MAX, received: u64::MAX, sent: u64::MAX };
    pan.runs("n1", 7, lie.clone());
    pan.counts(3600);
    let hour = pan.rows();
    assert!(hour.iter().map(|row| row.cpu_seconds).sum::<f64>() <= 256.0 * 3700.0, "{hour:?}");
    assert!(hour.iter().map(|row| row.memory_gib_hours).sum::<f64>() <= 4.1, "{hour:?}");
    let told = |pan: &Pan| pan.world.events[&None].iter().filter(|event| event.reason == "UsageDoubted").count();
    assert_eq!(told(&pan), 1);
    pan.counts(61);
    assert_eq!(told(&pan), 1, "once an hour");
    // It ended: what is too much is not counted later either, however often it is told.
    lie.ended = true;
    for _ in 0..50 {
        pan.tells("n1", 7, std::slice::from_ref(&lie));
        pan.counts(61);
    }
    assert!(pan.cpu() <= 256.0 * (3700.0 + 61.0 + 700.0), "{}", pan.cpu());
    assert_eq!(usage::billed(&pan.world, &host("n1")), [lie.instance]);
}

#[test]
fn what_a_clock_hid_from_a_node_that_told_the_truth_is_counted_later() {
    let mut pan = Pan::used();
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
    pan.counts(1);
    // Ten minutes of 64 cores, in half a minute of the leader's.
    pan.tells("n1", 7, &[metered("web-1", 5, 38_410, false)]);
    pan.counts(61);
    assert!(pan.cpu() < 38_000.0, "{}", pan.cpu());
    for _ in 0..3 {
        pan.counts(61);
    }
    assert_eq!(pan.cpu(), 38_410.0);
}

#[test]
fn ten_thousand_servers_that_move_at_once_fit_their_page() {
    const SERVERS: u64 = 10_000;
    let mut pan = Pan::used();
    let name = |number: u64| format!("w{number}-of-those-whose-names-are-as-long-as-may-be-{number}");
    let all = |epoch, seconds, ended| (1..=SERVERS).map(|number| metered(&name(number), epoch, seconds, ended)).collect::<Vec<_>>();
    let bind = |pan: &mut Pan, node: &str, epoch| (1..=SERVERS).for_each(|number| pan.serve(&name(number), "web", node, epoch));
    let counts = |pan: &mut Pan| {
        pan.counts(61);
        for page in pan.pages() {
            let (key, value) = persist::write_of(&pan.world, &Dirty::Usage("p".parse().unwrap(), page));
            assert!(value.unwrap().len() < 7 << 19, "{key} fits a transaction");
        }
    };
    bind(&mut pan, "n1", 5);
    pan.tells("n1", u64::MAX, &all(5, 1, false));
    counts(&mut pan);
    bind(&mut pan, "n2", 6);
    pan.tells("n1", u64::MAX, &all(5, 2, true));
    pan.tells("n2", u64::MAX - 1, &all(6, 1, false));
    counts(&mut pan);
    let written = usage::billed(&pan.world, &host("n1"));
    assert_eq!(written.len(), 10_000, "what ended is written first");
    pan.tells("n1", u64::MAX, &[]);
    for _ in 0..2 {
        counts(&mut pan);
    }
    assert_eq!(pan.cpu(), 30_000.0, "all of it, once");
}

#[test]
fn clusters_that_come_and_go_do_not_fill_the_store() {
    let mut pan = Pan::used();
    for number in 0..3_000 {
        let (cluster, name) = (format!("c{number}"), format!("c{number}-1"));
        pan.serve(&name, &cluster, "n1", 5);
        let mut metered = metered(&name, 5, 1, true);
        metered.cluster = cluster.parse().unwrap();
        pan.tells("n1", 7, &[metered]);
        pan.counts(1);
        pan.world.servers.remove(&server(&name));
    }
    pan.counts(61);
    assert_eq!(pan.cpu(), 3_000.0);
    let pages = pan.pages();
    assert!((1_000..1_300).contains(&pages.len()), "{}", pages.len());
    // One that is counted with the rest today and has a page of its own tomorrow goes on where it was.
    pan.serve("late-1", "late", "n1", 5);
    let late = |seconds| {
        let mut metered = metered("late-1", 5, seconds, false);
        metered.cluster = "late".parse().unwrap();
        metered
    };
    pan.tells("n1", 7, &[late(5)]);
    pan.counts(61);
    pan.counts(24 * 3600);
    pan.follows();
    pan.tells("n1", 7, &[late(7)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 3_007.0);
    let own = pan.rows().into_iter().filter(|row| row.cluster == Some("late".parse().unwrap()));
    assert_eq!(own.map(|row| row.cpu_seconds).collect::<Vec<_>>(), [2.0]);
}

#[test]
fn a_clock_that_jumps_moves_no_bill_and_drops_none() {
    const DAY: i64 = 24 * HOUR;
    let mut pan = Pan::used();
    pan.now.wall += 200 * DAY;
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
    pan.counts(1);
    let right = pan.rows()[0].hour.clone();
    // Five months ahead for some minutes, and set right.
    pan.now.wall += 150 * DAY;
    for second in 0..3 {
        pan.tells("n1", 7, &[metered("web-1", 5, 11 + second, false)]);
        pan.counts(61);
    }
    pan.now.wall -= 150 * DAY;
    pan.tells("n1", 7, &[metered("web-1", 5, 14, false)]);
    pan.counts(61);
    assert_eq!((pan.rows().len(), pan.rows()[0].hour.clone(), pan.cpu()), (1, right.clone(), 14.0));
    // For longer, and nobody else's clock is known: it is believed, and counted on when it is right again.
    pan.now.wall += 150 * DAY;
    for second in 0..20 {
        pan.tells("n1", 7, &[metered("web-1", 5, 15 + second, false)]);
        pan.counts(61);
    }
    pan.now.wall -= 150 * DAY;
    pan.follows();
    for second in 0..20 {
        pan.tells("n1", 7, &[metered("web-1", 5, 35 + second, false)]);
        pan.counts(61);
    }
    assert_eq!((pan.cpu(), pan.rows()[0].hour.clone()), (54.0, right));
    assert!(pan.rows().len() < 5, "{:?}", pan.rows());
}

#[test]
fn where_most_hosts_have_another_time_than_the_leader_it_is_theirs() {
    const DAY: i64 = 24 * HOUR;
    let mut pan = Pan::used();
    for name in ["n1", "n2", "n3", "n4"] {
        pan.world.seen.hosts.get_mut(&host(name)).unwrap().skew = Some(-150 * DAY);
    }
    pan.now.wall += 150 * DAY;
    pan.runs("n1", 7, metered("web-1", 5, 10, false));
    pan.counts(1);
    assert!(pan.rows()[0].hour.starts_with("1970-01-01"), "{:?}", pan.rows());
}

#[test]
fn what_comes_late_is_paid_by_whoever_had_the_name_then() {
    let mut pan = Pan::used();
    pan.rounds(4);
    let former = pan.world.servers.values().next().unwrap().clone();
    let (node, epoch) = (former.node.unwrap(), former.epoch.0);
    pan.tells(node.as_str(), 7, &[metered("web-1", epoch, 10, false)]);
    pan.counts(1);
    pan.ask(Request::Delete { kind: Kind::Partition, partition: None, name: "p".into(), cascade: true }).unwrap();
    pan.rounds(6);
    assert!(!pan.world.partitions.contains_key(&"p".parse().unwrap()));
    pan.apply(&web(1)).unwrap();
    pan.rounds(4);
    pan.counts(3 * 24 * 3600);
    // The node was cut off for days.
    pan.tells(node.as_str(), 7, &[metered("web-1", epoch, 25, true)]);
    let now = pan.world.servers.values().next().unwrap().clone();
    assert!(now.epoch.0 > epoch);
    pan.tells(now.node.unwrap().as_str(), 9, &[metered("web-1", now.epoch.0, 3, false)]);
    pan.counts(61);
    let created = pan.world.partitions[&"p".parse().unwrap()].created;
    let own: f64 =
        pan.world.usage[&"p".parse().unwrap()].rows(&"p".parse().unwrap(), created, i64::MAX).iter().map(|row| row.cpu_seconds).sum();
    assert_eq!((own, pan.cpu()), (3.0, 28.0));
}

#[test]
fn what_ended_is_not_forgotten_before_its_node_has_spoken() {
    let mut pan = Pan::used();
    pan.runs("n1", 7, metered("web-1", 5, 10, true));
    pan.counts(61);
    // All controllers were away for two hours; another node speaks first.
    pan.world.seen.meter = usage::Meter::default();
    pan.serve("web-2", "web", "n2", 5);
    pan.counts(2 * 3600);
    pan.tells("n2", 8, &[metered("web-2", 5, 1, false)]);
    pan.counts(61);
    pan.tells("n1", 7, &[metered("web-1", 5, 10, true)]);
    pan.counts(61);
    assert_eq!(pan.cpu(), 11.0);
}
