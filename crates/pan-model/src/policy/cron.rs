//! Times of day on days of the calendar, in the five fields of crontab(5).
//!
//! Minute 0-59, hour 0-23, day of the month 1-31 or `L` for the last one, month 1-12 or JAN-DEC, day of the week 0-7 or SUN-SAT (0 and 7
//! are Sunday); each a `*`, a number, a range, a list of these, and with `/n` every n-th of a range. crontab's rule of days: where both day
//! of the month and day of the week are given, a day counts if either fits; where one of them begins with `*`, both have to fit.

use jiff::civil::{Date, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The word for the last day of a month.
pub const LAST_DAY: &str = "L";
const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
/// The most days that each month has.
const LONGEST: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
/// Longer is no crontab line that anybody could read.
const TEXT_MAX: usize = 200;

/// Times of day on days of the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    /// Bit n: the n-th minute, hour and so on.
    minutes: u64,
    hours: u64,
    days: u64,
    last_day: bool,
    months: u64,
    weekdays: u64,
    /// A day counts if either of day of the month and day of the week fits.
    either: bool,
}

impl Cron {
    /// Whether it has times in a month, 1 to 12.
    #[must_use]
    pub const fn has_month(&self, month: i8) -> bool {
        self.months & (1 << month) != 0
    }

    /// Whether it has times on a date.
    #[must_use]
    pub fn has_date(&self, date: Date) -> bool {
        let of_month = self.days & (1 << date.day()) != 0 || (self.last_day && date.day() == date.days_in_month());
        let of_week = self.weekdays & (1 << number_of(date.weekday())) != 0;
        self.has_month(date.month()) && if self.either { of_month || of_week } else { of_month && of_week }
    }

    /// Its times of day, hour and minute, in their order.
    pub fn times(&self) -> impl Iterator<Item = (i8, i8)> {
        let hours = (0..24_i8).filter(|hour| self.hours & (1 << hour) != 0);
        hours.flat_map(|hour| (0..60_i8).filter(|minute| self.minutes & (1 << minute) != 0).map(move |minute| (hour, minute)))
    }

    /// Whether any month has one of its days.
    fn is_ever(&self) -> bool {
        let has = |month: usize| self.months & (2 << month) != 0 && (1..=LONGEST[month]).any(|day| self.days & (1 << day) != 0);
        self.either || self.last_day || (0..12).any(has)
    }
}

const fn number_of(day: Weekday) -> i8 {
    day.to_sunday_zero_offset()
}

/// Why a text is not such a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error("{0:?} is not five fields: expected minute, hour, day of the month, month and day of the week, like \"0 8 * * MON-FRI\"")]
    Fields(String),
    /// A field that cannot be read.
    #[error("{text:?} is not {field}: expected {expected}; lists, ranges and steps like 1-5,*/10 are possible")]
    Field {
        /// What it was to be.
        field: &'static str,
        /// What was given.
        text: String,
        /// What is possible.
        expected: &'static str,
    },
    /// A day that no month has.
    #[error("{0:?} is never: none of its months has such a day")]
    Never(String),
}

/// A field: what it is called, the numbers that it takes, and their names.
struct Field {
    name: &'static str,
    expected: &'static str,
    first: u32,
    last: u32,
    /// Names of the numbers from `first` on.
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "a minute", expected: "0 to 59", first: 0, last: 59, names: &[] };
const HOUR: Field = Field { name: "an hour", expected: "0 to 23", first: 0, last: 23, names: &[] };
const DAY: Field = Field { name: "a day of the month", expected: "1 to 31, or L for the last one", first: 1, last: 31, names: &[] };
const MONTH: Field = Field { name: "a month", expected: "1 to 12 or JAN to DEC", first: 1, last: 12, names: &MONTHS };
const WEEKDAY: Field =
    Field { name: "a day of the week", expected: "0 to 7 or SUN to SAT, where 0 and 7 are Sunday", first: 0, last: 7, names: &WEEKDAYS };

impl Field {
    fn wrong(&self, text: &str) -> CronError {
        CronError::Field { field: self.name, text: text.to_owned(), expected: self.expected }
    }

    fn number(&self, text: &str) -> Option<u32> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Some(self.first + u32::try_from(at).expect("there are a dozen names"));
        }
        let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|number| (self.first..=self.last).contains(number))
    }

    /// The numbers of one part of a list, as bits.
    fn part(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| (1..=self.last).contains(step))?)),
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            Some((first, last)) => {
                let (first, last) = (self.number(first)?, self.number(last)?);
                // A week may end with its Sunday.
                (first, if self.last == 7 && last == 0 && first > 0 { 7 } else { last })
            }
            // Of what would one number be every n-th?
            None if step.is_some() => return None,
            None => (self.number(range)?, self.number(range)?),
        };
        let numbers = (first..=last).step_by(step.unwrap_or(1) as usize);
        (first <= last).then(|| numbers.fold(0, |bits, number| bits | 1 << number))
    }

    fn read(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |bits, part| self.part(part).map(|more| bits | more).ok_or_else(|| self.wrong(text)))
    }
}

