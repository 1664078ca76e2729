//! What to do about one volume of a server on this host: a function of what is wanted, what is here, and the time.
//!
//! Level-triggered like [`crate::decide`]. It must not know how anything is done, and reads no clock. The order that it sees to: a
//! head that serves, then a device, then a file system that is mounted, then a server that runs; and back the same way.

use std::time::Duration;

use pan_linux::blockdev::Hung;
use pan_member::Tick;

use super::patience::{GivenUp, LOOK_EVERY, Patience};
use crate::decide::{RELEASE_AGAIN, back_off};

/// Until it is tried again to let a file system grow: a head learns of a new size within moments.
pub const GROW_SOON: Duration = Duration::from_secs(1);
/// The same if the file system refused: whoever waits for room notices, and a program that is started that seldom costs nothing.
pub const GROW_AGAIN: Duration = Duration::from_secs(15);

/// How long a head may take to serve again under a device, when it was replaced or has no storage. Whoever reads or writes waits
/// meanwhile, and cannot be killed. Replacing one takes a second; the kernel begins to complain of such waiting after two minutes.
pub const REOPEN_MAX: Duration = Duration::from_secs(30);

/// What is wanted of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It is to be mounted here.
    Attached {
        /// Whether there is the right to write it. What is here already goes on without.
        claim: Claim,
        /// Whether processes may have it open.
        users: Users,
        /// Its bytes.
        size: u64,
    },
    /// Nothing of it is to be here. All who used it are gone.
    Gone(Hung),
}

/// Whether there is the right to write a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Here,
    Awaited,
}

/// Whether processes may have a volume open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    Some,
    /// They were asked to end, and will be killed when they have not. It is looked on from now, so that whoever waits in vain has not to wait
    /// any longer then.
    Leaving,
    /// They were killed. Who is still there waits for the volume, where no signal reaches it. What they had to write is to be written
    /// out, or cannot be any more.
    Killed(Hung),
    None,
}

/// The process that keeps the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// None was begun.
    None,
    /// It runs, and its head does not serve, or not again, yet; since when.
    Opening(Tick),
    /// It runs, and its head serves.
    Open,
    /// It is there no more, or its head serves no more; why.
    Lost(String),
}

/// How what is here came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An earlier agent left it, or a step of this one failed half-way.
    Unsure,
    /// This one made it, or looked at it and found it whole.
    Known,
    /// It was lost under those who use it, who have been told.
    Lost,
}

/// The last thing that was tried and did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// One of the steps to a mounted file system, so many times in a row, at that time.
    Up(u32, Tick),
    /// Clearing away.
    Down(Tick),
    /// Growing, to be tried again then.
    Growth(Tick),
}

/// What is here of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    pub keeper: Keeper,
    /// Whether the keeper knows the newest order.
    pub told: bool,
    /// Bytes of the device, if there is one.
    pub device: Option<u64>,
    pub mounted: bool,
    /// Its file system has stopped writing after an error, until it is mounted anew.
    pub stopped: bool,
    /// Whether the file system is known to be as large as its device.
    pub fits: bool,
    /// Anything else: a folder, a file system that a keeper left.
    pub rest: bool,
    pub origin: Origin,
    pub trouble: Trouble,
    /// How it stands with what is waited for.
    pub waiting: Waiting,
}

/// How it stands with what is written out when its users are gone, or have been killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It is not waited for.
    No,
    /// It is, with so much patience.
    Yes(Patience),
    /// It was given up.
    Over,
}

/// Something that takes its time because it waits for the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To a mounted file system, which nobody uses before.
    Up,
    /// While it is mounted.
    Upkeep,
    /// Away.
    Down,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until something else is wanted, the keeper changes or, if given, this moment.
    Rest { until: Option<Tick> },
    /// What an earlier agent left is whole: go on with it.
    Adopt,
    /// Start a keeper.
    Begin,
    /// Give the keeper the newest order.
    Tell,
    /// Make a device of what its head serves.
    Attach,
    /// See to it that there is a file system, and mount it.
    Mount,
    /// Let device and file system be as large as the volume.
    Grow,
    /// It is lost under its users: let everything that waits for it fail, and say so.
    Lose,
    /// Those who used it were killed and wait for it: let everything that waits fail.
    GiveUp(GivenUp),
    /// Take everything away.
    Clear(Hung),
    /// Nothing is here and nothing is wanted.
    Done,
}

