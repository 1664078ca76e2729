//! A replica's disk: what is on it, and what is only in memory above it.

use pan_replica::{Content, Extent, Member, Notes, Span, Standing};
use std::collections::{BTreeMap, BTreeSet};

/// A block has one of few values; 0 is what was never written.
pub type Value = u8;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disk {
    pub standing: Standing,
    pub dirty: BTreeSet<Extent>,
    pub notes: BTreeMap<Member, Notes>,
    blocks: Vec<Value>,
    /// Written and not flushed.
    above: BTreeMap<u64, Value>,
}

impl Disk {
    pub fn new(blocks: u64, standing: Standing) -> Self {
        Self {
            standing,
            dirty: BTreeSet::new(),
            notes: BTreeMap::new(),
            blocks: vec![0; usize::try_from(blocks).unwrap()],
            above: BTreeMap::new(),
        }
    }

    pub fn read(&self, at: u64) -> Value {
        self.above.get(&at).copied().unwrap_or_else(|| self.blocks[usize::try_from(at).unwrap()])
    }

    pub fn write(&mut self, span: Span, content: &Content<Value>) {
        let value = match content {
            Content::Data(value) => *value,
            Content::Zeros | Content::Hole => 0,
        };
        self.above.extend((span.at..span.end()).map(|at| (at, value)));
    }

    pub fn flush(&mut self) {
        for (at, value) in std::mem::take(&mut self.above) {
            self.blocks[usize::try_from(at).unwrap()] = value;
        }
    }

    /// Blocks that a power failure may or may not take back.
    pub fn unflushed(&self) -> Vec<u64> {
        self.above.keys().copied().collect()
    }

    /// A power failure; these blocks made it to the disk.
    pub fn lose_power(&mut self, kept: &[u64]) {
        let above = std::mem::take(&mut self.above);
        for (at, value) in above.into_iter().filter(|(at, _)| kept.contains(at)) {
            self.blocks[usize::try_from(at).unwrap()] = value;
        }
    }

    pub fn all(&self) -> Vec<Value> {
        (0..self.blocks.len() as u64).map(|at| self.read(at)).collect()
    }
}
