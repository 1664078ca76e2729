//! The guards, each against a model and its promise.

use pan_balance::guard::queue::Place;
use pan_balance::guard::sticky::{By, key};
use pan_balance::guard::{Budget, Outliers, Queue, SlowStart, Sticky, outlier, panic};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

proptest! {
    /// Envoy's formula in real numbers, never falling, whole at the end.
    #[test]
    fn slow_start_grows(window in 1_u64..100_000, aggression in 200_u32..5000, least in 0_u32..=100) {
        let slow = SlowStart { window: ms(window), aggression, least };
        let mut before = 0;
        for step in 0..=50 {
            let age = ms(window) * step / 50;
            let share = slow.share(age);
            let real = (f64::from(step) / 50.0).powf(1000.0 / f64::from(aggression)).max(f64::from(least) / 100.0);
            prop_assert!((share as f64 / 4_294_967_296.0 - real).abs() < 2e-3, "{share} at {step}/50, not {real}");
            prop_assert!(share >= before);
            before = share;
        }
        prop_assert_eq!(slow.share(ms(window)), 1 << 32);
        prop_assert_eq!(slow.weigh(7, Duration::MAX), 7);
        prop_assert_eq!(slow.weigh(0, ms(0)), 0);
        prop_assert!(slow.weigh(1, ms(0)) >= 1);
    }

    /// Requests and retries of the current second and the nine before, counted in a list.
    #[test]
    fn the_budget_is_a_fifth_and_ten_a_second(steps in prop::collection::vec((0_u64..400, any::<bool>(), 1_u32..40), 1..120)) {
        let mut budget = Budget::default();
        let (mut requests, mut retries, mut now) = (Vec::new(), Vec::new(), Duration::ZERO);
        for (later, is_request, times) in steps {
            now += ms(later);
            for _ in 0..times {
                if is_request {
                    budget.request(now);
                    requests.push(now.as_secs());
                    continue;
                }
                let lately = |list: &[u64]| list.iter().filter(|second| *second + 10 > now.as_secs()).count();
                let allowed = 5 * (lately(&retries) + 1) <= lately(&requests) + 500;
                prop_assert_eq!(budget.retry(now), allowed);
                if allowed {
                    retries.push(now.as_secs());
                }
            }
        }
    }

    /// A list of who waits, in order.
    #[test]
    fn the_queue_is_a_list(steps in prop::collection::vec((0_u8..5, 0_u64..50, 0_u64..8), 1..200), most in 0_usize..12) {
        let mut queue = Queue::new(most);
        let (mut list, mut now): (Vec<(Place, Duration)>, Duration) = (Vec::new(), Duration::ZERO);
        for (action, wait, later) in steps {
            now += ms(later);
            match action {
                0 | 1 => match queue.enter(now + ms(wait)) {
                    Ok(place) => {
                        prop_assert!(list.len() < most && list.iter().all(|one| one.0 < place));
                        list.push((place, now + ms(wait)));
                    }
                    Err(full) => prop_assert!(full.waiting == most && list.len() == most),
                },
                2 => {
                    let next = list.iter().position(|one| one.1 > now);
                    prop_assert_eq!(queue.next(now), next.map(|at| list.remove(at).0));
                }
                3 => {
                    while let Some(place) = queue.expired(now) {
                        let at = list.iter().position(|one| one.0 == place).unwrap();
                        prop_assert!(list.iter().all(|one| one.1 >= list[at].1) && list[at].1 <= now);
                        list.remove(at);
                    }
                    prop_assert!(list.iter().all(|one| one.1 > now));
                }
                _ => if let Some(at) = (wait as usize).checked_rem(list.len()) {
                    let place = list.remove(at).0;
                    prop_assert!(queue.leave(place) && !queue.leave(place));
                },
            }
            prop_assert_eq!((queue.len(), queue.is_empty()), (list.len(), list.is_empty()));
            prop_assert_eq!(queue.deadline(), list.iter().map(|one| one.1).min());
        }
    }

    /// As long as nothing is pushed out, a map with times.
    #[test]
    fn sessions_are_a_map(steps in prop::collection::vec((any::<bool>(), 0_u64..8, 1_u32..5, 0_u64..400), 1..200)) {
        let mut sticky = Sticky::new(8, ms(1000));
        let (mut map, mut now): (BTreeMap<u64, (u32, Duration)>, Duration) = (BTreeMap::new(), Duration::ZERO);
        for (is_put, key, index, later) in steps {
            now += ms(later);
            if is_put {
                sticky.put(key, index, now);
                map.insert(key, (index, now));
            } else {
                let known = map.get_mut(&key).filter(|entry| now - entry.1 < ms(1000));
                let known = known.map(|entry| { entry.1 = now; entry.0 });
                prop_assert_eq!(sticky.get(key, now), known);
            }
        }
    }

    /// However servers fail, come and go: never more ejected than the cap, never all.
    #[test]
    fn ejections_stay_below_the_cap(
        percent_max in 0_u32..120,
        count_max in 0_u32..4,
        steps in prop::collection::vec((0_usize..12, 0_u32..8, 0_u64..4000, prop::option::weighted(0.1, 1_u32..12)), 1..200),
    ) {
        let settings = outlier::Settings { percent_max, count_max, servers_min: 2, requests_min: 3, ..outlier::Settings::default() };
        let mut outliers = Outliers::new(settings);
        let (mut servers, mut now) = (6_u32, Duration::ZERO);
        outliers.rebuild(0..servers);
        for (at, failures, later, others) in steps {
            now += ms(later);
            if let Some(many) = others {
                servers = many;
                outliers.rebuild(0..servers);
            }
            for _ in 0..failures {
                outliers.failed(at % servers as usize, now);
            }
            outliers.answered((at + 1) % servers as usize);
            outliers.tick(now);
            let all = servers as usize;
            let cap = (all * percent_max.min(100) as usize / 100).max(count_max as usize).min(all - 1);
            let ejected = (0..all).filter(|at| outliers.ejected(*at).is_some()).count();
            prop_assert_eq!(ejected, outliers.ejected_count());
            prop_assert!(ejected <= cap, "{} of {} with a cap of {}", ejected, all, cap);
        }
    }

    /// Mean and deviation in real numbers.
    #[test]
    fn rates_are_compared_with_the_mean(rates in prop::collection::vec(0_u64..=100, 5..12)) {
        let settings = outlier::Settings { failures_max: 0, percent_max: 100, ..outlier::Settings::default() };
        let mut outliers = Outliers::new(settings);
        outliers.rebuild(0..rates.len() as u32);
        for (at, rate) in rates.iter().enumerate() {
            (0..*rate).for_each(|_| outliers.answered(at));
            (*rate..100).for_each(|_| assert!(!outliers.failed(at, ms(1))));
        }
        let count = rates.len() as f64;
        let mean = rates.iter().sum::<u64>() as f64 / count;
        let deviation = (rates.iter().map(|rate| (*rate as f64 - mean).powi(2)).sum::<f64>() / count).sqrt();
        let worst = mean - 1.9 * deviation;
        let changed = outliers.tick(ms(10_000));
        for (at, rate) in rates.iter().enumerate().filter(|(_, rate)| (**rate as f64 - worst).abs() > 0.001) {
            prop_assert_eq!(outliers.ejected(at).is_some(), (*rate as f64) < worst, "{}", at);
        }
        prop_assert_eq!(changed, outliers.ejected_count() > 0);
    }
}

