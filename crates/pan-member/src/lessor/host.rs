//! What a lessor remembers of one host while it runs.

use pan_model::Admission;

use crate::memory::HostMemory;
use crate::replay::Replay;
use crate::tick::Tick;

#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    pub(super) replay: Replay,
    /// The last heartbeat, whatever was said to it.
    pub(super) heard: Option<Tick>,
    /// The highest admission that was ever acknowledged, and when last.
    granted: Option<(Admission, Tick)>,
    /// When last an earlier one was.
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
            granted: self.granted.map(|(admission, at)| (admission, at.0)),
            granted_before: self.granted_before.map(|at| at.0),
        }
    }

    pub(super) fn resume(memory: &HostMemory) -> Self {
        Self {
            replay: Replay::resume(memory.boot, &memory.retired, memory.sequences),
            heard: memory.heard.map(Tick),
            granted: memory.granted.map(|(admission, at)| (admission, Tick(at))),
            granted_before: memory.granted_before.map(Tick),
        }
    }

    pub(super) fn grant(&mut self, admission: Admission, now: Tick) {
        match &mut self.granted {
            Some((highest, at)) if *highest == admission => *at = now,
            Some((highest, _)) if *highest > admission => self.granted_before = Some(now),
            Some((highest, at)) => {
                self.granted_before = Some(*at);
                (*highest, *at) = (admission, now);
            }
            None => self.granted = Some((admission, now)),
        }
    }

    /// When last an admission up to `through` may have been acknowledged; `None` if none was. Of admissions below the
    /// highest only the last one of all is remembered, which errs towards too late.
    pub(super) fn acknowledged(&self, through: Admission) -> Option<Tick> {
        match self.granted {
            Some((highest, at)) if highest <= through => Some(at).max(self.granted_before),
            Some(_) | None => self.granted_before,
        }
    }
}
