//! Sticky sessions: who was served by a server before goes there again.

use crate::hash::stable_hash;
use std::time::Duration;

/// What a client is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The value of a cookie.
    Cookie,
    /// The value of a header.
    Header,
    /// Its address.
    Address,
}

/// The key of a client. `secret` keeps clients from choosing values that push others' entries out.
#[must_use]
pub fn key(secret: u64, by: By, value: &[u8]) -> u64 {
    let kind: &[u8] = match by {
        By::Cookie => b"cookie",
        By::Header => b"header",
        By::Address => b"address",
    };
    stable_hash(&[&secret.to_be_bytes(), kind, value])
}

/// Entries that share a place, as in a processor's cache.
const WAYS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Entry {
    key: u64,
    index: u32,
    /// When it was used last; none in a place never used.
    used: Option<Duration>,
}

/// A table of fixed size: nothing is allocated after it was made, and everything is O(1). A key has eight places.
/// If all are taken, one that timed out makes room, else the one that was not used for longest. With a table
/// four times as large as there are sessions, two in ten thousand are pushed out before their time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    timeout: Duration,
    sets: Vec<[Entry; WAYS]>,
}

impl Sticky {
    /// A table of at least `entries` entries (rounded up to eight times a power of two), each forgotten when it was not
    /// used for `timeout`. An entry takes 32 bytes.
    #[must_use]
    pub fn new(entries: usize, timeout: Duration) -> Self {
        let sets = entries.div_ceil(WAYS).max(1).next_power_of_two();
        Self { timeout, sets: vec![[Entry::default(); WAYS]; sets] }
    }

    /// The server's number of a client that was here within the timeout; being asked for counts as use.
    pub fn get(&mut self, key: u64, now: Duration) -> Option<u32> {
        let timeout = self.timeout;
        let entry = self.set(key).iter_mut().find(|entry| entry.key == key && fresh(entry, now, timeout))?;
        entry.used = Some(now);
        Some(entry.index)
    }

    /// Remembers the server of a client.
    pub fn put(&mut self, key: u64, index: u32, now: Duration) {
        let timeout = self.timeout;
        let set = self.set(key);
        let own = set.iter().position(|entry| entry.used.is_some() && entry.key == key);
        let gone = || set.iter().position(|entry| !fresh(entry, now, timeout));
        let oldest = || (0..WAYS).min_by_key(|way| set[*way].used).expect("there are eight");
        let way = own.or_else(gone).unwrap_or_else(oldest);
        set[way] = Entry { key, index, used: Some(now) };
    }

    /// How many entries there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    fn set(&mut self, key: u64) -> &mut [Entry; WAYS] {
        let mask = self.sets.len() as u64 - 1;
        let at = usize::try_from(crate::hash::mix(key) & mask).expect("below the number of sets");
        &mut self.sets[at]
    }
}

fn fresh(entry: &Entry, now: Duration, timeout: Duration) -> bool {
    entry.used.is_some_and(|used| now.saturating_sub(used) < timeout)
}
