//! Telling new heartbeats of one host from old ones that come again.

use std::collections::VecDeque;

use pan_model::host::Fabric;

use crate::frame::BootId;

/// Former boots whose heartbeats are recognised. An attacker who recorded older ones can make a dead host
/// look alive, which costs time, never data: deaths are fenced, not believed.
const RETIRED_BOOTS_MAX: usize = 16;

/// What of one host's heartbeats was seen: its boot, the boots before, the last number on each fabric.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replay {
    boot: Option<BootId>,
    retired: VecDeque<BootId>,
    sequences: [Option<u64>; 2],
}

/// By what right a heartbeat of another boot may take the place of the present one. One that was recorded, or was under way for
/// long, has neither: so nobody puts a living host out of its place by what it said in an earlier life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Claim {
    /// It holds a higher number than the host ever did: it was let in after all that came before.
    pub newer: bool,
    /// The present boot has been silent for so long that it would be suspect. It is of no use to a boot that was followed before.
    pub vacant: bool,
}

/// What a heartbeat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Novelty {
    New,
    /// New, and the first of a boot that follows this one.
    NewBoot(BootId),
    /// Its number is not above the last one of that boot on that fabric.
    Repeated,
    /// Its boot had already been followed by another.
    Retired,
    /// Its boot is not known, and the present one is heard.
    Stranger,
}

impl Replay {
    /// The boot, the boots before and the last numbers.
    pub(crate) fn memory(&self) -> (Option<u64>, Vec<u64>, [Option<u64>; 2]) {
        (self.boot.map(|boot| boot.0), self.retired.iter().map(|boot| boot.0).collect(), self.sequences)
    }

    /// The other way round.
    pub(crate) fn resume(boot: Option<u64>, retired: &[u64], sequences: [Option<u64>; 2]) -> Self {
        let newest = &retired[retired.len().saturating_sub(RETIRED_BOOTS_MAX)..];
        Self { boot: boot.map(BootId), retired: newest.iter().copied().map(BootId).collect(), sequences }
    }

    /// Whether a boot is the present one.
    pub(crate) fn is_present(&self, boot: BootId) -> bool {
        self.boot == Some(boot)
    }

    /// Whether a boot had been followed by another.
    pub(crate) fn is_retired(&self, boot: BootId) -> bool {
        self.retired.contains(&boot)
    }

    /// Judges a heartbeat and remembers it.
    pub(crate) fn judge(&mut self, boot: BootId, fabric: Fabric, sequence: u64, claim: Claim) -> Novelty {
        if self.boot.is_some_and(|present| present != boot) && !claim.newer {
            if self.retired.contains(&boot) {
                return Novelty::Retired;
            }
            if !claim.vacant {
                return Novelty::Stranger;
            }
        }
        let previous = self.boot.replace(boot).filter(|previous| *previous != boot);
        if let Some(previous) = previous {
            self.retired.retain(|retired| *retired != boot);
            if self.retired.len() == RETIRED_BOOTS_MAX {
                self.retired.pop_front();
            }
            self.retired.push_back(previous);
            self.sequences = [None; 2];
        }
        let last = &mut self.sequences[fabric as usize];
        if last.is_some_and(|last| sequence <= last) {
            return Novelty::Repeated;
        }
        *last = Some(sequence);
        previous.map_or(Novelty::New, Novelty::NewBoot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_within_a_boot_and_boots_do_not_come_back() {
        let mut replay = Replay::default();
        let vacant = Claim { newer: false, vacant: true };
        let mut judge = |boot, fabric, sequence| replay.judge(BootId(boot), fabric, sequence, vacant);
        assert_eq!(judge(1, Fabric::A, 5), Novelty::New);
        assert_eq!(judge(1, Fabric::B, 5), Novelty::New);
        assert_eq!(judge(1, Fabric::A, 5), Novelty::Repeated);
        assert_eq!(judge(1, Fabric::B, 4), Novelty::Repeated);
        assert_eq!(judge(2, Fabric::A, 1), Novelty::NewBoot(BootId(1)));
        assert_eq!(judge(2, Fabric::B, 1), Novelty::New);
        assert_eq!(judge(1, Fabric::B, 9), Novelty::Retired);
    }
    #[test]
    fn who_is_heard_keeps_its_place_against_all_but_a_higher_number() {
        let mut replay = Replay::default();
        let (heard, vacant) = (Claim::default(), Claim { newer: false, vacant: true });
        let newer = Claim { newer: true, vacant: false };
        let mut judge = |boot, sequence, claim| replay.judge(BootId(boot), Fabric::A, sequence, claim);
        assert_eq!(judge(1, 5, heard), Novelty::New, "nobody is there");
        assert_eq!(judge(2, 9, heard), Novelty::Stranger);
        assert_eq!(judge(1, 6, heard), Novelty::New);
        assert_eq!(judge(2, 10, newer), Novelty::NewBoot(BootId(1)));
        assert_eq!(judge(1, 7, vacant), Novelty::Retired);
        // What was taken for a reboot was not: the host was let in anew, and says so.
        assert_eq!(judge(1, 8, newer), Novelty::NewBoot(BootId(2)));
        assert_eq!(judge(2, 11, vacant), Novelty::Retired);
        assert_eq!(judge(1, 9, heard), Novelty::New);
    }
}
