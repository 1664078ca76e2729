//! Places in a volume: spans of bytes, and the extents that what was written, missed or copied is kept account of.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Range, RangeInclusive};

/// Bytes of an extent in production: small enough to copy within a millisecond, large enough for 16 TiB to have a bitmap of 16 MiB.
pub const EXTENT: u64 = 128 << 10;

/// A run of bytes that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Its first byte.
    pub at: u64,
    /// How many.
    pub length: u64,
}

impl Span {
    /// Whether both have a byte in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.at < other.at + other.length && other.at < self.at + self.length
    }

    /// Whether all of another one lies in it.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.at <= other.at && other.end() <= self.end()
    }

    /// The byte after the last.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.at + self.length
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.at, self.length)
    }
}

/// The number of an extent within its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Extent(pub u64);

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The size of a volume and of its extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Bytes of the volume.
    pub size: u64,
    /// Bytes of an extent; [`EXTENT`] but in models.
    pub extent: u64,
}

impl Geometry {
    /// Whether a span lies in the volume.
    #[must_use]
    pub fn holds(&self, span: Span) -> bool {
        span.length > 0 && span.at.checked_add(span.length).is_some_and(|end| end <= self.size)
    }

    /// The extents that a span touches.
    #[must_use]
    pub fn touched(&self, span: Span) -> RangeInclusive<u64> {
        span.at / self.extent..=(span.end() - 1) / self.extent
    }

    /// The same one by one.
    pub fn extents(&self, span: Span) -> impl Iterator<Item = Extent> + use<> {
        self.touched(span).map(Extent)
    }

    /// The numbers of all of them.
    #[must_use]
    pub const fn all(&self) -> Range<u64> {
        0..self.size.div_ceil(self.extent)
    }

    /// The bytes of an extent; the last one of a volume may be shorter.
    #[must_use]
    pub fn span_of(&self, extent: Extent) -> Span {
        let at = extent.0 * self.extent;
        Span { at, length: self.extent.min(self.size - at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_cover_their_spans() {
        let geometry = Geometry { size: 100, extent: 16 };
        let touched = |at, length| geometry.extents(Span { at, length }).map(|extent| extent.0).collect::<Vec<_>>();
        assert_eq!([touched(0, 1), touched(0, 16), touched(15, 2), touched(96, 4)], [vec![0], vec![0], vec![0, 1], vec![6]]);
        assert_eq!(geometry.all(), 0..7);
        assert_eq!(geometry.span_of(Extent(6)), Span { at: 96, length: 4 });
        for (at, length, holds) in [(0, 100, true), (0, 0, false), (99, 2, false), (u64::MAX, 2, false)] {
            assert_eq!(geometry.holds(Span { at, length }), holds, "{at}+{length}");
        }
    }
}
