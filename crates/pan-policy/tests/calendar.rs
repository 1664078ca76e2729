//! Calendars against an obvious reference that walks through time minute by minute.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use pan_model::PolicySpec;
use pan_model::policy::{Cron, Zone};
use pan_policy::{Calendar, Window};
use proptest::prelude::*;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn spec(fields: &str) -> PolicySpec {
    let text = format!(
        "api: pan/v1\nkind: Policy\npartition: p\nname: x\nspec: {{target: {{cluster: web}}, schedules: [{{floor: 1, {fields}}}]}}\n"
    );
    let mut documents = pan_model::manifest::parse(&[("x".into(), text)], None).unwrap_or_else(|wrong| panic!("{fields}: {wrong:?}"));
    match documents.remove(0).object {
        pan_model::manifest::Object::Policy(_, _, spec) => spec,
        other => panic!("{other:?}"),
    }
}

fn calendar(fields: &str) -> Calendar {
    let spec = spec(fields);
    Calendar::of(&spec, &spec.schedules[0]).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Every instant at which a window begins, found by looking at the clocks of the zone at each minute: a time begins a window when it is shown
/// for the first time, or when the clocks have jumped over it since the minute before.
fn begins(cron: &Cron, zone: &TimeZone, except: &[jiff::civil::Date], from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let is_time = |shown: jiff::civil::DateTime| {
        cron.has_date(shown.date()) && cron.times().any(|time| time == (shown.hour(), shown.minute())) && !except.contains(&shown.date())
    };
    // A day before, so that what is shown twice is known to have been shown.
    let mut now = from - SignedDuration::from_hours(30);
    let mut latest = zone.to_datetime(now - MINUTE);
    let mut found = Vec::new();
    while now < until {
        let shown = zone.to_datetime(now);
        let mut any = false;
        while latest < shown {
            latest = latest.checked_add(1.minutes()).unwrap();
            any |= is_time(latest);
        }
        if any && now >= from {
            found.push(now);
        }
        now += MINUTE;
    }
    found
}

/// What the calendar says must be what the reference says, at every minute and just before it.
fn agrees(text: &str, zone: &str, lasts: i64, (from, until): (Timestamp, Timestamp)) {
    let cron: Cron = text.parse().unwrap();
    let rules = zone.parse::<Zone>().unwrap().rules().clone();
    let calendar = calendar(&format!("cron: \"{text}\", zone: {zone}, for: {lasts}m"));
    let lasts = SignedDuration::from_mins(lasts);
    let all = begins(&cron, &rules, &[], from - lasts - MINUTE, until + SignedDuration::from_hours(48));
    let mut now = from;
    while now < until {
        for instant in [now - SignedDuration::from_nanos(1), now] {
            let open = all.iter().rev().find(|begin| **begin <= instant).filter(|begin| instant < **begin + lasts);
            let expected = open.map(|begin| Window { from: *begin, until: *begin + lasts });
            assert_eq!(calendar.window_at(instant), expected, "{text} {zone} at {instant}");
            let next = all.iter().find(|begin| **begin > instant).copied();
            if let Some(next) = next {
                assert_eq!(calendar.next_window(instant).map(|window| window.from), Some(next), "{text} {zone} after {instant}");
                let over = expected.map(|window| window.until);
                assert_eq!(calendar.next_change(instant), over.into_iter().chain([next]).min(), "{text} {zone} after {instant}");
            }
        }
        now += MINUTE;
    }
}

/// A day and a half around each of both changes of the clocks, minute by minute.
fn around(zone: &str, changes: [&str; 2]) {
    for change in changes {
        let change = at(change);
        let span = (change - SignedDuration::from_hours(14), change + SignedDuration::from_hours(18));
        for (cron, lasts) in [
            ("30 2 * * *", 60),
            ("*/10 1-3 * * *", 7),
            ("0 0 * * *", 1440),
            ("45 1 * * *", 90),
            ("17 * * * *", 30),
            ("0 8 * * SUN", 600),
            ("* 2 * * *", 1),
        ] {
            agrees(cron, zone, lasts, span);
        }
    }
}

#[test]
fn clocks_change_in_berlin() {
    around("Europe/Berlin", ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"]);
}

#[test]
fn clocks_change_in_new_york() {
    around("America/New_York", ["2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"]);
}

#[test]
fn clocks_change_by_half_an_hour_on_lord_howe_island() {
    around("Australia/Lord_Howe", ["2026-10-03T15:30:00Z", "2026-04-04T15:00:00Z"]);
}

#[test]
fn clocks_change_in_sydney() {
    around("Australia/Sydney", ["2026-10-03T16:00:00Z", "2026-04-04T16:00:00Z"]);
}

#[test]
fn what_the_clocks_jump_over_begins_with_the_jump_and_what_they_show_twice_begins_once() {
    let night = calendar("cron: \"30 2 * * *\", zone: Europe/Berlin, for: 1h");
    // At 01:00 UTC it becomes 03:00 in Berlin, and there is no 02:30.
    assert_eq!(
        night.window_at(at("2026-03-29T01:00:00Z")),
        Some(Window { from: at("2026-03-29T01:00:00Z"), until: at("2026-03-29T02:00:00Z") })
    );
    assert_eq!(night.window_at(at("2026-03-29T00:59:59Z")), None);
    // 02:30 is shown at 00:30 and at 01:30 UTC.
    assert_eq!(night.next_window(at("2026-10-25T00:00:00Z")).unwrap().from, at("2026-10-25T00:30:00Z"));
    assert_eq!(night.window_at(at("2026-10-25T01:30:00Z")), None, "the second half past two begins nothing");
    assert_eq!(night.next_window(at("2026-10-25T00:30:00Z")).unwrap().from, at("2026-10-26T01:30:00Z"));
    // In a night in which the clocks are set back, ten hours are ten hours.
    let late = calendar("cron: \"0 22 * * *\", zone: Europe/Berlin, for: 10h");
    assert_eq!(late.window_at(at("2026-10-25T00:00:00Z")).unwrap().until, at("2026-10-25T06:00:00Z"));
    // Samoa had no 30th of December 2011.
    let samoa = calendar("cron: \"0 12 30 12 *\", zone: Pacific/Apia, for: 1h");
    assert_eq!(samoa.next_window(at("2011-12-01T00:00:00Z")).unwrap().from, at("2011-12-30T10:00:00Z"));
    let once = calendar("from: 2026-03-29T02:10, until: 2026-03-29T02:50, zone: Europe/Berlin");
    assert_eq!(
        (once.window_at(at("2026-03-29T01:00:00Z")), once.next_window(at("2026-01-01T00:00:00Z"))),
        (None, None),
        "an hour that is not there"
    );
}

#[test]
fn a_leap_day_comes_every_fourth_year_and_not_in_2100() {
    let leap = calendar("cron: \"0 0 29 2 *\", zone: UTC, for: 1d");
    let mut now = at("2024-02-29T00:00:00Z");
    for year in [2028, 2032, 2036] {
        let next = leap.next_change(now + SignedDuration::from_hours(24)).unwrap();
        assert_eq!(next, date(year, 2, 29).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp());
        now = next;
    }
    assert_eq!(leap.next_window(at("2096-03-01T00:00:00Z")).unwrap().from, at("2104-02-29T00:00:00Z"));
    let last = calendar("cron: \"0 12 L * *\", zone: UTC, for: 1h");
    let mut now = at("2027-12-31T12:00:00Z");
    for day in ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"] {
        now = last.next_window(now).unwrap().from;
        assert_eq!(now, at(&format!("{day}T12:00:00Z")));
    }
}

#[test]
fn windows_are_half_open_and_exceptions_are_of_the_zones_own_dates() {
    let once = calendar("from: 2026-12-24T18:00, until: 2026-12-24T18:00:30, zone: America/New_York");
    let (from, until) = (at("2026-12-24T23:00:00Z"), at("2026-12-24T23:00:30Z"));
    assert_eq!(once.next_change(at("2026-01-01T00:00:00Z")), Some(from));
    assert_eq!(once.window_at(from), Some(Window { from, until }));
    assert_eq!((once.window_at(until), once.next_change(from), once.next_change(until)), (None, Some(until), None));
    // The 25th begins in New York while it is the 25th in London since five hours; what began on the 24th goes on.
    let days = calendar("cron: \"0 22 * * *\", zone: America/New_York, for: 6h, except: [2026-12-25]");
    assert!(days.window_at(at("2026-12-25T08:59:59Z")).is_some(), "began on the 24th");
    assert_eq!(days.window_at(at("2026-12-26T03:00:00Z")), None, "the 25th at 22:00");
    assert_eq!(days.next_window(at("2026-12-25T03:00:00Z")).unwrap().from, at("2026-12-27T03:00:00Z"));
    let mut whole = spec("cron: \"0 8 * * *\", zone: UTC, for: 1h");
    whole.holidays = vec!["2026-12-25".parse().unwrap()];
    let holidays = Calendar::of(&whole, &whole.schedules[0]).unwrap();
    assert_eq!(holidays.next_window(at("2026-12-24T08:00:00Z")).unwrap().from, at("2026-12-26T08:00:00Z"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Any crontab line, any zone, any day: as the reference says.
    #[test]
    fn any_schedule_is_as_the_clocks_show_it(
        minute in prop::sample::select(vec!["0", "30", "*/7", "5-55/25", "59", "*"]),
        hour in prop::sample::select(vec!["*", "0", "2", "1-3", "*/5", "23", "22-23"]),
        day in prop::sample::select(vec!["*", "1", "L", "*/3", "13-15", "29-31"]),
        weekday in prop::sample::select(vec!["*", "SUN", "MON-FRI", "*/2", "6-7"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]),
        lasts in prop::sample::select(vec![1_i64, 30, 61, 1441]),
        start in 1_767_225_600_i64..1_893_456_000,
    ) {
        let from = Timestamp::from_second(start - start % 60).unwrap();
        agrees(&format!("{minute} {hour} {day} * {weekday}"), zone, lasts, (from, from + SignedDuration::from_hours(9)));
    }
}