/// Five failures in a row, and each time longer; an interval in peace makes it shorter again.
#[test]
fn ejections_grow_longer() {
    let at = Duration::from_secs;
    let mut outliers = Outliers::new(outlier::Settings::default());
    outliers.rebuild(0..4);
    let fail = |outliers: &mut Outliers, times: u32, now| (0..times).fold(false, |_, _| outliers.failed(2, now));
    assert!(!fail(&mut outliers, 4, at(0)));
    outliers.answered(2);
    assert!(!fail(&mut outliers, 4, at(0)), "not in a row");
    assert!(fail(&mut outliers, 1, at(0)));
    assert_eq!(outliers.ejected(2), Some(at(30)));
    assert!(!outliers.failed(1, at(1)) && !fail(&mut outliers, 9, at(1)), "it is out already");
    assert!((0..9).all(|_| !outliers.failed(1, at(1))), "only one of four may be");
    assert!(!outliers.tick(at(29)) && outliers.tick(at(30)));
    outliers.tick(at(41));
    assert!(fail(&mut outliers, 5, at(42)));
    assert_eq!(outliers.ejected(2), Some(at(72)), "an interval in peace");
    let mut last = Duration::ZERO;
    let mut now = at(80);
    for times in 1..=12_u32 {
        outliers = Outliers::new(outlier::Settings { interval: at(100_000), ..outlier::Settings::default() });
        outliers.rebuild(0..4);
        for _ in 0..times {
            assert!(fail(&mut outliers, 5, now));
            last = outliers.ejected(2).unwrap() - now;
            now += last;
            outliers.tick(now);
        }
        assert_eq!(last, at(30 * u64::from(times)).min(at(300)));
    }
}

