//! Protection is proved before anything is admitted, and the proof agrees with cutting every node in turn.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use story::{SOON, example, json, lab, pan, refused, write};

#[test]
fn the_fourth_of_four_is_refused_and_the_certificate_agrees_with_losing_each_node() {
    let Some(lab) = lab() else { return };
    story::apply(&lab, "spread.yaml", &example("spread.yaml"));
    let four = write(&lab, "four.yaml", &example("spread.yaml").replace("servers: 3", "servers: 4"));
    let words = refused(&lab, 1, &["apply", "-f", &four]);
    assert!(["n1", "n2", "n3", "n4"].iter().any(|node| words.contains(node)), "it names the node: {words}");
    assert_eq!(json(&lab, &["get", "cluster", "web", "-p", "spread"])["desired"], 3, "nothing changed");
    assert_eq!(json(&lab, &["certify"])["ok"], true);
    for node in ["n1", "n2", "n3", "n4"] {
        lab.kill(lab.host(node).unwrap()).unwrap();
        pan(&lab, &["wait", "node", node, "--for", "state=dead", "--timeout", "30s"]);
        lab.wait_for("all servers to run on different living nodes", SOON, |lab| {
            let servers = json(lab, &["get", "server", "-p", "spread"]);
            let servers = servers.as_array().unwrap();
            let nodes: std::collections::BTreeSet<_> =
                servers.iter().map(|server| server["node"].as_str().unwrap_or("").to_owned()).collect();
            servers.iter().all(|server| server["state"] == "running") && nodes.len() == 3 && !nodes.contains(node)
        })
        .unwrap();
        lab.start(lab.host(node).unwrap()).unwrap();
        pan(&lab, &["node", "clear", node]);
        pan(&lab, &["wait", "node", node, "--for", "state=alive", "--timeout", "30s"]);
        lab.wait_for("the promise to hold again", SOON, |lab| json(lab, &["certify"])["ok"] == true).unwrap();
    }
}

#[test]
fn a_file_changes_everything_or_nothing() {
    let Some(lab) = lab() else { return };
    let partition = "api: pan/v1\nkind: Partition\nname: ten\nspec: {network: 10.0.0.0/24, hostImage: allow}\n";
    let cluster = |at: u32| {
        format!("---\napi: pan/v1\nkind: Cluster\npartition: ten\nname: c{at}\nspec: {{servers: 1, image: host, command: [sleep, inf]}}\n")
    };
    let mut good = partition.to_owned();
    (1..=9).for_each(|at| good.push_str(&cluster(at)));
    let bad = good.replace("name: c7\nspec: {servers: 1", "name: c7\nspec: {servres: 1");
    let file = write(&lab, "bad.yaml", &bad);
    let words = refused(&lab, 1, &["apply", "-f", &file]);
    assert!(words.contains("bad.yaml:") && words.contains("servres"), "{words}");
    assert!(refused(&lab, 3, &["get", "partition", "ten"]).contains("PAN-300"));

    story::apply(&lab, "good.yaml", &good);
    let before = (json(&lab, &["get", "server", "-p", "ten"]), json(&lab, &["get", "cluster", "-p", "ten"]));
    let again = json(&lab, &["apply", "-f", lab.data().join("good.yaml").to_str().unwrap()]);
    assert!(again.as_array().unwrap().iter().all(|one| one["result"] == "unchanged"), "{again}");
    assert_eq!(before, (json(&lab, &["get", "server", "-p", "ten"]), json(&lab, &["get", "cluster", "-p", "ten"])));
    pan(&lab, &["delete", "partition", "ten", "--cascade"]);
    pan(&lab, &["wait", "partition", "ten", "--for", "deleted", "--timeout", "60s"]);
}
