//! `lblc` and `lblcr` against the rules at the top of the kernel's files, on plain lists.

use crate::scene::{Scene, scene};
use pan_balance::ipvs::Locality;
use pan_balance::pick::Shape;
use proptest::prelude::*;
use std::time::Duration;

const EXPIRATION: Duration = Duration::from_secs(100);

struct Known {
    key: u64,
    set: Vec<u32>,
    changed: Duration,
}

struct Model {
    replicates: bool,
    known: Vec<Known>,
}

fn load(scene: &Scene, at: usize) -> u128 {
    let common: u128 = scene.roster.weights.iter().map(|weight| u128::from((*weight).max(1))).product();
    (256 * u128::from(scene.servers[at].in_flight) + u128::from(scene.servers[at].idle)) * common / scene.weight(at)
}

fn position(scene: &Scene, index: u32) -> Option<usize> {
    scene.servers.iter().position(|server| server.index == index)
}

impl Model {
    fn pick(&mut self, scene: &Scene, key: u64) -> Option<usize> {
        let now = scene.now;
        let least_of_all = || scene.open().into_iter().min_by_key(|at| load(scene, *at));
        let overloaded = |at: usize| {
            u128::from(scene.servers[at].in_flight) > scene.weight(at)
                && (0..scene.servers.len()).any(|other| 2 * u128::from(scene.servers[other].in_flight) < scene.weight(other))
        };
        let Some(known) = self.known.iter_mut().find(|known| known.key == key) else {
            let at = least_of_all()?;
            self.known.push(Known { key, set: vec![scene.index(at)], changed: now });
            return Some(at);
        };
        // The newest first, as in the kernel's list.
        let members: Vec<usize> = known.set.iter().rev().filter_map(|index| position(scene, *index)).collect();
        let least = members.iter().copied().filter(|at| scene.may(*at)).min_by_key(|at| load(scene, *at));
        if self.replicates && known.set.len() > 1 && now > known.changed + EXPIRATION {
            let with_weight = members.iter().copied().filter(|at| scene.weight(*at) > 0);
            if let Some(most) = with_weight.rev().max_by_key(|at| load(scene, *at)) {
                known.set.retain(|index| *index != scene.index(most));
                known.changed = now;
            }
        }
        if let Some(at) = least.filter(|at| !overloaded(*at)) {
            return Some(at);
        }
        let at = least_of_all()?;
        let index = scene.index(at);
        if !self.replicates {
            known.set = vec![index];
        } else if !known.set.contains(&index) {
            known.set.push(index);
            known.changed = now;
        }
        Some(at)
    }
}

proptest! {
    /// Servers with other loads, weights and caps at every pick; time goes on by up to a minute.
    #[test]
    fn as_the_rules(
        scenes in prop::collection::vec((scene(), 0_u64..4, 0_u64..60), 1..40),
        replicates in any::<bool>(),
    ) {
        let mut locality = if replicates { Locality::replicated(EXPIRATION) } else { Locality::single() };
        let mut model = Model { replicates, known: Vec::new() };
        let mut now = Duration::ZERO;
        for (scene, key, later) in scenes {
            now += Duration::from_secs(later);
            let scene = Scene { now, ..scene };
            locality.rebuild(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
            model.known.iter_mut().for_each(|known| known.set.retain(|index| position(&scene, *index).is_some()));
            let picked = scene.see(|view| locality.pick(view, key)).map(|pick| pick.at);
            prop_assert_eq!(picked, model.pick(&scene, key));
        }
    }
}

/// Keys keep their server until it has more than its weight while another has less than half of its own.
#[test]
fn a_key_stays_until_its_server_is_overloaded() {
    let mut scene = Scene::of(&[10, 10]);
    let mut locality = Locality::single();
    let mut pick = |scene: &Scene| scene.see(|view| locality.pick(view, 1)).unwrap().at;
    assert_eq!(pick(&scene), 0);
    scene.servers[0].in_flight = 10;
    assert_eq!(pick(&scene), 0, "at its weight");
    scene.servers[0].in_flight = 11;
    scene.servers[1].in_flight = 5;
    assert_eq!(pick(&scene), 0, "nobody has less than half");
    scene.servers[1].in_flight = 4;
    assert_eq!(pick(&scene), 1);
    scene.servers[0].in_flight = 0;
    assert_eq!(pick(&scene), 1, "it does not go back");
}

/// What is not asked for is forgotten: all after a day, and above 16,384 keys what was unused for six minutes. More
/// than 65,536 are not kept.
#[test]
fn keys_are_forgotten() {
    let mut scene = Scene::of(&[1]);
    let mut locality = Locality::single();
    let ask = |scene: &Scene, locality: &mut Locality, keys: std::ops::Range<u64>| {
        for key in keys {
            scene.see(|view| locality.pick(view, key)).unwrap();
        }
    };
    ask(&scene, &mut locality, 0..70_000);
    assert_eq!(locality.len(), 65_536);
    scene.now = Duration::from_secs(359);
    locality.tick(scene.now);
    assert_eq!(locality.len(), 65_536, "not unused for six minutes");
    for minute in 6..40 {
        scene.now = Duration::from_secs(60 * minute);
        ask(&scene, &mut locality, 0..10);
        locality.tick(scene.now);
    }
    assert!(locality.len() <= 16_384 && locality.len() > 16_000, "{} left", locality.len());
    for minute in 0..31 {
        locality.tick(Duration::from_secs(25 * 3600 + 60 * minute));
    }
    assert!(locality.is_empty(), "{} left after a day", locality.len());
}
