//! What the ear has to tell the loop and the loop has no room for yet. The loop may be held up for as long as the store is; who
//! hears heartbeats may not be: it would take the living for dead, and stand for election late.
//!
//! Knows nothing of channels, and of messages what a [`Word`] says: what may go is taken one by one.

use crate::core::hosts::LifeChange;
use crate::handle::Message;
use pan_member::Tick;
use pan_model::HostName;
use pan_model::host::Fabric;
use std::collections::{BTreeSet, VecDeque};

/// What waits, oldest first. When it is many, of each kind of news about a host the last alone is kept, in its place: whoever hears the
/// rest in order ends where all of it would have led, since each kind says a thing anew and whole. So the hosts of the PAN are its bound.
#[derive(Debug)]
pub struct Outbox<M> {
    waiting: VecDeque<Item<M>>,
    /// Thinned out when more than this wait, and more than the next.
    crowd: usize,
    crowd_min: usize,
}

/// From when on it is worth looking for what has been overtaken.
const CROWD_MIN: usize = 1024;

/// A message of the ear to its loop, as far as one that waits has to be known.
pub trait Word {
    /// What it has to do with who decides, if it does.
    fn turn(&self) -> Option<Turn>;

    /// The message that says what was noticed of hosts, and when.
    fn noticed(changes: Vec<(Tick, LifeChange)>) -> Self;
}

/// What is said about who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Take the record.
    Take,
    /// The record was found to be ours.
    Lead,
    /// Have the record read.
    ReadRecord,
    /// Lead no more.
    StepDown,
}

#[derive(Debug)]
enum Item<M> {
    /// With when it was noticed.
    Life(Tick, LifeChange),
    Other(M),
}

/// An item makes older ones of the same subject needless.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Alive(HostName),
    Suspect(HostName),
    Fabric(HostName, Fabric),
    Dead(HostName),
    Fenced(HostName),
    Rebooted(HostName),
    Agent(HostName),
    Quarantined(HostName),
    Lease(HostName),
    Brake,
    Turn(Turn),
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Self::thinned_from(CROWD_MIN)
    }
}

impl<M> Outbox<M> {
    /// An empty one that is thinned out when more than so many wait.
    #[must_use]
    pub const fn thinned_from(crowd_min: usize) -> Self {
        Self { waiting: VecDeque::new(), crowd: 0, crowd_min }
    }
}

impl<M: Word> Outbox<M> {
    /// Hosts changed, as was noticed then.
    pub fn life(&mut self, changes: impl IntoIterator<Item = LifeChange>, noticed: Tick) {
        self.waiting.extend(changes.into_iter().map(|change| Item::Life(noticed, change)));
        self.thin_out();
    }

    /// One more message.
    pub fn push(&mut self, message: M) {
        self.waiting.push_back(Item::Other(message));
        self.thin_out();
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next message: what was noticed of hosts in a row is one.
    pub fn pop(&mut self) -> Option<M> {
        let mut changes = Vec::new();
        while let Some(item) = self.waiting.pop_front() {
            match item {
                Item::Life(noticed, change) => changes.push((noticed, change)),
                Item::Other(message) if changes.is_empty() => return Some(message),
                Item::Other(message) => {
                    self.waiting.push_front(Item::Other(message));
                    break;
                }
            }
        }
        (!changes.is_empty()).then(|| M::noticed(changes))
    }

    /// Each time when twice as many wait as were left the last time, so that it costs little an item.
    fn thin_out(&mut self) {
        if self.waiting.len() > self.crowd.max(self.crowd_min) {
            self.keep_the_newest();
            self.crowd = self.waiting.len() * 2;
        }
    }

    fn keep_the_newest(&mut self) {
        let mut told = BTreeSet::new();
        let mut kept = VecDeque::new();
        while let Some(item) = self.waiting.pop_back() {
            if subject(&item).is_none_or(|subject| told.insert(subject)) {
                kept.push_front(item);
            }
        }
        self.waiting = kept;
    }
}

fn subject<M: Word>(item: &Item<M>) -> Option<Subject> {
    Some(match item {
        Item::Life(_, change) => match change {
            LifeChange::Alive(host, _) => Subject::Alive(host.clone()),
            LifeChange::Suspect(host, _) => Subject::Suspect(host.clone()),
            LifeChange::Fabric(host, fabric, _) => Subject::Fabric(host.clone(), *fabric),
            LifeChange::Dead(host, _) => Subject::Dead(host.clone()),
            LifeChange::Fenced(host, _) => Subject::Fenced(host.clone()),
            LifeChange::Rebooted(host) => Subject::Rebooted(host.clone()),
            LifeChange::Agent(host, _) => Subject::Agent(host.clone()),
            LifeChange::Quarantined(host, _) => Subject::Quarantined(host.clone()),
            LifeChange::Lease(host, _) => Subject::Lease(host.clone()),
            LifeChange::Brake(_) => Subject::Brake,
        },
        Item::Other(message) => Subject::Turn(message.turn()?),
    })
}

impl Word for Message {
    fn turn(&self) -> Option<Turn> {
        match self {
            Self::Take { .. } => Some(Turn::Take),
            Self::Lead { .. } => Some(Turn::Lead),
            Self::ReadRecord => Some(Turn::ReadRecord),
            Self::StepDown { .. } => Some(Turn::StepDown),
            Self::Liveness(_)
            | Self::Members(_)
            | Self::Request(..)
            | Self::Refused(..)
            | Self::Inside(..)
            | Self::Hello(..)
            | Self::Report(..) => None,
        }
    }

