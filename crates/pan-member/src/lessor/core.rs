//! The lessor's side of leases.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, HostName};

use super::disk::{Disk, Durable, Ticket};
use super::host::Host;
use crate::frame::{BootId, Frame};
use crate::memory::LessorMemory;
use crate::profile::{Tenure, Timing};
use crate::replay::Novelty;
use crate::rules::{Mutant, Rules};
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{Ack, Ask, Heard, Message, Refused, Revoke, Revoked, Verdict};

/// Answers that wait for the disk. Leaders ask again, so one may go; a PAN's worth of deaths at once is what it
/// takes to fill it.
const WAITING_MAX: usize = 4096;

/// A heartbeat, as far as a lessor is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat<'a> {
    pub host: &'a HostName,
    pub fabric: Fabric,
    pub boot: BootId,
    pub sequence: u64,
    pub admission: Admission,
    /// How long the gate of its sender may stay open by an acknowledgement of it.
    pub tenure: Tenure,
    /// When the kernel received it, on the boot clock.
    pub received: Tick,
}

impl<'a> Heartbeat<'a> {
    /// The heartbeat of a decoded frame.
    #[must_use]
    pub fn of(frame: &'a Frame, received: Tick) -> Self {
        let Frame { host, fabric, boot, sequence, admission, .. } = frame;
        Self { host, fabric: *fabric, boot: *boot, sequence: *sequence, admission: *admission, tenure: frame.tenure(), received }
    }
}

/// What a lessor wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write `state` to the disk and make it durable, then call [`Lessor::persisted`]. Never two at once.
    Persist { state: Durable, ticket: Ticket },
    /// Send `message` to the controller `to`.
    Answer { to: HostName, message: Message },
}

/// Runs in the heartbeat process of each host of the lessor set. Acknowledges nothing before [`Lessor::load`] or
/// [`Lessor::begin`].
///
/// Before a request is handed in, all waiting heartbeats must be: otherwise a lessor that was stalled calls hosts silent
/// that are not.
#[derive(Debug, Clone)]
pub struct Lessor {
    name: HostName,
    /// How far clocks may be off, and what is left for everything else.
    timing: Timing,
    rules: Rules,
    ready: Option<Ready>,
    hosts: BTreeMap<HostName, Host>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Clone)]
struct Ready {
    disk: Disk,
    since: Tick,
    /// Whether another process of this host may have acknowledged before that.
    followed: bool,
}

#[derive(Debug, Clone)]
struct Waiting {
    needs: Ticket,
    request: Request,
}

#[derive(Debug, Clone)]
enum Request {
    Revoke(Revoke),
    Ask(Ask),
}

impl Lessor {
    /// A lessor that has not read its disk.
    #[must_use]
    pub fn new(name: HostName, timing: Timing) -> Self {
        Self::with_rules(name, timing, Rules::SOUND)
    }

