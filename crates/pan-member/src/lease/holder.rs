//! The holder of a lease: counts acknowledgements and says until when the gate may be open.

use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, HostName};

use super::ring::Ring;
use super::state::{Ignored, Outcome, State};
use crate::frame::BootId;
use crate::memory::{GrantorMemory, HolderMemory, StandingMemory};
use crate::rules::{Mutant, Rules};
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{Ack, Verdict};

/// Lessors a set may have: far above the seven that make sense.
const LESSORS_MAX: usize = 64;

/// Runs in the heartbeat process of a node. After it is made, it allocates nothing. For each period:
///
/// 1. read the clock, call [`Holder::sent`] with it, and only then send the heartbeat with [`Holder::admission`];
/// 2. give every acknowledgement to [`Holder::ack`] and write the gate as it says;
/// 3. when [`Holder::wants_admission`], report it; when the agent has a new admission and has ended what is no
///    longer this host's, call [`Holder::admitted`].
#[derive(Debug, Clone)]
pub struct Holder {
    boot: BootId,
    lease: Duration,
    rules: Rules,
    lessors: Vec<Lessor>,
    admission: Admission,
    standing: Standing,
    sent: Ring,
    heard: [Option<Tick>; 2],
}

/// One of the set, as this host sees it.
#[derive(Debug, Clone)]
struct Lessor {
    name: HostName,
    /// The highest term it was seen with.
    term: Term,
    /// Whether it revoked the present admission.
    revoked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    None,
    /// Held until then; over, if that has passed.
    Granted {
        until: Tick,
    },
    /// Not granted under this admission yet.
    Waiting {
        since: Tick,
    },
    Fenced,
}

impl Holder {
    /// A host that is not admitted yet. `lessors` is the whole fixed set.
    ///
    /// # Panics
    /// There must be between 1 and 64 lessors.
    #[must_use]
    pub fn new(boot: BootId, lessors: &[HostName], lease: Duration) -> Self {
        Self::with_rules(boot, lessors, lease, Rules::SOUND)
    }

    /// The same, keeping `rules`.
    ///
    /// # Panics
    /// There must be between 1 and 64 lessors.
    #[must_use]
    pub fn with_rules(boot: BootId, lessors: &[HostName], lease: Duration, rules: Rules) -> Self {
        assert!((1..=LESSORS_MAX).contains(&lessors.len()), "{} lessors; expected 1 to {LESSORS_MAX}", lessors.len());
        let lessors = lessors.iter().map(|name| Lessor { name: name.clone(), term: Term::default(), revoked: false });
        Self {
            boot,
            lease,
            rules,
            lessors: lessors.collect(),
            admission: Admission::NONE,
            standing: Standing::None,
            sent: Ring::new(),
            heard: [None; 2],
        }
    }

    /// All it knows, for the process that follows. Heartbeats that are not acknowledged yet are in it, so the
    /// acknowledgements that come in there count.
    #[must_use]
    pub fn memory(&self) -> HolderMemory {
        let grantor = |lessor: &Lessor| GrantorMemory { name: lessor.name.clone(), term: lessor.term.0, revoked: lessor.revoked };
        HolderMemory {
            boot: self.boot.0,
            admission: self.admission,
            lease: u64::try_from(self.lease.as_nanos()).unwrap_or(u64::MAX),
            standing: match self.standing {
                Standing::None => StandingMemory::None,
                Standing::Granted { until } => StandingMemory::Granted(until.0),
                Standing::Waiting { since } => StandingMemory::Waiting(since.0),
                Standing::Fenced => StandingMemory::Fenced,
            },
            lessors: self.lessors.iter().map(grantor).collect(),
            sent: self.sent.memory(),
            heard: self.heard.map(|heard| heard.map(|at| at.0)),
        }
    }

