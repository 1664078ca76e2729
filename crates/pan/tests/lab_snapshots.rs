//! Volumes as they were: snapshots of a database that commits, exported, compared, begun from; and what is left after a loss.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "story/database.rs"]
mod database;
#[path = "story/ledger.rs"]
mod ledger;
mod story;

use database::{BACK, DATABASE, check_whole, database, entries, in_sync};
use pan_lab::harness::TestLab;
use std::process::{Command, Output};
use std::sync::atomic::Ordering;
use story::{Beside, SOON, example, has, json, pan, refused, text, wait_state};

const P: [&str; 2] = ["-p", "postgres"];
const TWIN: &str = "198.18.0.21:5432";

/// A second database on a volume that begins as the first one's.
fn twin() -> String {
    let all = example("postgres.yaml");
    let documents = all.split("\n---\n").filter(|document| !document.contains("kind: Partition"));
    let volume = "api: pan/v1\nkind: Volume\npartition: postgres\nname: copy\nspec: {from: db-1.data@monday}".to_owned();
    let changed = documents.map(|document| {
        let own = "{name: data, size: 2GiB, mount: /srv, copies: 2}";
        document
            .replace("name: db\n", "name: twin\n")
            .replace("cluster: db", "cluster: twin")
            .replace("198.18.0.20", "198.18.0.21")
            .replace(own, "{volume: copy, mount: /srv}")
    });
    [volume].into_iter().chain(changed).collect::<Vec<_>>().join("\n---\n")
}

fn run(lab: &TestLab, what: &str, argv: &[&str]) -> String {
    let output: Output = Command::new(argv[0]).args(&argv[1..]).output().unwrap();
    assert!(output.status.success(), "{what}: {argv:?}: {}{}\n{}", text(&output.stdout), text(&output.stderr), lab.logs());
    text(&output.stdout)
}

/// Serves a copy of a snapshot while it lives.
fn export(lab: &TestLab, copy: &str) -> (Beside, String) {
    let socket = lab.data().join(format!("export-{copy}"));
    let path = socket.to_str().unwrap().to_owned();
    let mut command = lab.pan_command(&[]).unwrap();
    command.args(["volume", "export", "db-1.data@monday", "--socket", &path, "--copy", copy]).args(P);
    let beside = Beside::start(lab, command, &format!("export-{copy}.log"));
    lab.wait_for("the snapshot to be served", SOON, |_| socket.exists()).unwrap();
    (beside, format!("nbd+unix:///?socket={path}"))
}

#[test]
fn a_snapshot_is_what_was_committed_is_the_same_on_all_hosts_and_begins_another_volume() {
    if !(has("qemu-img") && has("nbdcopy")) {
        return;
    }
    let Some((lab, ledger)) = database() else { return };
    let before = ledger.count.load(Ordering::Relaxed);
    pan(&lab, &["volume", "snapshot", "db-1.data@monday", P[0], P[1]]);
    ledger.wait_for_more(&lab, 30, BACK);
    let again = refused(&lab, 1, &["volume", "snapshot", "db-1.data@monday", P[0], P[1]]);
    assert!(again.contains("there is a snapshot db-1.data@monday"), "{again}");

    // All of it is read from each storage host, while the database goes on.
    let ((one, first), (other, second)) = (export(&lab, "0"), export(&lab, "1"));
    let raw = lab.data().join("raw").to_str().unwrap().to_owned();
    run(&lab, "nbdcopy", &["nbdcopy", &first, &raw]);
    run(&lab, "compare with the copy", &["qemu-img", "compare", "-f", "raw", "-F", "raw", &second, &raw]);
    run(&lab, "compare two hosts", &["qemu-img", "compare", "-f", "raw", "-F", "raw", &first, &second]);
    // As after a power failure: the journal is played back, and all is well.
    run(&lab, "the file system", &["sh", "-c", &format!("e2fsck -fy {raw}; [ $? -le 1 ] && e2fsck -fn {raw}")]);
    std::fs::remove_file(&raw).unwrap();
    drop((one, other));
    // Thousands of requests, of which the first few may have come at the same time.
    let lines = json(&lab, &["audit", P[0], P[1]]);
    let reads = |line: &&serde_json::Value| line["verb"] == "read" && line["name"] == "db-1.data@monday";
    assert!((1..=16).contains(&lines.as_array().unwrap().iter().filter(reads).count()), "{lines}");

    story::apply(&lab, "twin.yaml", &twin());
    let (acknowledged, _) = ledger.end();
    let theirs = entries(&lab, TWIN);
    let lost: Vec<&u64> = acknowledged.iter().take(usize::try_from(before).unwrap()).filter(|id| !theirs.contains(id)).collect();
    assert!(lost.is_empty(), "committed before the snapshot, and not in it: {lost:?}");
    assert!(theirs.last() < acknowledged.last(), "what was committed later is not in it");
    check_whole(&lab, TWIN);
    let ours = entries(&lab, DATABASE);
    assert!(acknowledged.iter().all(|id| ours.contains(id)));

    // It lives by itself: without the snapshot, and without the one it began as.
    pan(&lab, &["volume", "snapshot", "db-1.data@monday", "--remove", P[0], P[1]]);
    pan(&lab, &["stop", "db-1", P[0], P[1]]);
    wait_state(&lab, "postgres", "db-1", "stopped");
    pan(&lab, &["volume", "snapshot", "db-1.data@stopped", P[0], P[1]]);
    assert_eq!(json(&lab, &["get", "volume", "db-1.data", P[0], P[1]])["snapshots"][0]["copies"], 2);
    let in_use = refused(&lab, 1, &["delete", "volume", "copy", P[0], P[1]]);
    assert!(in_use.contains("server twin-1 has volume copy"), "{in_use}");
    assert_eq!(entries(&lab, TWIN), theirs);
    pan(&lab, &["start", "db-1", P[0], P[1]]);
    wait_state(&lab, "postgres", "db-1", "running");
    assert_eq!(entries(&lab, DATABASE), ours);
}

