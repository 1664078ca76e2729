//! The lessor's sockets and disk around [`Lessor`], which decides whom to acknowledge.

use pan_api::beatcount::{BeatCount, BeatCounts};
use pan_linux::datagram::{BeatSocket, Waker};
use pan_member::frame::{FRAME_BYTES_MAX, Key, KeyRing, host_key};
use pan_member::lessor::{Effect, Heartbeat, Ticket};
use pan_member::memory::LessorMemory;
use pan_member::wire::{ACK_BYTES_MAX, Family, MESSAGE_BYTES_MAX, decode, encode, encode_ack, family};
use pan_member::{Frame, Lessor, Message, Tick, Timing, lessor_key};
use pan_model::HostName;
use pan_model::host::Role;
use pan_model::host_config::{BEAT_PORT, HostConfig, LESSOR_PORT};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::handover::{Descriptor, Taking};
use super::keep::Keeper;
use crate::error::{Error, chain};

/// Datagrams read of one socket before the next thing is done: a round of a large PAN.
const ROUND_MAX: usize = 20_000;
/// Pause before a socket is made again.
const OPEN_AGAIN: Duration = Duration::from_millis(100);

/// This host as one of those that grant leases.
pub(super) struct LessorPart {
    core: Lessor,
    keeper: Keeper,
    pan: KeyRing,
    /// Between lessors and controllers.
    between: KeyRing,
    addresses: [SocketAddr; 2],
    sockets: [Option<BeatSocket>; 2],
    open_at: Tick,
    /// Keys of hosts that proved theirs.
    keys: BTreeMap<HostName, KeyRing>,
    controllers: BTreeMap<HostName, [SocketAddr; 2]>,
    dropped: u64,
    pub counts: BeatCounts,
}

impl LessorPart {
    /// `None`: this host is no lessor. It acknowledges nothing before [`LessorPart::first`] or [`LessorPart::resume`].
    pub fn new(config: &HostConfig, timing: Timing, pan: KeyRing, waker: Waker) -> Result<Option<Self>, Error> {
        if !config.lessors.iter().any(|lessor| lessor.name == config.name) {
            return Ok(None);
        }
        let keeper = Keeper::prepare(&config.state_dir, waker)?;
        let core = Lessor::new(config.name.clone(), timing);
        let fabrics = [&config.fabrics.a, &config.fabrics.b];
        let book = |one: &pan_model::host_config::PeerAddress| (one.name.clone(), [one.a, one.b].map(|at| SocketAddr::new(at, BEAT_PORT)));
        Ok(Some(Self {
            core,
            keeper,
            pan,
            between: pan.derive(lessor_key),
            addresses: fabrics.map(|fabric| SocketAddr::new(fabric.address.addr(), LESSOR_PORT)),
            sockets: [None, None],
            open_at: Tick(0),
            keys: BTreeMap::new(),
            controllers: config.controllers.iter().map(book).collect(),
            dropped: 0,
            counts: BeatCounts::default(),
        }))
    }

    /// Nobody was before, or is not any more: reads the disk.
    pub fn first(&mut self, now: impl Fn() -> Tick) -> Result<(), Error> {
        match self.keeper.open()? {
            Some(found) => self.core.load(found, now()),
            None => self.core.begin(now()),
        }
        Ok(())
    }

    /// Goes on where the former process stopped. False: something did not come along.
    pub fn resume(&mut self, memory: &LessorMemory, taking: &mut Taking) -> bool {
        let Some(lock) = taking.take(Descriptor::LessorLock) else { return false };
        self.keeper.adopt(lock);
        self.core.resume(memory);
        self.sockets = [Descriptor::LessorA, Descriptor::LessorB].map(|which| taking.take(which).map(BeatSocket::adopt));
        true
    }

    /// For the process that follows; `None` while the disk is at work.
    pub fn memory(&self) -> Option<LessorMemory> {
        self.core.memory()
    }

    /// Likewise.
    pub fn descriptors(&self) -> Vec<(Descriptor, BorrowedFd<'_>)> {
        let names = [Descriptor::LessorA, Descriptor::LessorB];
        let sockets = names.into_iter().zip(&self.sockets).filter_map(|(name, socket)| Some((name, socket.as_ref()?.as_fd())));
        sockets.chain(self.keeper.lock().map(|lock| (Descriptor::LessorLock, lock))).collect()
    }

    /// Other keys are good from now on.
    pub fn rekey(&mut self, pan: KeyRing) {
        self.pan = pan;
        self.between = pan.derive(lessor_key);
        for (host, keys) in &mut self.keys {
            *keys = pan.derive(|key| host_key(key, host));
        }
    }

    /// The sockets there are at present.
    pub fn sockets(&self) -> impl Iterator<Item = &BeatSocket> {
        self.sockets.iter().flatten()
    }

    /// Makes the sockets that are missing: an interface may come late.
    pub fn open(&mut self, now: Tick) {
        if now < self.open_at || self.sockets.iter().all(Option::is_some) {
            return;
        }
        self.open_at = now.plus(OPEN_AGAIN);
        for (socket, address) in self.sockets.iter_mut().zip(self.addresses) {
            if socket.is_none() {
                match BeatSocket::bind(address) {
                    Ok(made) => *socket = Some(made),
                    Err(error) => tracing::warn!(%address, %error, "cannot listen for heartbeats; trying on"),
                }
            }
        }
    }

