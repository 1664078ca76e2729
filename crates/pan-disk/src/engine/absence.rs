//! What replicas need of each other: which extents may differ, and what a member missed that is away.

use pan_model::VolumeId;

use crate::format::record::{Absence, Body};
use crate::{DiskError, EXTENT, Extent, INTENTS_MAX, Medium, Member, Result, Source, Span, UNIT};

use super::journal::Purpose;
use super::marks::ABSENT_MAX;
use super::pool::Pool;

/// Bytes of a record about a member.
const ABSENCE_BYTES: u64 = 33;

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

    /// A member is away: from now on every write is remembered for it, with the write itself. Durable when the call returns.
    /// What it has missed by then is [`add_missed`](Self::add_missed). One that is away already keeps what it missed.
    ///
    /// # Errors
    /// The volume is not there, too many members are away, or the disk.
    pub fn begin_absence(&self, volume: VolumeId, member: Member) -> Result<()> {
        let absent = self.absent(volume)?;
        if !absent.contains(&member) && absent.len() >= ABSENT_MAX {
            return Err(DiskError::TooMany("a volume remembers what 8 members missed at most: forget one that does not come back"));
        }
        self.note(volume, member, Absence::Begins, Purpose::Control)
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
        let state = self.lock();
        let kept = state.volume(volume)?;
        let size = kept.superblock.size;
        let bitmap = kept.marks.absent.get(&member).ok_or(DiskError::NotAbsent { volume, member })?;
        let span = |units: std::ops::Range<u64>| {
            let offset = units.start * UNIT;
            Span { offset, length: (units.end * UNIT).min(size).saturating_sub(offset) }
        };
        Ok(bitmap.ranges().into_iter().map(span).collect())
    }

    /// The members that are away.
    ///
    /// # Errors
    /// The volume is not there.
    pub fn absent(&self, volume: VolumeId) -> Result<Vec<Member>> {
        Ok(self.lock().volume(volume)?.marks.absent.keys().copied().collect())
    }

    fn away(&self, volume: VolumeId, member: Member) -> Result<()> {
        let found = self.absent(volume)?.contains(&member);
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
        let mut state = self.room(ABSENCE_BYTES, 0, purpose)?;
        state.volume(volume)?;
        let body = Body::Absence { volume, member, absence };
        let seq = state.journal.append(&self.medium, &body, &[]).map_err(|fault| state.blame(fault, "remember an absence"))?;
        state.volume_mut(volume)?.marks.absence(member, absence);
        self.durable(state, seq).map(drop)
    }
}
