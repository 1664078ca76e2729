//! Storage hosts: known, heard, reachable over both fabrics, and reporting.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness;
use pan_lab::{Direction, Disk, LabSpec};
use pan_model::host::Fabric;
use serde_json::json;
use std::time::Duration;
use story::{SOON, json, lab_of, pan, refused, str_of, text, write};

const WITH_VOLUME: &str = "api: pan/v1\nkind: Partition\nname: vol\nspec: {network: 10.0.0.0/24, hostImage: allow}\n---\napi: pan/v1\nkind: Cluster\npartition: vol\nname: db\nspec:\n  servers: 1\n  image: host\n  command: [sleep, inf]\n  volumes: [{name: data, size: 1GiB, mount: /srv, copies: 2}]\n";

#[test]
fn storage_hosts_are_hosts() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 2, storage: 2, directors: 1, ..harness::spec().unwrap() }) else { return };
    let names: Vec<String> = lab.hosts().unwrap().iter().map(|host| format!("{} {}", host.name, host.role)).collect();
    assert_eq!(names, ["c1 controller", "n1 node", "n2 node", "s1 storage", "s2 storage", "d1 director", "outside outside"]);
    for name in ["s1", "s2"] {
        let up = json!({"a": "up", "b": "up"});
        lab.wait_for("the storage host to be heard on both fabrics", SOON, |lab| {
            let host = json(lab, &["get", "host", name]);
            host["state"] == "alive" && host["fabrics"] == up
        })
        .unwrap();
        assert_eq!(json(&lab, &["get", "host", name])["roles"], json!(["storage"]));
    }
    let s1 = lab.host("s1").unwrap();
    lab.wait_for("routes over both fabrics", SOON, |lab| {
        let route = text(&lab.exec_in(s1, &["ip", "route", "show", "10.200.0.102"]).unwrap().stdout);
        route.contains("dev fa") && route.contains("dev fb")
    })
    .unwrap();
    lab.cut(s1, Some(Fabric::A), Direction::Both).unwrap();
    lab.wait_for("its link to be known as down", SOON, |lab| json(lab, &["get", "host", "s1"])["fabrics"]["a"] == "down").unwrap();
    lab.heal(s1).unwrap();
    lab.kill(s1).unwrap();
    lab.wait_for("its death", SOON, |lab| json(lab, &["get", "host", "s1"])["state"] == "dead").unwrap();
    lab.start(s1).unwrap();
    lab.wait_for("its return", SOON, |lab| json(lab, &["get", "host", "s1"])["state"] == "alive").unwrap();
    assert!(pan(&lab, &["events", "-A"]).contains("s1"));

    let file = write(&lab, "volume.yaml", WITH_VOLUME);
    pan(&lab, &["apply", "-f", &file, "--wait=60s"]);
    let volume = json(&lab, &["get", "volume", "db-1.data", "-p", "vol"]);
    assert_eq!((&volume["inSync"], &volume["attachedTo"], &volume["state"]), (&json!(2), &json!("db-1"), &json!("ready")));
    let on: Vec<&str> = volume["replicas"].as_array().unwrap().iter().map(|replica| str_of(replica, "host")).collect();
    assert_eq!(on, ["s1", "s2"]);
    let mount = pan(&lab, &["exec", "db-1", "-p", "vol", "--", "grep", " /srv ", "/proc/mounts"]);
    assert!(mount.contains("ext4"), "{mount}");
    // Told to stop, a storage host closes its pool, and comes back to it.
    let first = lab.role_pid(s1, "storage").unwrap();
    assert!(std::process::Command::new("kill").arg(first.to_string()).status().unwrap().success());
    let log = lab.log(s1, "storage");
    lab.wait_for("its pool to be closed", SOON, |_| std::fs::read_to_string(&log).is_ok_and(|log| log.contains("the pool is closed")))
        .unwrap();
    lab.wait_for("it to be back", SOON, |lab| lab.role_pid(s1, "storage").is_ok_and(|pid| pid != first)).unwrap();
    lab.wait_for("both copies to be in sync", SOON, |lab| {
        let volume = json(lab, &["get", "volume", "db-1.data", "-p", "vol"]);
        volume["inSync"] == 2 && volume["replicas"][0]["trouble"].is_null()
    })
    .unwrap();
    let said = refused(&lab, 1, &["delete", "volume", "db-1.data", "-p", "vol"]);
    assert!(said.contains("server db-1 has volume"), "{said}");
    pan(&lab, &["delete", "cluster", "db", "-p", "vol"]);
    pan(&lab, &["wait", "cluster", "db", "-p", "vol", "--for", "deleted", "--timeout", "30s"]);
    pan(&lab, &["delete", "volume", "db-1.data", "-p", "vol"]);
    pan(&lab, &["wait", "volume", "db-1.data", "-p", "vol", "--for", "deleted", "--timeout", "30s"]);
    assert_eq!(str_of(&json(&lab, &["get", "host", "s2"]), "state"), "alive");
}

