//! What a principal of one partition sees: its own world, as if it were the only one.

use super::harness::{host, world};
use crate::api::scope::{DomainKey, Scope};
use crate::core::usage::{Book, Of, PageKey};
use crate::handle::{Principal, PrincipalRole, View};
use pan_api::token::AccessRole;
use pan_model::{PartitionName, ServerKey};
use std::sync::Arc;

fn scope(partition: Option<&str>, view: View, key: &[u8]) -> Scope {
    let partition = partition.map(|name| name.parse().unwrap());
    let principal =
        Principal { name: "somebody".into(), called: None, role: PrincipalRole::Access(AccessRole::Administrator), partition, token: None };
    Scope::new(&principal, Arc::new(view), DomainKey::of(key))
}

fn key(partition: &str) -> ServerKey {
    ServerKey { partition: partition.parse().unwrap(), name: "web-1".parse().unwrap() }
}

#[test]
fn others_are_absent() {
    let own = scope(Some("acme"), world(), b"k");
    assert_eq!(own.partitions().into_keys().map(|name| name.to_string()).collect::<Vec<_>>(), ["acme"]);
    assert_eq!((own.clusters(None).len(), own.servers(None).len(), own.services(None).len()), (1, 1, 1));
    assert_eq!((own.nodes().len(), own.hosts().len(), own.events(None).count()), (0, 0, 1));
    assert!(own.node(&host("n1")).is_none() && own.host(&host("n1")).is_none() && own.host_timelines(&host("n1")).is_none());
    assert!(own.tokens().is_empty(), "the one there is is the PAN's");
    assert!(own.server(&key("rival")).is_none() && own.server_timelines(&key("rival")).is_none() && own.agent_of(&key("rival")).is_none());
    assert!(own.snapshot().is_err());
    let (hidden, absent): (PartitionName, PartitionName) = ("rival".parse().unwrap(), "river".parse().unwrap());
    assert!(own.servers(Some(&hidden)).is_empty() && own.events(Some(&hidden)).next().is_none());
    let refusals = [&hidden, &absent].map(|name| own.require_partition(name).unwrap_err().message.replace(name.as_str(), "X"));
    assert_eq!(refusals[0], refusals[1]);
}

#[test]
fn the_administrator_sees_everything() {
    let all = scope(None, world(), b"k");
    assert_eq!((all.partitions().len(), all.servers(None).len(), all.nodes().len(), all.events(None).count()), (2, 2, 2, 3));
    assert_eq!(all.server(&key("acme")).unwrap().node.as_deref(), Some("n1"));
    assert_eq!(all.services(None).into_values().next().unwrap().director.as_deref(), Some("d1"));
}

#[test]
fn where_copies_are_is_the_pans_business() {
    let own = scope(Some("acme"), world(), b"k").volumes(None);
    assert_eq!(own.keys().map(ToString::to_string).collect::<Vec<_>>(), ["acme/web-1.data"]);
    assert!(own.values().all(|volume| volume.replicas.is_empty() && volume.in_sync == 2));
    let all = scope(None, world(), b"k");
    assert_eq!(all.volumes(None).len(), 2);
    assert!(all.volumes(None).values().all(|volume| volume.replicas.len() == 1));
    let key = |partition: &str| pan_model::VolumeKey { partition: partition.parse().unwrap(), name: "web-1.data".parse().unwrap() };
    let own = scope(Some("acme"), world(), b"k");
    assert!(own.volume(&key("acme")).is_some_and(|volume| volume.replicas.is_empty()) && own.volume(&key("rival")).is_none());
}

