//! Measures the planner on made-up PANs of three sizes: `cargo run --release -p pan-plan --example plan_bench`.
//!
//! The worlds are the same in every run: three kinds of nodes in racks of 40, clusters of 2 to 40 servers of eight
//! sizes, most of them protected against the loss of a node, with hard, soft and no spread rules, at about 60 % load.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use pan_model::{ByteSize, ClusterName, Cpu, HostName, PartitionName, Resources, ServerName};
use pan_plan::{
    Cluster, ClusterKey, Domain, Node, NodeState, Options, Planner, Protect, Snapshot, Spread, Strategy, certify, compute, plan, plan_with,
};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Knuth's MMIX generator: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn nodes(dice: &mut Dice, count: usize) -> BTreeMap<HostName, Node> {
    let node = |index: usize| {
        let (cpu, memory) = [(32, 96), (32, 128), (48, 192)][usize::try_from(dice.roll(3)).expect("small")];
        let rack = ("rack".to_owned(), format!("r{}", index / 40));
        let disk = (dice.roll(4) == 0).then(|| ("disk".to_owned(), "ssd".to_owned()));
        let capacity = Resources::new(Cpu(cpu * 1000), ByteSize(memory << 30));
        let node = Node { capacity, labels: std::iter::once(rack).chain(disk).collect(), state: NodeState::Up };
        (HostName::new(format!("n{index}")).expect("a host name"), node)
    };
    (0..count).map(node).collect()
}

fn cluster(dice: &mut Dice, name: &ClusterName, count: u64) -> Cluster {
    let (cpu, memory) = [(1, 2), (1, 4), (2, 4), (2, 8), (2, 6), (4, 8), (4, 16), (1, 8)][usize::try_from(dice.roll(8)).expect("small")];
    let labelled = dice.roll(10) == 0;
    let spread = match dice.roll(10) {
        0..3 if !labelled => Spread::Require(Domain::Node),
        3..5 => Spread::Prefer(Domain::Node),
        5..7 => Spread::Prefer(Domain::Rack),
        _ => Spread::None,
    };
    Cluster {
        need: Resources::new(Cpu(cpu * 1000), ByteSize(memory << 30)),
        spread,
        protect: (dice.roll(10) < 7).then_some(Protect { failures: 1, domain: Domain::Node }),
        priority: [300, 500, 700][usize::try_from(dice.roll(3)).expect("small")],
        after: Vec::new(),
        with: Vec::new(),
        require_labels: labelled.then(|| ("disk".to_owned(), "ssd".to_owned())).into_iter().collect(),
        servers: (1..=count).map(|number| (ServerName::of(name, u32::try_from(number).expect("small")), None)).collect(),
    }
}

/// A PAN with `servers` wanted servers, none of them placed.
fn world(count: usize, servers: u64) -> Snapshot {
    let mut dice = Dice(42);
    let mut snapshot = Snapshot { nodes: nodes(&mut dice, count), ..Snapshot::default() };
    let mut left = servers;
    while left > 0 {
        let size = (2 + dice.roll(39)).min(left).min(count as u64 / 2);
        let name = ClusterName::new(format!("c{}", snapshot.clusters.len())).expect("a cluster name");
        let partition = PartitionName::new(format!("p{}", dice.roll(20))).expect("a partition name");
        let cluster = cluster(&mut dice, &name, size);
        snapshot.clusters.insert((partition, name), cluster);
        left -= size;
    }
    snapshot
}

fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = run();
    (start.elapsed(), result)
}

