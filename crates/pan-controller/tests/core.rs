//! Stories of the controller's core: what it wants of hosts after documents, reports, silence and operators.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "core/allow.rs"]
mod allow;
#[path = "core/audit.rs"]
mod audit;
#[path = "core/deaths.rs"]
mod deaths;
#[path = "core/drains.rs"]
mod drains;
#[path = "core/frames.rs"]
mod frames;
#[path = "core/fullness.rs"]
mod fullness;
#[path = "core/imports.rs"]
mod imports;
#[path = "core/inside.rs"]
mod inside;
#[path = "core/large.rs"]
mod large;
#[path = "core/leaders.rs"]
mod leaders;
#[path = "core/policy.rs"]
mod policy;
#[path = "core/protection.rs"]
mod protection;
#[path = "core/quota.rs"]
mod quota;
#[path = "core/reach.rs"]
mod reach;
#[path = "core/restarts.rs"]
mod restarts;
#[path = "core/snapshots.rs"]
mod snapshots;
#[path = "core/strangers.rs"]
mod strangers;
#[path = "core/unaware.rs"]
mod unaware;
#[path = "core/usage.rs"]
mod usage;
#[path = "core/volumes.rs"]
mod volumes;
#[path = "core/web.rs"]
mod web;
#[path = "core/words.rs"]
mod words;

use pan_api::desired::{Desired, RunOrder};
use pan_api::report::{Blank, ConnectionCount, Hello, Offer, Phase, Report, ServerReport, StorageOffer};
use pan_api::requests::ApplyResult;
use pan_api::volume::{PoolReport, ReplicaReport, SnapshotReport};
use pan_controller::core::hosts::{self, LifeChange};
use pan_controller::core::request::{Kind, Reply, Request};
use pan_controller::core::seen::HostSeen;
use pan_controller::core::world::{Dirty, Effect, Now, Settings, World};
use pan_controller::core::{operate, orders, persist, published, settle, standing};
use pan_member::Tick;
use pan_model::host::{Fabric, Link, Role};
use pan_model::service::BackendState;
use pan_model::{Admission, ByteSize, Code, Cpu, Generation, HostName, ServerKey, SnapshotId, VolumeId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn drain(node: &str) -> Request {
    Request::Drain { node: host(node), force: false }
}

fn server(name: &str) -> ServerKey {
    ServerKey { partition: "p".parse().unwrap(), name: name.parse().unwrap() }
}

/// A PAN whose hosts do at once what they are told.
struct Pan {
    world: World,
    now: Now,
    step: u64,
    /// What was published last.
    told: BTreeMap<HostName, Desired>,
    alive: Vec<&'static str>,
    connections: u64,
    /// What storage hosts keep, by host.
    replicas: BTreeMap<HostName, BTreeMap<VolumeId, ReplicaReport>>,
    snapshots: BTreeMap<HostName, BTreeMap<SnapshotId, SnapshotReport>>,
    /// Storage hosts whose disks cannot be used.
    closed: BTreeSet<HostName>,
}

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

fn role_of(name: &str) -> Role {
    match name.as_bytes()[0] {
        b'n' => Role::Node,
        b's' => Role::Storage,
        _ => Role::Director,
    }
}

impl Pan {
    fn new() -> Self {
        let settings = Settings {
            outside: vec!["198.18.0.0/24".parse().unwrap()],
            pools: vec![("198.18.0.10".parse().unwrap(), "198.18.0.19".parse().unwrap())],
            reserved: vec![("198.18.0.240".parse().unwrap(), "198.18.0.254".parse().unwrap())],
            host_image_allowed: true,
            layer7: true,
            egress: None,
            reach: None,
            mtu: 1430,
            lessors: Vec::new(),
        };
        let mut pan = Self {
            world: World::new(settings),
            now: Now { wall: 1_000_000_000, boot: Tick(0) },
            step: 0,
            told: BTreeMap::new(),
            alive: vec![],
            connections: 0,
            replicas: BTreeMap::new(),
            closed: BTreeSet::new(),
            snapshots: BTreeMap::new(),
        };
        for (at, name) in NODES.iter().chain(&["d1", "d2"]).enumerate() {
            pan.join(name, at);
        }
        pan
    }

    fn join(&mut self, name: &'static str, at: usize) {
        let address = |net: u8| format!("10.{net}.0.{}", at + 1).parse().unwrap();
        let node = name.starts_with('n');
        let hello = Hello {
            version: pan_api::WIRE_VERSION,
            host: host(name),
            roles: vec![role_of(name)],
            software: "0".into(),
            address: address(200),
            a: address(201),
            b: address(202),
            node: node.then(|| Offer { cpu: Cpu(4000), memory: ByteSize(4 << 30), labels: BTreeMap::new() }),
            storage: (role_of(name) == Role::Storage).then(|| StorageOffer { capacity: ByteSize(10 << 30), labels: BTreeMap::new() }),
        };
        hosts::hello(&mut self.world, self.now, &hello).unwrap();
        self.life(LifeChange::Alive(host(name), Duration::ZERO));
        for fabric in Fabric::BOTH {
            self.life(LifeChange::Fabric(host(name), fabric, Link::Up));
        }
        self.alive.push(name);
    }

    fn life(&mut self, change: LifeChange) {
        hosts::life(&mut self.world, self.now, change);
    }

    fn pass(&mut self, millis: i64) {
        self.now.wall += millis * 1000;
        self.now.boot = self.now.boot.plus(Duration::from_millis(millis.unsigned_abs()));
    }

    fn ask(&mut self, request: Request) -> Result<Reply, pan_api::ApiError> {
        operate::request(&mut self.world, self.now, None, request)
    }

    fn apply(&mut self, yaml: &str) -> Result<Vec<(String, ApplyResult)>, pan_api::ApiError> {
        let files = [("test.yaml".to_owned(), yaml.to_owned())];
        let documents = pan_model::manifest::parse(&files, None).unwrap();
        match self.ask(Request::Apply { documents, dry_run: false })? {
            Reply::Applied(all) => Ok(all.into_iter().map(|one| (one.name, one.result)).collect()),
            Reply::Done | Reply::Certify { .. } | Reply::Keys { .. } | Reply::Volume(_) => {
                panic!("an apply answers with what became of each document")
            }
        }
    }

    /// One round: settle, publish, and every living host does what it is told and reports.
    fn round(&mut self) -> BTreeMap<HostName, Desired> {
        let desired = self.round_keeping_dirty();
        self.world.dirty.clear();
        desired
    }

    fn rounds_keeping_dirty(&mut self, count: usize) {
        (0..count).for_each(|_| drop(self.round_keeping_dirty()));
    }

    fn round_keeping_dirty(&mut self) -> BTreeMap<HostName, Desired> {
        let (desired, generation) = self.publish();
        for name in self.alive.clone() {
            self.obey(&desired[&host(name)], generation);
        }
        self.settle();
        published::note(&mut self.world, self.now);
        desired
    }

    /// Hosts are told and do nothing yet.
    fn publish(&mut self) -> (BTreeMap<HostName, Desired>, Generation) {
        self.settle();
        self.step += 1;
        let generation = Generation { term: 1, step: self.step };
        let desired = orders::all(&self.world);
        for (name, one) in &desired {
            published::to(&mut self.world, self.told.get(name), one, generation);
        }
        self.told.clone_from(&desired);
        published::note(&mut self.world, self.now);
        (desired, generation)
    }

    /// Lessors answer at once.
    fn settle(&mut self) {
        settle::settle(&mut self.world, self.now);
        for effect in std::mem::take(&mut self.world.effects) {
            if let Effect::Fence(host, through) = effect {
                self.life(LifeChange::Fenced(host, through));
                settle::settle(&mut self.world, self.now);
            }
        }
    }

    fn obey(&mut self, desired: &Desired, generation: Generation) {
        let role = role_of(desired.host.as_str());
        // Without its disk a host follows nothing, and names nothing that is on it.
        let closed = self.closed.contains(&desired.host);
        let kept = self.replicas.entry(desired.host.clone()).or_default();
        let (mut replicas, mut snapshots) = (Vec::new(), Vec::new());
        if !closed {
            volumes::obey(kept, &desired.replicas);
            replicas.extend(kept.values().cloned());
            let kept = self.snapshots.entry(desired.host.clone()).or_default();
            snapshots::obey(kept, &desired.snapshots);
            snapshots.extend(kept.values().cloned());
        }
        let all = ByteSize(100 << 30);
        let pool = (role == Role::Storage).then_some(PoolReport {
            capacity: all,
            free: all,
            full: false,
            closed,
            trouble: closed.then(|| "what describes it is damaged".to_owned()),
            snapshots,
            refused: 0,
            strangers: 0,
        });
        let running = |key: &ServerKey| self.world.seen.servers.get(key).is_some_and(|seen| seen.report.phase == Phase::Healthy);
        let servers = desired.servers.iter().map(|order| ServerReport {
            key: order.key.clone(),
            epoch: order.epoch,
            incarnation: order.incarnation,
            phase: match order.run {
                RunOrder::Run => Phase::Healthy,
                RunOrder::Hold if running(&order.key) => Phase::Healthy,
                RunOrder::Hold | RunOrder::Stop => Phase::Absent,
            },
            followed: generation,
            instance: None,
            restarts: 0,
            message: None,
            steps: vec![],
            volumes: Vec::new(),
        });
        let report = Report {
            version: pan_api::WIRE_VERSION,
            usage: Vec::new(),
            host: desired.host.clone(),
            role,
            boot: 1,
            sequence: self.step,
            applied: if closed { Generation::default() } else { generation },
            blank: None,
            restarted: None,
            admission: desired.admission,
            wants_admission: false,
            refused: Vec::new(),
            beyond: Vec::new(),
            ways: desired.imports.iter().filter_map(|import| Some(import.way.as_ref()?.number)).collect(),
            gate: None,
            servers: servers.collect(),
            connections: vec![ConnectionCount {
                partition: "p".parse().unwrap(),
                server: "web-1".parse().unwrap(),
                connections: self.connections,
            }],
            problems: vec![],
            pool,
            replicas,
        };
        hosts::report(&mut self.world, self.now, report).unwrap();
    }

    fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.pass(700);
            self.round();
        }
    }

    fn cut(&mut self, name: &'static str) {
        self.alive.retain(|other| *other != name);
        self.life(LifeChange::Dead(host(name), 700_000));
    }

    fn node_of(&self, name: &str) -> Option<String> {
        self.world.servers[&server(name)].node.as_ref().map(ToString::to_string)
    }

    fn backend(&self, name: &str) -> BackendState {
        orders::backend_state(&self.world, &server(name), &self.world.servers[&server(name)])
    }
}

