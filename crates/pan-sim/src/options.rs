//! What kind of run a seed makes: sizes, timing, which faults and how often. Drawn anew for each seed, so that some
//! runs have a lot of few things (Groce et al., Swarm Testing, 2012).

use crate::dice::Dice;
use crate::mutant::Mutant;
use crate::time::{MS, SECOND};
use pan_member::{Profile, profile::Gate};

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Power off; on again after a while: a new boot, run-time state gone, disks kept.
    Crash,
    /// A whole machine stands still; its boot clock goes on.
    Freeze,
    /// One process stands still.
    Pause,
    /// One process ends and is started again.
    Kill,
    /// A host is cut off from all others, on both fabrics.
    Isolate,
    /// A host is cut off on one fabric.
    Unplug,
    /// A host only sends, or only receives, on one fabric or both.
    OneWay,
    /// Two hosts do not reach each other.
    Pair,
    /// A whole fabric is down.
    Fabric,
    /// Loss, duplication and delays of one host.
    Lossy,
    /// The store answers late.
    StoreSlow,
    /// The store refuses everything.
    StoreDown,
    /// Answers of the store are lost, and some transactions with them.
    StoreInDoubt,
    /// One controller does not reach the store.
    StoreCut,
    /// A lessor's disk is slow.
    DiskSlow,
    /// A lessor's disk is full.
    DiskFull,
    /// A host takes long to apply maps.
    SlowMap,
    /// A server ends by itself.
    ServerEnds,
    /// No controller runs.
    NoControllers,
    /// A lessor comes back with an old copy of its disk, and no leader reaches it until that is repaired.
    OldDisk,
    /// A node dies while other hosts keep old maps, and comes back before they have new ones.
    StaleReturn,
    /// A node is silent until it is fenced, while one lessor hears no leader, one does not reach the node and the others
    /// are started again; then it is back.
    Amnesia,
    /// A leader is cut off from the store, or stands still, and offers what it said last; a server is moved in an orderly way, and its former node is booted.
    Deposed,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Crash,
        Self::Freeze,
        Self::Pause,
        Self::Kill,
        Self::Isolate,
        Self::Unplug,
        Self::OneWay,
        Self::Pair,
        Self::Fabric,
        Self::Lossy,
        Self::StoreSlow,
        Self::StoreDown,
        Self::StoreInDoubt,
        Self::StoreCut,
        Self::DiskSlow,
        Self::DiskFull,
        Self::SlowMap,
        Self::ServerEnds,
        Self::NoControllers,
        Self::OldDisk,
        Self::StaleReturn,
        Self::Amnesia,
        Self::Deposed,
    ];
}

/// What happens before the storm, and must move nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Calm {
    /// One controller hears no other host for some seconds: neither nodes nor the leader.
    DeafController,
    /// Machines of controllers stand still for a moment each.
    Stalls,
    /// One fabric is down.
    OneFabric,
    /// Nodes are silent for less than a death takes.
    Flicker,
    /// No controller runs for some seconds.
    NoControllers,
    /// Agents end and are started again.
    Agents,
}

