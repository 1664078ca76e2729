//! Faults: what begins, for how long, and how it is undone.

mod deposed;

use crate::host::Process;
use crate::network::Trouble;
use crate::note;
use crate::options::Fault;
use crate::sim::{Event, Sim};
use crate::time::{MS, SECOND};
use deposed::Step;
use pan_member::profile::{Gate, Tenure};
use pan_model::host::{Fabric, Role};

/// The longest that most faults last.
const PAUSE: u64 = 12 * SECOND;

/// How a fault ends.
#[derive(Debug, Clone)]
pub(crate) enum Undo {
    /// It ended by itself, or something else ends it.
    Nothing,
    PowerOn(usize),
    Restart(usize, Process),
    /// Ways to open: fabric, sender, receiver.
    Open(Vec<(Fabric, usize, usize)>),
    Trouble(usize),
    StoreSpeed,
    StoreUp,
    StoreSure,
    StoreReach(usize),
    Disk(usize),
    Map(usize),
    /// A lessor's process ends and is started again at once.
    Bounce(usize),
    /// Now the copy of a lessor's disk is put in place.
    Restore(usize),
    OldDisk(usize, Vec<(Fabric, usize, usize)>),
    /// More is to come of it.
    Then(Step),
}

impl Sim {
    /// Draws a fault of the storm.
    pub(crate) fn draw_fault(&mut self) {
        let kind = Fault::ALL[self.dice.weighted(&self.options.weights)];
        let host = self.dice.index(self.hosts.len());
        let lasts = match self.dice.below(4) {
            0 => self.dice.millis(1, 200),
            1 => self.dice.millis(200, 1000),
            2 => self.dice.millis(1000, 5000),
            _ => self.dice.within(3 * SECOND, PAUSE),
        };
        // Of those that nobody undoes: whoever was away for a minute has missed more than whoever was for ten seconds.
        let longest = self.options.long_pause.filter(|_| matches!(kind, Fault::Freeze | Fault::Pause | Fault::NoControllers));
        let lasts = match longest {
            Some(longest) if self.dice.one_in(2) => self.dice.within(PAUSE, longest),
            Some(_) | None => lasts,
        };
        let Some(undo) = self.begin(kind, host, lasts) else { return };
        note!(self, "FAULT {kind:?} {} for {} ms", self.hosts[host].name, lasts / MS);
        self.tally.faults[kind as usize] += 1;
        self.undo_after(lasts, undo);
    }

    pub(crate) fn undo_after(&mut self, lasts: u64, undo: Undo) {
        self.fault_number += 1;
        self.active.insert(self.fault_number, undo);
        let (at, number) = (self.now + lasts, self.fault_number);
        self.queue.push(at, Event::FaultEnds { number });
    }

    fn node(&mut self) -> usize {
        let nodes: Vec<usize> = (0..self.hosts.len()).filter(|at| self.hosts[*at].is(Role::Node)).collect();
        self.dice.pick(&nodes)
    }

