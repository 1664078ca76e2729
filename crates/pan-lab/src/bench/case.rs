//! The cases of `pan bench failover` and how they are chosen. Pure.

use std::str::FromStr;

use super::cut::MOUNTED;
use super::director_cut::LOST;
use super::disturb::{FAILED_REQUESTS, FAILOVERS};
use super::false_failovers::LOAD;
use super::frozen::{ATTEMPTS, LATE_FRAMES, LATE_REPLIES};
use super::peer::{Peer, PeerCase};
use super::report::{Bound, MILLIS};
use super::storage_lost::{COPIED, COPIED_MAX_MIB, DIFFERENT, STALL};
use super::suspected::{DIRECTORS_SUSPICIONS, SUSPICIONS};

/// Runs of each case that says nothing else of itself: as many as a p90 and a worst value that mean something take.
pub const RUNS: u32 = 50;

/// Not one of what is counted.
const NONE: Bound = Bound { p50: 0.0, worst: 0.0 };

/// What is done to a PAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PanCase {
    /// The node of one of three servers of a service loses its power.
    NodeCutMany,
    /// The node of a service's only server does.
    NodeCutSingle,
    /// The only controller is gone for a while.
    ControllersKilled,
    /// The agent of a node is killed again and again.
    AgentKilled,
    /// The node of a service's only server stands still, and goes on after the takeover.
    NodeFrozen,
    /// Nobody fails, but something else wants all processors.
    FalseFailovers,
    /// All of three controllers are.
    ThreeControllersKilled,
    /// The node of the only server and the leading controller lose their power together.
    ControllerAndNode,
    /// The node of the only server and etcd's leader do.
    EtcdAndNode,
    /// The node of the only server does, which writes to a volume of two copies all the time.
    Volume,
    /// One of the two storage hosts of a volume does, while it is written to, and comes back.
    StorageLost,
    /// The director that answers for a service does, while there are connections.
    DirectorCut,
}

