//! From what a pool has to replicas that obey.

use super::Kept;
use pan_disk::{DiskError, EXTENT, Medium, Pool};
use pan_model::VolumeId;
use pan_replica::{Extent, Geometry, Member, Notes, Replica, Rules, Sequence, Standing};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const _: () = assert!(EXTENT == pan_replica::EXTENT, "what the disk keeps account of is what replicas speak of");

/// Whether what was not flushed may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The machine ran on since it was written: whatever was acknowledged is there.
    None,
    /// The machine was restarted, or the disk failed.
    Possible,
}

/// All replicas of a pool. Those whose superblocks are damaged are left out.
pub(super) fn all<M: Medium>(pool: &Pool<M>, loss: Loss) -> Result<BTreeMap<VolumeId, Arc<Kept>>, DiskError> {
    let whole = pool.volumes().into_iter().filter(|info| info.superblock.is_some());
    whole.map(|info| Ok((info.volume, Arc::new(one(pool, info.volume, loss)?)))).collect()
}

/// One replica.
pub(super) fn one<M: Medium>(pool: &Pool<M>, volume: VolumeId, loss: Loss) -> Result<Kept, DiskError> {
    let superblock = pool.superblock(volume)?;
    let standing = Standing {
        lineage: superblock.lineage,
        epoch: superblock.epoch,
        session: superblock.session,
        flushed: (superblock.last_flush.epoch, Sequence(superblock.last_flush.count)),
        fill: superblock.fill,
    };
    let dirty: BTreeSet<Extent> = pool.intents(volume)?.into_iter().map(|extent| Extent(extent.0)).collect();
    let mut notes = BTreeMap::new();
    for (member, since) in pool.absent(volume)? {
        let spans = pool.missed(volume, member)?;
        let extents = spans.iter().flat_map(|span| span.offset / EXTENT..span.end().div_ceil(EXTENT)).map(Extent).collect();
        // Numbers of members have 32 bits wherever they come from.
        notes.extend(u32::try_from(member.0).ok().map(|member| (Member(member), Notes { since, extents })));
    }
    let geometry = Geometry { size: superblock.size, extent: EXTENT };
    Ok(Kept::new(volume, geometry, Replica::new(geometry, standing, (dirty, notes), loss == Loss::Possible, Rules::default())))
}
