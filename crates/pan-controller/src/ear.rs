//! The ear: one thread that hears heartbeats on both fabrics and speaks the small datagrams of membership. It judges
//! who is alive, has nodes fenced and takes part in the choice of a leader, and tells the loop what it noticed.
//!
//! All that is decided is decided in `pan-member`; here are sockets, the clock and the order of things.

mod fencing;
mod leases;
mod listen;
mod outbox;
mod record;
mod speak;

pub use fencing::{Fencing, Heard};
pub use leases::Leases;
pub(crate) use listen::{Setup, run};
pub use listen::{speaks_for_the_dead, translate};
pub use outbox::{Outbox, Turn, Word};
pub(crate) use record::{Asker, read};

use pan_linux::datagram::Waker;
use pan_member::LeaderRecord;
use pan_member::leadership::Taken;
use pan_model::{Admission, HostName};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

/// What the ear has to know of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Of a node: heartbeats under this number, or an older one, are of the dead. Whoever is no node has no number.
    pub revoked: Option<Admission>,
}

/// What the loop tells the ear.
#[derive(Debug)]
pub(crate) enum Order {
    /// All hosts there are.
    Hosts(BTreeMap<HostName, Known>),
    /// The periods whose keys are used and handed out.
    Keys { current: u64, newest: u64 },
    /// Have a node fenced up to a number, in this term, and say when it is.
    Fence { host: HostName, through: Admission, term: u64 },
    /// It is heard again.
    Unfence { host: HostName },
    /// The leader's record; `None`: there never was one.
    Record(Option<LeaderRecord>),
    /// What became of an attempt to take it.
    Taken(Taken),
    /// The store was reached.
    Stored,
    /// This controller leads no more.
    Resigned,
}

/// The loop's way to the ear.
#[derive(Debug, Clone)]
pub(crate) struct Ear {
    pub orders: Sender<Order>,
    pub waker: Waker,
    pub protected: Arc<AtomicUsize>,
}

impl Ear {
    /// Tells it something; it hears it at once.
    pub fn order(&self, order: Order) {
        // It ends only together with the loop.
        let _ = self.orders.send(order);
        self.waker.wake();
    }

    /// The most failures that any cluster is protected against; so many at once are no stampede.
    pub fn protected_failures(&self, count: usize) {
        self.protected.store(count, Ordering::Relaxed);
    }
}
