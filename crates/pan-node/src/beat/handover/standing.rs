//! Who may send while the office changes hands. Pure.
//!
//! The one in office stops first, then hands everything over in one message, then waits. The next one says that it has
//! taken it, and only then sends. So:
//!
//! | lost | then |
//! |---|---|
//! | the next one, before it has said that it took over | it never sent: the former one sends on |
//! | the next one, after that | nobody is in office: whoever starts next begins anew, with a higher number |
//! | the former one, before the message | the same |
//! | the former one, after the message | the next one has everything and sends |
//! | neither, and the next one says nothing | it is ended, which makes it the first case |
//!
//! A connection's end is seen only after everything that was said on it, so "it is gone and said nothing" is certain.

use std::time::Duration;

use pan_member::Tick;

/// The one in office.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It sends and listens.
    InOffice,
    /// It has stopped, and everything is on its way to the next one, or about to be.
    Leaving { since: Tick },
    /// The next one sends.
    Relieved,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The message that hands everything over is about to be sent.
    Handing,
    /// It could not be sent.
    NotSent,
    /// The next one has taken everything, and has not sent before it said so.
    Taken,
    /// The next one is gone, and everything it said was heard.
    Gone,
    /// Time has passed.
    Time,
}

/// What it is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// End the process of the next one, and go on waiting for its being gone.
    EndSuccessor,
}

impl Standing {
    /// Whether heartbeats may go out, and what comes in may be read.
    pub(super) const fn may_send(self) -> bool {
        matches!(self, Self::InOffice)
    }

    /// `patience` is how long the next one may take.
    pub(super) fn after(self, event: Event, now: Tick, patience: Duration) -> (Self, Effect) {
        match (self, event) {
            (Self::InOffice, Event::Handing) => (Self::Leaving { since: now }, Effect::None),
            (Self::Leaving { .. }, Event::NotSent | Event::Gone) => (Self::InOffice, Effect::None),
            (Self::Leaving { .. }, Event::Taken) => (Self::Relieved, Effect::None),
            (Self::Leaving { since }, Event::Time) if now.since(since) >= patience => (self, Effect::EndSuccessor),
            // Whoever only asked something may go, or say what it will.
            (Self::InOffice, Event::NotSent | Event::Taken | Event::Gone | Event::Time)
            | (Self::Leaving { .. }, Event::Handing | Event::Time)
            | (Self::Relieved, Event::Handing | Event::NotSent | Event::Taken | Event::Gone | Event::Time) => (self, Effect::None),
        }
    }
}

/// The next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Candidate {
    /// It has applied.
    Applied,
    /// It has everything, and the former one does not know yet.
    Holding,
    /// It sends.
    InOffice,
}

impl Candidate {
    /// Everything has come.
    pub(super) const fn received(self) -> Self {
        match self {
            Self::Applied => Self::Holding,
            Self::Holding | Self::InOffice => self,
        }
    }

    /// It has said that it took over, or there is nobody any more to say it to: in either case nobody else sends.
    pub(super) const fn said(self) -> Self {
        match self {
            Self::Holding => Self::InOffice,
            Self::Applied | Self::InOffice => self,
        }
    }