fn show(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let last = samples.len() - 1;
    let (median, least, most) = (samples[samples.len() / 2], samples[0], samples[last]);
    // Fewer samples than a hundred have no 99th percentile.
    let p99 = if last >= 99 { format!(", p99 {:?}", samples[(samples.len() * 99).div_ceil(100) - 1]) } else { String::new() };
    println!("  {what}: median {median:?}{p99}, least {least:?}, most {most:?}, runs {}", samples.len());
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn measure(servers: u64, count: usize, runs: usize) {
    println!("{servers} servers on {count} nodes");
    let empty = world(count, servers);
    let (mut placing, mut proving, mut checking, mut losing, mut quiet) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut digests, mut counts) = ((0, 0), (0, 0, 0, 0));
    for _ in 0..runs {
        let (took, first) = timed(|| plan(&empty));
        placing.push(took);
        let settled = first.applied(&empty);
        let (took, reserves) = timed(|| compute(&settled));
        proving.push(took);
        reserves.expect("what was planned holds");
        let (took, certificate) = timed(|| certify(&settled, None));
        checking.push(took);
        assert!(certificate.ok, "{certificate:?}");
        let (took, same) = timed(|| plan_with(&settled, Options { strategy: Strategy::Cost, reserves: Some(&first.reserves) }));
        quiet.push(took);
        assert!(same.is_empty());
        let mut shaken = settled.clone();
        shaken.nodes.values_mut().nth(count / 2).expect("a node").state = NodeState::Down;
        let (took, second) = timed(|| plan_with(&shaken, Options { strategy: Strategy::Cost, reserves: Some(&first.reserves) }));
        losing.push(took);
        digests = (digest(&first.to_string()), digest(&second.to_string()));
        assert!(first.report.deficits.is_empty(), "{first}");
        counts = (first.not_placed.len(), second.place.len(), second.not_placed.len(), second.report.deficits.len());
    }
    show("plan of all, with proof", placing);
    show("plan when nothing is to do", quiet);
    show("proof from a snapshot (compute)", proving);
    show("independent proof (certify)", checking);
    show("plan for a lost node, from a snapshot", losing);
    let (left, moved, lost, deficits) = counts;
    println!("  {left} without a place; after the loss {moved} moved, {lost} without a place, {deficits} promises broken");
    println!("  plans {:016x} {:016x}", digests.0, digests.1);
    keep(plan(&empty).applied(&empty), count);
}

/// One event after the other with books that are kept.
fn keep(settled: Snapshot, count: usize) {
    let (took, (mut planner, change)) = timed(|| Planner::new(settled, Strategy::Cost));
    println!("  books made in {took:?}");
    assert!(change.place.is_empty());
    let keys: Vec<ClusterKey> = planner.snapshot().clusters.keys().cloned().collect();
    let mut placing = Vec::new();
    for number in 0..(count / 2).min(2_000) {
        let key = &keys[number * 7919 % keys.len()];
        let mut cluster = planner.snapshot().clusters[key].clone();
        let next = u32::try_from(cluster.servers.len() + 1).expect("small");
        cluster.servers.insert(ServerName::of(&key.1, next), None);
        let (took, change) = timed(|| planner.want(key, &cluster));
        assert_eq!(change.place.len() + change.not_placed.len(), 1, "one more server, {change:?}");
        if change.place.is_empty() {
            planner.want(key, &Cluster { servers: cluster.servers.into_iter().filter(|(_, node)| node.is_some()).collect(), ..cluster });
        } else {
            placing.push(took);
        }
    }
    show("one more server, placed and proved", placing);
    let (mut losing, mut settling, mut moved) = (Vec::new(), Vec::new(), 0);
    let deficits = planner.deficits().len();
    for number in 0..(count / 50).min(100) {
        let host = planner.snapshot().nodes.keys().nth(number * 7919 % count).expect("a node").clone();
        let (took, change) = timed(|| planner.lose(&host));
        losing.push(took);
        let (took, more) = timed(|| planner.settle());
        settling.push(took);
        moved += change.place.len() + more.place.len();
    }
    show("a lost node: where its protected servers go", losing);
    show("a lost node: the others placed, all proved anew", settling);
    let reserves = planner.reserves();
    let busiest =
        reserves.reserved.iter().max_by_key(|(_, amounts)| amounts.memory).map(|(host, _)| host.clone()).expect("something is reserved");
    let backups = reserves.backup.values().filter(|host| **host == busiest).count();
    let (lose, _) = timed(|| planner.lose(&busiest));
    let (settle, _) = timed(|| planner.settle());
    println!(
        "  {moved} moved; the node that is backup of {backups} servers: {lose:?}, then {settle:?}; deficits {deficits}, then {}",
        planner.deficits().len()
    );
}

fn main() {
    let most: u64 = std::env::args().nth(1).map_or(100_000, |arg| arg.parse().expect("the number of servers of the largest PAN"));
    for (servers, nodes, runs) in [(1_000, 100, 7), (10_000, 1_000, 5), (100_000, 10_000, 3)] {
        if servers <= most {
            measure(servers, nodes, runs);
        }
    }
}
