//! What several policies make of a cluster's own number.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pan_model::manifest::{Object, parse};
use pan_policy::{AHEAD, Changes, Policy, Resolved, clash, resolve};
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A policy whose schedules have these fields.
fn policy(name: &str, schedules: &[&str]) -> Policy {
    let schedules: String = schedules.iter().map(|fields| format!("{{{fields}}}, ")).collect();
    let text =
        format!("api: pan/v1\nkind: Policy\npartition: p\nname: {name}\nspec: {{target: {{cluster: web}}, schedules: [{schedules}]}}\n");
    let documents = parse(&[("x".into(), text)], None).unwrap_or_else(|wrong| panic!("{schedules}: {wrong:?}"));
    let Object::Policy(_, name, spec) = &documents[0].object else { panic!("a policy") };
    Policy::of(name, spec).unwrap()
}

const DAY: &str = "cron: \"0 8 * * *\", zone: UTC, for: 10h";

/// Who decides: `policy.schedule`.
fn deciders(resolved: &Resolved) -> Vec<String> {
    resolved.because.iter().map(|one| format!("{}.{} {}", one.policy, one.schedule, one.effect)).collect()
}

#[track_caller]
fn check(policies: &[Policy], base: u32, time: &str, expected: (u32, &[&str])) {
    let resolved = resolve(policies, base, at(time));
    assert_eq!(
        (resolved.servers, deciders(&resolved)),
        (expected.0, expected.1.iter().map(|text| (*text).to_owned()).collect()),
        "{base} at {time}"
    );
}

#[test]
fn the_highest_floor_and_the_lowest_ceiling_count() {
    let (noon, night) = ("2026-12-01T12:00:00Z", "2026-12-01T18:00:00Z");
    let day = policy("day", &[&format!("{DAY}, floor: 8")]);
    check(&[], 3, noon, (3, &[]));
    check(std::slice::from_ref(&day), 3, noon, (8, &["day.0 floor 8"]));
    check(std::slice::from_ref(&day), 3, night, (3, &[]));
    check(std::slice::from_ref(&day), 9, noon, (9, &[]));
    let more = policy("more", &[&format!("{DAY}, floor: 4"), "cron: \"0 12 * * *\", zone: UTC, for: 1h, floor: 10"]);
    check(&[day.clone(), more.clone()], 3, noon, (10, &["more.1 floor 10"]));
    check(&[day.clone(), more], 3, "2026-12-01T13:00:00Z", (8, &["day.0 floor 8"]));
    let frugal = policy("frugal", &[&format!("{DAY}, ceiling: 8"), &format!("{DAY}, ceiling: 20")]);
    check(&[day.clone(), frugal.clone()], 30, noon, (8, &["frugal.0 ceiling 8"]));
    check(&[frugal], 5, noon, (5, &[]));
    let exact = policy("exact", &["from: 2026-12-01T11:00, until: 2026-12-01T19:00, zone: UTC, exact: 2"]);
    check(std::slice::from_ref(&exact), 30, noon, (2, &["exact.0 exact 2"]));
    let resolved = resolve(&[day], 3, at(noon));
    assert_eq!((resolved.until, resolved.active.len()), (Some(at("2026-12-01T18:00:00Z")), 1));
}

#[test]
fn contradictions_are_found_with_their_moment_and_the_larger_number_counts() {
    let from = at("2026-12-01T00:00:00Z");
    let found = |policies: &[Policy]| clash(policies, Changes::of(policies, from, from + AHEAD));
    let day = policy("day", &[&format!("{DAY}, floor: 8")]);
    let friday = policy("friday", &["cron: \"30 17 * * FRI\", zone: UTC, for: 2h, ceiling: 7"]);
    let both = [day.clone(), friday];
    let clash = found(&both).expect("a contradiction");
    assert_eq!((clash.at, clash.one.policy.as_str(), clash.other.policy.as_str()), (at("2026-12-04T17:30:00Z"), "day", "friday"));
    let resolved = resolve(&both, 3, clash.at);
    assert_eq!((resolved.servers, deciders(&resolved)), (8, vec!["day.0 floor 8".to_owned()]));
    assert_eq!(
        found(&[day.clone(), policy("later", &["from: 2026-12-08T09:00, until: 2026-12-08T10:00, zone: UTC, ceiling: 1"])]),
        None,
        "beyond a week"
    );
    assert!(found(&[day.clone(), policy("exact", &[&format!("{DAY}, exact: 8")])]).is_some(), "what is exact is alone");
    assert!(found(&[policy("a", &[&format!("{DAY}, exact: 8")]), policy("b", &[&format!("{DAY}, exact: 9")])]).is_some());
    assert_eq!(found(&[policy("a", &[&format!("{DAY}, exact: 8")]), policy("b", &[&format!("{DAY}, exact: 8")])]), None);
    // One is over when the other begins.
    assert_eq!(found(&[day, policy("evening", &["cron: \"0 18 * * *\", zone: UTC, for: 14h, ceiling: 1"])]), None);
}

