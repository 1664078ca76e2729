//! The detector: all hosts, the brake, and the caller's own punctuality.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pan_model::HostName;

use super::brake::{self, Brake, Presence, Verdict, View};
use super::change::{Beat, Change, Counters};
use super::host::Host;
use crate::profile::Timing;
use crate::rules::{Mutant, Rules};
use crate::tick::Tick;

/// What a detector is made with.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub timing: Timing,
    /// How long a host may take to be heard for the first time, after [`Detector::add_host`].
    pub grace: Duration,
    /// Node failures the PAN is promised to survive; that many at once do not brake. A director, which heeds
    /// suspicions and takes deaths from the controller, has no use for the brake: `usize::MAX`.
    pub protected_failures: usize,
}

/// Judges hosts by their heartbeats. Owned by one task, which feeds it and acts on what it says:
///
/// 1. sleep until [`Detector::next_deadline`] or a datagram;
/// 2. read *all* waiting datagrams into [`Detector::on_beat`];
/// 3. [`Detector::tick`] with the time read after that.
#[derive(Debug)]
pub struct Detector {
    settings: Settings,
    rules: Rules,
    hosts: BTreeMap<HostName, Host>,
    /// Hears itself however cut off it is.
    own: Option<HostName>,
    brake: Brake,
    /// When another host was last known to be alive, or there was none to be heard.
    company: Tick,
    last_tick: Tick,
    /// When anybody is to be judged next. What is heard meanwhile only puts that off, and no deadline that arises before the
    /// next tick is nearer than a period: nobody need be looked at sooner, however many heartbeats come in.
    next: Tick,
    counters: Counters,
}

impl Detector {
    /// A detector that knows no host yet; `now` is when it starts.
    #[must_use]
    pub fn new(settings: Settings, now: Tick) -> Self {
        Self::with_rules(settings, now, Rules::SOUND)
    }

    /// The same, keeping `rules`.
    #[must_use]
    pub fn with_rules(settings: Settings, now: Tick, rules: Rules) -> Self {
        let (hosts, own, brake, counters) = (BTreeMap::new(), None, Brake::Off, Counters::default());
        let next = now.plus(settings.timing.period);
        Self { settings, rules, hosts, own, brake, company: now, last_tick: now, next, counters }
    }

    /// The same on `host`, whose own heartbeats say nothing of whether others could be heard.
    #[must_use]
    pub fn on(self, host: HostName) -> Self {
        Self { own: Some(host), ..self }
    }

    /// Expects heartbeats of `host`. Nothing happens if it is expected already.
    pub fn add_host(&mut self, host: HostName, now: Tick) {
        let grace = self.settings.grace;
        self.next = self.next.min(now.plus(grace));
        self.hosts.entry(host).or_insert_with_key(|name| Host::new(name.clone(), now, grace));
    }

    /// Expects no more heartbeats of `host`; those that still come are counted as of a stranger.
    pub fn remove_host(&mut self, host: &HostName) {
        self.hosts.remove(host);
    }

    /// Takes over another timing, such as that of a PAN that has grown.
    pub fn set_timing(&mut self, timing: Timing) {
        self.settings.timing = timing;
    }

    /// Takes over how many node failures are promised to be survived.
    pub fn set_protected_failures(&mut self, failures: usize) {
        self.settings.protected_failures = failures;
    }

    /// Takes a heartbeat whose authenticity was checked.
    pub fn on_beat(&mut self, beat: &Beat<'_>) -> Vec<Change> {
        match self.hosts.get_mut(beat.host) {
            Some(host) => host.hear(beat, &self.settings.timing, &mut self.counters),
            None => {
                self.counters.unknown_hosts += 1;
                Vec::new()
            }
        }
    }

    /// Judges everybody at `now`. To be called at [`Detector::next_deadline`] at the latest: time by which
    /// it is late counts for nobody, if that is more than a period.
    pub fn tick(&mut self, now: Tick) -> Vec<Change> {
        self.forgive_own_stall(now);
        self.last_tick = self.last_tick.max(now);
        if self.others_heard() == Presence::Some || self.hosts.keys().all(|name| self.own.as_ref() == Some(name)) {
            self.company = now;
        }
        let timing = self.settings.timing;
        let mut changes: Vec<Change> = self.hosts.values_mut().flat_map(|host| host.judge(now, &timing)).collect();
        changes.extend(self.bury(now));
        self.next = self.deadline();
        changes
    }