impl PanCase {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 12] = [
        Self::NodeCutMany,
        Self::NodeCutSingle,
        Self::ControllersKilled,
        Self::AgentKilled,
        Self::NodeFrozen,
        Self::FalseFailovers,
        Self::ThreeControllersKilled,
        Self::ControllerAndNode,
        Self::EtcdAndNode,
        Self::Volume,
        Self::StorageLost,
        Self::DirectorCut,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeCutMany => "node-cut-many",
            Self::NodeCutSingle => "node-cut-single",
            Self::ControllersKilled => "controllers-killed",
            Self::AgentKilled => "agent-killed",
            Self::NodeFrozen => "node-frozen",
            Self::FalseFailovers => "false-failovers",
            Self::ThreeControllersKilled => "three-controllers-killed",
            Self::ControllerAndNode => "controller-and-node",
            Self::EtcdAndNode => "etcd-and-node",
            Self::Volume => "volume",
            Self::StorageLost => "storage-lost",
            Self::DirectorCut => "director-cut",
        }
    }

    /// Servers of the demo while it is run.
    pub(super) const fn servers(self) -> u32 {
        match self {
            Self::NodeCutMany
            | Self::ControllersKilled
            | Self::ThreeControllersKilled
            | Self::AgentKilled
            | Self::FalseFailovers
            | Self::DirectorCut => 3,
            Self::NodeCutSingle | Self::NodeFrozen | Self::ControllerAndNode | Self::EtcdAndNode | Self::Volume | Self::StorageLost => 1,
        }
    }

    /// What is measured in it, in the report's units.
    pub(super) const fn units(self) -> &'static [&'static str] {
        match self {
            Self::NodeCutMany | Self::NodeCutSingle | Self::ControllerAndNode | Self::EtcdAndNode => &[MILLIS],
            Self::ControllersKilled | Self::ThreeControllersKilled => &[FAILED_REQUESTS, FAILOVERS],
            Self::FalseFailovers => &[FAILED_REQUESTS, SUSPICIONS, DIRECTORS_SUSPICIONS, FAILOVERS, LOAD],
            Self::AgentKilled => &[FAILED_REQUESTS, SUSPICIONS, DIRECTORS_SUSPICIONS, FAILOVERS],
            Self::NodeFrozen => &[LATE_FRAMES, LATE_REPLIES, ATTEMPTS],
            Self::Volume => &[MOUNTED, MILLIS],
            Self::StorageLost => &[STALL, COPIED, DIFFERENT],
            Self::DirectorCut => &[MILLIS, LOST],
        }
    }

    /// What is promised of it, if anything is: lengths for machines that do nothing else, counts for any.
    pub(super) fn bound(self, unit: &str, profile: &str) -> Option<Bound> {
        let lan = profile == "lan";
        match self {
            _ if [ATTEMPTS, LOAD].contains(&unit) => None,
            Self::NodeCutMany => lan.then_some(Bound { p50: 80.0, worst: 200.0 }),
            Self::NodeCutSingle => lan.then_some(Bound { p50: 350.0, worst: 800.0 }),
            Self::ControllerAndNode => lan.then_some(Bound { p50: 600.0, worst: 1200.0 }),
            Self::EtcdAndNode => lan.then_some(Bound { p50: 1200.0, worst: 2500.0 }),
            Self::DirectorCut if unit == LOST => Some(NONE),
            Self::DirectorCut => lan.then_some(Bound { p50: 40.0, worst: 150.0 }),
            Self::Volume => (lan && unit == MOUNTED).then_some(Bound { p50: 500.0, worst: 1500.0 }),
            Self::StorageLost => match unit {
                STALL => lan.then_some(Bound { p50: 500.0, worst: 500.0 }),
                COPIED => Some(Bound { p50: COPIED_MAX_MIB as f64, worst: COPIED_MAX_MIB as f64 }),
                _ => Some(NONE),
            },
            Self::ControllersKilled | Self::ThreeControllersKilled | Self::AgentKilled | Self::NodeFrozen => Some(NONE),
            Self::FalseFailovers => match unit {
                // A suspicion that comes to nothing is what it is there for.
                SUSPICIONS | DIRECTORS_SUSPICIONS => None,
                FAILOVERS if lan => Some(Bound { p50: 1.0, worst: 1.0 }),
                _ => Some(NONE),
            },
        }
    }

    /// The laboratory it needs.
    pub(super) const fn hosts(self) -> Hosts {
        match self {
            Self::NodeCutMany
            | Self::NodeCutSingle
            | Self::ControllersKilled
            | Self::AgentKilled
            | Self::NodeFrozen
            | Self::FalseFailovers
            | Self::DirectorCut => Hosts { controllers: 1, storage: 0 },
            Self::ControllerAndNode | Self::EtcdAndNode => Hosts { controllers: 3, storage: 0 },
            Self::Volume | Self::StorageLost => Hosts { controllers: 1, storage: 2 },
            // As `pan up` makes it: most lessors are elsewhere. Where most are controllers' hosts, leases end with their power.
            Self::ThreeControllersKilled => Hosts { controllers: 3, storage: 2 },
        }
    }

    /// How often it is run: as often as is wanted, or as it is worth.
    const fn runs(self, wanted: Option<u32>) -> u32 {
        match (self, wanted) {
            // Its length takes the place of many runs.
            (Self::FalseFailovers, _) => 1,
            (_, Some(wanted)) => wanted,
            // A minute each, of thousands of requests.
            (Self::ControllersKilled, None) => 10,
            (Self::ThreeControllersKilled, None) => 5,
            // Twenty kills each.
            (Self::AgentKilled, None) => 10,
            // Copies are read whole, twice each.
            (Self::StorageLost, None) => 10,
            (
                Self::NodeCutMany
                | Self::NodeCutSingle
                | Self::NodeFrozen
                | Self::ControllerAndNode
                | Self::EtcdAndNode
                | Self::Volume
                | Self::DirectorCut,
                None,
            ) => RUNS,
        }
    }
}

/// Hosts of a laboratory that cases differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hosts {
    /// Several keep their records in etcd.
    pub(super) controllers: u8,
    pub(super) storage: u8,
}

/// A case: something done to a PAN, or to another product beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailoverCase {
    /// Panloom.
    Pan(PanCase),
    /// Somebody else.
    Peer(PeerCase),
}

impl FailoverCase {
    /// All cases, in the order in which they are run.
    pub fn all() -> impl Iterator<Item = Self> {
        PanCase::ALL.into_iter().map(Self::Pan).chain(PeerCase::ALL.into_iter().map(Self::Peer))
    }

    /// Its name in reports and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pan(case) => case.as_str(),
            Self::Peer(case) => case.as_str(),
        }
    }

    /// How often it is run: as often as is wanted, or else so often that all cases together, others' too, take about two hours.
    #[must_use]
    pub const fn runs(self, wanted: Option<u32>) -> u32 {
        match (self, wanted) {
            (Self::Pan(case), _) => case.runs(wanted),
            (Self::Peer(_), Some(wanted)) => wanted,
            (Self::Peer(case), None) => case.runs(),
        }
    }

    /// The cases to run, each once and in order: those that were named; of each peer none of whose cases was
    /// named, all; and the PAN's own, if no case was named at all.
    #[must_use]
    pub fn chosen(named: &[Self], against: &[Peer]) -> Vec<Self> {
        let wanted = |case: Self| match case {
            Self::Pan(_) => named.is_empty(),
            Self::Peer(other) => {
                let of_it = |one: &Self| matches!(one, Self::Peer(case) if case.peer() == other.peer());
                against.contains(&other.peer()) && !named.iter().any(of_it)
            }
        };
        Self::all().filter(|case| named.contains(case) || wanted(*case)).collect()
    }
}

