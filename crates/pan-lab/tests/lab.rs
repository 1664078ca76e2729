//! Labs on the real kernel, with this test program in the place of `pan`: its init is the real one, its
//! roles only sit there (the controller answers on the socket it was handed). Needs root.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pan_lab::harness::{self, TestLab};
use pan_lab::init::Machine;
use pan_lab::{Disk, Lab, LabError, LabHost, LabSpec, Power};
use pan_linux::netns::Netns;

#[path = "lab/chaos.rs"]
mod chaos;
#[path = "lab/disks.rs"]
mod disks;
#[path = "lab/links.rs"]
mod links;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["host-init"] => return finish(pan_lab::init::run(Machine::Other)),
        ["host-init", "--config", file] => return finish(pan_lab::init::run(Machine::Host(Path::new(file)))),
        ["lab-relay", "--name", lab, "--each-way-us", micros] => return relay(lab, micros),
        ["lab-heir", "--name", lab] => return pan_lab::heir::wait(&lab.parse().unwrap()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        ["controller", ..] => return controller(),
        ["node" | "storage" | "director" | "beat", ..] => std::thread::sleep(Duration::from_secs(600)),
        ["--list", ..] => return ExitCode::SUCCESS,
        ["in-pure-v2"] => return in_pure_v2(),
        _ => {}
    }
    if !harness::can_run() {
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 13] = [
        ("hosts_have_their_links_and_roles", hosts_have_their_links_and_roles),
        ("cuts_are_silent_and_heal", links::cuts_are_silent_and_heal),
        ("cuts_have_a_direction", links::cuts_have_a_direction),
        ("slow_links_are_slow_and_in_order", links::slow_links_are_slow_and_in_order),
        ("a_full_disk_takes_nothing_more", disks::a_full_disk_takes_nothing_more),
        ("a_failed_disk_fails_until_it_is_well", disks::a_failed_disk_fails_until_it_is_well),
        ("an_address_with_two_owners_is_found", chaos::an_address_with_two_owners_is_found),
        ("power_cut_and_boot", power_cut_and_boot),
        ("freeze_and_add", freeze_and_add),
        ("labs_stand_side_by_side", labs_stand_side_by_side),
        ("down_works_when_all_is_broken", down_works_when_all_is_broken),
        ("labs_live_on_pure_cgroup_v2", labs_live_on_pure_cgroup_v2),
        ("this_machine_reaches_the_outside", this_machine_reaches_the_outside),
    ];
    // What begins with a dash is for libtest, of which this is none.
    let filter = words.iter().find(|word| !word.starts_with('-'));
    let mut passed = 0;
    for (name, test) in tests {
        if filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let start = Instant::now();
        test();
        println!("test {name} ... ok ({} ms)", start.elapsed().as_millis());
        passed += 1;
    }
    println!("test result: ok. {passed} passed; 0 failed");
    ExitCode::SUCCESS
}

