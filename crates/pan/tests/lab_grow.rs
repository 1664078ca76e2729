//! A volume that is written to all the time: it grows, loses a copy and gets it back, is kept as it is meanwhile, is begun another one from, and
//! moves to a storage host that had nothing of it. Every file is called by its own checksum, so each can be looked over by itself.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use std::time::Duration;
use story::{SOON, json, lab_of, pan, text, wait_state, write};

const P: [&str; 2] = ["-p", "grow"];
/// A machine that does other things copies some hundred MiB.
const COPIED: Duration = Duration::from_secs(60);

/// A file is named in the log once it is on the volume under its name, and counted once the log is there as well.
const WRITER: &str = "cd /srv; while sleep 0.02; do head -c 20000 /dev/urandom >new; sync new; sum=$(sha256sum <new | cut -c1-64); \
                      mv new $sum && sync /srv && echo $sum >>log && sync log && echo >>/run/count || exit 9; done";

/// What the log names, as far as it went, is there, and every file is what its name says.
const LOOK: &str = "cd /srv; for sum in $(cat log); do test -e $sum || echo lost $sum; done; \
                    for sum in [0-9a-f]*; do test $(sha256sum <$sum | cut -c1-64) = $sum || echo wrong $sum; done; wc -l <log";

fn manifest(copies: u8) -> String {
    let command = format!("[sh, -c, '{WRITER}']");
    let volumes = format!("[{{name: data, size: 320MiB, mount: /srv, copies: {copies}, filesystem: xfs}}]");
    let cluster = format!("{{servers: 1, image: host, command: {command}, volumes: {volumes}}}");
    let head = "api: pan/v1\nkind: Partition\nname: grow\nspec: {network: 10.0.0.0/24, hostImage: allow}\n---\n";
    format!("{head}api: pan/v1\nkind: Cluster\npartition: grow\nname: db\nspec: {cluster}\n")
}

const TWIN: &str = "api: pan/v1\nkind: Cluster\npartition: grow\nname: twin\n\
                    spec: {servers: 1, image: host, command: [sleep, inf], volumes: [{volume: copy, mount: /srv}]}\n";

fn inside(lab: &TestLab, server: &str, script: &str) -> String {
    let output = lab.pan(&["exec", server, P[0], P[1], "--", "sh", "-c", script]).unwrap();
    assert!(output.status.success(), "{script}: {output:?}\n{}", lab.logs());
    text(&output.stdout).trim().to_owned()
}

/// How many files the log of a server names, all of which are there and whole.
fn look(lab: &TestLab, server: &str) -> u64 {
    let said = inside(lab, server, LOOK);
    said.parse().unwrap_or_else(|_| panic!("{server}: {said}"))
}

/// How many files are on the volume for certain, since the server was started: what the log says besides may be on its way.
fn written(lab: &TestLab) -> u64 {
    inside(lab, "db-1", "wc -l </run/count").parse().unwrap()
}

fn wait_for_more(lab: &TestLab, more: u64) -> u64 {
    let before = written(lab);
    lab.wait_for("more to be written", SOON, |lab| written(lab) >= before + more).unwrap();
    before
}

fn in_sync(lab: &TestLab, count: u64) -> bool {
    json(lab, &["get", "volume", "db-1.data", P[0], P[1]])["inSync"] == count
}

fn wait_for_room(lab: &TestLab, mebibytes: u64) {
    let room = |lab: &TestLab| inside(lab, "db-1", "echo $(($(stat -f -c '%b * %S' /srv) / 1048576))").parse::<u64>().unwrap();
    lab.wait_for(&format!("room for {mebibytes} MiB"), SOON, |lab| room(lab) >= mebibytes).unwrap();
}

/// The two storage hosts that have a copy, and the one that has none.
fn keepers(lab: &TestLab) -> ([LabHost; 2], LabHost) {
    let (with, without): (Vec<_>, Vec<_>) =
        ["s1", "s2", "s3"].into_iter().partition(|name| json(lab, &["get", "host", name])["storage"]["replicas"] == 1);
    let host = |name: &&str| lab.host(name).unwrap();
    let [one, other] = with[..] else { panic!("{with:?} have a copy") };
    ([host(&one), host(&other)], host(&without[0]))
}

/// Ends the server and starts it again, with a file system that is mounted anew, and looks it over.
fn look_anew(lab: &TestLab) -> u64 {
    pan(lab, &["stop", "db-1", P[0], P[1]]);
    wait_state(lab, "grow", "db-1", "stopped");
    pan(lab, &["start", "db-1", P[0], P[1]]);
    wait_state(lab, "grow", "db-1", "running");
    look(lab, "db-1")
}

