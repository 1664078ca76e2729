//! Cut and slow links.

use std::process::{Command, Stdio};
use std::time::Duration;

use pan_lab::harness::TestLab;
use pan_lab::{Direction, LabError, LabHost};
use pan_model::host::Fabric;

use super::{host, ok, pings, up};

pub fn cuts_are_silent_and_heal() {
    let lab = up();
    let n1 = host("n1");
    assert!(pings(&lab, "n2", "10.201.0.11"));
    for direction in [Direction::In, Direction::Out, Direction::Both] {
        lab.cut(n1, Some(Fabric::A), direction).unwrap();
        assert!(!pings(&lab, "n2", "10.201.0.11"), "{direction:?}");
        assert!(pings(&lab, "n2", "10.202.0.11"), "{direction:?}: fabric B is not touched");
        assert_eq!(ok(&lab, "n1", &["cat", "/sys/class/net/fa/carrier"]), "1");
        lab.heal(n1).unwrap();
        assert!(pings(&lab, "n2", "10.201.0.11"), "healed after {direction:?}");
    }
    lab.cut(n1, None, Direction::Out).unwrap();
    let seen = &lab.hosts().unwrap()[1].links;
    assert_eq!((seen.a, seen.b), (Some("out"), Some("out")));
    let refused = lab.cut(LabHost::OUTSIDE, None, Direction::Both);
    assert!(matches!(refused, Err(LabError::NotOnFabric(_))));
}

/// Frames the interface of a host has received so far.
fn received(lab: &TestLab, on: &str, device: &str) -> u64 {
    ok(lab, on, &["cat", &format!("/sys/class/net/{device}/statistics/rx_packets")]).parse().unwrap()
}

pub fn cuts_have_a_direction() {
    let lab = up();
    let n1 = host("n1");
    // Neighbours known beforehand: an unanswered question would hide which way is cut.
    for (on, address) in [("n1", "10.201.0.12"), ("n2", "10.201.0.11")] {
        let known = ok(&lab, if on == "n1" { "n2" } else { "n1" }, &["cat", "/sys/class/net/fa/address"]);
        ok(&lab, on, &["ip", "neigh", "replace", address, "lladdr", &known, "dev", "fa", "nud", "permanent"]);
    }
    for (direction, n1_hears, n2_hears) in [(Direction::In, false, true), (Direction::Out, true, false), (Direction::Both, false, false)] {
        lab.cut(n1, Some(Fabric::A), direction).unwrap();
        let before = [received(&lab, "n1", "fa"), received(&lab, "n2", "fa")];
        assert!(!pings(&lab, "n1", "10.201.0.12") && !pings(&lab, "n2", "10.201.0.11"), "{direction:?}");
        let after = [received(&lab, "n1", "fa"), received(&lab, "n2", "fa")];
        assert_eq!([after[0] > before[0], after[1] > before[1]], [n1_hears, n2_hears], "{direction:?}");
        lab.heal(n1).unwrap();
    }
    assert!(pings(&lab, "n1", "10.201.0.12"));
    // They add up.
    lab.cut(n1, Some(Fabric::A), Direction::In).unwrap();
    lab.cut(n1, Some(Fabric::A), Direction::Out).unwrap();
    assert_eq!(lab.hosts().unwrap()[1].links.a, Some("both"));
}

/// Round trips in milliseconds, in the order of their numbers; none may be missing or out of order.
fn round_trips(lab: &TestLab, on: &str, address: &str, count: usize) -> Vec<f64> {
    let output = ok(lab, on, &["ping", "-c", &count.to_string(), "-i", "0.01", "-W", "5", address]);
    let field = |line: &str, name: &str| Some(line.split_once(name)?.1.split([' ', 'm']).next()?.to_owned());
    let answers: Vec<(usize, f64)> =
        output.lines().filter_map(|line| Some((field(line, "icmp_seq=")?.parse().ok()?, field(line, "time=")?.parse().ok()?))).collect();
    let numbers: Vec<usize> = answers.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "{output}");
    answers.into_iter().map(|(_, time)| time).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

pub fn slow_links_are_slow_and_in_order() {
    let lab = up();
    let n1 = host("n1");
    let changes = || ok(&lab, "n1", &["cat", "/sys/class/net/fa/carrier_changes"]);
    let before = changes();
    assert!(median(round_trips(&lab, "n2", "10.201.0.11", 5)) < 60.0);
    lab.delay(n1, Duration::from_millis(60)).unwrap();
    for address in ["10.201.0.11", "10.202.0.11"] {
        let slow = round_trips(&lab, "n2", address, 20);
        assert!(slow.iter().all(|time| *time >= 60.0), "{address}: {slow:?}");
    }
    assert!(median(round_trips(&lab, "n1", "10.201.0.12", 5)) >= 60.0, "in its own eyes, too");
    assert!(median(round_trips(&lab, "n2", "10.201.0.201", 5)) < 60.0, "the others are as near as before");
    assert_eq!(lab.hosts().unwrap()[1].delay_ms, 60);
    // Long frames in pieces: whatever the host leaves to its card to do must be done.
    ok(&lab, "n1", &["ping", "-c1", "-W5", "-s", "9000", "10.201.0.12"]);
    stream(&lab);

    lab.cut(n1, Some(Fabric::A), Direction::Both).unwrap();
    assert!(!pings(&lab, "n2", "10.201.0.11"), "a slow link can be cut");
    assert!(pings(&lab, "n2", "10.202.0.11"));
    lab.heal(n1).unwrap();
    assert_eq!(lab.hosts().unwrap()[1].delay_ms, 0, "healing takes it back");
    lab.delay(n1, Duration::from_millis(40)).unwrap();
    lab.delay(n1, Duration::from_millis(80)).unwrap();
    assert!(median(round_trips(&lab, "n2", "10.201.0.11", 5)) >= 80.0);
    lab.kill(n1).unwrap();
    lab.start(n1).unwrap();
    assert!(median(round_trips(&lab, "n2", "10.201.0.11", 5)) >= 80.0, "a boot shortens no line");
    let booted = changes();
    lab.delay(n1, Duration::ZERO).unwrap();
    assert!(median(round_trips(&lab, "n2", "10.201.0.11", 5)) < 60.0);
    assert_eq!(changes(), booted, "the host saw no loss of carrier");
    let _ = before;
    let links = Command::new("ip").args(["-n", &format!("pan-{}", lab.name()), "-o", "link"]).output().unwrap();
    let links = String::from_utf8(links.stdout).unwrap();
    assert!(!links.contains("n1-fa-"), "{links}");
    assert!(matches!(lab.delay(LabHost::OUTSIDE, Duration::from_millis(1)), Err(LabError::NotOnFabric(_))));
    assert!(matches!(lab.delay(n1, Duration::from_secs(3600)), Err(LabError::Spec { .. })));
}

/// A megabyte by TCP from n2 to n1 arrives whole.
fn stream(lab: &TestLab) {
    let mut listener = lab.exec(host("n1"), &["iperf3", "-s", "-1"]).unwrap().stdout(Stdio::null()).spawn().unwrap();
    lab.wait_for("the stream to arrive", Duration::from_secs(20), |lab| {
        let sent = lab.exec_in(host("n2"), &["iperf3", "-c", "10.201.0.11", "-n", "1M"]).unwrap();
        sent.status.success()
    })
    .unwrap();
    assert!(listener.wait().unwrap().success());
}
