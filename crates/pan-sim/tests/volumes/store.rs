//! A storage host: a vault over a disk that fails, without sockets.

use bytes::Bytes;
use pan_disk::faulty::{Dice, Faults, FaultyDisk};
use pan_disk::{Condition, Layout, Name, Pool, ScrubAt, Source};
use pan_model::{ByteSize, Lineage, SnapshotId, VolumeId};
use pan_replica::{Answer, Ask, Conn, Fault, Reply, Request, Sequence, Span};
use pan_storage::vault::{Admitted, Loss, Outcome, Vault, Work};
use std::collections::BTreeSet;

pub const VOLUME: VolumeId = VolumeId(1);

pub struct Store {
    disk: FaultyDisk,
    vault: Option<Vault<FaultyDisk>>,
    pub conns: BTreeSet<u64>,
    later: Vec<(u64, Sequence, Work<Bytes>)>,
    /// Something may be lost that no head has made equal since.
    loss: bool,
    /// The newest epoch whose fence it answered.
    fenced: u64,
    size: u64,
    /// It does not compare what it reads with what was written.
    blind: bool,
    /// Its disk says of every sync that it was done, and does none.
    pub lies: bool,
}

/// What comes of a request.
#[derive(Default)]
pub struct Heard {
    /// Answers, each with its connection.
    pub said: Vec<(u64, Reply<Bytes>)>,
    /// Connections that end.
    pub ended: Vec<u64>,
    /// The disk could not go on: nothing is served until it was opened anew.
    pub failed: bool,
}

impl Store {
    pub fn new(size: u64, blind: bool) -> Self {
        let (disk, vault) = made(size, Lineage(1));
        let (conns, later) = (BTreeSet::new(), Vec::new());
        Self { disk, vault: Some(vault), conns, later, loss: false, fenced: 0, size, blind, lies: false }
    }

    /// Somebody puts another disk in the place of the one that it had.
    pub fn replace_disk(&mut self) {
        self.crash();
        (self.disk, self.vault) = (made(self.size, Lineage(0)).0, None);
        (self.loss, self.fenced, self.lies) = (false, 0, false);
    }

    /// From now on its disk has room for so many bytes more.
    pub fn fill_up(&mut self, left: u64) {
        self.disk.set(Faults { capacity: self.disk.used() + left, ..self.faults() });
    }

    pub fn make_room(&mut self) {
        self.disk.set(self.faults());
        if let Some(vault) = &self.vault
            && vault.pool().condition() == Condition::Full
        {
            vault.pool().tidy().unwrap();
        }
    }

    fn faults(&self) -> Faults {
        Faults { lies: self.lies, ..Faults::NONE }
    }

    pub fn lie(&mut self) {
        self.lies = true;
        self.disk.set(self.faults());
    }

    /// Bits turn over where the data lie: in a quarter of the blocks. Whether anything is wrong now that somebody could read.
    pub fn rot(&mut self, dice: &mut Dice) -> bool {
        let Some(vault) = &self.vault else { return false };
        if vault.pool().tidy().is_err() {
            return false;
        }
        let blocks = self.disk.content(Name::Data).len() as u64 / 4096;
        for block in 0..blocks {
            if dice.once_in(4) {
                self.disk.flip(Name::Data, block * 4096 + dice.below(4096), dice.below(8) as u8);
            }
        }
        self.scrub()
    }

    /// Scrubs, as a storage host does all the time; whether something of the volume is not what was written.
    pub fn scrub(&self) -> bool {
        let Some(vault) = &self.vault else { return true };
        vault.scrub(ScrubAt::default(), u64::MAX).unwrap();
        let mut all = vec![0; usize::try_from(self.size).unwrap()];
        vault.pool().read(Source::Volume(VOLUME), 0, &mut all).is_err()
    }

    /// What its head is to be told unasked.
    pub fn untold(&self) -> Vec<(u64, Reply<Bytes>)> {
        let Some(kept) = self.vault.as_ref().and_then(|vault| vault.replica(VOLUME)) else { return Vec::new() };
        let told = self.conns.iter().map(|conn| (*conn, kept.tell_rotten(Conn(*conn))));
        let news = told.filter(|(_, extents)| !extents.is_empty());
        news.map(|(conn, extents)| (conn, Reply { sequence: Sequence(0), answer: Answer::Rotten(extents) })).collect()
    }

    /// What a snapshot holds; `None`: it is not here.
    pub fn snapshot(&self, snapshot: SnapshotId) -> Option<Vec<u8>> {
        let pool = self.vault.as_ref()?.pool();
        pool.snapshots().iter().find(|info| info.snapshot == snapshot)?;
        let mut all = vec![0; usize::try_from(self.size).unwrap()];
        pool.read(Source::Snapshot(snapshot), 0, &mut all).unwrap();
        Some(all)
    }

    /// Removes all snapshots but one.
    pub fn forget_snapshots(&self, but: SnapshotId) {
        let Some(vault) = &self.vault else { return };
        for info in vault.pool().snapshots().into_iter().filter(|info| info.snapshot != but) {
            // One that is full keeps it until the next time.
            let _ = vault.pool().delete_snapshot(info.snapshot);
        }
    }

