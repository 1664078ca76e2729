//! Order: after every host lost its power and was started again, db runs before web starts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabHost;
use story::{SOON, example, json, lab, pan, refused, write};

#[test]
fn a_cold_start_brings_the_database_before_the_web() {
    let Some(lab) = lab() else { return };
    story::apply(&lab, "order.yaml", &example("order.yaml"));
    let circle = example("order.yaml").replace("  priority: 800\n", "  priority: 800\n  after: [{cluster: web}]\n");
    let words = refused(&lab, 1, &["apply", "-f", &write(&lab, "circle.yaml", &circle)]);
    assert!(words.contains("PAN-104") && words.contains("circle.yaml:"), "{words}");

    let all = lab.hosts().unwrap();
    let hosts: Vec<LabHost> = all.iter().map(|host| host.name).filter(|host| *host != LabHost::OUTSIDE).collect();
    for host in &hosts {
        lab.kill(*host).unwrap();
    }
    for host in &hosts {
        lab.start(*host).unwrap();
    }
    lab.wait_ready(SOON).unwrap();
    for name in ["db-1", "web-1", "web-2"] {
        story::wait_state(&lab, "order", name, "running");
    }
    let since = |name: &str| json(&lab, &["get", "server", name, "-p", "order"])["since"].as_str().unwrap().to_owned();
    assert!(since("db-1") < since("web-1") && since("db-1") < since("web-2"), "db {} web {}", since("db-1"), since("web-1"));
    pan(&lab, &["certify"]);
}