impl FromStr for FailoverCase {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::all().find(|case| case.as_str() == text);
        known.ok_or_else(|| {
            let names: Vec<&str> = Self::all().map(Self::as_str).collect();
            format!("{text:?} is no case of this benchmark: expected one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(named: &[&str], against: &[Peer], wanted: &[&str]) {
        let named: Vec<FailoverCase> = named.iter().map(|name| name.parse().unwrap()).collect();
        let names: Vec<&str> = FailoverCase::chosen(&named, against).into_iter().map(FailoverCase::as_str).collect();
        assert_eq!(names, wanted, "{named:?} against {against:?}");
    }

    #[test]
    fn names_read_back() {
        for case in FailoverCase::all() {
            assert_eq!(case.as_str().parse(), Ok(case));
        }
        let refused = "director".parse::<FailoverCase>().unwrap_err();
        assert!(refused.contains("node-cut-many") && refused.contains("keepalived-10ms"), "{refused}");
    }

    #[test]
    fn promises_are_of_what_was_promised() {
        let bound = |case: PanCase, unit, profile| case.bound(unit, profile).map(|bound| (bound.p50, bound.worst));
        assert_eq!(bound(PanCase::EtcdAndNode, MILLIS, "lan"), Some((1200.0, 2500.0)));
        assert_eq!(bound(PanCase::EtcdAndNode, MILLIS, "shared"), None);
        assert_eq!(bound(PanCase::FalseFailovers, FAILOVERS, "lan"), Some((1.0, 1.0)));
        assert_eq!(bound(PanCase::FalseFailovers, FAILOVERS, "shared"), Some((0.0, 0.0)));
        assert_eq!(bound(PanCase::FalseFailovers, FAILED_REQUESTS, "lan"), Some((0.0, 0.0)));
        assert_eq!(bound(PanCase::FalseFailovers, SUSPICIONS, "lan"), None);
        assert_eq!(bound(PanCase::NodeFrozen, ATTEMPTS, "lan"), None, "the more the better");
        assert_eq!(bound(PanCase::NodeFrozen, LATE_FRAMES, "shared"), Some((0.0, 0.0)));
    }

    #[test]
    fn what_is_wanted_holds_for_all_but_the_one_that_is_long_instead() {
        for case in FailoverCase::all() {
            let wanted = if case.as_str() == "false-failovers" { 1 } else { 7 };
            assert_eq!(case.runs(Some(7)), wanted, "{}", case.as_str());
        }
    }

    /// Seconds of a run, estimated; the first of a case takes a laboratory's coming up besides.
    const SECONDS: [(&str, u32); 19] = [
        ("node-cut-many", 6),
        ("node-cut-single", 6),
        ("controllers-killed", 70),
        ("agent-killed", 45),
        ("node-frozen", 8),
        ("false-failovers", 620),
        ("three-controllers-killed", 75),
        ("controller-and-node", 8),
        ("etcd-and-node", 8),
        ("volume", 8),
        ("storage-lost", 30),
        ("director-cut", 5),
        ("keepalived-1s", 8),
        ("keepalived-100ms", 5),
        ("keepalived-10ms", 5),
        ("pacemaker-default", 30),
        ("pacemaker-default-fenced", 30),
        ("pacemaker-300ms", 20),
        ("pacemaker-300ms-fenced", 20),
    ];

    #[test]
    fn unless_wanted_otherwise_fifty_runs_are_made_of_what_is_short() {
        let runs = |name: &str| name.parse::<FailoverCase>().unwrap().runs(None);
        assert_eq!(FailoverCase::all().map(FailoverCase::as_str).collect::<Vec<_>>(), SECONDS.map(|(name, _)| name));
        for (name, seconds) in SECONDS {
            assert!(if seconds <= 20 { runs(name) == RUNS } else { runs(name) <= 10 }, "{name} is run {} times", runs(name));
            assert!(runs(name) >= 5 || name == "false-failovers", "{name}");
        }
        let all: u32 = SECONDS.iter().map(|(name, seconds)| runs(name) * seconds).sum();
        assert!(all <= 140 * 60, "about two hours, not {} minutes", all / 60);
    }

    #[test]
    fn what_is_named_is_run_and_nothing_twice() {
        let own = PanCase::ALL.map(PanCase::as_str);
        let keepalived = ["keepalived-1s", "keepalived-100ms", "keepalived-10ms"];
        check(&[], &[], &own);
        check(&[], &[Peer::Keepalived], &[&own[..], &keepalived[..]].concat());
        check(&["node-frozen", "node-cut-many", "node-frozen"], &[], &["node-cut-many", "node-frozen"]);
        check(&["keepalived-10ms"], &[], &["keepalived-10ms"]);
        check(&["keepalived-10ms"], &[Peer::Keepalived], &["keepalived-10ms"]);
        check(&["pacemaker-300ms"], &[Peer::Keepalived], &[&keepalived[..], &["pacemaker-300ms"]].concat());
        check(&["controller-and-node"], &[], &["controller-and-node"]);
    }
}
