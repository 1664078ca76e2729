//! One host: its links, its boots, its agent, and what we believe of it.

use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, HostName};

use super::change::{Beat, Change, Counters};
use super::link::Link;
use crate::profile::Timing;
use crate::replay::{Claim, Novelty, Replay};
use crate::tick::Tick;

/// Silence of the agent that is worth an event; restarting it takes well under a second.
const AGENT_DOWN_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Host {
    name: HostName,
    condition: Condition,
    replay: Replay,
    links: [Link; 2],
    last_heard: Option<Tick>,
    /// The highest number it ever held.
    admission: Admission,
    /// How late it said its own loop was, in its last heartbeat.
    lag: Duration,
    /// How often it said it beats, in its last heartbeat.
    period: Option<Duration>,
    /// Not suspected before: we stood still ourselves until shortly before that.
    excused_until: Tick,
    agent: Agent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// Not heard yet; has until then to speak.
    Expected {
        until: Tick,
    },
    Alive,
    Suspect,
    Dead {
        since: Tick,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    Up,
    Down,
}

impl Host {
    pub(super) fn new(name: HostName, now: Tick, grace: Duration) -> Self {
        let condition = Condition::Expected { until: now.plus(grace) };
        let links = [Link::new(now), Link::new(now)];
        let replay = Replay::default();
        let (admission, lag, agent) = (Admission::NONE, Duration::ZERO, Agent::Up);
        Self { name, condition, replay, links, last_heard: None, admission, lag, period: None, excused_until: now, agent }
    }

    pub(super) fn name(&self) -> &HostName {
        &self.name
    }

    pub(super) fn is_alive(&self) -> bool {
        self.condition == Condition::Alive
    }

    pub(super) fn hear(&mut self, beat: &Beat<'_>, timing: &Timing, counters: &mut Counters) -> Vec<Change> {
        let mut changes = Vec::new();
        let silent = self.last_heard.is_none_or(|heard| beat.received.since(heard) >= self.timing(timing).suspect_after());
        let claim = Claim { newer: beat.admission > self.admission, vacant: silent, equal: beat.admission == self.admission };
        match self.replay.judge(beat.boot, beat.fabric, beat.sequence, claim) {
            Novelty::New => {}
            Novelty::NewBoot(previous) => {
                changes.push(Change::Rebooted { host: self.name.clone(), boot: beat.boot, previous });
            }
            Novelty::Repeated => {
                counters.replayed += 1;
                return changes;
            }
            Novelty::Retired | Novelty::Stranger => {
                counters.retired_boots += 1;
                return changes;
            }
        }
        self.last_heard = self.last_heard.max(Some(beat.received));
        self.admission = self.admission.max(beat.admission);
        (self.lag, self.period) = (beat.lag, beat.period);
        let timing = &self.timing(timing);
        changes.extend(self.come_alive(beat));
        if self.link(beat.fabric).hear(beat.received, timing) {
            changes.push(Change::FabricUp { host: self.name.clone(), fabric: beat.fabric });
        }
        changes.extend(self.hear_of_agent(beat.agent_age));
        changes
    }

    /// By what it is judged: only its own period tells what it has missed.
    fn timing(&self, timing: &Timing) -> Timing {
        self.period.map_or(*timing, |period| timing.at_period(period))
    }

    fn link(&mut self, fabric: Fabric) -> &mut Link {
        match fabric {
            Fabric::A => &mut self.links[0],
            Fabric::B => &mut self.links[1],
        }
    }

    fn come_alive(&mut self, beat: &Beat<'_>) -> Option<Change> {
        if self.condition == Condition::Alive {
            return None;
        }
        self.condition = Condition::Alive;
        // The other fabric's heartbeat may be a moment behind: its silence counts from now.
        self.links.iter_mut().for_each(|link| link.expect_from(beat.received));
        Some(Change::Alive { host: self.name.clone(), boot: beat.boot, lag: beat.lag })
    }

    fn hear_of_agent(&mut self, age: Duration) -> Option<Change> {
        let now = if age > AGENT_DOWN_AFTER { Agent::Down } else { Agent::Up };
        let before = std::mem::replace(&mut self.agent, now);
        match (before, now) {
            (Agent::Up, Agent::Down) => Some(Change::AgentDown { host: self.name.clone(), silent_for: age }),
            (Agent::Down, Agent::Up) => Some(Change::AgentUp { host: self.name.clone() }),
            (Agent::Up, Agent::Up) | (Agent::Down, Agent::Down) => None,
        }
    }

    /// Links and suspicion; death is not said here.
    pub(super) fn judge(&mut self, now: Tick, timing: &Timing) -> Vec<Change> {
        if self.condition != Condition::Alive {
            return Vec::new();
        }
        let timing = &self.timing(timing);
        let silent_for = self.silence(now);
        if silent_for >= timing.suspect_after() && now >= self.excused_until {
            self.condition = Condition::Suspect;
            return vec![Change::Suspect { host: self.name.clone(), silent_for }];
        }
        let mut changes = Vec::new();
        for fabric in Fabric::BOTH {
            if let Some(silent_for) = self.link(fabric).judge(now, timing) {
                changes.push(Change::FabricDown { host: self.name.clone(), fabric, silent_for });
            }
        }
        changes
    }

    /// Whether its time is up and only its death remains to be said.
    pub(super) fn is_overdue(&self, now: Tick, timing: &Timing) -> bool {
        match self.condition {
            Condition::Expected { until } => now >= until,
            Condition::Alive | Condition::Suspect => self.silence(now) >= self.timing(timing).dead_after_with(self.lag),
            Condition::Dead { .. } => false,
        }
    }

    /// Whether it counts as silent for the mass brake, `window` being how long a death counts.
    pub(super) fn is_silent(&self, now: Tick, window: Duration) -> bool {
        match self.condition {
            Condition::Expected { until } => now >= until,
            Condition::Alive => false,
            Condition::Suspect => true,
            Condition::Dead { since } => now.since(since) < window,
        }
    }

    /// Whether it has been dead for longer than `window`, so that it no longer counts as one of the PAN.
    pub(super) fn is_long_dead(&self, now: Tick, window: Duration) -> bool {
        matches!(self.condition, Condition::Dead { since } if now.since(since) >= window)
    }

    pub(super) fn die(&mut self, now: Tick) -> Change {
        self.condition = Condition::Dead { since: now };
        self.links.iter_mut().for_each(Link::forget_status);
        Change::Dead { host: self.name.clone(), last_heard: self.last_heard }
    }

    /// We noticed nothing between `from` and `to`.
    ///
    /// That time counts for nobody. What was missed before it does, so that a machine which stands still again and again
    /// finds out who is silent. Of others suspicion begins anew: when the stall ends, up to two periods may have passed unheard
    /// already, and it may have said meanwhile that its period is a longer one now.
    pub(super) fn freeze(&mut self, from: Tick, to: Tick, timing: &Timing) {
        self.links.iter_mut().for_each(|link| link.freeze(from, to));
        let suspect_after = self.timing(timing).suspect_after();
        if self.silence(to) < suspect_after {
            self.excused_until = to.plus(suspect_after);
        }
        if let Condition::Expected { until } = &mut self.condition {
            *until = until.plus(to.since(from));
        }
    }

    /// When something would change if nothing is heard.
    pub(super) fn deadline(&self, timing: &Timing) -> Option<Tick> {
        let timing = &self.timing(timing);
        let [a, b] = &self.links;
        let both_silent = |duration| a.silent_for_at(duration).max(b.silent_for_at(duration));
        match self.condition {
            Condition::Expected { until } => Some(until),
            Condition::Alive => {
                let links = [a, b].into_iter().filter_map(|link| link.down_at(timing));
                links.chain([both_silent(timing.suspect_after()).max(self.excused_until)]).min()
            }
            Condition::Suspect => Some(both_silent(timing.dead_after_with(self.lag))),
            Condition::Dead { .. } => None,
        }
    }

    fn silence(&self, now: Tick) -> Duration {
        let [a, b] = &self.links;
        a.silence(now).min(b.silence(now))
    }
}
