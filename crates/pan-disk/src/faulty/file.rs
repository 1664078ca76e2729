//! A file of the faulty disk: what is in it, what is durable of that, and the writes in between.

use std::collections::BTreeMap;

use super::dice::Dice;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const PAGE: u64 = 4096;

type Pages = BTreeMap<u64, Box<[u8; PAGE as usize]>>;

/// Bytes, with holes.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pages: Pages,
    length: u64,
}

impl Content {
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        let mut at = 0;
        while at < into.len() {
            let (page, within) = split(offset + at as u64);
            let count = (PAGE as usize - within).min(into.len() - at);
            match self.pages.get(&page) {
                Some(bytes) => into[at..at + count].copy_from_slice(&bytes[within..within + count]),
                None => into[at..at + count].fill(0),
            }
            at += count;
        }
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let (page, within) = split(offset + at as u64);
            let count = (PAGE as usize - within).min(bytes.len() - at);
            let kept = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE as usize]));
            kept[within..within + count].copy_from_slice(&bytes[at..at + count]);
            at += count;
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    /// Pages that a write would have to be given.
    pub fn wanted(&self, offset: u64, length: u64) -> u64 {
        let pages = offset / PAGE..(offset + length).div_ceil(PAGE);
        (pages.end - pages.start) - self.pages.range(pages).count() as u64
    }

    pub fn punch(&mut self, offset: u64, length: u64) {
        let end = (offset + length).min(self.length);
        if end <= offset {
            return;
        }
        let whole = offset.div_ceil(PAGE)..end / PAGE;
        let inside: Vec<u64> = self.pages.range(whole.start..whole.end.max(whole.start)).map(|(page, _)| *page).collect();
        for page in inside {
            self.pages.remove(&page);
        }
        for page in [offset / PAGE, end / PAGE] {
            if let Some(bytes) = self.pages.get_mut(&page) {
                let (from, to) = (offset.max(page * PAGE), end.min((page + 1) * PAGE));
                if from < to {
                    bytes[(from - page * PAGE) as usize..(to - page * PAGE) as usize].fill(0);
                }
            }
        }
    }

    pub const fn length(&self) -> u64 {
        self.length
    }

    pub fn pages(&self) -> u64 {
        self.pages.len() as u64
    }
}

const fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE, (offset % PAGE) as usize)
}

/// Something that was done and is not durable.
#[derive(Debug, Clone)]
pub enum Pending {
    Write { offset: u64, bytes: Vec<u8> },
    Punch { offset: u64, length: u64 },
}

/// How much of what is pending a loss of power leaves.
#[derive(Debug, Clone, Copy)]
enum Left {
    All,
    None,
    Operations,
    Sectors,
}

/// A file.
#[derive(Debug, Clone, Default)]
pub struct File {
    pub now: Content,
    durable: Content,
    pending: Vec<Pending>,
    /// Whether the name is durable.
    pub named: bool,
}

impl File {
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.now.write(offset, bytes);
        self.pending.push(Pending::Write { offset, bytes: bytes.to_vec() });
    }

    pub fn punch(&mut self, offset: u64, length: u64) {
        self.now.punch(offset, length);
        self.pending.push(Pending::Punch { offset, length });
    }

    pub fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Write { offset, bytes } => self.durable.write(offset, &bytes),
                Pending::Punch { offset, length } => self.durable.punch(offset, length),
            }
        }
    }

    /// The power is lost: of what is pending any part may be there, and what overlaps may have come in another order.
    pub fn lose_power(&mut self, dice: &mut Dice) {
        let mut pending = std::mem::take(&mut self.pending);
        let left = [Left::All, Left::None, Left::Operations, Left::Sectors][dice.below(4) as usize];
        if !matches!(left, Left::All) && dice.once_in(2) {
            for at in (1..pending.len()).rev() {
                pending.swap(at, dice.below(at as u64 + 1) as usize);
            }
        }
        for one in pending {
            let kept = match left {
                Left::All => true,
                Left::None => false,
                Left::Operations | Left::Sectors => dice.once_in(2),
            };
            match one {
                Pending::Write { offset, bytes } if matches!(left, Left::Sectors) => {
                    for (at, sector) in bytes.chunks(SECTOR).enumerate() {
                        if dice.once_in(2) {
                            self.durable.write(offset + (at * SECTOR) as u64, sector);
                        }
                    }
                }
                Pending::Write { offset, bytes } if kept => self.durable.write(offset, &bytes),
                Pending::Punch { offset, length } if kept => self.durable.punch(offset, length),
                Pending::Write { .. } | Pending::Punch { .. } => {}
            }
        }
        self.now = self.durable.clone();
    }

    /// Turns a bit over, where it is and where it is durable.
    pub fn flip(&mut self, offset: u64, bit: u8) {
        for content in [&mut self.now, &mut self.durable] {
            if offset < content.length {
                let mut byte = [0];
                content.read(offset, &mut byte);
                content.write(offset, &[byte[0] ^ 1 << bit]);
            }
        }
    }
}
