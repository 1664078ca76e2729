//! The orderly end of the role: what was begun is finished, and the pool is closed.
//!
//! It is a courtesy: whatever was promised is on the disk already, and the next start finds it there after a kill as well. But it takes
//! less time then, and what was acknowledged without being flushed is there after a loss of power, too.

use crate::vault::Vault;
use pan_disk::{DiskError, Medium};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// In which it is done, or left: the journal holds 64 MiB at most, which a slow disk takes home in less.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether somebody still uses the pool: connections that end, a block that is being scrubbed.
const LOOK: Duration = Duration::from_millis(5);

/// How it went.
#[derive(Debug, PartialEq, Eq)]
enum Closed {
    Yes,
    /// The disk could not.
    Failed(DiskError),
    /// Not within [`CLOSE_MAX`].
    Late,
}

/// Closes a pool that nobody is given any more; whoever has it lets go of it by itself.
pub(crate) async fn close<M: Medium + 'static>(vault: Arc<Vault<M>>) {
    match closed(vault).await {
        Closed::Yes => tracing::info!("the pool is closed"),
        Closed::Failed(error) => tracing::warn!(%error, "the pool was not closed; what was flushed is there"),
        Closed::Late => {
            tracing::warn!("the pool was not closed, for its disk took longer than {} s; what was flushed is there", CLOSE_MAX.as_secs());
        }
    }
}

async fn closed<M: Medium + 'static>(vault: Arc<Vault<M>>) -> Closed {
    let closing = async move {
        let ends = vault.clone();
        let ended = spawn_blocking(move || {
            ends.end();
            ends.pool().stop_upkeep();
        });
        if let Err(lost) = ended.await {
            return Err(DiskError::Failed(lost.to_string()));
        }
        let mut shared = vault;
        let vault = loop {
            match Arc::try_unwrap(shared) {
                Ok(vault) => break vault,
                Err(others) => shared = others,
            }
            sleep(LOOK).await;
        };
        spawn_blocking(move || vault.close()).await.unwrap_or_else(|lost| Err(DiskError::Failed(lost.to_string())))
    };
    match timeout(CLOSE_MAX, closing).await {
        Ok(Ok(())) => Closed::Yes,
        Ok(Err(error)) => Closed::Failed(error),
        Err(_) => Closed::Late,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{Admitted, Loss, Outcome};
    use pan_disk::faulty::FaultyDisk;
    use pan_disk::{Layout, Pool};
    use pan_model::mirror::Writer;
    use pan_model::{ByteSize, Lineage, Session, VolumeEpoch, VolumeId};
    use pan_replica::{Answer, Ask, Conn, Content, Dialect, Part, Request, Sequence, Span};

    const VOLUME: VolumeId = VolumeId(7);

    fn ask(vault: &Vault<FaultyDisk>, sequence: u64, ask: Ask<Vec<u8>>) -> Outcome<Vec<u8>> {
        let (writer, lineage) = (Writer { epoch: VolumeEpoch(1), session: Session(1) }, Lineage(1));
        let request = Request { writer, lineage, sequence: Sequence(sequence), settled: Sequence(0), reconciled: true, ask };
        let kept = vault.replica(VOLUME).unwrap();
        match kept.admit(Conn(1), request) {
            Admitted::Answer(answer) => panic!("{answer:?}"),
            Admitted::Work(work) => vault.perform(&kept, work),
        }
    }

    fn write(vault: &Vault<FaultyDisk>, sequence: u64) -> Outcome<Vec<u8>> {
        let content = Content::Data(vec![9; 4096]);
        ask(vault, sequence, Ask::Write { span: Span { at: 8192, length: 4096 }, content, durable: false, copy: false })
    }

    /// With something written that nobody flushed.
    fn used(disk: &FaultyDisk) -> Arc<Vault<FaultyDisk>> {
        let pool = Pool::format(disk.clone(), Layout { salt: 1, half_bytes: 1 << 20 }).unwrap();
        let vault = Vault::over(pool, Loss::None).unwrap();
        vault.found(VOLUME, ByteSize(1 << 20), Lineage(1)).unwrap();
        ask(&vault, 1, Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::First, out: None });
        assert!(matches!(write(&vault, 2), Outcome::Answer(Answer::Done)));
        Arc::new(vault)
    }

    fn in_journal(disk: &FaultyDisk) -> u64 {
        Pool::open(disk.clone()).unwrap().usage().journal
    }

    #[tokio::test]
    async fn everything_is_at_rest_and_nothing_is_done_after() {
        let (killed, closed_in_order) = (FaultyDisk::default(), FaultyDisk::default());
        drop(used(&killed));
        assert_ne!(in_journal(&killed), 0, "what a kill leaves");
        let vault = used(&closed_in_order);
        let (user, last) = (vault.clone(), vault.replica(VOLUME).unwrap());
        let uses = tokio::task::spawn_blocking(move || {
            // A connection's work that comes too late: it is dropped, and lets go.
            while !matches!(write(&user, 3), Outcome::Dropped) {}
        });
        assert_eq!(closed(vault).await, Closed::Yes);
        uses.await.unwrap();
        drop(last);
        assert_eq!(in_journal(&closed_in_order), 0);
        let vault = Vault::over(Pool::open(closed_in_order).unwrap(), Loss::None).unwrap();
        let mut data = vec![0; 4096];
        vault.pool().read(pan_disk::Source::Volume(VOLUME), 8192, &mut data).unwrap();
        assert_eq!(data, [9; 4096]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_let_go_does_not_keep_the_role_from_ending() {
        let disk = FaultyDisk::default();
        let vault = used(&disk);
        let _holds = vault.clone();
        assert_eq!(closed(vault).await, Closed::Late);
    }
}
