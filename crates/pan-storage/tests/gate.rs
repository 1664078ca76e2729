//! A replica's gate is never held by somebody who waits for the pool: connections are admitted through it, all by few threads.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pan_disk::faulty::FaultyDisk;
use pan_disk::{Durability, Fault, INTENTS_MAX, Layout, Medium, Name, Pool, Write};
use pan_model::mirror::Writer;
use pan_model::{ByteSize, Lineage, Session, VolumeEpoch, VolumeId};
use pan_replica::{Ask, Conn, Content, Dialect, EXTENT, Part, Request, Sequence, Span};
use pan_storage::vault::{Admitted, Kept, Loss, Outcome, Vault};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const VOLUME: VolumeId = VolumeId(1);
const OTHER: VolumeId = VolumeId(2);

/// A disk at which, while the pool waits for it, somebody wants to know whom a replica obeys.
#[derive(Clone, Default)]
struct Asking {
    disk: FaultyDisk,
    replica: Arc<OnceLock<Arc<Kept>>>,
}

impl Medium for Asking {
    fn read_at(&self, name: Name, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        self.disk.read_at(name, offset, into)
    }

    fn write_at(&self, name: Name, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.replica.get().into_iter().for_each(|kept| _ = kept.standing());
        self.disk.write_at(name, offset, bytes)
    }

    fn sync(&self, name: Name) -> Result<(), Fault> {
        self.disk.sync(name)
    }

    fn punch(&self, name: Name, offset: u64, length: u64) -> Result<(), Fault> {
        self.disk.punch(name, offset, length)
    }

    fn length(&self, name: Name) -> Result<u64, Fault> {
        self.disk.length(name)
    }

    fn remove(&self, name: Name) -> Result<(), Fault> {
        self.disk.remove(name)
    }

    fn names(&self) -> Result<Vec<Name>, Fault> {
        self.disk.names()
    }

    fn sync_names(&self) -> Result<(), Fault> {
        self.disk.sync_names()
    }
}

fn perform(vault: &Vault<Asking>, kept: &Kept, sequence: u64, ask: Ask<Vec<u8>>) -> Outcome<Vec<u8>> {
    let (writer, lineage) = (Writer { epoch: VolumeEpoch(1), session: Session(1) }, Lineage(1));
    let request = Request { writer, lineage, sequence: Sequence(sequence), settled: Sequence(0), reconciled: true, ask };
    match kept.admit(Conn(1), request) {
        Admitted::Work(work) => vault.perform(kept, work),
        Admitted::Answer(answer) => panic!("{answer:?}"),
    }
}

fn write(extent: u64) -> Ask<Vec<u8>> {
    let span = Span { at: extent * EXTENT, length: 4096 };
    Ask::Write { span, content: Content::Data(vec![1; 4096]), durable: false, copy: false }
}

#[test]
fn whoever_finds_the_log_full_keeps_nobody_from_being_admitted() {
    let disk = Asking::default();
    let pool = Pool::format(disk.clone(), Layout { salt: 1, half_bytes: 1 << 20 }).unwrap();
    let vault = Arc::new(Vault::over(pool, Loss::None).unwrap());
    for volume in [VOLUME, OTHER] {
        vault.found(volume, ByteSize(300 * EXTENT), Lineage(1)).unwrap();
    }
    let kept = vault.replica(VOLUME).unwrap();
    perform(&vault, &kept, 1, Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::First, out: None });
    for extent in 0..INTENTS_MAX as u64 {
        assert!(matches!(perform(&vault, &kept, extent + 2, write(extent)), Outcome::Answer(_)));
    }
    assert!(disk.replica.set(kept.clone()).is_ok());
    let (over, ended) = (Arc::new(AtomicBool::new(false)), channel());
    let (busy, done) = (vault.clone(), over.clone());
    let others = std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            busy.pool().write(OTHER, Write { offset: 0, data: &[2; 4096] }, Durability::Flushed).unwrap();
        }
    });
    std::thread::spawn(move || {
        for sequence in 1000..3000 {
            assert!(matches!(perform(&vault, &kept, sequence, write(299)), Outcome::Later(_)));
        }
        ended.0.send(()).unwrap();
    });
    ended.1.recv_timeout(Duration::from_secs(60)).expect("one holds the gate and waits for the pool, and the pool's user for the gate");
    over.store(true, Ordering::Relaxed);
    others.join().unwrap();
}