/// As `pan_controller::core::fullness` has it.
const ROOM_FOR: Duration = Duration::from_secs(60);

/// What describes a copy is overwritten on a host that is well; and then the other host's disk fills up.
#[test]
fn a_damaged_copy_is_made_anew_and_a_full_disk_is_told() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 1, storage: 2, directors: 1, ..harness::spec().unwrap() }) else { return };
    pan(&lab, &["apply", "-f", &write(&lab, "volume.yaml", WITH_VOLUME), "--wait=60s"]);
    let volume = |lab: &_| json(lab, &["get", "volume", "db-1.data", "-p", "vol"]);
    let event = |lab: &_, word: &str| pan(lab, &["events", "-A"]).lines().any(|line| line.contains(word));
    pan(&lab, &["exec", "db-1", "-p", "vol", "--", "sh", "-c", "echo kept >/srv/before && sync"]);
    let (s1, s2) = (lab.host("s1").unwrap(), lab.host("s2").unwrap());
    let overwrite = "for file in /var/lib/pan/volumes/super-*; do dd if=/dev/urandom of=$file bs=8192 count=1 conv=notrunc || exit 1; done";
    assert!(lab.exec_in(s1, &["sh", "-c", overwrite]).unwrap().status.success());
    lab.kill_role(s1, "storage").unwrap();
    lab.wait_for("the damage to be told", SOON, |lab| event(lab, "CopyDamaged")).unwrap();
    lab.wait_for("another copy in its place", 2 * SOON, |lab| {
        let now = volume(lab);
        now["inSync"] == 2 && now["replicas"].as_array().unwrap().iter().all(|replica| replica["trouble"].is_null())
    })
    .unwrap_or_else(|error| panic!("{:#}\n{error}", volume(&lab)));
    assert!(event(&lab, "CopyRemoved"), "{}", pan(&lab, &["events", "-A"]));

    lab.disk(s2, Disk::Full).unwrap();
    let fill = "dd if=/dev/urandom of=/srv/more bs=1M count=128 conv=fsync";
    pan(&lab, &["exec", "db-1", "-p", "vol", "--", "sh", "-c", fill]);
    lab.wait_for("a full disk to be told", SOON, |lab| event(lab, "DiskFull")).unwrap();
    assert!(!event(&lab, "DiskHasRoom"));
    lab.disk(s2, Disk::Ok).unwrap();
    lab.wait_for("its copy to be in sync again", 2 * SOON, |lab| volume(lab)["inSync"] == 2).unwrap();
    lab.wait_for("its room to be told", ROOM_FOR + SOON, |lab| event(lab, "DiskHasRoom")).unwrap();
    // What was there is on the copy that was made anew.
    lab.kill(s2).unwrap();
    lab.wait_for("one copy in sync", SOON, |lab| volume(lab)["inSync"] == 1).unwrap();
    let said = pan(&lab, &["exec", "db-1", "-p", "vol", "--", "dd", "if=/srv/before", "iflag=direct", "bs=4096", "status=none"]);
    assert_eq!(said.trim(), "kept");
}
