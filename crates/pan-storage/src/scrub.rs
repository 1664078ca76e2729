//! Reads everything that is kept, slowly and over and over, and says what is not what was written: to people, and to the heads of the
//! volumes, which write it anew from another replica.

use crate::files::Files;
use crate::vault::Vault;
use pan_disk::{Medium, ScrubAt, Source};
use pan_model::VolumeId;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes a second: a terabyte takes a day and a half, and a disk has far more than that to give.
const RATE: u64 = 8 << 20;
/// Bytes that are read at once.
const STEP: u64 = 1 << 20;
/// From the end of one pass to the beginning of the next: what rots does so over months.
const PAUSE: Duration = Duration::from_secs(3600);

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rot(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    /// Bytes of the pass that goes on.
    now: BTreeMap<VolumeId, u64>,
    /// Of the last one that came to its end.
    last: BTreeMap<VolumeId, u64>,
    /// Bytes found over all passes.
    total: u64,
}

impl Rot {
    /// What is wrong with the replica of a volume, for people.
    pub(crate) fn trouble(&self, volume: VolumeId) -> Option<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = found.now.get(&volume).max(found.last.get(&volume)).copied()?;
        Some(format!(
            "{} KiB of it are not what was written; they are written anew from another copy while a server uses the volume",
            bytes.div_ceil(1024)
        ))
    }

    /// Bytes that were found to be bad, also those of earlier passes.
    pub(crate) fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Reads on from `at`: where to go on, and for how long to leave the disk alone. `None`: the disk failed.
    fn step<M: Medium>(&self, vault: &Vault<M>, at: ScrubAt) -> Option<(ScrubAt, Duration)> {
        let done = vault.scrub(at, STEP).inspect_err(|error| tracing::warn!(%error, "scrubbing ended")).ok()?;
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for rot in done.rot {
            tracing::warn!(from = %rot.from, span = %rot.span, "not what was written");
            found.total += rot.span.length;
            if let Source::Volume(volume) = rot.from {
                *found.now.entry(volume).or_default() += rot.span.length;
            }
        }
        Some(match done.next {
            Some(next) => (next, Duration::from_millis(done.bytes * 1000 / RATE)),
            None => {
                found.last = std::mem::take(&mut found.now);
                (ScrubAt::default(), PAUSE)
            }
        })
    }
}

/// A scrub that goes on; it ends when this is dropped.
pub(crate) struct Scrub(#[expect(dead_code, reason = "what counts is that it is dropped")] Sender<()>);

/// Begins to scrub.
pub(crate) fn start(vault: Arc<Vault<Files>>, rot: Rot) -> Scrub {
    let (alive, ended) = channel();
    let started = std::thread::Builder::new().name("pool-scrub".into()).spawn(move || scrub(&vault, &rot, &ended));
    if let Err(error) = started {
        tracing::warn!(%error, "no thread to scrub with");
    }
    Scrub(alive)
}

fn scrub(vault: &Vault<Files>, rot: &Rot, ended: &Receiver<()>) {
    let mut at = ScrubAt::default();
    while let Some((next, pause)) = rot.step(vault, at) {
        at = next;
        if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Loss;
    use pan_disk::faulty::FaultyDisk;
    use pan_disk::{Durability, Layout, Name, Pool, Write};
    use pan_model::{ByteSize, Lineage};

    const VOLUME: VolumeId = VolumeId(1);

    fn pass(rot: &Rot, vault: &Vault<FaultyDisk>) {
        let mut at = ScrubAt::default();
        loop {
            let (next, pause) = rot.step(vault, at).unwrap();
            at = next;
            if pause == PAUSE {
                return;
            }
        }
    }

    #[test]
    fn what_rots_is_a_trouble_until_it_was_written_again() {
        let disk = FaultyDisk::default();
        let pool = Pool::format(disk.clone(), Layout { salt: 1, half_bytes: 128 << 10 }).unwrap();
        let vault = Vault::over(pool, Loss::None).unwrap();
        vault.found(VOLUME, ByteSize(1 << 20), Lineage(1)).unwrap();
        let pool = vault.pool();
        pool.write(VOLUME, Write { offset: 0, data: &[7; 1 << 18] }, Durability::Now).unwrap();
        pool.tidy().unwrap();
        let rot = Rot::default();
        pass(&rot, &vault);
        assert_eq!((rot.trouble(VOLUME), rot.total()), (None, 0));
        disk.flip(Name::Data, 5000, 3);
        pass(&rot, &vault);
        assert!(rot.trouble(VOLUME).is_some_and(|text| text.starts_with("4 KiB")), "{rot:?}");
        pool.write(VOLUME, Write { offset: 4096, data: &[8; 4096] }, Durability::Now).unwrap();
        pool.tidy().unwrap();
        pass(&rot, &vault);
        assert_eq!((rot.trouble(VOLUME), rot.total()), (None, 4096));
    }
}
