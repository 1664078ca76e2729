//! Who may begin to speak to a cluster's servers, with real connections: what is allowed and what is not, changed while traffic goes on,
//! with an agent that is killed, and a node that is lost.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_api::metrics::{Sample, read};
use pan_lab::LabHost;
use pan_lab::harness::TestLab;
use pan_model::host_config::NODE_PORT;
use serde_json::Value;
use story::{Beside, SOON, has, json, lab, pan, refused, requests, server, str_of, text, write, wrk};

/// Where databases listen, and clients too.
const PORT: u16 = 5432;
/// Where they listen as well.
const OTHER: u16 = 5433;

const NGINX: &str = "        user www-data;
        worker_processes 1;
        pid /run/nginx.pid;
        error_log stderr;
        events { worker_connections 4096; }
        http {
          access_log off;
          keepalive_requests 1000000;
          server {
            listen 5432; listen [::]:5432; listen 5433; listen [::]:5433;
            location / { return 200 well; }
          }
        }
";

fn scene(web: u32, allow: &str) -> String {
    let cluster = |name: &str, servers: u32, more: &str| {
        format!(
            "---\napi: pan/v1\nkind: Cluster\npartition: acme\nname: {name}\nspec:\n  servers: {servers}\n  image: host\n  \
             command: [nginx, -g, 'daemon off;']\n  files:\n    - path: /etc/nginx/nginx.conf\n      content: |\n{NGINX}\
             \n  resources: {{cpu: 50m, memory: 64MiB}}\n  spread: node\n  stop: {{signal: KILL, grace: 1s}}\n{more}"
        )
    };
    let head = "api: pan/v1\nkind: Partition\nname: acme\nspec: {networks: [10.0.0.0/24, fd10::/64], hostImage: allow}\n";
    let health =
        format!("  protect: {{failures: 1}}\n  health: {{http: {{port: {PORT}, path: /}}, every: 200ms, failures: 2}}\n  allow: {allow}\n");
    let service = format!(
        "---\napi: pan/v1\nkind: Service\npartition: acme\nname: www\nspec: {{address: 198.18.0.10, port: 80, cluster: db, targetPort: {PORT}}}\n"
    );
    format!("{head}{}{}{}{service}", cluster("db", 1, &health), cluster("web", web, ""), cluster("app", 2, ""))
}

/// A server, where it is now.
struct Place {
    node: LabHost,
    netns: String,
    addresses: Vec<String>,
}