    /// Goes on where another process of this boot stopped, which must send no more. `None`, and nothing changed, if
    /// that was of another boot or counted with other lessors.
    #[must_use]
    pub fn resume(mut self, memory: &HolderMemory) -> Option<Self> {
        let names = self.lessors.iter().map(|lessor| &lessor.name);
        if memory.boot != self.boot.0 || !names.eq(memory.lessors.iter().map(|lessor| &lessor.name)) {
            return None;
        }
        for (lessor, known) in self.lessors.iter_mut().zip(&memory.lessors) {
            (lessor.term, lessor.revoked) = (Term(known.term), known.revoked);
        }
        self.admission = memory.admission;
        self.standing = match memory.standing {
            StandingMemory::None => Standing::None,
            StandingMemory::Granted(until) => Standing::Granted { until: Tick(until) },
            StandingMemory::Waiting(since) => Standing::Waiting { since: Tick(since) },
            StandingMemory::Fenced => Standing::Fenced,
        };
        // What was sent said how long its lease lasts: nothing longer comes of it.
        self.sent = if self.lease == Duration::from_nanos(memory.lease) { Ring::resume(&memory.sent) } else { Ring::new() };
        self.heard = memory.heard.map(|heard| heard.map(Tick));
        Some(self)
    }

    /// What the next heartbeat is to carry.
    #[must_use]
    pub const fn admission(&self) -> Admission {
        self.admission
    }

    /// The host was let in under `admission`, and runs nothing any more that is not its own. A lease that is
    /// held goes on; otherwise the gate stays shut until a majority grants a heartbeat of this admission. A number
    /// that is not above the present one changes nothing.
    ///
    /// Also for a process that was started anew within one boot, with the admission that its predecessor had.
    pub fn admitted(&mut self, admission: Admission, now: Tick) {
        if admission <= self.admission {
            return;
        }
        self.settle(now);
        self.standing = match self.standing {
            Standing::Granted { until } if now < until => Standing::Granted { until },
            Standing::None | Standing::Granted { .. } | Standing::Waiting { .. } | Standing::Fenced => Standing::Waiting { since: now },
        };
        self.admission = admission;
        self.sent = Ring::new();
        self.lessors.iter_mut().for_each(|lessor| lessor.revoked = false);
    }

    /// A heartbeat goes out, at most on every fabric once. `at` must be read before it is sent.
    pub fn sent(&mut self, sequence: u64, at: Tick) {
        self.settle(at);
        self.sent.push(sequence, at);
    }

    /// An acknowledgement whose authenticity was checked came in.
    pub fn ack(&mut self, ack: &Ack, now: Tick) -> Outcome {
        if ack.boot != self.boot {
            return Outcome::Ignored(Ignored::OtherBoot);
        }
        self.heard[ack.fabric as usize] = Some(now);
        let Some(number) = self.lessors.iter().position(|lessor| lessor.name == ack.lessor) else {
            return Outcome::Ignored(Ignored::Stranger);
        };
        self.settle(now);
        let seen_before = self.lessors[number].term;
        self.lessors[number].term = seen_before.max(ack.term);
        if ack.admission != self.admission || self.admission == Admission::NONE {
            return Outcome::Ignored(Ignored::OtherAdmission);
        }
        match ack.verdict {
            Verdict::NotReady => Outcome::Ignored(Ignored::NotReady),
            Verdict::Revoked => self.revoked(number, now),
            Verdict::Granted if self.standing == Standing::Fenced => Outcome::Ignored(Ignored::Fenced),
            Verdict::Granted if self.lessors[number].revoked => Outcome::Ignored(Ignored::Forgetful),
            Verdict::Granted if self.is_behind(ack.term, seen_before) => Outcome::Ignored(Ignored::Forgetful),
            Verdict::Granted => self.granted(number, ack.sequence, now),
        }
    }

    fn is_behind(&self, term: Term, seen_before: Term) -> bool {
        !self.rules.breaks(Mutant::StaleTermCounts) && term < seen_before.max(self.term_floor())
    }