    pub fn is_up(&self) -> bool {
        self.vault.is_some()
    }

    /// Its process ends; what it wrote is in the kernel's memory.
    pub fn crash(&mut self) {
        self.vault = None;
        self.conns.clear();
        self.later.clear();
    }

    /// Its machine loses power: what was not synced is there in part.
    pub fn lose_power(&mut self, dice: &mut Dice) {
        self.crash();
        self.disk.lose_power(dice);
        self.disk.set(Faults::NONE);
        self.loss = true;
    }

    pub fn start(&mut self) {
        let loss = if self.loss { Loss::Possible } else { Loss::None };
        let vault = Vault::over(Pool::open(self.disk.clone()).unwrap(), loss).unwrap();
        self.loss &= vault.replica(VOLUME).unwrap().is_lossy();
        self.vault = Some(vault);
    }

    pub fn close(&mut self, conn: u64) {
        self.conns.remove(&conn);
        if let Some(kept) = self.vault.as_ref().and_then(|vault| vault.replica(VOLUME)) {
            kept.closed(Conn(conn));
        }
    }

    /// What follows from a request.
    pub fn hear(&mut self, conn: u64, request: Request<Bytes>, refused: &mut u64) -> Heard {
        let Heard { mut said, mut ended, .. } = Heard::default();
        let Some(vault) = &self.vault else { return Heard::default() };
        let span = request.ask.span();
        let kept = vault.replica(VOLUME).unwrap();
        let (epoch, sequence) = (request.writer.epoch.0, request.sequence);
        let changes = matches!(request.ask, Ask::Write { .. });
        let mut works = Vec::new();
        match kept.admit(Conn(conn), request) {
            Admitted::Answer(answer) => {
                *refused += u64::from(matches!(answer, Answer::Refused { .. }));
                said.push((conn, Reply { sequence, answer }));
            }
            Admitted::Work(work) => {
                if work.is_fence() {
                    ended = self.conns.iter().copied().filter(|other| *other != conn).collect();
                }
                works.push((conn, sequence, work));
            }
        }
        // What had no room before comes first: it was admitted before.
        for (conn, sequence, work) in std::mem::take(&mut self.later).into_iter().chain(works) {
            let fence = work.is_fence();
            match vault.perform(&kept, work) {
                Outcome::Answer(answer) => {
                    let done = matches!(answer, Answer::Done);
                    // I1. Performed at once, so the epoch is the request's own.
                    assert!(
                        !(changes && done && epoch < self.fenced),
                        "a write of epoch {epoch} was done after {} was fenced",
                        self.fenced
                    );
                    if fence && matches!(answer, Answer::Fenced(_)) {
                        self.fenced = self.fenced.max(epoch);
                    }
                    let answer = match (answer, span) {
                        (Answer::Failed(Fault::Rotten), Some(span)) if self.blind && !changes => Answer::Read(seen_blindly(span)),
                        (answer, _) => answer,
                    };
                    said.push((conn, Reply { sequence, answer: sent(answer) }));
                }
                Outcome::Dropped => {}
                Outcome::Later(work) => self.later.push((conn, sequence, work)),
            }
        }
        self.loss &= kept.is_lossy();
        let failed = matches!(vault.pool().condition(), Condition::Failed(_));
        // What was not on the disk then is not known.
        self.loss |= failed;
        Heard { said, ended, failed }
    }

    /// Everything that it has.
    pub fn content(&self) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(self.size).unwrap()];
        self.vault.as_ref().unwrap().pool().read(Source::Volume(VOLUME), 0, &mut all).unwrap();
        all
    }
}

fn made(size: u64, lineage: Lineage) -> (FaultyDisk, Vault<FaultyDisk>) {
    let disk = FaultyDisk::default();
    let pool = Pool::format(disk.clone(), Layout { salt: 1, half_bytes: 1 << 20 }).unwrap();
    let vault = Vault::over(pool, Loss::None).unwrap();
    vault.found(VOLUME, ByteSize(size), lineage).unwrap();
    (disk, vault)
}

/// What one that compares nothing takes for the data: a bit of each block is another one.
fn seen_blindly(span: Span) -> Vec<u8> {
    vec![1; usize::try_from(span.length).unwrap()]
}

fn sent(answer: Answer<Vec<u8>>) -> Answer<Bytes> {
    match answer {
        Answer::Fenced(fenced) => Answer::Fenced(fenced),
        Answer::Read(data) => Answer::Read(Bytes::from(data)),
        Answer::Hole => Answer::Hole,
        Answer::Rotten(extents) => Answer::Rotten(extents),
        Answer::Done => Answer::Done,
        Answer::Missed(missed) => Answer::Missed(missed),
        Answer::Refused { epoch } => Answer::Refused { epoch },
        Answer::Strange => Answer::Strange,
        Answer::Failed(fault) => Answer::Failed(fault),
    }
}