#[test]
fn panic_is_below_half() {
    for (well, all, panics) in [(1, 2, false), (1, 3, true), (2, 3, false), (0, 1, true), (0, 0, false), (3, 3, false)] {
        assert_eq!(panic::panics(well, all, panic::THRESHOLD), panics, "{well} of {all}");
    }
    assert!(!panic::panics(0, 5, 0), "a threshold of 0 never panics");
}

/// More sessions than there is room for push out the longest unused of their eight places, those that timed out first.
#[test]
fn the_longest_unused_session_makes_room() {
    let mut sticky = Sticky::new(8, ms(1000));
    assert_eq!(sticky.capacity(), 8);
    for key in 0..8 {
        sticky.put(key, 1, ms(key));
    }
    assert_eq!(sticky.get(0, ms(10)), Some(1), "and that counts as use");
    sticky.put(8, 2, ms(11));
    assert_eq!((sticky.get(1, ms(11)), sticky.get(0, ms(11)), sticky.get(8, ms(11))), (None, Some(1), Some(2)));
    // All but these two have timed out by then; one of them goes, not the longest unused that is alive.
    sticky.put(9, 3, ms(1010));
    assert_eq!((sticky.get(0, ms(1010)), sticky.get(8, ms(1010)), sticky.get(9, ms(1010))), (Some(1), Some(2), Some(3)));
}

/// The promise of the table's documentation: four times the room, fewer than one of a thousand pushed out.
#[test]
fn with_room_four_times_over_nearly_nobody_is_pushed_out() {
    let mut sticky = Sticky::new(131_072, Duration::from_secs(3600));
    let sessions: Vec<u64> = (0..32_768_u64).map(|user| key(42, By::Cookie, &user.to_be_bytes())).collect();
    sessions.iter().for_each(|session| sticky.put(*session, 7, ms(1)));
    let lost = sessions.iter().filter(|session| sticky.get(**session, ms(2)).is_none()).count();
    assert!(lost * 1000 < sessions.len(), "{lost} of {} sessions were pushed out", sessions.len());
}

#[test]
fn session_keys_differ_by_kind_and_secret() {
    let keys =
        [key(1, By::Cookie, b"a"), key(1, By::Header, b"a"), key(1, By::Address, b"a"), key(2, By::Cookie, b"a"), key(1, By::Cookie, b"b")];
    let distinct: std::collections::BTreeSet<u64> = keys.into_iter().collect();
    assert_eq!(distinct.len(), keys.len());
}

/// While everything fails, of 1000 requests a second 200 and 10 are tried again, not 1000.
#[test]
fn retries_do_not_multiply_an_outage() {
    let mut budget = Budget::default();
    let mut retries = 0;
    for request in 0..30_000 {
        let now = ms(request);
        budget.request(now);
        retries += u32::from(budget.retry(now));
    }
    assert!((6_000..=6_400).contains(&retries), "{retries} in 30 s");
}