    fn begin(&mut self, kind: Fault, host: usize, lasts: u64) -> Option<Undo> {
        Some(match kind {
            Fault::Crash => {
                let host = if self.dice.one_in(3) { host } else { self.node() };
                self.power_off(host).then_some(Undo::PowerOn(host))?
            }
            Fault::Freeze => {
                let host = if self.dice.one_in(2) { host } else { self.node() };
                self.freeze(host, lasts);
                Undo::Nothing
            }
            Fault::Pause => {
                let processes = if self.hosts[host].is(Role::Controller) { 3 } else { 2 };
                let process = Process::ALL[self.dice.index(processes)];
                self.pause(host, process, lasts);
                Undo::Nothing
            }
            Fault::Kill => {
                let processes = if self.hosts[host].is(Role::Controller) { 3 } else { 2 };
                let process = Process::ALL[self.dice.index(processes)];
                self.kill(host, process).then_some(Undo::Restart(host, process))?
            }
            Fault::Isolate => {
                let host = if self.dice.one_in(2) { host } else { self.node() };
                let ways = self.ways(host, &Fabric::BOTH, [true, true]);
                self.cut(ways)
            }
            Fault::Unplug => {
                let fabric = self.dice.pick(&Fabric::BOTH);
                let ways = self.ways(host, &[fabric], [true, true]);
                self.cut(ways)
            }
            Fault::OneWay => {
                let (sends, one) = (self.dice.one_in(2), [self.dice.pick(&Fabric::BOTH)]);
                let fabrics: &[Fabric] = if self.dice.one_in(3) { &one } else { &Fabric::BOTH };
                let ways = self.ways(host, fabrics, [!sends, sends]);
                self.cut(ways)
            }
            Fault::Pair => {
                let other = self.dice.index(self.hosts.len());
                let ways = Fabric::BOTH.iter().flat_map(|fabric| [(*fabric, host, other), (*fabric, other, host)]);
                (host != other).then(|| self.cut(ways.collect()))?
            }
            Fault::Fabric => self.fabric_down(),
            Fault::Lossy => {
                self.net.trouble[host] =
                    Trouble { loss: self.dice.within(20, 500), twice: self.dice.below(200), delay: self.dice.millis(0, 150) };
                Undo::Trouble(host)
            }
            Fault::StaleReturn => return self.stale_return(lasts),
            Fault::Amnesia => self.amnesia(Undo::Bounce),
            Fault::OldDisk => self.amnesia(Undo::Restore),
            Fault::Deposed => self.deposed()?,
            Fault::NoControllers => {
                for at in 0..self.controllers.len() {
                    let controller = self.controllers[at];
                    self.pause(controller, Process::Ear, lasts);
                }
                Undo::Nothing
            }
            Fault::ServerEnds => {
                let node = self.node();
                let key = self.hosts[node].instances.keys().next().cloned()?;
                self.server_ends(node, &key);
                Undo::Nothing
            }
            other => return self.begin_at_rest(other, host),
        })
    }

    /// Faults of what does not move: the store, disks, tables.
    fn begin_at_rest(&mut self, kind: Fault, host: usize) -> Option<Undo> {
        Some(match kind {
            Fault::StoreSlow => {
                self.store.slow = self.dice.millis(20, 1200);
                Undo::StoreSpeed
            }
            Fault::StoreDown => {
                self.store.down = true;
                Undo::StoreUp
            }
            Fault::StoreInDoubt => {
                self.store.doubtful = self.dice.within(10, 90);
                Undo::StoreSure
            }
            Fault::StoreCut => {
                let controller = self.dice.pick(&self.controllers);
                self.store.cut.push(controller);
                Undo::StoreReach(controller)
            }
            Fault::DiskSlow | Fault::DiskFull => {
                let at = self.dice.pick(&self.lessors);
                let slow = self.dice.millis(50, 2000);
                let disk = self.hosts[at].lessor.as_mut()?;
                if kind == Fault::DiskFull {
                    disk.full = true;
                } else {
                    disk.slow = slow;
                }
                Undo::Disk(at)
            }
            Fault::SlowMap => {
                self.hosts[host].slow_map = self.dice.millis(100, 3000);
                Undo::Map(host)
            }
            _ => Undo::Nothing,
        })
    }

    /// All ways of a host on some fabrics: those to it, and those from it.
    fn ways(&self, host: usize, fabrics: &[Fabric], [to, from]: [bool; 2]) -> Vec<(Fabric, usize, usize)> {
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        let of = |other| fabrics.iter().flat_map(move |fabric| [(*fabric, other, host, to), (*fabric, host, other, from)]);
        others.flat_map(of).filter(|way| way.3).map(|way| (way.0, way.1, way.2)).collect()
    }

    pub(crate) fn isolate(&mut self, host: usize) -> Undo {
        let ways = self.ways(host, &Fabric::BOTH, [true, true]);
        self.cut(ways)
    }

