//! The last heartbeats sent, and which lessors granted each.

use crate::memory::SentMemory;
use crate::tick::Tick;

/// Heartbeats remembered. The longest lease has twelve periods: an acknowledgement of an older one comes too
/// late to be of use.
const HEARTBEATS_MAX: usize = 32;

#[derive(Debug, Clone, Copy)]
struct Sent {
    sequence: u64,
    at: Tick,
    granted: u64,
}

/// Allocates nothing.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    sent: [Option<Sent>; HEARTBEATS_MAX],
    next: usize,
}

impl Ring {
    pub(super) const fn new() -> Self {
        Self { sent: [None; HEARTBEATS_MAX], next: 0 }
    }

    pub(super) fn push(&mut self, sequence: u64, at: Tick) {
        self.sent[self.next] = Some(Sent { sequence, at, granted: 0 });
        self.next = (self.next + 1) % HEARTBEATS_MAX;
    }

    /// Oldest first.
    pub(super) fn memory(&self) -> Vec<SentMemory> {
        let slots = self.sent[self.next..].iter().chain(&self.sent[..self.next]).flatten();
        slots.map(|sent| SentMemory { sequence: sent.sequence, at: sent.at.0, granted: sent.granted }).collect()
    }

    pub(super) fn resume(memory: &[SentMemory]) -> Self {
        let mut ring = Self::new();
        for sent in memory {
            ring.push(sent.sequence, Tick(sent.at));
            ring.sent[(ring.next + HEARTBEATS_MAX - 1) % HEARTBEATS_MAX].iter_mut().for_each(|slot| slot.granted = sent.granted);
        }
        ring
    }

    /// Lessor number `lessor` granted the heartbeat: when that was sent, and how many granted it by now.
    /// `None` if it is not remembered.
    pub(super) fn grant(&mut self, sequence: u64, lessor: usize) -> Option<(Tick, usize)> {
        let sent = self.sent.iter_mut().flatten().find(|sent| sent.sequence == sequence)?;
        sent.granted |= 1 << lessor;
        Some((sent.at, sent.granted.count_ones() as usize))
    }
}