    /// The same, keeping `rules`.
    #[must_use]
    pub fn with_rules(name: HostName, timing: Timing, rules: Rules) -> Self {
        Self { name, timing, rules, ready: None, hosts: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// What the disk holds. `now` must be read after the
    /// predecessor of this process has ended, for it may have acknowledged until then.
    pub fn load(&mut self, mut found: Durable, now: Tick) {
        if self.rules.breaks(Mutant::RevocationForgotten) {
            found.revoked.clear();
        }
        self.ready = Some(Ready { disk: Disk::read(found), since: now, followed: true });
    }

    /// On a host that was never a lessor, and has on its disk that it is one now: nobody was acknowledged before. Instead of
    /// [`Lessor::load`].
    pub fn begin(&mut self, now: Tick) {
        self.ready = Some(Ready { disk: Disk::read(Durable::default()), since: now, followed: false });
    }

    /// All it knows, for the process that follows, which goes on as the same lessor: until when whose gate may be open is
    /// in it, and which heartbeats came before. `None` while a write is under way, and before [`Lessor::load`]. Requests that
    /// wait for a disk that refuses are not in it: leaders ask again.
    #[must_use]
    pub fn memory(&self) -> Option<LessorMemory> {
        let Ready { disk, since, followed } = self.ready.as_ref().filter(|ready| !ready.disk.is_busy())?;
        let Durable { term, revoked } = disk.wanted().clone();
        Some(LessorMemory {
            term: term.0,
            revoked,
            stored_term: disk.stored_term().0,
            stored: disk.has(disk.needed()),
            since: since.0,
            followed: *followed,
            hosts: self.hosts.iter().map(|(name, host)| (name.clone(), host.memory())).collect(),
        })
    }

    /// Goes on where another process stopped, which must acknowledge no more. Instead of [`Lessor::load`].
    pub fn resume(&mut self, memory: &LessorMemory) {
        let wanted = Durable { term: Term(memory.term), revoked: memory.revoked.clone() };
        let disk = Disk::resume(wanted, Term(memory.stored_term), memory.stored);
        self.ready = Some(Ready { disk, since: Tick(memory.since), followed: memory.followed });
        self.hosts = memory.hosts.iter().map(|(name, host)| (name.clone(), Host::resume(host))).collect();
    }

    /// Whether [`Lessor::load`] was called.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// The highest term on the disk.
    #[must_use]
    pub fn term(&self) -> Term {
        self.ready.as_ref().map_or(Term::default(), |ready| ready.disk.stored_term())
    }

    /// A heartbeat whose authenticity was checked. Returns what to send back to the host, over the fabric it
    /// came from; `None` for one that came before. `now` is when it is judged.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat<'_>, now: Tick) -> Option<Ack> {
        let Heartbeat { host: name, fabric, boot, sequence, admission, tenure, received } = *heartbeat;
        let bound = self.bound_of(tenure);
        if !self.hosts.contains_key(name) {
            self.hosts.insert(name.clone(), Host::default());
        }
        let host = self.hosts.get_mut(name).expect("was inserted");
        let acknowledged = self.ready.as_ref().is_some_and(|ready| admission > ready.disk.revoked(name));
        match host.judge((boot, fabric, sequence), acknowledged.then_some(admission), (received, self.timing.suspect_after())) {
            Novelty::New | Novelty::NewBoot(_) => {}
            Novelty::Repeated | Novelty::Retired | Novelty::Stranger => return None,
        }
        host.heard = host.heard.max(Some(received));
        let verdict = match &self.ready {
            None => Verdict::NotReady,
            Some(_) if !acknowledged => Verdict::Revoked,
            Some(_) => {
                host.grant(admission, now.plus(bound));
                Verdict::Granted
            }
        };
        let (lessor, term) = (self.name.clone(), self.term());
        Some(Ack { lessor, term, boot, sequence, fabric, admission, verdict })
    }

    /// A leader's request to acknowledge a host no more. It holds at once.
    pub fn revoke(&mut self, revoke: Revoke, now: Tick) -> Vec<Effect> {
        self.request(Request::Revoke(revoke), now)
    }

    /// A leader's question who is heard.
    pub fn ask(&mut self, ask: Ask, now: Tick) -> Vec<Effect> {
        self.request(Request::Ask(ask), now)
    }

    fn request(&mut self, request: Request, now: Tick) -> Vec<Effect> {
        // Who has not read his disk has nothing to say; the leader asks again.
        let Some(ready) = &mut self.ready else { return Vec::new() };
        let disk = &mut ready.disk;
        if request.term() < disk.wanted().term {
            let refused = request.refused(&self.name, disk.wanted().term);
            return vec![refused];
        }
        disk.adopt(request.term());
        if let Request::Revoke(Revoke { host, through, .. }) = &request {
            disk.revoke(host, *through);
        }
        let needs = disk.needed();
        if disk.has(needs) {
            return self.answer(&request, now).into_iter().collect();
        }
        match self.waiting.iter_mut().find(|waiting| waiting.request.is_repeated_by(&request)) {
            // It waits for what it waited for, or other changes could put it off for ever.
            Some(waiting) => waiting.request = request,
            None => {
                self.waiting.truncate(WAITING_MAX - 1);
                self.waiting.push_back(Waiting { needs, request });
            }
        }
        self.write()
    }

    /// The write is durable.
    pub fn persisted(&mut self, ticket: Ticket, now: Tick) -> Vec<Effect> {
        let Some(ready) = &mut self.ready else { return Vec::new() };
        ready.disk.written(ticket);
        let disk = &ready.disk;
        let (done, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|waiting| disk.has(waiting.needs));
        self.waiting = waiting;
        let done: VecDeque<Waiting> = done;
        let mut effects: Vec<Effect> = done.iter().filter_map(|waiting| self.answer(&waiting.request, now)).collect();
        effects.extend(self.write());
        effects
    }

    /// The write did not succeed. It is tried again with the next request: leaders ask until they are answered.
    pub fn persist_failed(&mut self, ticket: Ticket) {
        if let Some(ready) = &mut self.ready {
            ready.disk.failed(ticket);
        }
    }

    fn write(&mut self) -> Vec<Effect> {
        let write = self.ready.as_mut().and_then(|ready| ready.disk.write());
        write.map(|(state, ticket)| Effect::Persist { state, ticket }).into_iter().collect()
    }

    fn answer(&self, request: &Request, now: Tick) -> Option<Effect> {
        let disk = &self.ready.as_ref()?.disk;
        // It may have waited for the disk while a later leader came.
        if request.term() < disk.wanted().term {
            return Some(request.refused(&self.name, disk.wanted().term));
        }
        let (lessor, term) = (self.name.clone(), disk.stored_term());
        Some(match request.clone() {
            Request::Revoke(Revoke { leader, nonce, host, through, .. }) => {
                let (open, heard) = (self.open(&host, through, now), self.silence(&host, now));
                let message = Message::Revoked(Revoked { lessor, term, nonce, host, through, open, heard });
                Effect::Answer { to: leader, message }
            }
            Request::Ask(Ask { leader, nonce, hosts, .. }) => {
                let ages = hosts.iter().map(|host| self.silence(host, now)).collect();
                Effect::Answer { to: leader, message: Message::Heard(Heard { lessor, term, nonce, ages }) }
            }
        })
    }

    fn bound_of(&self, tenure: Tenure) -> Duration {
        // Each host's own, or what this one would have chosen.
        let tenure = if self.rules.breaks(Mutant::OwnLeaseAssumed) { Tenure { lease: self.timing.lease, ..tenure } } else { tenure };
        self.timing.bound_of(tenure)
    }

    /// How long the host's gate may be open yet, at most, by acknowledgements of admissions up to `through`.
    fn open(&self, host: &HostName, through: Admission, now: Tick) -> Duration {
        let known = self.hosts.get(host).and_then(|host| host.open_until(through));
        // Before this process started, anything may have been acknowledged.
        let before = self.ready.as_ref().filter(|ready| ready.followed).map(|ready| ready.since.plus(self.bound_of(Tenure::LONGEST)));
        known.max(before).map_or(Duration::ZERO, |until| until.since(now))
    }

    fn silence(&self, host: &HostName, now: Tick) -> Duration {
        self.age(now, self.hosts.get(host).and_then(|host| host.heard))
    }

    /// How long ago `last` was, at least; before this process started, anything may have happened.
    fn age(&self, now: Tick, last: Option<Tick>) -> Duration {
        let start = self.ready.as_ref().map_or(now, |ready| ready.since);
        now.since(last.unwrap_or(start).max(start))
    }
}

impl Request {
    const fn term(&self) -> Term {
        match self {
            Self::Revoke(revoke) => revoke.term,
            Self::Ask(ask) => ask.term,
        }
    }

    fn refused(&self, lessor: &HostName, term: Term) -> Effect {
        let (to, nonce, asked) = match self {
            Self::Revoke(Revoke { leader, nonce, term, .. }) => (leader, *nonce, *term),
            Self::Ask(Ask { leader, nonce, term, .. }) => (leader, *nonce, *term),
        };
        let message = Message::Refused(Refused { lessor: lessor.clone(), term, nonce, asked });
        Effect::Answer { to: to.clone(), message }
    }

    fn is_repeated_by(&self, later: &Self) -> bool {
        match (self, later) {
            (Self::Revoke(one), Self::Revoke(other)) => {
                let what = |revoke: &Revoke| (revoke.term, revoke.host.clone(), revoke.through);
                one.leader == other.leader && what(one) == what(other)
            }
            (Self::Ask(one), Self::Ask(other)) => (&one.leader, one.term, &one.hosts) == (&other.leader, other.term, &other.hosts),
            (Self::Revoke(_), Self::Ask(_)) | (Self::Ask(_), Self::Revoke(_)) => false,
        }
    }
}