/// What to do about a volume.
#[must_use]
pub fn next(wish: Wish, here: &Here, now: Tick) -> Action {
    let at_or = |at: Tick, action: Action| if now >= at { action } else { Action::Rest { until: Some(at) } };
    let anything = here.keeper != Keeper::None || here.device.is_some() || here.mounted || here.rest;
    let clear = |hung| match here.trouble {
        Trouble::Down(at) => at_or(at.plus(RELEASE_AGAIN), Action::Clear(hung)),
        Trouble::None | Trouble::Up(..) | Trouble::Growth(_) => Action::Clear(hung),
    };
    let (claim, users, size) = match wish {
        // What was given up cannot be written out any more.
        Wish::Gone(_) if anything && here.waiting == Waiting::Over => return clear(Hung::Abort),
        Wish::Gone(hung) if anything => return clear(hung),
        Wish::Gone(_) => return Action::Done,
        Wish::Attached { claim, users, size } => (claim, users, size),
    };
    let hopeless_at = match &here.keeper {
        Keeper::Opening(since) => Some(since.plus(REOPEN_MAX)),
        Keeper::None | Keeper::Open | Keeper::Lost(_) => None,
    };
    let served = match here.keeper {
        Keeper::Open => true,
        Keeper::Opening(_) => hopeless_at.is_none_or(|at| now < at),
        Keeper::None | Keeper::Lost(_) => false,
    };
    let whole = served && here.mounted && here.device.is_some() && !here.stopped;
    match (users, here.origin) {
        (Users::Some | Users::Leaving | Users::Killed(_), Origin::Lost) => Action::Rest { until: None },
        (Users::Some | Users::Leaving | Users::Killed(_), Origin::Unsure) if whole => Action::Adopt,
        (Users::Some, Origin::Known) if whole => upkeep(here, size, hopeless_at, now),
        (Users::Leaving, Origin::Known) if whole => match upkeep(here, size, hopeless_at, now) {
            Action::Rest { until } => {
                let look = now.plus(LOOK_EVERY);
                Action::Rest { until: Some(until.map_or(look, |until| until.min(look))) }
            }
            action => action,
        },
        (Users::Killed(_), Origin::Known) if whole => match given_up(wish, here.waiting, now) {
            Some(why) => Action::GiveUp(why),
            None if !here.told => Action::Tell,
            None => Action::Rest { until: Some(now.plus(LOOK_EVERY)) },
        },
        // Whatever it was that went, those who use it cannot go on.
        (Users::Some | Users::Leaving | Users::Killed(_), Origin::Unsure | Origin::Known) => Action::Lose,
        (Users::None, _) if !anything => match (claim, here.trouble) {
            (Claim::Awaited, _) => Action::Rest { until: None },
            (Claim::Here, Trouble::Up(times, at)) => at_or(at.plus(back_off(times)), Action::Begin),
            (Claim::Here, Trouble::None | Trouble::Down(_) | Trouble::Growth(_)) => Action::Begin,
        },
        // Quicker made anew than found out how far it is; and what was lost is of no use to anybody.
        (Users::None, Origin::Unsure | Origin::Lost) => clear(Hung::Abort),
        // Its users may be gone because of that.
        (Users::None, Origin::Known) if here.mounted && (!served || here.stopped) => Action::Lose,
        (Users::None, Origin::Known) => match &here.keeper {
            Keeper::None | Keeper::Lost(_) => clear(Hung::Abort),
            // A device that nobody serves keeps threads waiting; without one there is nobody who would.
            Keeper::Opening(_) if here.device.is_some() && !served => clear(Hung::Abort),
            Keeper::Opening(_) => tell_or(here, Action::Rest { until: hopeless_at.filter(|_| here.device.is_some()) }),
            Keeper::Open if here.device.is_none() => tell_or(here, Action::Attach),
            Keeper::Open if !here.mounted => Action::Mount,
            Keeper::Open => upkeep(here, size, None, now),
        },
    }
}

/// Whether it matters to a wish how long something takes that waits for the head.
#[must_use]
pub fn has_patience(wish: Wish) -> bool {
    match wish {
        Wish::Gone(hung) | Wish::Attached { users: Users::Killed(hung), .. } => hung == Hung::Wait,
        Wish::Attached { users: Users::Leaving, .. } => true,
        Wish::Attached { users: Users::Some | Users::None, .. } => false,
    }
}

/// Why what waits for the head is to fail, if it is.
#[must_use]
pub fn given_up(wish: Wish, waiting: Waiting, now: Tick) -> Option<GivenUp> {
    match (wish, waiting) {
        (Wish::Gone(Hung::Abort) | Wish::Attached { users: Users::Killed(Hung::Abort), .. }, _) => Some(GivenUp::Elsewhere),
        (Wish::Gone(Hung::Wait) | Wish::Attached { users: Users::Killed(Hung::Wait), .. }, Waiting::Yes(patience)) => patience.over(now),
        (Wish::Gone(_) | Wish::Attached { .. }, Waiting::No | Waiting::Yes(_) | Waiting::Over) => None,
    }
}

/// Why a step that is under way is to be broken off, if it is.
#[must_use]
pub fn breaks_off(step: Step, wish: Wish, waiting: Waiting, now: Tick) -> Option<GivenUp> {
    match (step, wish) {
        (Step::Up, Wish::Gone(Hung::Wait)) => Some(GivenUp::Unused),
        (Step::Up | Step::Upkeep | Step::Down, Wish::Gone(_) | Wish::Attached { .. }) => given_up(wish, waiting, now),
    }
}

/// What went wrong, for people. Without a lease nothing that is read may be handed out (rule 10 of docs/volumes.md), so that whatever
/// failed says "Input/output error" and nothing about why: then `leased` is what helps.
#[must_use]
pub fn in_words(what: &str, why: &str, leased: bool) -> String {
    let lease = if leased { "" } else { "the node has no lease at the moment, and nothing may be read without one: " };
    format!("{what}: {lease}{why}")
}

fn tell_or(here: &Here, action: Action) -> Action {
    if here.told { action } else { Action::Tell }
}

/// What one that is mounted needs; a head that does not serve again is given up at `hopeless_at`.
fn upkeep(here: &Here, size: u64, hopeless_at: Option<Tick>, now: Tick) -> Action {
    let small = !here.fits || here.device.is_some_and(|bytes| bytes < size);
    match here.trouble {
        _ if !here.told => Action::Tell,
        _ if hopeless_at.is_some() => Action::Rest { until: hopeless_at },
        Trouble::Growth(at) if small && now < at => Action::Rest { until: Some(at) },
        Trouble::None | Trouble::Up(..) | Trouble::Down(_) | Trouble::Growth(_) if small => Action::Grow,
        Trouble::None | Trouble::Up(..) | Trouble::Down(_) | Trouble::Growth(_) => Action::Rest { until: None },
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