#[test]
fn places_are_opaque_but_lasting() {
    let node = |partition: &str, secret: &[u8]| scope(Some(partition), world(), secret).server(&key(partition)).unwrap().node.unwrap();
    let own = node("acme", b"k");
    assert!(own.starts_with("domain-") && !own.contains("n1"), "{own}");
    assert_eq!(own, node("acme", b"k"));
    assert_ne!(own, node("acme", b"other"));
    // Two partitions on one node cannot find that out by comparing names.
    let mut view = world();
    view.servers.get_mut(&key("rival")).unwrap().node = Some("n1".into());
    assert_ne!(own, scope(Some("rival"), view, b"k").server(&key("rival")).unwrap().node.unwrap());
    assert!(scope(Some("acme"), world(), b"k").services(None).into_values().all(|service| service.director.is_none()));
}

#[test]
fn timelines_name_no_node() {
    const NODE: &str = "n1";
    let mut view = world();
    let steps = [
        "last-heartbeat",
        "suspect",
        "fenced",
        "dead",
        "bound",
        "made-ready",
        "ordered",
        "running",
        "in-tables",
        "alive-again",
        "move-begins",
    ];
    let step =
        |step: &&str| pan_api::insight::Step { at: String::new(), step: (*step).into(), took_ms: 3, reason: format!("of node {NODE}") };
    let steps = steps.iter().map(|name| match *name {
        "running" | "in-tables" => pan_api::insight::Step { reason: "healthy".into(), ..step(name) },
        _ => step(name),
    });
    let timeline =
        pan_api::insight::Timeline { object: "acme/web-1".into(), epoch: None, finished: true, steps: steps.collect(), total_ms: 9 };
    view.timelines.insert("acme/web-1".into(), Arc::new(vec![timeline]));
    let own = scope(Some("acme"), view.clone(), b"k").server_timelines(&key("acme")).unwrap();
    assert!(own[0].steps.iter().all(|step| !step.reason.is_empty() && !step.reason.contains(NODE)), "{own:?}");
    assert_eq!((own[0].steps[7].reason.as_str(), own[0].steps[1].took_ms), ("healthy", 3));
    let whole = scope(None, view, b"k").server_timelines(&key("acme")).unwrap();
    assert!(whole[0].steps[1].reason.contains(NODE));
}

#[test]
fn usage_is_ones_own_and_not_of_who_had_the_name_before() {
    let hour = 3_600_000_000;
    let mut view = world();
    for name in ["acme", "rival", "gone"] {
        let hours = r#"{"hours": [[0, {"cpu_micros": 1000000, "memory_kib_seconds": 0, "received": 0, "sent": 0, "storage": 0}],
                                  [1, {"cpu_micros": 2000000, "memory_kib_seconds": 0, "received": 0, "sent": 0, "storage": 0}]]}"#;
        let mut book = Book::default();
        book.put(PageKey { of: Of::Cluster("web".parse().unwrap()), day: 0 }, serde_json::from_str(hours).unwrap());
        view.usage.insert(name.parse().unwrap(), Arc::new(book));
    }
    view.created.insert("acme".parse().unwrap(), hour);
    view.created.insert("rival".parse().unwrap(), 0);
    let seen = |only: Option<&str>, from: i64, to: i64| {
        let rows = scope(only, view.clone(), b"k").usage(None, from, to, 100).unwrap();
        rows.iter().map(|row| format!("{} {} {}", row.partition, row.hour, row.cpu_seconds)).collect::<Vec<_>>()
    };
    assert_eq!(seen(Some("acme"), 0, i64::MAX), ["acme 1970-01-01T01:00:00Z 2"]);
    assert_eq!(seen(Some("gone"), 0, i64::MAX), Vec::<String>::new());
    assert_eq!(seen(None, 0, i64::MAX).len(), 6);
    assert_eq!(seen(None, 0, hour).len(), 3);
    let rival = "rival".parse().unwrap();
    let own = scope(Some("acme"), view.clone(), b"k");
    assert_eq!(own.usage(Some(&rival), 0, i64::MAX, 100), Some(Vec::new()));
    assert_eq!(scope(None, view.clone(), b"k").usage(None, 0, i64::MAX, 5), None, "it is said that there is more");
}
