//! A director: its own ear for heartbeats, and what suspicion does to its tables.

use crate::sim::Sim;
use pan_director::{Told, down};
use pan_member::{Beat, Change, Detector, Frame, Settings, Tick};
use pan_model::HostName;
use std::collections::BTreeSet;
use std::time::Duration;

/// The part of the director's process that hears.
pub struct Director {
    detector: Detector,
    /// Hosts it suspects.
    pub silent: BTreeSet<HostName>,
}

impl Director {
    /// When it is to judge next.
    #[must_use]
    pub fn next_deadline(&self) -> Tick {
        self.detector.next_deadline()
    }
}

impl Sim {
    pub(crate) fn start_director(&mut self, host: usize) {
        let now = self.clock(host);
        let settings = Settings { timing: self.timing, grace: Duration::from_secs(3), protected_failures: usize::MAX };
        let mut detector = Detector::with_rules(settings, now, self.options.rules());
        for other in &self.hosts {
            detector.add_host(other.name.clone(), now);
        }
        self.hosts[host].director = Some(Director { detector, silent: BTreeSet::new() });
    }

    pub(crate) fn director_hears(&mut self, host: usize, frame: &Frame, arrived: u64) {
        let received = self.hosts[host].clock.read(arrived);
        let Some(director) = &mut self.hosts[host].director else { return };
        let changes = director.detector.on_beat(&Beat::of(frame, received));
        director.take(changes);
    }

    /// Judges, and looks at what that makes of the tables.
    pub(crate) fn judge_director(&mut self, host: usize) {
        let now = self.clock(host);
        let h = &mut self.hosts[host];
        let Some(director) = &mut h.director else { return };
        let before = director.silent.len();
        let due = director.detector.is_due(now);
        let changes = if due { director.detector.tick(now) } else { Vec::new() };
        let heed = !changes.is_empty();
        director.take(changes);
        self.tally.suspicions += director.silent.len().saturating_sub(before) as u64;
        let Some(desired) = h.agent.as_ref().and_then(|agent| agent.newest.clone()).filter(|_| heed) else { return };
        let silent = director.silent.clone();
        for unit in &desired.units {
            let Some(network) = desired.networks.iter().find(|network| network.partition == unit.partition) else { continue };
            let avoided = down(&Told::new(unit, network, &h.name).under(&silent));
            for service in &unit.services {
                let takes = |state| matches!(state, pan_model::service::BackendState::Up | pan_model::service::BackendState::Suspect);
                let candidates = service.backends.iter().filter(|backend| takes(backend.state)).count();
                let left_out = avoided.get(&service.name).map_or(0, BTreeSet::len);
                if left_out * 2 > candidates {
                    let text = format!("a director avoids {left_out} of {candidates} servers of service {}", service.name);
                    self.violation("panic", text);
                    return;
                }
            }
        }
    }
}

impl Director {
    fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Suspect { host, .. } | Change::Dead { host, .. } => drop(self.silent.insert(host)),
                Change::Alive { host, .. } => drop(self.silent.remove(&host)),
                Change::Rebooted { .. }
                | Change::FabricUp { .. }
                | Change::FabricDown { .. }
                | Change::AgentDown { .. }
                | Change::AgentUp { .. }
                | Change::Brake { .. }
                | Change::BrakeReleased { .. } => {}
            }
        }
    }
}
