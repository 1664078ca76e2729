//! The windows of a schedule: half-open spans of time that begin when the clocks of a zone show certain times.
//!
//! Where the clocks jump over a time, its window begins at the first instant after the jump; where they show a time twice, it begins the
//! first time alone. Windows of `cron` last as long as time passes, whatever the clocks do meanwhile.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};
use pan_model::PolicySpec;
use pan_model::policy::{Cron, LocalDate, Occurs, ScheduleSpec, Wrong};
use std::collections::BTreeSet;

/// How far a next window is looked for, in years: days of the month fall on the same days of the week again within 28 years, and within 40
/// where a century without a leap day comes between.
const YEARS_AHEAD: i16 = 41;

/// A span of time: `from` belongs to it, `until` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
}

impl Window {
    /// Whether an instant lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// When the windows of a schedule are.
#[derive(Debug, Clone)]
pub struct Calendar(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Again(Again),
    Once(Window),
}

/// Windows that come again and again.
#[derive(Debug, Clone)]
struct Again {
    cron: Cron,
    /// Its times of day, in their order.
    times: Vec<(i8, i8)>,
    lasts: SignedDuration,
    zone: TimeZone,
    except: BTreeSet<LocalDate>,
}

/// The first instant at which the clocks of a zone show a time or, where they jump over it, a later one.
fn instant(zone: &TimeZone, shown: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(shown);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.compatible().ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // With the offset that holds after it, the time is before the jump, by less than its length.
            let before = after.to_timestamp(shown).ok()?;
            zone.following(before).next().map(|jump| jump.timestamp())
        }
    }
}

impl Calendar {
    /// The windows of one of a policy's schedules.
    ///
    /// # Errors
    /// Fields of it that do not go together.
    pub fn of(policy: &PolicySpec, schedule: &ScheduleSpec) -> Result<Self, Wrong> {
        let zone = schedule.zone.rules();
        match schedule.occurs()? {
            Occurs::Again(cron, lasts) => {
                let lasts = SignedDuration::try_from(lasts.0).map_err(|_| ("for", format!("{lasts} is too long")))?;
                let except = policy.holidays.iter().chain(&schedule.except).copied().collect();
                Ok(Self(Kind::Again(Again { times: cron.times().collect(), cron, lasts, zone: zone.clone(), except })))
            }
            Occurs::Once(from, until) => {
                let at = |shown| instant(zone, shown).ok_or_else(|| ("from", "is out of the range of time".to_owned()));
                Ok(Self(Kind::Once(Window { from: at(from.0)?, until: at(until.0)? })))
            }
        }
    }

    /// The window that an instant lies in: of several, the one that began last.
    #[must_use]
    pub fn window_at(&self, at: Timestamp) -> Option<Window> {
        let found = match &self.0 {
            Kind::Once(window) => Some(*window),
            Kind::Again(again) => again.window(again.latest(at)?),
        };
        found.filter(|window| window.contains(at))
    }

    /// The first window that begins after an instant.
    #[must_use]
    pub fn next_window(&self, after: Timestamp) -> Option<Window> {
        match &self.0 {
            // One that both ends of lie in the same jump of the clocks is none.
            Kind::Once(window) => Some(*window).filter(|window| window.from > after && window.from < window.until),
            Kind::Again(again) => again.window(again.next(after)?),
        }
    }

    /// The first instant after one at which a window begins or is over.
    #[must_use]
    pub fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let over = self.window_at(after).map(|window| window.until);
        let begins = self.next_window(after).map(|window| window.from);
        over.into_iter().chain(begins).min()
    }
}

impl Again {
    fn window(&self, from: Timestamp) -> Option<Window> {
        Some(Window { from, until: from.checked_add(self.lasts).ok()? })
    }

    fn is_on(&self, date: Date) -> bool {
        self.cron.has_date(date) && !self.except.contains(&LocalDate(date))
    }

    fn begin(&self, date: Date, (hour, minute): (i8, i8)) -> Option<Timestamp> {
        instant(&self.zone, date.at(hour, minute, 0, 0))
    }

    /// How many of a day's times come up to an instant. They come in their order, also where clocks change.
    fn until(&self, date: Date, at: Timestamp) -> usize {
        self.times.partition_point(|time| self.begin(date, *time).is_some_and(|begin| begin <= at))
    }

    /// When the latest window began that may still be open.
    fn latest(&self, at: Timestamp) -> Option<Timestamp> {
        // The day after, too: clocks that are set back over midnight show it early.
        let mut date = self.zone.to_datetime(at).date().tomorrow().ok()?;
        let oldest = self.zone.to_datetime(at.checked_sub(self.lasts).ok()?).date().yesterday().ok()?;
        while date >= oldest {
            if self.is_on(date)
                && let Some(last) = self.until(date, at).checked_sub(1)
            {
                return self.begin(date, self.times[last]);
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    /// When the first window begins after an instant.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let today = self.zone.to_datetime(after).date();
        let last = today.checked_add(YEARS_AHEAD.years()).ok()?;
        // The day before, too: of times that the clocks jump over, a whole day may be late.
        let mut date = today.yesterday().ok()?;
        while date <= last {
            if !self.cron.has_month(date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
                continue;
            }
            if self.is_on(date)
                && let Some(time) = self.times.get(self.until(date, after))
            {
                return self.begin(date, *time);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }
}