/// Three regions hand over to each other for 48 hours, over the night in which Europe's clocks change. Every minute: each region has its floor
/// while the clocks of its zone show its hours, its own number else, and at any time at least one region is awake.
#[test]
fn three_regions_hand_over_for_48_hours() {
    let regions = [("Europe/Berlin", 2, 6), ("America/New_York", 1, 5), ("Australia/Sydney", 3, 7)];
    // Ten hours each, from seven o'clock: of the 24 hours, none is without.
    let policies: Vec<Policy> = regions
        .iter()
        .map(|(zone, _, floor)| policy("awake", &[&format!("cron: \"0 7 * * *\", zone: {zone}, for: 10h, floor: {floor}")]))
        .collect();
    let start = at("2026-03-28T00:00:00Z");
    let (mut handed_over, mut former) = (0, None);
    for minute in 0..48 * 60 {
        let now = start + SignedDuration::from_mins(minute);
        let mut sum = 0;
        let mut awake = Vec::new();
        for ((zone, base, floor), policy) in regions.iter().zip(&policies) {
            let resolved = resolve(std::slice::from_ref(policy), *base, now);
            let hour = TimeZone::get(zone).unwrap().to_datetime(now).hour();
            // At seven the clocks have changed already, so ten hours are from seven to five on that day as well.
            let is_awake = (7..17).contains(&hour);
            assert_eq!(resolved.servers, if is_awake { *floor } else { *base }, "{zone} at {now}");
            assert_eq!(resolved.because.len(), usize::from(is_awake), "{zone} at {now}");
            assert!(resolved.until.is_some_and(|until| until > now), "{zone} at {now}");
            sum += resolved.servers;
            awake.extend(is_awake.then_some(*zone));
        }
        let promised: u32 = regions.iter().map(|(zone, base, floor)| if awake.contains(zone) { floor } else { base }).sum();
        assert_eq!(sum, promised, "at {now}");
        assert!((6 + 4..=6 + 8 + 4).contains(&sum), "{sum} servers at {now}");
        let turned = |former: &Vec<&str>| regions.iter().filter(|(zone, ..)| former.contains(zone) != awake.contains(zone)).count();
        handed_over += former.as_ref().map_or(0, turned);
        former = Some(awake);
    }
    assert_eq!(handed_over, 12, "each region begins and ends twice");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Between two instants of change nothing changes, and what is resolved respects every bound that holds.
    #[test]
    fn nothing_changes_between_changes(
        rules in prop::collection::vec((0_u32..24, 0_u32..60, 1_u32..900, prop::sample::select(vec!["floor", "ceiling"]), 0_u32..20), 1..5),
        base in 0_u32..20,
        probe in 0_i64..86_400,
    ) {
        let schedules: Vec<String> = rules
            .iter()
            .map(|(hour, minute, lasts, effect, servers)| format!("cron: \"{minute} {hour} * * *\", zone: UTC, for: {lasts}m, {effect}: {servers}"))
            .collect();
        let policies = [policy("x", &schedules.iter().map(String::as_str).collect::<Vec<_>>())];
        let start = at("2026-12-01T00:00:00Z");
        let now = start + SignedDuration::from_secs(probe);
        let changes: Vec<Timestamp> = Changes::of(&policies, start, start + SignedDuration::from_hours(48)).collect();
        prop_assert!(changes.is_sorted_by(|one, other| one < other));
        let before = changes.iter().rev().find(|change| **change <= now).unwrap();
        let (here, there) = (resolve(&policies, base, now), resolve(&policies, base, *before));
        prop_assert_eq!((here.servers, &here.active), (there.servers, &there.active));
        for one in &here.active {
            let kept = match one.effect {
                pan_model::policy::Effect::Floor(floor) => here.servers >= floor,
                pan_model::policy::Effect::Ceiling(ceiling) => here.servers <= ceiling || here.clash.is_some(),
                pan_model::policy::Effect::Exact(exact) => here.servers == exact,
            };
            prop_assert!(kept, "{} at {}", one.effect, now);
        }
        prop_assert_eq!(here.servers == base || !here.because.is_empty(), true);
    }
}