fn finish(outcome: Result<(), pan_lab::init::InitError>) -> ExitCode {
    if let Err(error) = &outcome {
        eprintln!("{error}");
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn relay(lab: &str, micros: &str) -> ExitCode {
    pan_lab::relay::run(&lab.parse().unwrap(), Duration::from_micros(micros.parse().unwrap())).unwrap();
    ExitCode::SUCCESS
}

fn controller() -> ExitCode {
    let socket = pan_linux::process::take_listen_fds().unwrap().remove(0);
    let listener = std::net::TcpListener::from(socket);
    for stream in listener.incoming() {
        stream.unwrap().write_all(std::process::id().to_string().as_bytes()).unwrap();
    }
    ExitCode::SUCCESS
}

fn spec() -> LabSpec {
    LabSpec { nodes: 2, directors: 1, ..harness::spec_with(std::env::current_exe().unwrap()).unwrap() }
}

fn up() -> TestLab {
    TestLab::with(spec()).unwrap()
}

fn host(name: &str) -> LabHost {
    name.parse().unwrap()
}

fn ok(lab: &TestLab, on: &str, argv: &[&str]) -> String {
    let output = lab.exec_in(host(on), argv).unwrap();
    assert!(output.status.success(), "{on}: {argv:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn pings(lab: &TestLab, on: &str, address: &str) -> bool {
    let argv = ["ping", "-c1", "-W1", address];
    lab.exec_in(host(on), &argv).unwrap().status.success()
}

fn api(lab: &Lab) -> u32 {
    let url = lab.credentials().unwrap().url;
    let mut said = String::new();
    let mut stream = TcpStream::connect(url.strip_prefix("https://").unwrap()).unwrap();
    stream.read_to_string(&mut said).unwrap();
    // One that is just being killed may take a connection and say nothing.
    said.parse().unwrap_or(0)
}

fn hosts_have_their_links_and_roles() {
    let lab = up();
    let hosts = lab.hosts().unwrap();
    let names: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    assert_eq!(names, ["c1", "n1", "n2", "d1", "outside"]);
    assert!(hosts.iter().all(|host| host.power == Power::On && !host.frozen));
    for address in ["10.201.0.12", "10.202.0.12", "10.203.0.12", "10.201.0.1", "10.201.0.201"] {
        assert!(pings(&lab, "n1", address), "{address}");
    }
    for address in ["198.18.0.241", "fd18::241"] {
        assert!(pings(&lab, "outside", address), "{address}");
    }
    assert!(!pings(&lab, "outside", "10.201.0.11"));
    assert_eq!(ok(&lab, "n1", &["hostname"]), "n1");
    assert_eq!(ok(&lab, "n1", &["ip", "-o", "-4", "addr", "show", "lo"]).matches("10.200.0.11/32").count(), 1);

    lab.wait_for("all roles", Duration::from_secs(10), |lab| {
        lab.hosts().unwrap().iter().map(|host| host.pids.len()).sum::<usize>() == 5 + 4 + 4
    })
    .unwrap();
    for pid in lab.hosts().unwrap().iter().flat_map(|host| &host.pids) {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let expected = format!("PAN_LAB={}", lab.name());
        assert!(environment.split(|b| *b == 0).any(|entry| entry == expected.as_bytes()), "{pid}");
    }
    let before = api(&lab);
    lab.kill_role(host("c1"), "controller").unwrap();
    lab.wait_for("a new controller on the same socket", Duration::from_secs(10), |lab| ![0, before].contains(&api(lab))).unwrap();
    let unknown = lab.kill_role(host("n1"), "controller");
    assert!(matches!(unknown, Err(LabError::NoSuchRole { .. })), "{unknown:?}");
    assert!(lab.log(host("n1"), "beat").exists());
    let key = std::fs::metadata(lab.data().join("pki/ca.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    let text = ok(&lab, "c1", &["cat", "/var/lib/pan/etc/host.yaml"]);
    assert!(text.contains("adminTokenSha256") && text.contains("10.201.0.1/16"), "{text}");
    assert!(matches!(lab.host("n7"), Err(LabError::NoSuchHost { .. })));
}

fn shell(lab: &TestLab, on: &str, script: &str) -> (bool, String) {
    let output = lab.exec_in(host(on), &["sh", "-c", script]).unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn power_cut_and_boot() {
    let lab = up();
    let n1 = host("n1");
    ok(&lab, "n1", &["sh", "-c", "echo old >/var/lib/pan/disk; echo gone >/run/memory; ip link add left type bridge"]);
    assert!(pings(&lab, "n2", "10.201.0.11"));
    lab.kill(n1).unwrap();
    let off = lab.hosts().unwrap().remove(1);
    assert_eq!((off.power, off.pids.len(), off.netns), (Power::Off, 0, None));
    assert!(!pings(&lab, "n2", "10.201.0.11"));
    assert!(matches!(lab.exec(n1, &["true"]), Err(LabError::PoweredOff(_))));
    assert!(matches!(lab.kill(n1), Err(LabError::PoweredOff(_))));

    lab.start(n1).unwrap();
    assert!(matches!(lab.start(n1), Err(LabError::PoweredOn(_))));
    assert!(pings(&lab, "n2", "10.201.0.11"), "with its old Ethernet address");
    assert_eq!(ok(&lab, "n1", &["cat", "/var/lib/pan/disk"]), "old");
    assert!(!lab.exec_in(n1, &["cat", "/run/memory"]).unwrap().status.success());
    assert!(!lab.exec_in(n1, &["ip", "link", "show", "left"]).unwrap().status.success());

    let (url, before) = (lab.credentials().unwrap().url, api(&lab));
    lab.kill(host("c1")).unwrap();
    lab.start(host("c1")).unwrap();
    assert_eq!(lab.credentials().unwrap().url, url);
    api(&lab);
    let _ = before;
}

fn freeze_and_add() {
    let lab = up();
    let n1 = host("n1");
    lab.freeze(n1).unwrap();
    assert!(lab.hosts().unwrap()[1].frozen);
    assert!(lab.exec(n1, &["true"]).is_err(), "whoever enters would freeze too");
    assert!(pings(&lab, "n2", "10.201.0.11"), "its kernel goes on");
    lab.thaw(n1).unwrap();
    assert_eq!(ok(&lab, "n1", &["echo", "awake"]), "awake");
    lab.freeze(n1).unwrap();
    lab.heal(n1).unwrap();
    assert!(!lab.hosts().unwrap()[1].frozen);
    lab.freeze(n1).unwrap();
    lab.kill(n1).unwrap();

    let added = lab.add_node().unwrap();
    assert_eq!(added, host("n3"));
    assert!(pings(&lab, "n2", "10.201.0.13"));
    assert_eq!(lab.hosts().unwrap().len(), 6);
}

fn labs_stand_side_by_side() {
    let (one, two) = (up(), up());
    ok(&one, "n1", &["sh", "-c", "echo one >/var/lib/pan/mine"]);
    assert!(!two.exec_in(host("n1"), &["cat", "/var/lib/pan/mine"]).unwrap().status.success());
    assert!(!ok(&two, "n1", &["cat", "/proc/self/mountinfo"]).contains(one.name().as_str()));
    drop(one);
    assert!(pings(&two, "n2", "10.201.0.11"));
    // The same name again is the same lab, also when asked for from several sides at once.
    let again = LabSpec { name: two.name().clone(), data: two.data().to_path_buf(), ..spec() };
    let before: Vec<_> = two.hosts().unwrap().into_iter().map(|host| host.pids).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| Lab::up(again.clone(), &mut |_| {}).unwrap());
        }
    });
    let after: Vec<_> = two.hosts().unwrap().into_iter().map(|host| host.pids).collect();
    assert_eq!(before, after);
}

fn down_works_when_all_is_broken() {
    let spec = spec();
    let (name, data) = (spec.name.clone(), spec.data.clone());
    let lab = Lab::up(spec, &mut |_| {}).unwrap();
    assert!(!harness::leftovers(name.as_str(), &data).is_empty(), "the check sees a running lab");
    lab.freeze(host("n2")).unwrap();
    lab.delay(host("n1"), Duration::from_millis(10)).unwrap();
    lab.disk(host("n1"), Disk::Failed).unwrap();
    lab.disk(host("c1"), Disk::Full).unwrap();
    for pid in lab.hosts().unwrap().iter().flat_map(|host| &host.pids) {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    std::fs::write(data.join("lab.json"), "{ damaged").unwrap();
    assert!(matches!(Lab::load(&name), Err(LabError::State { .. })));
    assert!(Lab::down(&name).unwrap());
    assert_eq!(harness::leftovers(name.as_str(), &data), Vec::<String>::new());
    assert!(!Lab::down(&name).unwrap(), "nothing left to do");
    assert!(matches!(Lab::load(&name), Err(LabError::NoSuchLab { .. })));
}

/// A mount namespace in which this machine, which has both kinds of control groups, seems to have v2 only.
fn labs_live_on_pure_cgroup_v2() {
    if !Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists() {
        println!("this machine has one kind of control groups: all tests run on it");
        return;
    }
    let script = "mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup && exec \"$0\" in-pure-v2";
    let exe = std::env::current_exe().unwrap();
    let run = Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(exe).output().unwrap();
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}

fn in_pure_v2() -> ExitCode {
    let offered = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let missing: Vec<&str> =
        ["cpu", "memory", "pids"].into_iter().filter(|one| !offered.split_whitespace().any(|has| has == *one)).collect();
    if !missing.is_empty() {
        let refused = TestLab::with(spec()).map(drop).unwrap_err().to_string();
        assert!(refused.contains(&missing.join(", ")), "{refused}");
    }
    let spec = LabSpec { nodes: 0, directors: 2, ..spec() };
    let (name, data) = (spec.name.clone(), spec.data.clone());
    let lab = TestLab::with(spec).unwrap();
    let d1 = host("d1");
    assert_eq!(ok(&lab, "d1", &["stat", "-f", "-c", "%T", "/sys/fs/cgroup"]), "cgroup2fs");
    assert_eq!(ok(&lab, "d1", &["cat", "/proc/1/cgroup"]).lines().last().unwrap(), "0::/init");
    assert!(pings(&lab, "d2", "10.201.0.201"));
    lab.freeze(d1).unwrap();
    assert!(lab.hosts().unwrap()[1].frozen && lab.exec(d1, &["true"]).is_err());
    lab.thaw(d1).unwrap();
    assert_eq!(ok(&lab, "d1", &["echo", "awake"]), "awake");
    lab.delay(d1, Duration::from_millis(10)).unwrap();
    lab.kill(d1).unwrap();
    lab.start(d1).unwrap();
    assert!(pings(&lab, "d2", "10.201.0.201"));
    drop(lab);
    assert_eq!(harness::leftovers(name.as_str(), &data), Vec::<String>::new());
    ExitCode::SUCCESS
}

/// In a namespace that plays the machine, so that the real one's network is left alone.
fn this_machine_reaches_the_outside() {
    let machine = Netns::create(&format!("pt{}-machine", std::process::id())).unwrap();
    let body = || {
        Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        let linked = || TestLab::with(LabSpec { machine_link: true, ..spec() }).unwrap();
        let (first, second) = (linked(), linked());
        let reach = |lab: &TestLab| lab.reach().unwrap().unwrap().to_string();
        assert_eq!((reach(&first), reach(&second)), ("198.18.0.0/24".into(), "198.19.1.0/24".into()));
        assert_eq!(first.credentials().unwrap().url, "https://127.0.0.1:7070");
        assert_eq!(second.credentials().unwrap().url, "https://127.0.0.1:7071");
        let pings = |address: &str| {
            let ping = Command::new("ping").args(["-c1", "-W1", address]).output().unwrap();
            ping.status.success()
        };
        for address in ["198.18.0.250", "fd18::250", "198.19.1.250", "198.19.1.241"] {
            assert!(pings(address), "{address}");
        }
        let config = ok(&second, "c1", &["cat", "/var/lib/pan/etc/host.yaml"]);
        assert!(config.contains("198.19.1.0/24"), "{config}");
        second.kill(LabHost::OUTSIDE).unwrap();
        assert!(!pings("198.19.1.250") && pings("198.18.0.250"), "each address leads to its own lab");
        drop(first);
        let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
        let links = String::from_utf8(links.stdout).unwrap();
        assert_eq!(links.lines().filter(|line| line.contains(": pan")).count(), 1, "{links}");
    };
    let outcome = machine.run(|| std::panic::catch_unwind(body)).unwrap();
    Netns::remove(&format!("pt{}-machine", std::process::id())).unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
