//! Services across partitions: two with the same addresses use each other's service while both say so, and nobody else learns of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabHost;
use pan_lab::harness::TestLab;
use serde_json::Value;
use std::collections::BTreeSet;
use story::{Beside, SOON, has, json, lab, pan, server, str_of, text, write};

const COMMAND: &str = r#"  command:
    - sh
    - -c
    - |
      printf 'return 200 "PARTITION %s $remote_addr\\n";\n' "$PAN_SERVER" >/run/answer.conf
      exec nginx -g 'daemon off;'
"#;

/// Says who answers and whom it sees; `/slow` goes on for most of a minute.
const NGINX: &str = r#"        user www-data;
        worker_processes 1;
        pid /run/nginx.pid;
        error_log stderr;
        events { worker_connections 256; }
        http {
          access_log off;
          server {
            listen 8080; listen [::]:8080;
            location / { include /run/answer.conf; }
            location /slow { set $a "LONG"; limit_rate 500; return 200 "$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a"; }
          }
        }
"#;

/// A partition like the other: the same network, the same names, a service that it may export, and an import of the other's.
fn scene(name: &str, other: &str, export: &str) -> String {
    let (command, nginx) = (COMMAND.replace("PARTITION", name), NGINX.replace("LONG", &"x".repeat(1000)));
    format!(
        "api: pan/v1\nkind: Partition\nname: {name}\nspec: {{networks: [10.0.0.0/24, fd10::/64], hostImage: allow}}\n\
         ---\napi: pan/v1\nkind: Cluster\npartition: {name}\nname: pay\nspec:\n  servers: 2\n  image: host\n{command}  \
         files:\n    - path: /etc/nginx/nginx.conf\n      content: |\n{nginx}\
         \n  resources: {{cpu: 50m, memory: 64MiB}}\n  stop: {{signal: KILL, grace: 1s}}\n  \
         health: {{http: {{port: 8080, path: /}}, every: 200ms, failures: 2}}\n  allow: [{{from: services}}]\n\
         ---\napi: pan/v1\nkind: Service\npartition: {name}\nname: pay\nspec: {{port: 80, targetPort: 8080, cluster: pay, export: [{export}]}}\n\
         ---\napi: pan/v1\nkind: Import\npartition: {name}\nname: theirs\nspec: {{partition: {other}, service: pay}}\n"
    )
}

/// What a server of a partition is told by whoever answers at an address of its network; the exit code of `curl` if nobody does.
fn asks(lab: &TestLab, partition: &str, address: &str) -> Result<String, i32> {
    let node = str_of(&server(lab, partition, "pay-1"), "node").parse().unwrap();
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let (netns, url) = (format!("pan-{partition}.pay-1"), format!("http://{host}/"));
    let said = lab.exec_in(node, &["ip", "netns", "exec", &netns, "curl", "-s", "-m", "1", &url]).unwrap();
    if said.status.success() { Ok(text(&said.stdout)) } else { Err(said.status.code().unwrap()) }
}

fn import(lab: &TestLab, partition: &str, name: &str) -> Value {
    json(lab, &["get", "import", name, "-p", partition])
}

