//! A member of etcd that lost its data never votes as the one it was: nothing acknowledged is lost, and it is replaced.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use story::{SOON, has, json, lab_of, pan};

/// Whether a change is acknowledged.
fn decided(lab: &TestLab, change: &[&str]) -> bool {
    lab.pan(change).unwrap().status.success()
}

/// Whether it shows these words.
fn shows(lab: &TestLab, command: &[&str], words: &str) -> bool {
    story::text(&lab.pan(command).unwrap().stdout).contains(words)
}

fn told(lab: &TestLab, member: LabHost, words: &str) {
    let log = lab.log(member, "etcd");
    lab.wait_for(words, SOON, |_| std::fs::read_to_string(&log).unwrap_or_default().contains(words)).unwrap();
}

/// The controllers forget what they know and read it from etcd.
fn read_anew(lab: &TestLab, nodes: &[&str]) {
    for name in ["c1", "c2", "c3"] {
        lab.kill_role(lab.host(name).unwrap(), "controller").unwrap();
    }
    let cordoned = |lab: &TestLab, node: &&str| {
        let shown = lab.pan(&["get", "node", node, "-o", "json"]).unwrap();
        shown.status.success() && story::text(&shown.stdout).contains("\"cordoned\"")
    };
    lab.wait_for("all that was acknowledged", SOON, |lab| nodes.iter().all(|node| cordoned(lab, node))).unwrap();
}

/// What two members acknowledged while the third was off is on two disks; one of them is wiped, and the other starts last.
#[test]
fn a_member_without_its_data_does_not_vote_and_is_replaced() {
    if !has("etcd") {
        return;
    }
    let Some(lab) = lab_of(|| LabSpec { controllers: 3, ..harness::spec().unwrap() }) else { return };
    let [e1, e2, e3] = ["e1", "e2", "e3"].map(|name| lab.host(name).unwrap());
    lab.kill(e3).unwrap();
    lab.wait_for("the loss of a member", SOON, |lab| shows(lab, &["events", "-A"], "StoreMemberLost")).unwrap();
    let status = pan(&lab, &["status"]);
    assert!(status.contains("2 of 3 members answer") && status.contains("  e3 does not: "), "{status}");
    lab.wait_for("a change", SOON, |lab| decided(lab, &["node", "cordon", "n3"])).unwrap();
    pan(&lab, &["node", "cordon", "n4"]);
    assert!(lab.exec_in(e1, &["rm", "-rf", "/var/lib/pan/etcd"]).unwrap().status.success());
    [e1, e2].iter().for_each(|member| lab.kill(*member).unwrap());

    lab.start(e1).unwrap();
    told(&lab, e1, "has lost its data");
    lab.start(e3).unwrap();
    let refused = lab.pan(&["node", "cordon", "n1"]).unwrap();
    assert!(!refused.status.success(), "the wiped member and the one that was off decided");
    let said = story::text(&refused.stderr);
    assert!(said.contains("members of the store") && said.contains("e2"), "{said}");

    lab.start(e2).unwrap();
    lab.wait_for("a majority", SOON, |lab| decided(lab, &["node", "cordon", "n2"])).unwrap();
    read_anew(&lab, &["n2", "n3", "n4"]);

    told(&lab, e1, "a new one is in its place");
    lab.wait_for("all members", SOON, |lab| shows(lab, &["status"], "3 of 3 members")).unwrap();
    lab.wait_for("the new member told", SOON, |lab| shows(lab, &["events", "-A"], "StoreMemberBack")).unwrap();
    // Each pair that it is of has everything, what was acknowledged without it and what with it.
    lab.kill(e3).unwrap();
    lab.wait_for("the new member's voice", SOON, |lab| decided(lab, &["node", "cordon", "n1"])).unwrap();
    lab.kill(e2).unwrap();
    lab.start(e3).unwrap();
    read_anew(&lab, &["n1", "n2", "n3", "n4"]);
    assert_eq!(json(&lab, &["get", "node"]).as_array().unwrap().len(), 4);
    // It is a member like the others again, on its own disk.
    lab.kill(e1).unwrap();
    lab.start(e1).unwrap();
    read_anew(&lab, &["n1", "n2", "n3", "n4"]);
}