    /// The highest term that a majority of the lessors was seen with; who is below it does not count.
    #[must_use]
    pub fn term_floor(&self) -> Term {
        let majority = self.rules.majority(self.lessors.len());
        let reached = |term: Term| self.lessors.iter().filter(|lessor| lessor.term >= term).count() >= majority;
        self.lessors.iter().map(|lessor| lessor.term).filter(|term| reached(*term)).max().unwrap_or_default()
    }

    fn revoked(&mut self, number: usize, now: Tick) -> Outcome {
        self.lessors[number].revoked = true;
        let all = self.lessors.iter().filter(|lessor| lessor.revoked).count();
        let held = matches!(self.state(now), State::Held { .. });
        if held && all < self.rules.majority(self.lessors.len()) {
            return Outcome::Doubted;
        }
        if self.standing == Standing::Fenced {
            return Outcome::Ignored(Ignored::Fenced);
        }
        self.standing = Standing::Fenced;
        Outcome::Fenced
    }

    fn granted(&mut self, number: usize, sequence: u64, now: Tick) -> Outcome {
        let Some((sent_at, granted)) = self.sent.grant(sequence, number) else {
            return Outcome::Ignored(Ignored::UnknownHeartbeat);
        };
        if granted < self.rules.majority(self.lessors.len()) {
            return Outcome::Counted;
        }
        let counted_from = if self.rules.breaks(Mutant::LeaseFromReceipt) { now } else { sent_at };
        let until = counted_from.plus(self.lease);
        let before = match self.standing {
            Standing::Granted { until } => Some(until),
            Standing::None | Standing::Waiting { .. } | Standing::Fenced => None,
        };
        // The deadline never goes back, and one that has passed opens nothing.
        if until <= now || before.is_some_and(|before| until <= before) {
            return Outcome::Counted;
        }
        self.standing = Standing::Granted { until };
        if before.is_some_and(|before| now < before) { Outcome::Renewed { until } } else { Outcome::Opened { until } }
    }

    /// A lease that ran out while some lessor had revoked it is over for good.
    fn settle(&mut self, now: Tick) {
        if self.state(now) == State::Fenced {
            self.standing = Standing::Fenced;
        }
    }

    /// How the lease stands.
    #[must_use]
    pub fn state(&self, now: Tick) -> State {
        let revoked = self.lessors.iter().any(|lessor| lessor.revoked);
        match self.standing {
            Standing::None => State::None,
            Standing::Granted { until } if now < until => State::Held { until },
            Standing::Granted { .. } | Standing::Waiting { .. } if revoked => State::Fenced,
            Standing::Granted { until: since } | Standing::Waiting { since } => State::Expired { since },
            Standing::Fenced => State::Fenced,
        }
    }

    /// Until when the gate may be open; `None` if it is to be shut at once. Never earlier than before, unless
    /// the host was fenced in between.
    #[must_use]
    pub fn deadline(&self) -> Option<Tick> {
        match self.standing {
            Standing::Granted { until } => Some(until),
            Standing::None | Standing::Waiting { .. } | Standing::Fenced => None,
        }
    }

    /// Whether the leader should let this host in anew: it was never let in, or is fenced, or a lessor has revoked
    /// its admission while it still holds its lease. The last is left behind by a revocation that nobody
    /// finished, and would otherwise wear the lease out.
    #[must_use]
    pub fn wants_admission(&self, now: Tick) -> bool {
        match self.state(now) {
            State::None | State::Fenced => true,
            State::Held { .. } | State::Expired { .. } => self.lessors.iter().any(|lessor| lessor.revoked),
        }
    }

    /// How long ago the last acknowledgement came in on `fabric`; for the next heartbeat.
    #[must_use]
    pub fn acknowledged(&self, fabric: Fabric, now: Tick) -> Option<Duration> {
        self.heard[fabric as usize].map(|heard| now.since(heard))
    }
}