/// A report in which nothing is said.
fn report_of(name: &str, role: Role, boot: u64, sequence: u64) -> Report {
    serde_json::from_value(serde_json::json!({
        "version": pan_api::WIRE_VERSION, "host": name, "role": role, "boot": boot, "sequence": sequence, "applied": {"term": 0, "step": 0},
    }))
    .unwrap()
}

/// How a host presented itself.
fn hello_of(pan: &Pan, name: &str) -> Hello {
    let record = &pan.world.hosts[&host(name)];
    Hello {
        version: pan_api::WIRE_VERSION,
        host: host(name),
        roles: record.roles.clone(),
        software: record.software.clone(),
        address: record.address,
        a: record.a,
        b: record.b,
        node: record.offer.clone(),
        storage: record.storage.clone(),
    }
}

fn web(servers: u32) -> String {
    format!(
        "api: pan/v1\nkind: Partition\nname: p\nspec: {{network: 10.0.0.0/24}}\n---\napi: pan/v1\nkind: Cluster\npartition: p\nname: web\nspec:\n  servers: {servers}\n  image: host\n  command: [sleep, inf]\n  spread: node\n  protect: {{failures: 1}}\n  resources: {{cpu: 500m, memory: 128MiB}}\n---\napi: pan/v1\nkind: Service\npartition: p\nname: www\nspec: {{port: 80, cluster: web}}\n"
    )
}

#[test]
fn an_applied_cluster_runs_on_different_nodes_behind_an_address() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let nodes: std::collections::BTreeSet<_> = (1..=3).map(|at| pan.node_of(&format!("web-{at}")).unwrap()).collect();
    assert_eq!(nodes.len(), 3, "spread: node");
    assert_eq!(pan.backend("web-1"), BackendState::Up);
    let owner = pan.world.partitions[&"p".parse().unwrap()].owner.clone();
    assert!(owner.is_some(), "some director owns the address");
}

#[test]
fn applying_twice_changes_nothing() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let before = pan.world.servers.clone();
    let results = pan.apply(&web(3)).unwrap();
    assert!(results.iter().all(|(_, result)| *result == ApplyResult::Unchanged), "{results:?}");
    assert!(pan.world.dirty.is_empty(), "nothing is written");
    pan.rounds(2);
    assert_eq!(pan.world.servers, before);
}

#[test]
fn the_fourth_of_four_spread_servers_is_refused_and_nothing_changes() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let error = pan.apply(&web(4)).unwrap_err();
    assert_eq!(error.code, Code::Protection, "{error:?}");
    assert!(NODES.iter().any(|node| error.message.contains(node)), "it names the node whose loss breaks it: {}", error.message);
    assert_eq!(pan.world.servers.len(), 3);
}

#[test]
fn a_dead_nodes_servers_start_elsewhere_under_a_greater_epoch_with_the_same_identity() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let before = pan.world.servers[&server("web-1")].clone();
    let lost: &'static str = NODES.into_iter().find(|node| pan.node_of("web-1").as_deref() == Some(node)).unwrap();
    pan.cut(lost);
    pan.rounds(2);
    let after = &pan.world.servers[&server("web-1")];
    assert_ne!(after.node, before.node);
    assert!(after.epoch > before.epoch);
    assert_eq!((after.mac, &after.addresses), (before.mac, &before.addresses));
    let timeline = &pan.world.timelines.view()["p/web-1"][0];
    let steps: Vec<_> = timeline.steps.iter().map(|step| step.step.as_str()).collect();
    assert!(timeline.finished, "{steps:?}");
    for step in ["last-heartbeat", "dead", "bound", "running", "in-tables"] {
        assert!(steps.contains(&step), "{step} in {steps:?}");
    }
}

