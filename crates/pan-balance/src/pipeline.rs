//! The pipeline of every balancing decision: eligible, score, pick, guard. This is the preset
//! `round-robin` for connections: all healthy servers, static weights, a slot table, and a guard that
//! prefers doubtful servers to none.

use crate::slots::{Member, Table};
use pan_model::service::BackendState;
use std::collections::BTreeSet;

/// A server as the decision sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// Its fixed number.
    pub index: u32,
    /// Whether it takes connections.
    pub state: BackendState,
    /// Its share; 0 is none.
    pub weight: u32,
}

/// A server that may get connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its fixed number.
    pub index: u32,
    /// Its static weight.
    pub weight: u32,
    /// True while its host is silent: it keeps its slots, but they go to their second choice.
    pub suspect: bool,
}

/// Why a server gets no new connection, or not this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not work.
    Down,
    /// It is to become idle.
    Draining,
    /// Its weight is 0.
    NoWeight,
    /// Its host is silent, and enough others are not.
    Suspect,
    /// It answered worse than others and is left alone for a while.
    Ejected,
    /// Servers of a tier before its own can do it.
    OtherTier,
    /// The rule that the request falls under leaves it out.
    OutsideRule,
    /// It has as many requests as it may.
    Full,
    /// The request was tried there already.
    Tried,
}

/// The stages at which a server can be struck out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Who may get any traffic at all.
    Eligible,
    /// Whom it would do harm.
    Guard,
}

impl Refusal {
    /// The stage that it belongs to.
    #[must_use]
    pub fn stage(self) -> Stage {
        match self {
            Self::Down | Self::Draining | Self::NoWeight | Self::OtherTier | Self::OutsideRule => Stage::Eligible,
            Self::Suspect | Self::Ejected | Self::Full | Self::Tried => Stage::Guard,
        }
    }
}

/// A server that gets no new connection, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excluded {
    /// Its fixed number.
    pub index: u32,
    /// Why.
    pub refusal: Refusal,
}

/// What the pipeline decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// Who has a part in the table, sorted by index.
    pub members: Vec<Member>,
    /// First choices.
    pub table: Table,
    /// Second choices, for slots whose first is in `avoided`.
    pub second: Table,
    /// Members that get no new connection for now.
    pub avoided: BTreeSet<u32>,
    /// Servers without a part in the table.
    pub excluded: Vec<Excluded>,
}

/// Runs the whole pipeline for a service; `size` is [`crate::table_size`] of all its servers.
#[must_use]
pub fn spread(service: &str, size: u32, backends: &[Backend]) -> Spread {
    let (candidates, excluded) = eligible(backends);
    let members = score(&candidates);
    let avoided = guard(&candidates);
    let (table, second) = pick(service, size, &members, &avoided);
    Spread { members, table, second, avoided, excluded }
}

/// Eligible: servers that are up, and suspects, which may be back before anybody noticed.
#[must_use]
pub fn eligible(backends: &[Backend]) -> (Vec<Candidate>, Vec<Excluded>) {
    let mut candidates = Vec::new();
    let mut excluded = Vec::new();
    for &Backend { index, state, weight } in backends {
        let refusal = match state {
            BackendState::Down => Some(Refusal::Down),
            BackendState::Draining => Some(Refusal::Draining),
            BackendState::Up | BackendState::Suspect => (weight == 0).then_some(Refusal::NoWeight),
        };
        match refusal {
            Some(refusal) => excluded.push(Excluded { index, refusal }),
            None => candidates.push(Candidate { index, weight, suspect: state == BackendState::Suspect }),
        }
    }
    (candidates, excluded)
}

/// Score: the static weight.
#[must_use]
pub fn score(candidates: &[Candidate]) -> Vec<Member> {
    let mut members: Vec<Member> = candidates.iter().map(|candidate| Member { index: candidate.index, weight: candidate.weight }).collect();
    members.sort_unstable();
    members
}

/// Guard: which candidates to avoid. If more than half are suspect, the suspicion says more about the way to
/// them than about them, and the rest would have to carry over twice their load: then none is avoided. (Envoy
/// calls this the panic threshold, and has the same one by default.)
#[must_use]
pub fn guard(candidates: &[Candidate]) -> BTreeSet<u32> {
    let suspects: BTreeSet<u32> = candidates.iter().filter(|candidate| candidate.suspect).map(|candidate| candidate.index).collect();
    if 2 * suspects.len() > candidates.len() { BTreeSet::new() } else { suspects }
}

/// Pick: first and second choices by slot.
#[must_use]
pub fn pick(service: &str, size: u32, members: &[Member], avoided: &BTreeSet<u32>) -> (Table, Table) {
    let table = Table::build(service, size, members);
    let second = table.second_choices(service, members, avoided);
    (table, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(states: &[BackendState]) -> Vec<Backend> {
        (1..).zip(states).map(|(index, state)| Backend { index, state: *state, weight: 1 }).collect()
    }

    #[test]
    fn only_servers_that_work_have_slots() {
        use BackendState::{Down, Draining, Up};
        let spread = spread("www", 251, &backends(&[Up, Down, Draining, Up]));
        let owners: BTreeSet<u32> = spread.table.slots.iter().copied().collect();
        assert_eq!(owners, BTreeSet::from([1, 4]));
        let refusals: Vec<_> = spread.excluded.iter().map(|out| (out.index, out.refusal)).collect();
        assert_eq!(refusals, [(2, Refusal::Down), (3, Refusal::Draining)]);
    }

    #[test]
    fn one_suspect_changes_nothing_but_who_is_avoided() {
        use BackendState::{Suspect, Up};
        let before = spread("www", 251, &backends(&[Up, Up, Up]));
        let during = spread("www", 251, &backends(&[Up, Suspect, Up]));
        assert_eq!(during, Spread { avoided: BTreeSet::from([2]), ..before });
    }

    #[test]
    fn no_suspect_stands_in_for_another() {
        use BackendState::{Suspect, Up};
        let spread = spread("www", 251, &backends(&[Up, Suspect, Suspect, Up]));
        for (slot, first) in spread.table.slots.iter().enumerate().filter(|(_, first)| [2, 3].contains(*first)) {
            assert!([1, 4].contains(&spread.second.slots[slot]), "slot {slot} of {first}");
        }
    }

    #[test]
    fn when_more_than_half_are_suspect_none_is_avoided() {
        use BackendState::{Down, Draining, Suspect, Up};
        let avoided = |states: &[BackendState]| spread("www", 251, &backends(states)).avoided;
        assert_eq!(avoided(&[Suspect, Suspect, Down]), BTreeSet::new());
        assert_eq!(avoided(&[Suspect, Suspect, Up]), BTreeSet::new());
        assert_eq!(avoided(&[Suspect, Up, Down]), BTreeSet::from([1]));
        assert_eq!(avoided(&[Suspect, Draining, Down]), BTreeSet::new(), "of the servers that could take connections");
    }
}