    pub(crate) fn cut(&mut self, ways: Vec<(Fabric, usize, usize)>) -> Undo {
        for (fabric, from, to) in &ways {
            self.net.cut(*fabric, *from, *to);
        }
        Undo::Open(ways)
    }

    pub(crate) fn fabric_down(&mut self) -> Undo {
        let fabric = self.dice.pick(&Fabric::BOTH);
        let count = self.hosts.len();
        let ways = (0..count).flat_map(|from| (0..count).map(move |to| (fabric, from, to)));
        self.cut(ways.filter(|(_, from, to)| from != to).collect())
    }

    /// A node dies for the others while some of these do not hear of new maps; then it returns.
    fn stale_return(&mut self, lasts: u64) -> Option<Undo> {
        let node = self.node();
        if self.hosts[node].instances.is_empty() {
            return None;
        }
        for other in 0..self.hosts.len() {
            if other != node && self.dice.one_in(2) {
                if self.dice.one_in(2) {
                    self.pause(other, Process::Agent, lasts + 8000 * MS);
                } else {
                    self.hosts[other].slow_map = 4000 * MS;
                    self.undo_after(lasts + 8000 * MS, Undo::Map(other));
                }
            }
        }
        match self.dice.below(3) {
            0 => self.freeze(node, lasts + 1000 * MS),
            1 => {
                let away = self.isolate(node);
                let lasts = self.dice.millis(600, 3000);
                self.undo_after(lasts, away);
            }
            _ => self.pause(node, Process::Beat, lasts + 600 * MS),
        }
        Some(Undo::Nothing)
    }

    /// A node is silent until it is fenced; one lessor hears of that nothing, one cannot tell the node, and to the others
    /// happens what `then` says, before the node is heard again.
    fn amnesia(&mut self, then: impl Fn(usize) -> Undo) -> Undo {
        let node = self.node();
        let tenure = Tenure { gate: Gate::Relative, lease: self.hosts[node].lease };
        let fenced = crate::dice::nanos(self.timing.bound_of(tenure).max(self.timing.dead_after()));
        let until = fenced + self.dice.millis(30, 500);
        let away = self.isolate(node);
        self.undo_after(until + 100 * MS, away);
        let mut lessors: Vec<usize> = self.lessors.iter().copied().filter(|at| !self.hosts[*at].is(Role::Controller)).collect();
        let deaf = lessors.swap_remove(self.dice.index(lessors.len()));
        let ways = self.controllers.iter().flat_map(|from| Fabric::BOTH.map(|fabric| (fabric, *from, deaf))).collect();
        let deaf = (deaf, self.cut(ways));
        self.undo_after(until + 1500 * MS, deaf.1);
        let mut others: Vec<usize> = self.lessors.iter().copied().filter(|at| *at != deaf.0).collect();
        let mute = others.swap_remove(self.dice.index(others.len()));
        let mute = self.cut(Fabric::BOTH.map(|fabric| (fabric, mute, node)).to_vec());
        self.undo_after(until + 2000 * MS, mute);
        for lessor in others {
            self.undo_after(until, then(lessor));
        }
        Undo::Nothing
    }

    /// A lessor comes back with a copy from before the last change of leader that every node has heard of.
    fn old_disk(&mut self, at: usize) -> Option<Undo> {
        let newest = self.lessors.iter().filter_map(|at| self.hosts[*at].lessor.as_ref()).map(|disk| disk.content.term).max()?;
        let nodes = self.hosts.iter().filter(|host| host.is(Role::Node));
        let known = nodes.clone().all(|host| host.beat.as_ref().is_some_and(|beat| beat.term_floor() == Some(newest)));
        let old = |at: &usize| {
            let host = &self.hosts[*at];
            let disk = host.lessor.as_ref().filter(|disk| disk.aside.is_none() && disk.old.term < newest && disk.content.term == newest);
            !host.is(Role::Controller) && disk.is_some() && host.runs(Process::Beat)
        };
        let already = self.active.values().any(|undo| matches!(undo, Undo::OldDisk(..)));
        if !old(&at) || !known || already {
            return None;
        }
        let mut ways = Vec::new();
        for controller in self.controllers.clone() {
            for fabric in Fabric::BOTH {
                self.net.cut(fabric, controller, at);
                ways.push((fabric, controller, at));
            }
        }
        self.kill(at, Process::Beat);
        self.tally.old_disks += 1;
        let disk = self.hosts[at].lessor.as_mut()?;
        disk.aside = Some(std::mem::replace(&mut disk.content, disk.old.clone()));
        self.start(at, Process::Beat);
        Some(Undo::OldDisk(at, ways))
    }

