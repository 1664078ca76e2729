//! What a head has under way.

use super::marks::Noting;
use super::{Op, OpId, Trouble};
use crate::geometry::{Extent, Span};
use crate::locks::Ticket;
use crate::message::{Ask, Content, Fault, Sequence};
use pan_model::SnapshotId;
use pan_model::mirror::Member;
use std::collections::BTreeSet;
use std::time::Duration;

/// What waits until its place is free.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Waiting<D> {
    /// A client's operation.
    Client(OpId, Op<D>),
    /// Rule 4: to be made equal.
    Reconcile(Extent),
    /// Rule 7: to be copied to one that comes back.
    Copy(Extent, Member),
}

impl<D> Waiting<D> {
    /// Whether a client writes.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Client(_, Op::Write { .. }) => true,
            Self::Client(_, Op::Read { .. } | Op::Flush | Op::Snapshot(_)) | Self::Reconcile(_) | Self::Copy(..) => false,
        }
    }

    pub fn client(&self) -> Option<OpId> {
        match self {
            Self::Client(op, _) => Some(*op),
            Self::Reconcile(_) | Self::Copy(..) => None,
        }
    }
}

/// What an extent is copied for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Copying {
    /// All others in sync.
    Reconcile,
    /// One that comes back.
    Join(Member),
}

/// What is under way: known by the sequence of its requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Task<D> {
    /// When it was sent.
    pub since: Duration,
    /// The place it has.
    pub ticket: Option<Ticket>,
    /// Whose answers are still to come.
    pub waiting: BTreeSet<Member>,
    /// What.
    pub what: What<D>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum What<D> {
    /// A client reads; these could not.
    Read { op: OpId, span: Span, tried: BTreeSet<Member> },
    /// A client writes; what the last member had against it.
    Write { op: OpId, span: Span, content: Content<D>, durable: bool, fault: Option<Fault> },
    /// A client flushes, or the head itself so that replicas can strike extents from their logs; after so many writes were acknowledged that it
    /// counts for, and all changes up to `covers` were done; it tells replicas that those up to `tells` are settled.
    Flush { op: Option<OpId>, acknowledged: u64, covers: Sequence, tells: Sequence, noting: Noting, fault: Option<Fault> },
    /// A client wants it kept as it is; who has done so, all of the same moment, and why a member cannot.
    Snapshot { op: OpId, snapshot: SnapshotId, taken: BTreeSet<Member>, fault: Option<Fault> },
    /// An extent is read to be written elsewhere; these could not.
    CopyRead { extent: Extent, span: Span, to: Copying, tried: BTreeSet<Member> },
    /// And is written there.
    CopyWrite { extent: Extent, span: Span, to: Copying, content: Content<D> },
}

impl<D: Clone> Task<D> {
    /// Whether it changes what replicas have.
    pub fn changes(&self) -> bool {
        match self.what {
            What::Write { .. } | What::CopyWrite { .. } => true,
            What::Read { .. } | What::Flush { .. } | What::Snapshot { .. } | What::CopyRead { .. } => false,
        }
    }

    pub fn span(&self) -> Option<Span> {
        match self.what {
            What::Read { .. } | What::Flush { .. } | What::Snapshot { .. } => None,
            What::Write { span, .. } | What::CopyRead { span, .. } | What::CopyWrite { span, .. } => Some(span),
        }
    }

    /// Whether only somebody on the way back has a part in it.
    pub fn is_for_joiner(&self) -> bool {
        matches!(self.what, What::CopyRead { to: Copying::Join(_), .. } | What::CopyWrite { to: Copying::Join(_), .. })
    }

    pub fn client(&self) -> Option<OpId> {
        match self.what {
            What::Read { op, .. } | What::Write { op, .. } | What::Snapshot { op, .. } => Some(op),
            What::Flush { op, .. } => op,
            What::CopyRead { .. } | What::CopyWrite { .. } => None,
        }
    }

    /// What a member is asked for it.
    pub fn ask(&self) -> Ask<D> {
        match &self.what {
            What::Read { span, .. } => Ask::Read { span: *span, copy: false },
            What::Write { span, content, durable, .. } => {
                Ask::Write { span: *span, content: content.clone(), durable: *durable, copy: false }
            }
            What::Flush { .. } => Ask::Flush { whole: false },
            What::Snapshot { snapshot, .. } => Ask::Snapshot { snapshot: *snapshot },
            What::CopyRead { span, .. } => Ask::Read { span: *span, copy: true },
            What::CopyWrite { span, content, to, .. } => {
                // What was there instead must not come back with a power failure, after it was read that it is not there. One that
                // joins is flushed as a whole.
                let durable = *to == Copying::Reconcile;
                Ask::Write { span: *span, content: content.clone(), durable, copy: true }
            }
        }
    }

    /// How an operation of a client that was not given up ended.
    pub fn outcome(&self) -> Result<(), Trouble> {
        match self.what {
            What::Write { fault: Some(fault), .. } | What::Flush { fault: Some(fault), .. } | What::Snapshot { fault: Some(fault), .. } => {
                Err(Trouble::Failed(fault))
            }
            _ => Ok(()),
        }
    }
}
