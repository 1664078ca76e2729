//! Lists of extents in frames: runs, each the first and how many, in order.
//!
//! A list costs whoever reads it no more than four times its own length, and 32 KiB where extents are wanted one by one: it is kept as
//! runs, or there may only be few of them. What it stands for may be all of a volume of 16 TiB.

use super::{In, RUN, RUNS_MAX, WireError};
use crate::geometry::Extent;
use crate::runs::Runs;
use pan_model::mirror::{Member, Since};
use std::collections::BTreeMap;
use std::ops::Range;

/// `None`: there are more runs than a frame holds.
pub(super) fn write(extents: &Runs) -> Option<Vec<u8>> {
    let runs = extents.ranges();
    (runs.len() <= RUNS_MAX).then(|| {
        let mut bytes = Vec::with_capacity(runs.len() * RUN);
        for run in runs {
            bytes.extend_from_slice(&run.start.to_le_bytes());
            bytes.extend_from_slice(&(run.end - run.start).to_le_bytes());
        }
        bytes
    })
}

/// `None`: there are more extents than there may be.
pub(super) fn write_few(extents: &[Extent], most: usize) -> Option<Vec<u8>> {
    (extents.len() <= most).then(|| write(&extents.iter().copied().collect())).flatten()
}

/// Of a volume of so many extents.
pub(super) fn read(bytes: &[u8], volume: u64) -> Result<Runs, WireError> {
    let mut runs = Runs::default();
    each(bytes, volume, |run| {
        runs.insert(run);
        Ok(())
    })?;
    Ok(runs)
}

/// Each by itself, of which there are at most so many.
pub(super) fn read_few(bytes: &[u8], volume: u64, most: usize) -> Result<Vec<Extent>, WireError> {
    let mut all = Vec::new();
    each(bytes, volume, |run| {
        if run.end - run.start > (most - all.len()) as u64 {
            return Err(WireError::Meaning("more extents than such a list can have"));
        }
        all.extend(run.map(Extent));
        Ok(())
    })?;
    Ok(all)
}

fn each(bytes: &[u8], volume: u64, mut take: impl FnMut(Range<u64>) -> Result<(), WireError>) -> Result<(), WireError> {
    let (runs, []) = bytes.as_chunks::<RUN>() else { return Err(WireError::Meaning("a list of half a run")) };
    let mut free = 0;
    for run in runs {
        let run = In(run);
        let (first, count) = (run.long(0), run.long(8));
        let end = first.checked_add(count).filter(|end| count > 0 && first >= free && *end <= volume);
        free = end.ok_or(WireError::Meaning("extents out of order, or outside of the volume"))?;
        take(first..free)?;
    }
    Ok(())
}

/// A member, and since when it is out.
const ABSENT: usize = 12;
/// Members that may be named: a volume has three, and those in whose place others came while nobody could write.
const ABSENT_NAMED: usize = 64;

/// Whether all can be named; otherwise nobody is, and nothing is forgotten.
pub(super) fn may_be_named(absent: &BTreeMap<Member, Since>) -> bool {
    absent.len() <= ABSENT_NAMED
}

/// Who is out.
pub(super) fn write_absent(absent: &BTreeMap<Member, Since>) -> Vec<u8> {
    absent.iter().flat_map(|(member, since)| member.0.to_le_bytes().into_iter().chain(since.0.to_le_bytes())).collect()
}

pub(super) fn read_absent(bytes: &[u8]) -> Result<BTreeMap<Member, Since>, WireError> {
    let (all, []) = bytes.as_chunks::<ABSENT>() else { return Err(WireError::Meaning("a list of half a member")) };
    if all.len() > ABSENT_NAMED {
        return Err(WireError::Meaning("more members are out than a volume can have"));
    }
    let since = |one: &[u8; ABSENT]| Since(u64::from_le_bytes(one[4..].try_into().expect("eight bytes")));
    Ok(all.iter().map(|one| (Member(In(one).word(0)), since(one))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, count: u64) -> Vec<u8> {
        [first.to_le_bytes(), count.to_le_bytes()].concat()
    }

    #[test]
    fn lists_are_bounded_by_the_volume_and_by_what_they_are_for() {
        assert_eq!(read_few(&run(2, 3), 5, 3).unwrap(), [2, 3, 4].map(Extent));
        assert!(read_few(&run(2, 3), 5, 2).is_err());
        assert!(read_few(&[run(0, 2), run(2, 1)].concat(), 5, 2).is_err());
        for bad in [run(0, u64::MAX), run(u64::MAX, 2), run(3, 3), run(0, 0), [run(1, 2), run(2, 1)].concat(), vec![0; 15]] {
            assert!(read(&bad, 5).is_err() && read_few(&bad, 5, 5).is_err(), "{bad:?}");
        }
    }

    /// Sixteen bytes that stand for a petabyte.
    #[test]
    fn a_run_is_a_run_however_long() {
        let volume = 1 << 33;
        let all = read(&run(0, volume), volume).unwrap();
        assert_eq!((all.ranges().len(), all.extents()), (1, volume));
        assert_eq!(write(&all).unwrap(), run(0, volume));
        assert!(read_few(&run(0, volume), volume, 4096).is_err());
    }
}
