//! Objects, actions on them, and explanations.

use super::harness::{Front, event, host, world};
use crate::core::request::{Kind, Request};
use crate::handle::View;
use pan_model::{ByteSize, Cpu, Resources};
use pan_plan::{Cluster, Node, NodeState, Protect, Snapshot, Spread};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

#[tokio::test]
async fn lists_and_objects() {
    let front = Front::start(world());
    for (path, count) in [
        ("/v1/partitions", 2),
        ("/v1/clusters", 2),
        ("/v1/servers", 2),
        ("/v1/services", 2),
        ("/v1/imports", 2),
        ("/v1/policies", 2),
        ("/v1/nodes", 2),
        ("/v1/hosts", 2),
        ("/v1/events", 3),
        ("/v1/events?since=2026-01-01T00:00:02Z", 0),
        ("/v1/events?since=5m", 0),
        ("/v1/partitions/acme/clusters", 1),
        ("/v1/partitions/acme/servers", 1),
        ("/v1/partitions/acme/services", 1),
        ("/v1/partitions/acme/imports", 1),
        ("/v1/partitions/acme/policies", 1),
        ("/v1/partitions/acme/events", 1),
    ] {
        let list = front.send("GET", path, &[], b"").await.json();
        assert_eq!(list.as_array().unwrap().len(), count, "{path}: {list}");
    }
    for (path, name) in [
        ("/v1/partitions/acme", "acme"),
        ("/v1/partitions/acme/clusters/web", "web"),
        ("/v1/partitions/acme/servers/web-1", "web-1"),
        ("/v1/partitions/acme/services/www", "www"),
        ("/v1/partitions/acme/imports/pay", "pay"),
        ("/v1/partitions/acme/policies/day", "day"),
        ("/v1/nodes/n1", "n1"),
        ("/v1/hosts/n1", "n1"),
    ] {
        assert_eq!(front.send("GET", path, &[], b"").await.json()["name"], name, "{path}");
        for wrong in ["none", "N%20o"] {
            let path = format!("{}/{wrong}", path.rsplit_once('/').unwrap().0);
            front.send("GET", &path, &[], b"").await.refuses(404, "PAN-300", "no ");
        }
    }
    front.send("GET", "/v1/partitions/none/servers", &[], b"").await.refuses(404, "PAN-300", "no partition \"none\"");
}

#[tokio::test]
async fn actions_reach_the_loop() {
    let front = Front::start(world());
    let done = async |method: &str, path: &str, body: Value| {
        let answer = front.send(method, path, &[("Content-Type", "application/json")], body.to_string().as_bytes()).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path} {answer:?}");
        front.asked.lock().unwrap().pop().unwrap()
    };
    let asked = done("DELETE", "/v1/partitions/acme?cascade=true", Value::Null).await;
    assert!(matches!(asked, Request::Delete { kind: Kind::Partition, partition: None, cascade: true, .. }));
    let asked = done("DELETE", "/v1/partitions/acme/clusters/web?cascade=true", Value::Null).await;
    assert!(matches!(asked, Request::Delete { kind: Kind::Cluster, partition: Some(_), cascade: true, .. }));
    let asked = done("DELETE", "/v1/partitions/acme/services/www", Value::Null).await;
    assert!(matches!(asked, Request::Delete { kind: Kind::Service, partition: Some(_), name, .. } if name == "www"));
    let asked = done("POST", "/v1/partitions/acme/servers/web-1/migrate", json!({"to": "n2"})).await;
    assert!(matches!(asked, Request::Migrate { to: Some(to), .. } if to == host("n2")));
    let asked = done("POST", "/v1/partitions/acme/servers/web-1/failover", json!({})).await;
    assert!(matches!(asked, Request::Failover { to: None, .. }));
    let asked = done("POST", "/v1/nodes/n1/label", json!({"labels": {"rack": "r1", "zone": null}})).await;
    let labels = BTreeMap::from([("rack".to_owned(), Some("r1".to_owned())), ("zone".to_owned(), None)]);
    assert!(matches!(asked, Request::Label { labels: set, .. } if set == labels));
    // What is not there never reaches the loop.
    for path in ["/v1/partitions/acme/servers/web-9/stop", "/v1/partitions/none/servers/web-1/stop", "/v1/nodes/n9/drain"] {
        front.send("POST", path, &[], b"").await.refuses(404, "PAN-300", "no ");
    }
    front.post("/v1/partitions/acme/servers/web-1/migrate", &json!({"to": "n9"})).await.refuses(404, "PAN-300", "no node \"n9\"");
    assert!(front.asked.lock().unwrap().is_empty());
}

