//! The other partition: hostile, busy and failing, with the same network and the same names.

use super::wire::Wire;
use crate::story::person::Person;
use crate::story::{self, Beside, SOON, json, write};
use pan_lab::LabHost;
use pan_lab::harness::TestLab;
use std::process::Command;

/// The same addresses, names of clusters and of servers. Some burn what they may, some fail again and again, and some speak to
/// whomever they can think of.
const THEIRS: &str = include_str!("theirs.yaml");

/// Changes, refusals, failures and look-ups without end.
const WORK: &str = r#"while :; do
  "$PAN" scale cluster failing 5 -p rival; "$PAN" get server -p rival
  "$PAN" get server -p acme; "$PAN" scale cluster web 1000 -p rival; "$PAN" scale cluster failing 14 -p rival
  "$PAN" exec web-2 -p rival -- kill -9 -1; "$PAN" apply -f "$BAD"; "$PAN" delete service www -p acme
  "$PAN" scale cluster failing 3 -p rival; "$PAN" restart web-1 -p rival; "$PAN" apply -f "$FOREIGN"
  "$PAN" exec web-3 -p rival -- kill -QUIT 1; "$PAN" failover web-3 -p rival
done"#;

/// It, at work.
pub struct Neighbour {
    busy: Beside,
    flood: Beside,
    crowd: Beside,
}

/// Lets it in, and sets it to work.
pub fn begin(lab: &TestLab) -> Neighbour {
    let file = write(lab, "theirs.yaml", THEIRS);
    story::pan(lab, &["apply", "-f", &file]);
    let owner = Person::new(lab, "rival");
    owner.gets(lab, &["--role", "administrator", "-p", "rival", "--for", "mallory"]);
    let bad = write(lab, "bad.yaml", "api: pan/v1\nkind: Cluster\npartition: rival\nname: web\nspec: {servers: many}\n");
    let foreign = write(lab, "foreign.yaml", "api: pan/v1\nkind: Service\npartition: acme\nname: www\nspec: {port: 80, cluster: web}\n");
    let mut work = Command::new("sh");
    let environment: Vec<_> = owner.command(&[]).get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect();
    work.args(["-c", WORK]).env_clear().envs(environment);
    work.env("PAN", env!("CARGO_BIN_EXE_pan")).env("BAD", bad).env("FOREIGN", foreign);
    let wire = Wire::of(lab);
    let url = format!("{}/v1/partitions/rival/servers/web-[1-400]", wire.address);
    // Bursts as fast as one connection goes, and far above what its partition may ask. Between them its work goes on.
    let mut flood = Command::new("sh");
    flood.args(["-c", "while :; do \"$@\"; sleep 1; done", "sh", "curl"]);
    flood.args(wire.curl(&owner, &["-o", "/dev/null", "-w", "%{http_code}\\n", &url]).get_args());
    let crowd = ["sh", "-c", "while :; do for i in 1 2 3 4; do curl -s -m 2 http://198.18.0.11/ & done; wait; done"];
    let neighbour = Neighbour {
        busy: Beside::start(lab, work, "rival.log"),
        flood: Beside::start(lab, flood, "rival-flood.log"),
        crowd: Beside::start(lab, lab.exec(LabHost::OUTSIDE, &crowd).unwrap(), "rival-crowd.log"),
    };
    lab.wait_for("a neighbour at work", SOON, |lab| {
        let all = json(lab, &["get", "server", "-p", "rival"]);
        let running = all.as_array().unwrap().iter().filter(|one| one["state"] == "running").count();
        running >= 4 && all.as_array().unwrap().iter().any(|one| one["restarts"].as_u64() > Some(0))
    })
    .unwrap();
    neighbour
}

impl Neighbour {
    /// A day beside nobody would prove nothing.
    pub fn was_there(&mut self, lab: &TestLab) {
        assert!(self.busy.runs() && self.flood.runs() && self.crowd.runs());
        let all = json(lab, &["get", "server", "-p", "rival"]);
        let restarts: u64 = all.as_array().unwrap().iter().filter_map(|one| one["restarts"].as_u64()).sum();
        assert!(restarts > 2, "{all}");
        // What it did, what was not its own, and what was beyond its capacity and its quota.
        lab.wait_for("all that a neighbour does", SOON, |lab| {
            let lines = json(lab, &["audit", "-p", "rival"]);
            ["done", "PAN-300", "PAN-202"].iter().all(|wanted| lines.as_array().unwrap().iter().any(|line| line["result"] == *wanted))
        })
        .unwrap();
        let log = |name: &str| std::fs::read_to_string(lab.data().join(name)).unwrap();
        let flood = log("rival-flood.log");
        assert!(flood.contains("200") && flood.contains("429"), "its requests were too many");
        assert!(log("rival-crowd.log").contains("rival"), "its service was asked");
    }
}
