//! Volumes in a PAN: a database on one, whose nodes and storage hosts are lost while it commits.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "story/database.rs"]
mod database;
#[path = "story/heads.rs"]
mod heads;
#[path = "story/ledger.rs"]
mod ledger;
mod story;

use database::{BACK, Pgbench, audit, database, in_sync, node, wait_elsewhere};
use pan_lab::LabHost;
use pan_lab::harness::TestLab;
use std::time::{Duration, Instant};
use story::{SOON, json, pan, server};

#[test]
fn a_database_keeps_every_commit_through_the_loss_of_its_nodes_and_of_storage() {
    let Some((lab, ledger)) = database() else { return };
    let pgbench = Pgbench::begin(&lab);
    let kills: u32 = std::env::var("VOLUME_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3);
    for round in 0..kills {
        let lost = node(&lab);
        lab.kill(lost).unwrap();
        wait_elsewhere(&lab, lost);
        println!("node {lost} cut: {}", told(&lab));
        ledger.wait_for_more(&lab, 50, BACK);
        lab.start(lost).unwrap();
        wait_back(&lab, lost);
        if round % 3 == 1 {
            let storage = lab.host(if round % 2 == 1 { "s1" } else { "s2" }).unwrap();
            lab.kill(storage).unwrap();
            lab.wait_for("a copy to be out of sync", SOON, |lab| !in_sync(lab)).unwrap();
            ledger.wait_for_more(&lab, 50, BACK);
            lab.start(storage).unwrap();
            lab.wait_for("both copies to be in sync again", BACK, in_sync).unwrap();
        }
    }
    pgbench.end(&lab);
    audit(&lab, ledger);
    let shown = pan(&lab, &["timeline", "db-1", "-p", "postgres"]);
    for step in ["bound", "claimed", "attached", "mounted", "running"] {
        assert!(shown.contains(step), "{step} in:\n{shown}");
    }
}

/// A node is alive again. One that died too often in a short time is only a spare until an operator takes it back.
fn wait_back(lab: &TestLab, node: LabHost) {
    let name = node.to_string();
    lab.wait_for("the node to be alive", SOON, |lab| {
        let state = json(lab, &["get", "node", &name])["state"].clone();
        if state == "quarantined" {
            pan(lab, &["node", "clear", &name]);
        }
        state == "alive"
    })
    .unwrap();
}

/// How long it took from the last that was heard of a node to the volume mounted elsewhere, and from there until the database had recovered.
fn told(lab: &TestLab) -> String {
    let timeline = json(lab, &["timeline", "db-1", "-p", "postgres"]);
    let newest = timeline.as_array().map_or(&timeline, |all| &all[0]);
    let steps = newest["steps"].as_array().unwrap();
    let mut sum = 0;
    let mut reached = Vec::new();
    for step in steps {
        sum += step["tookMs"].as_i64().unwrap_or_default();
        if ["mounted", "running"].contains(&step["step"].as_str().unwrap_or_default()) {
            reached.push(format!("{} after {sum} ms", step["step"].as_str().unwrap()));
        }
    }
    reached.join(", ")
}

/// The same, as `pan get host -o wide` shows it.
fn refused_shown(lab: &TestLab, host: &str) -> u64 {
    json(lab, &["get", "host", host])["storage"]["refused"].as_u64().unwrap()
}

/// Requests of heads that lost their volume, as a storage host counts them.
fn refused(lab: &TestLab, host: &str) -> f64 {
    let number: u32 = host.trim_start_matches('s').parse().unwrap();
    let tls = |file: &str| lab.data().join("hosts/c1/etc/tls").join(file).to_str().unwrap().to_owned();
    let url = format!("https://10.200.0.{}:7449/metrics", 100 + number);
    let (ca, cert, key) = (tls("ca.pem"), tls("host.pem"), tls("host.key"));
    let argv = ["curl", "-sS", "-m", "5", "--cacert", &ca, "--cert", &cert, "--key", &key, &url];
    let page = lab.exec_in(lab.host("c1").unwrap(), &argv).unwrap();
    let samples = pan_api::metrics::read(&String::from_utf8_lossy(&page.stdout)).unwrap();
    samples.iter().find(|sample| sample.name == "pan_storage_requests_refused_total").map(|sample| sample.number).unwrap()
}

#[test]
fn a_node_that_stood_still_writes_nothing_of_what_it_still_had_to_write() {
    let Some((lab, ledger)) = database() else { return };
    let frozen = node(&lab);
    lab.freeze(frozen).unwrap();
    wait_elsewhere(&lab, frozen);
    ledger.wait_for_more(&lab, 50, BACK);
    lab.thaw(frozen).unwrap();
    let name = frozen.to_string();
    pan(&lab, &["wait", "node", &name, "--for", "state=alive", "--timeout", "60s"]);
    lab.wait_for("nothing of the volume to be left there", BACK, |lab| {
        heads::heads(lab, frozen, true).is_empty() && heads::heads(lab, frozen, false).is_empty()
    })
    .unwrap();
    ledger.wait_for_more(&lab, 50, BACK);
    println!("refused: {} and {} requests of the old head", refused(&lab, "s1"), refused(&lab, "s2"));
    for host in ["s1", "s2"] {
        lab.wait_for("people to be told the same", SOON, |lab| refused_shown(lab, host).to_string() == refused(lab, host).to_string())
            .unwrap();
    }
    audit(&lab, ledger);
}

/// What was under way is asked for again, and the server does not notice.
#[test]
fn a_killed_head_is_back_within_a_second() {
    let Some((lab, ledger)) = database() else { return };
    let pgbench = Pgbench::begin(&lab);
    let restarts = server(&lab, "postgres", "db-1")["restarts"].clone();
    let at = node(&lab);
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..7 {
        let worker = heads::heads(&lab, at, true);
        assert_eq!(worker.len(), 1);
        let begun = Instant::now();
        heads::kill(&worker);
        // One may have been acknowledged while it was killed.
        ledger.wait_for_more(&lab, 2, BACK);
        took.push(begun.elapsed());
        lab.wait_for("another worker", SOON, |lab| heads::heads(lab, at, true).len() == 1).unwrap();
        // One that has just begun is waited with if it ends.
        ledger.wait_for_more(&lab, 30, BACK);
    }
    took.sort();
    println!("committed again after {:?} ms", took.iter().map(Duration::as_millis).collect::<Vec<_>>());
    assert!(took[3] <= Duration::from_secs(1), "{took:?}");
    assert_eq!(server(&lab, "postgres", "db-1")["restarts"], restarts);
    pgbench.end(&lab);
    audit(&lab, ledger);
}

/// Kills a role, once it runs: the same one may have been killed just before, and commits need not have waited for it.
fn kill_role(lab: &TestLab, host: LabHost, role: &str) {
    lab.wait_for("the role to run", SOON, |lab| lab.kill_role(host, role).is_ok()).unwrap();
}

#[test]
fn no_single_process_of_a_volume_is_missed() {
    let Some((lab, ledger)) = database() else { return };
    let pgbench = Pgbench::begin(&lab);
    let seed = std::env::var("VOLUME_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    let rounds: u32 = std::env::var("VOLUME_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    println!("VOLUME_SEED={seed}");
    let mut dice = seed;
    for round in 0..rounds {
        // Knuth's multiplier for 64 bits: the high bits are as good as they need be.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = node(&lab);
        let what = (dice >> 33) % 5;
        match what {
            0 => heads::kill(&heads::heads(&lab, at, true)),
            1 => heads::kill(&[heads::heads(&lab, at, false), heads::heads(&lab, at, true)].concat()),
            2 => kill_role(&lab, at, "node"),
            3 => kill_role(&lab, lab.host("s1").unwrap(), "storage"),
            _ => kill_role(&lab, lab.host("s2").unwrap(), "storage"),
        }
        println!("round {round}: {}", ["worker", "keeper and worker", "agent", "storage s1", "storage s2"][usize::try_from(what).unwrap()]);
        // Who loses its head too often is moved, and who is moved too often rests for a minute before it is moved again.
        ledger.wait_for_more(&lab, 30, 2 * BACK);
        lab.wait_for("both copies to be in sync", BACK, in_sync).unwrap();
    }
    pgbench.end(&lab);
    audit(&lab, ledger);
}
