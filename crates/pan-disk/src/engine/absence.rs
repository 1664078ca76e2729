//! What replicas need of each other: which extents may differ, and what a member missed that is away.

use pan_model::VolumeId;
use pan_model::mirror::Since;

use crate::format::record::{Absence, Body};
use crate::{DiskError, EXTENT, Extent, INTENTS_MAX, Medium, Member, Result, Source, Span, UNIT};

use super::journal::Purpose;
use super::marks::ABSENT_MAX;
use super::pool::Pool;

/// Bytes of a record about a member.
const ABSENCE_BYTES: u64 = 33;
/// Runs of units in such a record: 16 KiB, which the smallest journal has room for.
const RUNS_MAX: usize = 1024;

impl<M: Medium> Pool<M> {
    /// The extents that were written and not settled: other replicas may have them otherwise.
    ///
    /// # Errors
    /// The volume is not there.
    pub fn intents(&self, volume: VolumeId) -> Result<Vec<Extent>> {
        Ok(self.lock().volume(volume)?.marks.intents.iter().copied().map(Extent).collect())
    }

    /// These extents are the same on all replicas: no write to them is under way. Durable with the next flush; until then
    /// a crash leaves some that need not have been there.
    ///
    /// # Errors
    /// The volume is not there, or the disk.
    pub fn settle(&self, volume: VolumeId, extents: &[Extent]) -> Result<()> {
        for part in extents.chunks(INTENTS_MAX) {
            let mut state = self.room(12 + 8 * part.len() as u64, 0, Purpose::Control)?;
            let intents = &state.volume(volume)?.marks.intents;
            let extents: Vec<u64> = part.iter().map(|extent| extent.0).filter(|extent| intents.contains(extent)).collect();
            if extents.is_empty() {
                continue;
            }
            let body = Body::Settle { volume, extents };
            state.journal.append(&self.medium, &body, &[]).map_err(|fault| state.blame(fault, "settle extents"))?;
            let Body::Settle { extents, .. } = body else { unreachable!("it was made two lines above") };
            let intents = &mut state.volume_mut(volume)?.marks.intents;
            extents.iter().for_each(|extent| _ = intents.remove(extent));
        }
        Ok(())
    }

    /// The range of an extent.
    #[must_use]
    pub const fn extent_span(extent: Extent) -> Span {
        Span { offset: extent.0 * EXTENT, length: EXTENT }
    }

    /// A member is away: from now on every write is remembered for it, with the write itself; and so is what it missed before
    /// that. All of it is durable when the call returns, or none. What is remembered of another absence of it is void; of the
    /// same one it stays.
    ///
    /// # Errors
    /// The volume is not there, a range is not within it, too many members are away, or the disk.
    pub fn begin_absence(&self, volume: VolumeId, member: Member, since: Since, missed: &[Span]) -> Result<()> {
        let absent = self.absent(volume)?;
        if !absent.iter().any(|(away, _)| *away == member) && absent.len() >= ABSENT_MAX {
            return Err(DiskError::TooMany("a volume remembers what 8 members missed at most: forget one that does not come back"));
        }
        let units = missed.iter().map(|span| self.units_of(volume, *span)).collect::<Result<Vec<_>>>()?;
        self.note(volume, member, Absence::Begins { since, units: runs(units) }, Purpose::Control)
    }

    /// A member is back, or will never be: nothing is remembered for it any more. Durable when the call returns.
    ///
    /// # Errors
    /// It was not away, the volume is not there, or the disk.
    pub fn end_absence(&self, volume: VolumeId, member: Member) -> Result<()> {
        self.away(volume, member)?;
        self.note(volume, member, Absence::Ends, Purpose::Control)
    }

    /// A member missed a range that was written before it was known to be away. Durable when the call returns.
    ///
    /// # Errors
    /// Like [`end_absence`](Self::end_absence).
    pub fn add_missed(&self, volume: VolumeId, member: Member, span: Span) -> Result<()> {
        self.away(volume, member)?;
        let units = self.units_of(volume, span)?;
        self.note(volume, member, Absence::Missed { unit: units.start, count: units.end - units.start }, Purpose::Control)
    }