    /// A fault is over.
    pub(crate) fn fault_ends(&mut self, number: u64) {
        let Some(undo) = self.active.remove(&number) else { return };
        note!(self, "over: {}", short(&undo));
        match undo {
            Undo::Nothing => {}
            Undo::Then(step) => self.go_on(step),
            Undo::PowerOn(host) => self.power_on(host),
            Undo::Restart(host, process) => self.start(host, process),
            Undo::Open(ways) => self.open(&ways),
            Undo::Trouble(host) => self.net.trouble[host] = Trouble::default(),
            Undo::StoreSpeed => self.store.slow = 0,
            Undo::StoreUp => self.store.down = false,
            Undo::StoreSure => self.store.doubtful = 0,
            Undo::StoreReach(controller) => {
                if let Some(at) = self.store.cut.iter().position(|cut| *cut == controller) {
                    self.store.cut.remove(at);
                }
            }
            Undo::Disk(at) => {
                if let Some(disk) = &mut self.hosts[at].lessor {
                    (disk.slow, disk.full) = (0, false);
                }
            }
            Undo::Map(host) => self.hosts[host].slow_map = 0,
            Undo::Bounce(host) => {
                if self.kill(host, Process::Beat) {
                    self.start(host, Process::Beat);
                }
            }
            Undo::Restore(host) => {
                if let Some(undo) = self.old_disk(host) {
                    self.undo_after(2500 * MS, undo);
                }
            }
            Undo::OldDisk(at, ways) => {
                self.open(&ways);
                self.kill(at, Process::Beat);
                if let Some(disk) = &mut self.hosts[at].lessor
                    && let Some(content) = disk.aside.take()
                {
                    disk.content = content;
                }
                self.start(at, Process::Beat);
            }
        }
    }

    fn open(&mut self, ways: &[(Fabric, usize, usize)]) {
        for (fabric, from, to) in ways {
            self.net.open(*fabric, *from, *to);
        }
    }

    /// A node that starts anew does not remember which lessors were ahead, so an old disk must not be there.
    pub(crate) fn repair_disks(&mut self) {
        let old = |undo: &Undo| matches!(undo, Undo::OldDisk(..));
        let numbers: Vec<u64> = self.active.iter().filter(|(_, undo)| old(undo)).map(|(number, _)| *number).collect();
        for number in numbers {
            self.fault_ends(number);
        }
    }

    /// Everything that can be repaired is.
    pub(crate) fn heal(&mut self) {
        note!(self, "everything is repaired");
        self.active.retain(|_, undo| !matches!(undo, Undo::Then(_)));
        for number in self.active.keys().copied().collect::<Vec<_>>() {
            self.fault_ends(number);
        }
        self.net.heal();
        for host in 0..self.hosts.len() {
            self.hosts[host].frozen_until = self.hosts[host].frozen_until.min(self.now);
            for process in Process::ALL {
                let seat = &mut self.hosts[host].seats[process as usize];
                if seat.paused_until > self.now {
                    seat.paused_until = self.now;
                }
                if seat.up {
                    self.wake(host, process, self.now + MS);
                }
            }
        }
    }
}

fn short(undo: &Undo) -> String {
    match undo {
        Undo::Open(ways) => format!("{} ways open", ways.len()),
        Undo::OldDisk(host, _) => format!("old disk of host {host}"),
        other => format!("{other:?}"),
    }
}
