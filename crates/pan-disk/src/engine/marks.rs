//! What a replica remembers for its peers: extents that may differ, what absent members missed, how far it was flushed.

use std::collections::{BTreeMap, BTreeSet};

use pan_model::mirror::Since;

use crate::format::record::Absence;
use crate::span::VOLUME_UNITS_MAX;
use crate::{FlushMark, INTENTS_MAX, Member, Span};

/// Members of a volume that may be absent at once: a volume has at most three replicas, and one of them is this one. More,
/// so that a member that was replaced while it was away need not be forgotten first.
pub const ABSENT_MAX: usize = 8;

/// A set of units, kept by words of 64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bitmap(BTreeMap<u32, u64>);

impl Bitmap {
    /// One of these words.
    pub fn of(words: Vec<(u32, u64)>) -> Self {
        Self(words.into_iter().filter(|(_, word)| *word != 0).collect())
    }

    /// The words that are not zero.
    pub const fn words(&self) -> &BTreeMap<u32, u64> {
        &self.0
    }

    /// Adds units.
    pub fn set(&mut self, units: std::ops::Range<u64>) {
        self.each(units, |word, bits| *word |= bits);
    }

    /// Takes units out.
    pub fn clear(&mut self, units: std::ops::Range<u64>) {
        self.each(units, |word, bits| *word &= !bits);
    }

    fn each(&mut self, units: std::ops::Range<u64>, mut change: impl FnMut(&mut u64, u64)) {
        let limit = units.end.min(VOLUME_UNITS_MAX);
        let mut at = units.start;
        while at < limit {
            let index = at / 64;
            let end = limit.min((index + 1) * 64);
            let bits = (u64::MAX >> (64 - (end - at))) << (at % 64);
            let index = u32::try_from(index).expect("below the units of the largest volume, which are 2^28");
            let word = self.0.entry(index).or_default();
            change(word, bits);
            if *word == 0 {
                self.0.remove(&index);
            }
            at = end;
        }
    }

    /// The units, as ranges that do not touch.
    pub fn each_range(&self, mut each: impl FnMut(std::ops::Range<u64>)) {
        let mut last = 0..0;
        for (index, word) in &self.0 {
            for bit in (0..64).filter(|bit| word >> bit & 1 == 1) {
                let unit = u64::from(*index) * 64 + bit;
                if last.is_empty() || last.end != unit {
                    let done = std::mem::replace(&mut last, unit..unit);
                    Some(done).filter(|done| !done.is_empty()).into_iter().for_each(&mut each);
                }
                last.end = unit + 1;
            }
        }
        Some(last).filter(|last| !last.is_empty()).into_iter().for_each(each);
    }
}

/// What is kept about a member that is away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Away {
    /// Which absence.
    pub since: Since,
    /// What it missed.
    pub missed: Bitmap,
}

/// What a replica remembers for its peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    pub last_flush: FlushMark,
    pub intents: BTreeSet<u64>,
    pub absent: BTreeMap<Member, Away>,
}

impl Marks {
    /// Whether these extents fit into the intent log.
    pub fn fits(&self, span: Span) -> bool {
        // The common case, and one that need not look at each extent.
        let extents = span.extents();
        if self.intents.len() + (extents.end - extents.start) as usize <= INTENTS_MAX {
            return true;
        }
        extents.end - extents.start <= INTENTS_MAX as u64
            && self.intents.len() + extents.filter(|extent| !self.intents.contains(extent)).count() <= INTENTS_MAX
    }

    /// A range was written: it may differ from other replicas, and the absent ones missed it.
    pub fn written(&mut self, span: Span) {
        self.intents.extend(span.extents());
        for away in self.absent.values_mut() {
            away.missed.set(span.units());
        }
    }

    /// Something about an absent member.
    pub fn absence(&mut self, member: Member, absence: &Absence) {
        match absence {
            Absence::Begins { since, units } => {
                let away = self.absent.entry(member).or_default();
                if away.since != *since {
                    *away = Away { since: *since, missed: Bitmap::default() };
                }
                units.iter().for_each(|(unit, count)| away.missed.set(*unit..unit.saturating_add(*count)));
            }
            Absence::Ends => _ = self.absent.remove(&member),
            Absence::Missed { unit, count } => {
                if let Some(away) = self.absent.get_mut(&member) {
                    away.missed.set(*unit..unit.saturating_add(*count));
                }
            }
            Absence::Copied { unit, count } => {
                if let Some(away) = self.absent.get_mut(&member) {
                    away.missed.clear(*unit..unit.saturating_add(*count));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_is_a_set_of_units() {
        let mut bitmap = Bitmap::default();
        bitmap.set(3..200);
        bitmap.clear(64..130);
        bitmap.set(500..501);
        bitmap.clear(500..501);
        let mut ranges = Vec::new();
        bitmap.each_range(|range| ranges.push(range));
        assert_eq!(ranges, [3..64, 130..200]);
        assert_eq!(Bitmap::of(bitmap.words().iter().map(|(index, word)| (*index, *word)).collect()), bitmap);
    }

    #[test]
    fn the_intent_log_is_bounded_by_extents_not_by_writes() {
        let mut marks = Marks::default();
        let whole = Span { offset: 0, length: INTENTS_MAX as u64 * crate::EXTENT };
        assert!(marks.fits(whole));
        marks.written(whole);
        assert!(marks.fits(Span { offset: 4096, length: 4096 }), "an extent that is in the log already");
        assert!(!marks.fits(Span { offset: whole.end(), length: 4096 }));
        assert!(!marks.fits(Span { offset: 0, length: u64::MAX / 2 }));
    }
}
