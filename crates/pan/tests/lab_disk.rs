//! The controller's disk is full, then fails: it says so, goes on showing what it knows, and goes on when the disk is well.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness::{self, TestLab};
use pan_lab::{Disk, LabSpec};
use std::process::Output;
use story::{SOON, json, lab_of, pan, text, write};

fn partition(lab: &TestLab, name: &str, number: u32) -> Output {
    let yaml = format!("api: pan/v1\nkind: Partition\nname: {name}\nspec: {{network: 10.{number}.0.0/24}}\n");
    let file = write(lab, &format!("{name}.yaml"), &yaml);
    lab.pan(&["apply", "-f", &file]).unwrap()
}

fn names(lab: &TestLab) -> Vec<String> {
    json(lab, &["get", "partition"]).as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_controller_outlives_its_disk() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 1, directors: 1, ..harness::spec().unwrap() }) else { return };
    let c1 = lab.host("c1").unwrap();
    assert!(partition(&lab, "before", 1).status.success());
    let controller = lab.role_pid(c1, "controller").unwrap();
    for (number, fault) in [(2, Disk::Full), (3, Disk::Failed)] {
        lab.disk(c1, fault).unwrap();
        let name = format!("during-{}", fault.as_str());
        // What has room in the file it already has may still be written to a full disk; not for long.
        let refused = (0..200).map(|at| partition(&lab, &format!("{name}-{at}"), 10 * number + at)).find(|output| !output.status.success());
        let refused = refused.expect("a disk that takes no more");
        assert!(text(&refused.stderr).contains("PAN-"), "{fault:?}: {}", text(&refused.stderr));
        assert!(names(&lab).contains(&"before".to_owned()), "{fault:?}: what is known is still shown");
        lab.disk(c1, Disk::Ok).unwrap();
        let name = format!("after-{}", fault.as_str());
        lab.wait_for("the controller to write again", SOON * 2, |lab| partition(lab, &name, number).status.success()).unwrap();
        assert!(names(&lab).contains(&name));
    }
    assert_eq!(lab.role_pid(c1, "controller").unwrap(), controller, "nobody had to start it again");
    // All of it is on the disk.
    let known = names(&lab);
    lab.kill(c1).unwrap();
    lab.start(c1).unwrap();
    lab.wait_for("the controller", SOON, |lab| lab.pan(&["get", "partition"]).unwrap().status.success()).unwrap();
    assert_eq!(names(&lab), known);
    assert!(pan(&lab, &["get", "host"]).contains("n1"));
}