#[test]
fn a_silent_fabric_moves_nothing_and_is_routed_around() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let before = pan.world.servers.clone();
    pan.life(LifeChange::Fabric(host("n1"), Fabric::A, Link::Down));
    let desired = pan.round();
    let peer = desired[&host("n2")].peers.iter().find(|peer| peer.host == host("n1")).unwrap();
    assert_eq!((peer.a.is_some(), peer.b.is_some()), (false, true));
    assert!(desired[&host("n1")].peers.iter().all(|peer| peer.a.is_none()), "n1 uses fabric b towards everybody");
    assert_eq!(pan.world.servers, before);
    let last = pan.world.events[&None].back().unwrap();
    assert_eq!((last.reason.as_str(), last.object.as_str()), ("LinkDown", "n1"));
}

/// The ear takes an agent for well until it hears otherwise, and tells of changes only.
#[test]
fn an_agent_reports_until_it_is_silent_and_its_first_silence_is_told() {
    let mut pan = Pan::new();
    let silences = |pan: &Pan| pan.world.events[&None].iter().filter(|event| event.reason == "AgentDown").count();
    let silent = |pan: &Pan| pan.world.seen.hosts[&host("n1")].agent_silent;
    assert!(!silent(&pan), "nothing was heard against it");
    pan.life(LifeChange::Agent(host("n1"), false));
    assert_eq!((silent(&pan), silences(&pan)), (true, 1));
    pan.life(LifeChange::Agent(host("n1"), false));
    assert_eq!((silent(&pan), silences(&pan)), (true, 1), "the same again is no news");
    pan.life(LifeChange::Agent(host("n1"), true));
    pan.life(LifeChange::Agent(host("n1"), false));
    assert_eq!((silent(&pan), silences(&pan)), (true, 2));
}

/// A node that has just joined sends no heartbeat before it is told its number: waiting for it used up the grace of a cold start, in
/// which all nodes were given up as never heard.
#[test]
fn a_controller_waits_for_hosts_of_its_records_and_not_for_those_that_joined() {
    let mut pan = Pan::new();
    let n1 = host("n1");
    let seen = |pan: &mut Pan, introduced| {
        pan.world.seen.hosts.insert(n1.clone(), HostSeen { introduced, ..HostSeen::default() });
        hosts::has_spoken(&pan.world, &n1)
    };
    assert!(seen(&mut pan, true), "it joined here");
    assert!(!seen(&mut pan, false), "it is known from the records");
    pan.life(LifeChange::Alive(n1.clone(), Duration::ZERO));
    assert!(!hosts::has_spoken(&pan.world, &n1), "it is heard, and what it runs is not known");
    pan.round();
    assert!(hosts::has_spoken(&pan.world, &n1), "it has reported");
    assert!(!hosts::has_spoken(&pan.world, &host("n99")));
}

#[test]
fn a_drain_ends_connections_first_then_moves_and_empties_the_node() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let from = pan.node_of("web-1").unwrap();
    pan.connections = 5;
    pan.ask(drain(&from)).unwrap();
    pan.rounds(3);
    assert_eq!(pan.backend("web-1"), BackendState::Draining);
    assert_eq!(pan.node_of("web-1").unwrap(), from, "it stays while it has connections");
    pan.connections = 0;
    pan.rounds(4);
    assert_ne!(pan.node_of("web-1").unwrap(), from);
    assert!(pan.world.servers.values().all(|server| server.node.as_ref().map(HostName::as_str) != Some(from.as_str())));
    assert_eq!(pan.backend("web-1"), BackendState::Up);
}

#[test]
fn a_drain_does_not_wait_for_connections_longer_than_the_grace() {
    let mut pan = Pan::new();
    pan.apply(&web(2)).unwrap();
    pan.rounds(2);
    let from = pan.node_of("web-1").unwrap();
    pan.connections = 5;
    pan.ask(drain(&from)).unwrap();
    pan.rounds(20);
    assert_ne!(pan.node_of("web-1").unwrap(), from);
}

#[test]
fn a_cluster_waits_for_the_one_it_comes_after() {
    let mut pan = Pan::new();
    let yaml = "api: pan/v1\nkind: Partition\nname: p\nspec: {network: 10.0.0.0/24}\n---\napi: pan/v1\nkind: Cluster\npartition: p\nname: web\nspec: {servers: 1, image: host, command: [a], after: [{cluster: db}]}\n---\napi: pan/v1\nkind: Cluster\npartition: p\nname: db\nspec: {servers: 1, image: host, command: [a]}\n";
    pan.apply(yaml).unwrap();
    let desired = pan.round();
    let run = |desired: &BTreeMap<HostName, Desired>, name: &str| {
        desired.values().flat_map(|one| &one.servers).find(|order| order.key == server(name)).map(|order| order.run)
    };
    assert_eq!(run(&desired, "web-1"), Some(RunOrder::Hold));
    assert_eq!(run(&desired, "db-1"), Some(RunOrder::Run));
    let desired = pan.round();
    assert_eq!(run(&desired, "web-1"), Some(RunOrder::Run));
}

#[test]
fn a_circle_and_a_dangling_reference_are_refused_with_their_places() {
    let mut pan = Pan::new();
    let cluster = |name: &str, after: &str| {
        format!(
            "---\napi: pan/v1\nkind: Cluster\npartition: p\nname: {name}\nspec:\n  servers: 1\n  image: host\n  command: [a]\n  after: [{{cluster: {after}}}]\n"
        )
    };
    let partition = "api: pan/v1\nkind: Partition\nname: p\nspec: {network: 10.0.0.0/24}\n";
    let error = pan.apply(&format!("{partition}{}{}", cluster("a", "b"), cluster("b", "a"))).unwrap_err();
    assert_eq!(error.code, Code::Cycle);
    let error = pan.apply(&format!("{partition}{}", cluster("a", "nobody"))).unwrap_err();
    assert_eq!((error.code, error.problems[0].line), (Code::Dangling, 14), "{error:?}");
    assert!(pan.world.partitions.is_empty(), "nothing of a refused apply stays");
}

#[test]
fn scaling_down_removes_the_highest_and_deleting_leaves_nothing() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    pan.ask(Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers: 2 }).unwrap();
    pan.rounds(5);
    assert_eq!(pan.world.servers.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["web-1", "web-2"]);
    let delete = |cascade| Request::Delete { kind: Kind::Partition, partition: None, name: "p".into(), cascade };
    assert_eq!(pan.ask(delete(false)).unwrap_err().code, Code::InUse);
    pan.ask(delete(true)).unwrap();
    pan.rounds(5);
    assert!(pan.world.servers.is_empty() && pan.world.clusters.is_empty() && pan.world.partitions.is_empty());
}

#[test]
fn a_changed_command_rolls_through_one_server_at_a_time() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let before: Vec<_> = pan.world.servers.values().map(|server| server.epoch).collect();
    pan.apply(&web(3).replace("[sleep, inf]", "[sleep, '9']")).unwrap();
    for _ in 0..20 {
        pan.pass(700);
        pan.round();
        let ending = pan.world.servers.values().filter(|server| server.ending.is_some()).count();
        assert!(ending <= 1, "one at a time");
    }
    let incarnations: Vec<_> = pan.world.servers.values().map(|server| server.incarnation).collect();
    assert_eq!(incarnations, [2, 2, 2]);
    let epochs: Vec<_> = pan.world.servers.values().map(|server| server.epoch).collect();
    assert_eq!(epochs, before, "a restart is no new binding");
}