/// Two nodes; a protected server that only one of them can hold besides the other's.
fn tight() -> View {
    let gib = |n: u64| Resources::new(Cpu(1000), ByteSize(n << 30));
    let node = |memory| Node { capacity: gib(memory), labels: BTreeMap::new(), state: NodeState::Up };
    let cluster = Cluster {
        need: gib(3),
        spread: Spread::None,
        protect: Some(Protect { failures: 1, domain: pan_plan::Domain::Node }),
        priority: 500,
        after: Vec::new(),
        with: Vec::new(),
        require_labels: BTreeMap::new(),
        servers: BTreeMap::from([("web-1".parse().unwrap(), Some(host("n1")))]),
    };
    let snapshot = Snapshot {
        nodes: BTreeMap::from([(host("n1"), node(4)), (host("n2"), node(2))]),
        partitions: BTreeMap::new(),
        clusters: BTreeMap::from([(("acme".parse().unwrap(), "web".parse().unwrap()), cluster)]),
    };
    View { snapshot: Arc::new(snapshot), ..world() }
}

#[tokio::test]
async fn proofs_and_forecasts() {
    let front = Front::start(tight());
    let proof = front.send("GET", "/v1/certify", &[], b"").await.json();
    assert_eq!((&proof["ok"], &proof["failures"]), (&json!(false), &json!(1)));
    assert_eq!(proof["counterexample"]["hosts"], json!(["n1"]));
    assert_eq!(proof["counterexample"]["object"], "acme/web-1");
    let lost = front.post("/v1/whatif", &json!({"fail": ["n1"]})).await.json();
    assert_eq!(lost["lost"][0]["server"], "acme/web-1");
    let saved = front.post("/v1/whatif", &json!({"fail": ["n1"], "addNode": "name=n9,cpu=4,memory=4GiB,rack=r1"})).await.json();
    assert_eq!((&saved["lost"], &saved["moves"][0]["to"]), (&json!([]), &json!("n9")));
    front.post("/v1/whatif", &json!({"fail": ["n8"]})).await.refuses(404, "PAN-300", "no host \"n8\"");
    front.post("/v1/whatif", &json!({})).await.refuses(400, "PAN-100", "nothing is asked");
    front.post("/v1/whatif", &json!({"addNode": "name=n9"})).await.refuses(400, "PAN-100", "cpu is missing");
}

#[tokio::test]
async fn policies_are_looked_ahead() {
    let front = Front::start(tight());
    let at = async |time: &str| front.send("GET", &format!("/v1/partitions/acme/outlook?at={time}"), &[], b"").await.json();
    let noon = at("2026-12-08T12:00:00Z").await;
    assert_eq!((noon.as_array().unwrap().len(), &noon[0]["servers"], &noon[0]["own"]), (1, &json!(3), &json!(1)));
    assert_eq!(noon[0]["because"][0]["policy"], "day");
    assert_eq!(
        (&noon[0]["because"][0]["effect"], &noon[0]["because"][0]["until"]),
        (&json!({"floor": 3}), &json!("2026-12-08T18:00:00.000000Z"))
    );
    assert!(noon[0]["short"].as_str().unwrap().contains("acme/web-"), "{noon}");
    let night = at("2026-12-08T18:00:00Z").await;
    assert!(night[0]["servers"] == 1 && night[0]["short"].is_null() && night[0]["until"] == "2026-12-09T08:00:00.000000Z", "{night}");
    let week = front.send("GET", "/v1/partitions/acme/outlook?days=2", &[], b"").await.json();
    let numbers: Vec<u64> = week.as_array().unwrap().iter().map(|row| row["servers"].as_u64().unwrap()).collect();
    assert!(numbers.len() == 5 && numbers.windows(2).all(|two| two[0] != two[1]), "{week}");
    for (query, says) in
        [("days=0", "expected 1 to 366"), ("at=tomorrow", "query parameter at"), ("days=1&at=2026-12-08T12:00:00Z", "one of")]
    {
        front.send("GET", &format!("/v1/partitions/acme/outlook?{query}"), &[], b"").await.refuses(400, "PAN-100", says);
    }
}

#[tokio::test]
async fn reasons() {
    let front = Front::start(tight());
    for (path, object) in [
        ("/v1/why/server/web-1?partition=acme", "server acme/web-1"),
        ("/v1/why/cluster/web?partition=acme", "cluster acme/web"),
        ("/v1/why/service/www?partition=acme", "service acme/www"),
        ("/v1/why/policy/day?partition=acme", "policy acme/day"),
        ("/v1/why/node/n1", "node n1"),
        ("/v1/why/volume/web-1.data?partition=acme", "volume acme/web-1.data"),
    ] {
        let why = front.send("GET", path, &[], b"").await.json();
        assert_eq!(why["object"], object, "{why}");
        assert!(!why["decision"].as_str().unwrap().is_empty() && !why["reasons"].as_array().unwrap().is_empty(), "{why}");
    }
    front.send("GET", "/v1/why/server/web-1", &[], b"").await.refuses(400, "PAN-100", "?partition=NAME");
    front.send("GET", "/v1/why/server/web-9?partition=acme", &[], b"").await.refuses(404, "PAN-300", "no server \"web-9\"");
    front.send("GET", "/v1/why/server/web-1?partition=none", &[], b"").await.refuses(404, "PAN-300", "no partition");
    front.send("GET", "/v1/why/event/v", &[], b"").await.refuses(400, "PAN-100", "nothing explains");
    front.send("GET", "/v1/why/volume/v?partition=acme", &[], b"").await.refuses(404, "PAN-300", "no volume \"v\"");
}