impl Calm {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::DeafController, Self::Stalls, Self::OneFabric, Self::Flicker, Self::NoControllers, Self::Agents];
}

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which rule is left out.
    pub mutant: Option<Mutant>,
    /// Hosts that run servers.
    pub nodes: usize,
    /// One, with a store of its own, or three.
    pub controllers: usize,
    /// Three or five hosts that grant leases.
    pub lessors: usize,
    /// Timing.
    pub profile: Profile,
    /// Clocks are off by up to so many thousandths.
    pub drift: u64,
    /// The gate of each node.
    pub gates: Vec<Gate>,
    /// The profile by which each node holds its leases: the PAN's, but for nodes that were configured wrongly.
    pub profiles: Vec<Profile>,
    /// Datagrams lost at all times, of a thousand.
    pub loss: u64,
    /// Sizes of the clusters.
    pub clusters: Vec<u32>,
    /// How long a process may take to look at what arrived.
    pub slack: u64,
    /// Before the storm.
    pub calm: Calm,
    /// How often each kind of fault is drawn in the storm.
    pub weights: Vec<u64>,
    /// Between two faults, at most.
    pub gap: u64,
    /// Writes of one transaction, at most: rounds of more are cut into several.
    pub transaction: usize,
    /// Messages of an ear that its loop has room for: more wait with the ear.
    pub room: u64,
    /// From how many on those that wait are thinned out.
    pub crowd: usize,
    /// Machines and processes may also stand still for up to this, and the storm lasts that much longer.
    pub long_pause: Option<u64>,
    /// A further cluster has more servers by the clock, again and again.
    pub tide: bool,
}

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn draw(dice: &mut Dice, mutant: Option<Mutant>) -> Self {
        let nodes = dice.index(4) + 3;
        let controllers = if dice.one_in(4) { 1 } else { 3 };
        let relative = dice.below(3);
        let gate = |dice: &mut Dice| if dice.below(3) < relative { Gate::Relative } else { Gate::Absolute };
        let weight = |dice: &mut Dice| if dice.below(5) < 2 { 0 } else { dice.within(1, 9) };
        let profile = dice.pick(&[Profile::Lan, Profile::Shared, Profile::Shared, Profile::Shared]);
        let wrong = if mutant == Some(Mutant::OwnLeaseAssumed) { 2 } else { dice.pick(&[0, 0, 0, 2]) };
        let own = |dice: &mut Dice| if dice.below(4) < wrong { dice.pick(&Profile::ALL) } else { profile };
        let calms: &[Calm] =
            if controllers == 1 { &[Calm::OneFabric, Calm::Flicker, Calm::NoControllers, Calm::Agents] } else { &Calm::ALL };
        let mut options = Self {
            mutant,
            nodes,
            controllers,
            lessors: dice.pick(&[3, 5]),
            profile,
            drift: dice.pick(&[0, 5, 10, 10]),
            gates: (0..nodes).map(|_| gate(dice)).collect(),
            profiles: (0..nodes).map(|_| own(dice)).collect(),
            loss: dice.pick(&[0, 1]),
            clusters: (0..dice.index(2) + 1).map(|_| u32::try_from(dice.within(1, 4)).expect("below four")).collect(),
            slack: dice.within(2 * MS, 5 * MS),
            calm: dice.pick(calms),
            weights: Fault::ALL.iter().map(|_| weight(dice)).collect(),
            gap: dice.millis(800, 5000),
            transaction: dice.pick(&[2, 3, 5, 4095, 4095, 4095]),
            room: dice.pick(&[1, 4, 16]),
            crowd: dice.pick(&[1, 8, 1024]),
            long_pause: dice.pick(&[None, None, None, None, None, None, Some(30 * SECOND), Some(60 * SECOND)]),
            tide: mutant.is_none() && dice.one_in(2),
        };
        options.lean(dice);
        options
    }

    fn likely(&mut self, faults: &[Fault]) {
        for fault in faults {
            self.weights[*fault as usize] += 6;
        }
    }

    /// What a mutant breaks is to happen more often than by chance.
    fn lean(&mut self, dice: &mut Dice) {
        match self.mutant {
            None => {
                if self.weights.iter().all(|weight| *weight == 0) {
                    self.likely(&[Fault::Crash, Fault::Isolate]);
                }
            }
            Some(Mutant::NoLeaderGuard) => self.likely(&[Fault::StoreSlow, Fault::Pause, Fault::StoreCut, Fault::StoreInDoubt]),
            Some(Mutant::ActBeforeCommit) => self.likely(&[Fault::StoreInDoubt, Fault::StoreDown, Fault::Crash]),
            Some(Mutant::LeaseFromReceipt | Mutant::OwnLeaseAssumed) => {
                self.likely(&[Fault::Isolate, Fault::OneWay, Fault::Pause, Fault::Lossy])
            }
            Some(Mutant::StaleTermCounts) => {
                (self.controllers, self.calm) = (3, Calm::Stalls);
                self.likely(&[Fault::OldDisk, Fault::OldDisk]);
            }
            Some(Mutant::RenewalAfterExpiry) => {
                self.gates.fill(Gate::Relative);
                self.likely(&[Fault::Pause, Fault::Freeze]);
            }
            Some(Mutant::GateBeforeOrphans | Mutant::EpochNotCompared | Mutant::MapOutOfOrder) => {
                self.likely(&[Fault::StaleReturn, Fault::Isolate, Fault::Freeze]);
            }
            Some(Mutant::AnyoneBelieved) => {
                self.controllers = 3;
                self.likely(&[Fault::Deposed, Fault::Deposed, Fault::Deposed]);
            }
            Some(Mutant::RevocationForgotten) => self.likely(&[Fault::Amnesia]),
            // Of controllers too a minority would be enough, and that is found first where it shows.
            Some(Mutant::MinorityEnough) => {
                self.calm = Calm::OneFabric;
                self.likely(&[Fault::Amnesia]);
            }
            Some(Mutant::BrakeOff | Mutant::NoPreVote) => (self.controllers, self.calm) = (3, Calm::DeafController),
            Some(Mutant::OwnStallBlamed) => (self.controllers, self.calm) = (3, Calm::Stalls),
            Some(Mutant::SuspicionIsDeath) => self.calm = Calm::Flicker,
        }
        if !matches!(self.mutant, None | Some(Mutant::StaleTermCounts)) {
            self.weights[Fault::OldDisk as usize] = 0;
        }
        self.gap = if self.mutant.is_some() { self.gap / 2 + dice.below(self.gap / 2) } else { self.gap };
    }

    /// Which rules the cores keep.
    #[must_use]
    pub const fn rules(&self) -> pan_member::Rules {
        Mutant::rules(self.mutant)
    }

    /// Whether this rule is left out.
    #[must_use]
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}