#[test]
fn a_dead_director_gives_its_addresses_to_the_other() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(2);
    let owner = pan.world.partitions[&"p".parse().unwrap()].owner.clone().unwrap();
    let name: &'static str = ["d1", "d2"].into_iter().find(|name| *name == owner.as_str()).unwrap();
    pan.cut(name);
    let desired = pan.round();
    let other = if name == "d1" { "d2" } else { "d1" };
    assert!(desired[&host(other)].units[0].owner);
    let node = host(&pan.node_of("web-1").unwrap());
    let gateway = "10.0.0.1".parse().unwrap();
    let entries = &desired[&node].networks[0].entries;
    let entry = entries.iter().find(|entry| entry.addresses.contains(&gateway)).unwrap();
    assert_eq!(entry.host, host(other), "answers leave through the new owner");
}

#[test]
fn what_is_stored_is_the_whole_world() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    settle::settle(&mut pan.world, pan.now);
    let dirty: Vec<_> = pan.world.dirty.iter().cloned().collect();
    let entries: BTreeMap<String, Vec<u8>> =
        dirty.iter().filter_map(|one| Some((persist::key_of(one), persist::value_of(&pan.world, one)?))).collect();
    let settings = (*pan.world.settings).clone();
    let again = persist::load(settings, entries.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).unwrap();
    assert_eq!(again.servers, pan.world.servers);
    assert_eq!(again.clusters, pan.world.clusters);
    assert_eq!(again.services, pan.world.services);
    assert_eq!(again.partitions, pan.world.partitions);
    assert_eq!(again.hosts, pan.world.hosts);
}

#[test]
fn a_drain_moves_every_server_of_a_cluster_one_after_the_other() {
    let mut pan = Pan::new();
    let crowd = web(3).replace("servers: 3", "servers: 12").replace("  spread: node\n", "");
    pan.apply(&crowd).unwrap();
    pan.rounds(2);
    let on = |pan: &Pan, node: &str| {
        pan.world.servers.values().filter(|server| server.node.as_ref().map(HostName::as_str) == Some(node)).count()
    };
    let full = NODES.into_iter().max_by_key(|node| on(&pan, node)).unwrap();
    assert!(on(&pan, full) > 1, "the story needs a node with several servers");
    pan.ask(drain(full)).unwrap();
    for _ in 0..60 {
        pan.pass(700);
        pan.round();
        let moving = pan.world.servers.values().filter(|server| server.ending.is_some()).count();
        assert!(moving <= 1, "one at a time");
    }
    assert_eq!(on(&pan, full), 0);
}

#[test]
fn a_restarting_server_gets_no_connections_until_it_runs_again() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    pan.ask(Request::Restart(server("web-1"))).unwrap();
    for _ in 0..200 {
        pan.pass(10);
        settle::settle(&mut pan.world, pan.now);
        let record = &pan.world.servers[&server("web-1")];
        let stale = pan.world.seen.servers[&server("web-1")].report.incarnation != record.incarnation;
        if stale || record.ending.is_some() {
            assert_ne!(pan.backend("web-1"), BackendState::Up);
        }
        if stale {
            return;
        }
        pan.round();
        pan.pass(700);
    }
    panic!("it was never told to start again");
}

#[test]
fn an_epoch_never_comes_again_not_even_for_a_server_made_anew() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let before = pan.world.servers[&server("web-3")].epoch;
    let scale = |servers| Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers };
    pan.ask(scale(2)).unwrap();
    pan.rounds(5);
    pan.ask(scale(3)).unwrap();
    pan.rounds(2);
    let anew = pan.world.servers[&server("web-3")].epoch;
    assert!(anew > before, "{anew} after {before}");
    pan.ask(Request::Delete { kind: Kind::Partition, partition: None, name: "p".into(), cascade: true }).unwrap();
    pan.rounds(5);
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    assert!(pan.world.servers.values().all(|server| server.epoch > anew));
}

#[test]
fn a_scale_beyond_all_measure_is_refused_at_once() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    let scale = |servers| Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers };
    assert!(pan.ask(scale(u32::MAX)).unwrap_err().message.contains("at most 10000"));
    assert!(pan.ask(scale(10_000)).is_err());
    assert_eq!(pan.world.servers.len(), 1);
}

#[test]
fn an_apply_that_would_not_fit_the_store_is_refused() {
    let mut pan = Pan::new();
    let big = web(3).replace("[sleep, inf]", &format!("[sleep, inf, '{}']", "x".repeat(3_300_000)));
    let error = pan.apply(&big).unwrap_err();
    assert_eq!(error.code, Code::Invalid);
    assert!(error.message.contains("split it"), "{}", error.message);
    assert!(pan.world.clusters.is_empty());
}

#[test]
fn a_report_that_a_newer_one_overtook_changes_nothing() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(2);
    let node = host(&pan.node_of("web-1").unwrap());
    let empty = |boot, sequence| Report {
        admission: Admission::FIRST,
        problems: vec!["no such bridge".into()],
        ..report_of(node.as_str(), Role::Node, boot, sequence)
    };
    let before = format!("{:?} {:?}", pan.world.seen, pan.world.events);
    for sequence in [0, pan.step - 1, pan.step] {
        hosts::report(&mut pan.world, pan.now, empty(1, sequence)).unwrap();
    }
    assert_eq!(format!("{:?} {:?}", pan.world.seen, pan.world.events), before);
    // After a boot the clock begins anew.
    hosts::report(&mut pan.world, pan.now, empty(2, 0)).unwrap();
    assert!(!pan.world.seen.servers.contains_key(&server("web-1")));
    assert_eq!(pan.world.seen.hosts[&node].problems[&Role::Node], ["no such bridge"]);
}

#[test]
fn a_silent_node_is_dead_only_when_it_is_fenced() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let node = host(&pan.node_of("web-1").unwrap());
    let bound = pan.world.servers[&server("web-1")].clone();
    pan.life(LifeChange::Dead(node.clone(), 270_000));
    settle::settle(&mut pan.world, pan.now);
    assert_eq!(std::mem::take(&mut pan.world.effects), [Effect::Fence(node.clone(), Admission(1))]);
    assert_eq!(pan.world.servers[&server("web-1")].node, bound.node, "nothing moves before the fence");
    settle::settle(&mut pan.world, pan.now);
    assert_eq!(pan.world.effects, [], "asked once");

    pan.life(LifeChange::Fenced(node.clone(), Admission(1)));
    settle::settle(&mut pan.world, pan.now);
    assert_ne!(pan.world.servers[&server("web-1")].node, bound.node);
    assert_eq!(pan.world.hosts[&node].admission, Admission(2), "it may come back under the next number");
    pan.life(LifeChange::Fenced(node.clone(), Admission(1)));
    assert_eq!(pan.world.hosts[&node].admission, Admission(2), "an answer that comes twice changes nothing");
}