    pub(super) const fn may_send(self) -> bool {
        matches!(self, Self::InOffice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(40);

    fn after(standing: Standing, event: Event, millis: u64) -> (Standing, Effect) {
        standing.after(event, Tick(millis * 1_000_000), PATIENCE)
    }

    #[test]
    fn a_successor_that_says_nothing_is_ended_and_only_its_end_brings_the_office_back() {
        let (leaving, _) = after(Standing::InOffice, Event::Handing, 100);
        assert_eq!(after(leaving, Event::Time, 139), (leaving, Effect::None));
        assert_eq!(after(leaving, Event::Time, 140), (leaving, Effect::EndSuccessor));
        assert_eq!(after(leaving, Event::Gone, 141), (Standing::InOffice, Effect::None));
        assert_eq!(after(leaving, Event::Taken, 141), (Standing::Relieved, Effect::None));
        assert_eq!(after(Standing::Relieved, Event::Gone, 142), (Standing::Relieved, Effect::None));
    }

    /// Both processes, the connection between them, and the numbers that went out.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct World {
        old: Option<(u8, u8)>,
        new: Option<(u8, u8)>,
        /// The message with everything, and the word "taken", on their way.
        handed: Option<u8>,
        taken: bool,
        sent: Vec<u8>,
    }

    const SENDS_MAX: u8 = 3;

    fn standing(code: u8) -> Standing {
        [Standing::InOffice, Standing::Leaving { since: Tick(0) }, Standing::Relieved][usize::from(code)]
    }

    fn code(standing: Standing) -> u8 {
        match standing {
            Standing::InOffice => 0,
            Standing::Leaving { .. } => 1,
            Standing::Relieved => 2,
        }
    }

    fn candidate(code: u8) -> Candidate {
        [Candidate::Applied, Candidate::Holding, Candidate::InOffice][usize::from(code)]
    }

    /// Every step that any of them, or misfortune, can do next.
    fn steps(world: &World) -> Vec<World> {
        let mut next = Vec::new();
        let mut step = |change: &dyn Fn(&mut World)| {
            let mut after = world.clone();
            change(&mut after);
            next.push(after);
        };
        if let Some((was, number)) = world.old {
            let old = standing(was);
            let become_ = |event: Event| code(after(old, event, 0).0);
            step(&|world| world.old = None);
            if old.may_send() && number < SENDS_MAX {
                step(&|world| {
                    world.sent.push(number + 1);
                    world.old = Some((was, number + 1));
                });
            }
            if old.may_send() && world.handed.is_none() && !world.taken {
                let leaving = become_(Event::Handing);
                step(&|world| (world.old, world.handed) = (Some((leaving, number)), Some(number)));
                let kept = code(standing(leaving).after(Event::NotSent, Tick(0), PATIENCE).0);
                step(&|world| world.old = Some((kept, number)));
            }
            if world.taken {
                step(&|world| (world.old, world.taken) = (Some((become_(Event::Taken), number)), false));
            } else if world.new.is_none() {
                // What was not read is gone with its reader.
                step(&|world| (world.old, world.handed) = (Some((become_(Event::Gone), number)), None));
            }
            if old.after(Event::Time, Tick(u64::MAX), PATIENCE).1 == Effect::EndSuccessor {
                step(&|world| world.new = None);
            }
        }
        if let Some((was, number)) = world.new {
            let new = candidate(was);
            step(&|world| world.new = None);
            if let Some(handed) = world.handed {
                let holding = matches!(new.received(), Candidate::Holding);
                step(&|world| (world.new, world.handed) = (Some((u8::from(holding), handed)), None));
            }
            if new == Candidate::Holding {
                let in_office = if new.said().may_send() { 2 } else { 1 };
                step(&|world| (world.new, world.taken) = (Some((in_office, number)), world.old.is_some()));
            }
            if new.may_send() && number < SENDS_MAX + 2 {
                step(&|world| {
                    world.sent.push(number + 1);
                    world.new = Some((was, number + 1));
                });
            }
        }
        next
    }

    /// All ways through all crashes: numbers only grow, two never send, and whoever is left can come to send.
    #[test]
    fn no_crash_at_any_step_lets_two_send_or_loses_the_office_while_somebody_lives() {
        let start = World { old: Some((0, 0)), new: Some((0, 0)), handed: None, taken: false, sent: vec![] };
        let (mut seen, mut open) = (std::collections::HashSet::new(), vec![start]);
        let mut relieved = 0;
        while let Some(world) = open.pop() {
            if !seen.insert(world.clone()) {
                continue;
            }
            assert!(world.sent.is_sorted_by(|one, next| one < next), "{world:?}");
            let sends = |world: &World| {
                let old = world.old.is_some_and(|(code, _)| standing(code).may_send());
                let new = world.new.is_some_and(|(code, _)| candidate(code).may_send());
                (old, new)
            };
            assert!(!matches!(sends(&world), (true, true)), "{world:?}");
            relieved += u32::from(world.old.is_some_and(|(code, _)| standing(code) == Standing::Relieved) && sends(&world).1);
            let next = steps(&world);
            let stuck = world.old.is_some_and(|(code, _)| standing(code) != Standing::Relieved) && world.new.is_none();
            if stuck && sends(&world) == (false, false) {
                // The former one alone, having stopped: it must be able to go on, or to be relieved by one that did send.
                assert!(world.taken || next.iter().any(|next| sends(next).0), "{world:?}");
            }
            open.extend(next);
        }
        assert!(seen.len() > 100 && relieved > 0, "{} worlds", seen.len());
    }
}
