//! Volumes in a PAN: a database on one, whose nodes and storage hosts are lost while it commits.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "story/ledger.rs"]
mod ledger;
mod story;

use ledger::{Ledger, Session};
use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use pan_linux::netns::Netns;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use story::{SOON, example, json, lab_of, pan, server, str_of};

const DATABASE: &str = "198.18.0.20:5432";
/// A takeover, the journal, and the database's own recovery, on a machine that does other things.
const BACK: Duration = Duration::from_secs(60);

fn spec() -> LabSpec {
    LabSpec { nodes: 3, storage: 2, directors: 1, ..harness::spec().unwrap() }
}

fn outside(lab: &TestLab) -> Netns {
    Netns::open(&lab.name().host_netns(LabHost::OUTSIDE)).unwrap()
}

fn in_sync(lab: &TestLab) -> bool {
    let volume = json(lab, &["get", "volume", "db-1.data", "-p", "shop"]);
    volume["inSync"] == 2 && volume["state"] == "ready"
}

#[test]
fn a_database_keeps_every_commit_through_the_loss_of_its_nodes_and_of_storage() {
    let Some(lab) = lab_of(spec) else { return };
    if !story::has("initdb") && std::fs::read_dir("/usr/lib/postgresql").is_err() {
        return;
    }
    story::apply(&lab, "postgres.yaml", &example("postgres.yaml"));
    let to: SocketAddr = DATABASE.parse().unwrap();
    let ledger = Ledger::begin(outside(&lab), to);
    ledger.wait_for_more(&lab, 50, BACK);

    for round in 0..3 {
        let node = str_of(&server(&lab, "shop", "db-1"), "node").to_owned();
        lab.kill(lab.host(&node).unwrap()).unwrap();
        lab.wait_for("the database to run elsewhere", BACK, |lab| {
            let now = server(lab, "shop", "db-1");
            now["state"] == "running" && now["node"] != node.as_str()
        })
        .unwrap();
        ledger.wait_for_more(&lab, 50, BACK);
        lab.start(lab.host(&node).unwrap()).unwrap();
        pan(&lab, &["wait", "node", &node, "--for", "state=alive", "--timeout", "30s"]);
        if round == 1 {
            lab.kill(lab.host("s1").unwrap()).unwrap();
            lab.wait_for("a copy to be out of sync", SOON, |lab| !in_sync(lab)).unwrap();
            ledger.wait_for_more(&lab, 50, BACK);
            lab.start(lab.host("s1").unwrap()).unwrap();
            lab.wait_for("both copies to be in sync again", BACK, in_sync).unwrap();
        }
    }

    let (acknowledged, gap) = ledger.end();
    let found: BTreeSet<u64> = outside(&lab)
        .run(|| Session::open(to).unwrap().query("select id from ledger").unwrap())
        .unwrap()
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
    let lost: Vec<u64> = acknowledged.iter().copied().filter(|id| !found.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged commits are lost: {lost:?}", lost.len(), acknowledged.len());
    println!("{} commits acknowledged, all there; longest time without one {} ms", acknowledged.len(), gap.as_millis());
    let shown = pan(&lab, &["timeline", "db-1", "-p", "shop"]);
    for step in ["bound", "claimed", "attached", "mounted", "running"] {
        assert!(shown.contains(step), "{step} in:\n{shown}");
    }
}
