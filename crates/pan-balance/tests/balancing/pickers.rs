//! Rotation, weights, least connections, first fit.

use crate::scene::{Scene, scene};
use pan_balance::Draws;
use pan_balance::pick::{Least, Load, RoundRobin, Shape, SmoothRoundRobin, Ties, first, random};
use pan_balance::view::{Roster, Server, Why};
use proptest::prelude::*;
use std::collections::BTreeMap;

proptest! {
    /// The next number after the last that may have it, going round.
    #[test]
    fn rotation_is_the_next_number(scenes in prop::collection::vec(scene(), 1..20)) {
        let mut picker = RoundRobin::default();
        let mut last = 0;
        for scene in &scenes {
            let open: Vec<u32> = scene.open().into_iter().map(|at| scene.index(at)).collect();
            let next = open.iter().find(|index| **index > last).or(open.first()).copied();
            let picked = scene.see(|view| picker.pick(view)).map(|pick| scene.index(pick.at));
            prop_assert_eq!(picked, next);
            last = picked.unwrap_or(last);
        }
    }

    #[test]
    fn equal_servers_rotate_exactly(servers in 1_usize..20, rounds in 1_usize..5, weight in 1_u32..9) {
        let scene = Scene::of(&vec![weight; servers]);
        let mut plain = RoundRobin::default();
        let mut smooth = SmoothRoundRobin::default();
        smooth.rebuild(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
        for number in 0..servers * rounds {
            prop_assert_eq!(scene.see(|view| plain.pick(view)).unwrap().at, number % servers);
            prop_assert_eq!(scene.see(|view| smooth.pick(view)).unwrap().at, number % servers);
        }
    }

    /// nginx's rule on a map by number, servers coming and going.
    #[test]
    fn smooth_is_nginx(scenes in prop::collection::vec((scene(), 1_usize..30), 1..6)) {
        let mut picker = SmoothRoundRobin::default();
        let mut current: BTreeMap<u32, i64> = BTreeMap::new();
        let mut total = 0;
        for (scene, picks) in &scenes {
            picker.rebuild(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
            current.retain(|index, _| scene.servers.iter().any(|server| server.index == *index));
            // What nginx forgets when weights change is scaled here.
            let weights: i64 = scene.roster.weights.iter().copied().map(i64::from).sum();
            if total > 0 {
                current.values_mut().for_each(|purse| *purse = *purse * weights / total);
            }
            total = weights;
            for _ in 0..*picks {
                let open = scene.open();
                for at in &open {
                    *current.entry(scene.index(*at)).or_default() += i64::from(scene.roster.weights[*at]);
                }
                let richest = open.iter().map(|at| scene.index(*at)).rev().max_by_key(|index| current[index]);
                let total: i64 = open.iter().map(|at| i64::from(scene.roster.weights[*at])).sum();
                if let Some(index) = richest {
                    *current.get_mut(&index).unwrap() -= total;
                }
                prop_assert_eq!(scene.see(|view| picker.pick(view)).map(|pick| scene.index(pick.at)), richest);
            }
        }
    }

    /// Over one cycle exactly the weights, and at every moment within one of the exact share for two servers, within
    /// the number of servers for more.
    #[test]
    fn smooth_shares_are_exact_over_a_cycle(weights in prop::collection::vec(1_u32..20, 1..12)) {
        let scene = Scene::of(&weights);
        let total: u32 = weights.iter().sum();
        let mut picker = SmoothRoundRobin::default();
        picker.rebuild(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
        let mut counts = vec![0_u32; weights.len()];
        for picks in 1..=2 * total {
            counts[scene.see(|view| picker.pick(view)).unwrap().at] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let exact = f64::from(picks) * f64::from(*weight) / f64::from(total);
                prop_assert!((f64::from(*count) - exact).abs() < weights.len() as f64);
            }
            if picks % total == 0 {
                let expected: Vec<u32> = weights.iter().map(|weight| weight * picks / total).collect();
                prop_assert_eq!(&counts, &expected);
            }
        }
    }

    /// The smallest fraction; of several the first in the order of the ties. Fractions are compared over a common
    /// denominator.
    #[test]
    fn least_is_the_smallest_fraction(scene in scene(), kind in 0_usize..5, rotate in any::<bool>(), again in 1_usize..4) {
        let ties = if rotate { Ties::Rotate } else { Ties::First };
        let mut picker = match kind {
            0 => Least::connections(Load::InFlight, ties),
            1 => Least::weighted(Load::InFlight, ties),
            2 => Least::weighted(Load::Overhead, ties),
            3 => Least::expected_delay(ties),
            _ => Least::never_queue(ties),
        };
        let common: u128 = scene.roster.weights.iter().map(|weight| u128::from((*weight).max(1))).product();
        let fraction = |at: usize| {
            let server = &scene.servers[at];
            let active = u128::from(server.in_flight);
            match kind {
                0 => active * common,
                1 => active * common / scene.weight(at),
                2 => (active * 256 + u128::from(server.idle)) * common / scene.weight(at),
                _ => (active + 1) * common / scene.weight(at),
            }
        };
        let mut last = 0;
        for _ in 0..again {
            let mut open = scene.open();
            if rotate {
                open.sort_by_key(|at| (scene.index(*at) <= last, *at));
            }
            let idle = open.iter().copied().find(|at| kind == 4 && scene.servers[*at].in_flight == 0);
            let best = idle.or_else(|| open.iter().copied().min_by_key(|at| fraction(*at)));
            let picked = scene.see(|view| picker.pick(view));
            prop_assert_eq!(picked.map(|pick| pick.at), best);
            prop_assert_eq!(picked.is_some_and(|pick| pick.why == Why::Idle), idle.is_some());
            last = best.map_or(last, |at| scene.index(at));
        }
    }

    #[test]
    fn first_is_the_first_with_room(scene in scene()) {
        prop_assert_eq!(scene.see(first::fit).map(|pick| pick.at), scene.open().first().copied());
    }

    #[test]
    fn random_picks_only_who_may_and_finds_who_may(scene in scene(), seed in any::<u64>()) {
        let mut draws = Draws::seeded(seed);
        for _ in 0..20 {
            for picked in [scene.see(|view| random::uniform(view, &mut draws)), scene.see(|view| random::weighted(view, &mut draws))] {
                prop_assert_eq!(picked.is_some(), !scene.open().is_empty());
                prop_assert!(picked.is_none_or(|pick| scene.may(pick.at)));
            }
        }
    }
}

/// Shares of a random way over many picks, all within five standard deviations.
fn shares(weights: &[u32], full: &[usize], expected: &[f64], pick: impl Fn(&Scene, &mut Draws) -> usize) {
    const PICKS: u32 = 40_000;
    let mut scene = Scene::of(weights);
    for at in full {
        scene.servers[*at].in_flight_max = Some(0);
    }
    let mut draws = Draws::seeded(11);
    let mut counts = vec![0_u32; weights.len()];
    for _ in 0..PICKS {
        counts[pick(&scene, &mut draws)] += 1;
    }
    for (count, share) in counts.iter().zip(expected) {
        let deviation = (f64::from(PICKS) * share * (1.0 - share)).sqrt();
        assert!((f64::from(*count) - f64::from(PICKS) * share).abs() <= 5.0 * deviation, "{counts:?}, not {expected:?}");
    }
}

#[test]
fn random_shares_are_equal_or_by_weight() {
    let uniform = |scene: &Scene, draws: &mut Draws| scene.see(|view| random::uniform(view, draws)).unwrap().at;
    let weighted = |scene: &Scene, draws: &mut Draws| scene.see(|view| random::weighted(view, draws)).unwrap().at;
    shares(&[1, 7, 2, 0], &[], &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0], uniform);
    shares(&[1, 7, 2, 0], &[], &[0.1, 0.7, 0.2, 0.0], weighted);
    // Those that may not have it leave the proportions of the others as they are, also when nearly all may not.
    shares(&[1, 7, 2, 3], &[1], &[1.0 / 6.0, 0.0, 2.0 / 6.0, 3.0 / 6.0], weighted);
    shares(&[1, 1000, 3], &[1], &[0.25, 0.0, 0.75], weighted);
    shares(&[1; 60], &(2..60).collect::<Vec<_>>(), &[vec![0.5; 2], vec![0.0; 58]].concat(), uniform);
}

/// With a cap of ten each, twenty-five requests need three servers of eight.
#[test]
fn first_fit_leaves_servers_idle() {
    let mut scene = Scene::of(&[1; 8]);
    scene.servers.iter_mut().for_each(|server| server.in_flight_max = Some(10));
    for _ in 0..25 {
        let at = scene.see(first::fit).unwrap().at;
        scene.give(at);
    }
    assert_eq!(scene.servers.iter().map(|server| server.in_flight).collect::<Vec<_>>(), [10, 10, 5, 0, 0, 0, 0, 0]);
}

/// n requests that stay, given to the one with the least by weight, leave all within one of their share.
#[test]
fn weighted_least_connections_level() {
    let weights = [1_u32, 2, 3, 4];
    let mut scene = Scene::of(&weights);
    let mut picker = Least::weighted(Load::InFlight, Ties::Rotate);
    for _ in 0..1000 {
        let at = scene.see(|view| picker.pick(view)).unwrap().at;
        scene.give(at);
    }
    for (server, weight) in scene.servers.iter().zip(weights) {
        assert!(server.in_flight.abs_diff(100 * weight) <= 1, "{:?}", scene.servers);
    }
}

/// With requests that are over at once, ties that go to the first would give it all.
#[test]
fn ties_rotate() {
    let scene = Scene::of(&[1; 5]);
    let counts = |ties| {
        let mut picker = Least::connections(Load::InFlight, ties);
        let mut counts = [0; 5];
        (0..50).for_each(|_| counts[scene.see(|view| picker.pick(view)).unwrap().at] += 1);
        counts
    };
    assert_eq!(counts(Ties::Rotate), [10; 5]);
    assert_eq!(counts(Ties::First), [50, 0, 0, 0, 0]);
}

/// A number that comes between two others is next when it is its turn, not at once and not at the end.
#[test]
fn a_server_that_comes_does_not_make_rotation_jump() {
    let at = |indices: &[u32]| {
        let servers: Vec<Server> = indices.iter().map(|index| Server { index: *index, ..Server::default() }).collect();
        let roster = Roster::of(&vec![1; servers.len()], &servers);
        Scene { servers, roster, ..Scene::of(&[]) }
    };
    let (few, more) = (at(&[10, 20, 30]), at(&[10, 15, 20, 25, 30]));
    let mut picker = RoundRobin::default();
    let mut next = |scene: &Scene| scene.index(scene.see(|view| picker.pick(view)).unwrap().at);
    assert_eq!([next(&few), next(&few), next(&more), next(&more), next(&few)], [10, 20, 25, 30, 10]);
}