impl Place {
    fn of(lab: &TestLab, name: &str) -> Self {
        let shown = server(lab, "acme", name);
        let addresses = shown["addresses"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
        Self { node: lab.host(str_of(&shown, "node")).unwrap(), netns: format!("pan-acme.{name}"), addresses }
    }

    /// Whether it gets a connection, which has to be so for both families alike; none within half a second is refused.
    fn gets(&self, lab: &TestLab, to: &Self, port: u16) -> bool {
        let one = |address: &String| {
            let connect = format!("exec 3<>/dev/tcp/{address}/{port}");
            let said = lab.exec_in(self.node, &["ip", "netns", "exec", &self.netns, "timeout", "0.5", "bash", "-c", &connect]);
            said.unwrap().status.success()
        };
        let both = || to.addresses.iter().map(one).collect::<Vec<bool>>();
        let alike = |all: &[bool]| all.len() == 2 && all[0] == all[1];
        // Rules may come between the two.
        let all = Some(both()).filter(|all| alike(all)).unwrap_or_else(both);
        assert!(alike(&all), "of {:?} port {port}: {all:?}", to.addresses);
        all[0]
    }

    fn pings(&self, lab: &TestLab, to: &Self) -> bool {
        let argv = ["ip", "netns", "exec", &self.netns, "ping", "-n", "-c1", "-W", "0.5", &to.addresses[0]];
        lab.exec_in(self.node, &argv).unwrap().status.success()
    }
}

/// What its node has dropped of what was for it.
fn uninvited(lab: &TestLab, node: LabHost) -> u64 {
    let tls = |file: &str| lab.data().join("hosts/c1/etc/tls").join(file).to_str().unwrap().to_owned();
    let (ca, cert, key) = (tls("ca.pem"), tls("host.pem"), tls("host.key"));
    let url = format!("https://10.200.0.{}:{NODE_PORT}/metrics", 10 + node.ordinal());
    let argv = ["curl", "-sS", "-m", "5", "--cacert", &ca, "--cert", &cert, "--key", &key, &url];
    let page = lab.exec_in("c1".parse().unwrap(), &argv).unwrap();
    let samples = read(&text(&page.stdout)).unwrap_or_else(|error| panic!("{url}: {error}: {}", text(&page.stderr)));
    let is_it = |sample: &&Sample| sample.name == "pan_node_frames_refused_total" && sample.labels["reason"] == "uninvited";
    samples.iter().find(is_it).map_or(0, |sample| sample.number as u64)
}

/// The processes of a server.
fn processes(lab: &TestLab, place: &Place) -> String {
    text(&lab.exec_in(place.node, &["ip", "netns", "pids", &place.netns]).unwrap().stdout)
}

#[test]
fn only_those_whom_a_cluster_allows_get_a_connection() {
    let Some(lab) = lab() else { return };
    if !["nginx", "curl", "wrk"].iter().all(|program| has(program)) {
        return;
    }
    let words = refused(&lab, 1, &["apply", "-f", &write(&lab, "wrong.yaml", &scene(2, "[{from: wbe}]"))]);
    assert!(words.contains("there is no cluster wbe") && words.contains("wrong.yaml:36:18"), "{words}");
    story::apply(&lab, "acme.yaml", &scene(2, "[{from: web, ports: [5432]}, {from: services}]"));
    let find = |name: &str| Place::of(&lab, name);
    let (db, web, app) = (find("db-1"), find("web-1"), find("app-1"));
    assert!(web.gets(&lab, &db, PORT) && !web.gets(&lab, &db, OTHER) && !web.pings(&lab, &db), "web: one port only");
    assert!(!app.gets(&lab, &db, PORT) && !app.gets(&lab, &db, OTHER), "app is not named");
    assert!(db.gets(&lab, &app, PORT) && db.pings(&lab, &web), "what it begins itself is answered");
    assert!(app.gets(&lab, &web, PORT) && app.pings(&lab, &web), "nobody else is concerned");
    assert!(db.gets(&lab, &db, OTHER), "what a server says to itself");
    told(&lab, &db);

    // All of it while what comes by the service goes on.
    let (before, load) = (processes(&lab, &db), wrk(&lab, 10, true));
    change(&lab, "[{from: app}, {from: services}]", || app.gets(&lab, &db, PORT) && !web.gets(&lab, &db, PORT));
    assert!(app.gets(&lab, &db, OTHER) && app.pings(&lab, &db));
    let old = lab.kill_role(db.node, "node").unwrap();
    assert!(!web.gets(&lab, &db, PORT), "rules outlive the agent");
    lab.wait_for("a new agent", SOON, |lab| lab.role_pid(db.node, "node").is_ok_and(|pid| pid != old)).unwrap();
    lab.wait_ready(SOON).unwrap();
    assert!(!web.gets(&lab, &db, PORT) && app.gets(&lab, &db, PORT));
    let (answered, failed) = requests(&load.output());
    assert!(answered > 1000 && failed == 0, "{answered} answered, {failed} failed");
    assert!(!before.is_empty() && processes(&lab, &db) == before, "nothing was started again");

    change(&lab, "[]", || !app.gets(&lab, &db, PORT));
    let outside = || lab.exec_outside(&["curl", "-s", "-m", "1", "http://198.18.0.10/"]).unwrap().status.success();
    assert!(!outside(), "services are not named either");
    assert_eq!(server(&lab, "acme", "db-1")["state"], "running", "its node goes on checking its health");
    change(&lab, "[{from: web}]", || web.gets(&lab, &db, PORT));
    assert!(!outside());
    pan(&lab, &["apply", "-f", &write(&lab, "more.yaml", &scene(3, "[{from: web}]")), "--wait=60s"]);
    lab.wait_for("a further one of web", SOON, |lab| find("web-3").gets(lab, &db, PORT)).unwrap();
    assert_eq!(processes(&lab, &db), before);

    fails_over(&lab, &db);
}

/// Applies other rules and waits until they are in force.
fn change(lab: &TestLab, allow: &str, in_force: impl Fn() -> bool) {
    pan(lab, &["apply", "-f", &write(lab, "acme.yaml", &scene(2, allow))]);
    lab.wait_for(&format!("allow: {allow}"), SOON, |_| in_force()).unwrap();
}

/// Its partition is told of what was refused, and everybody what the rules are.
fn told(lab: &TestLab, db: &Place) {
    lab.wait_for("what was refused to be counted", SOON, |lab| uninvited(lab, db.node) > 0).unwrap();
    let refused = |event: &Value| event["reason"] == "CallersRefused" && event["object"] == "db-1";
    lab.wait_for("what was refused to be told", SOON, |lab| json(lab, &["events", "-p", "acme"]).as_array().unwrap().iter().any(refused))
        .unwrap();
    let rules = "services, web on 5432";
    let shown = pan(lab, &["get", "cluster", "-p", "acme", "-o", "wide"]);
    assert!(shown.contains("ALLOW") && shown.contains(rules), "{shown}");
    let why = pan(lab, &["why", "cluster", "db", "-p", "acme"]);
    assert!(why.contains(rules), "{why}");
    assert_eq!(json(lab, &["get", "cluster", "db", "-p", "acme"])["spec"]["allow"][0]["ports"][0], PORT);
}

/// Its node is lost, and at no moment does the new one let in who may not.
fn fails_over(lab: &TestLab, db: &Place) {
    let names = ["app-1", "app-2", "web-1", "web-2", "web-3"];
    let elsewhere = |prefix: &str| {
        let mut places = names.iter().filter(|name| name.starts_with(prefix)).map(|name| Place::of(lab, name));
        places.find(|place| place.node != db.node).unwrap()
    };
    let (app, web) = (elsewhere("app"), elsewhere("web"));
    let attempts = format!(
        "echo begins; while :; do timeout 0.1 bash -c 'exec 3<>/dev/tcp/{}/{PORT}' 2>/dev/null && echo let in; done",
        db.addresses[0]
    );
    let tries = lab.exec(app.node, &["ip", "netns", "exec", &app.netns, "bash", "-c", &attempts]).unwrap();
    let tries = Beside::start(lab, tries, "tries.log");
    let said = || std::fs::read_to_string(lab.data().join("tries.log")).unwrap();
    lab.wait_for("the first attempt", SOON, |_| said().contains("begins")).unwrap();
    lab.kill(db.node).unwrap();
    lab.wait_for("db-1 to run elsewhere", SOON, |lab| {
        let now = server(lab, "acme", "db-1");
        now["state"] == "running" && now["node"] != db.node.to_string()
    })
    .unwrap();
    let now = Place::of(lab, "db-1");
    lab.wait_for("web to get a connection", SOON, |lab| web.gets(lab, &now, PORT)).unwrap();
    assert!(!app.gets(lab, &now, PORT));
    assert_eq!(tries.stop(), "begins\n");
    lab.wait_for("what was refused there to be counted", SOON, |lab| uninvited(lab, now.node) > 0).unwrap();
}
