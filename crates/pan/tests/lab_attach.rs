//! A server's volume and the processes around it: each of them is killed, the server moves, its node stands still, and at the end
//! everything is killed at once; no device, mount or process stays where it does not belong. Neither does one when storage is gone for good.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness::{self, TestLab};
use pan_lab::{Disk, Lab, LabHost, LabSpec};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use story::{SOON, json, lab_of, pan, server, str_of, text};

const SHOP: &str = "
api: pan/v1
kind: Partition
name: shop
spec: {network: 10.0.0.0/24, hostImage: allow}
";

/// One server with a volume, in the shop.
fn cluster(name: &str, command: &str, more: &str) -> String {
    let (head, command) = ("---\napi: pan/v1\nkind: Cluster\npartition: shop", format!("[sh, -c, '{command}']"));
    let volumes = "[{name: data, size: 64MiB, mount: /srv, copies: 2}]";
    let spec =
        format!("{{servers: 1, image: host, command: {command}, resources: {{cpu: 100m, memory: 64MiB}}, volumes: {volumes}{more}}}");
    format!("{head}\nname: {name}\nspec: {spec}\n")
}

const DATABASE: &str =
    "echo $PAN_INSTANCE >>/srv/lives; sync /srv/lives; while sleep 0.02; do date >>/srv/log && sync /srv/log || exit 9; done";

fn spec() -> LabSpec {
    LabSpec { nodes: 3, storage: 2, directors: 1, ..harness::spec().unwrap() }
}

fn node(lab: &TestLab) -> LabHost {
    lab.host(str_of(&server(lab, "shop", "db-1"), "node")).unwrap()
}

fn inside(lab: &TestLab, host: LabHost, argv: &[&str]) -> String {
    text(&lab.exec_in(host, argv).unwrap().stdout).trim().to_owned()
}

/// The keeper or, with its option, the worker of the one volume.
fn process(lab: &TestLab, host: LabHost, option: &str) -> String {
    let found = inside(lab, host, &["pgrep", "-f", &format!("head --folder /run/pan/volumes/[0-9]+{option}$")]);
    assert!(!found.is_empty() && !found.contains('\n'), "one head{option}: {found:?}\n{}", lab.logs());
    found
}

fn kill(lab: &TestLab, host: LabHost, pids: &[&str]) {
    let done = lab.exec_in(host, &[&["kill", "-9"], pids].concat()).unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
}

fn wait_restarts(lab: &TestLab, restarts: u64) {
    let is = |lab: &TestLab| {
        let now = server(lab, "shop", "db-1");
        now["state"] == "running" && now["restarts"] == restarts
    };
    lab.wait_for(&format!("a server that was restarted {restarts} times"), SOON, is).unwrap();
    // And that writes.
    let mut before = None;
    let grows = |lab: &TestLab| {
        // Its node's agent may be on its way.
        let said = lab.pan(&["exec", "db-1", "-p", "shop", "--", "wc", "-l", "/srv/log"]).unwrap();
        let now = said.status.success().then(|| text(&said.stdout));
        let grows = now.is_some() && before.is_some() && now != before;
        before = before.take().or(now);
        grows
    };
    lab.wait_for("another line in its log", SOON, grows).unwrap();
}

/// Nothing of a volume is on a host.
fn wait_bare(lab: &TestLab, host: LabHost) {
    let left = |lab: &TestLab| {
        let folders = inside(lab, host, &["ls", "/run/pan/volumes"]);
        let mounts = inside(lab, host, &["grep", "/run/pan/volumes", "/proc/mounts"]);
        let heads = inside(lab, host, &["pgrep", "-f", "head --folder [/]run/pan/volumes"]);
        let groups = inside(lab, host, &["find", "/sys/fs/cgroup", "-path", "*/panloom-volumes/*", "-type", "d"]);
        [folders, mounts, heads, groups].concat()
    };
    lab.wait_for(&format!("{host} without volumes"), SOON, |lab| left(lab).is_empty()).unwrap();
}

/// The files behind the loop devices of this machine that are volumes of hosts.
fn devices() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path().join("loop/backing_file"));
    let names = entries.filter_map(|file| std::fs::read_to_string(file).ok()?.trim_end().rsplit('/').next().map(str::to_owned));
    names.filter(|name| name.starts_with("pan-") && name.matches('-').count() == 2).collect()
}

/// The files behind the devices of the volumes of a host, one a line.
fn device(lab: &TestLab, host: LabHost) -> String {
    inside(lab, host, &["sh", "-c", "grep -oh 'pan-[0-9]*-[0-9a-f]\\{16\\}' /run/pan/volumes/*/order.json"])
}

