//! Prequal against its rule on a plain list.

use crate::scene::{Scene, scene};
use pan_balance::Draws;
use pan_balance::pick::prequal::{Prequal, Settings};
use pan_balance::view::Why;
use proptest::prelude::*;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Neither reuse nor removal, so that a list can tell what is known.
const PLAIN: Settings = Settings { hot_quantile: 840, probes: 3000, removed: 0, age_max: Duration::from_secs(1) };

proptest! {
    /// Sixteen latest answers of the last second; cold is who has no more than the quantile of the last 64; of the cold
    /// the fastest, else of all the one with the least.
    #[test]
    fn the_fastest_of_the_cold(
        scene in scene(),
        answers in prop::collection::vec((0_usize..12, 0_u32..20, 0_u64..100, 0_u64..200), 0..90),
        quantile in 0_u32..=1000,
        later in 0_u64..900,
        seed in any::<u64>(),
    ) {
        // So few servers that an answer may be used often.
        let mut prequal = Prequal::new(Settings { hot_quantile: quantile, ..PLAIN });
        let mut draws = Draws::seeded(seed);
        let mut list = Vec::new();
        let mut now = Duration::ZERO;
        for (server, in_flight, latency, wait) in answers {
            now += ms(wait);
            let server = scene.servers[server % scene.servers.len()].index;
            prequal.answered(server, in_flight, ms(latency), now, 17, &mut draws);
            list.push((server, in_flight, ms(latency), now));
        }
        let scene = Scene { now: now + ms(later), ..scene };
        let mut counts: Vec<u32> = list.iter().rev().take(64).map(|answer| answer.1).collect();
        counts.sort_unstable();
        let limit = counts.get((counts.len() * quantile as usize / 1000).min(counts.len().max(1) - 1)).copied();
        let open: Vec<u32> = scene.open().into_iter().map(|at| scene.index(at)).collect();
        let kept = list.iter().rev().take(16).rev();
        let known: Vec<_> = kept.filter(|answer| scene.now - answer.3 <= ms(1000) && open.contains(&answer.0)).copied().collect();
        let picked = scene.see(|view| prequal.pick(view, &mut draws));
        prop_assert_eq!(picked.is_some(), !open.is_empty());
        let Some(picked) = picked else { return Ok(()) };
        if known.len() < 2 {
            prop_assert_eq!(picked.why, Why::Chance);
            return Ok(());
        }
        let cold = known.iter().filter(|answer| answer.1 <= limit.unwrap()).min_by_key(|answer| answer.2);
        let expected = cold.or_else(|| known.iter().min_by_key(|answer| answer.1)).unwrap();
        prop_assert_eq!(scene.index(picked.at), expected.0);
        prop_assert_eq!(picked.why, if cold.is_some() { Why::Cold } else { Why::Hot });
    }
}

/// The reuse budget: with 100 servers, three probes and one removal a request, (1 + 1) / ((1 - 16/100) 3 - 1) = 1.3: an
/// answer is used once, and every third one twice.
#[test]
fn answers_are_used_up() {
    let scene = Scene::of(&[1; 100]);
    let mut draws = Draws::seeded(2);
    let mut used = 0;
    for _ in 0..1000 {
        let mut prequal = Prequal::new(Settings { removed: 1000, ..Settings::default() });
        for index in [1, 2] {
            prequal.answered(index, 0, ms(u64::from(index)), Duration::ZERO, 100, &mut draws);
        }
        while scene.see(|view| prequal.pick(view, &mut draws)).unwrap().why == Why::Cold {
            used += 1;
        }
    }
    // Until the first of the two is used up.
    assert!((1_250..1_400).contains(&used), "{used}");
}

/// Three servers a request are asked, any of them.
#[test]
fn three_are_asked_for_each_request() {
    let scene = Scene::of(&[1; 10]);
    let (mut prequal, mut draws) = (Prequal::new(Settings::default()), Draws::seeded(4));
    let mut asked = [0; 11];
    for _ in 0..1000 {
        scene.see(|view| {
            prequal.pick(view, &mut draws);
            while let Some(index) = prequal.due(view, &mut draws) {
                asked[index as usize] += 1;
            }
        });
    }
    assert_eq!(asked.iter().sum::<u32>(), 3000);
    assert!(asked[1..].iter().all(|count| (240..360).contains(count)), "{asked:?}");
}

/// With the worst thrown away too, the pool empties to two and not below.
#[test]
fn the_pool_keeps_two() {
    let scene = Scene::of(&[1; 20]);
    let (mut prequal, mut draws) = (Prequal::new(Settings { removed: 1000, ..Settings::default() }), Draws::seeded(4));
    for index in 1..=16 {
        prequal.answered(index, index, ms(u64::from(index)), Duration::ZERO, 16, &mut draws);
    }
    for _ in 0..20 {
        let pick = scene.see(|view| prequal.pick(view, &mut draws)).unwrap();
        assert!(matches!(pick.why, Why::Cold | Why::Hot), "{pick:?}");
    }
    // What it says is too old a second later.
    let late = Scene { now: ms(1001), ..scene };
    assert_eq!(late.see(|view| prequal.pick(view, &mut draws)).unwrap().why, Why::Chance);
}
