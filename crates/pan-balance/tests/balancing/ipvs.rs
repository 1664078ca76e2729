//! The schedulers of IPVS, each against its description in the kernel's sources, written out plainly. `lblc` and
//! `lblcr` have a file of their own.

use crate::scene::{Scene, scene};
use pan_balance::Draws;
use pan_balance::ipvs::{Fallback, Name, Scheduler, key};
use pan_balance::pick::Shape;
use proptest::prelude::*;
use std::net::IpAddr;

fn built(name: Name, fallback: Fallback, scene: &Scene) -> Scheduler {
    let mut scheduler = Scheduler::new(name, fallback);
    scheduler.rebuild(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
    scheduler
}

fn pick(scheduler: &mut Scheduler, scene: &Scene, draws: &mut Draws) -> Option<usize> {
    scene.see(|view| scheduler.pick(view, draws)).map(|pick| pick.at)
}

fn overhead(scene: &Scene, at: usize) -> u128 {
    256 * u128::from(scene.servers[at].in_flight) + u128::from(scene.servers[at].idle)
}

/// The position with the smallest number over its weight, the first of several.
fn smallest(scene: &Scene, number: impl Fn(usize) -> u128) -> Option<usize> {
    let common: u128 = scene.roster.weights.iter().map(|weight| u128::from((*weight).max(1))).product();
    scene.open().into_iter().min_by_key(|at| number(*at) * common / scene.weight(*at))
}

/// Which server each of the schedulers without a memory takes.
fn stateless(name: Name, scene: &Scene) -> Option<usize> {
    let active = |at: usize| u128::from(scene.servers[at].in_flight);
    let heaviest = |open: Vec<usize>| open.into_iter().rev().max_by_key(|at| scene.weight(*at));
    match name {
        Name::Lc => scene.open().into_iter().min_by_key(|at| overhead(scene, *at)),
        Name::Wlc => smallest(scene, |at| overhead(scene, at)),
        Name::Sed => smallest(scene, |at| active(at) + 1),
        Name::Nq => {
            let idle = scene.open().into_iter().find(|at| active(*at) == 0);
            idle.or_else(|| smallest(scene, |at| active(at) + 1))
        }
        Name::Fo => heaviest(scene.open()),
        Name::Ovf => heaviest(scene.open().into_iter().filter(|at| active(*at) <= scene.weight(*at)).collect()),
        other => panic!("{other} has a memory, draws or hashes"),
    }
}

proptest! {
    #[test]
    fn without_memory(scene in scene()) {
        for name in [Name::Lc, Name::Wlc, Name::Sed, Name::Nq, Name::Fo, Name::Ovf] {
            let picked = pick(&mut built(name, Fallback::Refuse, &scene), &scene, &mut Draws::seeded(0));
            prop_assert_eq!(picked, stateless(name, &scene), "{}", name);
        }
    }

    #[test]
    fn rr_is_the_next_in_the_list(scenes in prop::collection::vec(scene(), 1..12)) {
        let mut scheduler = Scheduler::new(Name::Rr, Fallback::Refuse);
        let mut last = 0;
        for scene in &scenes {
            scheduler.rebuild(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
            let mut order = scene.open();
            order.sort_by_key(|at| (scene.index(*at) <= last, *at));
            let picked = pick(&mut scheduler, scene, &mut Draws::seeded(0));
            prop_assert_eq!(picked, order.first().copied());
            last = picked.map_or(last, |at| scene.index(at));
        }
    }

    /// The whole round of passes as a list of (pass, server); the next one in it that may be had. Each pick with
    /// other servers full.
    #[test]
    fn wrr_goes_through_its_passes(scene in scene(), full in prop::collection::vec(any::<u16>(), 1..40)) {
        let weights = &scene.roster.weights;
        let top = weights.iter().copied().max().unwrap();
        let step = (1..=top.max(1)).rev().find(|step| weights.iter().all(|weight| weight % step == 0)).unwrap();
        let passes = (1..=top / step).rev().map(|pass| pass * step);
        let round: Vec<usize> = passes.flat_map(|pass| (0..weights.len()).filter(move |at| weights[*at] >= pass)).collect();
        let mut scheduler = built(Name::Wrr, Fallback::Refuse, &scene);
        let mut scene = scene;
        let mut next = 0;
        for bits in full {
            for (at, server) in scene.servers.iter_mut().enumerate() {
                server.in_flight_max = (bits >> at & 1 == 1).then_some(0);
            }
            let place = (next..next + round.len()).find(|place| scene.may(round[place % round.len()]));
            let picked = pick(&mut scheduler, &scene, &mut Draws::seeded(0));
            prop_assert_eq!(picked, place.map(|place| round[place % round.len()]));
            // What it forgets when nobody has room is not said anywhere.
            let Some(place) = place else { break };
            next = place + 1;
        }
    }

    /// 256 buckets in a row round the list; `sh` as many each as weigh; the golden ratio picks.
    #[test]
    fn dh_and_sh_are_rows_of_buckets(scene in scene(), key in any::<u32>()) {
        let mut scene = Scene { key: Some(u64::from(key)), ..scene };
        // Configured weights are not what counts.
        scene.roster.base.iter_mut().for_each(|weight| *weight = 3 * *weight + 1);
        let servers = scene.servers.len();
        let first = (u64::from(key) * 0x61c8_8647 % (1 << 32) / (1 << 24)) as usize;
        let by_turns: Vec<usize> = (0..256).map(|bucket| bucket % servers).collect();
        let row: Vec<usize> = (0..servers).flat_map(|at| vec![at; scene.roster.weights[at].max(1) as usize]).collect();
        let by_weight: Vec<usize> = (0..256).map(|bucket| row[bucket % row.len()]).collect();
        let pick = |name, fallback| pick(&mut built(name, fallback, &scene), &scene, &mut Draws::seeded(0));
        prop_assert_eq!(pick(Name::Dh, Fallback::Refuse), Some(by_turns[first]).filter(|at| scene.may(*at)));
        prop_assert_eq!(pick(Name::Sh, Fallback::Refuse), Some(by_weight[first]).filter(|at| scene.may(*at)));
        // sh-fallback: its own bucket, then those at the hash plus (hash + 0), (hash + 1) ...
        let mut tries = vec![first];
        tries.extend((0..256).map(|offset| (first + (first + offset) % 256) % 256));
        let found = tries.into_iter().map(|bucket| by_weight[bucket]).find(|at| scene.may(*at));
        prop_assert_eq!(pick(Name::Sh, Fallback::HashOn), found);
    }

    /// Numbers from 0 to the sum, each end included, counted down by the weights.
    #[test]
    fn twos_counts_down(scene in scene(), seed in any::<u64>()) {
        let (mut draws, mut again) = (Draws::seeded(seed), Draws::seeded(seed));
        let open = scene.open();
        let sum: u128 = open.iter().map(|at| scene.weight(*at)).sum();
        let mut down = || {
            let mut number = i128::from(again.below(sum as u64 + 1));
            open.iter().copied().find(|at| {
                number -= scene.weight(*at) as i128;
                number <= 0
            })
        };
        let (one, other) = (down(), down());
        let expected = one.zip(other).map(|(one, other)| {
            if scene.weight(other) * overhead(&scene, one) > scene.weight(one) * overhead(&scene, other) { other } else { one }
        });
        prop_assert_eq!(pick(&mut built(Name::Twos, Fallback::Refuse, &scene), &scene, &mut draws), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The paper's permutations written out whole, 4093 slots, turns in a row.
    #[test]
    fn mh_fills_by_turns(scene in scene(), keys in prop::collection::vec(any::<u32>(), 20), scale in 1_u32..200) {
        let mut scene = scene;
        scene.roster.base.iter_mut().for_each(|weight| *weight *= scale);
        let table = maglev(&scene);
        let mut refusing = built(Name::Mh, Fallback::Refuse, &scene);
        let mut going_on = built(Name::Mh, Fallback::HashOn, &scene);
        for key in keys {
            scene.key = Some(u64::from(key));
            let at = |offset: u32| table.as_ref().map(|table| table[(sip(key.wrapping_add(offset), 2_654_435_761) % 4093) as usize]);
            let first = at(0);
            prop_assert_eq!(pick(&mut refusing, &scene, &mut Draws::seeded(0)), first.filter(|at| scene.may(*at)));
            let slot = sip(key, 2_654_435_761) % 4093;
            let mut tries = std::iter::once(first).chain((0..4093).map(|offset| at((offset + slot) % 4093))).flatten();
            prop_assert_eq!(pick(&mut going_on, &scene, &mut Draws::seeded(0)), tries.find(|at| scene.may(*at)));
        }
    }
}

fn maglev(scene: &Scene) -> Option<Vec<usize>> {
    let weights = &scene.roster.base;
    let most = *weights.iter().max()?;
    let divisor = (1..=most).rev().find(|divisor| weights.iter().all(|weight| weight % divisor == 0))?;
    let mut turns: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
    while *turns.iter().max()? > 63 {
        turns.iter_mut().for_each(|turns| *turns /= 2);
    }
    let permutation = |at: usize| -> Vec<usize> {
        let (offset, skip) = (sip(scene.index(at), 2_654_435_761) % 4093, sip(scene.index(at), 2_654_446_892) % 4092 + 1);
        (0..4093_u64).map(|step| ((u64::from(offset) + step * u64::from(skip)) % 4093) as usize).collect()
    };
    let permutations: Vec<Vec<usize>> = (0..weights.len()).map(permutation).collect();
    let mut walked = vec![0; weights.len()];
    let mut table: Vec<Option<usize>> = vec![None; 4093];
    let mut free = 4093;
    for at in (0..weights.len()).cycle() {
        let own = if weights[at] == 0 { 0 } else { turns[at].max(1) };
        for _ in 0..own {
            if free == 0 {
                return table.into_iter().collect();
            }
            while table[permutations[at][walked[at]]].is_some() {
                walked[at] += 1;
            }
            table[permutations[at][walked[at]]] = Some(at);
            free -= 1;
        }
    }
    None
}

/// SipHash-1-3 of four bytes, the lower half, step by step as its authors write it.
fn sip(value: u32, key: u64) -> u32 {
    let (mut v0, mut v1) = (key ^ 0x736f_6d65_7073_6575, key ^ 0x646f_7261_6e64_6f6d);
    let (mut v2, mut v3) = (key ^ 0x6c79_6765_6e65_7261, key ^ 0x7465_6462_7974_6573);
    let round = |v0: &mut u64, v1: &mut u64, v2: &mut u64, v3: &mut u64| {
        *v0 = v0.wrapping_add(*v1);
        *v2 = v2.wrapping_add(*v3);
        *v1 = v1.rotate_left(13);
        *v3 = v3.rotate_left(16);
        *v1 ^= *v0;
        *v3 ^= *v2;
        *v0 = v0.rotate_left(32);
        *v2 = v2.wrapping_add(*v1);
        *v0 = v0.wrapping_add(*v3);
        *v1 = v1.rotate_left(17);
        *v3 = v3.rotate_left(21);
        *v1 ^= *v2;
        *v3 ^= *v0;
        *v2 = v2.rotate_left(32);
    };
    let word = u64::from(value) + (4 << 56);
    v3 ^= word;
    round(&mut v0, &mut v1, &mut v2, &mut v3);
    v0 ^= word;
    v2 ^= 255;
    for _ in 0..3 {
        round(&mut v0, &mut v1, &mut v2, &mut v3);
    }
    (v0 ^ v1 ^ v2 ^ v3) as u32
}

/// Over one round of passes each has its weight, in bursts: the heavy one first.
#[test]
fn wrr_as_its_documentation_says() {
    let scene = Scene::of(&[4, 3, 2]);
    let mut scheduler = built(Name::Wrr, Fallback::Refuse, &scene);
    let picks: String = (0..9).map(|_| ["A", "B", "C"][pick(&mut scheduler, &scene, &mut Draws::seeded(0)).unwrap()]).collect();
    assert_eq!(picks, "AABABCABC");
}

/// A server that is quiesced while the scheduler runs has one bucket of `sh` left, and its others move up.
#[test]
fn sh_follows_weights() {
    let mut scene = Scene::of(&[3, 3]);
    let mut scheduler = built(Name::Sh, Fallback::HashOn, &scene);
    scene.roster.set([0, 3].into_iter(), &scene.servers);
    scheduler.reweigh(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
    assert_eq!(scheduler, built(Name::Sh, Fallback::HashOn, &Scene::of(&[1, 3])));
}

/// The heaviest has all until it has more than its weight.
#[test]
fn ovf_overflows() {
    let mut scene = Scene::of(&[3, 9, 5]);
    let mut scheduler = built(Name::Ovf, Fallback::Refuse, &scene);
    let mut order = String::new();
    while let Some(at) = pick(&mut scheduler, &scene, &mut Draws::seeded(0)) {
        order.push(["a", "b", "c"][at].parse().unwrap());
        scene.give(at);
    }
    assert_eq!(order, "bbbbbbbbbbccccccaaaa");
}

#[test]
fn names_are_those_of_ipvsadm() {
    let names = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"];
    assert_eq!(Name::ALL.map(Name::as_str), names);
    for name in Name::ALL {
        assert_eq!(name.as_str().parse(), Ok(name));
    }
    let unknown = "wlcr".parse::<Name>().unwrap_err().to_string();
    assert!(unknown.starts_with("\"wlcr\" is not a scheduler of IPVS: expected one of rr, wrr, lc,"), "{unknown}");
}

/// Every one of them gives everything to somebody, and nothing to who is quiesced or full.
#[test]
fn nobody_gets_what_they_may_not_have() {
    for name in Name::ALL {
        let mut scene = Scene::of(&[2, 0, 3, 1]);
        scene.servers[3].in_flight_max = Some(0);
        let mut scheduler = built(name, Fallback::HashOn, &scene);
        let mut draws = Draws::seeded(9);
        let mut counts = [0; 4];
        for _ in 0..1000 {
            if let Some(at) = pick(&mut scheduler, &scene, &mut draws) {
                counts[at] += 1;
            }
        }
        assert!(counts[0] + counts[2] > 0 && counts[1] == 0 && counts[3] == 0, "{name}: {counts:?}");
    }
}

#[test]
fn addresses_are_folded() {
    let folded = |address: &str, port| key(address.parse::<IpAddr>().unwrap(), port);
    assert_eq!(folded("10.0.0.1", 0), 0x0a00_0001);
    assert_eq!(folded("10.0.0.1", 80), 0x0a00_0051);
    assert_eq!(folded("2001:db8::1:2", 0), 0x2001_0db8 ^ 0x0001_0002);
    assert_eq!(folded("255.255.255.255", 2), 1);
}