#[test]
fn a_node_that_is_heard_again_in_time_keeps_its_servers_and_asks_for_a_new_number() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let node = host(&pan.node_of("web-1").unwrap());
    pan.life(LifeChange::Dead(node.clone(), 270_000));
    settle::settle(&mut pan.world, pan.now);
    pan.world.effects.clear();
    pan.life(LifeChange::Alive(node.clone(), Duration::ZERO));
    assert_eq!(std::mem::take(&mut pan.world.effects), [Effect::Unfence(node.clone())]);
    pan.life(LifeChange::Fenced(node.clone(), Admission(1)));
    settle::settle(&mut pan.world, pan.now);
    assert_eq!(pan.world.servers[&server("web-1")].node, Some(node.clone()));

    // Some lessors have forgotten it: its node says so, once or more often, and gets the next number once.
    for _ in 0..3 {
        pan.world.seen.hosts.get_mut(&node).unwrap().worn = Some(Admission(1));
        settle::settle(&mut pan.world, pan.now);
        assert_eq!(pan.world.hosts[&node].admission, Admission(2));
    }
    assert_eq!(orders::all(&pan.world)[&node].admission, Admission(2));
}

#[test]
fn who_follows_observes_and_records_nothing() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    pan.world.leading = false;
    let (events, records) = (pan.world.events.clone(), pan.world.hosts.clone());
    pan.life(LifeChange::Suspect(host("n1"), 60_000));
    pan.life(LifeChange::Dead(host("n1"), 270_000));
    assert_eq!(pan.world.seen.life(&host("n1")), pan_controller::core::seen::Life::Dead);
    assert_eq!((pan.world.events.clone(), pan.world.hosts.clone()), (events, records));
}

/// The store's entries after what is dirty was written to them, and those that changed.
fn commit(pan: &mut Pan, entries: &mut BTreeMap<String, Vec<u8>>) -> Vec<(String, Option<Vec<u8>>)> {
    let dirty = std::mem::take(&mut pan.world.dirty);
    let changed: Vec<_> = dirty.iter().map(|one| (persist::key_of(one), persist::value_of(&pan.world, one))).collect();
    for (key, value) in &changed {
        match value {
            Some(value) => drop(entries.insert(key.clone(), value.clone())),
            None => drop(entries.remove(key)),
        }
    }
    changed
}

fn listed(entries: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = (&str, &[u8])> {
    entries.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
}

#[test]
fn who_follows_knows_all_that_was_committed_and_leads_without_reading() {
    let mut leader = Pan::new();
    let mut entries = BTreeMap::new();
    commit(&mut leader, &mut entries);
    let mut follower = World::new((*leader.world.settings).clone());
    standing::follow(&mut follower, listed(&entries)).unwrap();
    let mut requests =
        vec![Request::Delete { kind: Kind::Cluster, partition: Some("p".parse().unwrap()), name: "web".into(), cascade: true }];
    requests.push(Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers: 2 });
    leader.apply(&web(3)).unwrap();
    for _ in 0..20 {
        leader.pass(700);
        leader.settle();
        leader.round_keeping_dirty();
        for (key, value) in commit(&mut leader, &mut entries) {
            standing::followed(&mut follower, &key, value.as_deref()).unwrap();
        }
        let same = |a: &World, b: &World| {
            assert_eq!((&a.servers, &a.clusters, &a.services), (&b.servers, &b.clusters, &b.services));
            assert_eq!((&a.partitions, &a.hosts, &a.events, &a.pan), (&b.partitions, &b.hosts, &b.events, &b.pan));
        };
        same(&leader.world, &follower);
        if leader.world.servers.values().all(|server| server.ending.is_none())
            && let Some(request) = requests.pop()
        {
            leader.ask(request).unwrap();
        }
    }
    assert!(leader.world.clusters.is_empty(), "the dialogue went all the way");

    let me = host("c2");
    standing::candidate(&mut follower, &me, 7, leader.world.pan.term + 1);
    standing::lead(&mut follower, leader.now);
    assert!(follower.leading);
    assert_eq!((follower.pan.term, follower.pan.leader.clone()), (leader.world.pan.term + 1, Some(me)));
}

#[test]
fn who_steps_down_forgets_what_was_not_committed_and_keeps_what_was_observed() {
    let mut pan = Pan::new();
    let mut entries = BTreeMap::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds_keeping_dirty(3);
    commit(&mut pan, &mut entries);
    let before = (pan.world.servers.clone(), pan.world.events.clone());
    pan.ask(Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers: 1 }).unwrap();
    assert_ne!((pan.world.servers.clone(), pan.world.events.clone()), before);
    standing::follow(&mut pan.world, listed(&entries)).unwrap();
    assert!(!pan.world.leading);
    assert_eq!((pan.world.servers.clone(), pan.world.events.clone()), before);
    assert!(pan.world.dirty.is_empty());
    assert_eq!(pan.world.seen.servers.len(), 3);
}

#[test]
fn a_server_scaled_away_and_wanted_again_is_made_anew_when_it_is_gone() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let before = pan.world.servers[&server("web-3")].clone();
    let scale = |servers| Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers };
    pan.ask(scale(2)).unwrap();
    pan.ask(scale(3)).unwrap();
    assert!(pan.world.servers[&server("web-3")].ending.is_some(), "the old one ends all the same");
    let refused = pan.ask(scale(4)).unwrap_err();
    assert_eq!(refused.code, Code::Protection, "what is wanted again counts: {}", refused.message);
    pan.rounds(6);
    let after = &pan.world.servers[&server("web-3")];
    assert_eq!((after.ending.clone(), pan.backend("web-3")), (None, BackendState::Up));
    assert!(after.epoch > before.epoch && after.index != before.index, "another server under the old name");
    assert_eq!((&after.addresses, after.mac), (&before.addresses, before.mac), "the same identity");

    pan.ask(scale(2)).unwrap();
    pan.ask(scale(3)).unwrap();
    pan.ask(scale(2)).unwrap();
    pan.rounds(6);
    assert!(!pan.world.servers.contains_key(&server("web-3")), "the last word counts");
}

#[test]
fn a_cluster_and_a_partition_deleted_and_applied_again_are_there_again() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let epoch = pan.world.servers[&server("web-1")].epoch;
    let delete = |kind, name: &str| Request::Delete { kind, partition: Some("p".parse().unwrap()), name: name.into(), cascade: true };
    pan.ask(delete(Kind::Cluster, "web")).unwrap();
    let results = pan.apply(&web(2)).unwrap();
    assert_eq!(results[1..], [("web".into(), ApplyResult::Created), ("www".into(), ApplyResult::Created)]);
    pan.rounds(6);
    assert!(pan.world.servers[&server("web-1")].epoch > epoch);
    assert_eq!((pan.world.servers.len(), pan.backend("web-2")), (2, BackendState::Up), "only as many as are wanted now");

    let epoch = pan.world.servers[&server("web-1")].epoch;
    pan.ask(delete(Kind::Partition, "p")).unwrap();
    let partition = "api: pan/v1\nkind: Partition\nname: p\nspec:\n  network: 10.9.0.0/24\n";
    let refused = pan.apply(partition).unwrap_err();
    assert_eq!((refused.code, refused.problems[0].line), (Code::Leaving, 5), "{refused:?}");
    let alone = web(1).split("---\n").nth(1).unwrap().to_owned();
    assert_eq!(pan.apply(&alone).unwrap_err().code, Code::Leaving);
    pan.apply(&web(3)).unwrap();
    pan.rounds(6);
    assert!(pan.world.servers[&server("web-1")].epoch > epoch);
    assert_eq!((pan.world.servers.len(), pan.backend("web-3")), (3, BackendState::Up));
    let stored: Vec<_> = pan.world.events[&Some("p".parse().unwrap())].iter().filter(|event| event.reason == "Ending").collect();
    assert!(stored.is_empty(), "nothing of the former partition is told: {stored:?}");

    pan.ask(delete(Kind::Partition, "p")).unwrap();
    pan.rounds(6);
    assert!(pan.world.partitions.is_empty() && pan.world.servers.is_empty());
    pan.apply(partition).unwrap();
}