    /// Takes everything that waits: heartbeats first, then what the disk has done, so that no host is called silent
    /// whose heartbeat was only not read yet.
    pub fn hear(&mut self, now: impl Fn() -> Tick) {
        let mut questions = Vec::new();
        for at in 0..self.sockets.len() {
            self.hear_socket(at, &now, &mut questions);
        }
        let mut effects = Vec::new();
        for question in questions {
            match question {
                Message::Revoke(revoke) => effects.extend(self.core.revoke(revoke, now())),
                Message::Ask(ask) => effects.extend(self.core.ask(ask, now())),
                // For controllers.
                Message::Revoked(_)
                | Message::Refused(_)
                | Message::Heard(_)
                | Message::LeaderBeat(_)
                | Message::PreVoteAsk(_)
                | Message::PreVoteSay(_) => {}
            }
        }
        while let Some((ticket, written)) = self.keeper.done() {
            effects.extend(self.kept(ticket, written, now()));
        }
        for effect in effects {
            match effect {
                Effect::Persist { state, ticket } => self.keeper.keep(state, ticket),
                Effect::Answer { to, message } => {
                    if matches!(message, Message::Revoked(_)) {
                        self.counts.one(BeatCount::Revoked);
                    }
                    self.answer(&to, &message);
                }
            }
        }
    }

    fn kept(&mut self, ticket: Ticket, written: Result<(), Error>, now: Tick) -> Vec<Effect> {
        match written {
            Ok(()) => self.core.persisted(ticket, now),
            Err(error) => {
                tracing::error!(error = chain(&error), "a revocation cannot be written down, so it is not confirmed");
                self.counts.one(BeatCount::DiskFailed);
                self.core.persist_failed(ticket);
                Vec::new()
            }
        }
    }

    fn hear_socket(&mut self, at: usize, now: &impl Fn() -> Tick, questions: &mut Vec<Message>) {
        let mut buffer = [0; if FRAME_BYTES_MAX > MESSAGE_BYTES_MAX { FRAME_BYTES_MAX } else { MESSAGE_BYTES_MAX } + 1];
        for _ in 0..ROUND_MAX {
            let arrived = match self.sockets[at].as_ref().map_or(Ok(None), |socket| socket.receive(&mut buffer)) {
                Ok(Some(arrived)) => arrived,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(address = %self.addresses[at], %error, "listening for heartbeats anew");
                    self.sockets[at] = None;
                    break;
                }
            };
            let bytes = &buffer[..arrived.bytes];
            match family(bytes) {
                Some(Family::Heartbeat) => match self.decode(bytes) {
                    Ok((frame, key)) => self.acknowledge(at, (&frame, &key), Tick(arrived.at), arrived.from, now()),
                    Err(error) => self.drop_one(dropped_for(&error), &error),
                },
                Some(Family::Message) => match decode(bytes, &self.between) {
                    Ok(message) => questions.push(message),
                    Err(error) => self.drop_one(BeatCount::DroppedForged, &error),
                },
                Some(Family::Ack) | None => self.drop_one(BeatCount::DroppedFormat, &"it is nothing that a lessor is sent"),
            }
        }
    }

    fn drop_one(&mut self, reason: BeatCount, error: &dyn std::fmt::Display) {
        self.counts.one(reason);
        self.dropped += 1;
        if self.dropped.is_power_of_two() {
            tracing::warn!(dropped = self.dropped, %error, "a datagram was dropped");
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<(Frame, Key), pan_member::FrameError> {
        let key_of = |name: &str| {
            let name = HostName::new(name).ok()?;
            Some(self.keys.get(&name).copied().unwrap_or_else(|| self.pan.derive(|key| host_key(key, &name))))
        };
        let (frame, key) = Frame::open(bytes, key_of)?;
        if !self.keys.contains_key(&frame.host) {
            self.keys.insert(frame.host.clone(), self.pan.derive(|key| host_key(key, &frame.host)));
        }
        Ok((frame, key))
    }

    fn acknowledge(&mut self, at: usize, (frame, key): (&Frame, &Key), received: Tick, from: Option<SocketAddr>, now: Tick) {
        let ack = self.core.heartbeat(&Heartbeat::of(frame, received), now);
        // Only a node has a lease to renew.
        if !frame.roles.has(Role::Node) {
            return;
        }
        self.counts.one(match (at, &ack) {
            (0, Some(_)) => BeatCount::AckedA,
            (_, Some(_)) => BeatCount::AckedB,
            (0, None) => BeatCount::RefusedA,
            (_, None) => BeatCount::RefusedB,
        });
        let (Some(ack), Some(from), Some(socket)) = (ack, from, &self.sockets[at]) else { return };
        let mut out = [0; ACK_BYTES_MAX];
        // Under the key that it used itself: whatever it has missed, it has that one.
        let length = encode_ack(&ack, key, &mut out);
        if let Err(error) = socket.send(&out[..length], from) {
            tracing::debug!(%from, %error, "an acknowledgement was not sent");
        }
    }

    fn answer(&self, to: &HostName, message: &Message) {
        let mut out = [0; MESSAGE_BYTES_MAX];
        let length = encode(message, self.between.current(), &mut out);
        let addresses = self.controllers.get(to).into_iter().flatten();
        for (socket, address) in self.sockets.iter().zip(addresses) {
            if let Some(Err(error)) = socket.as_ref().map(|socket| socket.send(&out[..length], *address)) {
                tracing::debug!(%address, %error, "an answer was not sent");
            }
        }
    }
}

/// Why a heartbeat that cannot be read is dropped.
fn dropped_for(error: &pan_member::FrameError) -> BeatCount {
    use pan_member::FrameError::{BadMac, BadMagic, Length, Malformed, UnknownHost, Version};
    match error {
        BadMac { .. } | UnknownHost { .. } => BeatCount::DroppedForged,
        BadMagic | Version { .. } | Length { .. } | Malformed { .. } => BeatCount::DroppedFormat,
    }
}
