//! What holds at an instant, and how many servers that makes.

use crate::calendar::{Calendar, Window};
use jiff::Timestamp;
use pan_model::policy::{Effect, Wrong};
use pan_model::{Name, PolicySpec};

/// A policy, ready to be asked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name.
    pub name: Name,
    /// Its schedules, in its own order.
    pub schedules: Vec<Schedule>,
}

/// One of its schedules.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// When.
    pub calendar: Calendar,
    /// What.
    pub effect: Effect,
}

impl Policy {
    /// Out of what was asked for.
    ///
    /// # Errors
    /// The number of a schedule and what is wrong with it.
    pub fn of(name: &Name, spec: &PolicySpec) -> Result<Self, (usize, Wrong)> {
        let schedule = |(at, schedule): (usize, &pan_model::policy::ScheduleSpec)| {
            let calendar = Calendar::of(spec, schedule).map_err(|wrong| (at, wrong))?;
            let effect = schedule.effect().map_err(|wrong| (at, wrong))?;
            Ok(Schedule { calendar, effect })
        };
        let schedules = spec.schedules.iter().enumerate().map(schedule).collect::<Result<_, _>>()?;
        Ok(Self { name: name.clone(), schedules })
    }

    /// What of it holds at an instant.
    pub fn active(&self, at: Timestamp) -> impl Iterator<Item = Active> {
        self.schedules.iter().enumerate().filter_map(move |(number, schedule)| {
            let window = schedule.calendar.window_at(at)?;
            Some(Active { policy: self.name.clone(), schedule: number, effect: schedule.effect, window })
        })
    }
}

/// A schedule that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// Whose it is.
    pub policy: Name,
    /// Its number in the policy, from 0.
    pub schedule: usize,
    /// What holds.
    pub effect: Effect,
    /// From when until when.
    pub window: Window,
}

/// How many servers a cluster is to have at an instant, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The number.
    pub servers: u32,
    /// Who decides it: those whose number it is, against the number that the cluster has of its own. Nobody where that counts.
    pub because: Vec<Active>,
    /// All that holds, in the order of the policies.
    pub active: Vec<Active>,
    /// Two that contradict each other. The larger number counts then.
    pub clash: Option<(Active, Active)>,
    /// The first instant at which any of this may be different; none if never.
    pub until: Option<Timestamp>,
}

/// Combines what the policies of a cluster say at an instant with the number of servers it has of its own: the highest floor, the lowest
/// ceiling, or the one number that is exact.
#[must_use]
pub fn resolve(policies: &[Policy], base: u32, at: Timestamp) -> Resolved {
    let active: Vec<Active> = policies.iter().flat_map(|policy| policy.active(at)).collect();
    let clash = contradiction(&active);
    let most = |wanted: fn(Effect) -> Option<u32>| active.iter().filter_map(|one| wanted(one.effect)).max();
    let floor = most(|effect| if let Effect::Floor(servers) = effect { Some(servers) } else { None });
    let exact = most(|effect| if let Effect::Exact(servers) = effect { Some(servers) } else { None });
    let ceiling = active.iter().filter_map(|one| if let Effect::Ceiling(servers) = one.effect { Some(servers) } else { None }).min();
    let bounded = base.min(ceiling.unwrap_or(base)).max(floor.unwrap_or(0));
    let servers = match exact {
        Some(exact) => exact.max(floor.unwrap_or(0)),
        None => bounded,
    };
    let decides = |one: &&Active| match one.effect {
        Effect::Floor(floor) => floor == servers && (base < servers || clash.is_some()),
        Effect::Ceiling(ceiling) => ceiling == servers && base > servers,
        Effect::Exact(exact) => exact == servers,
    };
    let because = active.iter().filter(decides).cloned().collect();
    Resolved { servers, because, clash, until: crate::next_change(policies, at), active }
}

/// The first two that cannot both hold.
fn contradiction(active: &[Active]) -> Option<(Active, Active)> {
    let pairs = active.iter().enumerate().flat_map(|(at, one)| active[at + 1..].iter().map(move |other| (one, other)));
    let cannot = |(one, other): &(&Active, &Active)| match (one.effect, other.effect) {
        (Effect::Floor(floor), Effect::Ceiling(ceiling)) | (Effect::Ceiling(ceiling), Effect::Floor(floor)) => floor > ceiling,
        (Effect::Exact(one), Effect::Exact(other)) => one != other,
        (Effect::Exact(_), Effect::Floor(_) | Effect::Ceiling(_)) | (Effect::Floor(_) | Effect::Ceiling(_), Effect::Exact(_)) => true,
        (Effect::Floor(_), Effect::Floor(_)) | (Effect::Ceiling(_), Effect::Ceiling(_)) => false,
    };
    pairs.into_iter().find(cannot).map(|(one, other)| (one.clone(), other.clone()))
}
