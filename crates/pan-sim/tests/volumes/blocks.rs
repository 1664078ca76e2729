//! What blocks may hold, by what was promised of them.

use std::collections::BTreeMap;

/// One block.
#[derive(Debug, Clone)]
struct Block {
    /// What it may hold now: one value, and more where nobody knows what became of a write.
    may: Vec<u64>,
    /// The same to whoever is served without a break since: no loss of power takes back from him what was acknowledged to him.
    seen: Vec<u64>,
    /// What it may hold after a loss of power: everything since the last flush.
    old: Vec<u64>,
}

/// All blocks that are written; others are zeros.
#[derive(Debug, Default)]
pub struct Blocks(BTreeMap<u64, Block>);

impl Blocks {
    fn block(&mut self, at: u64) -> &mut Block {
        self.0.entry(at).or_insert_with(|| Block { may: vec![0], seen: vec![0], old: vec![0] })
    }

    pub fn acknowledged(&mut self, at: u64, value: u64) {
        let block = self.block(at);
        (block.may, block.seen) = (vec![value], vec![value]);
        block.old.push(value);
    }

    /// It was acknowledged, and one that had done it has lost power since.
    pub fn shaky(&mut self, at: u64, value: u64) {
        let block = self.block(at);
        block.old.push(value);
        block.may.clone_from(&block.old);
        block.seen = vec![value];
    }

    /// It was not acknowledged: it may have happened.
    pub fn doubtful(&mut self, at: u64, value: u64) {
        let block = self.block(at);
        block.may.push(value);
        block.seen.push(value);
        block.old.push(value);
    }

    /// What is read is what it is from then on.
    pub fn read(&mut self, at: u64, value: u64) {
        self.read_shaky(at, value);
        self.block(at).may = vec![value];
    }

    /// It was asked for before somebody lost power, so it may have been read before that, and be lost.
    pub fn read_shaky(&mut self, at: u64, value: u64) {
        let block = self.block(at);
        assert!(block.may.contains(&value), "block {at} holds {value}, and should hold one of {:?}", block.may);
        assert!(block.seen.contains(&value), "block {at} holds {value}, and whoever reads it knows that it is one of {:?}", block.seen);
        block.seen = vec![value];
    }

    /// Whoever is served from now on knows of nothing that was acknowledged before.
    pub fn clients_lost(&mut self) {
        for block in self.0.values_mut() {
            block.seen.clone_from(&block.may);
        }
    }

    /// Everything acknowledged is on all disks. Only while nothing is under way.
    pub fn flushed(&mut self) {
        for block in self.0.values_mut() {
            block.old.clone_from(&block.may);
        }
    }

    /// Some disk may have lost what was not flushed.
    pub fn power_lost(&mut self) {
        for block in self.0.values_mut() {
            block.may.clone_from(&block.old);
        }
    }

    /// Whether a block may hold something now.
    pub fn may_hold(&self, at: u64, value: u64) -> bool {
        self.0.get(&at).map_or(value == 0, |block| block.may.contains(&value))
    }

    pub fn all(&self) -> Vec<u64> {
        self.0.keys().copied().collect()
    }
}
