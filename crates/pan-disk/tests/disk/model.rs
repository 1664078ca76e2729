//! What may be read from a volume: for each block the content that was flushed last, and all that came after it.

use std::collections::BTreeSet;

use pan_disk::{BLOCK, DiskError, Member, Pool, Source, Span, faulty::FaultyDisk};
use pan_model::VolumeId;

/// The bytes of a block. 0 is zeros; everything else is told apart in every sector.
pub fn block(content: u64) -> Vec<u8> {
    if content == 0 {
        return vec![0; BLOCK as usize];
    }
    (0..BLOCK / 8).flat_map(|word| (content ^ (word / 64) << 48).to_le_bytes()).collect()
}

/// What a block holds, if it is the whole of something that was written.
pub fn content(bytes: &[u8]) -> Option<u64> {
    let first = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    (bytes == block(first)).then_some(first)
}

/// A volume, block by block.
#[derive(Debug, Clone)]
pub struct Model {
    /// The first is durable.
    pub may: Vec<Vec<u64>>,
    /// Everything that each block ever held.
    pub ever: Vec<BTreeSet<u64>>,
    /// Contents greater than this were written since all extents were settled.
    pub settled: u64,
    /// Contents greater than this were written while the member was away.
    pub away: Option<u64>,
}

pub const MEMBER: Member = Member(5);

impl Model {
    pub fn new(blocks: u64) -> Self {
        let blocks = blocks as usize;
        Self { may: vec![vec![0]; blocks], ever: vec![BTreeSet::from([0]); blocks], settled: 0, away: None }
    }

    pub fn write(&mut self, at: u64, content: u64) {
        self.may[at as usize].push(content);
        self.ever[at as usize].insert(content);
    }

    pub fn now(&self, at: u64) -> u64 {
        *self.may[at as usize].last().unwrap()
    }

    pub fn flushed(&mut self) {
        for may in &mut self.may {
            may.drain(..may.len() - 1);
        }
    }

    pub fn blocks(&self) -> u64 {
        self.may.len() as u64
    }

    /// Every block is what it must be now.
    pub fn check_now(&self, pool: &Pool<FaultyDisk>, from: Source, blocks: std::ops::Range<u64>) {
        self.try_now(pool, from, blocks).unwrap();
    }

    /// The same, on a disk that may be gone.
    pub fn try_now(&self, pool: &Pool<FaultyDisk>, from: Source, blocks: std::ops::Range<u64>) -> Result<(), DiskError> {
        let mut bytes = vec![0; ((blocks.end - blocks.start) * BLOCK) as usize];
        pool.read(from, blocks.start * BLOCK, &mut bytes)?;
        for (at, bytes) in blocks.zip(bytes.chunks(BLOCK as usize)) {
            assert_eq!(content(bytes), Some(self.now(at)), "{from}, block {at}");
        }
        Ok(())
    }

    /// After something was refused: every block is what it may be, and is that now. A loss of power may take it back.
    pub fn check_refused(&mut self, pool: &Pool<FaultyDisk>, volume: VolumeId) {
        let from = Source::Volume(volume);
        let mut bytes = vec![0; (self.blocks() * BLOCK) as usize];
        pool.read(from, 0, &mut bytes).unwrap();
        for (at, (may, bytes)) in self.may.iter_mut().zip(bytes.chunks(BLOCK as usize)).enumerate() {
            let found = content(bytes).unwrap_or_else(|| panic!("{from}, block {at}: a mixture"));
            assert!(may.contains(&found), "{from}, block {at}: {found} is none of {may:?}");
            may.push(found);
        }
    }

    /// After a crash: every block is what it may be, and is that from now on.
    pub fn check_crashed(&mut self, pool: &Pool<FaultyDisk>, volume: VolumeId) {
        let from = Source::Volume(volume);
        let mut bytes = vec![0; (self.blocks() * BLOCK) as usize];
        pool.read(from, 0, &mut bytes).unwrap();
        let intents: BTreeSet<u64> = pool.intents(volume).unwrap().iter().map(|extent| extent.0).collect();
        let missed = self.away.map(|since| (since, pool.missed(volume, MEMBER).unwrap()));
        for (at, bytes) in (0..).zip(bytes.chunks(BLOCK as usize)) {
            let may = &mut self.may[at as usize];
            let found = content(bytes).unwrap_or_else(|| panic!("{from}, block {at}: a mixture"));
            assert!(may.contains(&found), "{from}, block {at}: {found} is none of {may:?}");
            if found > self.settled {
                assert!(intents.contains(&(at / 32)), "{from}, block {at}: written, and in no intent");
            }
            if let Some((since, missed)) = &missed
                && found > *since
            {
                let within = |span: &Span| span.offset <= at * BLOCK && at * BLOCK < span.end();
                assert!(missed.iter().any(within), "{from}, block {at}: written while a member was away, and not kept for it");
            }
            *may = vec![found];
        }
    }

    /// After anything: whatever can be read was written there once; `exact` blocks must be what they are now.
    pub fn check_damaged(&self, pool: &Pool<FaultyDisk>, from: Source) -> Damage {
        let mut damage = Damage::default();
        for at in 0..self.blocks() {
            let mut bytes = vec![0; BLOCK as usize];
            match pool.read(from, at * BLOCK, &mut bytes) {
                Ok(()) => {
                    let found = content(&bytes).unwrap_or_else(|| panic!("{from}, block {at}: garbage"));
                    assert!(self.ever[at as usize].contains(&found), "{from}, block {at}: {found} was never there");
                    damage.stale += u64::from(found != self.now(at));
                }
                Err(DiskError::Rotten { span, .. }) => {
                    assert_eq!(span, Span { offset: at * BLOCK, length: BLOCK });
                    damage.rotten += 1;
                }
                Err(DiskError::MapRotten { .. } | DiskError::Damaged { .. }) => damage.rotten += 1,
                Err(error) => panic!("{from}, block {at}: {error}"),
            }
        }
        damage
    }
}

/// How many blocks could not be read, and how many are not the newest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Damage {
    pub rotten: u64,
    pub stale: u64,
}
