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
    retired: VecDeque<Retired>,
    sequences: [Option<u64>; 2],
}

/// A boot that was followed by another.
#[derive(Debug, Clone, Copy)]
struct Retired {
    boot: BootId,
    /// Its last numbers, where they are remembered.
    sequences: [Option<u64>; 2],
}

impl Retired {
    /// Whether it was not heard to say this: what somebody recorded while it was heard does not count.
    fn goes_on(&self, fabric: Fabric, sequence: u64) -> bool {
        self.sequences[fabric as usize].is_some_and(|last| sequence > last)
    }
}

/// By what right a heartbeat of another boot may take the place of the present one. One that was recorded, or was under way for
/// long, has neither: so nobody puts a living host out of its place by what it said in an earlier life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Claim {
    /// It holds a higher number than the host ever did: it was let in after all that came before.
    pub newer: bool,
    /// The present boot has been silent for so long that it would be suspect.
    pub vacant: bool,
    /// It holds the same number as the present boot, or neither holds one. Where the place is vacant, a boot that was followed before
    /// has it back if its own numbers go on: then it was a recording that had followed it.
    pub equal: bool,
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
        (self.boot.map(|boot| boot.0), self.retired.iter().map(|retired| retired.boot.0).collect(), self.sequences)
    }

    /// The other way round.
    pub(crate) fn resume(boot: Option<u64>, retired: &[u64], sequences: [Option<u64>; 2]) -> Self {
        let newest = &retired[retired.len().saturating_sub(RETIRED_BOOTS_MAX)..];
        let retired = newest.iter().map(|boot| Retired { boot: BootId(*boot), sequences: [None; 2] }).collect();
        Self { boot: boot.map(BootId), retired, sequences }
    }

    /// Whether a boot is the present one.
    pub(crate) fn is_present(&self, boot: BootId) -> bool {
        self.boot == Some(boot)
    }

    /// Whether a boot had been followed by another.
    pub(crate) fn is_retired(&self, boot: BootId) -> bool {
        self.known(boot).is_some()
    }

    fn known(&self, boot: BootId) -> Option<Retired> {
        self.retired.iter().copied().find(|retired| retired.boot == boot)
    }

    /// Judges a heartbeat and remembers it.
    pub(crate) fn judge(&mut self, boot: BootId, fabric: Fabric, sequence: u64, claim: Claim) -> Novelty {
        let before = self.known(boot);
        let present = self.boot == Some(boot);
        if self.boot.is_some() && !present && !claim.newer {
            match before {
                Some(retired) if !(claim.vacant && claim.equal && retired.goes_on(fabric, sequence)) => return Novelty::Retired,
                None if !claim.vacant => return Novelty::Stranger,
                Some(_) | None => {}
            }
        }
        let mut sequences = if present { self.sequences } else { before.map_or([None; 2], |before| before.sequences) };
        if sequences[fabric as usize].is_some_and(|last| sequence <= last) {
            return Novelty::Repeated;
        }
        sequences[fabric as usize] = Some(sequence);
        let previous = self.boot.replace(boot).filter(|_| !present);
        if let Some(previous) = previous {
            self.retired.retain(|retired| retired.boot != boot);
            if self.retired.len() == RETIRED_BOOTS_MAX {
                self.retired.pop_front();
            }
            self.retired.push_back(Retired { boot: previous, sequences: self.sequences });
        }
        self.sequences = sequences;
        previous.map_or(Novelty::New, Novelty::NewBoot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_within_a_boot_and_boots_do_not_come_back() {
        let mut replay = Replay::default();
        let vacant = Claim { vacant: true, ..Claim::default() };
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
        let (heard, vacant) = (Claim::default(), Claim { vacant: true, ..Claim::default() });
        let newer = Claim { newer: true, ..Claim::default() };
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

    #[test]
    fn a_boot_that_a_recording_followed_has_its_place_back_when_its_numbers_go_on() {
        let mut replay = Replay::default();
        let (heard, vacant) = (Claim { equal: true, ..Claim::default() }, Claim { vacant: true, equal: true, ..Claim::default() });
        let mut judge = |boot, fabric, sequence, claim| replay.judge(BootId(boot), fabric, sequence, claim);
        assert_eq!(judge(2, Fabric::A, 50, vacant), Novelty::New);
        // It pauses, and somebody plays what it said in an earlier life to a controller that did not know of that.
        assert_eq!(judge(1, Fabric::A, 8, vacant), Novelty::NewBoot(BootId(2)));
        assert_eq!(judge(2, Fabric::A, 51, heard), Novelty::Retired, "as long as the other one is heard");
        assert_eq!(judge(2, Fabric::A, 50, vacant), Novelty::Retired, "what was heard may be a recording as well");
        assert_eq!(judge(2, Fabric::B, 51, vacant), Novelty::Retired, "nobody knows what was heard of it there");
        assert_eq!(
            judge(2, Fabric::A, 52, Claim { equal: false, ..vacant }),
            Novelty::Retired,
            "whoever was let in since holds a higher number"
        );
        assert_eq!(judge(2, Fabric::A, 52, vacant), Novelty::NewBoot(BootId(1)));
        assert_eq!(judge(2, Fabric::A, 52, heard), Novelty::Repeated);
        assert_eq!(judge(1, Fabric::A, 8, vacant), Novelty::Retired);
    }
}
