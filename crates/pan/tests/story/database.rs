//! A database on a volume of two copies, in a laboratory: started, watched, and looked over at the end.
#![allow(dead_code, reason = "every story uses some of it")]

use super::ledger::{Ledger, Session};
use super::story;
use super::story::{Beside, example, json, lab_of, pan, server, str_of};
use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use pan_linux::netns::Netns;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

pub const DATABASE: &str = "198.18.0.20:5432";
/// A takeover, the journal, and the database's own recovery, on a machine that does other things.
pub const BACK: Duration = Duration::from_secs(60);

pub fn spec() -> LabSpec {
    LabSpec { nodes: 3, storage: 2, directors: 1, ..harness::spec().unwrap() }
}

pub fn outside(lab: &TestLab) -> Netns {
    Netns::open(&lab.name().host_netns(LabHost::OUTSIDE)).unwrap()
}

pub fn in_sync(lab: &TestLab) -> bool {
    let volume = json(lab, &["get", "volume", "db-1.data", "-p", "postgres"]);
    volume["inSync"] == 2 && volume["state"] == "ready"
}

/// The database with its ledger, or nothing where that cannot be.
pub fn database() -> Option<(TestLab, Ledger)> {
    let lab = lab_of(spec)?;
    if std::fs::read_dir("/usr/lib/postgresql").is_err() {
        eprintln!("SKIP: PostgreSQL is not there");
        return None;
    }
    // All of it is copied in some of the stories.
    story::apply(&lab, "postgres.yaml", &example("postgres.yaml").replace("2GiB", "512MiB"));
    let ledger = Ledger::begin(outside(&lab), DATABASE.parse().unwrap());
    ledger.wait_for_more(&lab, 50, BACK);
    Some((lab, ledger))
}

pub fn node(lab: &TestLab) -> LabHost {
    let node = str_of(&server(lab, "postgres", "db-1"), "node").to_owned();
    lab.host(&node).unwrap()
}

pub fn wait_elsewhere(lab: &TestLab, node: LabHost) {
    let node = node.to_string();
    lab.wait_for("the database to run elsewhere", BACK, |lab| {
        let now = server(lab, "postgres", "db-1");
        now["state"] == "running" && now["node"] != node.as_str()
    })
    .unwrap();
}

/// What a database has in its ledger, once it answers.
pub fn entries(lab: &TestLab, database: &str) -> BTreeSet<u64> {
    let to: SocketAddr = database.parse().unwrap();
    let read = || Session::open(to).and_then(|mut session| session.query("select id from ledger"));
    let mut rows = Vec::new();
    lab.wait_for("the database to answer", BACK, |lab| {
        rows = outside(lab).run(read).unwrap().unwrap_or_default();
        !rows.is_empty()
    })
    .unwrap();
    rows.iter().map(|id| id.parse().unwrap()).collect()
}

/// A line for sh(1) that finds the database's own programs.
fn with_programs(line: &str) -> String {
    format!("PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | tail -n 1); {line}")
}

/// Nothing that a database has is damaged.
pub fn check_whole(lab: &TestLab, database: &str) {
    let host = database.split(':').next().unwrap();
    let check = format!("pg_amcheck -h {host} -U postgres --install-missing --heapallindexed postgres");
    let checked = lab.exec_outside(&["sh", "-c", &with_programs(&check)]).unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// Eight clients that move money about, as long as it lives, from one loss of their connections to the next.
pub struct Pgbench(Beside);

impl Pgbench {
    pub fn begin(lab: &TestLab) -> Self {
        // A database that is gone is noticed by its silence: of what it acknowledged as well as of what it did not.
        let to = "'host=198.18.0.20 user=postgres dbname=postgres connect_timeout=3 tcp_user_timeout=3000 \
                  keepalives_idle=1 keepalives_interval=1 keepalives_count=3'";
        let filled = lab.exec_outside(&["sh", "-c", &with_programs(&format!("pgbench -i -q -s 2 {to}"))]).unwrap();
        assert!(filled.status.success(), "{filled:?}");
        let clients = format!("setpriv --pdeathsig KILL -- pgbench -n -c 8 -j 1 -T 3600 {to} >/dev/null 2>&1");
        let line = with_programs(&format!("while :; do echo begun; {clients}; sleep 0.1; done"));
        Self(Beside::start(lab, lab.exec(LabHost::OUTSIDE, &["sh", "-c", &line]).unwrap(), "pgbench.log"))
    }

    /// Ends it. What all of them moved adds up to the same in every table: no transaction is there in part.
    pub fn end(self, lab: &TestLab) {
        let begun = self.0.stop().lines().count();
        let sums = "select sum(abalance) from pgbench_accounts union all select sum(bbalance) from pgbench_branches \
                    union all select sum(tbalance) from pgbench_tellers union all select coalesce(sum(delta), 0) from pgbench_history \
                    union all select count(*) from pgbench_history";
        let read = || Session::open(DATABASE.parse().unwrap()).and_then(|mut session| session.query(sums));
        let mut rows = Vec::new();
        lab.wait_for("the database to answer", BACK, |lab| {
            rows = outside(lab).run(read).unwrap().unwrap_or_default();
            rows.len() == 5
        })
        .unwrap();
        assert!(rows[..4].iter().all(|sum| *sum == rows[0]), "{rows:?}");
        assert_ne!(rows[4], "0", "nothing was moved");
        println!("pgbench: {} transactions of 8 clients are there, each whole; they began {begun} times", rows[4]);
    }
}

/// Every commit that was acknowledged is there, and nothing that the database has is damaged.
pub fn audit(lab: &TestLab, ledger: Ledger) {
    let (acknowledged, gap) = ledger.end();
    let found = entries(lab, DATABASE);
    let lost: Vec<u64> = acknowledged.iter().copied().filter(|id| !found.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged commits are lost: {lost:?}", lost.len(), acknowledged.len());
    check_whole(lab, DATABASE);
    // Nobody let a bit turn over: what is not as it was written is a fault of ours.
    let events = pan(lab, &["events", "-A"]);
    assert!(!events.contains("CopyMended") && !events.contains("VolumeRotten"), "{events}");
    for host in ["s1", "s2"] {
        let storage = json(lab, &["get", "host", host])["storage"].clone();
        assert!(storage["replicas"].is_number() && storage["trouble"].is_null(), "{host}: {storage}");
    }
    println!("{} commits acknowledged, all there; longest time without one {} ms", acknowledged.len(), gap.as_millis());
}
