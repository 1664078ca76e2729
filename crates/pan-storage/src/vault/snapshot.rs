//! A snapshot without a head: of a volume that nobody has, and that is the same everywhere.

use super::kept::{Admitted, Outcome};
use super::{Kept, Vault};
use pan_disk::Medium;
use pan_model::mirror::Writer;
use pan_model::{Lineage, SnapshotId};
use pan_replica::{Answer, Ask, Conn, Dialect, Part, Request, Sequence};

/// Connections of heads are numbered from one.
const NOBODY: Conn = Conn(0);

/// Why none was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// A newer writer was here: whoever ordered it knows of that, or will.
    #[error("somebody has the volume")]
    Deposed,
    /// What was written last may not be everywhere.
    #[error("its last writer did not end in order: it is taken when a server has the volume again")]
    Unsure,
    /// The disk, or it is no replica of that lineage.
    #[error("its replica cannot take one now: {0}")]
    Failed(String),
}

impl<M: Medium> Vault<M> {
    /// Keeps a volume as it is, as a head would: whoever wrote it before can do so no more, and what it left must be the same on all replicas.
    /// Durable when it returns; one of that number is replaced.
    ///
    /// # Errors
    /// [`Untaken`].
    pub fn take(&self, kept: &Kept, snapshot: SnapshotId, writer: Writer, lineage: Lineage) -> Result<(), Untaken> {
        let ask = |sequence, ask: Ask<Vec<u8>>| {
            let request = Request { writer, lineage, sequence: Sequence(sequence), settled: Sequence(0), reconciled: false, ask };
            match kept.admit(NOBODY, request) {
                Admitted::Answer(answer) => answer,
                Admitted::Work(work) => match self.perform(kept, work) {
                    Outcome::Answer(answer) => answer,
                    Outcome::Dropped | Outcome::Later(_) => Answer::Refused { epoch: kept.standing().epoch },
                },
            }
        };
        let taken = match ask(1, Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::First, out: None }) {
            Answer::Fenced(fenced) if fenced.dirty.is_empty() && !fenced.lossy => ask(2, Ask::Snapshot { snapshot }),
            Answer::Fenced(_) => return Err(Untaken::Unsure),
            other => other,
        };
        match taken {
            Answer::Done => Ok(()),
            Answer::Refused { .. } => Err(Untaken::Deposed),
            Answer::Failed(fault) => Err(Untaken::Failed(fault.to_string())),
            Answer::Strange | Answer::Fenced(_) | Answer::Read(_) | Answer::Hole | Answer::Missed(_) | Answer::Rotten(_) => {
                Err(Untaken::Failed("it lacks something".into()))
            }
        }
    }
}