#[test]
fn an_accepted_loss_goes_on_with_what_is_left_and_nothing_else_comes_back() {
    let Some((lab, ledger)) = database() else { return };
    let (s1, s2) = (lab.host("s1").unwrap(), lab.host("s2").unwrap());
    let count = || usize::try_from(ledger.count.load(Ordering::Relaxed)).unwrap();
    let early = count();
    lab.kill(s1).unwrap();
    lab.wait_for("a copy to be out of sync", SOON, |lab| !in_sync(lab)).unwrap();
    ledger.wait_for_more(&lab, 30, BACK);
    let late = count();
    lab.kill(s2).unwrap();
    lab.start(s1).unwrap();
    pan(&lab, &["wait", "host", "s1", "--for", "state=alive", "--timeout", "30s"]);
    let recover = ["volume", "recover", "db-1.data", "--accept-data-loss", "db-1.data", P[0], P[1]];
    lab.wait_for("the loss to be seen", BACK, |lab| lab.pan(&recover).unwrap().status.success()).unwrap();
    let (acknowledged, _) = ledger.end();
    let left = entries(&lab, DATABASE);
    assert!(acknowledged[..early].iter().all(|id| left.contains(id)), "what both had on their disks is there");
    assert!(!acknowledged[late - 10..late].iter().any(|id| left.contains(id)), "what only the lost one had is not");
    check_whole(&lab, DATABASE);

    // The lost copy comes back, is given everything anew, and is what the volume is.
    lab.start(s2).unwrap();
    lab.wait_for("both copies to be in sync", BACK, in_sync).unwrap();
    lab.kill(s1).unwrap();
    assert_eq!(entries(&lab, DATABASE), left);
    check_whole(&lab, DATABASE);
}

const AUTHOR: &str = "
api: pan/v1
kind: Partition
name: press
spec: {network: 10.0.0.0/24, hostImage: allow}
---
api: pan/v1
kind: Cluster
partition: press
name: author
spec:
  servers: 1
  image: host
  command: [sleep, infinity]
  volumes: [{name: text, size: 64MiB, mount: /srv}]
";

const READERS: &str = "
api: pan/v1
kind: Volume
partition: press
name: catalogue
spec: {from: author-1.text@first, access: readers-many}
---
api: pan/v1
kind: Cluster
partition: press
name: readers
spec:
  servers: 3
  image: host
  command: [sleep, infinity]
  volumes: [{volume: catalogue, mount: /srv}]
";

#[test]
fn many_servers_read_a_snapshot_and_are_given_the_next_one() {
    let Some(lab) = story::lab_of(database::spec) else { return };
    story::apply(&lab, "author.yaml", AUTHOR);
    let inside = |server: &str, script: &str| lab.pan(&["exec", server, "-p", "press", "--", "sh", "-c", script]).unwrap();
    let write = |words: &str, snapshot: &str| {
        assert!(inside("author-1", &format!("echo {words} >/srv/text; sync /srv/text")).status.success());
        pan(&lab, &["volume", "snapshot", &format!("author-1.text@{snapshot}"), "-p", "press"]);
    };
    write("in the beginning", "first");
    story::apply(&lab, "readers.yaml", READERS);
    let read = |server: &str| text(&inside(server, "cat /srv/text").stdout);
    let readers = ["readers-1", "readers-2", "readers-3"];
    for reader in readers {
        assert_eq!(read(reader), "in the beginning\n");
        let refused = inside(reader, "echo x >/srv/text");
        assert!(!refused.status.success() && text(&refused.stderr).contains("Read-only file system"), "{refused:?}");
    }
    write("in the end", "second");
    assert_eq!(read("readers-1"), "in the beginning\n");
    pan(&lab, &["apply", "-f", &story::write(&lab, "readers.yaml", &READERS.replace("@first", "@second")), "--wait=60s"]);
    for reader in readers {
        lab.wait_for("the next one to be read", BACK, |_| read(reader) == "in the end\n").unwrap();
    }
    lab.wait_for("the first one to be read by nobody", BACK, |lab| {
        lab.pan(&["volume", "snapshot", "author-1.text@first", "--remove", "-p", "press"]).unwrap().status.success()
    })
    .unwrap();
    pan(&lab, &["delete", "cluster", "readers", "-p", "press"]);
    lab.wait_for("what was read to be gone", BACK, |lab| json(lab, &["get", "volume", "-p", "press"]).as_array().unwrap().len() == 2)
        .unwrap();
}