    fn noticed(changes: Vec<(Tick, LifeChange)>) -> Self {
        Self::Liveness(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::hosts;
    use crate::core::world::{Now, Settings, World};
    use std::time::Duration;

    fn change(kind: usize, host: &str) -> LifeChange {
        let host: HostName = host.parse().unwrap();
        match kind {
            0 => LifeChange::Alive(host, Duration::ZERO),
            1 => LifeChange::Suspect(host, 60_000),
            2 => LifeChange::Dead(host, 270_000),
            3 => LifeChange::Agent(host, false),
            _ => LifeChange::Agent(host, true),
        }
    }

    /// What a world that hears `changes` holds of the host.
    fn heard(changes: Vec<LifeChange>) -> String {
        let mut world = World::new(Settings::bare());
        for change in changes {
            hosts::life(&mut world, Now { wall: 1, boot: Tick(1) }, change);
        }
        let seen = world.seen.hosts.values().next().unwrap();
        format!("{:?} {:?} {:?}", seen.life, seen.lost, seen.agent_silent)
    }

    #[test]
    fn the_newest_of_each_kind_leads_where_all_would_have() {
        const KINDS: usize = 5;
        for number in 0..KINDS.pow(6) {
            let story = || (0..6).map(move |at| change(number / KINDS.pow(at) % KINDS, "n1"));
            let mut outbox = Outbox::<Message>::default();
            outbox.life(story(), Tick(0));
            outbox.keep_the_newest();
            let Some(Message::Liveness(kept)) = outbox.pop() else { panic!("nothing is left") };
            let kept: Vec<_> = kept.into_iter().map(|(_, change)| change).collect();
            assert!(kept.len() <= KINDS && outbox.is_empty());
            let whole: Vec<_> = story().collect();
            assert_eq!(heard(kept.clone()), heard(whole.clone()), "{kept:?} of {whole:?}");
        }
    }

    #[test]
    fn what_waits_is_bounded_by_the_hosts_and_goes_in_order() {
        let mut outbox = Outbox::<Message>::default();
        outbox.push(Message::Take { expected: 6, term: 7 });
        for round in 0..100_000 {
            outbox.life([change(round % 3, if round % 2 == 0 { "n1" } else { "n2" })], Tick(0));
        }
        assert!(outbox.waiting.len() <= 2 * CROWD_MIN, "{}", outbox.waiting.len());
        outbox.push(Message::StepDown { reason: "of no matter".into() });
        outbox.life([change(0, "n3")], Tick(7));
        assert!(matches!(outbox.pop(), Some(Message::Take { term: 7, .. })));
        assert!(matches!(outbox.pop(), Some(Message::Liveness(_))));
        assert!(matches!(outbox.pop(), Some(Message::StepDown { .. })));
        assert!(matches!(outbox.pop(), Some(Message::Liveness(changes)) if changes.len() == 1 && changes[0].0 == Tick(7)));
        assert!(outbox.is_empty() && outbox.pop().is_none());
    }
}
