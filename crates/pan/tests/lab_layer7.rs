//! A service of layer 7, from its manifest to its servers: routes, what is lost with nodes, drains, agents and directors, and that nothing is
//! left of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabHost;
use pan_lab::harness::TestLab;
use story::{Beside, SOON, has, json, lab, pan, refused, requests, server, str_of, text, write, wrk};

/// Answers with the cluster's name and what the proxy says of the client.
fn cluster(name: &str, servers: u32, more: &str) -> String {
    format!(
        "---\napi: pan/v1\nkind: Cluster\npartition: acme\nname: {name}\nspec:\n  servers: {servers}\n  image: host\n  \
         command: [nginx, -g, 'daemon off;']\n  files:\n    - path: /etc/nginx/nginx.conf\n      content: |\n{}\
         \n  resources: {{cpu: 50m, memory: 64MiB}}\n  spread: node\n  protect: {{failures: 1}}\n  \
         stop: {{signal: QUIT, grace: 10s}}\n  health: {{http: {{port: 80, path: /}}, every: 200ms, failures: 2}}\n{more}",
        nginx(name)
    )
}

fn nginx(name: &str) -> String {
    format!(
        "        user www-data;
        worker_processes 1;
        pid /run/nginx.pid;
        error_log stderr;
        events {{ worker_connections 4096; }}
        http {{
          access_log off;
          default_type text/plain;
          keepalive_requests 1000000;
          server {{ listen 80; listen [::]:80; location / {{ return 200 \"{name} for $http_x_forwarded_for\\n\"; }} }}
        }}
"
    )
}

fn service(routes: &str) -> String {
    format!(
        "---\napi: pan/v1\nkind: Service\npartition: acme\nname: shop\nspec:\n  address: 198.18.0.10\n  port: 80\n  layer: 7\n  \
         routes:\n{routes}  cluster: web\n  retry: {{budget: 100%}}\n"
    )
}

const ROUTES: &str = "    - {match: {path: /api/}, cluster: api}\n    - {match: {host: api.example}, cluster: api}\n";

/// Another partition, whose service is of layer 4.
const OTHER: &str = "api: pan/v1
kind: Partition
name: other
spec: {networks: [10.0.0.0/24], hostImage: allow}
---
api: pan/v1
kind: Cluster
partition: other
name: db
spec: {servers: 1, image: host, command: [sleep, inf], resources: {cpu: 50m, memory: 16MiB}}
---
api: pan/v1
kind: Service
partition: other
name: db
spec: {port: 5432, cluster: db}
";

fn scene() -> String {
    let head = "api: pan/v1\nkind: Partition\nname: acme\nspec: {networks: [10.0.0.0/24], hostImage: allow}\n";
    let api = cluster("api", 2, "  allow: [{from: services, ports: [80]}]\n");
    format!("{head}{api}{}{}", cluster("web", 3, ""), service(ROUTES))
}

/// What a client outside gets.
fn get(lab: &TestLab, arguments: &[&str]) -> Option<String> {
    let mut argv = vec!["curl", "-s", "-m", "2"];
    argv.extend(arguments);
    let output = lab.exec_outside(&argv).unwrap();
    output.status.success().then(|| text(&output.stdout))
}

fn director(lab: &TestLab) -> LabHost {
    lab.host(str_of(&json(lab, &["get", "service", "shop", "-p", "acme"]), "director")).unwrap()
}

/// The processes in the partition's namespace at a director.
fn proxies(lab: &TestLab, director: LabHost) -> Vec<String> {
    let script = "for one in /run/netns/pand-*; do ip netns pids \"${one##*/}\"; done";
    let output = lab.exec_in(director, &["sh", "-c", script]).unwrap();
    text(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

/// Ends a load and finds that it lost nothing.
fn nothing_failed(load: Beside, what: &str) {
    let report = load.output();
    let (answered, failed) = requests(&report);
    assert!(answered > 1000 && failed == 0, "{what}: {answered} answered, {failed} failed:\n{report}");
}

#[test]
fn requests_reach_their_clusters_whatever_is_lost() {
    let Some(lab) = lab() else { return };
    if !["nginx", "curl", "wrk"].iter().all(|program| has(program)) {
        return;
    }
    wrong_ones_are_refused(&lab);
    story::apply(&lab, "acme.yaml", &scene());
    routes_are_followed(&lab);
    certificates_are_shown_by_name(&lab);
    clients_are_sent_on_and_headers_edited(&lab);
    its_people_may_ask(&lab);
    a_node_is_cut(&lab);
    a_node_is_drained(&lab);
    the_agent_is_killed(&lab);
    the_proxy_is_killed(&lab);
    the_proxy_stands_still(&lab);
    the_director_is_cut(&lab);
    nothing_is_left(&lab);
}

fn wrong_ones_are_refused(lab: &TestLab) {
    let wrong = scene().replace("cluster: api}\n    - {match: {host", "cluster: apo}\n    - {match: {host");
    let words = refused(lab, 1, &["apply", "-f", &write(lab, "wrong.yaml", &wrong)]);
    assert!(words.contains("there is no cluster apo") && words.contains("wrong.yaml:"), "{words}");
    let rule = service("    - {match: {rule: request.tsl}, cluster: api}\n");
    let words = refused(lab, 1, &["apply", "-f", &write(lab, "wrong.yaml", &rule)]);
    assert!(
        words.contains("wrong.yaml:11:22") && words.contains("line 1, column 1 of the rule") && words.contains("request.tls?"),
        "{words}"
    );
    let tls = format!("{}  tls: {{cert: x, key: y}}\n", scene());
    let words = refused(lab, 1, &["apply", "-f", &write(lab, "wrong.yaml", &tls)]);
    assert!(words.contains("wrong.yaml:") && words.contains("expected PEM"), "{words}");
}

fn routes_are_followed(lab: &TestLab) {
    let check = |arguments: &[&str], cluster: &str| {
        let answer = get(lab, arguments).unwrap_or_else(|| panic!("{arguments:?} is not answered\n{}", lab.logs()));
        let client = answer.strip_prefix(&format!("{cluster} for ")).unwrap_or_else(|| panic!("{arguments:?}: {answer}")).trim();
        assert!(client.starts_with("198.18.0."), "the client's own address: {client}");
    };
    check(&["http://198.18.0.10/"], "web");
    check(&["http://198.18.0.10/api/x"], "api");
    check(&["-H", "Host: API.example", "http://198.18.0.10/x"], "api");
    check(&["-H", "X-Forwarded-For: 1.2.3.4", "http://198.18.0.10/apix"], "web");
    let shown = json(lab, &["get", "service", "shop", "-p", "acme"]);
    assert_eq!((shown["spec"]["layer"].as_u64(), shown["backends"].as_array().unwrap().len()), (Some(7), 5), "{shown}");
    // A change of routes is in force without a new process.
    let before = proxies(lab, director(lab));
    assert_eq!(before.len(), 1, "one process: {before:?}");
    let status =
        lab.exec_in(director(lab), &["sed", "-n", "s/^\\(Uid\\|CapEff\\|Groups\\):\\s*//p", &format!("/proc/{}/status", before[0])]);
    let status = text(&status.unwrap().stdout);
    let [uid, groups, rights] = status.lines().collect::<Vec<_>>()[..] else { panic!("{status}") };
    assert!(uid.split_whitespace().all(|id| id != "0") && groups.trim().is_empty() && rights == "0000000000000000", "{status}");
    says_nothing_outside(lab);
    pan(lab, &["apply", "-f", &write(lab, "more.yaml", &service("    - {match: {path: /x/}, cluster: api}\n"))]);
    let said = |path: &str| get(lab, &[&format!("http://198.18.0.10{path}")]).unwrap_or_default();
    lab.wait_for("the new routes", SOON, |_| said("/x/").starts_with("api")).unwrap();
    assert!(said("/api/x").starts_with("web"));
    assert_eq!(proxies(lab, director(lab)), before);
    rules_are_followed(lab);
    assert_eq!(proxies(lab, director(lab)), before);
}

const RULE: &str = r#"    - {match: {rule: 'request.method == "GET" && request.headers["x-canary"] == "1" && cidr("198.18.0.0/16").containsIP(request.client)'}, cluster: api}
"#;

fn rules_are_followed(lab: &TestLab) {
    pan(lab, &["apply", "-f", &write(lab, "rule.yaml", &service(RULE))]);
    let said = |header: &str| get(lab, &["-H", header, "http://198.18.0.10/"]).unwrap_or_default();
    lab.wait_for("the rule", SOON, |_| said("X-Canary: 1").starts_with("api")).unwrap();
    assert!(said("X-Canary: 2").starts_with("web") && said("X-Other: 1").starts_with("web"));
    let trace =
        |more: &[&str]| pan(lab, &[&["trace", "request", "-p", "acme", "--service", "shop", "--client", "198.18.0.1"], more].concat());
    let words = trace(&[]);
    assert!(words.contains("rule of routes[0]: it does not count, because of request.headers[\"x-canary\"]: there is none"), "{words}");
    assert!(words.contains("route: cluster, which leads to cluster web"), "{words}");
    let words = trace(&["--header", "x-canary=1"]);
    assert!(words.contains("rule of routes[0]: it holds") && words.contains("route: routes[0]"), "{words}");
}

/// Its own service, on the port that browsers know.
fn secure(certificates: &[&rcgen::CertifiedKey<rcgen::KeyPair>]) -> String {
    let pem = |text: &str| format!("{text:?}");
    let one =
        |of: &rcgen::CertifiedKey<rcgen::KeyPair>| format!("cert: {}, key: {}", pem(&of.cert.pem()), pem(&of.signing_key.serialize_pem()));
    let more: Vec<String> = certificates[1..].iter().map(|of| format!("{{{}}}", one(of))).collect();
    format!(
        "---\napi: pan/v1\nkind: Service\npartition: acme\nname: safe\nspec:\n  address: 198.18.0.10\n  port: 443\n  targetPort: 80\n  \
         layer: 7\n  cluster: api\n  tls: {{{}, more: [{}]}}\n",
        one(certificates[0]),
        more.join(", ")
    )
}

/// Each name has its own certificate; a renewed one is shown at the next connection, by the same process.
fn certificates_are_shown_by_name(lab: &TestLab) {
    let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (shop, other, renewed) = (made("shop.example"), made("*.other.example"), made("shop.example"));
    let before = proxies(lab, director(lab));
    story::apply(lab, "safe.yaml", &secure(&[&shop, &other]));
    let asked = |name: &str, trusted: &str| {
        let (resolve, url) = (format!("{name}:443:198.18.0.10"), format!("https://{name}/"));
        get(lab, &["--cacert", &write(lab, "ca.pem", trusted), "--resolve", &resolve, &url])
    };
    lab.wait_for("TLS", SOON, |_| asked("shop.example", &shop.cert.pem()).is_some_and(|answer| answer.starts_with("api"))).unwrap();
    assert!(asked("a.other.example", &other.cert.pem()).is_some());
    assert!(asked("shop.example", &other.cert.pem()).is_none(), "it is another's certificate");
    let shown = pan(lab, &["get", "service", "safe", "-p", "acme", "-o", "yaml"]);
    assert!(shown.contains("*.other.example") && shown.contains("BEGIN CERTIFICATE") && !shown.contains("PRIVATE KEY"), "{shown}");
    // What is shown is a manifest, of which the keys are known.
    let again = secure(&[&renewed, &other]);
    let key = format!(", key: {:?}", other.signing_key.serialize_pem());
    assert!(again.contains(&key));
    pan(lab, &["apply", "-f", &write(lab, "renewed.yaml", &again.replace(&key, ""))]);
    lab.wait_for("the renewed certificate", SOON, |_| asked("shop.example", &renewed.cert.pem()).is_some()).unwrap();
    assert!(asked("a.other.example", &other.cert.pem()).is_some());
    assert_eq!(proxies(lab, director(lab)), before);
    pan(lab, &["delete", "service", "safe", "-p", "acme"]);
}

const ON: &str = "---
api: pan/v1
kind: Service
partition: acme
name: on
spec:
  address: 198.18.0.10
  port: 8080
  layer: 7
  routes:
    - {redirect: {scheme: https, host: shop.example}, edits: {response: {set: {x-sent: 'on'}}}}
";

/// A service that only redirects has no server and is ready all the same; another's answers get what its manifest says.
fn clients_are_sent_on_and_headers_edited(lab: &TestLab) {
    story::apply(lab, "on.yaml", ON);
    assert_eq!(json(lab, &["get", "service", "on", "-p", "acme"])["state"], "ready");
    let head = |url: &str| get(lab, &["-i", url]).unwrap_or_default().to_ascii_lowercase();
    let answer = head("http://198.18.0.10:8080/a?b");
    assert!(
        answer.starts_with("http/1.1 308") && answer.contains("location: https://shop.example/a?b") && answer.contains("x-sent: on"),
        "{answer}"
    );
    let edited =
        format!("{}  edits: {{request: {{set: {{X-Forwarded-For: edited}}}}, response: {{set: {{server: nobody}}}}}}\n", service(ROUTES));
    story::apply(lab, "edited.yaml", &edited);
    lab.wait_for("the edits", SOON, |_| head("http://198.18.0.10/").contains("server: nobody")).unwrap();
    assert!(head("http://198.18.0.10/").contains("web for edited"));
    story::apply(lab, "plain.yaml", &service(ROUTES));
    lab.wait_for("no edits", SOON, |_| head("http://198.18.0.10/").contains("web for 198.18.0.")).unwrap();
}

/// Where a request would go is where it goes; what was counted is what was asked.
fn its_people_may_ask(lab: &TestLab) {
    let trace = |more: &[&str]| json(lab, &[&["trace", "request", "-p", "acme", "--service", "shop"], more].concat());
    let traced = trace(&["--path", "/api/x"]);
    assert_eq!((traced["route"].as_str(), traced["cluster"].as_str()), (Some("routes[0]"), Some("api")), "{traced}");
    assert!(traced["pick"]["server"].as_str().is_some_and(|name| name.starts_with("api-")), "{traced}");
    assert_eq!(trace(&["--header", "Host=api.example"])["route"], "routes[1]");
    assert_eq!((trace(&[])["route"].as_str(), trace(&[])["scores"].as_array().map(Vec::len)), (Some("cluster"), Some(3)));
    let said = pan(lab, &["trace", "request", "-p", "acme", "--service", "shop", "--path", "/api/x"]);
    assert!(said.contains("route: routes[0], which leads to cluster api") && said.contains("pick: api-"), "{said}");
    let on = pan(lab, &["trace", "request", "-p", "acme", "--service", "on", "--path", "/a?b"]);
    assert!(on.contains("sends the client to https://shop.example/a?b"), "{on}");
    let words = refused(lab, 1, &["trace", "request", "-p", "acme", "--service", "shop", "--path", "/a/../b"]);
    assert!(words.contains("path"), "{words}");
    refused(lab, 3, &["trace", "request", "-p", "acme", "--service", "none"]);
    let number = |name: &str, labels: &[(&str, &str)]| {
        let page = metrics(lab, "shop");
        let samples = pan_api::metrics::read(&page).unwrap_or_else(|error| panic!("{error}\n{page}"));
        let fits = |one: &pan_api::metrics::Sample| labels.iter().all(|(key, value)| one.labels.get(*key).is_some_and(|it| it == value));
        samples.iter().filter(|one| one.name == name && fits(one)).map(|one| one.number).sum::<f64>()
    };
    let answered = || number("pan_service_requests_total", &[("status", "2xx")]);
    let at_api = || number("pan_backend_requests_total", &[("cluster", "api")]);
    let before = (answered(), at_api());
    (0..3).for_each(|_| drop(get(lab, &["http://198.18.0.10/api/"])));
    assert_eq!((answered(), at_api()), (before.0 + 3.0, before.1 + 3.0));
    pan(lab, &["delete", "service", "on", "-p", "acme"]);
}

/// The page that the partition's own collector reads.
fn metrics(lab: &TestLab, service: &str) -> String {
    let made = json(lab, &["token", "create", "--role", "monitor", "-p", "acme"]);
    let file = write(lab, "header", &format!("Authorization: Bearer {}", str_of(&made, "token")));
    let command = lab.pan_command(&[]).unwrap();
    let set = |name: &str| command.get_envs().find_map(|(key, value)| value.filter(|_| key == name)).unwrap().to_str().unwrap().to_owned();
    let url = format!("{}/v1/partitions/acme/services/{service}/metrics", set("PAN_URL").split(',').next().unwrap());
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "-m", "5", "--cacert", &set("PAN_CA"), "-H", &format!("@{file}"), &url]);
    text(&curl.output().unwrap().stdout)
}

/// Whoever took the proxy over would begin connections of its own: to clients, none. A closed port that is reached refuses (curl's 7), one that
/// is not says nothing (28).
fn says_nothing_outside(lab: &TestLab) {
    let answer = get(lab, &["http://198.18.0.10/"]).unwrap();
    let client = answer.trim().rsplit(' ').next().unwrap();
    let script = format!("for one in /run/netns/pand-*; do ip netns exec \"${{one##*/}}\" curl -s -m 1 http://{client}:9/; echo $?; done");
    let said = text(&lab.exec_in(director(lab), &["sh", "-c", &script]).unwrap().stdout);
    assert_eq!(said.trim(), "28", "{client} was reached");
}

fn a_node_is_cut(lab: &TestLab) {
    let before = server(lab, "acme", "web-1");
    let node = lab.host(str_of(&before, "node")).unwrap();
    let load = wrk(lab, 8, true);
    lab.kill(node).unwrap();
    lab.wait_for("web-1 to run elsewhere", SOON, |lab| {
        let now = server(lab, "acme", "web-1");
        now["state"] == "running" && now["node"] != before["node"]
    })
    .unwrap();
    nothing_failed(load, "a node is cut");
    lab.start(node).unwrap();
    pan(lab, &["wait", "node", &node.to_string(), "--for", "state=alive", "--timeout", "30s"]);
}

fn a_node_is_drained(lab: &TestLab) {
    let node = str_of(&server(lab, "acme", "web-2"), "node").to_owned();
    let load = wrk(lab, 8, true);
    pan(lab, &["node", "drain", &node, "--timeout", "60s"]);
    assert_eq!(json(lab, &["get", "node", &node])["servers"], 0);
    nothing_failed(load, "a node is drained");
    pan(lab, &["node", "uncordon", &node]);
    story::wait_state(lab, "acme", "web-2", "running");
}

/// The process goes on, and is told again.
fn the_agent_is_killed(lab: &TestLab) {
    let (owner, load) = (director(lab), wrk(lab, 6, true));
    let before = proxies(lab, owner);
    let old = lab.kill_role(owner, "director").unwrap();
    lab.wait_for("a new agent", SOON, |lab| lab.role_pid(owner, "director").is_ok_and(|pid| pid != old)).unwrap();
    pan(lab, &["apply", "-f", &write(lab, "again.yaml", &service(ROUTES))]);
    let told = |lab: &TestLab| get(lab, &["http://198.18.0.10/api/x"]).is_some_and(|answer| answer.starts_with("api"));
    lab.wait_for("the proxy to be told by the new agent", SOON, told).unwrap();
    nothing_failed(load, "the agent is killed");
    assert_eq!(proxies(lab, owner), before, "the same process");
}

/// Another takes its place, and that is told.
fn the_proxy_is_killed(lab: &TestLab) {
    let owner = director(lab);
    let before = proxies(lab, owner);
    lab.exec_in(owner, &["kill", "-9", &before[0]]).unwrap();
    lab.wait_for("another process", SOON, |lab| {
        let now = proxies(lab, owner);
        now.len() == 1 && now != before
    })
    .unwrap();
    lab.wait_for("it to answer", SOON, |lab| get(lab, &["http://198.18.0.10/"]).is_some()).unwrap();
    let log = std::fs::read_to_string(lab.log(owner, "director")).unwrap();
    assert!(log.contains("it is started again"), "{log}");
}

/// One that does not answer is ended and another begins; nobody waits for it before that, nor does it leave anything behind.
fn the_proxy_stands_still(lab: &TestLab) {
    let owner = director(lab);
    let before = proxies(lab, owner);
    lab.exec_in(owner, &["kill", "-STOP", &before[0]]).unwrap();
    // The director is told something, and does it, for whoever else it serves.
    pan(lab, &["apply", "-f", &write(lab, "other.yaml", OTHER), "--wait=60s"]);
    lab.wait_for("another process", SOON, |lab| {
        let now = proxies(lab, owner);
        now.len() == 1 && now != before
    })
    .unwrap();
    lab.wait_for("it to answer", SOON, |lab| get(lab, &["http://198.18.0.10/"]).is_some()).unwrap();
    let log = std::fs::read_to_string(lab.log(owner, "director")).unwrap();
    assert!(log.contains("the proxy is ended: it does not answer"), "{log}");
    pan(lab, &["delete", "partition", "other", "--cascade"]);
}

fn the_director_is_cut(lab: &TestLab) {
    let owner = director(lab);
    lab.kill(owner).unwrap();
    lab.wait_for("another director to answer", SOON, |lab| get(lab, &["http://198.18.0.10/api/x"]).is_some()).unwrap();
    // Its successor answers before anybody has said that it is the owner.
    lab.wait_for("another owner", SOON, |lab| director(lab) != owner).unwrap();
    lab.start(owner).unwrap();
    lab.wait_ready(SOON).unwrap();
    lab.wait_for("nothing to be served by who lost it", SOON, |lab| proxies(lab, owner).is_empty()).unwrap();
    nothing_failed(wrk(lab, 2, true), "after all of it");
}

fn nothing_is_left(lab: &TestLab) {
    let owner = director(lab);
    assert_eq!(proxies(lab, owner).len(), 1);
    let folders = |lab: &TestLab| text(&lab.exec_in(owner, &["ls", "/run/pan/proxies"]).unwrap().stdout);
    assert!(!folders(lab).trim().is_empty());
    pan(lab, &["delete", "service", "shop", "-p", "acme"]);
    lab.wait_for("nobody to listen", SOON, |lab| proxies(lab, owner).is_empty() && folders(lab).trim().is_empty()).unwrap();
    assert!(get(lab, &["http://198.18.0.10/"]).is_none());
}
