//! A storage host: a vault over a disk that fails, without sockets.

use bytes::Bytes;
use pan_disk::faulty::{Dice, FaultyDisk};
use pan_disk::{Layout, Pool, Source};
use pan_model::{ByteSize, Lineage, VolumeId};
use pan_replica::{Answer, Ask, Conn, Reply, Request, Sequence};
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
}

impl Store {
    pub fn new(size: u64, founder: bool) -> Self {
        let disk = FaultyDisk::default();
        let pool = Pool::format(disk.clone(), Layout { salt: 1, half_bytes: 1 << 20 }).unwrap();
        let vault = Vault::over(pool, Loss::None).unwrap();
        vault.found(VOLUME, ByteSize(size), Lineage(u64::from(founder))).unwrap();
        Self { disk, vault: Some(vault), conns: BTreeSet::new(), later: Vec::new(), loss: false, fenced: 0, size }
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

    /// Answers that follow from a request, each with its connection; and those whose connections it ends.
    pub fn hear(&mut self, conn: u64, request: Request<Bytes>, refused: &mut u64) -> (Vec<(u64, Reply<Bytes>)>, Vec<u64>) {
        let (mut said, mut ended) = (Vec::new(), Vec::new());
        let Some(vault) = &self.vault else { return (said, ended) };
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
                    said.push((conn, Reply { sequence, answer: sent(answer) }));
                }
                Outcome::Dropped => {}
                Outcome::Later(work) => self.later.push((conn, sequence, work)),
            }
        }
        self.loss &= kept.is_lossy();
        (said, ended)
    }

    /// Everything that it has.
    pub fn content(&self) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(self.size).unwrap()];
        self.vault.as_ref().unwrap().pool().read(Source::Volume(VOLUME), 0, &mut all).unwrap();
        all
    }
}

fn sent(answer: Answer<Vec<u8>>) -> Answer<Bytes> {
    match answer {
        Answer::Fenced(fenced) => Answer::Fenced(fenced),
        Answer::Read(data) => Answer::Read(Bytes::from(data)),
        Answer::Done => Answer::Done,
        Answer::Missed(missed) => Answer::Missed(missed),
        Answer::Refused { epoch } => Answer::Refused { epoch },
        Answer::Strange => Answer::Strange,
        Answer::Failed(fault) => Answer::Failed(fault),
    }
}
