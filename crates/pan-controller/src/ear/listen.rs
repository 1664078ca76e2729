//! The ear's thread: everything that arrived is heard before anybody is judged.

use super::fencing::Fencing;
use super::leases::Leases;
use super::outbox::Outbox;
use super::speak::Speaker;
use super::{Asker, Known, Order};
use crate::core::hosts::LifeChange;
use crate::handle::Message as ToLoop;
use crate::metrics::{Metrics, Reason, unreadable};
use crate::owner::GRACE;
use pan_linux::datagram::{self, Waker};
use pan_member::frame::{FRAME_BYTES_MAX, KeyRing, host_key};
use pan_member::leadership::{Effect, Taken};
use pan_member::wire::{Family, MESSAGE_BYTES_MAX, decode, family};
use pan_member::{
    Beat, BootId, Campaign, Candidate, Change, Detector, Frame, LeaderRecord, Message, Nonce, Rules, Tick, Timing, lessor_key,
};
use pan_model::host::{Fabric, Link};
use pan_model::host_config::PeerAddress;
use pan_model::{Admission, HostName};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Longest sleep: a bound on what a mistaken deadline can cost.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// The same while the loop has no room for what it is to be told.
const SLEEP_FULL: Duration = Duration::from_millis(2);

/// Datagrams read of one socket before hosts are judged: far more than a round of a large PAN, so that only a flood is cut.
const ROUND_MAX: usize = 20_000;

/// What the ear needs.
pub(crate) struct Setup {
    pub me: HostName,
    /// Which process of this controller.
    pub instance: BootId,
    /// Random numbers that questions count up from.
    pub nonces: [Nonce; 2],
    pub timing: Timing,
    /// This host's addresses on the fabrics.
    pub fabrics: [IpAddr; 2],
    /// The key from which all are derived.
    pub root: [u8; 32],
    pub controllers: Vec<PeerAddress>,
    pub lessors: Vec<PeerAddress>,
    pub protected: Arc<AtomicUsize>,
    pub waker: Waker,
    pub orders: Receiver<Order>,
    pub metrics: Arc<Metrics>,
    /// The loop's way for what is heard, which it takes before all else.
    pub inbox: Sender<ToLoop>,
    /// Has the leader's record read.
    pub record: Asker,
}

/// The loop is gone.
pub(super) struct Over;

/// Hears until the loop is gone.
///
/// # Errors
/// When a fabric's address cannot be bound, or the kernel refuses to wait.
pub(crate) fn run(setup: Setup) -> std::io::Result<()> {
    let mut listener = Listener::new(setup)?;
    loop {
        let now = Tick(datagram::boot_clock());
        let sleep = listener.next_deadline().since(now).min(if listener.out.is_empty() { SLEEP_MAX } else { SLEEP_FULL });
        datagram::wait(&listener.speaker.sockets, &listener.waker, sleep)?;
        if listener.round().is_err() {
            return Ok(());
        }
    }
}

struct Listener {
    speaker: Speaker,
    waker: Waker,
    orders: Receiver<Order>,
    inbox: Sender<ToLoop>,
    record: Asker,
    root: [u8; 32],
    /// From which every host's keys are derived at present.
    pan: KeyRing,
    detector: Detector,
    campaign: Campaign,
    fencing: Fencing,
    protected: Arc<AtomicUsize>,
    known: BTreeMap<HostName, Known>,
    /// Only hosts that joined have a key kept: a forged name costs a derivation, not memory.
    keys: BTreeMap<HostName, KeyRing>,
    out: Outbox<ToLoop>,
    changes: Vec<LifeChange>,
    leases: Leases,
    dropped: u64,
    metrics: Arc<Metrics>,
}

impl Listener {
    fn new(setup: Setup) -> std::io::Result<Self> {
        let now = Tick(datagram::boot_clock());
        let settings = pan_member::Settings { timing: setup.timing, grace: GRACE, protected_failures: 1 };
        let names = |all: &[PeerAddress]| all.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        let candidate = Candidate {
            me: setup.me.clone(),
            instance: setup.instance,
            controllers: names(&setup.controllers),
            timing: setup.timing,
            nonce: setup.nonces[0],
            rules: Rules::SOUND,
        };
        let fencing = Fencing::new(setup.me.clone(), names(&setup.lessors), setup.timing, setup.nonces[1]);
        let pan = KeyRing::at(&setup.root, 0, 0);
        let detector = Detector::new(settings, now).on(setup.me.clone());
        Ok(Self {
            speaker: Speaker::bind(setup.me, &setup.fabrics, pan.derive(lessor_key), &setup.controllers, &setup.lessors)?,
            waker: setup.waker,
            orders: setup.orders,
            inbox: setup.inbox,
            record: setup.record,
            root: setup.root,
            pan,
            detector,
            campaign: Campaign::new(candidate, now),
            fencing,
            protected: setup.protected,
            known: BTreeMap::new(),
            keys: BTreeMap::new(),
            out: Outbox::default(),
            changes: Vec::new(),
            leases: Leases::new(setup.timing.lease),
            dropped: 0,
            metrics: setup.metrics,
        })
    }