#[test]
fn a_volume_outlives_what_may_die_and_leaves_with_its_server() {
    let Some(lab) = lab_of(spec) else { return };
    story::apply(&lab, "database.yaml", &[SHOP, &cluster("db", DATABASE, "")].concat());
    let host = node(&lab);

    // Both processes are in a group of their own.
    for option in ["", " --serve"] {
        let groups = inside(&lab, host, &["cat", &format!("/proc/{}/cgroup", process(&lab, host, option))]);
        assert!(groups.lines().all(|line| line.contains(":/panloom-volumes/")), "{groups}");
    }

    // Another worker goes on under the server; without its keeper the volume is lost, and had anew.
    kill(&lab, host, &[&process(&lab, host, " --serve")]);
    lab.wait_for("another worker", SOON, |lab| !inside(lab, host, &["pgrep", "-f", "head --folder [/]run/.*--serve-again$"]).is_empty())
        .unwrap();
    wait_restarts(&lab, 0);
    kill(&lab, host, &[&process(&lab, host, "")]);
    wait_restarts(&lab, 1);
    let events = pan(&lab, &["events", "-A"]);
    assert!(events.contains("HeadLost: volume db-1.data: the keeper of its head is gone"), "{events}");

    // An agent is followed by one that goes on, or that clears up if the keeper died with it.
    let agent = lab.kill_role(host, "node").unwrap();
    lab.wait_for("a new agent", SOON, |lab| lab.role_pid(host, "node").is_ok_and(|pid| pid != agent)).unwrap();
    wait_restarts(&lab, 1);
    let agent = inside(&lab, host, &["pgrep", "-f", "pan node --config"]);
    kill(&lab, host, &[&agent, &process(&lab, host, "")]);
    wait_restarts(&lab, 2);

    // It leaves in order, and from a node that stood still while it was lost.
    pan(&lab, &["node", "drain", &host.to_string()]);
    lab.wait_for("the server to move", SOON, |lab| node(lab) != host).unwrap();
    wait_restarts(&lab, 0);
    wait_bare(&lab, host);
    let frozen = node(&lab);
    lab.freeze(frozen).unwrap();
    lab.wait_for("the server to run elsewhere", SOON, |lab| node(lab) != frozen).unwrap();
    wait_restarts(&lab, 0);
    lab.thaw(frozen).unwrap();
    wait_bare(&lab, frozen);
    let lives = pan(&lab, &["exec", "db-1", "-p", "shop", "--", "wc", "-l", "/srv/lives"]);
    assert!(lives.starts_with("5 "), "one line for each start: {lives}");
    assert_eq!(json(&lab, &["get", "volume", "db-1.data", "-p", "shop"])["inSync"], 2);

    // Everything dies at once, and the machine is as it was.
    let device = device(&lab, node(&lab));
    assert!(devices().contains(&device), "{device}: {:?}", devices());
    let all: Vec<String> = lab.hosts().unwrap().into_iter().flat_map(|host| host.pids).map(|pid| pid.to_string()).collect();
    // Some are gone before it is their turn.
    let _ = Command::new("kill").arg("-9").args(&all).stderr(Stdio::null()).status().unwrap();
    let name = lab.name().clone();
    drop(lab);
    assert!(!Lab::down(&name).unwrap(), "something was left");
    assert!(!devices().contains(&device), "its device is left: {:?}", devices());
}

/// The only storage host loses its power, and with it the head that would have known what is missing.
#[test]
fn a_server_does_not_go_on_without_what_was_acknowledged_to_it() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 2, storage: 1, directors: 1, ..harness::spec().unwrap() }) else { return };
    story::apply(&lab, "database.yaml", &[SHOP, &cluster("db", DATABASE, "").replace("copies: 2", "copies: 1")].concat());
    wait_restarts(&lab, 0);
    let (host, storage) = (node(&lab), lab.host("s1").unwrap());
    // With its storage away and back it waits, and is told nothing; unless something was acknowledged that is gone.
    lab.kill(storage).unwrap();
    kill(&lab, host, &[&process(&lab, host, " --serve")]);
    lab.start(storage).unwrap();
    wait_restarts(&lab, 1);
    let events = pan(&lab, &["events", "-A"]);
    assert!(events.contains("HeadLost: volume db-1.data: the only replica left, #1, was restarted and may have lost"), "{events}");
    assert_eq!(node(&lab), host);
}

/// Puts every line on its volume before it says so.
const TOLD: &str = "i=0; while sleep 0.02; do i=$((i+1)); echo $i >>/srv/log && sync /srv/log && echo $i || exit 9; done";
/// Never does.
const LAZY: &str = r#"trap "exit 0" TERM; while sleep 0.1; do date >>/srv/notes; done"#;

/// As `pan_node::volume` has it: nothing gets done for so long.
const STILL_MAX: Duration = Duration::from_secs(20);

