//! Two choices.

use crate::scene::{Scene, scene};
use pan_balance::Draws;
use pan_balance::pick::{Cost, random, two};
use pan_balance::view::Why;
use proptest::prelude::*;

/// As many lots as a server's weight; two are drawn, the second among those of other servers. Four pairs, then
/// the best of all.
fn reference(scene: &Scene, draws: &mut Draws) -> Option<usize> {
    let lots: Vec<usize> = (0..scene.servers.len()).flat_map(|at| vec![at; scene.roster.weights[at] as usize]).collect();
    let draw = |lots: &[usize], draws: &mut Draws| lots.get(draws.below(lots.len() as u64) as usize).copied();
    let better = |one: usize, other: usize| {
        let load = |at: usize| u128::from(scene.servers[at].in_flight);
        load(one) * scene.weight(other) < load(other) * scene.weight(one)
    };
    for _ in 0..4 {
        let one = draw(&lots, draws)?;
        let others: Vec<usize> = lots.iter().copied().filter(|at| *at != one).collect();
        if others.is_empty() {
            return scene.may(one).then_some(one);
        }
        let other = draw(&others, draws)?;
        match (scene.may(one), scene.may(other)) {
            (true, true) => return Some(if better(other, one) { other } else { one }),
            (true, false) => return Some(one),
            (false, true) => return Some(other),
            (false, false) => {}
        }
    }
    scene.open().into_iter().reduce(|best, at| if better(at, best) { at } else { best })
}

proptest! {
    #[test]
    fn as_two_lots(scene in scene(), seed in any::<u64>()) {
        let (mut draws, mut again) = (Draws::seeded(seed), Draws::seeded(seed));
        for _ in 0..10 {
            let picked = scene.see(|view| two::choices(Cost::InFlight, view, &mut draws));
            prop_assert_eq!(picked.map(|pick| pick.at), reference(&scene, &mut again));
            if let Some(Why::NoWorseThan(other)) = picked.map(|pick| pick.why) {
                prop_assert_ne!(other, scene.index(picked.unwrap().at));
            }
        }
    }
}

/// n requests on n servers.
fn fullest(servers: usize, seed: u64, pick: impl Fn(&Scene, &mut Draws) -> usize) -> u32 {
    let mut scene = Scene::of(&vec![1; servers]);
    let mut draws = Draws::seeded(seed);
    for _ in 0..servers {
        let at = pick(&scene, &mut draws);
        scene.give(at);
    }
    scene.servers.iter().map(|server| server.in_flight).max().unwrap()
}

/// log2 log2 4096 = 3.6: the fullest of two choices has 4 or 5 in every of 20 runs, where one choice has 6 and more.
#[test]
fn the_fullest_has_log_log_n() {
    for seed in 0..20 {
        let two = fullest(4096, seed, |scene, draws| scene.see(|view| two::choices(Cost::InFlight, view, draws)).unwrap().at);
        let one = fullest(4096, seed, |scene, draws| scene.see(|view| random::uniform(view, draws)).unwrap().at);
        assert!(two <= 5 && one >= 6, "seed {seed}: {two} with two choices, {one} with one");
    }
}

/// The same with weights: the load by weight of the fullest stays near the others'.
#[test]
fn weights_are_kept() {
    let weights: Vec<u32> = (0..100).map(|at| 1 + at % 4).collect();
    let mut scene = Scene::of(&weights);
    let mut draws = Draws::seeded(3);
    for _ in 0..100 * weights.iter().sum::<u32>() {
        let at = scene.see(|view| two::choices(Cost::InFlight, view, &mut draws)).unwrap().at;
        scene.give(at);
    }
    for (server, weight) in scene.servers.iter().zip(weights) {
        assert!(server.in_flight.abs_diff(100 * weight) <= 4 + 2 * weight, "{server:?} of weight {weight}");
    }
}