    fn next_deadline(&self) -> Tick {
        let own = self.detector.next_deadline().min(self.campaign.next_deadline());
        self.fencing.next_deadline().map_or(own, |fencing| own.min(fencing))
    }

    fn round(&mut self) -> Result<(), Over> {
        if self.obey().is_err() {
            return Err(Over);
        }
        self.hear();
        self.judge();
        self.out.life(std::mem::take(&mut self.changes), Tick(datagram::boot_clock()));
        self.tell()
    }

    /// As much as the loop has room for; it is never waited for.
    fn tell(&mut self) -> Result<(), Over> {
        loop {
            let room = match self.inbox.try_reserve() {
                Ok(room) => room,
                Err(TrySendError::Full(())) => return Ok(()),
                Err(TrySendError::Closed(())) => return Err(Over),
            };
            match self.out.pop() {
                Some(message) => room.send(message),
                None => return Ok(()),
            }
        }
    }

    fn obey(&mut self) -> Result<(), Over> {
        loop {
            let order = match self.orders.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Over),
            };
            let now = Tick(datagram::boot_clock());
            match order {
                Order::Hosts(known) => self.hosts(known, now),
                Order::Keys { current, newest } => self.rekey(KeyRing::at(&self.root, current, newest)),
                Order::Fence { host, through, term } => self.changes.extend(self.fencing.begin(host, through, term)),
                Order::Unfence { host } => self.fencing.end(&host),
                Order::Record(record) => self.observed(record, now),
                Order::Taken(taken) => self.taken(taken, now),
                Order::Stored => self.campaign.store_reached(now),
                Order::Resigned => {
                    let effects = self.campaign.commit_refused(now);
                    self.lead_or_follow(effects);
                }
            }
        }
    }

    fn observed(&mut self, record: Option<LeaderRecord>, now: Tick) {
        let effects = self.campaign.observed(record, now);
        self.lead_or_follow(effects);
    }

    fn taken(&mut self, taken: Taken, now: Tick) {
        let effects = self.campaign.taken(taken, now);
        self.lead_or_follow(effects);
    }

    fn hosts(&mut self, known: BTreeMap<HostName, Known>, now: Tick) {
        for host in known.keys().filter(|host| !self.known.contains_key(*host)) {
            self.keys.insert(host.clone(), self.pan.derive(|key| host_key(key, host)));
            self.detector.add_host(host.clone(), now);
        }
        for host in self.known.keys().filter(|host| !known.contains_key(*host)) {
            self.keys.remove(host);
            self.leases.forget(host);
            self.detector.remove_host(host);
        }
        self.known = known;
    }

    fn rekey(&mut self, pan: KeyRing) {
        self.pan = pan;
        self.speaker.keys = pan.derive(lessor_key);
        for (host, keys) in &mut self.keys {
            *keys = pan.derive(|key| host_key(key, host));
        }
    }

    fn hear(&mut self) {
        for at in 0..self.speaker.sockets.len() {
            let mut buffer = [0; if FRAME_BYTES_MAX > MESSAGE_BYTES_MAX { FRAME_BYTES_MAX } else { MESSAGE_BYTES_MAX } + 1];
            for _ in 0..ROUND_MAX {
                let arrived = match self.speaker.sockets[at].receive(&mut buffer) {
                    Ok(Some(arrived)) => arrived,
                    Ok(None) => break,
                    // Of memory, say: whoever ended here would be deaf for good.
                    Err(error) => {
                        tracing::warn!(%error, "a datagram could not be received");
                        break;
                    }
                };
                let (bytes, received) = (&buffer[..arrived.bytes], Tick(arrived.at));
                // In the order in which they were bound.
                let fabric = Fabric::BOTH[at.min(1)];
                let (error, reason) = match family(bytes) {
                    Some(Family::Heartbeat) => match self.decode(bytes) {
                        Ok(frame) => {
                            self.beat(&frame, received);
                            continue;
                        }
                        Err(error) => (error.to_string(), unreadable(&error)),
                    },
                    Some(Family::Message) => match decode(bytes, &self.speaker.keys) {
                        Ok(message) => {
                            self.message(&message);
                            continue;
                        }
                        Err(error) => (error.to_string(), Reason::Forged),
                    },
                    Some(Family::Ack) | None => ("it is nothing that a controller is sent".into(), Reason::UnknownFormat),
                };
                self.metrics.dropped(fabric, reason);
                self.dropped += 1;
                if self.dropped.is_power_of_two() {
                    tracing::warn!(dropped = self.dropped, error, "a datagram was dropped");
                }
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Frame, pan_member::FrameError> {
        Frame::decode(bytes, |name| {
            let name = HostName::new(name).ok()?;
            Some(self.keys.get(&name).copied().unwrap_or_else(|| self.pan.derive(|key| host_key(key, &name))))
        })
    }

    fn beat(&mut self, frame: &Frame, received: Tick) {
        if self.known.get(&frame.host).is_some_and(|known| speaks_for_the_dead(known, frame.admission)) {
            self.metrics.dropped(frame.fabric, Reason::Revoked);
            return;
        }
        let before = self.detector.counters();
        let changes = self.detector.on_beat(&Beat::of(frame, received));
        self.changes.extend(changes.into_iter().filter_map(|change| translate(change, received)));
        self.metrics.heard(frame.fabric, before, self.detector.counters());
        if self.detector.counters() == before {
            self.changes.extend(self.leases.heard(frame));
        }
    }

    fn message(&mut self, message: &Message) {
        let now = Tick(datagram::boot_clock());
        match message {
            Message::PreVoteAsk(ask) => {
                let say = self.campaign.asked(ask, now);
                self.speaker.to_controller(&ask.candidate, &Message::PreVoteSay(say));
            }
            Message::PreVoteSay(say) => {
                let effects = self.campaign.said(say);
                self.lead_or_follow(effects);
            }
            Message::LeaderBeat(beat) => {
                let effects = self.campaign.beat(beat, now);
                self.lead_or_follow(effects);
            }
            Message::Revoked(_) | Message::Refused(_) | Message::Heard(_) => {
                let heard = self.fencing.answer(message, now);
                if let Some(term) = heard.deposed {
                    let effects = self.campaign.later_term(term, now);
                    self.lead_or_follow(effects);
                }
                if let Some(lessor) = heard.forgotten {
                    tracing::warn!(%lessor, "this lessor has forgotten the term, so its disk is new or an older copy: another term begins");
                    let effects = self.campaign.forgotten(now);
                    self.lead_or_follow(effects);
                }
                if let Some(silent) = heard.confirmed {
                    let deaths = self.detector.confirm(&silent, now);
                    self.changes.extend(deaths.into_iter().filter_map(|change| translate(change, now)));
                }
            }
            // For lessors.
            Message::Revoke(_) | Message::Ask(_) => {}
        }
    }

    fn judge(&mut self) {
        self.detector.set_protected_failures(self.protected.load(Ordering::Relaxed));
        let now = Tick(datagram::boot_clock());
        // A large PAN's heartbeats wake this thread thousands of times a second; its hosts are gone through when it is time.
        if self.detector.is_due(now) {
            let judged = self.detector.tick(now);
            self.changes.extend(judged.into_iter().filter_map(|change| translate(change, now)));
        }
        let mut effects = self.campaign.tick(now, getrandom::u64().unwrap_or(now.0));
        if self.detector.is_deaf() {
            effects.extend(self.campaign.deaf(now));
        }
        self.lead_or_follow(effects);
        self.fencing.held(&self.detector.held(now));
        for (lessor, message) in self.fencing.due(now) {
            self.speaker.to_lessor(&lessor, &message);
        }
        self.changes.extend(self.fencing.over(now));
    }

    fn lead_or_follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                // A leader whose loop stands still is not to go on leading by what somebody else reads.
                Effect::ReadRecord if self.campaign.leads() => self.out.push(ToLoop::ReadRecord),
                Effect::ReadRecord => self.record.ask(),
                Effect::AskPreVotes(ask) => self.speaker.to_controllers(&Message::PreVoteAsk(ask)),
                Effect::TakeRecord { expected, term } => {
                    self.out.push(ToLoop::Take { expected: expected.map_or(0, |revision| revision.0), term: term.0 });
                }
                Effect::Beat(beat) => self.speaker.to_controllers(&Message::LeaderBeat(beat)),
                Effect::Lead { term, .. } => {
                    self.fencing.lead(term);
                    self.out.push(ToLoop::Lead { term: term.0 });
                }
                Effect::StepDown(reason) => {
                    self.fencing.resign();
                    self.out.push(ToLoop::StepDown { reason: format!("{reason:?}") });
                }
                Effect::Resume { .. } | Effect::Follow { .. } => {}
            }
        }
    }
}

