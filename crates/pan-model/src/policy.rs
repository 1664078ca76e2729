//! Policy: how many servers a cluster has, and when.

mod cron;
mod local;
mod zone;

pub use cron::{Cron, CronError, LAST_DAY};
pub use local::{LocalDate, LocalDateError, LocalTime, LocalTimeError};
pub use zone::{Zone, ZoneError};

use crate::notyet::NotYet;
use crate::{ClusterName, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most schedules of a policy: nobody reads more.
pub const SCHEDULES_MAX: usize = 16;
/// Most dates that are left out, of a schedule or of a whole policy: ten years of a country's holidays.
pub const DATES_MAX: usize = 200;
/// Most policies of a partition: all of them are looked at for a week whenever one of them changes.
pub const POLICIES_MAX: usize = 32;
/// Most schedules of all policies of a partition together: a week of all of them is gone through with every change of anything.
pub const PARTITION_SCHEDULES_MAX: usize = 64;
/// A window that is shorter is over before its servers run.
pub const WINDOW_MIN: Span = Span::millis(1_000);

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicySpec {
    /// What it is about.
    pub target: TargetSpec,
    /// When which number holds. Of floors that hold at the same time the highest counts, of ceilings the lowest.
    #[serde(default)]
    #[schemars(length(min = 1, max = 16))]
    pub schedules: Vec<ScheduleSpec>,
    /// Dates on which no window of `cron` begins, in each schedule's own zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub holidays: Vec<LocalDate>,
    /// Numbers that follow from what is measured.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub rules: Option<NotYet>,
}

/// What a policy is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TargetSpec {
    /// A cluster of the policy's partition.
    pub cluster: ClusterName,
    /// The quota of the partition.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub partition: Option<NotYet>,
    /// Nodes of the PAN.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub nodes: Option<NotYet>,
}

/// Windows of time, and the number of servers in them. Either `cron` and `for`, or `from` and `until`; one of `floor`, `ceiling`, `exact`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// When a window begins, again and again: minute, hour, day of the month, month, day of the week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<Cron>,
    /// How long a window of `cron` lasts, as time passes: 10h are 10h also in a night in which the clocks change.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// When the only window begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<LocalTime>,
    /// When the only window is over; it is not part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<LocalTime>,
    /// The IANA time zone of all its times: `Europe/Berlin`, `UTC`.
    pub zone: Zone,
    /// At least so many servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10000))]
    pub floor: Option<u32>,
    /// At most so many servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10000))]
    pub ceiling: Option<u32>,
    /// So many servers. Nothing else may hold for the cluster in such a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10000))]
    pub exact: Option<u32>,
    /// Dates on which no window of `cron` begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub except: Vec<LocalDate>,
}

/// When windows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occurs {
    /// From each of these times on, for so long.
    Again(Cron, Span),
    /// Once: from, until.
    Once(LocalTime, LocalTime),
}

/// What holds in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// At least so many servers.
    Floor(u32),
    /// At most so many.
    Ceiling(u32),
    /// So many, and nobody else has a say.
    Exact(u32),
}

impl Effect {
    /// The number of servers that it names.
    #[must_use]
    pub const fn servers(self) -> u32 {
        match self {
            Self::Floor(servers) | Self::Ceiling(servers) | Self::Exact(servers) => servers,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floor(servers) => write!(f, "floor {servers}"),
            Self::Ceiling(servers) => write!(f, "ceiling {servers}"),
            Self::Exact(servers) => write!(f, "exact {servers}"),
        }
    }
}

/// The field that is wrong, none where fields do not go together, and what was expected.
pub type Wrong = (&'static str, String);

impl ScheduleSpec {
    /// When its windows are.
    ///
    /// # Errors
    /// Fields that do not go together.
    pub fn occurs(&self) -> Result<Occurs, Wrong> {
        match (&self.cron, self.lasts, self.from, self.until) {
            (Some(cron), Some(lasts), None, None) => {
                if lasts < WINDOW_MIN {
                    return Err(("for", format!("{lasts} is too short for a window: at least {WINDOW_MIN}")));
                }
                Ok(Occurs::Again(cron.clone(), lasts))
            }
            (None, None, Some(from), Some(until)) => {
                if until <= from {
                    return Err(("until", format!("{until} is not after {from}, when the window begins")));
                }
                if !self.except.is_empty() {
                    return Err(("except", "a window from one time until another has no dates to leave out: remove it".into()));
                }
                Ok(Occurs::Once(from, until))
            }
            (Some(_), None, None, None) => Err(("", "how long does it last? give `for` as well".into())),
            (None, None, Some(_), None) => Err(("", "when is it over? give `until` as well".into())),
            (None, None, None, Some(_)) => Err(("", "when does it begin? give `from` as well".into())),
            (None, Some(_), None, None) => Err(("", "when does it begin? give `cron` as well".into())),
            (None, None, None, None) => Err(("", "when is it? give `cron` and `for`, or `from` and `until`".into())),
            (Some(_), _, _, _) => Err(("", "give either `cron` and `for`, or `from` and `until`, not both".into())),
            (None, Some(_), _, _) => Err(("", "`for` belongs to `cron`: a window from one time until another lasts that long".into())),
        }
    }

    /// What holds in its windows.
    ///
    /// # Errors
    /// None is given, or more than one.
    pub fn effect(&self) -> Result<Effect, Wrong> {
        match (self.floor, self.ceiling, self.exact) {
            (Some(floor), None, None) => Ok(Effect::Floor(floor)),
            (None, Some(ceiling), None) => Ok(Effect::Ceiling(ceiling)),
            (None, None, Some(exact)) => Ok(Effect::Exact(exact)),
            (None, None, None) => Err(("", "how many servers? give one of `floor`, `ceiling` and `exact`".into())),
            (Some(_), Some(_), None) => Err(("", "one of `floor`, `ceiling` and `exact`: give the other in a schedule of its own".into())),
            (_, _, Some(_)) => Err(("", "one of `floor`, `ceiling` and `exact`: where a number is exact there is no other".into())),
        }
    }
}
