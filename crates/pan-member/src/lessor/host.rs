//! What a lessor remembers of one host while it runs.

use std::time::Duration;

use pan_model::Admission;
use pan_model::host::Fabric;

use crate::frame::BootId;
use crate::memory::HostMemory;
use crate::replay::{Claim, Novelty, Replay};
use crate::tick::Tick;

#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    pub(super) replay: Replay,
    /// Of boots that hold no number, or one below that of the present boot.
    strangers: Replay,
    /// The last heartbeat, whatever was said to it.
    pub(super) heard: Option<Tick>,
    /// The last one of the present boot.
    present_heard: Option<Tick>,
    /// The highest admission that was ever acknowledged, and until when the host's gate may be open by that.
    granted: Option<(Admission, Tick)>,
    /// Until when it may be by earlier ones.
    granted_before: Option<Tick>,
}

impl Host {
    pub(super) fn memory(&self) -> HostMemory {
        let (boot, retired, sequences) = self.replay.memory();
        HostMemory {
            boot,
            retired,
            sequences,
            heard: self.heard.map(|at| at.0),
            open: self.granted.map(|(admission, until)| (admission, until.0)),
            open_before: self.granted_before.map(|until| until.0),
        }
    }

    pub(super) fn resume(memory: &HostMemory) -> Self {
        Self {
            replay: Replay::resume(memory.boot, &memory.retired, memory.sequences),
            strangers: Replay::default(),
            heard: memory.heard.map(Tick),
            present_heard: memory.heard.map(Tick),
            granted: memory.open.map(|(admission, until)| (admission, Tick(until))),
            granted_before: memory.open_before.map(Tick),
        }
    }

    /// Judges a heartbeat that was received `at`, of an admission that is acknowledged or not; a host is `silent` after so long. Only who may
    /// take the place of the present boot does: whoever holds a higher number, and, where the present one is silent, whoever holds the
    /// same and is not known, or was put out of that place and goes on. Neither who was booted and is not admitted yet, which a second machine with the host's keys is as well,
    /// nor what an earlier boot sent and somebody recorded.
    pub(super) fn judge(
        &mut self,
        (boot, fabric, sequence): (BootId, Fabric, u64),
        admission: Option<Admission>,
        (at, silent): (Tick, Duration),
    ) -> Novelty {
        let highest = self.granted.map(|(highest, _)| highest);
        let newer = admission > highest;
        let equal = admission == highest;
        let vacant = admission.is_some() && equal && self.present_heard.is_none_or(|heard| at.since(heard) >= silent);
        if self.replay.is_present(boot) || newer || vacant {
            let novelty = self.replay.judge(boot, fabric, sequence, Claim { newer, vacant, equal });
            if matches!(novelty, Novelty::New | Novelty::NewBoot(_)) {
                self.present_heard = self.present_heard.max(Some(at));
            }
            return novelty;
        }
        if self.replay.is_retired(boot) {
            return Novelty::Retired;
        }
        self.strangers.judge(boot, fabric, sequence, Claim { vacant: true, ..Claim::default() })
    }

    /// A heartbeat is acknowledged, by which the host's gate may be open `until` then. One that came before may have been of
    /// a longer lease.
    pub(super) fn grant(&mut self, admission: Admission, until: Tick) {
        match &mut self.granted {
            Some((highest, known)) if *highest == admission => *known = until.max(*known),
            Some((highest, _)) if *highest > admission => self.granted_before = Some(until).max(self.granted_before),
            Some((highest, known)) => {
                self.granted_before = Some(*known).max(self.granted_before);
                (*highest, *known) = (admission, until);
            }
            None => self.granted = Some((admission, until)),
        }
    }

    /// Until when the host's gate may be open by acknowledgements of admissions up to `through`; `None` if there were none. Of
    /// admissions below the highest only the latest time of all is remembered, which errs towards too late.
    pub(super) fn open_until(&self, through: Admission) -> Option<Tick> {
        match self.granted {
            Some((highest, until)) if highest <= through => Some(until).max(self.granted_before),
            Some(_) | None => self.granted_before,
        }
    }
}
