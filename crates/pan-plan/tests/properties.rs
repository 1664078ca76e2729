//! Properties of plans and proofs in small worlds, against the slow reference.

#![allow(clippy::unwrap_used)]

mod reference;

use pan_model::{ByteSize, ClusterName, Cpu, HostName, PartitionName, Resources, ServerName};
use pan_plan::{
    Cluster, Domain, Node, NodeState, Options, Planner, Protect, ServerId, Snapshot, Spread, Strategy, admit, certify, compute, hold, plan,
    plan_with,
};
use proptest::prelude::{Just, ProptestConfig, Strategy as Generator, any, prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest};
use proptest::{collection, option};
use std::collections::BTreeMap;

fn amounts(most: u64) -> impl Generator<Value = Resources> {
    (1..=most, 1..=most).prop_map(|(cpu, memory)| Resources::new(Cpu(cpu * 1000), ByteSize(memory << 30)))
}

fn level() -> impl Generator<Value = Domain> {
    prop_oneof![4 => Just(Domain::Node), 1 => Just(Domain::Rack)]
}

fn spread() -> impl Generator<Value = Spread> {
    prop_oneof![3 => Just(Spread::None), 1 => level().prop_map(Spread::Prefer), 2 => level().prop_map(Spread::Require)]
}

fn node() -> impl Generator<Value = Node> {
    let state =
        prop_oneof![8 => Just(NodeState::Up), 1 => Just(NodeState::Spare), 1 => Just(NodeState::Cordoned), 1 => Just(NodeState::Away)];
    (amounts(6), option::of(0..3_u8), any::<bool>(), state).prop_map(|(capacity, rack, ssd, state)| {
        let rack = rack.map(|rack| ("rack".to_owned(), format!("r{rack}")));
        let disk = ssd.then(|| ("disk".to_owned(), "ssd".to_owned()));
        Node { capacity, labels: rack.into_iter().chain(disk).collect(), state }
    })
}

fn cluster(most: u32) -> impl Generator<Value = Cluster> {
    let protect =
        option::of((prop_oneof![3 => Just(1_u32), 1 => Just(2)], level()).prop_map(|(failures, domain)| Protect { failures, domain }));
    (1..=most, amounts(3), spread(), protect, 0..3_u16, any::<u8>()).prop_map(|(servers, need, spread, protect, priority, chance)| {
        let disk = (chance < 25).then(|| ("disk".to_owned(), "ssd".to_owned()));
        let servers = (0..servers).map(|number| (ServerName::new(format!("x-{}", number + 1)).unwrap(), None)).collect();
        let (after, with) = (Vec::new(), Vec::new());
        Cluster { need, spread, protect, priority: priority * 100, after, with, require_labels: disk.into_iter().collect(), servers }
    })
}

/// At most five nodes and eight servers, none of them placed.
fn world() -> impl Generator<Value = Snapshot> {
    let clusters = collection::vec(cluster(3), 1..=2).prop_flat_map(|two| (Just(two), option::of(cluster(2))));
    (collection::vec(node(), 1..=5), clusters, any::<u8>()).prop_map(|(nodes, (two, third), chance)| {
        let partition = PartitionName::new("p").unwrap();
        let name = |index: usize| ClusterName::new(["a", "b", "c"][index]).unwrap();
        let mut clusters = BTreeMap::new();
        for (index, mut cluster) in two.into_iter().chain(third).enumerate() {
            cluster.servers =
                (1..=cluster.servers.len()).map(|number| (ServerName::of(&name(index), u32::try_from(number).unwrap()), None)).collect();
            if index > 0 && chance < 64 {
                cluster.with.push(name(index - 1));
            }
            if index > 0 && chance % 2 == 0 {
                cluster.after.push(name(index - 1));
            }
            clusters.insert((partition.clone(), name(index)), cluster);
        }
        let nodes = nodes.into_iter().enumerate().map(|(index, node)| (HostName::new(format!("n{}", index + 1)).unwrap(), node)).collect();
        Snapshot { nodes, partitions: BTreeMap::new(), clusters }
    })
}