    /// A member has a range now that it had missed. Only whole units of [`UNIT`] are counted. Durable when the call returns.
    ///
    /// # Errors
    /// Like [`end_absence`](Self::end_absence).
    pub fn clear_missed(&self, volume: VolumeId, member: Member, span: Span) -> Result<()> {
        self.away(volume, member)?;
        let size = self.lock().volume(volume)?.superblock.size;
        let units = self.units_of(volume, span)?;
        // The last unit of a volume may be a part of one.
        let end = if span.end() == size { units.end } else { span.end() / UNIT };
        let first = span.offset.div_ceil(UNIT);
        if first >= end {
            return Ok(());
        }
        self.note(volume, member, Absence::Copied { unit: first, count: end - first }, Purpose::Control)
    }

    /// What a member missed.
    ///
    /// # Errors
    /// It was not away, or the volume is not there.
    pub fn missed(&self, volume: VolumeId, member: Member) -> Result<Vec<Span>> {
        let mut all = Vec::new();
        self.each_missed(volume, member, |span| all.push(span))?;
        Ok(all)
    }

    /// The same one by one: there can be a hundred million.
    ///
    /// # Errors
    /// Like [`missed`](Self::missed).
    pub fn each_missed(&self, volume: VolumeId, member: Member, mut each: impl FnMut(Span)) -> Result<()> {
        let state = self.lock();
        let kept = state.volume(volume)?;
        let size = kept.superblock.size;
        let away = kept.marks.absent.get(&member).ok_or(DiskError::NotAbsent { volume, member })?;
        away.missed.each_range(|units| {
            let offset = units.start * UNIT;
            each(Span { offset, length: (units.end * UNIT).min(size).saturating_sub(offset) });
        });
        Ok(())
    }

    /// The members that are away, and for which absence.
    ///
    /// # Errors
    /// The volume is not there.
    pub fn absent(&self, volume: VolumeId) -> Result<Vec<(Member, Since)>> {
        Ok(self.lock().volume(volume)?.marks.absent.iter().map(|(member, away)| (*member, away.since)).collect())
    }

    fn away(&self, volume: VolumeId, member: Member) -> Result<()> {
        let found = self.lock().volume(volume)?.marks.absent.contains_key(&member);
        found.then_some(()).ok_or(DiskError::NotAbsent { volume, member })
    }

    fn units_of(&self, volume: VolumeId, span: Span) -> Result<std::ops::Range<u64>> {
        let from = Source::Volume(volume);
        let size = self.lock().volume(volume)?.superblock.size;
        if span.end() > size {
            return Err(DiskError::OutOfRange { from, span, size });
        }
        Ok(span.units())
    }

    fn note(&self, volume: VolumeId, member: Member, absence: Absence, purpose: Purpose) -> Result<()> {
        let units = if let Absence::Begins { units, .. } = &absence { units.len() as u64 } else { 0 };
        let mut state = self.room(ABSENCE_BYTES + 16 * units, 0, purpose)?;
        state.volume(volume)?;
        let body = Body::Absence { volume, member, absence };
        let seq = state.journal.append(&self.medium, &body, &[]).map_err(|fault| state.blame(fault, "remember an absence"))?;
        let Body::Absence { absence, .. } = body else { unreachable!("it was made three lines above") };
        state.volume_mut(volume)?.marks.absence(member, &absence);
        self.durable(state, seq).map(drop)
    }
}

/// Units as runs, so few that they fit into a record: where there are too many, what lies between two counts as missed too,
/// which costs copying and nothing else.
fn runs(mut units: Vec<std::ops::Range<u64>>) -> Vec<(u64, u64)> {
    units.sort_unstable_by_key(|run| run.start);
    let joined = |units: Vec<std::ops::Range<u64>>, gap: u64| {
        units.into_iter().fold(Vec::new(), |mut all: Vec<std::ops::Range<u64>>, run| {
            match all.last_mut() {
                Some(last) if run.start <= last.end.saturating_add(gap) => last.end = last.end.max(run.end),
                _ => all.push(run),
            }
            all
        })
    };
    let mut gap = 0;
    units = joined(units, gap);
    while units.len() > RUNS_MAX {
        gap = gap * 2 + 1;
        units = joined(units, gap);
    }
    units.into_iter().map(|run| (run.start, run.end - run.start)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_fits_into_a_record_and_nothing_is_left_out() {
        assert_eq!(runs(vec![4..6, 0..2, 2..3, 5..9]), [(0, 3), (4, 5)]);
        let many: Vec<_> = (0..10 * RUNS_MAX as u64).map(|at| at * at..at * at + 1).collect();
        let kept = runs(many.clone());
        assert!(kept.len() <= RUNS_MAX);
        let has = |unit: u64| kept.iter().any(|(first, count)| (*first..first + count).contains(&unit));
        assert!(many.iter().all(|run| has(run.start)));
    }
}