fn addresses(shown: &Value) -> Vec<String> {
    shown["addresses"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn becomes(lab: &TestLab, partition: &str, state: &str) {
    pan(lab, &["wait", "import", "theirs", "-p", partition, "--for", &format!("state={state}"), "--timeout", "30s"]);
}

fn apply(lab: &TestLab, name: &str, yaml: &str) {
    pan(lab, &["apply", "-f", &write(lab, name, yaml)]);
}

#[test]
fn two_partitions_use_each_others_service_while_both_say_so() {
    let Some(lab) = lab() else { return };
    if !["nginx", "curl"].iter().all(|program| has(program)) {
        return;
    }
    // One word is none: acme wants shop's, which exports to nobody.
    story::apply(&lab, "acme.yaml", &scene("acme", "shop", "shop"));
    story::apply(&lab, "shop.yaml", &scene("shop", "acme", ""));
    becomes(&lab, "shop", "active");
    nowhere_is_one_place(&lab);

    apply(&lab, "shop.yaml", &scene("shop", "acme", "acme"));
    becomes(&lab, "acme", "active");
    for (partition, other) in [("acme", "shop"), ("shop", "acme")] {
        works(&lab, partition, other);
    }
    told(&lab);
    ends(&lab);
    moves(&lab);
}

/// Not there, not exported, or not there at all: the same words, the same answer to a SYN, which is none.
fn nowhere_is_one_place(lab: &TestLab) {
    let ghost = "api: pan/v1\nkind: Import\npartition: acme\nname: ghost\nspec: {partition: none, service: pay}\n";
    apply(
        lab,
        "ghost.yaml",
        &format!("{ghost}---\n{}", ghost.replace("ghost", "spirit").replace("none, service: pay", "shop, service: none")),
    );
    let seen: BTreeSet<String> = ["theirs", "ghost", "spirit"]
        .iter()
        .map(|name| {
            let mut shown = import(lab, "acme", name);
            for address in addresses(&shown) {
                assert_eq!(asks(lab, "acme", &address), Err(28), "{name} at {address}: no answer");
            }
            for field in ["name", "address", "addresses", "spec"] {
                shown[field].take();
            }
            shown.to_string()
        })
        .collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let events = json(lab, &["events", "-p", "acme"]);
    assert!(events.as_array().unwrap().iter().all(|event| event["kind"] != "import"), "{events}");
    let why = pan(lab, &["why", "import", "ghost", "-p", "acme"]);
    let other = pan(lab, &["why", "import", "theirs", "-p", "acme"]);
    let blind =
        |text: &str, address: &Value| text.replace(address.as_str().unwrap(), "ADDRESS").replace("ghost", "NAME").replace("theirs", "NAME");
    let (ghost, theirs) = (import(lab, "acme", "ghost"), import(lab, "acme", "theirs"));
    assert_eq!(blind(&why, &ghost["address"]).replace("none", "shop"), blind(&other, &theirs["address"]), "the same reasons");
}

fn works(lab: &TestLab, partition: &str, other: &str) {
    let shown = import(lab, partition, "theirs");
    assert_eq!((str_of(&shown, "state"), shown["port"].as_u64()), ("active", Some(80)));
    let service = json(lab, &["get", "service", "pay", "-p", other]);
    let export = &service["exports"][0];
    assert_eq!((str_of(export, "partition"), export["inForce"].as_bool()), (partition, Some(true)), "{service}");
    let (near, far) = (addresses(&shown), addresses(export));
    assert_eq!((near.len(), far.len()), (2, 2));
    let mut answered = BTreeSet::new();
    for (address, stands) in near.iter().zip(&far) {
        for _ in 0..20 {
            let said = asks(lab, partition, address).unwrap_or_else(|code| panic!("{partition} at {address}: {code}\n{}", lab.logs()));
            let words: Vec<&str> = said.split_whitespace().collect();
            assert_eq!((words[0], words[2]), (other, stands.as_str()), "the other's servers see one address of their own network");
            answered.insert(words[1].to_owned());
        }
    }
    assert_eq!(answered.len(), 2, "both servers answer: {answered:?}");
    let node = str_of(&server(lab, partition, "pay-1"), "node").parse().unwrap();
    let (netns, to) = (format!("pan-{partition}.pay-1"), format!("exec 3<>/dev/tcp/{}/8080", near[0]));
    let through = lab.exec_in(node, &["ip", "netns", "exec", &netns, "timeout", "0.5", "bash", "-c", &to]).unwrap();
    assert!(!through.status.success(), "another port of it");
}

fn told(lab: &TestLab) {
    let shown = pan(lab, &["get", "import", "-p", "acme", "-o", "wide"]);
    assert!(shown.contains("waiting") && shown.contains("active") && shown.contains("spirit"), "{shown}");
    let described = pan(lab, &["describe", "import", "theirs", "-p", "acme"]);
    assert!(described.contains("ImportActive") && described.contains("service: pay"), "{described}");
    let audit = json(lab, &["audit", "-p", "acme"]);
    assert!(audit.as_array().unwrap().iter().any(|line| line["kind"] == "import" && line["name"] == "theirs"), "{audit}");
    pan(lab, &["delete", "import", "ghost", "-p", "acme"]);
    pan(lab, &["delete", "import", "spirit", "-p", "acme"]);
}

/// Either word taken back ends it, for connections that are open, too.
fn ends(lab: &TestLab) {
    let address = addresses(&import(lab, "acme", "theirs")).remove(0);
    let node: LabHost = str_of(&server(lab, "acme", "pay-1"), "node").parse().unwrap();
    let slow = |log: &str| {
        let script =
            format!("curl -s -o /dev/null -w '%{{size_download}} ' --speed-limit 1 --speed-time 2 http://{address}/slow; echo ended $?");
        let command = lab.exec(node, &["ip", "netns", "exec", "pan-acme.pay-1", "sh", "-c", &script]).unwrap();
        Beside::start(lab, command, log)
    };
    let log = |name: &str| std::fs::read_to_string(lab.data().join(name)).unwrap();
    let ended = |name: &'static str| {
        lab.wait_for("an open connection to end", SOON, |_| log(name).contains("ended")).unwrap();
        assert!(log(name).contains("ended 28"), "{}", log(name));
    };
    let open = || {
        let netns = ["ip", "netns", "exec", "pan-acme.pay-1", "ss", "-Htn", "state", "established", "dst", &address];
        lab.wait_for("an open connection", SOON, |lab| !lab.exec_in(node, &netns).unwrap().stdout.is_empty()).unwrap();
    };
    let first = slow("slow-1.log");
    open();
    apply(lab, "shop.yaml", &scene("shop", "acme", ""));
    becomes(lab, "acme", "waiting");
    lab.wait_for("silence", SOON, |lab| asks(lab, "acme", &address) == Err(28)).unwrap();
    ended("slow-1.log");
    drop(first);
    apply(lab, "shop.yaml", &scene("shop", "acme", "acme"));
    becomes(lab, "acme", "active");
    lab.wait_for("an answer", SOON, |lab| asks(lab, "acme", &address).is_ok()).unwrap();

    let second = slow("slow-2.log");
    open();
    pan(lab, &["delete", "import", "theirs", "-p", "acme"]);
    lab.wait_for("silence", SOON, |lab| asks(lab, "acme", &address).is_err()).unwrap();
    ended("slow-2.log");
    drop(second);
    let exports = json(lab, &["get", "service", "pay", "-p", "shop"]);
    assert_eq!(exports["exports"][0]["inForce"], false, "{exports}");
    assert!(asks(lab, "shop", &addresses(&import(lab, "shop", "theirs"))[0]).is_ok(), "the other way is another consent");
}

/// Its director is lost.
fn moves(lab: &TestLab) {
    let service = json(lab, &["get", "service", "pay", "-p", "shop"]);
    let address = addresses(&import(lab, "shop", "theirs")).remove(0);
    let director: LabHost = str_of(&service, "director").parse().unwrap();
    lab.kill(director).unwrap();
    lab.wait_for("another director", SOON, |lab| {
        json(lab, &["get", "service", "pay", "-p", "shop"])["director"] != director.to_string().as_str()
            && asks(lab, "shop", &address).is_ok()
    })
    .unwrap();
    becomes(lab, "shop", "active");
}
