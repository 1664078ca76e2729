//! Peak-EWMA against real numbers.

use crate::scene::Scene;
use pan_balance::Draws;
use pan_balance::ewma::{PeakEwma, TAU};
use pan_balance::pick::{Cost, two};
use proptest::prelude::*;
use std::time::Duration;

/// Finagle's rule in real numbers.
#[derive(Default)]
struct Real {
    cost: f64,
    at: f64,
}

impl Real {
    fn at(&self, other: f64, now: f64) -> f64 {
        let kept = (-(now - self.at).max(0.0) / TAU.as_secs_f64()).exp();
        self.cost * kept + other * (1.0 - kept)
    }

    fn observe(&mut self, took: f64, now: f64) {
        self.cost = if took > self.cost { took } else { self.at(took, now) };
        self.at = self.at.max(now);
    }
}

proptest! {
    #[test]
    fn as_real_numbers(answers in prop::collection::vec((0_u64..5_000_000, 0_u64..20_000_000), 1..40), pending in 0_u32..20) {
        let (mut real, mut ewma, mut now) = (Real::default(), PeakEwma::default(), Duration::ZERO);
        for (took, later) in answers {
            now += Duration::from_micros(later);
            ewma.observe(Duration::from_micros(took), now, TAU);
            real.observe(took as f64, now.as_secs_f64());
            let off = (ewma.micros(now, TAU) as f64 - real.cost).abs();
            prop_assert!(off <= 45.0 + real.cost * 2e-3, "{} not {}", ewma.micros(now, TAU), real.cost);
            let later = now + Duration::from_secs(3);
            let cost = real.at(0.0, later.as_secs_f64()) * f64::from(pending + 1);
            prop_assume!(cost >= 1000.0);
            prop_assert!((ewma.cost(pending, later, TAU) as f64 / cost - 1.0).abs() <= 0.05);
        }
    }
}

#[test]
fn worse_counts_at_once_and_better_little_by_little() {
    let (ms, at) = (Duration::from_millis, Duration::from_secs);
    let mut ewma = PeakEwma::default();
    ewma.observe(ms(10), at(0), TAU);
    ewma.observe(ms(100), at(0), TAU);
    assert_eq!(ewma.micros(at(0), TAU), 100_000);
    ewma.observe(ms(10), at(1), TAU);
    assert!((85_000..95_000).contains(&ewma.micros(at(1), TAU)));
    // A clock that is asked about the past changes nothing.
    ewma.observe(ms(500), at(0), TAU);
    assert_eq!(ewma.micros(at(1), TAU), 500_000);
}

/// One that has a request and never answered may be dead: others come first, however slow. One that never had any is
/// the first to be tried.
#[test]
fn who_never_answered() {
    let now = Duration::from_secs(1);
    let mut slow = PeakEwma::default();
    slow.observe(Duration::from_secs(30), now, TAU);
    let never = PeakEwma::default();
    assert!(never.cost(0, now, TAU) < slow.cost(0, now, TAU));
    assert!(never.cost(1, now, TAU) > slow.cost(20, now, TAU));
    assert!(never.cost(1, now, TAU) < never.cost(2, now, TAU));
}

/// Of two servers the faster is picked until it has so much more to do that it is the slower.
#[test]
fn the_cost_is_time_by_requests() {
    let mut scene = Scene::of(&[1, 1]);
    scene.servers[0].latency.observe(Duration::from_millis(10), scene.now, TAU);
    scene.servers[1].latency.observe(Duration::from_millis(50), scene.now, TAU);
    let mut draws = Draws::seeded(1);
    for in_flight in [0, 1, 2, 3, 5, 6] {
        scene.servers[0].in_flight = in_flight;
        let at = scene.see(|view| two::choices(Cost::PeakEwma, view, &mut draws)).unwrap().at;
        assert_eq!(at, usize::from(in_flight > 4), "with {in_flight} in flight");
    }
}