fn spec() -> LabSpec {
    // Two of five lessors may be lost.
    LabSpec { nodes: 2, storage: 3, directors: 2, ..harness::spec().unwrap() }
}

#[test]
fn a_volume_grows_moves_and_is_copied_while_it_is_written_to() {
    let Some(lab) = lab_of(spec) else { return };
    story::apply(&lab, "db.yaml", &manifest(2));
    assert!(inside(&lab, "db-1", "grep ' /srv ' /proc/mounts").contains(" xfs "));
    pan(&lab, &["volume", "resize", "db-1.data", "512MiB", P[0], P[1]]);
    wait_for_room(&lab, 440);
    wait_for_more(&lab, 20);

    // One copy is away, comes back, and is on its way while the volume grows once more and is kept as it is.
    let ([one, other], spare) = keepers(&lab);
    lab.kill(one).unwrap();
    lab.wait_for("a copy to be out of sync", SOON, |lab| in_sync(lab, 1)).unwrap();
    wait_for_more(&lab, 60);
    lab.start(one).unwrap();
    let before = written(&lab);
    pan(&lab, &["volume", "snapshot", "db-1.data@mid", P[0], P[1]]);
    let after = written(&lab);
    pan(&lab, &["volume", "resize", "db-1.data", "640MiB", P[0], P[1]]);
    wait_for_room(&lab, 560);
    lab.wait_for("both copies to be in sync again", COPIED, |lab| in_sync(lab, 2)).unwrap();

    // Another volume begins with what was kept: all that was written before, and nothing that came later.
    pan(&lab, &["volume", "clone", "db-1.data@mid", "copy", P[0], P[1]]);
    pan(&lab, &["apply", "-f", &write(&lab, "twin.yaml", TWIN), "--wait=60s"]);
    let kept = look(&lab, "twin-1");
    assert!((before..=after + 1).contains(&kept), "{kept} of {before} to {after}");

    // A host that has nothing gets everything, and is then the only one.
    pan(&lab, &["apply", "-f", &write(&lab, "three.yaml", &manifest(3)), "--wait=60s"]);
    lab.wait_for("three copies in sync", COPIED, |lab| in_sync(lab, 3)).unwrap();
    lab.kill(other).unwrap();
    lab.kill(one).unwrap();
    lab.wait_for("one copy in sync", SOON, |lab| in_sync(lab, 1)).unwrap();
    let last = wait_for_more(&lab, 20);
    let found = look_anew(&lab);
    assert!(found >= last + 20, "{found} of {last}");
    println!("{found} files written, {kept} of them in the clone, all whole; {spare} alone has the volume");
    let events = pan(&lab, &["events", "-A"]);
    assert!(!events.contains("CopyMended") && !events.contains("VolumeRotten"), "{events}");
}

/// As `pan_controller::core::volumes` has it, and what a machine that does other things takes for the rest.
const AWAY: Duration = Duration::from_secs(300 + 60);

/// Takes six minutes, so it is asked for by `VOLUME_AWAY`, as a soak does.
#[test]
fn a_copy_is_made_elsewhere_when_its_host_stays_away() {
    if std::env::var_os("VOLUME_AWAY").is_none() {
        return;
    }
    let Some(lab) = lab_of(spec) else { return };
    story::apply(&lab, "db.yaml", &manifest(2));
    wait_for_more(&lab, 20);
    let ([one, other], spare) = keepers(&lab);
    lab.kill(one).unwrap();
    lab.wait_for("a copy to be out of sync", SOON, |lab| in_sync(lab, 1)).unwrap();
    lab.wait_for("a copy elsewhere to be in sync", AWAY, |lab| in_sync(lab, 2)).unwrap();
    let copies = |lab: &TestLab, host: LabHost| json(lab, &["get", "host", &host.to_string()])["storage"]["replicas"].clone();
    assert_eq!(copies(&lab, spare), 1);
    // What came back is not needed any more; and the new one has everything.
    lab.start(one).unwrap();
    lab.wait_for("the old copy to be removed", SOON, |lab| copies(lab, one) == 0).unwrap();
    lab.kill(other).unwrap();
    lab.wait_for("one copy in sync", SOON, |lab| in_sync(lab, 1)).unwrap();
    let last = wait_for_more(&lab, 20);
    let found = look_anew(&lab);
    assert!(found >= last + 20, "{found} of {last}");
    println!("{found} files written, all whole on {spare}, which had none of them");
}