/// Whether a heartbeat is of a node whose death was decided, or that was not admitted yet: it does not live in the
/// PAN's sense, whatever it sends.
#[must_use]
pub fn speaks_for_the_dead(known: &Known, admission: Admission) -> bool {
    known.revoked.is_some_and(|revoked| admission <= revoked)
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// What the loop is told of a change, noticed at `now`; `None` for what it has no use for.
#[must_use]
pub fn translate(change: Change, now: Tick) -> Option<LifeChange> {
    Some(match change {
        Change::Alive { host, lag, .. } => LifeChange::Alive(host, lag),
        Change::Suspect { host, silent_for } => LifeChange::Suspect(host, micros(silent_for)),
        Change::Dead { host, last_heard } => LifeChange::Dead(host, last_heard.map_or(0, |heard| micros(now.since(heard)))),
        Change::Rebooted { host, .. } => LifeChange::Rebooted(host),
        Change::FabricUp { host, fabric } => LifeChange::Fabric(host, fabric, Link::Up),
        Change::FabricDown { host, fabric, .. } => LifeChange::Fabric(host, fabric, Link::Down),
        Change::AgentDown { host, .. } => LifeChange::Agent(host, false),
        Change::AgentUp { host } => LifeChange::Agent(host, true),
        Change::Brake { hosts, .. } => LifeChange::Brake(hosts),
        Change::BrakeReleased { .. } => return None,
    })
}

#[cfg(test)]
mod tests;