/// A storage host as JSON.
fn storage(name: &str, state: &str, (promised, takes): (u64, bool)) -> (pan_model::HostName, pan_api::host::Host) {
    let storage = json!({"capacity": 10u64 << 30, "promised": promised << 30, "snapshots": 0, "takes": takes, "labels": {"rack": "r1"}});
    let json = json!({"name": name, "roles": ["storage"], "state": state, "fabrics": {"a": "up", "b": "up"}, "version": "0",
        "address": "127.0.0.9", "agent": true, "storage": storage});
    (name.parse().unwrap(), serde_json::from_value(json).unwrap())
}

#[tokio::test]
async fn a_volume_says_where_it_is_who_writes_it_and_what_became_of_its_copies() {
    let mut view = world();
    view.hosts.extend([storage("s1", "alive", (3, true)), storage("s2", "dead", (1, false))]);
    view.hosts.extend([storage("s3", "alive", (10, true)), storage("s4", "alive", (1, true))]);
    let key = pan_model::VolumeKey { partition: "acme".parse().unwrap(), name: "web-1.data".parse().unwrap() };
    let volume = view.volumes.get_mut(&key).unwrap();
    (volume.in_sync, volume.epoch, volume.mount) = (1, 7, Some("/srv".into()));
    volume.state = pan_api::volume::VolumeState::Degraded;
    let out = json!({"host": "s2", "inSync": false, "used": 4096, "trouble": "blocks rotted"});
    volume.replicas.push(serde_json::from_value(out).unwrap());
    // Both are told of what a head said, the PAN with the host's name; another volume's is not quoted.
    let of = |number, partition, object: &str| Arc::new(event(number, partition, "volume", object, "CopyLost"));
    view.events.get_mut(&None).unwrap().extend([of(2, None, "acme/web-1.data"), of(3, None, "rival/web-1.data")]);
    view.events
        .get_mut(&Some("acme".parse().unwrap()))
        .unwrap()
        .extend([of(2, Some("acme"), "web-1.data"), of(4, Some("acme"), "web-1.data")]);
    let front = Front::start(view);
    let why = front.send("GET", "/v1/why/volume/web-1.data?partition=acme", &[], b"").await.json();
    assert_eq!(why["decision"], "1 of 2 copies have everything, and web-1 writes it under epoch 7");
    let expected = json!([
        "a copy is out of sync: it waits for that storage host, or for another one in its place",
        "web-1 has it at /srv on n1",
        "the copy on s1 has everything; s1 is alive, in rack=r1, 3GiB of 10GiB promised",
        "the copy on s2 is out of sync, takes 4096 bytes; s2 is dead, in rack=r1, 1GiB of 10GiB promised: blocks rotted",
        "copies are where they share the fewest regions, zones and racks, and then where the most room is not promised",
        "2026-01-01T00:00:02.000000Z CopyLost: it happened",
        "2026-01-01T00:00:04.000000Z CopyLost: it happened",
    ]);
    assert_eq!(why["reasons"], expected);
    let others = json!([
        "s3 has too little room for 1GiB: it is alive, in rack=r1, 10GiB of 10GiB promised",
        "s4 could take a copy: it is alive, in rack=r1, 1GiB of 10GiB promised",
    ]);
    assert_eq!(why["alternatives"], others);
}

#[tokio::test]
async fn timelines() {
    let mut view = world();
    let timeline = serde_json::from_value(json!({"object": "acme/web-1", "finished": true, "steps": [], "totalMs": 15})).unwrap();
    view.timelines.insert("acme/web-1".into(), Arc::new(vec![timeline]));
    let front = Front::start(view);
    for path in ["/v1/timelines/web-1?partition=acme", "/v1/timelines/acme%2Fweb-1"] {
        assert_eq!(front.send("GET", path, &[], b"").await.json()[0]["totalMs"], 15, "{path}");
    }
    for path in ["/v1/timelines/n1", "/v1/timelines/web-1?partition=rival"] {
        assert_eq!(front.send("GET", path, &[], b"").await.json(), json!([]), "{path}");
    }
    for path in ["/v1/timelines/n9", "/v1/timelines/acme%2Fweb-9", "/v1/timelines/acme%2Fweb-1?partition=acme"] {
        front.send("GET", path, &[], b"").await.refuses(404, "PAN-300", "no ");
    }
}