#[test]
fn servers_whose_storage_is_gone_stop_in_time_and_leave_nothing() {
    let Some(lab) = lab_of(spec) else { return };
    story::apply(&lab, "two.yaml", &[SHOP, &cluster("db", TOLD, ", stop: {grace: 1s}"), &cluster("lazy", LAZY, "")].concat());
    let (db, lazy) = (node(&lab), lab.host(str_of(&server(&lab, "shop", "lazy-1"), "node")).unwrap());
    let files: BTreeSet<String> =
        [db, lazy].iter().flat_map(|host| device(&lab, *host).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| devices().contains(file)), "{files:?}: {:?}", devices());
    let said = |lab: &TestLab| pan(lab, &["logs", "db-1", "-p", "shop"]).lines().last().map(str::to_owned);
    lab.wait_for("a line that was put on the volume", SOON, |lab| said(lab).is_some()).unwrap();
    for storage in ["s1", "s2"] {
        lab.kill(lab.host(storage).unwrap()).unwrap();
    }
    let waits = |lab: &TestLab, host| !inside(lab, host, &["pgrep", "-r", "D"]).is_empty();
    lab.wait_for("somebody whom no signal reaches", SOON, |lab| waits(lab, db)).unwrap();
    let acknowledged = said(&lab).unwrap();

    // Both stop, and it is said what became of them.
    let begun = Instant::now();
    pan(&lab, &["scale", "cluster", "db", "0", "-p", "shop"]);
    pan(&lab, &["delete", "cluster", "lazy", "-p", "shop"]);
    let servers = |lab: &TestLab| json(lab, &["get", "server", "-p", "shop"]).as_array().map_or(0, Vec::len);
    lab.wait_for("both servers to be gone", 3 * STILL_MAX, |lab| servers(lab) == 0).unwrap();
    let took = begun.elapsed();
    println!("both were gone {} ms after they were told to stop", took.as_millis());
    assert!(took > STILL_MAX, "storage had its time: {took:?}");
    // Its grace is 10 s; and this machine may be busy.
    assert!(took < STILL_MAX + Duration::from_secs(25), "{took:?}");
    let events = pan(&lab, &["events", "-A"]);
    for name in ["db-1", "lazy-1"] {
        let expected = format!("was stopped by force: volume {name}.data: its storage did nothing for 20 s");
        assert!(events.contains(&expected), "{expected} in\n{events}");
    }
    for host in [db, lazy] {
        wait_bare(&lab, host);
        assert_eq!(inside(&lab, host, &["ls", "/run/pan/servers"]), "");
        assert!(!waits(&lab, host));
    }
    assert!(!files.iter().any(|file| devices().contains(file)), "{files:?}: {:?}", devices());

    // What was acknowledged is there when storage comes back after all.
    for storage in ["s1", "s2"] {
        lab.start(lab.host(storage).unwrap()).unwrap();
    }
    pan(&lab, &["scale", "cluster", "db", "1", "-p", "shop"]);
    story::wait_state(&lab, "shop", "db-1", "running");
    pan(&lab, &["exec", "db-1", "-p", "shop", "--", "grep", "-qx", &acknowledged, "/srv/log"]);
}

/// As `pan_node::volume` has it: a host tries for so long.
const UNFIT_MAX: Duration = Duration::from_secs(10);

/// No node that could take the server can make a note on its disk, and then one can.
#[test]
fn a_failover_onto_a_node_whose_disk_is_full_ends_on_another_one() {
    let Some(lab) = lab_of(spec) else { return };
    story::apply(&lab, "database.yaml", &[SHOP, &cluster("db", TOLD, "")].concat());
    let (first, said) = (node(&lab), |lab: &TestLab| pan(lab, &["logs", "db-1", "-p", "shop"]).lines().last().map(str::to_owned));
    lab.wait_for("a line that was put on the volume", SOON, |lab| said(lab).is_some()).unwrap();
    let acknowledged = said(&lab).unwrap();
    let others: Vec<LabHost> = ["n1", "n2", "n3"].into_iter().map(|name| lab.host(name).unwrap()).filter(|host| *host != first).collect();
    for host in &others {
        lab.disk(*host, Disk::Full).unwrap();
    }
    lab.kill(first).unwrap();
    lab.wait_for("the server to have another place", SOON, |lab| node(lab) != first).unwrap();
    let full = node(&lab);
    let free = *others.iter().find(|host| **host != full).unwrap();
    let events = |lab: &TestLab| pan(lab, &["events", "-A"]);
    let given_up = |lab: &TestLab| {
        let state = server(lab, "shop", "db-1")["state"].clone();
        assert_ne!(state, "running", "nothing of it can be there");
        events(lab).lines().any(|line| line.contains("Failed") && line.contains("db-1") && line.contains("No space left on device"))
    };
    lab.wait_for("the node to give it up, with the reason", UNFIT_MAX + SOON, given_up).unwrap();
    lab.disk(free, Disk::Ok).unwrap();
    lab.wait_for("it to run where there is room", UNFIT_MAX + 3 * SOON, |lab| {
        let now = server(lab, "shop", "db-1");
        now["state"] == "running" && str_of(&now, "node") == free.to_string()
    })
    .unwrap();
    pan(&lab, &["exec", "db-1", "-p", "shop", "--", "grep", "-qx", &acknowledged, "/srv/log"]);
    lab.wait_for("another line in its log", SOON, |lab| said(lab).is_some_and(|line| line != acknowledged)).unwrap();
}
