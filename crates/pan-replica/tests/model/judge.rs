//! What a client may see. Per block: the values that a read may return now, and those that may come back if every replica loses
//! its power.

use super::disk::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Write {
    head: usize,
    block: u64,
    value: Value,
    acknowledged: bool,
    /// Values that had been overwritten for certain when this one was asked for.
    after: BTreeSet<Value>,
    /// A read has shown that this one did not happen.
    refuted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Read {
    head: usize,
    block: u64,
    allowed: BTreeSet<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Judge {
    possible: BTreeMap<u64, BTreeSet<Value>>,
    /// What may come back: everything since the last flush that was acknowledged.
    floor: BTreeMap<u64, BTreeSet<Value>>,
    writes: BTreeMap<u64, Write>,
    reads: BTreeMap<u64, Read>,
    /// What was possible when each flush was asked for, and everything since.
    flushes: BTreeMap<u64, BTreeMap<u64, BTreeSet<Value>>>,
}

impl Judge {
    pub fn new(blocks: u64) -> Self {
        let zero: BTreeMap<u64, BTreeSet<Value>> = (0..blocks).map(|block| (block, BTreeSet::from([0]))).collect();
        Self { possible: zero.clone(), floor: zero, ..Self::default() }
    }

    pub fn write(&mut self, op: u64, head: usize, block: u64, value: Value) {
        let after = self.possible[&block].clone();
        let after = if after.len() == 1 { after } else { BTreeSet::new() };
        self.writes.insert(op, Write { head, block, value, acknowledged: false, after, refuted: false });
        for set in [&mut self.possible, &mut self.floor] {
            set.get_mut(&block).unwrap().insert(value);
        }
        for flush in self.flushes.values_mut() {
            flush.get_mut(&block).unwrap().insert(value);
        }
        for read in self.reads.values_mut().filter(|read| read.block == block) {
            read.allowed.insert(value);
        }
    }

    /// Values that heads from this one on may still bring about.
    fn pending(&self, block: u64, head: usize) -> BTreeSet<Value> {
        let open = self.writes.values().filter(|write| write.block == block && !write.acknowledged && write.head >= head);
        open.map(|write| write.value).collect()
    }

    pub fn written(&mut self, op: u64) -> Result<(), String> {
        let write = self.writes.get_mut(&op).unwrap();
        write.acknowledged = true;
        let (head, block, value, refuted) = (write.head, write.block, write.value, write.refuted);
        if refuted {
            return Err(format!("write {value} of block {block} was acknowledged by head {head} after a read had missed it"));
        }
        let newer = self.writes.values().any(|other| other.block == block && other.head > head && other.acknowledged);
        if !newer && self.possible[&block].contains(&value) {
            let mut now = self.pending(block, head);
            now.insert(value);
            self.possible.insert(block, now);
        }
        Ok(())
    }

    pub fn read(&mut self, op: u64, head: usize, block: u64) {
        self.reads.insert(op, Read { head, block, allowed: self.possible[&block].clone() });
    }

    pub fn was_read(&mut self, op: u64, value: Value) -> Result<(), String> {
        let Read { head, block, allowed } = self.reads.remove(&op).unwrap();
        if !allowed.contains(&value) {
            return Err(format!("head {head} read {value} in block {block}, where only {allowed:?} can be"));
        }
        if self.possible[&block].contains(&value) {
            let mut now = self.pending(block, head);
            now.insert(value);
            // What can only have come after what was read did not happen, or is under way.
            for write in self.writes.values_mut().filter(|write| write.block == block && !now.contains(&write.value)) {
                write.refuted |= !write.acknowledged && write.after.contains(&value);
            }
            self.possible.insert(block, now);
        }
        Ok(())
    }

    pub fn abandoned(&mut self, op: u64) {
        self.reads.remove(&op);
        self.flushes.remove(&op);
    }

    pub fn flush(&mut self, op: u64) {
        self.flushes.insert(op, self.possible.clone());
    }

    pub fn flushed(&mut self, op: u64) {
        self.floor = self.flushes.remove(&op).unwrap();
    }

    /// Every replica in sync lost its power: what was not flushed may be there or not.
    pub fn all_lost(&mut self) {
        for (block, floor) in &self.floor {
            self.possible.get_mut(block).unwrap().extend(floor);
            for flush in self.flushes.values_mut() {
                flush.get_mut(block).unwrap().extend(floor);
            }
            for read in self.reads.values_mut().filter(|read| read.block == *block) {
                read.allowed.extend(floor);
            }
        }
    }

    /// Whether a block that nobody reads may have a value.
    pub fn allows(&self, block: u64, value: Value) -> bool {
        self.possible[&block].contains(&value)
    }
}
