//! Hashing by key: Maglev, ring, rendezvous, and bounded loads.

use crate::scene::{Scene, scene};
use pan_balance::pick::{Bound, Hashed, Layout, Shape};
use pan_balance::view::{Roster, Server, Why};
use pan_balance::{Draws, Member, Table, stable_hash};
use proptest::prelude::*;
use std::collections::BTreeMap;

const LAYOUTS: [Layout; 3] = [Layout::Maglev, Layout::Ring, Layout::Rendezvous];

fn built(layout: Layout, bound: Option<Bound>, scene: &Scene) -> Hashed {
    let mut hashed = Hashed::new(layout, bound);
    hashed.rebuild(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
    hashed
}

fn equal(indices: impl Iterator<Item = u32>, weight: impl Fn(u32) -> u32) -> Scene {
    let servers: Vec<Server> = indices.map(|index| Server { index, ..Server::default() }).collect();
    let weights: Vec<u32> = servers.iter().map(|server| weight(server.index)).collect();
    Scene { roster: Roster::of(&weights, &servers), servers, ..Scene::of(&[]) }
}

/// The numbers of the servers of keys 0, 1, 2 ...
fn owners(layout: Layout, scene: &Scene, keys: u64) -> Vec<u32> {
    let hashed = built(layout, None, scene);
    let mut draws = Draws::seeded(0);
    let mut scene = scene.clone();
    (0..keys)
        .map(|key| {
            scene.key = Some(stable_hash(&[&key.to_be_bytes()]));
            scene.index(scene.see(|view| hashed.pick(view, &mut draws)).unwrap().at)
        })
        .collect()
}

/// The smallest whole number that is at least c × average by weight.
fn most(scene: &Scene, at: usize, percent: u128) -> u128 {
    let live: Vec<usize> = (0..scene.servers.len()).filter(|at| scene.roster.weights[*at] > 0).collect();
    let load: u128 = live.iter().map(|at| u128::from(scene.servers[*at].in_flight)).sum();
    let weight: u128 = live.iter().map(|at| scene.weight(*at)).sum();
    (0..).find(|most| most * 100 * weight >= percent * (load + 1) * scene.weight(at)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Maglev: the key's slot in the table of layer 4, then slot by slot. Ring: all points in order of how far they are
    /// from the key's. Rendezvous: real logarithms.
    #[test]
    fn as_the_orders_written_out(scene in scene(), key in any::<u64>(), bounded in any::<bool>()) {
        let scene = Scene { key: Some(key), ..scene };
        let bound = bounded.then_some(Bound::USUAL);
        let fits = |at: usize| !bounded || u128::from(scene.servers[at].in_flight) < most(&scene, at, 125);
        let open = scene.open();
        for layout in LAYOUTS {
            let picked = scene.see(|view| built(layout, bound, &scene).pick(view, &mut Draws::seeded(0)));
            prop_assert_eq!(picked.is_some(), !open.is_empty());
            let Some(picked) = picked else { continue };
            prop_assert!(scene.may(picked.at));
            let beyond = !open.iter().any(|at| fits(*at));
            prop_assert_eq!(picked.why == Why::KeyBeyondBound, beyond);
            prop_assert!(beyond || fits(picked.at));
            let order = match layout {
                Layout::Maglev => slots(&scene, key),
                Layout::Rendezvous => by_logarithm(&scene, key),
                Layout::Ring => round_the_ring(&scene, key),
            };
            let first = order.iter().find(|at| scene.may(**at) && (beyond || fits(**at)));
            // Of a table, servers without a slot within reach come in another order.
            prop_assert!(first.is_none() || first == Some(&picked.at), "{:?}: {:?} not {:?}", layout, picked, first);
        }
    }

    /// A server that goes moves its own keys; of others none on a ring and by rendezvous, few in a slot table. One that
    /// comes takes its share and nothing moves between others.
    #[test]
    fn few_keys_move(indices in prop::collection::btree_set(1_u32..500, 3..20), lost in any::<prop::sample::Index>()) {
        let all: Vec<u32> = indices.iter().copied().collect();
        let lost = all[lost.index(all.len())];
        for layout in LAYOUTS {
            let before = owners(layout, &equal(all.iter().copied(), |_| 1), 2000);
            let after = owners(layout, &equal(all.iter().copied().filter(|index| *index != lost), |_| 1), 2000);
            prop_assert!(after.iter().all(|index| *index != lost));
            let moved = before.iter().zip(&after).filter(|(old, new)| **old != lost && old != new).count();
            match layout {
                Layout::Maglev => prop_assert!(moved <= 2000 / 5, "{} of 2000 keys moved", moved),
                Layout::Ring | Layout::Rendezvous => prop_assert_eq!(moved, 0),
            }
        }
    }

    /// A server that may not have requests for a while keeps its keys for later, and nobody else's move.
    #[test]
    fn a_full_server_moves_only_its_own_keys(indices in prop::collection::btree_set(1_u32..500, 2..20), full in any::<prop::sample::Index>()) {
        let mut scene = equal(indices.iter().copied(), |_| 1);
        let full = full.index(scene.servers.len());
        for layout in LAYOUTS {
            scene.servers[full].in_flight_max = None;
            let before = owners(layout, &scene, 500);
            scene.servers[full].in_flight_max = Some(0);
            let after = owners(layout, &scene, 500);
            for (old, new) in before.iter().zip(&after) {
                prop_assert_eq!(old == new, *old != scene.index(full), "{:?}", layout);
            }
        }
    }

    /// Mirrokni et al.: whatever the keys, nobody has more than c times the average, rounded up.
    #[test]
    fn bounded_loads_are_bounded(
        weights in prop::collection::vec(1_u32..5, 2..12),
        keys in prop::collection::vec(0_u64..4, 100),
        percent in 101_u32..200,
    ) {
        for layout in LAYOUTS {
            let mut scene = Scene::of(&weights);
            let hashed = built(layout, Some(Bound::percent(percent)), &scene);
            for key in &keys {
                scene.key = Some(*key);
                let picked = scene.see(|view| hashed.pick(view, &mut Draws::seeded(0))).unwrap();
                prop_assert_ne!(picked.why, Why::KeyBeyondBound);
                let most = most(&scene, picked.at, u128::from(percent));
                scene.give(picked.at);
                prop_assert!(u128::from(scene.servers[picked.at].in_flight) <= most);
            }
        }
    }
}

fn slots(scene: &Scene, key: u64) -> Vec<usize> {
    let members: Vec<Member> =
        scene.servers.iter().zip(&scene.roster.base).map(|(server, weight)| Member { index: server.index, weight: *weight }).collect();
    let table = Table::build("www", 4093, &members).slots;
    let size = table.len();
    let at = |slot: usize| scene.servers.iter().position(|server| server.index == table[slot]).unwrap();
    (0..size.min(128)).map(|step| at(((key % size as u64) as usize + step) % size)).collect()
}

/// The finaliser that spreads a server's points, and keys.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Weight times the power of two by which all have between 128 and 256 points on average; the nearest after the key's place
/// first, so far as a pick looks.
fn round_the_ring(scene: &Scene, key: u64) -> Vec<usize> {
    let part: Vec<usize> = (0..scene.servers.len()).filter(|at| scene.roster.base[*at] > 0).collect();
    let sum: u32 = part.iter().map(|at| scene.roster.base[*at]).sum();
    let average = f64::from(sum) / part.len() as f64;
    let Some(power) = (-20..20).map(|power| 2_f64.powi(power)).find(|power| average * power >= 128.0) else { return Vec::new() };
    let mut points = Vec::new();
    for at in part {
        let seed = stable_hash(&[b"www", b"ring", &scene.index(at).to_be_bytes()]);
        let many = (f64::from(scene.roster.base[at]) * power) as u64;
        for number in 0..many {
            let point = mixed(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            points.push((point.wrapping_sub(mixed(key)), at));
        }
    }
    points.sort_unstable();
    points.into_iter().map(|(_, at)| at).take(128).collect()
}

/// Nearest first by -ln(hash) / weight.
fn by_logarithm(scene: &Scene, key: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scene.servers.len()).filter(|at| scene.roster.base[*at] > 0).collect();
    let distance = |at: usize| {
        let seed = stable_hash(&[b"www", b"rendezvous", &scene.index(at).to_be_bytes()]);
        -((mixed(key ^ seed) as f64 + 1.0) / 2_f64.powi(64)).ln() / f64::from(scene.roster.base[at])
    };
    order.sort_by(|one, other| distance(*one).total_cmp(&distance(*other)));
    order
}

/// How even keys are, and how many move when a tenth server joins nine: the figures of docs/balancing.md.
#[test]
fn figures() {
    const KEYS: u64 = 50_000;
    for (layout, uneven_max, moved_max) in [(Layout::Maglev, 0.04, 0.13), (Layout::Ring, 0.30, 0.14), (Layout::Rendezvous, 0.05, 0.11)] {
        let before = owners(layout, &equal(1..10, |_| 1), KEYS);
        let after = owners(layout, &equal(1..11, |_| 1), KEYS);
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        before.iter().for_each(|index| *counts.entry(*index).or_default() += 1);
        let uneven = counts.values().map(|count| (*count as f64 / (KEYS as f64 / 9.0) - 1.0).abs()).fold(0.0, f64::max);
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new).count() as f64 / KEYS as f64;
        let needless = before.iter().zip(&after).filter(|(old, new)| old != new && **new != 10).count() as f64 / KEYS as f64;
        println!("{layout:?}: off by {:.1} %, moved {:.1} %, of that needlessly {:.1} %", uneven * 100.0, moved * 100.0, needless * 100.0);
        assert!(counts.len() == 9 && uneven <= uneven_max && moved <= moved_max, "{layout:?}: {uneven} {moved}");
        assert!(layout == Layout::Maglev || needless == 0.0);
    }
}

/// Shares by weight, within what each layout promises.
#[test]
fn weights_make_shares() {
    for (layout, off_max) in [(Layout::Maglev, 0.05), (Layout::Ring, 0.35), (Layout::Rendezvous, 0.05)] {
        let owners = owners(layout, &equal(1..6, |index| index), 50_000);
        for index in 1..6 {
            let exact = 50_000.0 * f64::from(index) / 15.0;
            let count = owners.iter().filter(|owner| **owner == index).count() as f64;
            assert!((count / exact - 1.0).abs() <= off_max, "{layout:?}: server {index} has {count} keys, its share is {exact}");
        }
    }
}

/// When those that could have it are all above their bound, the bound gives way and the key's own server has it.
#[test]
fn the_bound_gives_way_before_the_request_does() {
    let scene = |bound: Option<Bound>, layout, key| {
        let mut scene = Scene { key: Some(key), ..Scene::of(&[1; 6]) };
        scene.servers[..4].iter_mut().for_each(|server| server.in_flight = 50);
        scene.servers[4..].iter_mut().for_each(|server| server.in_flight_max = Some(0));
        scene.roster.busy = 200;
        scene.see(|view| built(layout, bound, &scene).pick(view, &mut Draws::seeded(0))).unwrap()
    };
    for (layout, key) in LAYOUTS.into_iter().flat_map(|layout| (0..30).map(move |key| (layout, key))) {
        let bounded = scene(Some(Bound::USUAL), layout, key);
        assert_eq!((bounded.at, bounded.why), (scene(None, layout, key).at, Why::KeyBeyondBound));
    }
}

/// A request without a key goes anywhere.
#[test]
fn without_a_key_all_get_some() {
    let scene = Scene::of(&[1; 4]);
    for layout in LAYOUTS {
        let hashed = built(layout, None, &scene);
        let mut draws = Draws::seeded(5);
        let mut counts = [0_u32; 4];
        (0..4000).for_each(|_| counts[scene.see(|view| hashed.pick(view, &mut draws)).unwrap().at] += 1);
        assert!(counts.iter().all(|count| *count > 600), "{layout:?}: {counts:?}");
    }
}