impl FromStr for Cron {
    type Err = CronError;
    fn from_str(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else { return Err(CronError::Fields(text.to_owned())) };
        if text.len() > TEXT_MAX {
            return Err(CronError::Fields(text.to_owned()));
        }
        let is_last = |part: &&str| part.eq_ignore_ascii_case(LAST_DAY);
        let numbered: Vec<&str> = day.split(',').filter(|part| !is_last(part)).collect();
        let weekdays = WEEKDAY.read(weekday)?;
        let cron = Self {
            text: fields.join(" "),
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: if numbered.is_empty() { 0 } else { DAY.read(&numbered.join(",")).map_err(|_| DAY.wrong(day))? },
            last_day: day.split(',').any(|part| is_last(&part)),
            months: MONTH.read(month)?,
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        if cron.is_ever() { Ok(cron) } else { Err(CronError::Never(cron.text)) }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Cron {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cron".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "minute, hour, day of the month, month and day of the week, as in crontab: 0 8 * * MON-FRI"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    #[test]
    fn fields_are_read() {
        let times = |text: &str| cron(text).times().collect::<Vec<_>>();
        assert_eq!(times("0 8 * * MON-FRI"), [(8, 0)]);
        assert_eq!(times("*/20 1,23 * * *"), [(1, 0), (1, 20), (1, 40), (23, 0), (23, 20), (23, 40)]);
        assert_eq!(times("5-15/5 0 * * *"), [(0, 5), (0, 10), (0, 15)]);
        assert_eq!(cron("  0   8 * * * ").to_string(), "0 8 * * *");
        for sundays in ["* * * * 0", "* * * * 7", "* * * * sun", "* * * * SUN", "* * * * 7-7"] {
            let on = |day| cron(sundays).has_date(date(2026, 12, day));
            assert_eq!((5..9).map(on).collect::<Vec<_>>(), [false, true, false, false], "{sundays}");
        }
        assert!(cron("* * * * SAT-SUN").has_date(date(2026, 12, 6)) && !cron("* * * * SAT-SUN").has_date(date(2026, 12, 7)));
    }

    #[test]
    fn either_kind_of_day_counts_where_both_are_given() {
        let either = cron("0 0 13 * FRI");
        assert!(either.has_date(date(2026, 12, 13)) && either.has_date(date(2026, 12, 11)) && !either.has_date(date(2026, 12, 14)));
        let both = cron("0 0 */2 * FRI");
        assert!(both.has_date(date(2026, 12, 11)) && !both.has_date(date(2026, 12, 4)) && !both.has_date(date(2026, 12, 13)));
        let last = cron("0 0 L,15 * *");
        assert!(last.has_date(date(2028, 2, 29)) && last.has_date(date(2027, 2, 28)) && last.has_date(date(2026, 4, 15)));
        assert!(!last.has_date(date(2028, 2, 28)) && !last.has_date(date(2026, 12, 30)));
        assert!(cron("0 0 29 2 *").has_date(date(2028, 2, 29)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let cases = [
            ("", "five fields"),
            ("0 8 * *", "five fields"),
            ("0 8 * * * root", "five fields"),
            ("60 8 * * *", "\"60\" is not a minute: expected 0 to 59"),
            ("0 24 * * *", "is not an hour"),
            ("0 8 0 * *", "is not a day of the month"),
            ("0 8 * 13 *", "is not a month"),
            ("0 8 * * 8", "is not a day of the week"),
            ("0 8 * * MON-", "is not a day of the week"),
            ("0 8 * * FRI-MON", "is not a day of the week"),
            ("0 17-8 * * *", "is not an hour"),
            ("5/10 * * * *", "is not a minute"),
            ("*/0 * * * *", "is not a minute"),
            ("1,,2 * * * *", "is not a minute"),
            ("+1 * * * *", "is not a minute"),
            ("0 8 L-2 * *", "is not a day of the month"),
            ("0 0 30 2 *", "is never"),
            ("0 0 31 APR,JUN *", "is never"),
            ("@daily", "five fields"),
        ];
        for (text, part) in cases {
            let error = text.parse::<Cron>().expect_err(text).to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