#[test]
fn every_refusal_of_an_apply_has_a_place_in_what_was_applied() {
    let place = |pan: &mut Pan, yaml: &str| {
        let error = pan.apply(yaml).unwrap_err();
        assert!(error.problems.iter().all(|problem| problem.source == "test.yaml" && problem.line > 0), "{error:?}");
        assert!(error.problems.len() > 1 || error.message.starts_with("test.yaml:"), "{}", error.message);
        (error.code, error.problems[0].line)
    };
    let mut pan = Pan::new();
    assert_eq!(place(&mut pan, &web(5)), (Code::Protection, 11));
    let vast = web(9000).replace("10.0.0.0/24", "10.0.0.0/16");
    assert_eq!(place(&mut pan, &vast), (Code::Invalid, 10));
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    // Room that the protection of another cluster needs: that one is in no document.
    let greedy = "api: pan/v1\nkind: Cluster\npartition: p\nname: greedy\nspec:\n  servers: 4\n  image: host\n  command: [a]\n  spread: node\n  priority: 900\n  resources: {cpu: 3800m, memory: 64MiB}\n";
    let (code, line) = place(&mut pan, greedy);
    assert!(code != Code::Internal && line >= 5, "{code} at {line}");
    let nowhere = "api: pan/v1\nkind: Cluster\npartition: q\nname: x\nspec:\n  servers: 1\n  image: host\n  command: [a]\n";
    assert_eq!(place(&mut pan, nowhere), (Code::Dangling, 3));
    let twice = "api: pan/v1\nkind: Service\npartition: p\nname: two\nspec:\n  port: 80\n  cluster: web\n";
    assert_eq!(place(&mut pan, twice), (Code::Conflict, 7));
    let late = format!("{nowhere}---\n{twice}---\n{}", nowhere.replace("name: x", "name: y"));
    let error = pan.apply(&late).unwrap_err();
    let lines: Vec<u64> = error.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [3, 16, 20], "in the order of the text");
}

#[test]
fn who_finds_its_own_record_in_the_store_leads_after_all() {
    let mut world = Pan::new().world;
    let c1 = host("c1");
    standing::candidate(&mut world, &c1, 7, 2);
    let record = persist::value_of(&world, &Dirty::Pan).unwrap();
    // The store did not say whether it was taken, and a listing does not have it yet.
    standing::follow(&mut world, std::iter::empty()).unwrap();
    assert!(!standing::is_ours(&world, &c1, 7, 2));
    standing::followed(&mut world, persist::TERM_KEY, Some(&record)).unwrap();
    assert!(standing::is_ours(&world, &c1, 7, 2));
    assert!(!standing::is_ours(&world, &c1, 8, 2), "another process of that name");
    assert!(!standing::is_ours(&world, &c1, 7, 3), "another term");
}

#[test]
fn what_a_dead_node_leaves_without_a_place_is_not_its_any_more() {
    let mut pan = Pan::new();
    let vast =
        web(3).replace("protect: {failures: 1}", "priority: 500").replace("cpu: 500m", "cpu: 3000m").replace("servers: 3", "servers: 4");
    pan.apply(&vast).unwrap();
    pan.rounds(2);
    let lost: &'static str = NODES.into_iter().find(|node| pan.node_of("web-1").as_deref() == Some(node)).unwrap();
    let before = pan.world.hosts[&host(lost)].admission;
    pan.cut(lost);
    let desired = pan.round();
    assert_eq!(pan.node_of("web-1"), None, "nobody has room for it");
    let left = &desired[&host(lost)];
    assert!(left.admission > before && left.servers.is_empty(), "it takes part anew only once the server is gone: {left:?}");
    // Back, it takes the server again, under a greater epoch.
    let epoch = pan.world.servers[&server("web-1")].epoch;
    pan.alive.push(lost);
    pan.life(LifeChange::Alive(host(lost), Duration::ZERO));
    pan.rounds(3);
    assert_eq!(pan.node_of("web-1").as_deref(), Some(lost));
    assert!(pan.world.servers[&server("web-1")].epoch > epoch);
    assert_eq!(pan.backend("web-1"), BackendState::Up);
}

/// Where something is made ready, and what.
fn made_ready(desired: &BTreeMap<HostName, Desired>) -> Vec<(String, String)> {
    let of = |(host, desired): (&HostName, &Desired)| {
        desired.warm.iter().map(|order| (host.to_string(), order.key.name.to_string())).collect::<Vec<_>>()
    };
    desired.iter().flat_map(of).collect()
}

#[test]
fn a_silent_nodes_servers_are_made_ready_where_they_would_go() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    assert_eq!(made_ready(&pan.round()), []);
    let victim = pan.node_of("web-1").unwrap();
    let victim = NODES.into_iter().find(|name| **name == *victim).unwrap();
    pan.life(LifeChange::Suspect(host(victim), 60_000));
    let desired = pan.round();
    let ready = made_ready(&desired);
    let [(backup, name)] = &ready[..] else { panic!("{ready:?}") };
    assert!(name == "web-1" && backup != victim, "{ready:?}");
    let order = &desired[&host(backup)].warm[0];
    assert_eq!((order.epoch.0, order.incarnation), (0, 0), "nothing is decided");
    assert!(desired[&host(backup)].servers.iter().all(|order| order.key.name.as_str() != "web-1"));
    assert!(desired[&host(backup)].networks.iter().any(|network| network.partition.as_str() == "p"));

    // A heartbeat that comes after all undoes it; death makes an order of it, for the same node.
    pan.life(LifeChange::Alive(host(victim), Duration::ZERO));
    assert_eq!(made_ready(&pan.round()), []);
    pan.life(LifeChange::Suspect(host(victim), 60_000));
    assert_eq!(made_ready(&pan.round()), ready);
    pan.cut(victim);
    let desired = pan.round();
    assert_eq!(made_ready(&desired), []);
    let ordered = desired[&host(backup)].servers.iter().find(|order| order.key.name.as_str() == "web-1").unwrap();
    assert!(ordered.epoch.0 > 0);
    assert_eq!(pan.node_of("web-1").as_ref(), Some(backup));
}

#[test]
fn what_nobody_wants_to_run_is_not_made_ready() {
    let mut pan = Pan::new();
    pan.apply(&web(3).replace("  protect: {failures: 1}\n", "")).unwrap();
    pan.rounds(2);
    let victim = host(&pan.node_of("web-1").unwrap());
    pan.life(LifeChange::Suspect(victim, 60_000));
    assert_eq!(made_ready(&pan.round()), [], "without protection no place is kept");
}

