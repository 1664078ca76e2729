//! What to do about one server: a function of what is wanted, what is here, and the time.
//!
//! Level-triggered: nothing is remembered between calls, so a lost or repeated wake-up changes nothing.
//! It must not know how anything is done, and reads no clock.

use std::time::Duration;

use pan_api::desired::{RunOrder, ServerOrder};
use pan_api::volume::VolumeOrder;
use pan_member::Tick;
use pan_model::Epoch;

/// First pause before a server that ended is started again; doubles with each time in a row.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// The longest such pause.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// After this long in health, earlier ends no longer count.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// Pause before removal is tried again.
pub const RELEASE_AGAIN: Duration = Duration::from_secs(1);

/// What is wanted of a server.
#[derive(Debug, Clone, Copy)]
pub enum Wish<'a> {
    /// Nobody has said yet: what runs goes on.
    Unknown,
    /// It belongs elsewhere, or nowhere.
    Gone,
    /// It runs elsewhere, on a node that is silent; this is to be made ready in case.
    Warm(&'a ServerOrder),
    /// This.
    Order(&'a ServerOrder),
}

/// The order under which something of a server is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    pub epoch: Epoch,
    pub incarnation: u64,
    /// Ends in a row under this binding that nobody asked for.
    pub ends: u32,
    /// How many of them are put up with.
    pub ends_max: u32,
}

/// What is here of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// Nothing.
    Nothing,
    /// All of it but a program that runs. Whether that is what is wanted now: see [`serves`].
    Warm { fits: bool },
    /// It waits for its volumes, or has them all; nothing of it runs.
    Attaching { binding: Binding, ready: bool },
    /// It runs. `hopeless` is when to give up waiting for its health to come back, if that is gone; `lost` says that a volume of its
    /// is.
    Running { binding: Binding, hopeless: Option<Tick>, lost: bool },
    /// It was asked to stop, and is to be killed at `kill_at`.
    Stopping { kill_at: Tick },
    /// It does not run any more since `at`; its network and files are still here.
    Ended { binding: Binding, at: Tick },
    /// Local restarts are used up; its network and files are still here.
    Failed { binding: Binding },
    /// Removing what is left of it failed at `at`.
    Leftover { at: Tick },
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until something happens or, if given, this moment.
    Rest { until: Option<Tick> },
    /// Make everything and start nothing.
    Warm,
    /// Make what is missing and start it.
    Start,
    /// Ask it to stop, and say why.
    Ask(Why),
    /// Kill it.
    Kill,
    /// Remove everything that is here of it.
    Release,
    /// Local restarts are used up.
    GiveUp,
}

/// Why a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It is no longer wanted here under this binding.
    Unwanted,
    /// It belongs elsewhere by now, or nowhere: another one of it may be running. Killed at once.
    Orphan,
    /// It is to be started again because it does not get healthy.
    Unhealthy,
    /// A volume of its was lost, so that nothing it does can last. Killed at once, and started again with another head.
    HeadLost,
}

/// How an order stands to the binding that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It should run, or run on.
    Keep,
    /// It may run on, and may not be started.
    Leave,
    /// It should go: unwanted here, or another binding takes its place.
    Leaves,
    /// The order is older than what runs, and is refused.
    Refused,
}

/// See [`Stand`].
pub fn stand(wish: Wish<'_>, binding: Binding) -> Stand {
    let order = match wish {
        Wish::Unknown => return Stand::Keep,
        Wish::Gone | Wish::Warm(_) => return Stand::Leaves,
        Wish::Order(order) => order,
    };
    if order.epoch < binding.epoch {
        return Stand::Refused;
    }
    if order.epoch > binding.epoch {
        return Stand::Leaves;
    }
    match order.run {
        RunOrder::Stop => Stand::Leaves,
        RunOrder::Run if order.incarnation > binding.incarnation => Stand::Leaves,
        RunOrder::Run => Stand::Keep,
        RunOrder::Hold => Stand::Leave,
    }
}

/// Whether what is here was replaced by another binding, so that it must not be given any time.
pub fn orphan(wish: Wish<'_>, here: Epoch) -> bool {
    match wish {
        Wish::Unknown => false,
        Wish::Gone | Wish::Warm(_) => true,
        Wish::Order(order) => order.epoch > here,
    }
}