/// The part of a world that is placed, as a world of its own.
fn placed_only(world: &Snapshot) -> Snapshot {
    let mut placed = world.clone();
    placed.clusters.values_mut().for_each(|cluster| cluster.servers.retain(|_, node| node.is_some()));
    placed
}

fn with_state(world: &Snapshot, index: usize, state: NodeState) -> Snapshot {
    let mut changed = world.clone();
    let count = changed.nodes.len();
    changed.nodes.values_mut().nth(index % count).unwrap().state = state;
    changed
}

fn protected(world: &Snapshot) -> Vec<ServerId> {
    reference::all(world).filter(|id| reference::promise(world, id).is_some()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_global_rejects: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_keep_hard_rules_and_are_deterministic(world in world(), lost in 0..5_usize, state in prop_oneof![Just(NodeState::Down), Just(NodeState::Draining)]) {
        let first = plan(&world);
        prop_assert_eq!(&first, &plan(&world));
        let settled = first.applied(&world);
        prop_assert_eq!(reference::broken_rule(&settled, &reference::places(&settled)), None);
        let shaken = with_state(&settled, lost, state);
        let second = plan(&shaken);
        let mut after = second.applied(&shaken);
        for cluster in after.clusters.values_mut() {
            cluster.servers.values_mut().filter(|node| node.as_ref().is_some_and(|node| shaken.nodes[node].state == NodeState::Down)).for_each(|node| *node = None);
        }
        prop_assert_eq!(reference::broken_rule(&after, &reference::places(&after)), None);
        for (id, _) in &second.not_placed {
            prop_assert!(!second.place.iter().any(|placed| placed.server == *id), "{id:?} is placed and not placed");
        }
    }

    #[test]
    fn what_runs_on_a_good_node_stays(world in world(), lost in 0..5_usize) {
        let settled = plan(&world).applied(&world);
        let shaken = with_state(&settled, lost, NodeState::Down);
        let second = plan(&shaken);
        for placed in &second.place {
            let displaced = second.displaced.iter().any(|displaced| displaced.server == placed.server);
            let good = placed.from.as_ref().is_some_and(|from| shaken.nodes[from].state != NodeState::Down);
            prop_assert!(!good || displaced, "moved for nothing: {placed}");
        }
        let again = plan(&settled);
        prop_assert!(again.place.iter().all(|placed| placed.from.is_none()), "a settled world moves: {again}");
    }

    #[test]
    fn reservation_checker_and_reference_agree(world in world()) {
        let settled = placed_only(&plan(&world).applied(&world));
        let holds = reference::holds(&settled);
        let certificate = certify(&settled, None);
        prop_assert_eq!(certificate.ok, holds, "{:?}", certificate);
        let reserves = compute(&settled);
        prop_assert_eq!(reserves.is_ok(), holds, "{:?}", reserves);
        prop_assert_eq!(hold(&settled).broken.is_empty(), holds);
        prop_assert_eq!(plan(&settled).report.deficits.is_empty(), holds);
    }

    #[test]
    fn what_is_admitted_is_certified(world in world()) {
        let mut empty = world.clone();
        empty.clusters.clear();
        prop_assume!(world.nodes.values().any(|node| node.state == NodeState::Up));
        if let Ok(plan) = admit(&empty, &world) {
            prop_assert!(plan.not_placed.is_empty() && plan.report.deficits.is_empty(), "{plan}");
            prop_assert!(certify(&plan.applied(&world), None).ok);
        }
    }

    #[test]
    fn a_promise_is_kept_when_the_node_dies(world in world(), lost in 0..5_usize, told in any::<bool>()) {
        let first = plan(&world);
        let settled = placed_only(&first.applied(&world));
        prop_assume!(certify(&settled, None).ok);
        let shaken = with_state(&settled, lost, NodeState::Down);
        let reserves = plan(&settled).reserves;
        let second = plan_with(&shaken, Options { strategy: Strategy::Cost, reserves: told.then_some(&reserves) });
        prop_assert!(second.displaced.is_empty());
        for id in protected(&settled) {
            prop_assert!(!second.not_placed.iter().any(|(other, _)| *other == id), "{id:?} is lost: {second}");
        }
    }

    #[test]
    fn giving_back_is_never_refused(world in world(), lost in 0..5_usize, fewer in 0..3_usize) {
        let settled = plan(&world).applied(&world);
        let before = with_state(&settled, lost, NodeState::Down);
        let mut after = before.clone();
        let last = after.clusters.values_mut().last().unwrap();
        last.servers = std::mem::take(&mut last.servers).into_iter().take(fewer).collect();
        prop_assert!(admit(&before, &after).is_ok());
        prop_assert!(admit(&before, &before).is_ok());
    }

    #[test]
    fn an_unrelated_change_is_judged_alone(world in world(), lost in 0..5_usize) {
        let settled = plan(&world).applied(&world);
        let before = with_state(&settled, lost, NodeState::Down);
        // Where no node takes anything, nothing is admitted.
        prop_assume!(before.nodes.values().any(|node| node.state == NodeState::Up));
        let mut after = before.clone();
        let tiny = Cluster {
            need: Resources::default(),
            spread: Spread::None,
            protect: None,
            priority: 0,
            after: Vec::new(),
            with: Vec::new(),
            require_labels: BTreeMap::new(),
            servers: std::iter::once((ServerName::new("z-1").unwrap(), None)).collect(),
        };
        after.clusters.insert((PartitionName::new("p").unwrap(), ClusterName::new("z").unwrap()), tiny);
        let answer = admit(&before, &after);
        prop_assert!(answer.is_ok(), "{}", answer.unwrap_err());
    }

    #[test]
    fn books_that_are_kept_are_as_good_as_new_ones(world in world(), extra in cluster(3), lost in collection::vec(0..5_usize, 1..3), at_once in any::<bool>()) {
        let (mut planner, _) = Planner::new(world.clone(), Strategy::Cost);
        prop_assert_eq!(planner.snapshot(), &plan(&world).applied(&world));
        check_books(&planner)?;
        let name = ClusterName::new("d").unwrap();
        let mut extra = extra;
        extra.servers = (1..=extra.servers.len()).map(|number| (ServerName::of(&name, u32::try_from(number).unwrap()), None)).collect();
        planner.want(&(PartitionName::new("p").unwrap(), name), &extra);
        check_books(&planner)?;
        for lost in lost {
            let before = planner.snapshot().clone();
            let kept = certify(&running_only(&before), None).ok;
            let host = before.nodes.keys().nth(lost % before.nodes.len()).unwrap().clone();
            planner.lose(&host);
            if !at_once {
                planner.settle();
                check_books(&planner)?;
                for id in protected(&running_only(&before)).iter().filter(|_| kept) {
                    let node = planner.snapshot().bound(id).unwrap();
                    prop_assert!(planner.snapshot().nodes[node].state.runs(), "{id:?} is lost with {host}");
                }
            }
        }
        planner.settle();
        check_books(&planner)?;
    }
}

/// The part of a world that runs, as a world of its own.
fn running_only(world: &Snapshot) -> Snapshot {
    let mut running = world.clone();
    let runs = |host: &HostName| world.nodes.get(host).is_some_and(|node| node.state.runs());
    running.clusters.values_mut().for_each(|cluster| cluster.servers.retain(|_, node| node.as_ref().is_some_and(runs)));
    running
}

fn check_books(planner: &Planner) -> Result<(), proptest::test_runner::TestCaseError> {
    let running = running_only(planner.snapshot());
    prop_assert_eq!(reference::broken_rule(&running, &reference::places(&running)), None);
    prop_assert_eq!(planner.deficits().is_empty(), reference::holds(&running), "{:?}", planner.deficits());
    Ok(())
}