#[test]
fn trouble_elsewhere_on_its_node_does_not_hold_up_a_stop() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let from = pan.node_of("web-1").unwrap();
    let key = server("web-1");
    pan.ask(Request::Failover { key: key.clone(), to: None }).unwrap();
    let desired = pan.round();
    assert_eq!(desired.values().flat_map(|one| &one.servers).find(|order| order.key == key).unwrap().run, RunOrder::Stop);
    // The node followed the order; its network has been in trouble since long ago, so that nothing is applied whole.
    assert_ne!(pan.node_of("web-1"), Some(from.clone()), "it is elsewhere");

    // A report from before the order was taken up says nothing.
    let (mut pan, key) = (Pan::new(), server("web-1"));
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let from = pan.node_of("web-1").unwrap();
    pan.ask(Request::Failover { key: key.clone(), to: None }).unwrap();
    pan.settle();
    pan.step += 1;
    let generation = Generation { term: 1, step: pan.step };
    pan.world.seen.published.insert(host(&from), generation);
    published::note(&mut pan.world, pan.now);
    let absent = |pan: &mut Pan, followed| {
        pan.step += 1;
        let record = pan.world.servers[&key].clone();
        let report = ServerReport {
            key: key.clone(),
            epoch: record.epoch,
            incarnation: record.incarnation,
            phase: Phase::Absent,
            followed,
            instance: None,
            restarts: 0,
            message: None,
            steps: vec![],
            volumes: Vec::new(),
        };
        let report = Report {
            admission: Admission::FIRST,
            servers: vec![report],
            problems: vec!["interface ps1 is not there".into()],
            ..report_of(&from, Role::Node, 1, pan.step)
        };
        hosts::report(&mut pan.world, pan.now, report).unwrap();
        pan.settle();
    };
    absent(&mut pan, Generation::default());
    assert_eq!(pan.node_of("web-1"), Some(from.clone()), "it may be starting at this moment");
    absent(&mut pan, generation);
    assert_ne!(pan.node_of("web-1"), Some(from.clone()), "whatever else is wrong there");
}

#[test]
fn folders_of_the_node_are_images_of_the_node() {
    let mut pan = Pan::new();
    let closed = web(3).replace("{network: 10.0.0.0/24}", "{network: 10.0.0.0/24, hostImage: deny}");
    for image in ["host", "dir:/", "dir:/srv/images/web"] {
        let refused = pan.apply(&closed.replace("image: host", &format!("image: {image}"))).unwrap_err();
        assert_eq!((refused.code, refused.problems[0].line), (Code::Denied, 12), "{refused}");
    }
}

#[test]
fn a_partition_cannot_be_made_smaller_than_what_it_has() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    let with = |spec: &str| web(3).replace("{network: 10.0.0.0/24}", &format!("{{network: 10.0.0.0/24, {spec}}}"));
    for (spec, says) in [
        ("quota: {servers: 2}", "its clusters have 3 servers, and this allows 2"),
        ("quota: {addresses: 0}", "its services have 1 addresses, and this allows 0"),
        ("hostImage: deny", "cluster web has image host"),
    ] {
        // By itself: what it refuses is in no document.
        let alone = with(spec).split("---").next().unwrap().to_owned();
        let refused = pan.apply(&alone).unwrap_err();
        assert!(refused.problems[0].message.contains(says) && refused.problems[0].line == 4, "{spec}: {refused} {:?}", refused.problems);
    }
    // Down first, in the same file.
    pan.apply(&with("quota: {servers: 2}").replace("servers: 3", "servers: 2")).unwrap();
}

