//! A replica's disk, as `pan-disk` is one: a journal, of which a power failure leaves what came first. A write is in it together with what
//! follows from it, that its extent is dirty and which members miss it.

use pan_model::VolumeEpoch;
use pan_replica::{Content, Extent, Member, Notes, Sequence, Span, Standing};
use std::collections::{BTreeMap, BTreeSet};

/// A block has one of few values; 0 is what was never written.
pub type Value = u8;

/// What the journal amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kept {
    pub dirty: BTreeSet<Extent>,
    pub notes: BTreeMap<Member, Notes>,
    flushed: (VolumeEpoch, Sequence),
    blocks: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Entry {
    Write(Span, Value),
    Struck(Vec<Extent>),
    Flushed((VolumeEpoch, Sequence)),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disk {
    /// Whom it obeys: not in the journal, and there when it is written.
    standing: Standing,
    durable: Kept,
    pub now: Kept,
    /// What is not durable.
    journal: Vec<Entry>,
}

impl Kept {
    fn take(&mut self, entry: &Entry) {
        match entry {
            // Extents have one block.
            Entry::Write(span, value) => {
                for at in span.at..span.end() {
                    self.blocks[usize::try_from(at).unwrap()] = *value;
                    self.dirty.insert(Extent(at));
                    self.notes.values_mut().for_each(|notes| notes.extents.insert(at..at + 1));
                }
            }
            Entry::Struck(extents) => self.dirty.retain(|extent| !extents.contains(extent)),
            Entry::Flushed(mark) => self.flushed = *mark,
        }
    }
}

impl Disk {
    pub fn new(blocks: u64, standing: Standing) -> Self {
        let kept = Kept {
            dirty: BTreeSet::new(),
            notes: BTreeMap::new(),
            flushed: standing.flushed,
            blocks: vec![0; usize::try_from(blocks).unwrap()],
        };
        Self { standing, durable: kept.clone(), now: kept, journal: Vec::new() }
    }

    pub fn read(&self, at: u64) -> Value {
        self.now.blocks[usize::try_from(at).unwrap()]
    }

    fn append(&mut self, entry: Entry) {
        self.now.take(&entry);
        self.journal.push(entry);
    }

    pub fn write(&mut self, span: Span, content: &Content<Value>) {
        let value = match content {
            Content::Data(value) => *value,
            Content::Zeros | Content::Hole => 0,
        };
        self.append(Entry::Write(span, value));
    }

    pub fn strike(&mut self, extents: Vec<Extent>, flushed: (VolumeEpoch, Sequence)) {
        if !extents.is_empty() {
            self.append(Entry::Struck(extents));
        }
        if flushed > self.now.flushed {
            self.append(Entry::Flushed(flushed));
        }
    }

    /// Whether the disk knows for certain that some extent is dirty.
    pub fn is_anchored(&self) -> bool {
        let struck = |extent: &Extent| self.journal.iter().any(|entry| matches!(entry, Entry::Struck(gone) if gone.contains(extent)));
        self.durable.dirty.iter().any(|extent| !struck(extent))
    }

    pub fn flush(&mut self) {
        self.durable = self.now.clone();
        self.journal.clear();
    }

    /// Notes are durable at once, and with them what was written before.
    pub fn note(&mut self, change: impl FnOnce(&mut BTreeMap<Member, Notes>)) {
        change(&mut self.now.notes);
        self.flush();
    }

    pub fn obey(&mut self, standing: Standing) {
        self.standing = standing;
        self.durable.flushed = self.now.flushed;
    }

    pub fn standing(&self) -> Standing {
        Standing { flushed: self.now.flushed, ..self.standing }
    }

    /// How much a power failure may take back.
    pub fn unflushed(&self) -> usize {
        self.journal.len()
    }

    /// A power failure; so much made it to the disk.
    pub fn lose_power(&mut self, kept: usize) {
        self.now = self.durable.clone();
        for entry in self.journal.drain(..).take(kept) {
            self.now.take(&entry);
        }
        self.durable = self.now.clone();
    }

    pub fn all(&self) -> Vec<Value> {
        self.now.blocks.clone()
    }
}