/// Whether what was made for one order serves another: they differ in nothing but the binding, what to do now, who may write
/// the volumes, and who may speak to it, and how much
/// it sends.
#[must_use]
pub fn serves(made: &ServerOrder, order: &ServerOrder) -> bool {
    let place = |volume: &VolumeOrder| (volume.volume, volume.mount.clone(), volume.filesystem, volume.read_only);
    let volumes = made.volumes.iter().map(place).eq(order.volumes.iter().map(place));
    let binding = ServerOrder { epoch: order.epoch, incarnation: order.incarnation, run: order.run, ..made.clone() };
    volumes && ServerOrder { volumes: order.volumes.clone(), allow: order.allow.clone(), egress: order.egress, ..binding } == *order
}

/// Whether a server that is here keeps its volumes when it is released: the order means it to run again under the same binding.
#[must_use]
pub fn keeps_volumes(order: &ServerOrder, here: Epoch) -> bool {
    let comes_back = match order.run {
        RunOrder::Run | RunOrder::Hold => true,
        RunOrder::Stop => false,
    };
    comes_back && order.epoch == here && !order.volumes.is_empty()
}

/// What to do about a server.
pub fn next(wish: Wish<'_>, here: Here, now: Tick) -> Action {
    const IDLE: Action = Action::Rest { until: None };
    let at_or = |at: Tick, action: Action| if now >= at { action } else { Action::Rest { until: Some(at) } };
    match here {
        Here::Nothing => match wish {
            Wish::Order(order) if order.run == RunOrder::Run => Action::Start,
            Wish::Warm(_) => Action::Warm,
            Wish::Order(_) | Wish::Gone | Wish::Unknown => IDLE,
        },
        Here::Warm { fits } => match wish {
            Wish::Order(order) if fits && order.run == RunOrder::Run => Action::Start,
            Wish::Order(order) if fits && order.run == RunOrder::Hold => IDLE,
            Wish::Warm(_) if fits => IDLE,
            Wish::Unknown => IDLE,
            Wish::Order(_) | Wish::Warm(_) | Wish::Gone => Action::Release,
        },
        Here::Attaching { binding, ready } => match stand(wish, binding) {
            Stand::Leaves => Action::Release,
            Stand::Keep | Stand::Refused if ready => Action::Start,
            Stand::Keep | Stand::Refused | Stand::Leave => IDLE,
        },
        Here::Running { binding, hopeless, lost } => match (stand(wish, binding), hopeless) {
            (Stand::Leaves, _) if orphan(wish, binding.epoch) => Action::Ask(Why::Orphan),
            (Stand::Keep | Stand::Leave | Stand::Leaves | Stand::Refused, _) if lost => Action::Ask(Why::HeadLost),
            (Stand::Leaves, _) => Action::Ask(Why::Unwanted),
            (Stand::Keep, Some(at)) => at_or(at, Action::Ask(Why::Unhealthy)),
            (Stand::Keep, None) | (Stand::Leave | Stand::Refused, _) => IDLE,
        },
        Here::Stopping { kill_at } => at_or(kill_at, Action::Kill),
        Here::Ended { binding, at } => match stand(wish, binding) {
            Stand::Leaves => Action::Release,
            Stand::Keep | Stand::Refused if binding.ends > binding.ends_max => Action::GiveUp,
            Stand::Keep | Stand::Refused => at_or(at.plus(back_off(binding.ends)), Action::Start),
            Stand::Leave => IDLE,
        },
        Here::Failed { binding } => match stand(wish, binding) {
            Stand::Leaves => Action::Release,
            Stand::Keep | Stand::Leave | Stand::Refused => IDLE,
        },
        Here::Leftover { at } => at_or(at.plus(RELEASE_AGAIN), Action::Release),
    }
}

/// The pause before the start that follows `ends` ends in a row.
pub fn back_off(ends: u32) -> Duration {
    match ends.checked_sub(1) {
        None => Duration::ZERO,
        // Six doublings reach the longest pause; more would only overflow.
        Some(doublings) => (BACK_OFF_MIN * (1 << doublings.min(6))).min(BACK_OFF_MAX),
    }
}

/// Ends in a row after one more, the server having last been healthy without a break since `healthy_since`.
pub fn ends_after(ends: u32, healthy_since: Option<Tick>, now: Tick) -> u32 {
    match healthy_since {
        Some(since) if now.since(since) >= FORGIVEN_AFTER => 1,
        _ => ends.saturating_add(1),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