#[test]
fn a_service_gets_addresses_that_its_servers_can_answer() {
    let mut pan = Pan::new();
    let settings = std::sync::Arc::make_mut(&mut pan.world.settings);
    settings.pools.push(("fd18::10".parse().unwrap(), "fd18::19".parse().unwrap()));
    settings.outside.push("fd18::/64".parse().unwrap());
    let six = web(1).replace("network: 10.0.0.0/24", "networks: [\"fd00:7::/64\"]");
    let refused = pan.apply(&six.replace("{port: 80, cluster: web}", "{address: 198.18.0.12, port: 80, cluster: web}")).unwrap_err();
    assert!(refused.problems[0].message.contains("no IPv4 network"), "{refused}");
    pan.apply(&six).unwrap();
    let service = &pan.world.services[&("p".parse().unwrap(), "www".parse().unwrap())];
    assert_eq!(service.addresses, ["fd18::10".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn starting_what_runs_changes_nothing() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let key = server("web-1");
    let before = pan.world.servers[&key].incarnation;
    // It did not stay up once, and has recovered since.
    pan.world.seen.retry_at.insert(key.clone(), Tick(1));
    pan.ask(Request::Start(key.clone())).unwrap();
    assert_eq!(pan.world.servers[&key].incarnation, before);
    pan.round();
    assert!(pan.world.seen.retry_at.is_empty());
}

#[test]
fn a_hosts_gate_and_lease_are_shown_as_it_says_until_it_was_declared_dead() {
    use pan_api::host::{GateKind, LeaseState};
    use pan_controller::core::seen::LeaseSeen;
    let mut pan = Pan::new();
    let shown = |pan: &Pan| pan_controller::views::view(&pan.world, 1).hosts[&host("n1")].clone();
    assert_eq!((shown(&pan).gate, shown(&pan).lease), (None, None), "nothing was said");
    let gate = pan_member::GateState::Present(pan_member::profile::Gate::Relative);
    let said = LeaseSeen {
        state: pan_member::LeaseState::Held,
        admission: Admission(1),
        gate,
        length: None,
        expected: Duration::from_millis(240),
    };
    pan.life(LifeChange::Lease(host("n1"), said));
    pan.life(LifeChange::Agent(host("n1"), true));
    let report = Report {
        admission: Admission(1),
        gate: Some(pan_api::report::GateReport { bpf_refused: Some("no BPF here".into()), left_ms: 170 }),
        ..report_of("n1", Role::Node, 1, 1)
    };
    hosts::report(&mut pan.world, pan.now, report).unwrap();
    let gate = pan_api::host::Gate { kind: GateKind::NftSet, bpf_refused: Some("no BPF here".into()) };
    let lease = |state, left_ms| pan_api::host::Lease { state, admission: Admission(1), left_ms };
    assert_eq!((shown(&pan).gate, shown(&pan).lease), (Some(gate), Some(lease(LeaseState::Held, Some(170)))));
    pan.cut("n1");
    pan.rounds(1);
    assert_eq!(shown(&pan).lease, Some(lease(LeaseState::Fenced, None)), "it still says that it holds one");
}

/// Four nodes in two racks.
fn racked() -> Pan {
    let mut pan = Pan::new();
    for (node, rack) in NODES.into_iter().zip(["r1", "r1", "r2", "r2"]) {
        let labels = BTreeMap::from([("rack".to_owned(), Some(rack.to_owned()))]);
        pan.ask(Request::Label { node: host(node), labels }).unwrap();
    }
    pan
}

fn servers_on(pan: &Pan, node: &str) -> usize {
    pan.world.servers.values().filter(|server| server.node == Some(host(node))).count()
}

const PAIR: &str = "api: pan/v1\nkind: Partition\nname: p\nspec: {network: 10.0.0.0/24}\n---\napi: pan/v1\nkind: Cluster\npartition: p\nname: web\nspec:\n  servers: 2\n  image: host\n  command: [sleep, inf]\n  protect: {failures: 1}\n  resources: {cpu: 500m, memory: 128MiB}\n---\napi: pan/v1\nkind: Cluster\npartition: p\nname: aux\nspec:\n  servers: 4\n  image: host\n  command: [sleep, inf]\n  spread: prefer-node\n  resources: {cpu: 100m, memory: 64MiB}\n";

#[test]
fn a_rack_is_emptied_one_promised_failure_at_a_time_and_taken_back() {
    let mut pan = racked();
    pan.apply(PAIR).unwrap();
    pan.rounds(4);
    let rack: pan_controller::core::domain::Domain = "rack=r1".parse().unwrap();
    pan.ask(Request::DrainDomain(rack.clone())).unwrap();
    let recorded = pan.world.pan.drains.clone();
    pan.ask(Request::DrainDomain(rack.clone())).unwrap();
    assert_eq!(pan.world.pan.drains, recorded, "asking twice changes nothing");
    let draining = |pan: &Pan| -> Vec<&str> {
        let duty = |node: &&str| pan.world.hosts[&host(node)].duty == pan_controller::core::record::Duty::Draining;
        NODES.into_iter().filter(duty).collect()
    };
    let mut steps = Vec::new();
    for _ in 0..60 {
        pan.rounds(1);
        let begun = draining(&pan);
        if begun.len() == 2 && steps.last() != Some(&begun) {
            assert_eq!(servers_on(&pan, "n1"), 0, "the second begins when the first is empty");
        }
        if steps.last() != Some(&begun) {
            steps.push(begun);
        }
    }
    assert_eq!(steps, [vec!["n1"], vec!["n1", "n2"]]);
    assert_eq!((servers_on(&pan, "n1"), servers_on(&pan, "n2")), (0, 0));
    let view = pan_controller::views::view(&pan.world, 1);
    assert_eq!(view.drains[0].state, pan_api::insight::DrainState::Done);
    assert!(pan.world.seen.protected.contains(&server("web-1")), "the promise is kept");
    pan.ask(Request::UndoDrain(rack.clone())).unwrap();
    pan.rounds(2);
    assert!(draining(&pan).is_empty() && pan.world.pan.drains.is_empty());
    assert_eq!(pan.ask(Request::UndoDrain(rack)).unwrap_err().code, Code::NotFound);
}

#[test]
fn a_drain_of_a_domain_goes_on_under_another_leader() {
    let mut pan = racked();
    pan.apply(PAIR).unwrap();
    pan.rounds(4);
    let mut entries = BTreeMap::new();
    pan.rounds_keeping_dirty(1);
    pan.world.dirty.extend(all_dirty(&pan.world));
    pan.ask(Request::DrainDomain("rack=r1".parse().unwrap())).unwrap();
    pan.rounds_keeping_dirty(1);
    commit(&mut pan, &mut entries);
    standing::follow(&mut pan.world, listed(&entries)).unwrap();
    standing::lead(&mut pan.world, pan.now);
    pan.rounds(60);
    assert_eq!((servers_on(&pan, "n1"), servers_on(&pan, "n2")), (0, 0));
}

fn all_dirty(world: &World) -> Vec<Dirty> {
    let hosts = world.hosts.keys().cloned().map(Dirty::Host);
    let servers = world.servers.keys().cloned().map(Dirty::Server);
    let clusters = world.clusters.keys().cloned().map(Dirty::Cluster);
    hosts.chain(servers).chain(clusters).chain(world.partitions.keys().cloned().map(Dirty::Partition)).chain([Dirty::Pan]).collect()
}

#[test]
fn a_domain_that_cannot_be_emptied_is_refused_with_the_loss_and_nothing_changes() {
    let mut pan = racked();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let error = pan.ask(Request::DrainDomain("rack=r1".parse().unwrap())).unwrap_err();
    assert!(matches!(error.code, Code::Protection | Code::NoCapacity), "{error:?}");
    assert!(error.message.contains("web-"), "it names the server: {}", error.message);
    assert!(pan.world.pan.drains.is_empty());
    assert_eq!(pan.ask(Request::DrainDomain("rack=r9".parse().unwrap())).unwrap_err().code, Code::NotFound);
}

#[test]
fn a_node_taken_back_into_use_is_left_alone_by_the_drain_of_its_rack() {
    let mut pan = racked();
    pan.apply(PAIR).unwrap();
    pan.rounds(4);
    pan.ask(Request::DrainDomain("rack=r1".parse().unwrap())).unwrap();
    pan.rounds(2);
    pan.ask(Request::Uncordon(host("n1"))).unwrap();
    pan.rounds(40);
    assert_eq!(pan.world.hosts[&host("n1")].duty, pan_controller::core::record::Duty::Full);
    assert_eq!(servers_on(&pan, "n2"), 0, "the other is emptied");
    pan.ask(Request::Uncordon(host("n2"))).unwrap();
    assert!(pan.world.pan.drains.is_empty(), "nothing is left to drain");
}

#[test]
fn a_hosts_timeline_has_its_steps_and_survives_another_leader_and_is_bounded() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(2);
    let mut entries = BTreeMap::new();
    pan.world.dirty.extend(all_dirty(&pan.world));
    pan.life(LifeChange::Suspect(host("n1"), 200_000));
    pan.pass(400);
    pan.cut("n1");
    pan.rounds_keeping_dirty(2);
    commit(&mut pan, &mut entries);
    standing::follow(&mut pan.world, listed(&entries)).unwrap();
    let steps = |pan: &Pan| -> Vec<String> { pan.world.timelines.view()["n1"][0].steps.iter().map(|step| step.step.clone()).collect() };
    assert_eq!(steps(&pan), ["last-heartbeat", "suspect", "fenced", "dead"]);
    standing::lead(&mut pan.world, pan.now);
    for _ in 0..12 {
        pan.pass(1000);
        pan.life(LifeChange::Alive(host("n1"), Duration::ZERO));
        pan.life(LifeChange::Suspect(host("n1"), 200_000));
        pan.pass(100);
        pan.life(LifeChange::Alive(host("n1"), Duration::ZERO));
    }
    assert_eq!(steps(&pan), ["last-heartbeat", "suspect", "alive-again"]);
    assert_eq!(pan.world.timelines.view()["n1"].len(), 10, "older ones are forgotten");
}

#[test]
fn addresses_of_others_are_no_services() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    for address in ["198.18.0.0", "198.18.0.255", "198.18.0.241", "198.18.0.254"] {
        let with = web(1).replace("{port: 80, cluster: web}", &format!("{{address: {address}, port: 80, cluster: web}}"));
        let refused = pan.apply(&with).unwrap_err();
        assert!(refused.problems[0].message.contains("no address for services"), "{address}: {refused}");
    }
}

#[test]
fn a_partitions_network_does_not_meet_the_outside() {
    for network in ["198.18.0.0/24", "198.18.0.128/25", "198.18.0.0/15"] {
        let refused = Pan::new().apply(&web(1).replace("10.0.0.0/24", network)).unwrap_err();
        assert!(refused.problems[0].message.contains("meets 198.18.0.0/24") && refused.problems[0].line == 4, "{network}: {refused}");
    }
}

#[test]
fn nothing_is_admitted_that_no_node_takes() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    for node in NODES {
        pan.ask(Request::Cordon(host(node))).unwrap();
    }
    let greedy = web(1).replace("name: web", "name: greedy").replace("cluster: web", "cluster: greedy").replace("name: www", "name: gre");
    assert!(pan.apply(&greedy).is_err());
    assert!(pan.apply(&web(1)).is_ok(), "what is there already is no question");
}
