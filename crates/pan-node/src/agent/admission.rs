//! When a node may take part under a new number: once nothing of an older life is left that could speak. Pure.
//!
//! The number is granted with a desired state that was made after the old one ended. So whatever that state, or a
//! newer one, does not want here belongs elsewhere by now, and must be gone before the gate can open.

use std::collections::{BTreeMap, BTreeSet};

use pan_api::report::{Phase, ServerReport};
use pan_model::{Admission, Epoch, ServerKey};

/// What is here and what is wanted.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The number in use.
    pub current: Admission,
    /// The number granted.
    pub granted: Admission,
    /// The epochs of the servers wanted here; `None` before anything was said.
    pub wanted: Option<&'a BTreeMap<ServerKey, Epoch>>,
    /// Servers that somebody looks after, so that something of them may be here.
    pub tended: &'a BTreeSet<ServerKey>,
    /// Those of them of which it is not known yet what is here.
    pub silent: &'a BTreeSet<ServerKey>,
    /// Whether heads of volumes, or anything that could not be ended, may be here that belong to no server.
    pub strays: bool,
    /// What is known to be here.
    pub reports: &'a BTreeMap<ServerKey, ServerReport>,
}

/// The number to use from now on, if there is a new one and nothing stands against it.
pub fn next(state: State<'_>) -> Option<Admission> {
    let wanted = state.wanted?;
    let orphan = |key: &ServerKey| match (wanted.get(key), state.reports.get(key)) {
        (None, _) => true,
        (Some(epoch), Some(report)) => report.epoch != *epoch && report.phase != Phase::Absent,
        (Some(_), None) => false,
    };
    let clear = !state.strays && state.silent.is_empty() && !state.tended.iter().any(orphan);
    (state.granted > state.current && clear).then_some(state.granted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::order;

    const GRANTED: Admission = Admission(2);

    fn key(name: &str) -> ServerKey {
        order("acme", name).key
    }

    fn report(name: &str, epoch: u64, phase: Phase) -> (ServerKey, ServerReport) {
        let order = order("acme", name);
        let starting = crate::server::report::starting(&order, 0, None);
        (key(name), ServerReport { epoch: Epoch(epoch), phase, ..starting })
    }

    fn check(wanted: &[(&str, u64)], here: &[(&str, u64, Phase)], expected: Option<Admission>) {
        let wanted = wanted.iter().map(|(name, epoch)| (key(name), Epoch(*epoch))).collect();
        let reports: BTreeMap<_, _> = here.iter().map(|(name, epoch, phase)| report(name, *epoch, *phase)).collect();
        let tended = reports.keys().cloned().collect();
        let silent = BTreeSet::new();
        let current = Admission(1);
        let state =
            State { current, granted: GRANTED, wanted: Some(&wanted), tended: &tended, silent: &silent, strays: false, reports: &reports };
        assert_eq!(next(state), expected, "wanted {wanted:?}, here {here:?}");
        let unheard = BTreeSet::from([key("web-9")]);
        assert_eq!(next(State { silent: &unheard, ..state }), None, "something may be here");
        assert_eq!(next(State { strays: true, ..state }), None, "a head that is left could write");
        assert_eq!(next(State { wanted: None, ..state }), None, "nothing was said");
        assert_eq!(next(State { granted: current, ..state }), None, "nothing new");
    }

    #[test]
    fn orphans_have_to_be_gone_first() {
        check(&[], &[], Some(GRANTED));
        check(&[("web-1", 5)], &[("web-1", 5, Phase::Healthy)], Some(GRANTED));
        check(&[("web-1", 6)], &[("web-1", 5, Phase::Healthy)], None);
        check(&[("web-1", 6)], &[("web-1", 5, Phase::Stopping)], None);
        check(&[("web-1", 6)], &[("web-1", 6, Phase::Starting)], Some(GRANTED));
        check(&[("web-1", 6)], &[("web-1", 5, Phase::Absent)], Some(GRANTED));
        check(&[], &[("web-1", 5, Phase::Stopping)], None);
        check(&[("web-2", 1)], &[("web-2", 1, Phase::Healthy), ("web-1", 5, Phase::Failed)], None);
    }
}
