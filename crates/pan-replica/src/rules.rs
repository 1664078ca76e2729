//! Rules that can be left out, so that tests can show what each is for.

/// One rule left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// A replica forgets the epoch it obeys when it is restarted.
    VolatileEpoch,
    /// The arbiter changes the record for whoever asks.
    NoCompareAndSwap,
    /// A write is acknowledged as soon as a member that does not answer is given up, not when the arbiter knows.
    AckBeforeShrink,
    /// What was being written when a head died is not made equal.
    NoReconcile,
    /// Heads do not fence, and replicas obey old epochs.
    NoFence,
    /// A head serves as soon as one replica is fenced, and keeps the others.
    OneFenced,
    /// Reads do not wait for a write of the same place.
    ReadDuringWrite,
    /// A member whose addition may or may not have happened is not waited for.
    InDoubtAddIgnored,
    /// What a joining member missed because its connection broke is not copied again.
    NoRecopy,
    /// Extents are copied while they are written.
    CopyUnlocked,
    /// Replicas let copies of any epoch pass.
    CopyEpochUnchecked,
    /// A replica says that it is fenced before its disk knows.
    FenceBeforeDurable,
    /// A joining member is read from.
    ReadFromJoiner,
    /// A flush is acknowledged when one member has done it.
    FlushByOne,
    /// A replica of an earlier lineage is taken for a member.
    OldLineage,
    /// Extents are clean once all members have what was written, on their disks or not.
    SettledWhenDone,
    /// Of what a member that is evicted may lack, those who stay are told only what was under way.
    NotedUnderWay,
    /// A replica answers the first write that makes an extent dirty before its disk knows of any.
    FirstMarkVolatile,
    /// A member that comes back with less than it had when it left is given what others noted, and no more.
    OldCopyTrusted,
    /// What is rotten is written anew from a member that is joining.
    MendFromJoiner,
    /// What is rotten is written anew while it is written.
    MendUnlocked,
    /// A snapshot is taken while something is written.
    SnapshotUnordered,
    /// A head that goes on for clients of another one takes what is left on replicas that were all restarted.
    LossUnderServed,
}

impl Mutant {
    /// Those about disks that rot, snapshots, and clients that outlive a head: found by the simulation, which has them.
    pub const SIMULATED: [Self; 4] = [Self::MendFromJoiner, Self::MendUnlocked, Self::SnapshotUnordered, Self::LossUnderServed];

    /// All others.
    pub const ALL: [Self; 19] = [
        Self::VolatileEpoch,
        Self::NoCompareAndSwap,
        Self::AckBeforeShrink,
        Self::NoReconcile,
        Self::NoFence,
        Self::OneFenced,
        Self::ReadDuringWrite,
        Self::InDoubtAddIgnored,
        Self::NoRecopy,
        Self::CopyUnlocked,
        Self::CopyEpochUnchecked,
        Self::FenceBeforeDurable,
        Self::ReadFromJoiner,
        Self::FlushByOne,
        Self::OldLineage,
        Self::SettledWhenDone,
        Self::NotedUnderWay,
        Self::FirstMarkVolatile,
        Self::OldCopyTrusted,
    ];
}

/// The rules in force: all of them, but in tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rules(Option<Mutant>);

impl Rules {
    /// All but one.
    #[must_use]
    pub const fn without(mutant: Mutant) -> Self {
        Self(Some(mutant))
    }

    pub(crate) fn breaks(self, mutant: Mutant) -> bool {
        self.0 == Some(mutant)
    }
}
