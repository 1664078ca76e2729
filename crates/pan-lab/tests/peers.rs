//! Other products on the real kernel under the real prober, with this test program in the place of `pan`. Needs
//! root and their packages (`./setup.sh bench`), and takes longer than a test should: only with `PAN_TEST_PEERS`.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use pan_lab::bench::{FailoverCase, FailoverOptions, PeerCase, Report, failover};
use pan_lab::harness;
use pan_lab::prober::{ProbePlan, probe};
use pan_linux::netns::Netns;
use pan_model::Span;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["host-init"] => {
            pan_lab::init::run(pan_lab::init::Machine::Other).unwrap();
            return ExitCode::SUCCESS;
        }
        ["prober", "--target", target, "--every", every, "--timeout", timeout, "--for", length] => {
            prober(target, [every, timeout, length].map(|span| span.parse::<Span>().unwrap().0));
            return ExitCode::SUCCESS;
        }
        // For `a_killed_benchmark_is_swept`: a benchmark to be killed.
        ["bench"] => {
            measure(PeerCase::Keepalived1s, 1000);
            return ExitCode::SUCCESS;
        }
        ["--list", ..] => return ExitCode::SUCCESS,
        _ => {}
    }
    if !harness::can_run() {
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 3] = [
        ("keepalived_hands_its_address_over", keepalived_hands_its_address_over),
        ("a_killed_benchmark_is_swept", a_killed_benchmark_is_swept),
        ("pacemaker_fences_and_takes_over", pacemaker_fences_and_takes_over),
    ];
    // What begins with a dash is for libtest, of which this is none.
    let filter = words.iter().find(|word| !word.starts_with('-'));
    for (name, test) in tests {
        if filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let start = Instant::now();
        test();
        println!("test {name} ... ok ({} ms)", start.elapsed().as_millis());
    }
    ExitCode::SUCCESS
}

fn prober(target: &str, [every, timeout, length]: [Duration; 3]) {
    let plan = ProbePlan { target: target.parse().unwrap(), every, length, timeout };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let line = |sample: &pan_lab::prober::Sample| {
        println!("{}", serde_json::to_string(sample).unwrap());
        Ok(())
    };
    runtime.block_on(probe(plan, line)).unwrap();
}

fn measure(case: PeerCase, runs: u32) -> Report {
    let options = FailoverOptions {
        cases: vec![FailoverCase::Peer(case)],
        runs: Some(runs),
        profile: "lan".to_owned(),
        outage: Duration::ZERO,
        load: Duration::ZERO,
        keep: false,
        exe: std::env::current_exe().unwrap(),
    };
    failover(&options, &AtomicBool::new(false), &mut |line| eprintln!("{line}")).unwrap()
}

/// Others' packages belong to benchmarks, and their failovers take long: these tests run where PAN_TEST_PEERS is set.
fn wanted(program: &str) -> bool {
    let wanted = std::env::var_os("PAN_TEST_PEERS").is_some();
    if !wanted {
        println!("left out: {program} is for `./setup.sh bench` and PAN_TEST_PEERS=1");
    }
    wanted
}

fn sites() -> Vec<String> {
    Netns::list().unwrap().into_iter().filter(|name| name.starts_with("panpeer-")).collect()
}

/// Sites of a process of this machine.
fn sites_of(pid: u32) -> Vec<String> {
    sites().into_iter().filter(|name| name.starts_with(&format!("panpeer-{pid}x"))).collect()
}

fn keepalived_hands_its_address_over() {
    if !Path::new("/usr/sbin/keepalived").exists() {
        let report = measure(PeerCase::Keepalived100ms, 1);
        assert!(!report.is_whole() && report.problems()[0].contains("keepalived"), "{:?}", report.problems());
        return;
    }
    if !wanted("keepalived") {
        return;
    }
    let report = measure(PeerCase::Keepalived100ms, 2);
    assert!(report.is_whole(), "{report:?}");
    let case = &report.cases[0];
    assert_eq!((case.case.as_str(), case.peer.as_str(), case.unit.as_str(), case.runs), ("keepalived-100ms", "keepalived", "ms", 2));
    // Three intervals and a bit, from the last advertisement on, which may have been an interval ago.
    let (least, most) = (200.0, 3000.0);
    assert!(case.samples.iter().all(|gap| (least..most).contains(gap)), "{:?}", case.samples);
    assert!(case.details.iter().all(|run| run.to.as_ref().is_some_and(|to| *to != run.node)), "{:?}", case.details);
    assert!(sites_of(std::process::id()).is_empty(), "{:?}", sites());
}

fn a_killed_benchmark_is_swept() {
    if !wanted("keepalived") {
        return;
    }
    let mut bench = Command::new(std::env::current_exe().unwrap()).arg("bench").spawn().unwrap();
    let pid = bench.id();
    let deadline = Instant::now() + Duration::from_secs(30);
    while sites_of(pid).len() < 4 {
        assert!(Instant::now() < deadline, "no site came up: {:?}", sites());
        std::thread::yield_now();
    }
    bench.kill().unwrap();
    bench.wait().unwrap();
    assert!(!sites_of(pid).is_empty(), "killing a benchmark leaves its site");
    // A benchmark of nothing: it only sweeps.
    let options = FailoverOptions {
        cases: Vec::new(),
        runs: Some(1),
        profile: "lan".to_owned(),
        outage: Duration::ZERO,
        load: Duration::ZERO,
        keep: false,
        exe: std::env::current_exe().unwrap(),
    };
    failover(&options, &AtomicBool::new(false), &mut |line| eprintln!("{line}")).unwrap();
    assert!(sites_of(pid).is_empty(), "{:?}", sites());
}

fn pacemaker_fences_and_takes_over() {
    if !wanted("pacemakerd") {
        return;
    }
    let report = measure(PeerCase::Pacemaker300msFenced, 2);
    assert!(report.is_whole(), "{report:?}");
    assert!(sites_of(std::process::id()).is_empty(), "{:?}", sites());
}
