//! The node's lease: acknowledgements in, the gate's deadline out. What counts is decided by [`Holder`].

use pan_api::beatcount::{BeatCount, BeatCounts};
use pan_linux::datagram::BeatSocket;
use pan_linux::gate::{Gate, GateKind, Renewal};
use pan_linux::netns::Netns;
use pan_member::frame::KeyRing;
use pan_member::lease::Outcome;
use pan_member::memory::HolderMemory;
use pan_member::wire::{ACK_BYTES_MAX, decode_ack};
use pan_member::{BootId, Frame, GateState, Holder, Tick, Timing, profile};
use pan_model::host_config::HostConfig;
use pan_model::{Admission, HostName};
use std::time::Duration;

use crate::boot::{LeaseNote, Mark, MarkSeen};
use crate::error::{Error, chain};
use crate::paths::{admission_file, lease_file};

/// Acknowledgements read of one socket before the next thing is done: more than ever wait.
const ROUND_MAX: usize = 256;

/// One node's lease and what it opens.
pub(super) struct Lease {
    holder: Option<Holder>,
    gate: Option<Gate>,
    /// This host's own.
    pub keys: KeyRing,
    /// The number that the agent lets us use.
    granted: MarkSeen,
    admission: Admission,
    /// What the agent was told last.
    told: Option<LeaseNote>,
    note: Mark,
    complained: bool,
    pub counts: BeatCounts,
}

impl Lease {
    /// Without lessors there is nobody to renew a lease, so there is no gate either.
    pub fn new(config: &HostConfig, boot: BootId, timing: &Timing, keys: KeyRing) -> Result<Self, Error> {
        let lessors: Vec<HostName> = config.lessors.iter().map(|lessor| lessor.name.clone()).collect();
        let holder = (!lessors.is_empty()).then(|| Holder::new(boot, &lessors, timing.lease));
        let gate = if holder.is_some() { open_gate(config) } else { None };
        Ok(Self {
            holder,
            gate,
            keys,
            granted: MarkSeen::new(admission_file(&config.run_dir)),
            admission: Admission::NONE,
            told: None,
            note: Mark::open(&lease_file(&config.run_dir))?,
            complained: false,
            counts: BeatCounts::default(),
        })
    }

    /// For the process that follows.
    pub fn memory(&self) -> (Admission, Option<HolderMemory>) {
        (self.admission, self.holder.as_ref().map(Holder::memory))
    }

    /// Goes on where the former process stopped. The gate is where that one left it, and its deadline in the kernel.
    /// False: that counted otherwise, and nothing can be taken over.
    pub fn resume(&mut self, admission: Admission, memory: Option<&HolderMemory>) -> bool {
        self.admission = admission;
        match (self.holder.take(), memory) {
            (Some(holder), Some(memory)) => self.holder = holder.resume(memory),
            (None, None) => return true,
            (Some(_), None) | (None, Some(_)) => {}
        }
        self.holder.is_some()
    }

    /// A heartbeat is about to be sent: takes up a new number, notes the time, and fills in how the lease stands.
    /// `now` must have been read before anything is sent.
    pub fn beat(&mut self, frame: &mut Frame, now: Tick) {
        let granted = Admission(self.granted.get().unwrap_or(0));
        if granted > self.admission {
            self.admission = granted;
        }
        frame.admission = self.admission;
        if let Some(holder) = &mut self.holder {
            holder.admitted(self.admission, now);
            holder.sent(frame.sequence, now);
            frame.term = holder.term_floor();
            frame.lease = holder.state(now).on_the_wire();
            frame.acknowledged = pan_model::host::Fabric::BOTH.map(|fabric| holder.acknowledged(fabric, now));
        }
        frame.gate = match self.gate.as_ref().map(Gate::kind) {
            None => GateState::None,
            Some(GateKind::Bpf) => GateState::Present(profile::Gate::Absolute),
            Some(GateKind::NftSet) => GateState::Present(profile::Gate::Relative),
        };
        let wants = self.holder.as_ref().is_some_and(|holder| holder.wants_admission(now));
        let note = LeaseNote { admission: self.admission, wants };
        if self.told != Some(note) && self.note.set(note.number()).is_ok() {
            self.told = Some(note);
        }
    }

    /// Takes the acknowledgements that wait.
    pub fn hear(&mut self, socket: &BeatSocket, now: impl Fn() -> Tick) {
        let mut buffer = [0; ACK_BYTES_MAX + 1];
        for _ in 0..ROUND_MAX {
            // An error is of an interface that went away; the next heartbeat finds that out.
            let Ok(Some(arrived)) = socket.receive(&mut buffer) else { break };
            // A forged or broken one is as good as none.
            let (Ok(ack), Some(holder)) = (decode_ack(&buffer[..arrived.bytes], &self.keys), &mut self.holder) else {
                self.counts.one(BeatCount::AcksBad);
                continue;
            };
            self.counts.one(BeatCount::AcksGood);
            let done = match holder.ack(&ack, now()) {
                Outcome::Opened { until } => {
                    self.counts.one(BeatCount::LeaseGranted);
                    self.open(until)
                }
                Outcome::Renewed { until } => {
                    self.counts.one(BeatCount::LeaseRenewed);
                    self.renew(until)
                }
                Outcome::Fenced => {
                    self.counts.one(BeatCount::LeaseFenced);
                    tracing::warn!(number = %self.admission, "fenced: the gate is shut until this host is admitted anew");
                    self.gate.as_ref().map_or(Ok(()), Gate::shut)
                }
                Outcome::Counted | Outcome::Doubted | Outcome::Ignored(_) => continue,
            };
            self.complain(done);
        }
    }

    fn open(&self, until: Tick) -> pan_linux::gate::Result<()> {
        tracing::info!(number = %self.admission, "the lease is granted: the gate opens");
        self.gate.as_ref().map_or(Ok(()), |gate| gate.reopen(Duration::from_nanos(until.0)))
    }

    fn renew(&self, until: Tick) -> pan_linux::gate::Result<()> {
        let Some(gate) = &self.gate else { return Ok(()) };
        match gate.renew(Duration::from_nanos(until.0))? {
            Renewal::Renewed => Ok(()),
            // Only its element timed out a moment early; the lease itself goes on.
            Renewal::Expired => gate.reopen(Duration::from_nanos(until.0)),
        }
    }

    fn complain(&mut self, done: pan_linux::gate::Result<()>) {
        match done {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::error!(error = chain(&error), "the gate cannot be set");
            }
            Err(_) => {}
        }
    }
}

/// A host without a gate still takes part; its heartbeats say so.
fn open_gate(config: &HostConfig) -> Option<Gate> {
    let opened = Netns::current().map_err(|error| chain(&error)).and_then(|netns| {
        let gate = crate::gate::open(config, &netns);
        gate.map_err(|error| chain(&error))
    });
    match opened {
        Ok(gate) => {
            tracing::info!(kind = %gate.kind(), refused = gate.bpf_refused(), "the gate");
            Some(gate)
        }
        Err(error) => {
            tracing::error!(error, "this host has no gate: nothing keeps its servers from sending once it is fenced");
            None
        }
    }
}
