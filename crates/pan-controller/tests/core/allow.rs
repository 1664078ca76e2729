//! Who may begin to speak to a cluster's servers: what nodes are told, and what is refused of it.

use super::{Pan, server};
use pan_api::desired::Desired;
use pan_controller::core::request::{Kind, Request};
use pan_model::{Code, HostName};
use std::collections::{BTreeMap, BTreeSet};

fn cluster(name: &str, servers: u32, allow: &str) -> String {
    let allow = if allow.is_empty() { String::new() } else { format!("\n  allow: {allow}") };
    format!(
        "---\napi: pan/v1\nkind: Cluster\npartition: p\nname: {name}\nspec:\n  servers: {servers}\n  image: host\n  command: [a]\n  spread: node{allow}\n"
    )
}

fn scene(web: u32, allow: &str) -> String {
    let partition = "api: pan/v1\nkind: Partition\nname: p\nspec: {network: 10.0.0.0/24}\n";
    format!("{partition}{}{}{}", cluster("db", 2, allow), cluster("web", web, ""), cluster("app", 1, ""))
}

/// What the node of `db-1` is told: the rules, and whose servers it knows by their cluster.
fn told(desired: &BTreeMap<HostName, Desired>) -> (Option<String>, BTreeSet<String>) {
    let has = |desired: &&Desired| desired.servers.iter().any(|order| order.key == server("db-1"));
    let desired = desired.values().find(has).expect("some node has it");
    let order = desired.servers.iter().find(|order| order.key == server("db-1")).unwrap();
    let entries = desired.networks.iter().flat_map(|network| &network.entries);
    let known = entries.filter_map(|entry| Some(format!("{} {}", entry.cluster.as_ref()?, entry.addresses[0])));
    (order.allow.as_deref().map(pan_model::allow::said), known.collect())
}

#[test]
fn nodes_are_told_who_may_speak_and_who_that_is() {
    let mut pan = Pan::new();
    pan.apply(&scene(2, "")).unwrap();
    pan.rounds(3);
    let desired = pan.round();
    assert_eq!(told(&desired), (None, BTreeSet::new()), "nothing is said where nobody asked for it");
    let epochs: Vec<_> = pan.world.servers.values().map(|server| (server.epoch, server.incarnation)).collect();

    pan.apply(&scene(2, "[{from: web, ports: [5432]}, {from: services}]")).unwrap();
    pan.rounds(3);
    let (rules, known) = told(&pan.round());
    assert_eq!(rules.as_deref(), Some("services, web on 5432"));
    let addresses = |pan: &Pan| -> BTreeSet<String> {
        let web = pan.world.servers.values().filter(|server| server.cluster.as_str() == "web");
        web.map(|server| format!("web {}", server.addresses[0])).collect()
    };
    assert_eq!((known.len(), &known), (2, &addresses(&pan)), "of app nothing is said");
    let now: Vec<_> = pan.world.servers.values().map(|server| (server.epoch, server.incarnation)).collect();
    assert_eq!(now, epochs, "nothing is started again for it");

    pan.apply(&scene(3, "[{from: web}]")).unwrap();
    pan.rounds(3);
    let (rules, known) = told(&pan.round());
    assert_eq!((rules.as_deref(), known.len(), &known), (Some("web"), 3, &addresses(&pan)), "it follows a scale");
    pan.apply(&scene(1, "[]")).unwrap();
    pan.rounds(5);
    assert_eq!(told(&pan.round()), (Some("nobody".to_owned()), BTreeSet::new()));
}

#[test]
fn unknown_clusters_are_refused_with_their_place_and_named_ones_stay() {
    let mut pan = Pan::new();
    let error = pan.apply(&scene(1, "[{from: db}, {from: wbe}]")).unwrap_err();
    assert_eq!((error.code, error.problems[0].line, error.problems[0].column), (Code::Dangling, 15, 30), "{error:?}");
    assert!(error.message.contains("there is no cluster wbe"), "{error:?}");

    let hidden = scene(1, "[{from: services}]") + &cluster("services", 1, "");
    let error = pan.apply(&hidden).unwrap_err();
    assert_eq!((error.code, error.problems[0].line), (Code::Conflict, 15), "{error:?}");

    pan.apply(&scene(1, "[{from: db}, {from: web}]")).unwrap();
    pan.rounds(2);
    let delete =
        |name: &str| Request::Delete { kind: Kind::Cluster, partition: Some("p".parse().unwrap()), name: name.into(), cascade: true };
    let error = pan.ask(delete("web")).unwrap_err();
    assert_eq!(error.code, Code::InUse);
    assert!(error.message.contains("cluster db refers to cluster web"), "{error:?}");
    pan.apply(&scene(1, "[{from: db}]")).unwrap();
    pan.ask(delete("web")).unwrap();
    pan.ask(delete("db")).unwrap();
}

#[test]
fn a_rate_is_the_clusters_or_the_pans_and_changes_without_a_restart() {
    let mut pan = Pan::new();
    let rate = |pan: &mut Pan| {
        let desired = pan.round();
        let mut orders = desired.values().flat_map(|desired| &desired.servers);
        orders.find(|order| order.key == server("app-1")).unwrap().egress.map(|rate| rate.to_string())
    };
    let app = |resources: &str| scene(1, "") + &format!("  resources: {{cpu: 100m{resources}}}\n");
    pan.apply(&app("")).unwrap();
    pan.rounds(2);
    assert_eq!(rate(&mut pan), None);
    std::sync::Arc::make_mut(&mut pan.world.settings).egress = Some("1Gbit".parse().unwrap());
    assert_eq!(rate(&mut pan).as_deref(), Some("1Gbit"));
    let before = pan.world.servers[&server("app-1")].incarnation;
    pan.apply(&app(", egress: 20Mbit")).unwrap();
    pan.rounds(3);
    assert_eq!(rate(&mut pan).as_deref(), Some("20Mbit"));
    pan.apply(&app(", egress: 10Gbit")).unwrap();
    pan.rounds(3);
    assert_eq!(rate(&mut pan).as_deref(), Some("1Gbit"), "an owner asks for less, not for more");
    assert_eq!(pan.world.servers[&server("app-1")].incarnation, before);
}