    /// Whether it is time to judge: somebody may be late, or the last time is a part of a period ago. What is longer ago than a
    /// period passes for a stall of our own, so it must not become that while heartbeats keep us awake.
    #[must_use]
    pub fn is_due(&self, now: Tick) -> bool {
        now >= self.next || now.since(self.last_tick) >= self.settings.timing.period / 4
    }

    fn forgive_own_stall(&mut self, now: Tick) {
        let expected = self.last_tick.plus(self.settings.timing.period);
        let late = now.since(expected);
        if late > self.settings.timing.period && !self.rules.breaks(Mutant::OwnStallBlamed) {
            let timing = self.settings.timing;
            self.hosts.values_mut().for_each(|host| host.freeze(expected, now, &timing));
            self.brake.freeze(late);
            self.company = self.company.plus(late).min(now);
        }
    }

    /// Says the deaths that are due, unless the brake holds them.
    fn bury(&mut self, now: Tick) -> Vec<Change> {
        let timing = self.settings.timing;
        let overdue = |host: &&Host| host.is_overdue(now, &timing);
        let hosts = self.hosts.values().filter(|host| !host.is_long_dead(now, brake::WINDOW)).count();
        let silent: Vec<HostName> = self.silent(now).map(|host| host.name().clone()).collect();
        let limit = brake::limit(self.settings.protected_failures, hosts);
        let view = View {
            now,
            silent: silent.len(),
            limit,
            anyone_overdue: Presence::of(self.hosts.values().filter(overdue)),
            anyone_heard: self.others_heard(),
            rules: self.rules,
        };
        let (mut changes, may_die) = match self.brake.look(&view, &timing) {
            Verdict::Free => (Vec::new(), true),
            Verdict::Held => (Vec::new(), false),
            Verdict::Engaged => (vec![Change::Brake { hosts: silent, limit }], false),
            Verdict::Released => (vec![Change::BrakeReleased { still_silent: silent }], false),
            Verdict::Expired => (vec![Change::BrakeReleased { still_silent: silent }], true),
        };
        if may_die {
            changes.extend(self.say_deaths(now));
        }
        changes
    }

    /// Whether there are others and none has been heard for the brake's hold time: whatever becomes of them, it will not be noticed here.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.last_tick.since(self.company) >= brake::HOLD
    }

    fn others_heard(&self) -> Presence {
        Presence::of(self.hosts.values().filter(|host| host.is_alive() && self.own.as_ref() != Some(host.name())))
    }

    fn say_deaths(&mut self, now: Tick) -> Vec<Change> {
        let timing = self.settings.timing;
        let due = self.hosts.values_mut().filter(|host| host.is_overdue(now, &timing));
        due.map(|host| host.die(now)).collect()
    }

    /// The hosts whose deaths the brake holds at `now`: those to ask the lessors about.
    #[must_use]
    pub fn held(&self, now: Tick) -> BTreeSet<HostName> {
        if !self.brake.holds() {
            return BTreeSet::new();
        }
        let overdue = self.hosts.values().filter(|host| host.is_overdue(now, &self.settings.timing));
        overdue.map(|host| host.name().clone()).collect()
    }

    /// A majority of lessors has confirmed that nobody hears `silent` ([`crate::Confirmation`]). If that is
    /// everybody whose death the brake holds, it comes off and they are said; but a majority that is this host alone
    /// knows no more than it does, so somebody else must be heard. To be called, like [`Detector::tick`], when all waiting
    /// datagrams were read.
    pub fn confirm(&mut self, silent: &BTreeSet<HostName>, now: Tick) -> Vec<Change> {
        let held = self.held(now);
        if held.is_empty() || !held.is_subset(silent) || self.others_heard() == Presence::None {
            return Vec::new();
        }
        self.brake.confirm();
        let mut changes = vec![Change::BrakeReleased { still_silent: held.into_iter().collect() }];
        changes.extend(self.say_deaths(now));
        changes
    }

    fn silent(&self, now: Tick) -> impl Iterator<Item = &Host> {
        self.hosts.values().filter(move |host| host.is_silent(now, brake::WINDOW))
    }

    /// When [`Detector::tick`] is to be called next, at the latest; at most a period after the last.
    #[must_use]
    pub fn next_deadline(&self) -> Tick {
        self.next
    }

    fn deadline(&self) -> Tick {
        let timing = &self.settings.timing;
        let of_hosts = self.hosts.values().filter_map(|host| host.deadline(timing));
        // A deadline that has passed is held by the brake, and looked at every period.
        let ahead = of_hosts.chain(self.brake.deadline()).filter(|tick| *tick > self.last_tick);
        ahead.chain([self.last_tick.plus(timing.period)]).min().expect("there is always the period")
    }

    /// Heartbeats dropped so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
